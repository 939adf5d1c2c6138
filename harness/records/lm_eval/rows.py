"""Which row of our task each sample of lm-eval is about. Nothing is paired by position, and no pair is guessed.

A sample is about a row if its document has the row's id *and* shows the row's text, or else if its document holds exactly this
text: an id like one of ours beside another text is a number of somebody else's. Texts are compared after Unicode's composition
(NFC), with runs of white space as one space.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.core.errors import DataError, UserError
from harness.core.types import Example
from harness.records.lm_eval.files import Sample
from harness.specs.tasks import TaskSpec

BY_ID, BY_TEXT = "id", "text"


@dataclass(frozen=True)
class Pairing:
    """Pairs in the order of the task's rows; `by` counts how they were found, the lists hold what was not."""

    pairs: list[tuple[Example, Sample]]
    by: dict[str, int]
    unmatched: list[Sample]
    ambiguous: list[Sample]


def pair(task: TaskSpec, rows: Sequence[Example], samples: Sequence[Sample]) -> Pairing:
    """Raises `DataError` where two samples are about one row."""
    by_id = {row.id: row for row in rows}
    by_text: dict[str, list[Example]] = defaultdict(list)
    for row in rows:
        by_text[folded(row.text)].append(row)
    found: list[tuple[Example, Sample]] = []
    how: Counter[str] = Counter()
    unmatched: list[Sample] = []
    several: dict[tuple[str, ...], list[Sample]] = defaultdict(list)
    for sample in samples:
        named = _by_id(task, by_id, sample)
        candidates = [named] if named is not None else _by_text(task, by_text, sample)
        if len(candidates) > 1:
            several[tuple(row.id for row in candidates)].append(sample)
        elif candidates:
            found.append((candidates[0], sample))
            how[BY_TEXT if named is None else BY_ID] += 1
        else:
            unmatched.append(sample)
    ambiguous: list[Sample] = []
    for ids, alike in several.items():
        twins = [by_id[row_id] for row_id in ids]
        if len(alike) == len(twins) and len({row.label for row in twins}) == len({row.text for row in twins}) == 1:
            found += zip(twins, alike, strict=True)  # same text, same label: which is which makes no difference
            how[BY_TEXT] += len(alike)
        else:
            ambiguous += alike
    _each_row_once(found)
    place = {row.id: index for index, row in enumerate(rows)}
    return Pairing(sorted(found, key=lambda both: place[both[0].id]), dict(how), unmatched, ambiguous)


def _by_id(task: TaskSpec, by_id: Mapping[str, Example], sample: Sample) -> Example | None:
    for name in dict.fromkeys(name for name in (task.columns.id, "id") if name is not None):
        row = by_id.get(str(sample.doc[name])) if sample.doc.get(name) is not None else None
        if row is not None and _shows(task, sample, row.text):
            return row
    return None


def _shows(task: TaskSpec, sample: Sample, text: str) -> bool:
    """Whether the document holds the text, or the prompt does."""
    wanted = folded(text)
    return wanted in _texts(task, sample.doc) or wanted in folded(sample.prompt)


def _by_text(task: TaskSpec, by_text: Mapping[str, list[Example]], sample: Sample) -> list[Example]:
    """Rows whose text the document holds: in the task's own columns if they are there, else in any."""
    own = _own_text(task, sample.doc)
    texts = {own} if own is not None else set(_texts(task, sample.doc))
    return [row for text in sorted(texts) for row in by_text.get(text, [])]


def _own_text(task: TaskSpec, doc: Mapping[str, Any]) -> str | None:
    names = [task.columns.text] if isinstance(task.columns.text, str) else task.columns.text
    if not set(names) <= doc.keys():
        return None
    return folded("\n".join(str(doc[name]) for name in names if doc[name]))


def _texts(task: TaskSpec, doc: Mapping[str, Any]) -> set[str]:
    own = _own_text(task, doc)
    return {folded(value) for value in doc.values() if isinstance(value, str)} | ({own} if own else set())


def folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _each_row_once(pairs: Sequence[tuple[Example, Sample]]) -> None:
    first: dict[str, Sample] = {}
    for row, sample in pairs:
        before = first.setdefault(row.id, sample)
        if before is not sample:
            raise DataError(
                f"{before.where} and {sample.where} are both about the row {row.id!r}.",
                "Keep one of them: a row has one answer.",
            )


def check_left_out(found: Pairing, count: int, what: str, *, allowed: bool) -> None:
    """Raise `UserError` unless every sample has its row, or missing ones are `allowed` and some have. `what` names the rows."""
    lost = [*found.unmatched, *found.ambiguous]
    if not found.pairs:
        raise UserError(
            f"None of the {count} samples is about {what}.",
            "A document must hold the row's text as it stands in the task's data. Are task, language, split and --data right?",
        )
    if lost and not allowed:
        parts = [f"{len(found.unmatched)} are about none of {what}"] if found.unmatched else []
        parts += [f"{len(found.ambiguous)} may be about several"] if found.ambiguous else []
        raise UserError(
            f"Of {count} samples {' and '.join(parts)}: {lost[0].where} is the first.",
            "--allow-missing leaves these out; the run is then one on the other rows alone.",
        )
