"""Rows to label: those of a file, or of a split of a task whose labels are not looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.core.errors import DataError, UserError
from harness.core.types import NO_LABEL, Example
from harness.data.formats import USUAL, read_file, there
from harness.data.json_tables import ColumnLists
from harness.data.rows import languages, load_examples, made_ids, row_texts
from harness.data.sources import RawTable
from harness.parsing.signs import is_blank
from harness.specs.tasks import Columns, Split, TaskSpec


@dataclass(frozen=True)
class UnlabelledRows:
    """`columns`: the rows' own columns. `examples`: each row for a model, None for one without text. `other_languages`: rows
    of the file that are left out."""

    columns: ColumnLists
    examples: list[Example | None]
    other_languages: int = 0

    def with_text(self) -> list[Example]:
        return [example for example in self.examples if example is not None]


def rows_of_file(path: Path, task: TaskSpec, lang: str, text: Sequence[str]) -> UnlabelledRows:
    """The rows of a file, as the task's YAML describes its text and language; `text`: columns in place of the task's.

    Ids are made of the texts, so that the order of the rows changes nothing. Raises `UserError`.
    """
    if not there(path):
        raise UserError(f"--rows {path}: no such file.", "Name a file of rows: csv, tsv, jsonl or parquet.")
    names = list(text) or ([task.columns.text] if isinstance(task.columns.text, str) else task.columns.text)
    columns = _read(path, task, names)
    missing = [name for name in names if name not in columns]
    if missing:
        raise UserError(
            f"{path} has no column {missing[0]!r}; its columns: {', '.join(columns) or 'none'}.",
            "Name the column of the text: --text NAME",
        )
    columns, others = _in_language(columns, path, task, lang)
    count = len(next(iter(columns.values())))
    raw, places = RawTable(columns, str(path)), list(range(count))
    texts = row_texts(raw, Columns(text=names), lambda place: str(place + 1), places)
    kept = [place for place in places if not is_blank(texts[place])]
    if not kept:
        raise DataError(f"{path}: no row has a text.", f"Its text is read from {', '.join(names)}. Name another: --text NAME")
    ids = made_ids([texts[place] for place in kept], [NO_LABEL] * len(kept), "row")
    made = {place: Example(row_id, texts[place], NO_LABEL, lang) for place, row_id in zip(kept, ids, strict=True)}
    return UnlabelledRows(columns, [made.get(place) for place in places], others)


def _read(path: Path, task: TaskSpec, names: Sequence[str]) -> ColumnLists:
    """In the task's dialect of csv, unless only the usual one finds the columns. Raises `DataError`."""
    found: list[ColumnLists] = []
    problems: list[DataError] = []
    for dialect in ([] if task.source.files is None else [task.source.files.csv]) + [USUAL]:
        try:
            columns = read_file(path, dialect)
        except DataError as error:
            problems.append(error)
            continue
        if all(name in columns for name in names):
            return columns
        found.append(columns)
    if not found:
        raise problems[0]
    return found[0]


def _in_language(columns: ColumnLists, path: Path, task: TaskSpec, lang: str) -> tuple[ColumnLists, int]:
    """The rows in `lang`, where the file says it, and how many are in others."""
    if len(task.languages) == 1 or task.columns.lang is None or task.columns.lang not in columns:
        return columns, 0
    spoken = languages(RawTable(columns, str(path)), task.columns)
    wanted = [place for place, one in enumerate(spoken) if one == lang]
    if not wanted:
        raise DataError(f"{path} has no rows in {lang!r}; languages there: {', '.join(sorted(set(map(str, spoken)))[:12])}.")
    return {name: [values[place] for place in wanted] for name, values in columns.items()}, len(spoken) - len(wanted)


def rows_of_split(task: TaskSpec, lang: str, split: Split, data_dir: Path | None) -> UnlabelledRows:
    """The rows of a split, without their labels."""
    rows = load_examples(task, lang=lang, split=split, data_dir=data_dir)
    examples: list[Example | None] = [replace(row, label=NO_LABEL) for row in rows]
    return UnlabelledRows(
        {"id": [row.id for row in rows], "text": [row.text for row in rows], "lang": [lang] * len(rows)}, examples
    )
