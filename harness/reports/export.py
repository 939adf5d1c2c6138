"""Runs and predictions as files that other programs read: CSV, Parquet, JSON.

The columns are those of `harness.records.frames`. No text of a row is in the records, so none is in these files.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import RunError
from harness.records.entries import Entry
from harness.records.frames import frame_of, load_predictions
from harness.records.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a cell begins that a spreadsheet may take for a formula (OWASP, "CSV Injection"); the last four are full-width."""


def runs_frame(store: Store, entries: Sequence[Entry]) -> DataFrame:
    """A row for each of these runs; the columns are those of all runs in the store that can be read. Raises `MissingExtra`."""
    return frame_of(entries, {name for entry in entries for name in entry.metrics["values"]} | _metric_names(store))


def _metric_names(store: Store) -> set[str]:
    """Of every run, so that tables of different runs have the same columns; a damaged record of another run is no concern."""
    found: set[str] = set()
    for name in store.ids():
        with suppress(RunError, LookupError, TypeError):
            found |= set(store.metrics(name)["values"])
    return found


def predictions_frame(results: Path, runs: Sequence[str]) -> DataFrame:
    """A row for each run and test row. Raises as `load_predictions` does."""
    return load_predictions(list(runs), results)


def as_csv(frame: DataFrame, *, spreadsheet: bool = False) -> bytes:
    """RFC 4180 in UTF-8: a header, CRLF, quotes where they are needed, nothing for what is missing. Numbers read back equal.

    Values stand as they are. With `spreadsheet` a text that might be taken for a formula gets an apostrophe before it, and
    the file begins with a byte order mark, by which a spreadsheet knows UTF-8.
    """
    if spreadsheet:
        frame = frame.apply(lambda column: column.map(_defused) if _is_text(column) else column)
    text = frame.to_csv(index=False, lineterminator="\r\n", date_format="%Y-%m-%dT%H:%M:%SZ")
    return (("\ufeff" if spreadsheet else "") + text).encode()


def formulas(frame: DataFrame) -> int:
    """Cells of text that a spreadsheet may take for a formula."""
    texts = [frame[name].dropna().astype(str) for name in frame.columns if _is_text(frame[name])]
    return int(sum(column.str.startswith(FORMULA).sum() for column in texts))


def _is_text(column: Any) -> bool:
    from pandas.api.types import is_string_dtype

    return bool(is_string_dtype(column.cat.categories if column.dtype == "category" else column))


def _defused(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def as_json(frame: DataFrame) -> bytes:
    """An array with an object per row; null for what is missing, numbers to the last digit, times in ISO 8601."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    lines = ",\n".join(
        json.dumps(row, ensure_ascii=False, allow_nan=False, default=lambda value: value.isoformat()) for row in rows
    )
    return (f"[\n{lines}\n]\n" if rows else "[]\n").encode()


def as_parquet(frame: DataFrame) -> bytes:
    """With the types of the frame: text, whole numbers, floats, booleans, UTC times; categories are dictionaries."""
    content = io.BytesIO()
    frame.to_parquet(content, index=False)
    return content.getvalue()
