"""What a cell of a raw row means, where a task says that it is written in a way of its own: language, split, labels."""

from __future__ import annotations

from typing import Any

from harness.core.errors import DataError
from harness.data.sources import RawTable
from harness.specs.tasks import Columns, Labels, Split, TaskSpec

YES, NO = frozenset({"1", "1.0", "true"}), frozenset({"0", "0.0", "false", "", "none"})


def column(raw: RawTable, name: str) -> list[Any]:
    """Raises `DataError` where there is no such column."""
    if name not in raw.columns:
        raise DataError(
            f"{raw.origin} has no column {name!r}; its columns: {', '.join(raw.columns) or 'none'}.",
            "Name the right one under `columns` in the task's YAML.",
        )
    return raw.columns[name]


def languages(raw: RawTable, columns: Columns) -> list[Any]:
    """The language of each row, as the column `lang` and its map say."""
    codes = columns.lang_map or {}
    return [codes.get(str(value), value) for value in column(raw, str(columns.lang))]


def in_split(raw: RawTable, task: TaskSpec, columns: Columns, split: Split) -> list[bool]:
    """Whether each row belongs to `split`; all rows do where the file is that of the split."""
    if columns.split is None or not raw.whole:
        return [True] * len(next(iter(raw.columns.values()), []))
    values = column(raw, columns.split)
    named = str(getattr(task.splits, source_split(task, split)))
    found = [str(value) == named for value in values]
    if not any(found):
        there = ", ".join(sorted({str(value) for value in values})[:12])
        raise DataError(
            f"{raw.origin}: no row has {named!r} in the column {columns.split!r}; found there: {there or 'nothing'}.",
            f"Say under `splits` in the task's YAML what the rows of {split} have there.",
        )
    return found


def source_split(task: TaskSpec, split: Split) -> Split:
    """The split whose rows are read for `split`: validation rows may be a share of the train rows."""
    return "train" if split == "validation" and task.splits.validation_share is not None else split


def label_cells(raw: RawTable, columns: Columns, labels: Labels) -> list[Any]:
    """The label of each row, as a list where a cell or several columns hold several."""
    if isinstance(columns.label, list):
        names = labels.names or []
        parts = [[_holds(raw, name, cell) for cell in column(raw, name)] for name in columns.label]
        return [[name for name, holds in zip(names, row, strict=True) if holds] for row in zip(*parts, strict=True)]
    cells = column(raw, columns.label)
    if labels.separator is None or raw.canonical:
        return cells
    return [separated(cell, labels.separator) if isinstance(cell, str) else cell or [] for cell in cells]


def label_columns(columns: Columns) -> str:
    """As an error names them."""
    return columns.label if isinstance(columns.label, str) else ", ".join(columns.label)


def separated(cell: str, separator: str) -> list[str]:
    """The labels of `joy|anger`, of `['joy', 'anger']`, or of nothing."""
    text = cell.strip()
    if text[:1] + text[-1:] in ("[]", "()", "{}"):
        text = text[1:-1]
    parts = text.split() if separator == " " else text.split(separator)
    return [part for part in (part.strip().strip("'\"").strip() for part in parts) if part]


def without_label(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and not value.strip())


def _holds(raw: RawTable, name: str, cell: Any) -> bool:
    text = str(cell).strip().lower()
    if text not in YES and text not in NO:
        raise DataError(
            f"{raw.origin}: the column {name!r} holds {_short(cell)}, which is neither 0 nor 1.",
            "Name the columns of labels under `columns.label` in the task's YAML.",
        )
    return text in YES


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
