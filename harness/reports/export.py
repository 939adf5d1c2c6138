"""Runs and predictions as files that other programs read: CSV, Parquet, JSON.

The columns are those of `harness.records.frames`. No text of a row is in the records, so none is in these files.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.records.frames import load_predictions, load_runs

if TYPE_CHECKING:
    from pandas import DataFrame

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet may take for a formula (OWASP, "CSV Injection")."""


def runs_frame(results: Path, runs: Sequence[str]) -> DataFrame:
    """A row for each of these runs, in the order of their ids; the columns are those of all runs in `results`.

    Raises as `load_runs` does.
    """
    frame = load_runs(results)
    kept: DataFrame = frame[frame["run"].isin(list(runs))].reset_index(drop=True)
    return kept


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


def write_whole(path: Path, content: bytes) -> None:
    """As `store.write_atomically`, for bytes; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
