"""Raw rows to examples: label maps, languages, splits, samples, and the fingerprint that names a set of rows."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Any

from harness.core.errors import DataError
from harness.core.types import Example, Label, LabelKind
from harness.data.drawing import ALONE, content_keys, divide, frozen_ids, sampled, set_aside
from harness.data.sources import RawTable, folder_of_language, read_raw, validation_share
from harness.parsing.signs import is_blank
from harness.specs.tasks import SPLITS, Columns, Labels, Split, TaskSpec

_AT_ONCE = 10_000
"""Rows of the fingerprint that are hashed together."""

YES, NO = frozenset({"1", "1.0", "true"}), frozenset({"0", "0.0", "false", "", "none"})


def column(raw: RawTable, name: str) -> list[Any]:
    """Raises `DataError` where there is no such column."""
    if name not in raw.columns:
        raise DataError(
            f"{raw.origin} has no column {name!r}; its columns: {', '.join(raw.columns) or 'none'}.",
            "Name the right one under `columns` in the task's YAML.",
        )
    return raw.columns[name]


def languages(raw: RawTable, columns: Columns) -> list[Any]:
    """The language of each row, as the column `lang` and its map say."""
    codes = columns.lang_map or {}
    return [codes.get(str(value), value) for value in column(raw, str(columns.lang))]


def in_split(raw: RawTable, task: TaskSpec, columns: Columns, split: Split) -> list[bool]:
    """Whether each row belongs to `split`; all rows do where the file is that of the split."""
    if columns.split is None or not raw.whole:
        return [True] * len(next(iter(raw.columns.values()), []))
    values = column(raw, columns.split)
    named = str(getattr(task.splits, source_split(task, split)))
    found = [str(value) == named for value in values]
    if not any(found):
        there = ", ".join(sorted({str(value) for value in values})[:12])
        raise DataError(
            f"{raw.origin}: no row has {named!r} in the column {columns.split!r}; found there: {there or 'nothing'}.",
            f"Say under `splits` in the task's YAML what the rows of {split} have there.",
        )
    return found


def source_split(task: TaskSpec, split: Split) -> Split:
    """The split whose rows are read for `split`: validation rows may be a share of the train rows."""
    return "train" if split == "validation" and task.splits.validation_share is not None else split


def label_cells(raw: RawTable, columns: Columns, labels: Labels) -> list[Any]:
    """The label of each row, as a list where a cell or several columns hold several."""
    if isinstance(columns.label, list):
        names = labels.names or []
        parts = [[_holds(raw, name, cell) for cell in column(raw, name)] for name in columns.label]
        return [[name for name, holds in zip(names, row, strict=True) if holds] for row in zip(*parts, strict=True)]
    cells = column(raw, columns.label)
    if labels.missing and not raw.canonical:
        missing = set(map(str, labels.missing))
        cells = [None if label_key(cell).strip() in missing else cell for cell in cells]
    if labels.kind is not LabelKind.MULTILABEL:
        return [_alone(cell) if isinstance(cell, list) else cell for cell in cells]
    if labels.separator is None or raw.canonical:
        return cells
    return [separated(cell, labels.separator) if isinstance(cell, str) else cell or [] for cell in cells]


def _alone(items: list[Any]) -> Any:
    """The only item of a list, None of an empty one. One of several is no label of a task with one label a row."""
    return items if len(items) > 1 else items[0] if items else None


def label_columns(columns: Columns) -> str:
    """As an error names them."""
    return columns.label if isinstance(columns.label, str) else ", ".join(columns.label)


def separated(cell: str, separator: str) -> list[str]:
    """The labels of `joy|anger`, of `['joy', 'anger']`, or of nothing."""
    text = cell.strip()
    if text[:1] + text[-1:] in ("[]", "()", "{}"):
        text = text[1:-1]
    parts = text.split() if separator == " " else text.split(separator)
    return [part for part in (part.strip().strip("'\"").strip() for part in parts) if part]


def without_label(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and not value.strip())


def _holds(raw: RawTable, name: str, cell: Any) -> bool:
    text = str(cell).strip().lower()
    if text not in YES and text not in NO:
        raise DataError(
            f"{raw.origin}: the column {name!r} holds {_short(cell)}, which is neither 0 nor 1.",
            "Name the columns of labels under `columns.label` in the task's YAML.",
        )
    return text in YES


CANONICAL_COLUMNS = Columns(text="text", label="label", id="id", lang="lang")


def load_examples(task: TaskSpec, *, lang: str, split: str, data_dir: Path | None = None) -> list[Example]:
    """The rows of one split in one language, never empty, ids unique.

    `data_dir` is a folder with files {train, validation or val, test}.{parquet, csv, tsv, jsonl, json}, or with one
    such folder per language; it takes the place of the task's source. Files that have the columns id, text, label
    and lang are read as such (label: 0-based index, or a name); others as the task's `columns` and `labels` say.
    Where the task divides its rows itself (`splits`), a folder with all three splits is taken as it is, and
    `validation_share` applies to a folder without a validation file.

    Rows come in the order of the source, or in a seeded random order where the task divides or samples them.
    Raises `DataError` for rows that do not fit the task, `RunError` where the hub can't be reached.
    """
    wanted = next((name for name in SPLITS if name == split), None)
    if wanted is None:
        raise DataError(f"There is no split {split!r}.", f"Use one of {', '.join(SPLITS)}.")
    if lang not in task.languages:
        raise DataError(f"The task {task.name!r} has no language {lang!r}.", f"Its languages: {', '.join(task.languages)}.")
    task = with_names(task, data_dir)
    raw = read_raw(task, lang, wanted, data_dir)
    share = None if wanted == "test" else validation_share(task, lang, data_dir)
    stratified = task.splits.stratified if raw.whole else None
    if stratified is None and share is None:
        examples = _examples(task, raw, lang, wanted, wanted)
    else:
        examples = [row for row in _drawn(task, raw, lang, wanted, share, data_dir) if row.lang == lang]
        if not examples:
            raise DataError(f"{raw.origin}: no {wanted} row is in {lang!r}.", "Add rows, or leave `columns.group` out.")
    return sampled(examples, task.sample[wanted]) if wanted in task.sample else examples


def _drawn(task: TaskSpec, raw: RawTable, lang: str, split: Split, share: float | None, data_dir: Path | None) -> list[Example]:
    """The rows of a split that bench draws. Where rows have groups, all languages are divided together, so that a group that
    has rows in several languages is on one side in all of them."""
    stratified = task.splits.stratified if raw.whole else None
    # validation and train rows must have the same ids while they are still to be told apart
    source = "all" if stratified is not None else "train"
    tables = {lang: raw}
    if _columns_of(task, raw).group is not None:
        others = [code for code in _languages_there(task, raw, data_dir) if code != lang]
        tables |= {code: read_raw(task, code, split, data_dir) if raw.one_language else raw for code in others}
    examples = [row for code in sorted(tables) for row in _examples(task, tables[code], code, split, source)]
    if stratified is None:
        return set_aside(examples, share or 0.0, raw.origin)[split]
    frozen = None if data_dir is not None else stratified.test_ids
    ids = None if frozen is None else {code: frozen_ids(task.folder / frozen, code) for code in tables}
    return divide(examples, stratified, raw.origin, ids)[split]


def _languages_there(task: TaskSpec, raw: RawTable, data_dir: Path | None) -> list[str]:
    """The languages of the task that have rows."""
    if raw.one_language:
        return _languages_with_rows(task, data_dir)
    columns = _columns_of(task, raw)
    langs = _langs(task, raw, columns, None if columns.id is None else _ids(raw, columns.id), task.languages[0])
    return [code for code in task.languages if code in set(langs)]


def fingerprint(examples: Sequence[Example]) -> str:
    """SHA-256 (hex) over ids, texts, labels, languages and groups (if there are any); the same for any order of the rows."""
    rows = sorted(map(_as_json, examples))
    found = hashlib.sha256()
    for start in range(0, len(rows), _AT_ONCE):  # a join of all would take as much memory again
        found.update(("\n" * (start > 0) + "\n".join(rows[start : start + _AT_ONCE])).encode("ascii"))
    return found.hexdigest()


def _as_json(row: Example) -> str:
    """What `json.dumps` makes of the list of these values, in a sixth of the time."""
    label = str(row.label) if type(row.label) is int else json.dumps(row.label)
    group = "" if row.group is None else f", {quoted(row.group)}"
    return f"[{quoted(row.id)}, {quoted(row.lang)}, {label}, {quoted(row.text)}{group}]"


def with_names(task: TaskSpec, data_dir: Path | None = None) -> TaskSpec:
    """The task with `labels.names` filled in from its train rows, or those of `data_dir`, where they are left out.

    The names are sorted; by their value where all are whole numbers, which only the canonical columns of a `data_dir` may
    hold. Raises `DataError`.
    """
    if task.labels.names is not None:
        return task
    found: set[str] = set()
    for lang in _languages_with_rows(task, data_dir):
        raw = read_raw(task, lang, "train", data_dir)
        for row, value in enumerate(label_cells(raw, CANONICAL_COLUMNS if raw.canonical else task.columns, task.labels)):
            for item in value if isinstance(value, list) else [value]:
                name = label_key(item) if raw.canonical and item is not None else item
                if not isinstance(name, str) or not name.strip():
                    raise DataError(
                        f"{raw.origin}: the label of row {row + 1} is {item!r}, not a name.",
                        "Give `labels.names` in the task's YAML.",
                    )
                found.add(name)
    if len(found) < 2:
        raise DataError(f"The train split of {task.name!r} has fewer than two labels: {sorted(found)}.")
    numbers = all(name.isascii() and name.isdigit() for name in found)
    # The numbers of a file that names its labels by text ("10", "9") keep the order that they always had.
    names = sorted(found, key=_numeric) if numbers and data_dir is not None else sorted(found)
    # Through `map`, so that a number in another split is an unseen label and not taken for an index.
    return task.model_copy(update={"labels": task.labels.inferring(names)})


def _numeric(name: str) -> tuple[int, str]:
    """Sorts digits by the number they make, which may be longer than `int` reads."""
    digits = name.lstrip("0")
    return len(digits), digits


def _languages_with_rows(task: TaskSpec, data_dir: Path | None) -> list[str]:
    """The languages that have a folder of their own; the first one where a file holds all of them, or there is nothing."""
    if data_dir is not None:
        return [lang for lang in task.languages if folder_of_language(task, lang, data_dir)] or task.languages[:1]
    if not task.source.per_language:
        return task.languages[:1]
    files = task.source.files
    folder = None if files is None else files.folder
    if files is None or folder is None:
        return task.languages
    there = [lang for lang in task.languages if (task.folder / files.in_language(folder, lang)).is_dir()]
    if not there:
        raise DataError(
            f"The task {task.name!r} reads the folder {task.folder / folder}, which is not there.",
            "Make it, or give your own: --data DIR, with train, validation and test as json, jsonl, csv, tsv or parquet.",
        )
    return there


def _columns_of(task: TaskSpec, raw: RawTable) -> Columns:
    """Canonical columns may have the task's own columns of groups beside them, or one named `group`."""
    if not raw.canonical:
        return task.columns
    own = group_columns(task.columns)
    if own and all(name in raw.columns for name in own):
        return CANONICAL_COLUMNS.model_copy(update={name: getattr(task.columns, name) for name in ("group", "group_pattern")})
    return CANONICAL_COLUMNS.model_copy(update={"group": "group"}) if own and "group" in raw.columns else CANONICAL_COLUMNS


def _examples(task: TaskSpec, raw: RawTable, lang: str, split: Split, source: str) -> list[Example]:
    """`source`: what ids that are made begin with."""
    columns = _columns_of(task, raw)
    ids = None if columns.id is None else _ids(raw, columns.id)
    labels = label_cells(raw, columns, task.labels)
    rows = _rows_of(task, raw, columns, ids, lang, split)
    if task.drop_empty_label:
        rows = [row for row in rows if not without_label(labels[row])]
    named = _namer(ids)
    texts = row_texts(raw, columns, named, rows)
    empty = [row for row in rows if is_blank(texts[row])]
    if empty and not task.drop_empty_text:
        raise DataError(
            f"{raw.origin}: {len(empty)} of {len(rows)} rows in {lang!r} have no text: {_some([named(row) for row in empty])}.",
            "Mend them, or set `drop_empty_text: true` in the task's YAML.",
        )
    if len(empty) == len(rows):
        raise DataError(f"{raw.origin}: no row has a text.")
    mapped = _canonical_index(task.labels) if raw.canonical else label_index(task.labels)
    skipped = set(empty)
    column_names = label_columns(columns)
    kept = [row for row in rows if row not in skipped]
    answers = _answers(labels, kept, lambda row: _label(labels[row], mapped, task, raw, column_names, named(row)))
    made = [ids[row] for row in kept] if ids is not None else []
    if ids is None:
        made = made_ids([texts[row] for row in kept], answers, f"{lang}-{source}" if raw.one_language else source)
    groups = _groups(raw, columns, kept, named)
    alone = iter(content_keys([texts[row] for row in kept], answers)) if None in groups else iter(())
    return [
        Example(row_id, texts[row], label, lang, None if columns.group is None else _group_of(group, next(alone, "")))
        for row_id, row, label, group in zip(made, kept, answers, groups, strict=True)
    ]


def _namer(ids: list[str] | None) -> Callable[[int], str]:
    """How errors name a row: by its id, or by its number from 1 on."""
    return lambda row: str(row + 1) if ids is None else repr(ids[row])


def _answers(cells: Sequence[Any], rows: Sequence[int], read: Callable[[int], Label]) -> list[Label]:
    """What `read` makes of the cell of each row; of equal texts once."""
    known: dict[str, Label] = {}
    found = []
    for row in rows:
        cell = cells[row]
        if type(cell) is not str:
            found.append(read(row))
            continue
        if cell not in known:
            known[cell] = read(row)
        found.append(known[cell])
    return found


def group_columns(columns: Columns) -> list[str]:
    """The columns that name a row's group."""
    return [columns.group] if isinstance(columns.group, str) else columns.group or []


def _groups(raw: RawTable, columns: Columns, rows: Sequence[int], named: Callable[[int], str]) -> list[str | None]:
    """The group of each of `rows`; None for one with an empty cell."""
    names = group_columns(columns)
    cells = [column(raw, name) for name in names]
    found: list[str | None] = []
    for row in rows:
        parts = ["" if (cell := values[row]) is None or cell != cell else label_key(cell).strip() for values in cells]
        if columns.group_pattern is not None and all(parts):
            parts = [
                _matched(columns.group_pattern, part, raw, name, named(row)) for part, name in zip(parts, names, strict=True)
            ]
        found.append("\n".join(parts) if all(parts) and parts else None)
    return found


def _matched(pattern: str, cell: str, raw: RawTable, name: str, named: str) -> str:
    match = re.search(pattern, cell)
    if match is None:
        raise DataError(
            f"{raw.origin}: `group_pattern` matches no part of {_short(cell)}, row {named} (column {name!r}).",
            "Correct `columns.group_pattern` in the task's YAML, or leave it out.",
        )
    return match[1] if match.re.groups else match[0]


def _group_of(group: str | None, key: str) -> str:
    """A row without a group is a group of its own, named by its content."""
    return f"{ALONE}{key}" if group is None else group


def made_ids(texts: Sequence[str], labels: Sequence[Label], prefix: str) -> list[str]:
    """Of the text alone, so that rows that are added, taken away or moved change no other row's id; see `content_keys`."""
    return [f"{prefix}-{key}" for key in content_keys(texts, labels)]


def _ids(raw: RawTable, name: str) -> list[str]:
    """What stands in the column of ids, which must be unique."""
    values = column(raw, name)
    missing = next((row for row, value in enumerate(values) if value is None or str(value) == ""), None)
    if missing is not None:
        raise DataError(f"{raw.origin}: row {missing + 1} has no id in column {name!r}.")
    ids = [str(value) for value in values]
    twice = [row_id for row_id, count in Counter(ids).items() if count > 1]
    if twice:
        raise DataError(
            f"{raw.origin}: {len(twice)} ids stand there more than once: {_some(twice)}.",
            "Remove the repeated rows, or leave out `columns.id` to have ids made.",
        )
    return ids


def _rows_of(task: TaskSpec, raw: RawTable, columns: Columns, ids: list[str] | None, lang: str, split: Split) -> list[int]:
    """Indices of the rows in `lang` that belong to `split`, at least one."""
    wanted = in_split(raw, task, columns, split)
    langs = _langs(task, raw, columns, ids, lang)
    rows = [row for row, value in enumerate(langs) if value == lang and wanted[row]]
    if not rows:
        found = sorted({str(value) for row, value in enumerate(langs) if wanted[row]})
        raise DataError(
            f"{raw.origin} has no rows in {lang!r}; languages there: {_some(found, 12) or 'none, it is empty'}.",
            "Ask for a language that is there, or give a folder that holds this one: --data DIR.",
        )
    return rows


def _langs(task: TaskSpec, raw: RawTable, columns: Columns, ids: list[str] | None, lang: str) -> list[Any]:
    """The language of each row; `lang`, where all have the same."""
    if columns.lang is not None:
        return languages(raw, columns)
    if columns.lang_from_id and ids is not None:
        return [name.split("_", 1)[0] for name in ids]
    if raw.one_language or len(task.languages) == 1:
        return [lang] * len(next(iter(raw.columns.values()), []))
    raise DataError(
        f"{raw.origin}: nothing tells the rows' languages; its columns: {', '.join(raw.columns)}.",
        "Add a column `lang` beside id, text and label, or put the files into one folder per language.",
    )


def row_texts(raw: RawTable, columns: Columns, named: Callable[[int], str], rows: Sequence[int]) -> list[str]:
    """The text of each row of the table; empty where it is missing, and in others than `rows`. Several columns are joined by
    newlines, missing ones left out. `named`: how errors name a row."""
    names = [columns.text] if isinstance(columns.text, str) else columns.text
    found = [""] * len(next(iter(raw.columns.values()), []))
    for name in names:
        values = column(raw, name)
        for row in rows:
            value = values[row]
            if isinstance(value, int | float) and not isinstance(value, bool):
                value = "" if value != value else label_key(value)  # as in csv; a gap in a column of numbers is NaN
            if value is not None and not isinstance(value, str):
                kind = type(value).__name__  # and not the value, which is a text of somebody
                raise DataError(
                    f"{raw.origin}: the text of row {named(row)} (column {name!r}) is no string, but {kind}.",
                    "Name another column under `columns: text`, or write that one as strings.",
                )
            if value:
                found[row] = f"{found[row]}\n{value}" if found[row] else value
    return found


def label_index(labels: Labels) -> dict[str, int]:
    """Label as it stands in the data (as a string) -> index into the task's label space."""
    names = labels.names or []
    if labels.map is not None:
        indices = {str(raw): names.index(target) if isinstance(target, str) else target for raw, target in labels.map.items()}
    else:
        indices = {name: index for index, name in enumerate(names)}  # first, as messages show the first ones; and they win
        indices = indices | {str(labels.first + index): index for index in range(len(names))} | indices
    return {raw: labels.merged(index) for raw, index in indices.items()}


def _canonical_index(labels: Labels) -> dict[str, int]:
    """0-based indices into `names`, or names; an index wins over a name that looks like it. Of `merge` the new names too."""
    if labels.inferred:
        return label_index(labels)
    names = labels.names or []
    indices = {name: index for index, name in enumerate(names)} | {str(index): index for index in range(len(names))}
    new = {name: index for index, name in enumerate(labels.merge or {})}
    return new | {raw: labels.merged(index) for raw, index in indices.items()}


def _label(value: Any, mapped: dict[str, int], task: TaskSpec, raw: RawTable, column: str, named: str) -> Label:
    multilabel = task.labels.kind is LabelKind.MULTILABEL
    indices = []
    for item in value if multilabel and isinstance(value, list) else [value]:
        index = mapped.get(label_key(item))
        if index is None:
            raise DataError(
                f"{raw.origin}: the label {_short(item)} of row {named} (column {column!r}) is none of {task.name!r}.",
                f"Allowed: {_some(list(mapped), 12)}. "
                + ("These are the labels of the train split." if task.labels.inferred else "See `labels` in the task's YAML."),
            )
        indices.append(index)
    return tuple(sorted(set(indices))) if multilabel else indices[0]


def label_key(value: Any) -> str:
    """How a label that is no text is written: whole numbers without a point, truth values in small letters."""
    if isinstance(value, bool):
        return str(value).lower()
    # a column of whole numbers with a gap is read as floats
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _some(items: list[str], most: int = 3) -> str:
    return ", ".join(items[:most]) + (", ..." if len(items) > most else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
