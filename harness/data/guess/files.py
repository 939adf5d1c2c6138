"""Open a file, or a folder of splits, that nobody has described yet: encoding, delimiter, quotes, header."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.errors import DataError, UserError
from harness.data.guess.folders import Part, in_all_splits, layout_of
from harness.data.sources import MAX_FIELD, ColumnLists, read_file
from harness.specs.tasks import CsvFormat

MOST_FOREIGN = 0.15  # of Western text in cp1252 far fewer bytes are no ASCII, of Cyrillic or Chinese text most are


def encoding_named(said: str) -> str:
    """Python's name of the encoding that the user names; raises `UserError` for what encodes no text (base64, rot13)."""
    try:
        "a".encode(said)
        return codecs.lookup(said).name
    except (LookupError, ValueError) as error:  # ValueError: a zero byte in the name, or an encoding that only fails
        raise UserError(
            f"--encoding {said}: no text encoding that Python knows.", "Such as utf-8, cp1252 or gb18030."
        ) from error


def check_encoding(path: Path, encoding: str) -> None:
    """Raises `DataError` where the file is not in the encoding that the user named."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(path.read_bytes(), True)  # as a file is read: UTF-16 needs its mark
    except UnicodeError as error:
        reason = getattr(error, "reason", None) or str(error)
        raise DataError(
            f"{path} is not in {encoding} ({reason}).",
            "Give another one, such as --encoding cp1252; or leave --encoding out, and bench looks for itself.",
        ) from error


def encoding_of(path: Path) -> tuple[str, list[str]]:
    """The encoding and what was not plain about it; raises `DataError` where it can't be told."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16", ["The file is in UTF-16."]
    try:
        data.decode("utf-8")
        return "utf-8", []
    except UnicodeDecodeError as error:
        foreign = sum(byte > 127 for byte in data) / len(data)
        if foreign <= MOST_FOREIGN and b"\x00" not in data:
            try:
                data.decode("cp1252")
            except UnicodeDecodeError:
                pass
            else:
                return "cp1252", [
                    "The file is not in UTF-8; read as cp1252 (Western European). If letters are wrong: --encoding NAME."
                ]
        raise DataError(
            f"{path} is not in UTF-8 ({error.reason} at byte {error.start}).",
            "Say in what it is: --encoding cp1251 (Cyrillic), gb18030 (Chinese), cp932 (Japanese), cp949 (Korean), ...",
        ) from error


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
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder.", "Give a csv, tsv, jsonl, json or parquet file.")
    layout = layout_of(path)
    if any("{lang}" in str(file) for file in layout.files.values()):
        raise UserError(f"{path}: a path with {{lang}} in it stands for several files.", "Rename it.")
    if read_options != ReadOptions() and not any(map(_delimited, layout.files.values())):
        raise UserError(f"{path}: a delimiter, encoding or header is said of csv and tsv files.", "Leave these options out.")
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
    _check_flat(path, columns)
    kept = {split: layout.paths[split] for split in rows}
    names = _class_names(next(iter(layout.files.values())))
    notes = [*layout.notes, *notes, *left_out, *lacking]
    return Opened(kept, form, columns, dict(rows), notes, names, langs if any(langs) else None, layout.spelled)


def _check_flat(path: Path, columns: ColumnLists) -> None:
    """Raises `DataError` for rows one level too deep: `{"data": [{"text": ...}, ...]}`."""
    name, values = next(iter(columns.items()))
    if len(columns) == 1 and all(isinstance(value, dict) for value in values):
        raise DataError(f"{path}: the rows stand within {name!r}.", "Save them alone: a list of objects, [{...}, {...}].")


def _tables(files: dict[Part, Path], read_options: ReadOptions) -> tuple[dict[Part, ColumnLists], CsvFormat, list[str]]:
    """What is in each file, all read in the format of the first csv or tsv file, as the task can name one only."""
    lead = next((file for file in files.values() if _delimited(file)), None)
    form, notes, table = (CsvFormat(), list[str](), None) if lead is None else _format_of(lead, read_options)
    tables: dict[Part, ColumnLists] = {}
    for part, file in files.items():
        if lead is None or not _delimited(file):
            tables[part] = read_file(file)
        elif file == lead and table is not None:
            tables[part] = table
        else:
            tables[part] = _read_like(lead, table or {}, form, file, read_options)
    return tables, form, notes


def _delimited(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv")


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
    delimiter = form.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
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
    if read_options.encoding is not None:
        check_encoding(path, read_options.encoding)
    encoding, notes = (read_options.encoding, []) if read_options.encoding is not None else encoding_of(path)
    form = CsvFormat(encoding=encoding)
    with path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="") as file:
        text = file.read(SAMPLE)
        whole = not file.read(1)
    if "\x00" in text:
        raise DataError(f"{path} is no text: it holds zero bytes.", "Save it as CSV in UTF-8, or give --encoding utf-16.")
    if not text.strip():
        raise DataError(f"{path} is empty.", "The first line names the columns, each further line is a row.")
    delimiter, variants = dialect_of(path, text, whole, read_options.delimiter)
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    form = form.model_copy(update={"delimiter": None if delimiter == usual else delimiter})
    failed: DataError | None = None
    for variant in variants:
        form = form.model_copy(update=variant)
        rows = readable_rows(text, delimiter, form, whole)
        bare = not has_header(rows) if read_options.header is None else not read_options.header
        header = [f"column_{number + 1}" for number in range(len(rows[0]))] if bare else None
        try:
            table = read_file(path, form := form.model_copy(update={"header": header}))
        except DataError as error:
            failed = failed or error
            continue
        if bare and read_options.header is None:
            notes.append("The first line looks like a row, not like names of columns; if it holds names: --header.")
        return form, notes, table
    assert failed is not None
    if read_options.delimiter is not None:
        raise failed
    raise DataError(
        failed.message, f"{failed.hint} If another character stands between the fields: --delimiter CHAR.".strip()
    ) from failed


def _class_names(path: Path) -> dict[str, list[str]]:
    """Label names that the `datasets` library wrote into a parquet file."""
    if path.suffix.lower() != ".parquet":
        return {}
    from pyarrow import parquet

    metadata = parquet.read_schema(path).metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"].items()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # it is no part of the rows: left out
        return {}
    return {name: names for name, kind in features if (names := _names_in(kind))}


def _names_in(kind: Any) -> list[str]:
    names = kind.get("names") if isinstance(kind, dict) else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []
