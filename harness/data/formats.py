"""Read one file, several shards or a folder of texts into columns, whatever its format."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import csv
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from harness.core.errors import DataError, MissingExtra
from harness.core.progress_events import tell
from harness.data.contents import LONGEST, check_binary, check_text
from harness.data.json_tables import LONGEST_NAME, ColumnLists, are_splits, joined_splits, read_json
from harness.specs.tasks import CsvFormat

USUAL = CsvFormat()
MAX_FIELD = 2**31 - 1  # characters of a csv file's field: the most that the csv module takes on each platform
FASTTEXT = "__label__"
SHORT, MOST_KNOWN = 24, 10_000
"""Cells of up to so many characters share their memory with equal ones, of which so many are looked for."""
UNLABELLED = frozenset(("unsup", "unlabeled", "unlabelled", "unsupervised"))
"""Folders of texts without a label."""
SHARD = "*"
"""Stands for the numbers of shards in a path: `train-*.parquet`."""

OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
PACKED = (*OPENERS, ".zip")
DELIMITED = (".csv", ".tsv", ".txt", ".tab", ".dat")
SHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
ARROW = (".arrow", ".feather")
OTHER_FORMATS = {
    (".text", ".md", ".log"): "Name it .tsv where tabs stand between its columns, and .csv where commas do",
    (".numbers", ".docx", ".pdf"): "Save the table as CSV (UTF-8) in the program that made it",
    (".zst", ".7z", ".tar", ".tgz", ".rar"): "Unpack it first",
    (
        ".pkl",
        ".pickle",
        ".rds",
        ".rda",
        ".sav",
        ".dta",
        ".h5",
    ): "Save the table as parquet or csv: this format can hold code, or needs its own program",
    (".xml", ".html", ".yaml", ".yml"): "Convert it to csv or jsonl",
    (".db", ".sqlite", ".sqlite3"): "Export the table as csv",
}


def suffix_of(path: Path) -> str:
    """The suffix that tells the format, in small letters; of a packed file the one before (`.csv` of `a.csv.gz`)."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return Path(_only_member(path)).suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in PACKED else suffix


def delimited(path: Path) -> bool:
    """Whether the file is text with a delimiter. Raises `DataError` for a .zip of several files."""
    return not path.is_dir() and suffix_of(path) in DELIMITED


def readable(path: Path) -> bool:
    """Whether the name of a file is that of a format which is read; nothing is opened."""
    suffix = path.suffix.lower()
    return suffix in READERS or suffix == ".zip" or (suffix in OPENERS and Path(path.stem).suffix.lower() in READERS)


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of the file, unpacked."""
    if path.suffix.lower() in PACKED:
        with path.open("rb") as packed:
            check_binary(path, packed.read(LONGEST))
    opener = OPENERS.get(path.suffix.lower())
    if opener is not None:
        found: BinaryIO = opener(path)
        return found
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            return io.BytesIO(archive.read(_only_member(path)))
    return path.open("rb")


def open_text(path: Path, encoding: str) -> io.TextIOWrapper:
    """The text of the file, unpacked, with its ends of lines as they are, and without a byte order mark."""
    return io.TextIOWrapper(open_bytes(path), encoding=_without_mark(encoding), newline="")


def _only_member(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no zip file that can be read: {error}") from error
    if len(names) != 1:
        raise DataError(f"{path} holds {len(names)} files.", "Unpack it, and give one of them or the folder.")
    return names[0]


def shards_of(path: Path) -> list[Path]:
    """The files that a path with `*` stands for, sorted; the path itself where it has none."""
    if SHARD not in path.name:
        return [path]
    return sorted((shard for shard in path.parent.glob(path.name) if not hidden(shard)), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts `part-10` behind `part-9`."""
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in re.split(r"(\d+)", path.name)]


def there(path: Path) -> bool:
    """Whether a task can read the path: a file, shards, a folder of texts in folders of classes, or one saved by `datasets`."""
    return (
        path.is_file()
        or (SHARD in path.name and bool(shards_of(path)))
        or bool(path.is_dir() and (is_saved(path) or class_folders(path)))
    )


def is_saved(path: Path) -> bool:
    """Whether `save_to_disk` of the library `datasets` wrote the folder, for one split."""
    return (path / "state.json").is_file()


def saved_files(path: Path) -> list[Path]:
    """The Arrow files of such a folder. Raises `DataError`."""
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        return [path / str(entry["filename"]) for entry in state["_data_files"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path / 'state.json'} does not name the files of rows: {error}.") from error


def class_folders(path: Path) -> list[Path]:
    """The folders in `path` that hold one text per file: each is a class."""
    folders = (folder for folder in path.iterdir() if folder.is_dir() and folder.name not in UNLABELLED)
    return sorted(folder for folder in folders if not hidden(folder) and next(_texts_in(folder), None) is not None)


def texts_of(folder: Path) -> list[Path]:
    """The files of a class, sorted: .txt, or with a number for a name (as in 20 Newsgroups)."""
    return sorted(_texts_in(folder))


def _texts_in(folder: Path) -> Iterator[Path]:
    named = (file for file in folder.iterdir() if file.suffix.lower() == ".txt" or re.fullmatch(r"\d+", file.name))
    return (file for file in named if not hidden(file) and file.is_file())


def hidden(path: Path) -> bool:
    """Whether programs made the file for themselves: `.DS_Store`, `._train.csv` of a Mac, `~$train.xlsx` of Excel."""
    return path.name.startswith((".", "~$", "__MACOSX"))


def read_file(path: Path, csv: CsvFormat = USUAL, sheet: str | None = None) -> ColumnLists:
    """Columns of a file, of the shards of a path with `*`, or of a folder with a folder of .txt files for each class.

    `csv`: the format of delimited text, and the encoding of JSON. `sheet`: of a spreadsheet; None: the first that has rows.
    Raises `DataError`, or `MissingExtra` for a spreadsheet without its library.
    """
    if SHARD in path.name:
        return _joined(path, [read_file(shard, csv, sheet) for shard in shards_of(path)])
    if path.is_dir():
        return (
            _joined(path, [_read_arrow(file) for file in saved_files(path)])
            if is_saved(path)
            else _read_classes(path, csv.encoding)
        )
    reader = READERS.get(suffix_of(path))
    if reader is None:
        suffix = suffix_of(path)
        first = next((f"{hint}. " for suffixes, hint in OTHER_FORMATS.items() if suffix in suffixes), "")
        raise DataError(f"{path}: the suffix {suffix!r} is not known.", f"{first}Use one of {', '.join(READERS)}.")
    tell("read", 0, 0, path.name)
    try:
        _check_contents(path, reader)
        if reader is _read_delimited:
            return _read_delimited(path, csv)
        if reader is _read_sheet:
            return _read_sheet(path, sheet)
        return _flat(_read_json(path, csv.encoding) if reader is _read_json else reader(path))
    except (OSError, UnicodeError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(
            f"{path} can't be read: {error}",
            "If the text is not in UTF-8, name its encoding: --encoding NAME, or `csv.encoding`.",
        ) from error


def _check_contents(path: Path, reader: Callable[..., ColumnLists]) -> None:
    """Raises `DataError` where the first bytes are of another kind of file than the name says."""
    with open_bytes(path) as file:
        (check_text if reader in (_read_delimited, _read_json) else check_binary)(path, file.read(LONGEST))


def _joined(path: Path, tables: list[ColumnLists]) -> ColumnLists:
    """The rows of all shards, which must have the same columns."""
    if not tables:
        raise DataError(f"There is no file {path}.")
    odd = next((table for table in tables if table.keys() != tables[0].keys()), None)
    if odd is not None:
        differ = ", ".join(sorted(odd.keys() ^ tables[0].keys()))
        raise DataError(f"{path}: the files do not have the same columns ({differ}).", "Give them the same columns.")
    return {name: [value for table in tables for value in table[name]] for name in tables[0]}


def _read_classes(path: Path, encoding: str) -> ColumnLists:
    """One row for each text of the folders in `path`; the name of a folder is the label of its texts."""
    texts, labels = [], []
    for folder in class_folders(path):
        for file in texts_of(folder):
            try:
                texts.append(file.read_text(encoding=_without_mark(encoding)))
            except (OSError, UnicodeError) as error:
                hint = "Save all in UTF-8, or name the encoding that all have: --encoding NAME, or `csv.encoding`."
                raise DataError(f"{file} can't be read: {error}.", hint) from error
            labels.append(folder.name)
    return {"text": texts, "label": labels}


def _flat(columns: ColumnLists) -> ColumnLists:
    """Objects in cells as columns of their own: `{"review": {"text": ...}}` is the column `review.text`, and
    `{"labels": [{"name": ...}, ...]}` the column `labels.name` of lists."""
    found: ColumnLists = {}
    for name, values in columns.items():
        kinds = {type(value) for value in values if value is not None}
        if kinds == {list} and {type(item) for value in values for item in value or ()} == {dict}:
            inner = dict.fromkeys(key for value in values for item in value or () for key in item)
            found |= _flat({f"{name}.{key}": [_of_items(value, key) for value in values] for key in inner})
        elif kinds == {dict}:
            inner = dict.fromkeys(key for value in values if value is not None for key in value)
            deeper = {f"{name}.{key}": [None if value is None else value.get(key) for value in values] for key in inner}
            found |= _flat(deeper)
        else:
            found[name] = values
    return found


def _of_items(items: list[dict[str, Any]] | None, key: str) -> list[Any] | None:
    """What the objects of a list have under `key`; lists are put together."""
    held = [item[key] for item in items or () if item.get(key) is not None]
    if all(isinstance(one, list) for one in held):
        held = [part for one in held for part in one]
    return None if items is None else held


def _read_parquet(path: Path) -> ColumnLists:
    from pyarrow import parquet

    return _from_arrow(path, lambda: parquet.ParquetFile(path).read())


def schema_metadata(path: Path) -> dict[bytes, bytes]:
    """What a parquet or arrow file says beside its rows."""
    from pyarrow import ArrowInvalid, ipc, parquet

    if suffix_of(path) == ".parquet":
        return dict(parquet.read_schema(path).metadata or {})
    with path.open("rb") as file:
        try:
            return dict(ipc.open_file(file).schema.metadata or {})
        except ArrowInvalid:
            file.seek(0)
            return dict(ipc.open_stream(file).schema.metadata or {})


def _read_arrow(path: Path) -> ColumnLists:
    """Arrow's file format, and the stream that `datasets` saves."""
    from pyarrow import ArrowInvalid, ipc

    def read() -> Any:
        with path.open("rb") as file:
            try:
                return ipc.open_file(file).read_all()
            except ArrowInvalid:
                file.seek(0)
                return ipc.open_stream(file).read_all()

    return _from_arrow(path, read)


def _from_arrow(path: Path, read: Callable[[], Any]) -> ColumnLists:
    import pyarrow

    try:
        columns: ColumnLists = _decoded(read()).to_pydict()
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not a {path.suffix[1:]} file: {error}") from error
    except (ArithmeticError, ValueError) as error:  # a date or a length of time that Python has no value for
        raise DataError(f"{path} holds a value that can't be read: {error}.") from error
    return columns


def _decoded(table: Any) -> Any:
    """The table with strings for columns of bytes that are all UTF-8, as programs without a type of strings write them."""
    import pyarrow

    for place, field in enumerate(table.schema):
        if pyarrow.types.is_binary(field.type) or pyarrow.types.is_large_binary(field.type):
            with contextlib.suppress(pyarrow.ArrowInvalid):
                table = table.set_column(place, field.name, table.column(place).cast(pyarrow.large_string()))
    return table


def separator_line(first: str) -> str | None:
    """The delimiter that Excel's first line names: `sep=;`."""
    found = re.fullmatch(r"\ufeff?\"?sep=(.|\\t)\"?\s*", first)
    return None if found is None else "\t" if found[1] == r"\t" else found[1]


def usual_delimiter(path: Path) -> str:
    """A comma in a .csv file, else a tab."""
    return "," if suffix_of(path) == ".csv" else "\t"


def _read_delimited(path: Path, how: CsvFormat = USUAL) -> ColumnLists:
    """The csv module, not pandas: every value stays the string that it is ("NA", "007"), and errors have a line."""
    with open_text(path, how.encoding) as file:
        lines, before = _lines(file)
        if suffix_of(path) != ".csv" and (first := next(lines, "")) is not None:
            if first.startswith(FASTTEXT):
                return _read_fasttext(path, [first, *lines])
            lines = _again(first, lines)
        for _ in range(how.skip):
            next(lines, None)
        before += how.skip
        reader = csv_reader(lines, how.delimiter or usual_delimiter(path), how)
        rows: list[list[str]] = []
        known: dict[str, str] = {}  # labels stand in many rows: one object for all of them
        try:
            header = how.header if how.header is not None else next(reader, [])
            width = len(header)
            numbered = False
            for row in reader:
                if row and len(row) != width and not rows and how.header is None and _is_first_of_r(row, width):
                    numbered, header, width = True, ["", *header], width + 1
                elif row and len(row) != width:
                    if len(row) < width or any(row[width:]):
                        raise _other_length(path, before + reader.line_num, len(row), header)
                    row = row[:width]  # delimiters at the end of a line
                if row:
                    rows.append([known.setdefault(cell, cell) if len(cell) <= SHORT else cell for cell in row])
                    if len(known) > MOST_KNOWN:
                        known.clear()
        except csv.Error as error:
            raise DataError(
                f"{path}:{before + reader.line_num}: {error}.", "Double quotes inside a quoted text must be doubled."
            ) from error
    if numbered and any(row[0] != str(number) for number, row in enumerate(rows, start=1)):
        raise _other_length(path, before + 2, width, header[1:])
    if how.header is None:
        _check_rows(path, header, rows)
    return _named_columns(f"{path}:{before + 1}", header, rows)


def _is_first_of_r(row: list[str], width: int) -> bool:
    """Whether it may be row 1 of a table by R, which writes the numbers of rows in front, without a name above them."""
    return len(row) == width + 1 and row[0] == "1" and bool(row[-1])


class NoRow(DataError):
    """A line of the table that is no row of it."""


def _check_rows(path: Path, header: list[str], rows: list[list[str]]) -> None:
    """Raises `NoRow` for rows that are none: the names of the columns again, or the line below them of Markdown."""
    if len(header) > 1 and header in rows:
        raise NoRow(
            f"{path}: row {rows.index(header) + 1} repeats the names of the columns ({', '.join(header)}).",
            "Two files were put together: take that line away, and see whether texts stand there twice.",
        )
    if rows and all(re.fullmatch(r"\s*:?-{3,}:?\s*|\s*", cell) for cell in rows[0]) and any(map(str.strip, rows[0])):
        raise NoRow(f"{path}: row 1 holds dashes alone, as below the names of a Markdown table.", "Take that line away.")


def csv_reader(lines: Iterable[str], delimiter: str, how: CsvFormat) -> Any:
    """A strict reader of the csv module."""
    csv.field_size_limit(MAX_FIELD)  # the default of 128 KiB is less than some documents
    return csv.reader(
        lines,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if how.quoted else csv.QUOTE_NONE,
        quotechar=how.quote,
        escapechar=how.escape,
        skipinitialspace=how.spaced,
        strict=True,
    )


def _named_columns(where: str, header: list[str], rows: list[list[str]]) -> ColumnLists:
    """Columns by name, without those that have neither name nor cells, of which there are several."""
    nameless = [place for place, name in enumerate(header) if not name.strip()]
    empty = {place for place in nameless if not any(row[place].strip() for row in rows)} if rows else set()
    names = named([name for place, name in enumerate(header) if place not in empty])
    if len(set(names)) != len(names):
        raise DataError(f"{where}: a column name stands there twice: {', '.join(names)}.", "Rename one of them.")
    kept = [place for place in range(len(header)) if place not in empty]
    return {name: [row[place] for row in rows] for name, place in zip(names, kept, strict=True)}


def _lines(file: io.TextIOWrapper) -> tuple[Iterator[str], int]:
    """The lines of the table, and how many lines precede them: Excel's `sep=;`."""
    first = next(file, "")
    return (file, 1) if separator_line(first) is not None else (_again(first, file), 0)


def _again(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def named(header: list[str]) -> list[str]:
    """The names of columns, with `column_3` for the third one where several have none."""
    empty = sum(not name.strip() for name in header)
    return [name if name.strip() or empty < 2 else f"column_{place}" for place, name in enumerate(header, start=1)]


def _read_fasttext(path: Path, lines: Iterable[str]) -> ColumnLists:
    """`__label__good the text`: a list of labels where a line has several."""
    texts, labels = [], []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        count = next((place for place, word in enumerate(words) if not word.startswith(FASTTEXT)), len(words))
        if words and not count:
            raise DataError(f"{path}:{number}: the line has no label, as `{FASTTEXT}NAME text` of the first line.")
        if words:
            texts.append(line.split(maxsplit=count)[count].rstrip("\r\n") if len(words) > count else "")
            labels.append([word.removeprefix(FASTTEXT) for word in words[:count]])
    several = any(len(found) > 1 for found in labels)
    return {"text": texts, "label": list(labels) if several else [found[0] if found else None for found in labels]}


def _other_length(path: Path, line: int, fields: int, header: list[str]) -> DataError:
    held = "the delimiter" if fields > len(header) else "a newline"
    first = "Fields are missing: was the line cut off? " if fields < len(header) else ""
    return DataError(
        f"{path}:{line}: {fields} field{'s' if fields > 1 else ''}, but the header has {len(header)} ({', '.join(header)}).",
        f"{first}A text that holds {held} must stand in double quotes.",
    )


def _without_mark(encoding: str) -> str:
    """UTF-8 that leaves out a byte order mark, which UTF-16 does by itself."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def sheets_of(path: Path) -> list[str]:
    """Names of the sheets that have rows. Raises `DataError` or `MissingExtra`."""
    book = _workbook(path)
    return [name for name in book.sheet_names if len(_rows_of_sheet(book, name)) > 1]


def _read_sheet(path: Path, sheet: str | None = None) -> ColumnLists:
    """A table of a spreadsheet: the first line with as many cells as the widest names the columns."""
    book = _workbook(path)
    names = [name for name in book.sheet_names if len(_rows_of_sheet(book, name)) > 1]
    if sheet is not None and sheet not in book.sheet_names:
        raise DataError(f"{path} has no sheet {sheet!r}.", f"Its sheets: {', '.join(book.sheet_names)}.")
    if not names:
        raise DataError(f"{path} has no rows.", "The first line of a sheet names the columns, each further line is a row.")
    if sheet is None and len(names) > 1 and are_splits(names):
        return joined_splits(path, {name: _table_of_sheet(path, book, name) for name in names})
    return _table_of_sheet(path, book, sheet or names[0])


def _table_of_sheet(path: Path, book: Any, name: str) -> ColumnLists:
    rows = _rows_of_sheet(book, name)
    width = max(map(_filled, rows), default=0)
    while len(rows) > 2 and _filled(rows[0]) < min(width, 2):  # a title above the table
        rows = rows[1:]
    written = [[_written(cell) for cell in row] for row in rows]
    written = written[names_below(written) :]
    if not written:
        return {}
    _check_rows(path, written[0], written[1:])
    return _named_columns(str(path), written[0], written[1:])


MOST_ABOVE = 20
"""Lines that are looked at for a title above the names of the columns."""


def names_below(rows: list[list[str]]) -> int:
    """How many rows with a few cells stand above the names of the columns, where the first row names fewer columns than one
    further down: a title of several cells, or names of groups of columns."""

    filled = [sum(map(bool, map(str.strip, row))) for row in rows[:2000]]
    usual = max(set(filled), key=filled.count, default=0)
    return next(
        (
            place
            for place, row in enumerate(rows[:MOST_ABOVE])
            if max(usual, filled[0] + 1) <= filled[place] and _are_names(row, rows[place + 1 : 2000])
        ),
        0,
    )


def _are_names(row: list[str], below: list[list[str]]) -> bool:
    """Whether all cells are different words, which don't stand in the rows below."""
    names = [cell.strip() for cell in row if cell.strip()]
    words = all(len(name) <= LONGEST_NAME and re.search(r"[^\W\d]", name) for name in names)
    again = any(cell.strip() and other[place : place + 1] == [cell] for other in below for place, cell in enumerate(row))
    return bool(below) and words and len(set(names)) == len(names) and not again


def _workbook(path: Path) -> Any:
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError as error:
        raise MissingExtra("python-calamine", "excel", f"Reading {path.name}") from error
    try:
        with open_bytes(path) as file:
            data = file.read()
        check_binary(path, data[:LONGEST])
        return CalamineWorkbook.from_filelike(io.BytesIO(data))
    except CalamineError as error:
        raise DataError(f"{path} is no spreadsheet that can be read: {error}") from error


def _rows_of_sheet(book: Any, name: str) -> list[list[Any]]:
    return [row for row in book.get_sheet_by_name(name).to_python(skip_empty_area=True) if _filled(row)]


def _filled(row: list[Any]) -> int:
    return sum(cell not in ("", None) for cell in row)


def _written(cell: Any) -> str:
    """A cell as text: whole numbers without a point."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else "" if cell is None else str(cell)


def _read_json(path: Path, encoding: str = "utf-8") -> ColumnLists:
    """A table as JSON, or a row as JSON on each line, whatever the suffix says."""
    with io.TextIOWrapper(open_bytes(path), encoding=_without_mark(encoding)) as file:
        return read_json(path, file.read(), suffix_of(path) != ".json")


READERS: dict[str, Callable[..., ColumnLists]] = {
    ".parquet": _read_parquet,
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".ndjson": _read_json,
    ".txt": _read_delimited,
    ".tab": _read_delimited,
    ".dat": _read_delimited,
    **dict.fromkeys(SHEETS, _read_sheet),
    **dict.fromkeys(ARROW, _read_arrow),
}
