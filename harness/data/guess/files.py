"""Open a file, or a folder of splits, that nobody has described yet: encoding, delimiter, quotes, header."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.errors import DataError, UserError
from harness.data.guess.dialect import dialect_of, has_header, readable_rows
from harness.data.guess.encoding import check_encoding, encoding_of
from harness.data.guess.folders import Part, in_all_splits, layout_of
from harness.data.sources import ColumnLists, read_file
from harness.specs.tasks import CsvFormat

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
