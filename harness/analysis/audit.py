"""What may be wrong with a task's rows: empty texts, duplicates, conflicting labels, likely label errors, rows that a model may
have seen in training; and what the duplicates mean for the runs on these rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis.row_sets import on_these_rows
from harness.analysis.suspects import Shortlist, shortlist
from harness.core.errors import DataError, UnknownName, UserError
from harness.core.predictions import Predictions
from harness.core.record import Estimate
from harness.core.types import Example, LabelKind
from harness.data.dates import dates_of
from harness.data.duplicates import Prepared, counted, find_duplicates, normalized
from harness.data.rows import CANONICAL_COLUMNS, languages, load_examples
from harness.data.sources import RawTable, read_raw
from harness.parsing.signs import is_blank
from harness.records.entries import Entry, read_entries, read_entry
from harness.records.predictions import read_predictions
from harness.records.store import Store
from harness.specs.catalog import Catalog
from harness.specs.tasks import SPLITS, Split, TaskSpec
from harness.statistics.intervals import share

Splits = dict[Split, list[Example]]
PAIRS: tuple[tuple[Split, Split], ...] = (("test", "train"), ("test", "validation"), ("validation", "train"))


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many of the `rows` of split `of` have a duplicate in split `among` (where this is the same: another row of it).

    `other_label` counts those whose duplicate has another label; `ids` are the rows, sorted.
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
    """Texts with several labels, in one split or in two: how many, and in how many rows, in all and by split.

    `ceiling`: split -> the highest share of its rows that can be answered right from the text alone.
    """

    texts: int
    rows: int
    by_split: dict[Split, int]
    ceiling: dict[Split, float]
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The share of right rows of a run: of all its rows, and of the `n` rows without a duplicate among the training rows."""

    run: str
    backend: str
    n: int
    value: Estimate
    without: Estimate


@dataclass(frozen=True, slots=True)
class ModelDates:
    """Whether a backend's model may have been trained on the rows, by the dates of both; None where one is unknown."""

    backend: str
    published: str | None
    training_cutoff: str | None
    may_have_read: bool | None


@dataclass(frozen=True)
class Report:
    """The rows of one language. `missing`: why a split can't be read. `empty`: rows without text. `counts`: label -> split ->
    rows. `other_rows` counts runs left out, as they were tested on other rows. `suspects`: None for a multilabel task."""

    task: TaskSpec
    lang: str
    split: Split
    splits: Splits
    missing: dict[Split, str]
    empty: int
    counts: dict[str, dict[Split, int]]
    overlaps: list[Overlap]
    conflicts: Conflicts
    runs: list[str]
    other_rows: int
    cleaned: list[Cleaned]
    suspects: Shortlist | None
    dates: list[ModelDates]

    @property
    def learned(self) -> Overlap | None:
        """Of the tested rows with the training rows."""
        return next((found for found in self.overlaps if (found.of, found.among) == (self.split, "train")), None)

    @property
    def unseen(self) -> dict[str, int]:
        """Labels of the tested rows that no train row has -> their rows. Empty where a split is missing."""
        if "train" not in self.splits or self.split not in self.splits:
            return {}
        return {name: per[self.split] for name, per in self.counts.items() if per[self.split] and not per["train"]}

    @property
    def untested(self) -> list[str]:
        """Labels of train rows that no tested row has."""
        if "train" not in self.splits or self.split not in self.splits:
            return []
        return [name for name, per in self.counts.items() if per["train"] and not per[self.split]]

    @property
    def is_ordinal(self) -> bool:
        return self.task.labels.kind is LabelKind.ORDINAL


def make_report(
    task: TaskSpec,
    lang: str,
    split: Split,
    data: Path | None,
    known: Catalog,
    store: Store,
    asked: list[Entry] | None,
    backends: list[str],
) -> Report:
    """The rows of one language, with the runs that were tested on its rows of `split`.

    They are those of `asked` (see `named_runs`) in this language, else all of `store`; of `backends` only, if there are any.
    Raises `UserError` for unknown names, for an asked run on other rows, and what reading the rows raises.
    """
    splits, missing = read_splits(task, lang, data)
    pairs = list(overlaps(splits))
    duplicates = next((pair.ids for pair in pairs if (pair.of, pair.among) == (split, "train")), [])
    entries, other_rows = _runs(task, lang, split, splits, store, asked, backends)
    runs = [(entry.display_name, read_predictions(store, entry.run_id)) for entry in entries]
    return Report(
        task=task,
        lang=lang,
        split=split,
        splits=splits,
        missing=missing,
        empty=without_text(task, lang, data, splits),
        counts=label_counts(splits, task.label_space.names),
        overlaps=pairs,
        conflicts=conflicts(splits),
        runs=[entry.run_id for entry in entries],
        other_rows=other_rows,
        cleaned=cleaned(runs, duplicates),
        suspects=None if task.labels.kind is LabelKind.MULTILABEL else shortlist([run for _, run in runs]),
        dates=_dates(task, lang, known, [entry.backend for entry in entries], backends),
    )


def named_runs(
    store: Store, names: list[str], task: TaskSpec, split: Split, langs: list[str], backends: list[str]
) -> list[Entry]:
    """The runs with these (parts of) ids. `langs`, `backends`: those asked for; none: any.

    Raises `UserError` for one that the other options leave out.
    """
    entries = [read_entry(store, name) for name in dict.fromkeys(map(store.find, names))]
    for entry in entries:
        its_task, its_split, its_lang, _ = entry.group
        if (its_task, its_split) != (task.name, split):
            raise UserError(
                f"{entry.run_id} is a run on the {its_split} rows of {its_task}, not on the {split} rows of {task.name}.",
                f"Use --task {its_task} --split {its_split}, or leave the run out.",
            )
        if langs and its_lang not in langs:
            raise UserError(f"{entry.run_id} is a run in {its_lang!r}, which --lang leaves out.", f"Add --lang {its_lang}.")
        if backends and entry.backend not in backends:
            raise UserError(
                f"{entry.run_id} is a run of {entry.backend}, which --backend leaves out.", f"Add --backend {entry.backend}."
            )
    return entries


def _runs(
    task: TaskSpec, lang: str, split: Split, splits: Splits, store: Store, asked: list[Entry] | None, backends: list[str]
) -> tuple[list[Entry], int]:
    """The runs on these rows, and how many others there are of this task, language and split."""
    entries = read_entries(store) if asked is None else asked
    wanted = (task.name, split, lang)
    ours = [entry for entry in entries if entry.group[:3] == wanted and (not backends or entry.backend in backends)]
    found = on_these_rows(ours, splits.get(split, []))
    left = sorted({entry.run_id for entry in ours} - {entry.run_id for entry in found})
    if asked is not None and left:
        raise UserError(f"{left[0]} is not a run on these rows: {', '.join(wanted)}.", "Does it need another --data?")
    return found, len(ours) - len(found)


def _dates(task: TaskSpec, lang: str, known: Catalog, tested: Sequence[str], asked: Sequence[str]) -> list[ModelDates]:
    """Of the backends that were asked for or have runs; else of all for this language with a known training cutoff."""
    there = known.names("backend")
    unknown = [name for name in asked if name not in there and name not in tested]
    if unknown:
        raise UnknownName("backend", unknown[0], there)
    chosen = [name for name in dict.fromkeys([*asked, *sorted(tested)]) if name in there]
    specs = [known.backend(name) for name in chosen or there]
    return [
        ModelDates(spec.name, task.published, spec.training_cutoff, _may_have_read(task.published, spec.training_cutoff))
        for spec in specs
        if spec.model is not None and (chosen or (spec.training_cutoff is not None and lang in (spec.languages or [lang])))
    ]


def _may_have_read(published: str | None, cutoff: str | None) -> bool | None:
    dates = dates_of(published, cutoff)
    return None if dates is None else dates.may_have_read


def read_splits(task: TaskSpec, lang: str, data_dir: Path | None) -> tuple[Splits, dict[Split, str]]:
    """The rows with a text of each split that has some; and why the other splits can't be read.

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
    """How many rows of the language have no text, in the files of these splits."""
    total = 0
    for split in splits:
        if split == "validation" and task.splits.validation_share is not None and data_dir is None:
            continue  # a part of the train rows
        raw = read_raw(task, lang, split, data_dir)
        named = ["text"] if raw.canonical else [task.columns.text] if isinstance(task.columns.text, str) else task.columns.text
        texts = zip(*(raw.columns[name] for name in named), strict=True)
        langs = _langs(task, raw)
        empty = [all(is_blank(str(part or "")) for part in parts) for parts in texts]
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
    """Each split with itself, and test and validation rows with those that a model may learn from."""
    pairs = [*((split, split) for split in splits), *PAIRS]
    texts = {split: Prepared.of([row.text for row in rows]) for split, rows in splits.items()}
    for of, among in pairs:
        if of not in splits or among not in splits:
            continue
        rows, others = splits[of], splits[among]
        found = find_duplicates(texts[of], texts[among])
        differ = sum(rows[one.row].label != others[one.other].label for one in found)
        yield Overlap(of, among, len(rows), **counted(found), other_label=differ, ids=sorted(rows[one.row].id for one in found))


def conflicts(splits: Splits) -> Conflicts:
    """Texts are the same if they are after `harness.data.duplicates.normalized`."""
    groups: dict[str, list[tuple[Split, Example]]] = defaultdict(list)
    for split, rows in splits.items():
        for row in rows:
            groups[normalized(row.text)].append((split, row))
    found = [group for group in groups.values() if len({row.label for _, row in group}) > 1]
    by_split = Counter(split for group in found for split, _ in group)
    lost: Counter[Split] = Counter()
    for group in found:
        for split in splits:
            labels = Counter(row.label for where, row in group if where == split)
            lost[split] += labels.total() - max(labels.values(), default=0)
    return Conflicts(
        texts=len(found),
        rows=by_split.total(),
        by_split={split: by_split[split] for split in splits},
        ceiling={split: 1 - lost[split] / len(rows) for split, rows in splits.items()},
        ids=sorted(row.id for group in found for _, row in group),
    )


def label_counts(splits: Splits, names: Sequence[str]) -> dict[str, dict[Split, int]]:
    """Label -> split -> rows that have it."""
    counts = {
        split: Counter(label for row in rows for label in (row.label if isinstance(row.label, tuple) else (row.label,)))
        for split, rows in splits.items()
    }
    return {name: {split: counts[split][index] for split in splits} for index, name in enumerate(names)}


def cleaned(runs: Sequence[tuple[str, Predictions]], duplicates: Sequence[str]) -> list[Cleaned]:
    """Best first; only runs that have some of the rows `duplicates`, and others. `runs`: with their names."""
    found = []
    for name, run in runs:
        keep = np.flatnonzero(~np.isin(run.ids.astype(str), np.array(duplicates, dtype=str)))
        if 0 < len(keep) < len(run):
            found.append(Cleaned(run.run_id, name, len(keep), share(run.correct), share(run.take(keep).correct)))
    return sorted(found, key=lambda one: (-(one.value.value or 0.0), one.run))
