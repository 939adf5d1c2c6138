"""Rows in JSON of any usual shape: lists of objects, JSON lines, what pandas writes, and tables within other values."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.core.errors import DataError
from harness.data.guess.words import SPLITS

ColumnLists = dict[str, list[Any]]

MAX_DEPTH = 50  # of lists and objects within one another
MOST_AROUND = 3  # objects around a table
NAMES, ROWS = ("columns", "header", "headers", "fields"), ("data", "rows", "values")
_ABOUT = "features schema fields labels label_names categories classes meta metadata info licenses authors"
ABOUT = frozenset(_ABOUT.split())  # names of lists that say something of the rows
LONGEST_NAME = 60
SHAPES = (
    'It must be a list of objects, [{"text": ..., "label": ...}, ...], JSON lines, or an object of lists, {"text": [...], ...}.'
)


def read_json(path: Path, text: str, lines: bool) -> ColumnLists:
    """The columns of the JSON `text` of the file `path`. `lines`: JSON lines by its suffix; what is in it decides.

    Tables that are named as splits are joined, with a column `split`. Raises `DataError`.
    """
    if not text.strip():
        return {}
    if (rows := _one_after_another(text)) is not None:
        return columns_of(rows)
    if _is_lines(text, lines):
        return _of_lines(path, text)
    value = _parsed(path, 1, text)
    found = _table(value)
    if found is not None:
        return found
    tables = _within(value)
    if len(tables) > 1:
        return joined_splits(path, {name.rpartition(".")[2]: table for name, table in tables.items()})
    if tables:
        return next(iter(tables.values()))
    if lines and isinstance(value, dict):  # one row
        return columns_of([value])
    if isinstance(value, dict) and value and all(_scalars(column) for column in value.values()):
        shown = ", ".join(f"{name} has {len(column)}" for name, column in value.items())
        raise DataError(f"{path}: the lists differ in length: {shown}.", "Each text needs one entry in every list.")
    raise DataError(f"{path}:1: no table of rows is in it.", SHAPES)


def are_splits(names: Iterable[str]) -> bool:
    """Whether all of several tables are named as splits, one of them as that of the train rows."""
    folded = [name.strip().lower() for name in names]
    return all(name in set().union(*SPLITS.values()) for name in folded) and any(name in SPLITS["train"] for name in folded)


def joined_splits(path: Path, tables: dict[str, ColumnLists]) -> ColumnLists:
    """The rows of tables that are splits, with a column `split`. Raises `DataError` where they are other tables."""
    if not are_splits(tables):
        raise DataError(f"{path} holds {len(tables)} tables: {', '.join(tables)}.", "Save one of them in a file of its own.")
    names = dict.fromkeys(name for table in tables.values() for name in table if name != "split")
    found: ColumnLists = {name: [] for name in (*names, "split")}
    for split, table in tables.items():
        count = len(next(iter(table.values()), []))
        for name in names:
            found[name] += table.get(name, [None] * count)
        found["split"] += [split] * count
    return found


def columns_of(rows: list[dict[str, Any]]) -> ColumnLists:
    """Rows to columns; what a row lacks is None."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _one_after_another(text: str) -> list[dict[str, Any]] | None:
    """Objects of several lines each, with nothing between them; None where the text is anything else."""
    if text.lstrip().partition("\n")[0].rstrip() != "{":
        return None
    found, at, decoder = [], 0, json.JSONDecoder()
    while rest := re.compile(r"\S").search(text, at):
        try:
            value, at = decoder.raw_decode(text, rest.start())
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict) or _deeper_than(value, MAX_DEPTH):
            return None
        found.append(value)
    return found if len(found) > 1 else None


def _is_lines(text: str, lines: bool) -> bool:
    """Whether each line is a value. By the suffix also where the first one is damaged, but not where it opens a list."""
    first, _, rest = text.lstrip().partition("\n")
    if not rest.strip():
        return False
    try:
        return isinstance(json.loads(first), dict | list)
    except (ValueError, RecursionError):
        return lines and not first.startswith("[")


def _of_lines(path: Path, text: str) -> ColumnLists:
    rows = [_parsed(path, number, line) for number, line in enumerate(io.StringIO(text), start=1) if line.strip()]
    kinds = list(map(type, rows))
    odd = next((place for place, kind in enumerate(kinds) if kind is not kinds[0]), None) if len(set(kinds)) > 1 else None
    if odd is not None:
        numbers = [number for number, line in enumerate(io.StringIO(text), start=1) if line.strip()]
        raise DataError(f"{path}:{numbers[odd]}: must be {kinds[0].__name__}, found {kinds[odd].__name__}.", SHAPES)
    found = _table(rows)
    if found is None:
        raise DataError(f"{path}: its lists differ in length.", SHAPES)
    return found


def _table(value: Any) -> ColumnLists | None:
    """The columns, where `value` is a table by itself."""
    if isinstance(value, list):
        if all(isinstance(row, dict) for row in value):
            return columns_of(value)
        return _of_lists(value) if all(isinstance(row, list) for row in value) else None
    if not isinstance(value, dict) or not value:
        return None
    header = next((value[key] for key in NAMES if _scalars(value.get(key))), None)
    rows = next((value[key] for key in ROWS if isinstance(value.get(key), list)), None)
    if header and rows and all(isinstance(row, list) and len(row) == len(header) for row in rows):  # orient="split"
        return {str(name): [row[index] for row in rows] for index, name in enumerate(header)}
    if _is_columns(value):
        return value
    inner = list(value.values())
    if not all(isinstance(one, dict) and one and one.keys() == inner[0].keys() for one in inner):
        return None
    if all(len(one) > 1 and _is_columns(one) for one in inner) or any(
        isinstance(c, dict) for one in inner for c in one.values()
    ):
        return None
    if len(value) <= len(inner[0]):  # orient="columns"; "index" has more rows than columns
        return {name: list(one.values()) for name, one in value.items()}
    return columns_of(inner)


def _is_columns(value: dict[str, Any]) -> bool:
    """An object of equally long lists, at least one of which does not hold rows."""
    lists = list(value.values())
    alike = all(isinstance(one, list) and len(one) == len(lists[0]) for one in lists)
    return bool(lists) and alike and not all(one and all(isinstance(cell, dict) for cell in one) for one in lists)


def _scalars(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and not any(isinstance(cell, dict | list) for cell in value)


def _of_lists(rows: list[list[Any]]) -> ColumnLists | None:
    """Rows without keys. The first one has the names where they are short words that no row has below them."""
    width = len(rows[0]) if rows else 0
    if width < 2 or any(len(row) != width for row in rows):
        return None
    columns = [list(column) for column in zip(*rows, strict=True)]
    named = len({str(name) for name in rows[0]}) == width and all(
        isinstance(name, str) and name.strip() and len(name) <= LONGEST_NAME and name not in column[1:]
        for name, column in zip(rows[0], columns, strict=True)
    )
    if named and not any(isinstance(cell, list) for cell in rows[0]):
        return {column[0]: column[1:] for column in columns}
    return {f"column_{number}": column for number, column in enumerate(columns, start=1)}


def _within(value: Any) -> dict[str, ColumnLists]:
    """The tables that are the fewest objects deep in `value`, by the keys that lead to them."""
    level = {"": value}
    for _ in range(MOST_AROUND):
        below = {
            f"{path}.{key}".removeprefix("."): inner
            for path, outer in level.items()
            if isinstance(outer, dict)
            for key, inner in outer.items()
        }
        tables = {path: table for path, inner in below.items() if (table := _table(inner)) is not None and len(table) > 1}
        if tables:
            return {path: table for path, table in tables.items() if path.rpartition(".")[2].lower() not in ABOUT} or tables
        level = below
    return {}


def _parsed(path: Path, first_line: int, text: str) -> Any:
    """The value that `text` holds; it begins at `first_line` of the file."""
    try:
        value = json.loads(text)
        too_deep = text.count("[") + text.count("{") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{first_line + error.lineno - 1}: is not JSON: {error.msg}.", _hint(text)) from error
    except RecursionError:
        too_deep = True
    except ValueError as error:  # the only other one: Python reads no longer number
        longest = max(re.finditer(r"\d+", text), key=lambda found: len(found[0]))
        line = first_line + text.count("\n", 0, longest.start())
        raise DataError(f"{path}:{line}: a number has {len(longest[0]):,} digits.", "Put it between quotes.") from error
    if too_deep:
        line = first_line + text.count("\n", 0, _where_deep(text))
        problem = f"lists or objects are nested more than {MAX_DEPTH} deep"
        raise DataError(f"{path}:{line}: {problem}.", "A row is an object with a text and a label.")
    return value


def _hint(text: str) -> str:
    """The way out of what is often taken for JSON."""
    if text.lstrip()[:2] in ("{'", "['"):
        return "That is Python's notation: write it with json.dumps."
    if text.rstrip()[-1:] == ",":
        return "Take the commas at the ends of the lines away, or put [ and ] around all."
    ends = text.lstrip()[:1] + text.rstrip()[-1:]
    return "It has no end: was the file cut off?" if ends[:1] in ("{", "[") and ends[-1] not in "}]" else ""


def _deeper_than(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    return depth == 0 or any(_deeper_than(item, depth - 1) for item in (value.values() if isinstance(value, dict) else value))


def _where_deep(text: str) -> int:
    """Where the first value begins that is nested too deeply."""
    depth = 0
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text, re.DOTALL):
        depth += (found[0] in "[{") - (found[0] in "]}")
        if depth > MAX_DEPTH:
            return found.start()
    return 0
