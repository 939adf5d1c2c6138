"""What is wrong with a task's rows before any model sees them: empty texts, twins, and one text with several labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.errors import DataError
from harness.core.predictions import Predictions
from harness.core.types import Example
from harness.data.duplicates import Duplicate, counted, find_duplicates, normalized
from harness.data.rows import CANONICAL_COLUMNS, fingerprint, languages, load_examples
from harness.data.sources import RawTable, read_raw
from harness.records.entries import Entry
from harness.running.plan import first_rows
from harness.specs.tasks import SPLITS, Split, TaskSpec
from harness.statistics.intervals import MetricValue, share

Splits = dict[Split, list[Example]]
PAIRS: tuple[tuple[Split, Split], ...] = (("test", "train"), ("test", "validation"), ("validation", "train"))


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many of the `rows` of split `of` have a twin in split `among` (where this is the same: another row of it).

    `other_label` counts those whose twin has another label; `ids` are the rows, sorted.
    """

    of: Split
    among: Split
    rows: int
    exact: int
    near: int
    other_label: int
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Conflicts:
    """Texts that stand with several labels, in one split or in two: how many, and in how many rows, in all and by split.

    `ceiling`: split -> the largest share of its rows that anything can get right that sees the text alone.
    """

    texts: int
    rows: int
    by_split: dict[Split, int]
    ceiling: dict[Split, float]
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The share of right rows of a run: of all its rows, and of those without a twin among the training rows (`n` of them)."""

    run_id: str
    backend: str
    value: MetricValue
    without: MetricValue
    n: int


def read_splits(task: TaskSpec, lang: str, data_dir: Path | None) -> tuple[Splits, dict[Split, str]]:
    """The rows of each split that has some, without those that have no text; and why the other splits can't be read.

    Raises `DataError` where none can be read, and what `load_examples` raises besides.
    """
    task = task.model_copy(update={"drop_empty_text": True})  # they are counted, and are no reason to stop
    found: Splits = {}
    missing: dict[Split, str] = {}
    for split in SPLITS:
        try:
            found[split] = load_examples(task, lang=lang, split=split, data_dir=data_dir)
        except DataError as error:
            missing[split] = error.message
            first = error
    if not found:
        raise first
    return found, missing


def without_text(task: TaskSpec, lang: str, data_dir: Path | None, splits: Iterable[Split] = SPLITS) -> int:
    """How many rows of the language have no text, in the files of these splits (as `read_splits` found them readable)."""
    total = 0
    for split in splits:
        if split == "validation" and task.splits.validation_share is not None and data_dir is None:
            continue  # a part of the train rows
        raw = read_raw(task, lang, split, data_dir)
        named = ["text"] if raw.canonical else [task.columns.text] if isinstance(task.columns.text, str) else task.columns.text
        texts = zip(*(raw.columns[name] for name in named), strict=True)
        langs = _langs(task, raw)
        empty = [not any(str(part or "").strip() for part in parts) for parts in texts]
        total += sum(is_empty and (langs is None or langs[row] == lang) for row, is_empty in enumerate(empty))
        if raw.whole:  # one file with the rows of all splits
            break
    return total


def _langs(task: TaskSpec, raw: RawTable) -> list[Any] | None:
    """Of each row; None where all are in one language."""
    if raw.canonical or task.columns.lang is not None:
        return languages(raw, CANONICAL_COLUMNS if raw.canonical else task.columns)
    if task.columns.lang_from_id:
        return [str(name).split("_", 1)[0] for name in raw.columns[str(task.columns.id)]]
    return None


def overlaps(splits: Splits) -> Iterator[Overlap]:
    """Each split with itself, and test and validation rows with what they must not be known from."""
    for split in splits:
        yield _overlap(split, split, splits)
    for of, among in PAIRS:
        if of in splits and among in splits:
            yield _overlap(of, among, splits)


def _overlap(of: Split, among: Split, splits: Splits) -> Overlap:
    rows, others = splits[of], splits[among]
    texts = [row.text for row in rows]
    found = find_duplicates(texts) if of == among else find_duplicates(texts, [row.text for row in others])
    differ = sum(rows[twin.row].label != others[twin.other].label for twin in found)
    return Overlap(of, among, len(rows), **counted(found), other_label=differ, ids=_ids(rows, found))


def _ids(rows: Sequence[Example], found: Sequence[Duplicate]) -> list[str]:
    return sorted(rows[twin.row].id for twin in found)


def conflicts(splits: Splits) -> Conflicts:
    """Same: after `harness.data.duplicates.normalized`."""
    groups: dict[str, list[tuple[Split, Example]]] = defaultdict(list)
    for split, rows in splits.items():
        for row in rows:
            groups[normalized(row.text)].append((split, row))
    torn = [group for group in groups.values() if len({row.label for _, row in group}) > 1]
    by_split = Counter(split for group in torn for split, _ in group)
    lost: Counter[Split] = Counter()
    for group in torn:
        for split in splits:
            labels = Counter(row.label for where, row in group if where == split)
            lost[split] += labels.total() - max(labels.values(), default=0)
    return Conflicts(
        texts=len(torn),
        rows=by_split.total(),
        by_split={split: by_split[split] for split in splits},
        ceiling={split: 1 - lost[split] / len(rows) for split, rows in splits.items()},
        ids=sorted(row.id for group in torn for _, row in group),
    )


def label_counts(splits: Splits, names: Sequence[str]) -> dict[str, dict[Split, int]]:
    """Label -> split -> rows that have it."""
    counts = {
        split: Counter(label for row in rows for label in (row.label if isinstance(row.label, tuple) else (row.label,)))
        for split, rows in splits.items()
    }
    return {name: {split: counts[split][index] for split in splits} for index, name in enumerate(names)}


def on_these_rows(entries: Sequence[Entry], rows: Sequence[Example]) -> list[Entry]:
    """The runs whose rows are these, or the first so many of these, to the letter of every text."""
    known: dict[int | None, str] = {}

    def same(entry: Entry) -> bool:
        limit = entry.manifest.get("limit")
        if limit not in known:
            known[limit] = fingerprint(first_rows(rows, limit))
        return bool(entry.manifest["identity"]["rows"] == known[limit])

    return [entry for entry in entries if same(entry)]


def cleaned(runs: Sequence[Predictions], with_twin: Sequence[str]) -> list[Cleaned]:
    """Best first; only runs that have some of the rows `with_twin`, and others."""
    found = []
    for run in runs:
        keep = np.flatnonzero(~np.isin(run.ids.astype(str), np.array(with_twin, dtype=str)))
        if 0 < len(keep) < len(run):
            backend = run.identity.backend.name
            found.append(Cleaned(run.run_id, backend, share(run.correct), share(run.take(keep).correct), len(keep)))
    return sorted(found, key=lambda run: (-(run.value["value"] or 0.0), run.run_id))
