"""Read one file, several shards or a folder of texts into columns, whatever its format."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from harness.core.errors import DataError, MissingExtra
from harness.core.progress_events import tell
from harness.specs.tasks import CsvFormat

ColumnLists = dict[str, list[Any]]

USUAL = CsvFormat()
MAX_DEPTH = 50  # of lists and objects within one another, in JSON
MAX_FIELD = 2**31 - 1  # characters of a csv file's field: the most that the csv module takes on each platform
FASTTEXT = "__label__"
UNLABELLED = frozenset(("unsup", "unlabeled", "unlabelled", "unsupervised"))
"""Folders of texts without a label."""
SHARD = "*"
"""Stands for the numbers of shards in a path: `train-*.parquet`."""

PACKED = (".gz", ".zip")
DELIMITED = (".csv", ".tsv", ".txt", ".tab", ".dat")
SHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
ARROW = (".arrow", ".feather")
OTHER_FORMATS = {
    (".text", ".md", ".log"): "Name it .tsv where tabs stand between its columns, and .csv where commas do",
    (".numbers", ".docx", ".pdf"): "Save the table as CSV (UTF-8) in the program that made it",
    (".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz", ".rar"): "Unpack it first",
    (
        ".pkl",
        ".pickle",
        ".joblib",
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
    return suffix in READERS or suffix == ".zip" or (suffix == ".gz" and Path(path.stem).suffix.lower() in READERS)


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of the file, unpacked."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
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
    return sorted(path.parent.glob(path.name)) if SHARD in path.name else [path]


def there(path: Path) -> bool:
    """Whether a task can read the path: a file, shards, or a folder of texts in folders of classes."""
    return path.is_file() or (SHARD in path.name and bool(shards_of(path))) or bool(path.is_dir() and class_folders(path))


def class_folders(path: Path) -> list[Path]:
    """The folders in `path` that hold one text per file (.txt): each is a class."""
    folders = (folder for folder in path.iterdir() if folder.is_dir() and folder.name not in UNLABELLED)
    return sorted(folder for folder in folders if next(folder.glob("*.txt"), None) is not None)


def read_file(path: Path, csv: CsvFormat = USUAL, sheet: str | None = None) -> ColumnLists:
    """Columns of a file, of the shards of a path with `*`, or of a folder with a folder of .txt files for each class.

    `csv`: the format of delimited text, and the encoding of JSON. `sheet`: of a spreadsheet; None: the first that has rows.
    Raises `DataError`, or `MissingExtra` for a spreadsheet without its library.
    """
    if SHARD in path.name:
        return _joined(path, [read_file(shard, csv, sheet) for shard in shards_of(path)])
    if path.is_dir():
        return _read_classes(path)
    reader = READERS.get(suffix_of(path))
    if reader is None:
        suffix = suffix_of(path)
        first = next((f"{hint}. " for suffixes, hint in OTHER_FORMATS.items() if suffix in suffixes), "")
        raise DataError(f"{path}: the suffix {suffix!r} is not known.", f"{first}Use one of {', '.join(READERS)}.")
    tell("read", 0, 0, path.name)
    try:
        if reader is _read_delimited:
            return _read_delimited(path, csv)
        if reader is _read_sheet:
            return _read_sheet(path, sheet)
        return _flat(_read_json(path, csv.encoding) if reader is _read_json else reader(path))
    except (OSError, UnicodeError, EOFError) as error:
        raise DataError(
            f"{path} can't be read: {error}",
            "If the text is not in UTF-8, name its encoding: --encoding NAME, or `csv.encoding`.",
        ) from error


def _joined(path: Path, tables: list[ColumnLists]) -> ColumnLists:
    """The rows of all shards, which must have the same columns."""
    if not tables:
        raise DataError(f"There is no file {path}.")
    odd = next((table for table in tables if table.keys() != tables[0].keys()), None)
    if odd is not None:
        differ = ", ".join(sorted(odd.keys() ^ tables[0].keys()))
        raise DataError(f"{path}: the files do not have the same columns ({differ}).", "Give them the same columns.")
    return {name: [value for table in tables for value in table[name]] for name in tables[0]}


def _read_classes(path: Path) -> ColumnLists:
    """One row for each .txt file of the folders in `path`; the name of a folder is the label of its texts."""
    texts, labels = [], []
    for folder in class_folders(path):
        for file in sorted(folder.glob("*.txt")):
            try:
                texts.append(file.read_text(encoding="utf-8-sig"))
            except (OSError, UnicodeError) as error:
                raise DataError(f"{file} can't be read: {error}", "Save it in UTF-8.") from error
            labels.append(folder.name)
    return {"text": texts, "label": labels}


def _flat(columns: ColumnLists) -> ColumnLists:
    """Objects in cells as columns of their own: `{"review": {"text": ...}}` is the column `review.text`."""
    found: ColumnLists = {}
    for name, values in columns.items():
        kinds = {type(value) for value in values if value is not None}
        if kinds == {dict}:
            inner = dict.fromkeys(key for value in values if value is not None for key in value)
            deeper = {f"{name}.{key}": [None if value is None else value.get(key) for value in values] for key in inner}
            found |= _flat(deeper)
        else:
            found[name] = values
    return found


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
        columns: ColumnLists = read().to_pydict()
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not a {path.suffix[1:]} file: {error}") from error
    except (ArithmeticError, ValueError) as error:  # a date or a length of time that Python has no value for
        raise DataError(f"{path} holds a value that can't be read: {error}.") from error
    return columns


def separator_line(first: str) -> str | None:
    """The delimiter that Excel's first line names: `sep=;`."""
    found = re.fullmatch(r"\ufeff?\"?sep=(.|\\t)\"?\s*", first)
    return None if found is None else "\t" if found[1] == r"\t" else found[1]


def usual_delimiter(path: Path) -> str:
    """A comma in a .csv file, else a tab."""
    return "," if suffix_of(path) == ".csv" else "\t"


def _read_delimited(path: Path, how: CsvFormat = USUAL) -> ColumnLists:
    """The csv module, not pandas: every value stays the string that it is ("NA", "007"), and errors have a line."""
    csv.field_size_limit(MAX_FIELD)  # the default of 128 KiB is less than some documents
    with open_text(path, how.encoding) as file:
        lines, before = _lines(file)
        if suffix_of(path) != ".csv" and (first := next(lines, "")) is not None:
            if first.startswith(FASTTEXT):
                return _read_fasttext([first, *lines])
            lines = _again(first, lines)
        reader = csv.reader(
            lines,
            delimiter=how.delimiter or usual_delimiter(path),
            quoting=csv.QUOTE_MINIMAL if how.quoted else csv.QUOTE_NONE,
            escapechar=how.escape,
            strict=True,
        )
        header = how.header if how.header is not None else next(reader, [])
        header = named(header)
        if len(set(header)) != len(header):
            raise DataError(f"{path}:{before + 1}: a column name stands there twice: {', '.join(header)}.")
        rows = []
        try:
            for row in reader:
                if row and len(row) != len(header):
                    raise _other_length(path, before + reader.line_num, len(row), header)
                if row:
                    rows.append(row)
        except csv.Error as error:
            raise DataError(
                f"{path}:{before + reader.line_num}: {error}.", "Double quotes inside a quoted text must be doubled."
            ) from error
    return {name: [row[index] for row in rows] for index, name in enumerate(header)}


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


def _read_fasttext(lines: Iterable[str]) -> ColumnLists:
    """`__label__good the text`: a list of labels where a line has several."""
    texts, labels = [], []
    for line in lines:
        words = line.split()
        count = next((place for place, word in enumerate(words) if not word.startswith(FASTTEXT)), len(words))
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
    rows = _rows_of_sheet(book, sheet or names[0])
    width = max(map(_filled, rows), default=0)
    while len(rows) > 2 and _filled(rows[0]) < min(width, 2):  # a title above the table
        rows = rows[1:]
    header = named([_written(cell) for cell in rows[0]]) if rows else []
    used = [place for place, name in enumerate(header) if name.strip() or any(_written(row[place]) for row in rows[1:])]
    twice = next((header[place] for place in used if header.count(header[place]) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: a column name stands there twice: {twice}.", "Rename one of them.")
    return {header[place]: [_written(row[place]) for row in rows[1:]] for place in used}


def _workbook(path: Path) -> Any:
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError as error:
        raise MissingExtra("python-calamine", "excel", f"Reading {path.name}") from error
    try:
        with open_bytes(path) as file:
            return CalamineWorkbook.from_filelike(io.BytesIO(file.read()))
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
        text = file.read()
    start = text.lstrip()[:1]
    lined = suffix_of(path) != ".json"
    if start == "[" or (start == "{" and not (lined or _by_line(text))):
        return _table(path, _parsed(path, 1, text))
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            rows.append(_parsed(path, number, line))
            if not isinstance(rows[-1], dict):
                raise DataError(f"{path}:{number}: must be an object, found {type(rows[-1]).__name__}.")
    return _columns_of(rows)


def _by_line(text: str) -> bool:
    """Whether the first line with something on it is an object of its own, and others follow; or the name of the format."""
    first, _, rest = text.strip().partition("\n")
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return first.rstrip().endswith("}") and rest.lstrip()[:1] == "{"  # a broken line, which is told with its number
    return bool(rest.strip())


def _table(path: Path, data: Any) -> ColumnLists:
    """The columns of a list of objects, an object of lists, or any way in which pandas writes a table."""
    if isinstance(data, list):
        if data and all(isinstance(row, list) for row in data):
            return _of_lists(path, data)
        odd = next((row for row in data if not isinstance(row, dict)), None)
        if odd is None:
            return _columns_of(data)
        raise DataError(f"{path}: each row must be an object, found {type(odd).__name__}.")
    if isinstance(data, dict):
        if isinstance(data.get("columns"), list) and isinstance(data.get("data"), list):  # pandas: orient="split"
            return _of_lists(path, [data["columns"], *data["data"]])
        if data and all(isinstance(column, list) for column in data.values()) and not _lists_of_objects(data):
            return _equally_long(path, data)
        inner = _lists_of_objects(data)
        if len(inner) > 1 and len(inner) == len(data):  # {"train": [...], "test": [...]}
            return _columns_of([{**row, "split": name} for name, rows in data.items() for row in rows])
        if len(inner) == 1:  # rows within an envelope: {"version": ..., "data": [...]}
            return _columns_of(inner[0])
        if data and all(isinstance(column, dict) for column in data.values()):
            return _table(path, next(iter(data.values()))) if len(data) == 1 else _of_objects(data)
    raise DataError(
        f"{path}: no rows are found in it.",
        'Write a list of objects, [{"text": ..., "label": ...}, ...], or one such object on each line.',
    )


def _lists_of_objects(data: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return [
        value for value in data.values() if isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
    ]


def _of_lists(path: Path, rows: list[list[Any]]) -> ColumnLists:
    """Rows as lists; the first one names the columns where it holds short, different texts only."""
    header, *rest = rows
    names = [str(name) for name in header]
    if len(set(names)) < len(names) or not all(isinstance(name, str) and 0 < len(name) <= 60 for name in header):
        names, rest = [f"column_{place}" for place in range(1, len(header) + 1)], rows
    wrong = next((row for row in rest if len(row) != len(names)), None)
    if wrong is not None:
        raise DataError(f"{path}: a row has {len(wrong)} values, and the first one {len(names)}.")
    return {name: [row[place] for row in rest] for place, name in enumerate(names)}


def _equally_long(path: Path, data: dict[str, list[Any]]) -> ColumnLists:
    lengths = {name: len(column) for name, column in data.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise DataError(f"{path}: the lists differ in length: {shown}.", "Each text needs one entry in every list.")
    return data


def _of_objects(data: dict[str, dict[str, Any]]) -> ColumnLists:
    """pandas: column -> index -> value (its default), or index -> column -> value."""
    first = next(iter(data.values()))
    by_column = len(first) > len(data) or (len(first) == len(data) and all(str(key).isdigit() for key in first))
    if by_column and all(column.keys() == first.keys() for column in data.values()):
        return {name: list(column.values()) for name, column in data.items()}
    return _columns_of(list(data.values()))


def _parsed(path: Path, first_line: int, text: str) -> Any:
    """The value that `text` holds; it begins at `first_line` of the file."""
    try:
        value = json.loads(text)
        too_deep = _deeper_than(value, MAX_DEPTH)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{first_line + error.lineno - 1}: is not JSON: {error.msg}.") from error
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


def _columns_of(rows: list[dict[str, Any]]) -> ColumnLists:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


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
