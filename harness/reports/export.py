"""Runs and predictions as CSV, Parquet and JSON: the pyarrow tables of `harness.records.frames`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from harness.core.errors import RunError
from harness.records.entries import Entry
from harness.records.frames import runs_table
from harness.records.store import Store

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Beginnings of a cell that a spreadsheet may read as a formula (OWASP, "CSV Injection"); the last four are full-width."""


def table_of_runs(store: Store, entries: Sequence[Entry]) -> Any:
    """One row per run. The metric columns are those of all intact runs in the store, so that all tables have the same
    columns."""
    names = {name for entry in entries for name in entry.record.metrics.values}
    for run_id in store.ids():
        with suppress(RunError):
            names |= store.record(run_id).metrics.values.keys()
    return runs_table(entries, names)


def as_csv(table: Any, *, spreadsheet: bool = False) -> bytes:
    """RFC 4180 in UTF-8: a header, CRLF, quotes if needed, missing values empty. Numbers read back equal.

    With `spreadsheet` an apostrophe is put before a text that may be read as a formula, and the file begins with a byte order
    mark, by which a spreadsheet recognises UTF-8.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table.column_names)
    for row in _rows(table):
        writer.writerow([_defused(value) if spreadsheet else value for value in row.values()])
    return (("\ufeff" if spreadsheet else "") + text.getvalue()).encode()


def formulas(table: Any) -> int:
    """Number of cells that a spreadsheet may read as a formula."""
    return sum(_is_formula(value) for row in _rows(table) for value in row.values())


def _is_formula(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(FORMULA)


def _defused(value: Any) -> Any:
    return f"'{value}" if _is_formula(value) else value


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    """Each row by column; None for missing values, times in ISO 8601."""
    for batch in table.to_batches():
        for row in batch.to_pylist():
            yield {name: _time(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _time(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def as_json(table: Any) -> bytes:
    """An array with one object per row; null for missing values, times in ISO 8601."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in _rows(table))
    return (f"[\n{lines}\n]\n" if lines else "[]\n").encode()


def as_parquet(table: Any) -> bytes:
    """With the types of the table: text, whole numbers, floats, booleans, UTC times; categories are dictionaries."""
    from pyarrow import parquet

    content = io.BytesIO()
    parquet.write_table(table, content)
    return content.getvalue()
