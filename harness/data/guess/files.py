"""Open a file, or a folder of splits, that nobody has described yet: encoding, delimiter, quotes, header."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.errors import DataError, UserError
from harness.data.guess.encodings import check_encoding, encoding_of
from harness.data.guess.folders import Layout, Part, in_all_splits, layout_of, layout_of_parts
from harness.data.json_tables import ColumnLists, SeveralTables
from harness.data.reading import (
    ARROW,
    DELIMITED,
    SHEETS,
    class_folders,
    csv_reader,
    is_fast_text,
    located,
    read_file,
    saved_files,
    sheet_rows,
    suffix_of,
    unpacked,
    without_mark,
)
from harness.specs.tasks import CsvFormat


def encoding_named(said: str) -> str:
    """Python's name of the encoding that the user names; raises `UserError` for what encodes no text (base64, rot13)."""
    try:
        "a".encode(said)
        return codecs.lookup(said).name
    except (LookupError, ValueError) as error:  # ValueError: a zero byte in the name, or an encoding that only fails
        raise UserError(
            f"--encoding {said}: no text encoding that Python knows.", "Such as utf-8, cp1252 or gb18030."
        ) from error


DELIMITERS = (",", ";", "\t", "|")
LONGEST_NAME = 60


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
                usual = delimiter == DELIMITED[suffix_of(path)]
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


MOST_ABOVE = 20


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
    if len(held) > max(1, len(first) // 3) or len(nameless) == len(first):
        return False
    twice = next((cell for cell in first if cell.strip() and first.count(cell) > 1), None)
    if twice is not None:
        raise UserError(
            f"The first line names the column {twice!r} twice.", "Rename one of them; or, if that line is a row: --no-header."
        )
    return True


LEAST_ROWS = 30
"""Rows that a sample should hold."""
SAMPLE = 1 << 20
"""Characters of a delimited file that decide on its delimiter and header."""


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


def open_data(path: Path, read_options: ReadOptions) -> Opened:
    """Read `path`. Raises `UserError` (among them `DataError`) where it can't be read, or only by guessing."""
    if not located(path)[0]:
        raise UserError(f"{path}: there is no such file or folder.", "Give a csv, tsv, jsonl, json or parquet file.")
    layout = layout_of(path)
    if any("{lang}" in str(file) for file in layout.files.values()):
        raise UserError(f"{path}: a path with {{lang}} in it stands for several files.", "Rename it.")
    _check_options(path, layout, read_options)
    try:
        tables, form, notes = _tables(layout.files, read_options)
    except SeveralTables as several:
        layout = layout_of_parts(path, several)
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


def _check_options(path: Path, layout: Layout, said: ReadOptions) -> None:
    """Raises `UserError` for an option that no file has a use for."""
    files = list(layout.files.values())
    if said.encoding is not None and not any(map(_written, files)):
        raise UserError(f"{path}: an encoding is said of text files.", "Leave --encoding out.")
    if said.delimiter is not None and not any(suffix_of(file) in DELIMITED for file in files):
        raise UserError(f"{path}: a delimiter is said of csv, tsv and txt files.", "Leave --delimiter out.")
    if said.header is not None and not any(map(_delimited, files)):
        raise UserError(f"{path}: a header is said of csv, tsv and txt files and of sheets.", "Leave this option out.")


def _tables(files: dict[Part, Path], read_options: ReadOptions) -> tuple[dict[Part, ColumnLists], CsvFormat, list[str]]:
    """What is in each file, all read in the format of the first csv or tsv file, as the task can name one only."""
    written = [file for file in files.values() if _written(file)]
    lead = next((file for file in written if _delimited(file)), next(iter(written), None))
    form, notes, table = (CsvFormat(), list[str](), None) if lead is None else _format_of(lead, read_options)
    tables: dict[Part, ColumnLists] = {}
    for part, file in files.items():
        if lead is None or file not in written:
            tables[part] = read_file(file)
        elif file == lead and table is not None:
            tables[part] = table
        else:
            tables[part] = _read_like(lead, table or {}, form, file, read_options)
    return tables, form, notes


def _written(path: Path) -> bool:
    """Whether a path is that of text or of a sheet, so that it has a format."""
    if path.is_dir():
        return not (path / "state.json").is_file()
    return suffix_of(path) not in (".parquet", *ARROW)


def _delimited(path: Path) -> bool:
    return not path.is_dir() and suffix_of(path) in (*DELIMITED, *SHEETS)


def _read_like(lead: Path, table: ColumnLists, form: CsvFormat, file: Path, read_options: ReadOptions) -> ColumnLists:
    """`file` in the format of `lead`; raises `UserError` where it is written in another one."""
    failed: DataError | None = None
    if read_options.encoding is None and form.encoding != "utf-8" and suffix_of(file) not in SHEETS:
        own_encoding = encoding_of(str(file), data := _bytes_of(file))[0]
        if own_encoding != form.encoding and not (data.isascii() and form.encoding.isascii() and b"\x00" not in data):
            raise UserError(
                f"{file.name} is written in another way than {lead.name} (in {own_encoding}; {lead.name}: in {form.encoding}).",
                "Save both in UTF-8.",
            )
    try:
        found = read_file(file, form)
    except DataError as error:
        failed, found = error, {}
    if failed is None and (not _delimited(file) or (form.header is None and all(name in found for name in table))):
        return found
    try:
        own, _, _ = _format_of(file, read_options)
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
    delimiter = form.delimiter or DELIMITED.get(suffix_of(path), ",")
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


def _format_of(path: Path, read_options: ReadOptions) -> tuple[CsvFormat, list[str], ColumnLists]:
    """The format in which the whole file can be read, what of it was not plain, and what was read."""
    if not path.is_dir() and suffix_of(path) in SHEETS:
        return _format_of_sheet(path, read_options)
    data = _bytes_of(path)
    if read_options.encoding is not None:
        check_encoding(path, data, read_options.encoding)
    encoding, notes = (read_options.encoding, []) if read_options.encoding is not None else encoding_of(str(path), data)
    form = CsvFormat(encoding=encoding)
    if not _delimited(path) or is_fast_text(data[:64]):
        return form, notes, read_file(path, form)
    size, first = SAMPLE, unpacked(located(path)[0][0])[1]  # of shards, each of which has a header
    while True:
        with io.TextIOWrapper(io.BytesIO(first), encoding=without_mark(encoding), newline="") as file:
            text = file.read(size)
            whole = not file.read(1)
        if whole or sum(1 for _ in itertools.islice(_sampled(text), LEAST_ROWS)) == LEAST_ROWS:
            break
        size *= 8  # a text of its own fills the sample
    _check_text(path, text)
    return _format_of_text(path, text, whole, form, notes, read_options)


def _bytes_of(path: Path) -> bytes:
    """All text that stands at `path`."""
    files, _ = located(path)
    if len(files) == 1 and files[0].is_dir():
        files = [file for of in class_folders(files[0]).values() for file in of]
        return b"\n".join(file.read_bytes() for file in files)
    return b"\n".join(unpacked(file)[1] for file in files) if len(files) > 1 else unpacked(files[0])[1]


def _sampled(text: str) -> Iterator[str]:
    """Ends of lines outside of quotes, roughly: before them stands an even number of quotes."""
    quotes = 0
    for line in io.StringIO(text):
        quotes += line.count('"')
        if quotes % 2 == 0:
            yield line


def _check_text(path: Path, text: str) -> None:
    if "\x00" in text:
        raise DataError(
            f"{path} is no text: it holds zero bytes.", "Save it as CSV in UTF-8, or give --encoding utf-16; or take them out."
        )
    if not text.strip():
        raise DataError(f"{path} is empty.", "The first line names the columns, each further line is a row.")


def _format_of_sheet(path: Path, read_options: ReadOptions) -> tuple[CsvFormat, list[str], ColumnLists]:
    files, part = located(path)
    rows = sheet_rows(files[0], unpacked(files[0])[1], part)
    if not rows:
        raise DataError(f"{path} is empty.", "The first row names the columns, each further row is one of the table.")
    bare = not has_header(rows) if read_options.header is None else not read_options.header
    form = CsvFormat(header=[f"column_{number + 1}" for number in range(len(rows[0]))] if bare else None)
    return form, [NO_HEADER] if bare and read_options.header is None else [], read_file(path, form)


NO_HEADER = "The first line looks like a row, not like names of columns; if it holds names: --header."


def _format_of_text(
    path: Path, text: str, whole: bool, form: CsvFormat, notes: list[str], read_options: ReadOptions
) -> tuple[CsvFormat, list[str], ColumnLists]:
    said = re.match(r"sep=(.)[\r\n]+", text, re.IGNORECASE)  # a line for Excel
    wished = said[1] if said is not None and read_options.delimiter is None else read_options.delimiter
    delimiter, variants = dialect_of(path, text if said is None else text[said.end() :], whole, wished)
    usual = DELIMITED[suffix_of(path)]
    form = form.model_copy(update={"delimiter": None if delimiter == usual else delimiter})
    failed: DataError | None = None
    for variant in variants:
        quoting = form.model_copy(update=variant)
        skip = 1 if said is not None else lines_above(text, delimiter, quoting) if read_options.header is not False else 0
        quoting = quoting.model_copy(update={"skip": skip})
        rows = readable_rows(text, delimiter, quoting, whole)
        bare = not has_header(rows) if read_options.header is None else not read_options.header
        header = [f"column_{number + 1}" for number in range(len(rows[0]))] if bare else None
        try:
            found = quoting.model_copy(update={"header": header})
            table = read_file(path, found)
        except DataError as error:
            failed = failed or error
            continue
        if skip and said is None:
            lines = "line stands" if skip == 1 else "lines stand"
            notes.append(
                f"{skip} {lines} above the names of the columns, and are skipped; if not: --no-header, or edit `skip`."
            )
        if bare and read_options.header is None:
            notes.append(NO_HEADER)
        return found, notes, table
    assert failed is not None
    if read_options.delimiter is not None:
        raise failed
    raise DataError(
        failed.message, f"{failed.hint} If another character stands between the fields: --delimiter CHAR.".strip()
    ) from failed


def _class_names(path: Path) -> dict[str, list[str]]:
    """Label names that the `datasets` library wrote into a parquet file."""
    metadata = _metadata(path)
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"].items()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # it is no part of the rows: left out
        return {}
    return {name: names for name, kind in features if (names := _names_in(kind))}


def _metadata(path: Path) -> dict[bytes, bytes]:
    """Of the schema of a parquet or Arrow file; nothing of other files."""
    from pyarrow import ipc, parquet

    files, _ = located(path)
    file = files[0]
    if file.suffix.lower() == ".parquet":
        return parquet.read_schema(file).metadata or {}
    if (file / "state.json").is_file() and (inner := saved_files(file)):
        with inner[0].open("rb") as stream:
            return ipc.open_stream(stream).schema.metadata or {}
    return {}


def _names_in(kind: Any) -> list[str]:
    names = kind.get("names") if isinstance(kind, dict) else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []
