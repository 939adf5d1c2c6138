"""Open a file, or a folder of splits, that nobody has described yet: encoding, delimiter, quotes, header."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.errors import DataError, UserError
from harness.data.formats import (
    DELIMITED,
    FASTTEXT,
    MOST_ABOVE,
    SHEETS,
    NoRow,
    csv_reader,
    delimited,
    is_saved,
    names_below,
    open_text,
    read_file,
    saved_files,
    schema_metadata,
    separator_line,
    shards_of,
    sheets_of,
    suffix_of,
    usual_delimiter,
)
from harness.data.guess.encodings import check_encoding, encoding_of
from harness.data.guess.folders import Part, in_all_splits, layout_of
from harness.data.json_tables import LONGEST_NAME, ColumnLists, are_splits
from harness.specs.tasks import CsvFormat

DELIMITERS = (",", ";", "\t", "|")


def dialect_of(path: Path, text: str, whole: bool, wished: str | None) -> tuple[str, list[dict[str, Any]]]:
    """The delimiter, and ways of quoting to try, the likeliest first."""
    variants: list[dict[str, Any]] = [{}, {"escape": "\\"}, {"quoted": False}, {"quote": "'"}]
    scores = []
    for delimiter in DELIMITERS if wished is None else (wished,):
        for rank, variant in enumerate(variants):
            try:
                rows = [row for row in _rows(text, delimiter, CsvFormat(**variant), whole) if row]
            except csv.Error:
                continue
            widths = [len(rows[0]) if not any(row[len(rows[0]) :]) and len(row) > len(rows[0]) else len(row) for row in rows]
            width, count = Counter(widths).most_common(1)[0] if widths else (0, 0)
            if width > 1:
                first = widths[0] == width  # a text in each row may hold a comma, the names of the columns don't
                usual = delimiter == usual_delimiter(path)
                scores.append((first, round(count / len(widths), 2), usual, -rank, width, delimiter))
    if wished is not None and not scores:
        return wished, variants
    if not scores and not any(delimiter in text for delimiter in DELIMITERS):
        raise DataError(
            f"{path} has a single column; a text and a label are needed.", "If a delimiter was not seen: --delimiter CHAR."
        )
    if not scores:  # reading it whole tells what is wrong, and in which line
        return next(delimiter for delimiter in DELIMITERS if delimiter in text), variants
    _, _, _, rank, _, delimiter = max(scores)
    best = -rank
    if best == 0 and _in_single_quotes(_rows(text, delimiter, CsvFormat(), whole)):
        best = len(variants) - 1
    return delimiter, [variants[best], *(variant for number, variant in enumerate(variants) if number != best)]


def _spaced(rows: list[list[str]]) -> bool:
    """Whether a space follows nearly each delimiter: `text, label`."""
    cells = [cell for row in rows for cell in row[1:] if cell]
    return bool(cells) and sum(cell[0] == " " for cell in cells) > 0.95 * len(cells)


def _in_single_quotes(rows: Iterator[list[str]]) -> bool:
    """Whether `'` encloses nearly every cell below the first row."""
    cells = [cell for row in list(rows)[1:] for cell in row if cell]
    return bool(cells) and sum(len(cell) > 1 and cell[0] == cell[-1] == "'" for cell in cells) > 0.95 * len(cells)


def _rows(text: str, delimiter: str, form: CsvFormat, whole: bool) -> Iterator[list[str]]:
    """The rows of the sample; the last one is left out where the sample may cut it."""
    lines = iter(io.StringIO(text, newline=""))
    for _ in range(form.skip):
        next(lines, None)
    reader = csv_reader(lines, delimiter, form)
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


def lines_above(text: str, delimiter: str, form: CsvFormat) -> int:
    """Lines above the header: a title, comments, empty lines. 0 where no header follows them."""
    reader = csv_reader(io.StringIO(text, newline=""), delimiter, form)
    rows: list[tuple[list[str], int]] = []
    with contextlib.suppress(csv.Error):
        rows.extend((row, reader.line_num) for row in itertools.islice(reader, 500))
    width = Counter(len(row) for row, _ in rows if row).most_common(1)[0][0] if any(row for row, _ in rows) else 0
    above, skip = 0, 0
    for row, end in rows[:MOST_ABOVE]:
        title = sum(bool(cell.strip()) for cell in row) == 1 and width > 1 and re.search(r"\s|^[#%/]", row[0].strip())
        comment = row and row[0].startswith("#") and len(row) != width
        if any(cell.strip() for cell in row) and not title and not comment:
            break
        above, skip = above + 1, end
    further = names_below([row for row, _ in rows[above:]])
    if further:
        above, skip = above + further, rows[above + further - 1][1]
    below = [row for row, _ in rows[above:] if row]
    return skip if below and len(below[0]) == width and has_header(below) else 0


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
    nameless = [index for index, cell in enumerate(first) if not cell.strip()]
    held = [index for index in nameless if any(row[index].strip() for row in rest if index < len(row))]
    if len(held) > max(1, len(first) // 2) or len(nameless) == len(first):
        return False
    twice = next((cell for cell in first if cell.strip() and first.count(cell) > 1), None)
    if twice is not None:
        raise UserError(
            f"The first line names the column {twice!r} twice.", "Rename one of them; or, if that line is a row: --no-header."
        )
    return True


JSON = (".json", ".jsonl", ".ndjson")
SAMPLE = 1 << 20
"""Characters of a delimited file that decide on its delimiter and header."""
LEAST_LINES = 20
"""Lines of it, at least, where the file has so many."""


@dataclass(frozen=True, slots=True)
class Opened:
    """All rows, those of several files one after another, and how they were read.

    `files`: split -> file, or `all` -> the only one; `rows`: how many are of each. `notes` are sentences on what was not plain.
    `names`: column -> label names that the file's own metadata gives to its numbers. `langs`: the language of each row, where
    the paths tell it; `files` have `{lang}` for it then, and `spelled` says what stands there, by language.
    """

    files: dict[str, Path]
    csv: CsvFormat
    columns: ColumnLists
    rows: dict[str, int]
    notes: list[str] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=dict)
    langs: list[str] | None = None
    spelled: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.rows.values())

    def split_of_rows(self) -> Iterator[str]:
        for split, count in self.rows.items():
            yield from [split] * count


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the user said of the format; None: to be found out."""

    delimiter: str | None = None
    encoding: str | None = None
    header: bool | None = None
    sheet: str | None = None

    def check(self, path: Path, files: Iterable[Path]) -> None:
        """Raises `UserError` for an option that says nothing of these files."""
        suffixes = {"" if file.is_dir() else suffix_of(file) for shard in files for file in shards_of(shard)}
        if (self.delimiter is not None or self.header is not None) and not suffixes & {*DELIMITED}:
            raise UserError(f"{path}: a delimiter or header is said of csv and tsv files.", "Leave these options out.")
        if self.encoding is not None and not suffixes & {*DELIMITED, *JSON, ""}:
            raise UserError(f"{path}: an encoding is said of text: csv, tsv, json, jsonl.", "Leave --encoding out.")
        if self.sheet is not None and not suffixes & {*SHEETS}:
            raise UserError(f"{path}: a sheet is said of spreadsheets.", "Leave --sheet out.")


def open_data(path: Path, read_options: ReadOptions) -> Opened:
    """Read `path`. Raises `UserError` (among them `DataError`) where it can't be read, or only by guessing."""
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder.", "Give a csv, tsv, jsonl, json or parquet file.")
    layout = layout_of(path)
    if any("{lang}" in str(file) for file in layout.files.values()):
        raise UserError(f"{path}: a path with {{lang}} in it stands for several files.", "Rename it.")
    read_options.check(path, layout.files.values())
    tables, form, notes = _tables(layout.files, read_options)
    usable, left_out = _alike(layout.files, tables)
    parts, lacking = in_all_splits(usable)
    columns: ColumnLists = {name: [] for name in next(iter(tables.values()))}
    rows: Counter[str] = Counter()
    langs: list[str] = []
    for split, lang in parts:
        table = tables[split, lang]
        for name, values in columns.items():
            values += table.get(name, [])
        count = len(next(iter(table.values()), []))
        rows[split] += count
        langs += [lang] * count
    if not columns or not rows.total():
        raise DataError(f"{path} has no rows.", "The first line names the columns, each further line is a row.")
    kept = {split: layout.paths[split] for split in rows}
    names = _class_names(next(iter(layout.files.values())))
    notes = [*layout.notes, *notes, *left_out, *lacking]
    return Opened(kept, form, columns, dict(rows), notes, names, langs if any(langs) else None, layout.spelled)


def _tables(files: dict[Part, Path], read_options: ReadOptions) -> tuple[dict[Part, ColumnLists], CsvFormat, list[str]]:
    """What is in each file, all read in the format of the first file of text, as the task can name one only."""
    lead = next((file for file in files.values() if _delimited(file)), None)
    tables: dict[Part, ColumnLists] = {}
    if lead is None:
        form, notes = _format_of_others(files.values(), read_options)
        return {part: read_file(file, form, read_options.sheet) for part, file in files.items()}, form, notes
    form, notes, table = _format_of(lead, read_options, _encoding_of(files.values(), read_options))
    for part, file in files.items():
        if not _delimited(file):
            tables[part] = read_file(file, form, read_options.sheet)
        elif file == lead:
            tables[part] = table
        else:
            tables[part] = _read_like(lead, table, form, file, read_options)
    return tables, form, notes


def _encoding_of(files: Iterable[Path], read_options: ReadOptions) -> tuple[str, list[str]]:
    """The encoding of all files of text, as the task can name one only; what is ASCII is so in any."""
    shards = [shard for file in files if _delimited(file) for shard in shards_of(file)]
    if read_options.encoding is None:
        return encoding_of(*shards)
    check_encoding(shards[0], read_options.encoding)
    return read_options.encoding, []


def _format_of_others(files: Iterable[Path], read_options: ReadOptions) -> tuple[CsvFormat, list[str]]:
    """The encoding of JSON, and what is doubtful of spreadsheets."""
    form, notes = CsvFormat(), list[str]()
    for file in (shard for path in files for shard in shards_of(path)):
        of_classes = file.is_dir() and not is_saved(file)
        if (of_classes or (not file.is_dir() and suffix_of(file) in JSON)) and form.encoding == "utf-8":
            encoding, said = (read_options.encoding, list[str]()) if read_options.encoding else encoding_of(file)
            if not of_classes:
                check_encoding(file, encoding)
            form, notes = form.model_copy(update={"encoding": encoding}), [*notes, *said]
        elif (
            not file.is_dir()
            and suffix_of(file) in SHEETS
            and read_options.sheet is None
            and len(sheets := sheets_of(file)) > 1
            and not are_splits(sheets)
        ):
            rest = ", ".join(map(repr, sheets[1:]))
            notes.append(f"{file.name}: the sheet {sheets[0]!r} is read. Others with rows: {rest}; one of them: --sheet NAME.")
    return form, notes


def _delimited(path: Path) -> bool:
    return all(delimited(shard) for shard in shards_of(path))


def _read_like(lead: Path, table: ColumnLists, form: CsvFormat, file: Path, read_options: ReadOptions) -> ColumnLists:
    """`file` in the format of `lead`; raises `UserError` where it is written in another one."""
    failed: DataError | None = None
    try:
        found = read_file(file, form)
    except DataError as error:
        failed, found = error, {}
    if failed is None and form.header is None and all(name in found for name in table):
        return found
    try:
        own, _, _ = _format_of(file, read_options, _encoding_of([file], read_options))
    except DataError:  # it can't be read in any way: what the first try said of it is as good
        own = form
    ways, own_ways = _ways(lead, form), _ways(file, own)
    other = own.delimiter != form.delimiter or (own.header is None) != (form.header is None)
    if ways != own_ways and (other or failed is not None):
        raise UserError(
            f"{file.name} is written in another way than {lead.name} ({', '.join(own_ways)}; {lead.name}: {', '.join(ways)}).",
            "Save both alike: the same delimiter, encoding and quotes, and names of columns in both or in neither.",
        ) from failed
    if failed is not None:
        raise failed
    return found


def _ways(path: Path, form: CsvFormat) -> list[str]:
    """How a file is written, in words."""
    delimiter = form.delimiter or usual_delimiter(path)
    quotes = "quotes escaped" if form.escape else "quotes doubled" if form.quoted else "quotes that enclose nothing"
    return [f"fields divided by {delimiter!r}", f"in {form.encoding}", quotes, "no header" if form.header else "with a header"]


def _alike(files: dict[Part, Path], tables: dict[Part, ColumnLists]) -> tuple[list[Part], list[str]]:
    """Those with the columns of the first; another one (a test file without labels, say) can't be used."""
    first = next(iter(tables.values()))
    kept, notes = [], []
    for part, table in tables.items():
        missing = [name for name in first if name not in table]
        if missing and table:
            name = files[part].name if not part[1] else "/".join(files[part].parts[-2:])
            notes.append(f"{name} is left out: it lacks the column {', '.join(missing)}.")
        else:
            kept.append(part)
    return kept, notes


def _format_of(
    path: Path, read_options: ReadOptions, encoded: tuple[str, list[str]]
) -> tuple[CsvFormat, list[str], ColumnLists]:
    """The format in which the whole file (or its shards) can be read, what of it was not plain, and what was read.

    `encoded`: its encoding, and what was not plain about that."""
    first = shards_of(path)[0]
    encoding, notes = encoded[0], list(encoded[1])
    form = CsvFormat(encoding=encoding)
    text, whole, named_delimiter = _sample(first, encoding)
    if "\x00" in text:
        raise DataError(f"{path} is no text: it holds zero bytes.", "Save it as CSV in UTF-8, or give --encoding utf-16.")
    if not text.strip():
        raise DataError(f"{path} is empty.", "The first line names the columns, each further line is a row.")
    if text.startswith(FASTTEXT) and suffix_of(first) != ".csv":
        return form, notes, read_file(path, form)
    delimiter, variants = dialect_of(first, text, whole, read_options.delimiter or named_delimiter)
    form = form.model_copy(update={"delimiter": None if delimiter == usual_delimiter(first) else delimiter})
    failed: DataError | None = None
    for variant in variants:
        form = form.model_copy(update={"quoted": True, "escape": None, "quote": '"', "skip": 0, "spaced": False, **variant})
        if read_options.header is not False:
            form = form.model_copy(update={"skip": lines_above(text, delimiter, form)})
        form = form.model_copy(update={"spaced": _spaced(readable_rows(text, delimiter, form, whole))})
        rows = readable_rows(text, delimiter, form, whole)
        bare = not has_header(rows) if read_options.header is None else not read_options.header
        header = [f"column_{number + 1}" for number in range(len(rows[0]))] if bare else None
        try:
            table = read_file(path, form := form.model_copy(update={"header": header}))
        except NoRow:
            raise
        except DataError as error:
            failed = failed or error
            continue
        if form.skip:
            lines = "line stands" if form.skip == 1 else "lines stand"
            notes.append(f"{form.skip} {lines} above the names of the columns, and are skipped; if they are rows: --no-header.")
        if bare and read_options.header is None:
            notes.append("The first line looks like a row, not like names of columns; if it holds names: --header.")
        return form, notes, table
    assert failed is not None
    if read_options.delimiter is not None:
        raise failed
    raise DataError(
        failed.message, f"{failed.hint} If another character stands between the fields: --delimiter CHAR.".strip()
    ) from failed


def _sample(path: Path, encoding: str) -> tuple[str, bool, str | None]:
    """The beginning of the file, with several rows of it where it has them; whether that is all; and the delimiter that a
    first line `sep=;` names."""
    with open_text(path, encoding) as file:
        text = file.read(SAMPLE)
        while _lines_outside_quotes(text) < LEAST_LINES and (more := file.read(3 * len(text))):
            text += more  # the first text alone may be longer than the sample
        whole = not file.read(1)
    first, _, rest = text.partition("\n")
    named_delimiter = separator_line(first)
    return (text, whole, None) if named_delimiter is None else (rest, whole, named_delimiter)


def _lines_outside_quotes(text: str) -> int:
    """Ends of lines before which stands an even number of quotes, roughly the rows; counted up to some."""
    quotes = found = 0
    for line in io.StringIO(text):
        quotes += line.count('"')
        found += quotes % 2 == 0
        if found == LEAST_LINES:
            break
    return found


def _class_names(path: Path) -> dict[str, list[str]]:
    """Label names that the `datasets` library wrote into a parquet file."""
    first = shards_of(path)[0]
    if first.is_dir() and is_saved(first):
        first = saved_files(first)[0]
    if first.is_dir() or suffix_of(first) not in (".parquet", ".arrow"):
        return {}
    metadata = schema_metadata(first)
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"].items()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # it is no part of the rows: left out
        return {}
    return {name: names for name, kind in features if (names := _names_in(kind))}


def _names_in(kind: Any) -> list[str]:
    names = kind.get("names") if isinstance(kind, dict) else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []
