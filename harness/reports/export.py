"""Runs and predictions as files that other programs read: CSV, Parquet, JSON.

The columns are those of `harness.records.frames`; a table is one of pyarrow. No text of a row is in the records, so none is
in these files.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.core.errors import RunError
from harness.records.entries import Entry
from harness.records.frames import predictions_table, runs_table
from harness.records.store import Store

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a cell begins that a spreadsheet may take for a formula (OWASP, "CSV Injection"); the last four are full-width."""


def table_of_runs(store: Store, entries: Sequence[Entry]) -> Any:
    """A row for each of these runs; the columns are those of all runs in the store that can be read."""
    return runs_table(entries, {name for entry in entries for name in entry.record.metrics.values} | _metric_names(store))


def _metric_names(store: Store) -> set[str]:
    """Of every run, so that tables of different runs have the same columns; a damaged record of another run is no concern."""
    found: set[str] = set()
    for name in store.ids():
        with suppress(RunError, LookupError, TypeError):
            found |= store.record(name).metrics.values.keys()
    return found


def table_of_predictions(results: Path, runs: Sequence[str]) -> Any:
    """A row for each run and test row. Raises as `load_predictions` does."""
    return predictions_table(list(runs), results)


def as_csv(table: Any, *, spreadsheet: bool = False) -> bytes:
    """RFC 4180 in UTF-8: a header, CRLF, quotes where they are needed, nothing for what is missing. Numbers read back equal.

    Values stand as they are. With `spreadsheet` a text that might be taken for a formula gets an apostrophe before it, and
    the file begins with a byte order mark, by which a spreadsheet knows UTF-8.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table.column_names)
    for row in _rows(table):
        writer.writerow([_defused(value) if spreadsheet else value for value in row.values()])
    return (("\ufeff" if spreadsheet else "") + text.getvalue()).encode()


def formulas(table: Any) -> int:
    """Cells of text that a spreadsheet may take for a formula."""
    return sum(_is_formula(value) for row in _rows(table) for value in row.values())


def _is_formula(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(FORMULA)


def _defused(value: Any) -> Any:
    return f"'{value}" if _is_formula(value) else value


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    """Each row by column; None for what is missing, times as text in ISO 8601."""
    for batch in table.to_batches():
        for row in batch.to_pylist():
            yield {name: _time(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _time(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def as_json(table: Any) -> bytes:
    """An array with an object per row; null for what is missing, numbers to the last digit, times in ISO 8601."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in _rows(table))
    return (f"[\n{lines}\n]\n" if lines else "[]\n").encode()


def as_parquet(table: Any) -> bytes:
    """With the types of the table: text, whole numbers, floats, booleans, UTC times; categories are dictionaries."""
    from pyarrow import parquet

    content = io.BytesIO()
    parquet.write_table(table, content)
    return content.getvalue()
