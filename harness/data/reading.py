"""Read the rows of one source on this machine: a file of any known format, its shards, or a folder.

A path may end in `#PART`, which names a sheet or the keys within JSON, and its last name may hold `*`, for several files.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from harness.core.errors import DataError, MissingExtra
from harness.core.progress_events import tell
from harness.data.json_tables import ColumnLists, SeveralTables, read_json
from harness.specs.tasks import CsvFormat

USUAL = CsvFormat()
MAX_FIELD = 2**31 - 1  # characters of a csv file's field: the most that the csv module takes on each platform
DELIMITED = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t", ".dat": ","}
"""Suffix -> the delimiter that stands in such a file where nobody says which."""
LINES = (".jsonl", ".ndjson")
SHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
ARROW = (".arrow", ".feather")
SUFFIXES = (".parquet", *DELIMITED, *LINES, ".json", *SHEETS, *ARROW)
PACKED: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
UNLABELLED = frozenset({"unsup", "unlabeled", "unlabelled", "unsupervised"})
FAST_TEXT = "__label__"
OTHER_FORMATS = {
    (".numbers", ".doc", ".docx", ".pdf"): "Save the table as CSV (UTF-8) in the program that made it",
    (".zst", ".7z", ".tar", ".tgz", ".rar"): "Unpack it first, and give the folder",
    (".xml", ".html", ".htm", ".yaml", ".yml"): "Write its rows as JSON lines",
    (".pkl", ".pickle"): "Unpickling runs code, so bench never does: save it as parquet",
    (".sav", ".dta", ".rds", ".sqlite", ".db", ".sql"): "Export the table as CSV (UTF-8)",
}


def suffix_of(path: PurePath) -> str:
    """The suffix that tells the format: `.csv` of `train.csv.gz` and of `train.csv#part`. Small letters."""
    before = str(path).rpartition("#")[0]
    if before and (inner := suffix_of(PurePath(before))) in (*SUFFIXES, ".zip"):
        return inner
    name = path.name.lower()
    for packed in (*PACKED, ".zip"):
        inner = PurePath(name.removesuffix(packed)).suffix
        if name.endswith(packed):
            return inner if inner in SUFFIXES else packed
    return path.suffix.lower()


def bare(path: PurePath) -> PurePath:
    """The path without the suffixes that tell its format."""
    while path.suffix.lower() in (*SUFFIXES, *PACKED, ".zip"):
        path = path.with_suffix("")
    return path


def readable(path: Path) -> bool:
    """Whether the name of a file is that of a table."""
    return suffix_of(path) in (*SUFFIXES, ".zip")


def located(path: Path) -> tuple[list[Path], str | None]:
    """The files or folder that `path` means, in the order of the numbers in their names, and the part of it; none where there
    is nothing."""
    if path.exists():
        return [path], None
    file, mark, part = str(path).rpartition("#")
    if mark and Path(file).exists():
        return [Path(file)], part
    if "*" in path.name and path.parent.is_dir():
        return sorted(path.parent.glob(path.name), key=natural), None
    return [], None


def natural(path: PurePath) -> list[tuple[int, str]]:
    """Sorts `part-10` behind `part-9`."""
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in re.split(r"(\d+)", str(path))]


def read_file(path: Path, form: CsvFormat = USUAL) -> ColumnLists:
    """The columns of what `path` means; `form` is the format of text files and sheets. Raises `DataError`, `MissingExtra`."""
    files, part = located(path)
    if not files:
        raise DataError(f"There is no file {path}.")
    found: ColumnLists = {}
    for number, file in enumerate(files):
        tell("read", 0, 0, file.name)
        table = _read_one(file, part, form)
        if number == 0:
            found = table
            continue
        if table.keys() != found.keys():
            odd = ", ".join(sorted(set(table) ^ set(found)))
            raise DataError(
                f"{file} has other columns than {files[0].name}: {odd}.", "Shards of one table have the same columns."
            )
        for name, values in found.items():
            values += table[name]
    return found


def _read_one(path: Path, part: str | None, form: CsvFormat) -> ColumnLists:
    try:
        if path.is_dir():
            return _read_saved(path) if (path / "state.json").is_file() else _read_classes(path, form)
        if suffix_of(path) == ".parquet" and path.suffix.lower() == ".parquet":
            return _read_parquet(path, path)
        name, data = unpacked(path)
        suffix = suffix_of(PurePath(name))
        if part is not None and suffix not in (".json", *SHEETS):
            raise DataError(f"{path} has no parts, and {part!r} stands behind a '#'.", "Only JSON and spreadsheets have parts.")
        if suffix in DELIMITED:
            return _read_delimited(path, suffix, data, form)
        if suffix in SHEETS:
            return _read_sheet(path, data, part, form)
        if suffix in ARROW:
            return _read_arrow(path, data)
        if suffix == ".parquet":
            return _read_parquet(path, io.BytesIO(data))
        return read_json(path, _text(data, form.encoding, None).read(), part, suffix in LINES)
    except (OSError, UnicodeError) as error:
        raise DataError(
            f"{path} can't be read: {error}", "Text files must be UTF-8, or their encoding be named (`csv: {encoding: ...}`)."
        ) from error


def unpacked(path: Path) -> tuple[str, bytes]:
    """Name and bytes of a file, those within for `.gz` and the like. Raises `DataError` for a suffix that is not known."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".zip":
            return _in_zip(path)
        if suffix in PACKED and suffix_of(path) in SUFFIXES:
            return path.stem, PACKED[suffix](path.read_bytes())
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{path} can't be unpacked: {error}.", "Unpack it yourself, and give what was in it.") from error
    if suffix not in SUFFIXES:
        hint = next((f"{way}. " for suffixes, way in OTHER_FORMATS.items() if suffix in suffixes), "")
        raise DataError(f"{path}: the suffix {path.suffix!r} is not known.", f"{hint}Use one of {', '.join(SUFFIXES)}.")
    return path.name, path.read_bytes()


def _in_zip(path: Path) -> tuple[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        inner = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
        if len(inner) != 1 or suffix_of(PurePath(inner[0])) not in SUFFIXES:
            raise DataError(
                f"{path} holds {len(inner)} files ({', '.join(inner[:6])}); it must be one table.",
                "Unpack it, and give the folder or a file of it.",
            )
        return inner[0], archive.read(inner[0])


def _text(data: bytes, encoding: str, newline: str | None) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding=without_mark(encoding), newline=newline)


def without_mark(encoding: str) -> str:
    """UTF-8 that leaves out a byte order mark, which UTF-16 does by itself."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def _read_parquet(path: Path, file: Path | io.BytesIO) -> ColumnLists:
    from pyarrow import parquet

    return _columns(path, lambda: parquet.ParquetFile(file).read())


def _read_arrow(path: Path, data: bytes) -> ColumnLists:
    """An Arrow file (Feather) or stream, as `datasets` writes it."""
    from pyarrow import feather, ipc

    def table() -> Any:
        if data.startswith((b"ARROW1", b"FEA1")):
            return feather.read_table(io.BytesIO(data))
        return ipc.open_stream(data).read_all()

    return _columns(path, table)


def _columns(path: Path, table: Callable[[], Any]) -> ColumnLists:
    """The columns of an Arrow table; an object becomes columns of its own, `review.text`."""
    import pyarrow

    try:
        found = table()
        while any(pyarrow.types.is_struct(field.type) for field in found.schema):
            found = found.flatten()
        columns: ColumnLists = found.to_pydict()
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{path} is not {'a parquet' if suffix_of(path) == '.parquet' else 'an Arrow'} file: {error}"
        ) from error
    except (ArithmeticError, ValueError) as error:  # a date or a length of time that Python has no value for
        raise DataError(f"{path} holds a value that can't be read: {error}.") from error
    return columns


def saved_files(folder: Path) -> list[Path]:
    """The Arrow files of one split that `save_to_disk` of `datasets` wrote. Raises `DataError`."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return [folder / str(entry["filename"]) for entry in state["_data_files"]]
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"{folder / 'state.json'} does not name the data files: {error}.") from error


def _read_saved(folder: Path) -> ColumnLists:
    found: ColumnLists = {}
    for file in saved_files(folder):
        for name, values in _read_arrow(file, file.read_bytes()).items():
            found.setdefault(name, []).extend(values)
    return found


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """Label -> its texts, where the folders of `folder` are labels with a .txt file for each text; empty where they are not."""
    labels = [inner for inner in sorted(folder.iterdir()) if inner.is_dir() and not inner.name.startswith((".", "_"))]
    found = {one.name: sorted(one.glob("*.txt"), key=natural) for one in labels if one.name.lower() not in UNLABELLED}
    return found if len(found) > 1 and all(found.values()) else {}


def _read_classes(folder: Path, form: CsvFormat) -> ColumnLists:
    found: ColumnLists = {"text": [], "label": []}
    classes = class_folders(folder)
    if not classes:
        raise DataError(f"{folder} is a folder, and holds no folders of .txt files, one for each label.")
    for label, files in classes.items():
        for file in files:
            found["text"].append(_text(file.read_bytes(), form.encoding, None).read())
            found["label"].append(label)
    return found


def _read_delimited(path: Path, suffix: str, data: bytes, form: CsvFormat) -> ColumnLists:
    """The csv module, not pandas: every value stays the string that it is ("NA", "007"), and errors have a line."""
    with _text(data, form.encoding, "") as file:
        if is_fast_text(data[:64]):
            return _read_fast_text(path, file)
        for _ in range(form.skip):
            file.readline()
        reader = csv_reader(file, form.delimiter or DELIMITED[suffix], form)
        rows = []
        header: list[str] | None = form.header
        try:
            if header is None:
                header = next(reader, [])
            width = len(header)
            for row in reader:
                if row and len(row) != width:
                    if any(row[width:]) or len(row) < width:
                        raise _other_length(path, reader.line_num + form.skip, len(row), header)
                    row = row[:width]  # a delimiter at the end of a line
                if row:
                    rows.append(row)
        except csv.Error as error:
            raise DataError(
                f"{path}:{reader.line_num + form.skip}: {error}.", "Double quotes inside a quoted text must be doubled."
            ) from error
    return _named(f"{path}:{form.skip + 1}", header, rows)


def csv_reader(lines: Iterator[str] | io.TextIOBase, delimiter: str, form: CsvFormat) -> Any:
    """A strict reader of the csv module."""
    csv.field_size_limit(MAX_FIELD)  # the default of 128 KiB is less than some documents
    return csv.reader(
        lines,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if form.quoted else csv.QUOTE_NONE,
        quotechar=form.quote,
        escapechar=form.escape,
        strict=True,
    )


def _named(where: str, header: Sequence[str], rows: list[list[str]]) -> ColumnLists:
    """The columns by their names. Of those without a name the empty ones are left out, and several get numbers."""
    nameless = [index for index, name in enumerate(header) if not name.strip()]
    empty = {index for index in nameless if not any(row[index].strip() for row in rows)}
    several = len(nameless) - len(empty) > 1
    names = {
        index: f"column_{index + 1}" if several and index in nameless else name
        for index, name in enumerate(header)
        if index not in empty
    }
    if len(set(names.values())) != len(names):
        raise DataError(f"{where}: a column name stands there twice: {', '.join(names.values())}.", "Rename one of them.")
    return {name: [row[index] for row in rows] for index, name in names.items()}


def _other_length(path: Path, line: int, fields: int, header: list[str]) -> DataError:
    held = "the delimiter" if fields > len(header) else "a newline"
    first = "Fields are missing: was the line cut off? " if fields < len(header) else ""
    return DataError(
        f"{path}:{line}: {fields} field{'s' if fields > 1 else ''}, but the header has {len(header)} ({', '.join(header)}).",
        f"{first}A text that holds {held} must stand in double quotes.",
    )


def is_fast_text(start: bytes) -> bool:
    """Whether a file begins with a label as fastText writes it."""
    return start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(FAST_TEXT.encode())


def _read_fast_text(path: Path, lines: io.TextIOBase) -> ColumnLists:
    """`__label__x __label__y text`: the label as a string, or lists where a line has several."""
    texts, labels = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        found = re.match(rf"\s*((?:{FAST_TEXT}\S+,?\s+)+)(.*)", line, re.DOTALL)
        if found is None:
            raise DataError(f"{path}:{number}: the line is not `{FAST_TEXT}NAME text`, as the first one is.")
        labels.append([word.removeprefix(FAST_TEXT).rstrip(",") for word in found[1].split()])
        texts.append(found[2].strip())
    several = any(len(of) > 1 for of in labels)
    return {"text": texts, "label": labels if several else [of[0] for of in labels]}


def _read_sheet(path: Path, data: bytes, part: str | None, form: CsvFormat) -> ColumnLists:
    rows = sheet_rows(path, data, part)
    header = form.header if form.header is not None else rows.pop(0) if rows else []
    wide = next((row for row in rows if len(row) != len(header)), None)
    if wide is not None:
        raise DataError(f"{path}: the sheet has {len(wide)} columns, and {len(header)} names: {', '.join(header)}.")
    return _named(str(path), header, rows)


def sheet_rows(path: Path, data: bytes, part: str | None) -> list[list[str]]:
    """The rows of a sheet as strings, from the first row with two cells on: a title above the table is left out.

    `part` is the sheet's name. Raises `SeveralTables` where it is missing and several visible sheets have rows.
    """
    try:
        import python_calamine
    except ImportError as error:
        raise MissingExtra("python-calamine", "excel", f"Reading the spreadsheet {path.name}") from error
    try:
        book = python_calamine.load_workbook(io.BytesIO(data))
        shown = [one.name for one in book.sheets_metadata if one.visible == python_calamine.SheetVisibleEnum.Visible]
        if part is not None and part not in book.sheet_names:
            raise DataError(f"{path} has no sheet {part!r}; its sheets: {', '.join(book.sheet_names)}.")
        wanted = shown if part is None else [part]
        sheets = {name: book.get_sheet_by_name(name).to_python() for name in wanted}
    except python_calamine.PasswordError as error:
        raise DataError(f"{path} is protected by a password.", "Save it without one.") from error
    except python_calamine.CalamineError as error:
        raise DataError(f"{path} is no spreadsheet that can be read: {error}.", "Save the sheet as CSV (UTF-8).") from error
    tables = {name: [[_cell(cell) for cell in row] for row in rows] for name, rows in sheets.items()}
    full = {name: rows for name, rows in tables.items() if any(sum(map(bool, row)) > 1 for row in rows)}
    if len(full) > 1:
        raise SeveralTables(path, list(full))
    rows = next(iter(full.values()), [])
    start = next((number for number, row in enumerate(rows) if sum(map(bool, row)) > 1), 0)
    return [row for row in rows[start:] if any(row)]


def _cell(value: Any) -> str:
    """A cell of a sheet as it is shown there: whole numbers without a point, dates as 2024-05-31."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
