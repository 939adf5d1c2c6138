"""Read a task's raw rows: from files, from the data sets that come with bench, or from the Hugging Face hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import DataError, MissingExtra, RunError, UnknownName
from harness.core.progress_events import tell
from harness.core.record import HubRows, RowSource
from harness.data.formats import READERS, USUAL, readable, there
from harness.data.json_tables import ColumnLists
from harness.data.read_once import read_once
from harness.specs.tasks import SPLITS, FilesSource, HubSource, Split, TaskSpec

HERE = Path(__file__).resolve().parents[1]
# a wheel carries the repository's tasks/ as a folder inside the package
BUNDLED = HERE / "tasks_data" if (HERE / "tasks_data").is_dir() else HERE.parent / "tasks"
CANONICAL = ("id", "text", "label", "lang")
HUB_TIMEOUT = 5.0  # seconds; `load_dataset` itself retries for some 25 s before it says that there is no network
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
        return RawTable(
            read_once(path, task.source.files.csv, task.source.files.sheet),
            str(path),
            whole,
            one_language=task.source.per_language,
        )
    name = str(task.source.bundled)
    if not (BUNDLED / name).is_dir():
        raise UnknownName("bundled data set", name, (folder.name for folder in BUNDLED.iterdir() if folder.is_dir()))
    path, whole = _in_folder(BUNDLED / name, split, task.splits.stratified is not None)
    return RawTable(read_once(path), f"{name}/{path.name}", whole)


def validation_share(task: TaskSpec, lang: str, data_dir: Path | None) -> float | None:
    """The share of the train rows that are the validation rows; None where these have a file of their own."""
    if data_dir is None:
        return task.splits.validation_share
    folder = folder_of_language(task, lang, data_dir) or data_dir
    own = any(path.stem in ("validation", "val") and readable(path) for path in folder.glob("val*"))
    return None if own else task.splits.validation_share


def _read_data_dir(task: TaskSpec, lang: str, split: Split, data_dir: Path) -> RawTable:
    own = folder_of_language(task, lang, data_dir)
    path, whole = _in_folder(own or data_dir, split, task.splits.stratified is not None)
    columns = read_once(path, task.source.files.csv if task.source.files is not None else USUAL)
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
    if not there(path):
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
        if stem in (*SPLITS, "all") and readable(path):
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
