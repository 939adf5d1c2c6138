"""Raw rows to examples: label maps, languages, splits, samples, and the fingerprint that names a set of rows."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.data.cells import column, in_split, label_cells, label_columns, languages, without_label
from harness.data.sources import RawTable, folder_of_language, read_raw
from harness.errors import DataError
from harness.specs.tasks import SPLITS, Columns, Labels, Sample, Split, Stratified, TaskSpec
from harness.types import Example, Label, LabelKind

CANONICAL_COLUMNS = Columns(text="text", label="label", id="id", lang="lang")


def load_examples(task: TaskSpec, *, lang: str, split: str, data_dir: Path | None = None) -> list[Example]:
    """The rows of one split in one language, never empty, ids unique.

    `data_dir` is a folder with files {train, validation or val, test}.{parquet, csv, tsv, jsonl, json}, or with one
    such folder per language; it takes the place of the task's source. Files that have the columns id, text, label
    and lang are read as such (label: 0-based index, or a name); others as the task's `columns` and `labels` say.
    Where the task divides its rows itself (`splits`), a folder with all three splits is taken as it is.

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
    examples = _examples(task, raw, lang, wanted)
    share = None if data_dir is not None else task.splits.validation_share
    if raw.whole and task.splits.stratified is not None:
        examples = _divide(examples, task.splits.stratified, raw.origin)[wanted]
    elif share is not None and wanted != "test":
        examples = _set_aside(examples, share, raw.origin)[wanted]
    if wanted in task.sample:
        examples = _sampled(examples, task.sample[wanted])
    return examples


def fingerprint(examples: Sequence[Example]) -> str:
    """SHA-256 (hex) over ids, texts, labels and languages; the same for any order of the rows."""
    rows = sorted(json.dumps([example.id, example.lang, example.label, example.text]) for example in examples)
    return hashlib.sha256("\n".join(rows).encode("ascii")).hexdigest()


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


def _examples(task: TaskSpec, raw: RawTable, lang: str, split: Split) -> list[Example]:
    columns = CANONICAL_COLUMNS if raw.canonical else task.columns
    ids = _ids(raw, columns, lang, split)
    labels = label_cells(raw, columns, task.labels)
    rows = _rows_of(task, raw, columns, ids, lang, split)
    if task.drop_empty_label:
        rows = [row for row in rows if not without_label(labels[row])]
    texts = _texts(raw, columns, ids, rows)
    empty = [row for row in rows if not texts[row].strip()]
    if empty and not task.drop_empty_text:
        raise DataError(
            f"{raw.origin}: {len(empty)} of {len(rows)} rows in {lang!r} have no text: {_some([ids[row] for row in empty])}.",
            "Mend them, or set `drop_empty_text: true` in the task's YAML.",
        )
    if len(empty) == len(rows):
        raise DataError(f"{raw.origin}: no row has a text.")
    mapped = _canonical_index(task.labels) if raw.canonical else label_index(task.labels)
    skipped = set(empty)
    named = label_columns(columns)
    return [
        Example(ids[row], texts[row], _label(labels[row], mapped, task, raw, named, ids[row]), lang)
        for row in rows
        if row not in skipped
    ]


def _ids(raw: RawTable, columns: Columns, lang: str, split: Split) -> list[str]:
    """The rows' ids, unique; made from split and row number where the data has none."""
    if columns.id is None:
        prefix = f"{lang}-" if raw.one_language else ""
        count = len(next(iter(raw.columns.values()), []))
        return [f"{prefix}{'all' if raw.whole else split}-{row}" for row in range(count)]
    values = column(raw, columns.id)
    missing = next((row for row, value in enumerate(values) if value is None or str(value) == ""), None)
    if missing is not None:
        raise DataError(f"{raw.origin}: row {missing + 1} has no id in column {columns.id!r}.")
    ids = [str(value) for value in values]
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise DataError(
            f"{raw.origin}: {len(twice)} ids stand there more than once: {_some(twice)}.",
            "Remove the repeated rows, or leave out `columns.id` to have ids made.",
        )
    return ids


def _rows_of(task: TaskSpec, raw: RawTable, columns: Columns, ids: list[str], lang: str, split: Split) -> list[int]:
    """Indices of the rows in `lang` that belong to `split`, at least one."""
    if columns.lang is not None:
        langs = languages(raw, columns)
    elif columns.lang_from_id:
        langs = [name.split("_", 1)[0] for name in ids]
    elif raw.one_language or len(task.languages) == 1:
        langs = [lang] * len(ids)
    else:
        raise DataError(
            f"{raw.origin}: nothing tells the rows' languages; its columns: {', '.join(raw.columns)}.",
            "Add a column `lang` beside id, text and label, or put the files into one folder per language.",
        )
    wanted = in_split(raw, task, columns, split)
    rows = [row for row, value in enumerate(langs) if value == lang and wanted[row]]
    if not rows:
        found = sorted({str(value) for row, value in enumerate(langs) if wanted[row]})
        raise DataError(
            f"{raw.origin} has no rows in {lang!r}; languages there: {_some(found, 12) or 'none, it is empty'}.",
            "Ask for a language that is there, or give a folder that holds this one: --data DIR.",
        )
    return rows


def _texts(raw: RawTable, columns: Columns, ids: list[str], rows: list[int]) -> dict[int, str]:
    """Row -> text; empty where it is missing. Several columns are joined by newlines, missing ones left out."""
    names = [columns.text] if isinstance(columns.text, str) else columns.text
    parts: dict[int, list[str]] = {row: [] for row in rows}
    for name in names:
        values = column(raw, name)
        for row in rows:
            value = values[row]
            if value is not None and not isinstance(value, str):
                kind = type(value).__name__  # and not the value, which is a text of somebody
                raise DataError(
                    f"{raw.origin}: the text of row {ids[row]!r} (column {name!r}) is no string, but {kind}.",
                    "Name another column under `columns: text`, or write that one as strings.",
                )
            if value:
                parts[row].append(value)
    return {row: "\n".join(texts) for row, texts in parts.items()}


def label_index(labels: Labels) -> dict[str, int]:
    """Label as it stands in the data (as a string) -> index into the task's label space."""
    names = labels.names or []
    if labels.map is not None:
        indices = {str(raw): names.index(target) if isinstance(target, str) else target for raw, target in labels.map.items()}
    else:
        numbers = {str(labels.first + index): index for index in range(len(names))}
        indices = numbers | {name: index for index, name in enumerate(names)}
    return {raw: labels.merged(index) for raw, index in indices.items()}


def _canonical_index(labels: Labels) -> dict[str, int]:
    """0-based indices into `names`, or names; an index wins over a name that looks like it. Of `merge` the new names too."""
    if labels.inferred:
        return label_index(labels)
    names = labels.names or []
    indices = {name: index for index, name in enumerate(names)} | {str(index): index for index in range(len(names))}
    new = {name: index for index, name in enumerate(labels.merge or {})}
    return new | {raw: labels.merged(index) for raw, index in indices.items()}


def _label(value: Any, mapped: dict[str, int], task: TaskSpec, raw: RawTable, column: str, row_id: str) -> Label:
    multilabel = task.labels.kind is LabelKind.MULTILABEL
    indices = []
    for item in value if multilabel and isinstance(value, list) else [value]:
        index = mapped.get(label_key(item))
        if index is None:
            raise DataError(
                f"{raw.origin}: the label {_short(item)} of row {row_id!r} (column {column!r}) is none of {task.name!r}.",
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


def _divide(examples: list[Example], how: Stratified, origin: str) -> dict[Split, list[Example]]:
    """Three splits that do not overlap and do not depend on the order of `examples`."""
    total = len(examples)
    test, validation = round(total * how.shares.test), round(total * how.shares.validation)
    if min(test, validation, total - test - validation) < 1:
        raise DataError(f"{origin}: {total} rows are too few for three splits.")
    tested, others = _draw(examples, test, how.seed)
    validated, trained = _draw(others, validation, how.seed)
    return {"train": trained, "validation": validated, "test": tested}


def _set_aside(examples: list[Example], share: float, origin: str) -> dict[Split, list[Example]]:
    """Train rows, and the share of them that validates; neither depends on the order of `examples`."""
    count = round(len(examples) * share)
    if not 0 < count < len(examples):
        raise DataError(f"{origin}: {len(examples)} train rows are too few to set {share:.0%} aside for validation.")
    validated, trained = _draw(examples, count, Stratified().seed)
    return {"train": trained, "validation": validated}


def _sampled(examples: list[Example], how: Sample) -> list[Example]:
    count = how.count if how.count is not None else max(1, round(len(examples) * (how.share or 0.0)))
    return examples if count >= len(examples) else _draw(examples, count, how.seed)[0]


def _draw(examples: list[Example], count: int, seed: int) -> tuple[list[Example], list[Example]]:
    """`count` examples and the rest, each with the same shares of labels where the numbers allow it."""
    from sklearn.model_selection import train_test_split

    ordered = sorted(examples, key=lambda example: example.id)
    counts = Counter(example.label for example in ordered)
    commonest = counts.most_common(1)[0][0]
    # a label with a single row can't be in both parts: it is drawn together with the commonest label
    strata = [str(example.label if counts[example.label] > 1 else commonest) for example in ordered]
    possible = len(set(strata)) <= min(count, len(ordered) - count) and Counter(strata).most_common()[-1][1] > 1
    drawn, rest = train_test_split(
        ordered, train_size=count, test_size=len(ordered) - count, random_state=seed, stratify=strata if possible else None
    )
    return list(drawn), list(rest)


def _some(items: list[str], most: int = 3) -> str:
    return ", ".join(items[:most]) + (", ..." if len(items) > most else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
