"""How a delimited file that nobody has described is written: its delimiter and quotes, and whether it has a header."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.core.errors import DataError, UserError
from harness.data.sources import MAX_FIELD
from harness.specs.tasks import CsvFormat

DELIMITERS = (",", ";", "\t", "|")
LONGEST_NAME = 60


def dialect_of(path: Path, text: str, whole: bool, wished: str | None) -> tuple[str, list[dict[str, Any]]]:
    """The delimiter, and ways of quoting to try, the likeliest first."""
    variants: list[dict[str, Any]] = [{}, {"escape": "\\"}, {"quoted": False, "escape": None}]
    if wished is not None:
        return wished, variants
    scores = []
    for delimiter in DELIMITERS:
        for rank, variant in enumerate(variants):
            try:
                widths = [len(row) for row in _rows(text, delimiter, CsvFormat(**variant), whole) if row]
            except csv.Error:
                continue
            width, count = Counter(widths).most_common(1)[0] if widths else (0, 0)
            if width > 1:
                first = widths[0] == width  # a text in each row may hold a comma, the names of the columns don't
                usual = delimiter == ("\t" if path.suffix.lower() == ".tsv" else ",")
                scores.append((first, round(count / len(widths), 2), usual, -rank, width, delimiter))
    if not scores and not any(delimiter in text for delimiter in DELIMITERS):
        raise DataError(
            f"{path} has a single column; a text and a label are needed.", "If a delimiter was not seen: --delimiter CHAR."
        )
    if not scores:  # reading it whole tells what is wrong, and in which line
        return next(delimiter for delimiter in DELIMITERS if delimiter in text), variants
    _, _, _, rank, _, delimiter = max(scores)
    best = -rank
    return delimiter, [variants[best], *(variant for number, variant in enumerate(variants) if number != best)]


def _rows(text: str, delimiter: str, form: CsvFormat, whole: bool) -> Iterator[list[str]]:
    """The rows of the sample; the last one is left out where the sample may cut it."""
    csv.field_size_limit(MAX_FIELD)
    lines = iter(io.StringIO(text, newline=""))
    reader = csv.reader(
        lines,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if form.quoted else csv.QUOTE_NONE,
        escapechar=form.escape,
        strict=True,
    )
    held: list[str] | None = None
    try:
        for row in reader:
            if held:
                yield held
            held = row
    except csv.Error:
        if whole or next(lines, None) is not None:
            raise
        return  # the sample ends within a quoted text
    if held and (whole or reader.line_num == 1):
        yield held


def readable_rows(text: str, delimiter: str, form: CsvFormat, whole: bool) -> list[list[str]]:
    """The rows up to one that is malformed."""
    found: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        found.extend(_rows(text, delimiter, form, whole))
    return found or [[""]]


def has_header(rows: list[list[str]]) -> bool:
    """Whether the first row names columns: no numbers, dates or long texts, and nothing that is a common value further down."""
    first, rest = rows[0], rows[1:2001]
    if first == [str(number) for number in range(len(first))]:
        return True  # as pandas names columns that have no names
    for index, cell in enumerate(first):
        name = cell.strip()
        if re.fullmatch(r"[-+]?\d+([.,]\d+)?|\d{2,4}[-/.]\d{1,2}[-/.]\d{1,4}.*", name) or len(name) > LONGEST_NAME:
            return False
        below = Counter(row[index].strip() for row in rest if index < len(row))
        if name and len(below) <= len(rest) / 2 and below[name] > 1:
            return False
    if sum(not cell.strip() for cell in first) > 1:
        return False
    twice = next((cell for cell in first if first.count(cell) > 1), None)
    if twice is not None:
        raise UserError(
            f"The first line names the column {twice!r} twice.", "Rename one of them; or, if that line is a row: --no-header."
        )
    return True
