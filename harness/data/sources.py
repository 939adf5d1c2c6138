"""Read a task's raw rows: from files, from the data sets that come with bench, or from the Hugging Face hub."""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import DataError, MissingExtra, RunError, UnknownName
from harness.core.progress_events import tell
from harness.core.record import HubRows, RowSource
from harness.specs.tasks import SPLITS, CsvFormat, FilesSource, HubSource, Split, TaskSpec

ColumnLists = dict[str, list[Any]]

HERE = Path(__file__).resolve().parents[1]
# a wheel carries the repository's tasks/ as a folder inside the package
BUNDLED = HERE / "tasks_data" if (HERE / "tasks_data").is_dir() else HERE.parent / "tasks"
CANONICAL = ("id", "text", "label", "lang")
USUAL = CsvFormat()
MAX_DEPTH = 50  # of lists and objects within one another, in JSON
MAX_FIELD = 2**31 - 1  # characters of a csv file's field: the most that the csv module takes on each platform
HUB_TIMEOUT = 5.0  # seconds; `load_dataset` itself retries for some 25 s before it says that there is no network
OTHER_FORMATS = {
    (".txt", ".text", ".tab", ".dat"): "Name it .tsv where tabs stand between its columns, and .csv where commas do",
    (".xlsx", ".xls", ".xlsm", ".ods", ".numbers"): "Save the sheet as CSV (UTF-8) in the program that made it",
    (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz"): "Unpack it first",
    (".ndjson",): "Name it .jsonl",
}
WAY_OUT = "Give local files instead: --data DIR, with train, validation and test as parquet, csv, tsv, jsonl or json."


@dataclass(frozen=True, slots=True)
class RawTable:
    """Rows as they stand in the source, column by column (all of one length).

    `whole`: the rows of all splits, still to be divided. `canonical`: the columns are id, text, label (0-based index)
    and lang, whatever the task's YAML says. `one_language`: the source was asked for one language only.
    """

    columns: ColumnLists
    origin: str
    whole: bool = False
    canonical: bool = False
    one_language: bool = False


def read_raw(task: TaskSpec, lang: str, split: Split, data_dir: Path | None) -> RawTable:
    """The rows that hold `split` of `lang` (and maybe others). Raises `DataError`, `MissingExtra` or `RunError`."""
    if split == "validation" and validation_share(task, lang, data_dir) is not None:
        split = "train"
    if data_dir is not None:
        return _read_data_dir(task, lang, split, data_dir)
    if task.source.hub is not None:
        return _read_hub(task, task.source.hub, lang, split)
    if task.source.files is not None:
        path, whole = _locate(task, task.source.files, lang, split)
        return RawTable(read_file(path, task.source.files.csv), str(path), whole, one_language=task.source.per_language)
    name = str(task.source.bundled)
    if not (BUNDLED / name).is_dir():
        raise UnknownName("bundled data set", name, (folder.name for folder in BUNDLED.iterdir() if folder.is_dir()))
    path, whole = _in_folder(BUNDLED / name, split, task.splits.stratified is not None)
    return RawTable(read_file(path), f"{name}/{path.name}", whole)


def validation_share(task: TaskSpec, lang: str, data_dir: Path | None) -> float | None:
    """The share of the train rows that are the validation rows; None where these have a file of their own."""
    if data_dir is None:
        return task.splits.validation_share
    folder = folder_of_language(task, lang, data_dir) or data_dir
    own = any(path.stem in ("validation", "val") and path.suffix.lower() in READERS for path in folder.glob("val*"))
    return None if own else task.splits.validation_share


def _read_data_dir(task: TaskSpec, lang: str, split: Split, data_dir: Path) -> RawTable:
    own = folder_of_language(task, lang, data_dir)
    path, whole = _in_folder(own or data_dir, split, task.splits.stratified is not None)
    columns = read_file(path, task.source.files.csv if task.source.files is not None else USUAL)
    canonical = all(name in columns for name in CANONICAL)
    return RawTable(columns, str(path), whole, canonical, one_language=own is not None)


def folder_of_language(task: TaskSpec, lang: str, data_dir: Path) -> Path | None:
    """The folder of `data_dir` that has a language's name, by its code or as the task's own paths spell it."""
    spellings = [lang] if task.source.files is None else [lang, task.source.files.spelled(lang)]
    return next((data_dir / name for name in spellings if (data_dir / name).is_dir()), None)


def _locate(task: TaskSpec, files: FilesSource, lang: str, split: Split) -> tuple[Path, bool]:
    stratified = task.splits.stratified is not None or task.columns.split is not None
    if files.folder is not None:
        return _in_folder(task.folder / files.in_language(files.folder, lang), split, stratified)
    named = files.all if stratified else getattr(files, split)
    if named is None:
        raise DataError(
            f"The task {task.name!r} has no {split} file.",
            f"Add `source.files.{split}`, or `splits: {{stratified: {{}}}}` with `all`.",
        )
    path = Path(os.path.normpath(task.folder / files.in_language(named, lang)))
    if not path.is_file():
        raise DataError(
            f"The task {task.name!r} names the file {path}, which does not exist.",
            f"If it lies elsewhere now, say so under `source` in {task.folder / task.name}.yaml. {WAY_OUT}",
        )
    return path, stratified


def _in_folder(folder: Path, split: Split, stratified: bool) -> tuple[Path, bool]:
    """The file of `folder` that holds `split`, and whether it holds all splits."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", WAY_OUT)
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = "validation" if path.stem == "val" else path.stem
        if stem in (*SPLITS, "all") and path.suffix.lower() in READERS:
            if stem in found:
                raise DataError(f"{folder} holds both {found[stem].name} and {path.name}.", "Keep one of them.")
            found[stem] = path
    if stratified and not all(name in found for name in SPLITS):
        whole = found.get("all") or found.get("train")
        if whole is not None:
            return whole, True
    if split not in found:
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:12]) or "nothing"
        raise DataError(f"{folder} has no {split} file; found: {names}.", f"Expected {split} with one of {', '.join(READERS)}.")
    return found[split], False


def read_file(path: Path, csv: CsvFormat = USUAL) -> ColumnLists:
    """Columns of a parquet, csv, tsv, jsonl or json file; `csv` is the format of csv and tsv. Raises `DataError`."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        first = next((f"{hint}. " for suffixes, hint in OTHER_FORMATS.items() if path.suffix.lower() in suffixes), "")
        raise DataError(f"{path}: the suffix {path.suffix!r} is not known.", f"{first}Use one of {', '.join(READERS)}.")
    tell("read", 0, 0, path.name)
    try:
        return _read_delimited(path, csv) if reader is _read_delimited else reader(path)
    except (OSError, UnicodeError) as error:
        raise DataError(
            f"{path} can't be read: {error}", "Text files must be UTF-8, or a csv file's encoding be named."
        ) from error


def _read_parquet(path: Path) -> ColumnLists:
    import pyarrow
    from pyarrow import parquet

    try:
        columns: ColumnLists = parquet.ParquetFile(path).read().to_pydict()
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not a parquet file: {error}") from error
    except (ArithmeticError, ValueError) as error:  # a date or a length of time that Python has no value for
        raise DataError(f"{path} holds a value that can't be read: {error}.") from error
    return columns


def _read_delimited(path: Path, how: CsvFormat = USUAL) -> ColumnLists:
    """The csv module, not pandas: every value stays the string that it is ("NA", "007"), and errors have a line."""
    csv.field_size_limit(MAX_FIELD)  # the default of 128 KiB is less than some documents
    with path.open(encoding=_without_mark(how.encoding), newline="") as file:
        reader = csv.reader(
            file,
            delimiter=how.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ","),
            quoting=csv.QUOTE_MINIMAL if how.quoted else csv.QUOTE_NONE,
            escapechar=how.escape,
            strict=True,
        )
        header = how.header if how.header is not None else next(reader, [])
        if len(set(header)) != len(header):
            raise DataError(f"{path}:1: a column name stands there twice: {', '.join(header)}.")
        rows = []
        try:
            for row in reader:
                if row and len(row) != len(header):
                    raise _other_length(path, reader.line_num, len(row), header)
                if row:
                    rows.append(row)
        except csv.Error as error:
            raise DataError(
                f"{path}:{reader.line_num}: {error}.", "Double quotes inside a quoted text must be doubled."
            ) from error
    return {name: [row[index] for row in rows] for index, name in enumerate(header)}


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


def _read_jsonl(path: Path) -> ColumnLists:
    rows = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                rows.append(_parsed(path, number, line))
                if not isinstance(rows[-1], dict):
                    raise DataError(f"{path}:{number}: must be an object, found {type(rows[-1]).__name__}.")
    return _columns_of(rows)


def _read_json(path: Path) -> ColumnLists:
    """A list of objects, or one object of equally long lists."""
    data = _parsed(path, 1, path.read_text(encoding="utf-8-sig"))
    if isinstance(data, list) and all(isinstance(row, dict) for row in data):
        return _columns_of(data)
    if not isinstance(data, dict) or not all(isinstance(column, list) for column in data.values()):
        raise DataError(f'{path} must be a list of objects, or an object of lists as {{"Text": [...], "Labels": [...]}}.')
    lengths = {name: len(column) for name, column in data.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise DataError(f"{path}: the lists differ in length: {shown}.", "Each text needs one entry in every list.")
    return data


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


READERS: dict[str, Callable[[Path], ColumnLists]] = {
    ".parquet": _read_parquet,
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".jsonl": _read_jsonl,
    ".json": _read_json,
}


def _read_hub(task: TaskSpec, hub: HubSource, lang: str, split: Split) -> RawTable:
    config = hub.config.replace("{lang}", lang) if hub.config is not None else None
    stratified = task.splits.stratified
    columns: ColumnLists = {}
    for name in stratified.of if stratified is not None else [getattr(task.splits, split)]:
        for column, values in _load_hub(hub, config, name).items():
            columns.setdefault(column, []).extend(values)
    origin = f"{hub.id} ({', '.join(filter(None, [config, hub.revision])) or 'default'})"
    return RawTable(columns, origin, stratified is not None, one_language=task.source.per_language)


def _load_hub(hub: HubSource, config: str | None, split: str) -> ColumnLists:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra("datasets", "data", f"Reading {hub.id} from the hub") from error
    tell("read", 0, 0, f"{hub.id} {config or ''} {split}")
    if not datasets.config.HF_HUB_OFFLINE:
        _check_reachable(hub)
    try:
        try:
            rows = datasets.load_dataset(hub.id, config, split=split, revision=hub.revision)
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            # old data sets hold a Python script, which is never run: read the hub's own export of its rows
            export = f"hf://datasets/{hub.id}@refs/convert/parquet/{config or 'default'}/{split}/*.parquet"
            rows = datasets.load_dataset("parquet", data_files={split: export}, split=split)
    except (ValueError, FileNotFoundError, datasets.exceptions.DatasetsError) as error:
        where = f"configuration {config!r}, split {split!r}, revision {hub.revision!r}"
        raise DataError(f"The data set {hub.id!r} can't be read ({where}): {error}", WAY_OUT) from error
    except Exception as error:  # network, disk, cache: the libraries' own errors have no common base
        raise RunError(f"The data set {hub.id!r} could not be loaded: {error}", WAY_OUT) from error
    return {name: rows[name][:] for name in rows.column_names}


def _check_reachable(hub: HubSource) -> None:
    """Fail within seconds where there is no hub."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        HfApi().dataset_info(hub.id, revision=hub.revision, timeout=HUB_TIMEOUT)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        revision = f" at revision {hub.revision!r}" if hub.revision else ""
        raise DataError(f"The hub has no data set {hub.id!r}{revision}, or it is private.", WAY_OUT) from error
    except Exception as error:  # the HTTP library's errors, which differ from version to version
        raise RunError(
            f"The Hugging Face hub can't be reached for the data set {hub.id!r}: {error}",
            f"{WAY_OUT} Rows that were downloaded before are read with HF_HUB_OFFLINE=1.",
        ) from error


def rows_from(task: TaskSpec, split: str, data_dir: Path | None, count: int) -> RowSource:
    """Where rows were read. It is no part of the identity, as the same rows are the same from anywhere. `count`: rows of the
    task's split, before any limit."""
    if data_dir is not None:
        return RowSource(source="data", split_rows=count)
    hub, splits = task.source.hub, task.splits
    if hub is None:
        return RowSource(source="bundled" if task.source.files is None else "files", split_rows=count)
    divided = splits.stratified is not None or (split == "validation" and splits.validation_share is not None)
    there = None if divided else getattr(splits, split)
    return RowSource(
        source="hub", hub=HubRows(id=hub.id, config=hub.config, revision=hub.revision, split=there), split_rows=count
    )
