"""The column of the label before its label space is guessed: what stands there for no label, and lists of one label."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.core.errors import UserError
from harness.core.types import LabelKind
from harness.data.guess.cells import Column
from harness.data.guess.doubts import Doubt
from harness.data.guess.labels import number_of
from harness.data.guess.words import ABSENT, HIDDEN, KEPT_BACK
from harness.data.rows import separated
from harness.parsing.folding import fold


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """`column`: with empty cells where there is no label. `names`: cell -> name. `absent`: cells that mean no label."""

    column: Column
    names: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    notes: list[str | Doubt] = field(default_factory=list)


def label_column(
    column: Column,
    names: Mapping[str, str],
    split_of: Sequence[str | None],
    missing: Sequence[str],
    wished: LabelKind | None,
    divided: bool,
) -> LabelColumn:
    """`names`: of numbers, from elsewhere. `missing`: what the user says means no label. `divided`: the user or the data name a
    separator, so that lists stay lists. Raises `UserError` for a cell that is not there."""
    column, inner, notes = _lists_of_one(column, wished, divided)
    for cell in missing:
        if not any(there.strip() == cell for there in column.counts):
            raise UserError(f"--missing {cell}: no cell of {column.name!r} is that.", "Write it as it stands in the data.")
    hidden = {cell: why for cell, why in _hidden(column, names, split_of).items() if cell not in missing}
    for cell, why in hidden.items():
        count = column.counts[cell]
        notes.append(
            Doubt("hidden-labels", f"{count:,} rows say {cell.strip()!r} in {column.name!r}, {why}: they have no label.")
        )
    asked = [cell for cell in column.counts if cell.strip() in missing]
    absent = {*hidden, *asked}
    if absent:
        column = replace(column, cells=["" if cell in absent else cell for cell in column.cells])
    return LabelColumn(column, {**names, **inner}, tuple(sorted({cell.strip() for cell in absent})), notes)


def _lists_of_one(column: Column, wished: LabelKind | None, divided: bool) -> tuple[Column, dict[str, str], list[str | Doubt]]:
    """A column of lists with one label each as a column of labels; and the label in each cell that is still a list."""
    listed = column.lists or all(_bracketed(cell) for cell in column.counts)
    if not listed or divided or wished is LabelKind.MULTILABEL or not column.counts:
        return column, {}, []
    sizes = {cell: _items(column, cell) for cell in column.counts}
    most, least = max(map(len, sizes.values())), min(map(len, sizes.values()))
    if most != 1 or (least < 1 and wished is None):
        return column, {}, []
    note = Doubt(
        "lists-of-one",
        f"Each list in {column.name!r} holds one label, which makes a task with one label a row. If a row may have several:"
        " --kind multilabel.",
    )
    alone = {cell: items[0].strip() if items else "" for cell, items in sizes.items()}
    if column.lists:
        return Column(column.name, [alone.get(cell, "") for cell in column.cells], whole=True), {}, [note]
    cells = [cell if alone.get(cell) else "" for cell in column.cells]
    return Column(column.name, cells, whole=True), alone, [note]


def _bracketed(cell: str) -> bool:
    return cell.strip()[:1] + cell.strip()[-1:] in ("[]", "{}", "()")


def _items(column: Column, cell: str) -> list[str]:
    if column.lists:
        return [item for item in json.loads(cell) if item.strip()]
    return separated(cell, column.separator or ",")


def _hidden(column: Column, names: Mapping[str, str], split_of: Sequence[str | None]) -> dict[str, str]:
    """Cells that stand for a label that is not told, and why: numbers without a name where the others have one, and
    placeholders that no train row has."""
    found = {}
    if any(cell in names for cell in column.counts):
        unnamed = [cell for cell in column.counts if cell not in names and number_of(cell) is not None]
        found = dict.fromkeys(unnamed, "a number that has no name")
    if column.lists or "train" not in split_of:
        return found
    per_split: dict[str, Counter[str]] = defaultdict(Counter)
    for cell, split in zip(column.cells, split_of, strict=True):
        if split is not None and cell.strip():
            per_split[split][cell] += 1
    train = per_split.pop("train", Counter())
    numbers = [number for cell in train if (number := number_of(cell)) is not None]
    numeric = bool(train) and len(numbers) == len(train)
    for split, counts in per_split.items():
        for cell in counts:
            number = number_of(cell)
            outside = number is not None and numeric and not min(numbers) <= number <= max(numbers) and len(counts) == 1
            if cell not in train and (outside or _says_nothing(cell)):
                found.setdefault(cell, f"as {split} rows do and no train row does")
    return found


def _says_nothing(cell: str) -> bool:
    """Whether a cell speaks of a label that is not told: `?`, `UNK`, `hidden label`."""
    word = fold(cell)
    kept_back = len(word.split()) <= 3 and bool(set(re.findall(r"\w+", word)) & KEPT_BACK)
    return word in ABSENT | HIDDEN or kept_back or not re.search(r"\w", cell)
