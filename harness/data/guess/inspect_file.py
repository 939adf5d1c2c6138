"""What a file of texts and labels holds, for `bench init`: columns, labels, languages, splits, and what is doubtful."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from harness.core.errors import UserError
from harness.core.types import LabelKind
from harness.data.duplicates import normalized
from harness.data.guess.cells import Column, as_columns
from harness.data.guess.columns import ColumnOverrides, Roles, roles_of
from harness.data.guess.files import Opened, ReadOptions, open_data
from harness.data.guess.labels import ON, LabelSpaceGuess, flags_space, label_space, parts_of, rare
from harness.data.guess.language import Languages, code_of, detected, doubts, doubts_of_code, languages_of
from harness.data.guess.naming import bare, doubts_of_scale, named
from harness.data.guess.splits import Division, Rows, divide
from harness.parsing.folding import fold
from harness.specs.prices import tokens_of
from harness.specs.tasks import Split
from harness.statistics.intervals import SMALL_N, small

LEAST = 20
"""Rows of a language, at least: fewer can't be divided into three splits that tell anything."""


MOST_READ = 5_000
"""Texts whose length is taken for that of all."""

LONGEST_LABEL = 500
"""Characters of a label's name, at most; what is longer is a text, and no key that YAML reads."""


@dataclass(frozen=True, slots=True)
class InitRequest:
    """`lang` is the name of a column, or a language code; `names` are those of the labels, in their order."""

    path: Path
    read_options: ReadOptions = field(default_factory=ReadOptions)
    chosen: ColumnOverrides = field(default_factory=ColumnOverrides)
    lang: str | None = None
    kind: LabelKind | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counted:
    """Of the usable rows. `duplicates`: rows with the text of an earlier row; `conflicting`: those of them with another label.

    `leaked`: test rows with the text of a train row; None where bench splits the rows itself, until `tried` has done so.
    `lengths`: characters of a text: median, 95th percentile, maximum.
    """

    rows: dict[Split, dict[str, int]]
    without_text: int
    duplicates: int
    conflicting: int
    leaked: int | None
    lengths: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """`numbers`: the labels are bare numbers. Of multilabel tasks: `most_labels` of a row, and whether rows have none.
    `tokens`: of a text, estimated, on the mean."""

    path: Path
    opened: Opened
    roles: Roles
    labels: LabelSpaceGuess
    languages: Languages
    division: Division
    counted: Counted
    notes: list[str]
    numbers: bool = False
    most_labels: int = 1
    without_label: bool = False
    tokens: float = 0

    @property
    def total(self) -> int:
        return self.opened.total


def inspect_file(question: InitRequest) -> Found:
    """Raises `UserError` for a file that can't be read or does not tell which column is which."""
    opened = open_data(question.path, question.read_options)
    columns = as_columns(opened.columns)
    _check_paths(question, opened)
    code, chosen = _language_wish(question, columns)
    roles = roles_of(columns, chosen, opened.total)
    if code is not None or opened.langs is not None:
        roles = replace(roles, lang=None)
    if "all" not in opened.rows:
        roles = replace(roles, split=None)
    _check_named(roles)
    labels = _named(columns, roles, _labels(columns, roles, opened, question.kind), question.names)
    _check_whole(opened, roles, labels)
    texts = _texts(columns, roles.text)
    languages, lang_notes = _languages(columns, roles, texts, code, opened.langs)
    langs = opened.langs or _lang_of_rows(columns, languages, opened.total)
    truths = [_truth(columns, roles.label, row) for row in range(opened.total)]
    judged = [not labels.missing or bool(truth.strip()) for truth in truths]
    usable = [bool(text.strip()) and langs[row] in languages.rows and judged[row] for row, text in enumerate(texts)]
    folded = {truth: fold(truth) for truth in set(truths)}
    one_each = None if labels.kind is LabelKind.MULTILABEL else [folded[truth] for truth in truths]
    rows = Rows(usable, langs, one_each)
    division = divide(opened, None if roles.split is None else columns[roles.split], rows, list(languages.rows))
    kept = set(division.rows["test"])
    if not kept:
        raise UserError(f"{question.path}: no language has rows in all splits.", "Give one file: bench then splits it itself.")
    languages = replace(languages, rows={code: count for code, count in languages.rows.items() if code in kept})
    counted = _counted(texts, truths, usable, division)
    notes = [
        *opened.notes,
        *roles.notes,
        *_others(roles),
        *labels.notes,
        *rare(labels),
        *lang_notes,
        *division.notes,
        *_of_rows(counted),
        *_few(counted.rows["test"]),
    ]
    each = _labels_each(columns, roles, labels, usable)
    return Found(
        *(question.path, opened, roles, labels, languages, division, counted, notes),
        numbers=len(roles.label) == 1 and bare(labels, columns[roles.label[0]]),
        most_labels=max(1, *each),
        without_label=0 in each,
        tokens=tokens_of([text for text, good in zip(texts, usable, strict=True) if good][:MOST_READ]),
    )


def _labels_each(columns: dict[str, Column], roles: Roles, labels: LabelSpaceGuess, usable: Sequence[bool]) -> set[int]:
    """How many labels a usable row of a multilabel task has: every number that occurs."""
    if labels.kind is not LabelKind.MULTILABEL:
        return {1}
    if len(roles.label) == 1:
        cells = {cell for cell, good in zip(columns[roles.label[0]].cells, usable, strict=True) if good}
        return {len(set(parts_of(cell, labels.separator))) for cell in cells}
    rows = set(zip(*(columns[name].cells for name in roles.label), strict=True))
    return {sum(cell.lower() in ON for cell in row) for row in rows}


def _check_paths(question: InitRequest, opened: Opened) -> None:
    """Raises `UserError` where a column is to tell what the paths tell."""
    if question.lang is not None and opened.langs is not None:
        raise UserError("The paths tell the language of each row.", "Leave --lang out, or give the folder of one language.")
    if question.chosen.split is not None and "all" not in opened.rows:
        raise UserError("The files tell which rows train and test.", "Leave --split out, or give one file.")


def _check_named(roles: Roles) -> None:
    """Raises `UserError` for a column that is needed and has no name, such as the first one that pandas writes."""
    single = {"language": roles.lang, "split": roles.split, "id": roles.id}
    needed = {"text": roles.text, "label": roles.label} | {what: (name,) for what, name in single.items() if name is not None}
    for what, names in needed.items():
        if not all(name.strip() for name in names):
            raise UserError(
                f"The column of the {what} has no name in the file's first line.",
                "Write one there; or, if that line is a row: --no-header.",
            )


def _language_wish(question: InitRequest, columns: dict[str, Column]) -> tuple[str | None, ColumnOverrides]:
    """`--lang` as a code, or as a column that is chosen."""
    if question.lang is None:
        return None, question.chosen
    if question.lang in columns:
        return None, replace(question.chosen, lang=question.lang)
    code = code_of(question.lang)
    if code is None or len(question.lang) > 12:
        raise UserError(
            f"--lang {question.lang}: neither a column nor a language's code.",
            f"The columns: {', '.join(columns)}; a code: en, ja.",
        )
    return code, question.chosen


def _labels(columns: dict[str, Column], roles: Roles, opened: Opened, kind: LabelKind | None) -> LabelSpaceGuess:
    if len(roles.label) > 1:
        if kind not in (None, LabelKind.MULTILABEL):
            raise UserError(
                "Several columns of labels make a multilabel task.",
                f"Leave --kind {kind} out, or name one column: --label NAME.",
            )
        wrong = next((name for name in roles.label if not columns[name].on_off and len(columns[name].counts) != 1), None)
        if wrong is not None:
            raise UserError(f"The column {wrong!r} does not hold 0 and 1.", "Name one column of labels, or several of 0 and 1.")
        return flags_space([columns[name] for name in roles.label])
    column = columns[roles.label[0]]
    names: dict[str, str] = {}
    if roles.names is not None:
        pairs = zip(column.cells, columns[roles.names].cells, strict=True)
        names = {cell: name.strip() for cell, name in pairs if cell.strip()}
    elif column.name in opened.names:
        names = {str(index): name for index, name in enumerate(opened.names[column.name])}
    return label_space(column, kind, names)


def _named(columns: dict[str, Column], roles: Roles, labels: LabelSpaceGuess, names: tuple[str, ...]) -> LabelSpaceGuess:
    """With the names that the user gave; else with a doubt where the labels are numbers that nobody could answer with."""
    column = columns[roles.label[0]]
    if names:
        return named(labels, names, column.counts if len(roles.label) == 1 else ())
    return replace(labels, notes=[*labels.notes, *(doubts_of_scale(labels, column) if len(roles.label) == 1 else [])])


def _check_whole(opened: Opened, roles: Roles, labels: LabelSpaceGuess) -> None:
    """Raises `UserError` for a name that can't be written as UTF-8, into a task or a prompt."""
    names = {"path": map(str, opened.files.values()), "column": (*roles.text, *roles.label), "label": labels.names}
    for what, of in names.items():
        odd = next((name for name in of if any("\ud800" <= letter <= "\udfff" for letter in name)), None)
        if odd is not None:
            raise UserError(f"The {what} {odd!r} holds half a character, or one that is not UTF-8.", "Rename it.")
    longest = max(labels.names, key=len)
    if len(longest) > LONGEST_LABEL:
        raise UserError(
            f"The label {longest[:40] + '...'!r} has {len(longest):,} characters; at most {LONGEST_LABEL} are a name.",
            f"Shorten it, or name another column than {roles.label[0]!r}: --label NAME.",
        )


def _texts(columns: dict[str, Column], names: Sequence[str]) -> list[str]:
    if len(names) == 1:
        return list(columns[names[0]].cells)
    return ["\n".join(part for part in parts if part) for parts in zip(*(columns[name].cells for name in names), strict=True)]


def _languages(
    columns: dict[str, Column], roles: Roles, texts: list[str], code: str | None, by_path: list[str] | None
) -> tuple[Languages, list[str]]:
    if code is not None:
        return Languages({code: len(texts)}), doubts_of_code(code, texts, list(columns))
    if by_path is not None or roles.lang is not None:
        cells = by_path or columns[str(roles.lang)].cells
        found = languages_of(roles.lang, cells, LEAST)
        if not found.rows:
            raise UserError(f"The column {roles.lang!r} names no language.", "Give a code instead: --lang en.")
        return found, [*found.notes, *doubts(found, cells, texts)]
    found = detected(texts)
    if not found.rows:
        raise UserError("No text has enough letters to detect its language.", "Give it: --lang en (a code or a column).")
    return found, found.notes


def _lang_of_rows(columns: dict[str, Column], languages: Languages, total: int) -> Sequence[str]:
    if languages.column is None:
        return [next(iter(languages.rows))] * total
    return [languages.mapping.get(cell, cell) for cell in columns[languages.column].cells]


def _truth(columns: dict[str, Column], names: Sequence[str], row: int) -> str:
    return columns[names[0]].cells[row] if len(names) == 1 else "".join(columns[name].cells[row] for name in names)


def _counted(texts: Sequence[str], truths: Sequence[str], usable: Sequence[bool], division: Division) -> Counted:
    first: dict[str, int] = {}
    duplicates = conflicting = 0
    split_of = division.split_of_rows
    trained: set[str] = set()
    tested: Counter[str] = Counter()
    for row in (row for row, good in enumerate(usable) if good):
        text = normalized(texts[row])
        earlier = first.setdefault(text, row)
        duplicates += earlier != row
        conflicting += earlier != row and truths[earlier] != truths[row]
        if split_of is not None and split_of[row] == "train":
            trained.add(text)
        elif split_of is not None and split_of[row] == "test":
            tested[text] += 1
    leaked = None if division.stratified and duplicates else sum(count for text, count in tested.items() if text in trained)
    lengths = np.array([len(text) for text, good in zip(texts, usable, strict=True) if good])
    middle, long = np.percentile(lengths, [50, 95])
    without_text = sum(not text.strip() for text in texts)
    return Counted(
        division.rows, without_text, duplicates, conflicting, leaked, (round(middle), round(long), int(lengths.max()))
    )


def _others(roles: Roles) -> list[str]:
    if not roles.others:
        return []
    names = ", ".join(repr(name) for name in roles.others[:4])
    return [f"The label is {roles.label[0]!r}" + (" and its neighbours" if len(roles.label) > 1 else "")
            + f"; {names} could be the label too: --label {roles.others[0]}."]  # fmt: skip


def _of_rows(counted: Counted) -> list[str]:
    notes = []
    if counted.without_text:
        notes.append(f"{_rows(counted.without_text)} no text and {'are' if counted.without_text > 1 else 'is'} left out.")
    if counted.conflicting:
        notes.append(f"{_rows(counted.conflicting)} the text of an earlier row but another label (conflicting labels).")
    return notes


def duplicate_notes(counted: Counted, stratified: bool) -> list[str]:
    """Sentences on duplicate texts."""
    if counted.leaked:
        out = (
            "keep one row of each text, or divide the rows yourself (a column for --split)"
            if stratified
            else "bench analyze data"
        )
        return [f"{_rows(counted.leaked, 'test row')} the text of a train row, which inflates the results: {out}."]
    if not counted.duplicates:
        return []
    known = (
        "none is in both train and test"
        if counted.leaked == 0
        else "`bench analyze data` shows whether train and test share any"
    )
    return [f"{_rows(counted.duplicates)} the text of an earlier row; {known}."]


def _few(tested: dict[str, int]) -> list[str]:
    """A sentence on languages with few test rows."""
    few = {code: rows for code, rows in tested.items() if small(rows)}
    if not few:
        return []
    shown = ", ".join(f"{code} ({rows})" for code, rows in list(few.items())[:8]) + (", ..." if len(few) > 8 else "")
    which = f"{next(iter(few.values()))}" if len(tested) == 1 else shown
    return [
        f"Few test rows: {which}. Below {SMALL_N}, accuracy is uncertain by ±0.1 or more, and few differences are significant."
    ]


def _rows(count: int, what: str = "row") -> str:
    return f"{count:,} {what}s have" if count != 1 else f"1 {what} has"
