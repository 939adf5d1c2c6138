"""What a file of texts and labels holds, for `bench init`: columns, labels, languages, splits, and what is doubtful."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from harness.core.errors import Unanswered, UserError
from harness.core.types import LabelKind
from harness.data.duplicates import normalized
from harness.data.guess.asking import together
from harness.data.guess.cells import Column, as_columns
from harness.data.guess.columns import ColumnOverrides, Roles, roles_of
from harness.data.guess.doubts import Doubt, as_doubts
from harness.data.guess.files import Opened, ReadOptions, open_data
from harness.data.guess.label_column import LabelColumn, label_column
from harness.data.guess.labels import LabelSpaceGuess, flags_space, label_space
from harness.data.guess.language import Languages, code_of, detected, doubts, doubts_of_code, known_code, languages_of
from harness.data.guess.naming import bare, doubts_of_scale, named
from harness.data.guess.splits import Division, Given, Rows, divide, given_splits
from harness.data.guess.table_doubts import alike, doubts_of_table, doubts_of_texts, rare
from harness.data.label_table import LabelTable, label_table
from harness.parsing.signs import is_blank, spelling_key
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
    """`lang` is the name of a column, or a language code. `separator`: of several labels in a cell. `missing`: cells that mean
    that a row has no label. `lang_map`: cell of the language column -> code. `said`: the other words of the command, which a
    command that is advised repeats. `names`: of the labels, in their order."""

    path: Path
    read_options: ReadOptions = field(default_factory=ReadOptions)
    chosen: ColumnOverrides = field(default_factory=ColumnOverrides)
    lang: str | None = None
    kind: LabelKind | None = None
    separator: str | None = None
    missing: tuple[str, ...] = ()
    lang_map: Mapping[str, str] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counted:
    """Of the usable rows. `duplicates`: rows with the text of an earlier row; `conflicting`: those of them with another label.

    `leaked`: test rows with the text of a train row, of given splits; bench draws none with one.
    `lengths`: characters of a text: median, 95th percentile, maximum.
    """

    rows: dict[Split, dict[str, int]]
    without_text: int
    duplicates: int
    conflicting: int
    leaked: int
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
    doubts: list[Doubt]
    numbers: bool = False
    most_labels: int = 1
    without_label: bool = False
    tokens: float = 0

    @property
    def notes(self) -> list[str]:
        """The sentences of the doubts."""
        return [doubt.text for doubt in self.doubts]

    @property
    def total(self) -> int:
        return self.opened.total


def inspect_file(question: InitRequest) -> Found:
    """Raises `UserError` for a file that can't be read or does not tell which column is which."""
    opened = open_data(question.path, question.read_options)
    columns = as_columns(opened.columns)
    _check_paths(question, opened)
    code, chosen = _language_wish(question, columns)
    roles = roles_of(columns, chosen, opened.total, languages=code is None and opened.langs is None)
    if "all" not in opened.rows:
        roles = replace(roles, split=None)
    _check_named(roles)
    _check_map(question, roles)
    given = given_splits(opened, None if roles.split is None else columns[roles.split])
    texts = _texts(columns, roles.text)
    answers = _answered(columns, roles, opened, given, question, texts, code)
    prepared, labels, languages, lang_notes = answers
    _check_whole(opened, roles, labels)
    langs = opened.langs or _lang_of_rows(columns, languages, opened.total)
    truths = [_truth(columns, roles.label, row) for row in range(opened.total)] if prepared is None else prepared.column.cells
    judged = {truth: not labels.missing or bool(truth.strip()) for truth in set(truths)}
    usable = [not is_blank(text) and langs[row] in languages.rows and judged[truths[row]] for row, text in enumerate(texts)]
    folded = {truth: spelling_key(truth) for truth in set(truths)}
    one_each = None if labels.kind is LabelKind.MULTILABEL else [folded[truth] for truth in truths]
    division = divide(given, Rows(usable, langs, one_each), list(languages.rows))
    kept = set(division.rows["test"])
    if not kept:
        raise UserError(f"{question.path}: no language has rows in all splits.", "Give one file: bench then splits it itself.")
    languages = replace(languages, rows={code: count for code, count in languages.rows.items() if code in kept})
    used = [good and langs[row] in kept and division.holds(row) for row, good in enumerate(usable)]
    labels = _named(columns, roles, _of_used(labels, columns, roles, prepared, question, used), question.names)
    table = _table(labels, truths, used, langs, division, languages.codes)
    counted = _counted(texts, truths, usable, division)
    each = {len(labels.of_cell[truths[row]]) for row, good in enumerate(used) if good}
    return Found(
        question.path, opened, roles, labels, languages, division, counted,
        [
            *as_doubts("file", opened.notes),
            *as_doubts("columns", [*roles.notes, *_others(roles)]),
            *as_doubts("labels", [*([] if prepared is None else prepared.notes), *labels.notes]),
            *alike(labels.rows),
            *rare(labels),
            *as_doubts("language", lang_notes),
            *as_doubts("splits", division.notes),
            *_of_rows(counted),
            *doubts_of_table(table, labels.kind),
            *_of_texts(texts, truths, used, labels, roles),
            *_few(counted.rows["test"]),
        ],
        numbers=len(roles.label) == 1 and bare(labels, columns[roles.label[0]]),
        most_labels=max(1, *each),
        without_label=0 in each,
        tokens=tokens_of([text for text, good in zip(texts, used, strict=True) if good][:MOST_READ]),
    )  # fmt: skip


Answers = tuple[LabelColumn | None, LabelSpaceGuess, Languages, Sequence[str | Doubt]]


def _answered(
    columns: dict[str, Column],
    roles: Roles,
    opened: Opened,
    given: Given,
    question: InitRequest,
    texts: list[str],
    code: str | None,
) -> Answers:
    """The labels and the languages. Raises one `Unanswered` with all that only the user can answer, also of the columns."""
    questions = list(roles.questions)
    prepared: LabelColumn | None = None
    labels: LabelSpaceGuess | None = None
    found: tuple[Languages, Sequence[str | Doubt]] | None = None
    try:
        prepared = _prepared(columns, roles, opened, given, question)
        labels = _labels(columns, roles, prepared, question)
    except Unanswered as asked:
        questions.append(asked)
    except UserError:
        if not questions:  # of a label that is guessed, nothing is wrong yet
            raise
    try:
        found = _languages(columns, roles, texts, question, code, opened.langs)
    except Unanswered as asked:
        questions.append(asked)
    if labels is None or found is None or questions:
        guessed = _guessed(roles, opened, question, labels, None if found is None else found[0])
        raise together(questions, columns, question.path, guessed, question.said)
    return prepared, labels, *found


def _guessed(
    roles: Roles, opened: Opened, question: InitRequest, labels: LabelSpaceGuess | None, languages: Languages | None
) -> dict[str, str]:
    """Option -> what was said or found."""
    guessed = {"--text": ",".join(roles.text), "--label": ",".join(roles.label)}
    if labels is not None:
        guessed["--kind"] = str(labels.kind)
    elif question.kind is not None:
        guessed["--kind"] = str(question.kind)
    if question.lang_map:
        guessed["--lang-map"] = ",".join(f"{cell}={code}" for cell, code in question.lang_map.items())
    lang = question.lang or roles.lang or (languages.codes[0] if languages is not None else None)
    return guessed if lang is None or opened.langs is not None else guessed | {"--lang": lang}


def _prepared(
    columns: dict[str, Column], roles: Roles, opened: Opened, given: Given, question: InitRequest
) -> LabelColumn | None:
    """The column of the label as it is to be read; None for several columns of 0 and 1."""
    if len(roles.label) > 1:
        if question.separator is not None or question.missing:
            raise UserError("--separator and --missing are said of one column of labels.", "Name one: --label NAME.")
        return None
    column = columns[roles.label[0]]
    names: dict[str, str] = {}
    if roles.names is not None:
        pairs = zip(column.cells, columns[roles.names].cells, strict=True)
        names = {cell: name.strip() for cell, name in pairs if cell.strip() and name.strip()}
    elif column.name in opened.names:
        names = {str(index): name for index, name in enumerate(opened.names[column.name])}
    return label_column(column, names, given.split_of, question.missing, question.kind, question.separator is not None)


def _of_used(
    labels: LabelSpaceGuess,
    columns: dict[str, Column],
    roles: Roles,
    prepared: LabelColumn | None,
    question: InitRequest,
    used: Sequence[bool],
) -> LabelSpaceGuess:
    """The labels of the rows that are used: those of the others are no answers, and are not counted."""
    if all(used):
        return labels
    if prepared is None:
        cut = {name: replace(columns[name], cells=_only(columns[name].cells, used)) for name in roles.label}
        found = _labels({**columns, **cut}, roles, None, question)
    else:
        column = replace(prepared.column, cells=_only(prepared.column.cells, used))
        found = _labels(columns, roles, replace(prepared, column=column), question)
    own = [note for note in found.notes if not (isinstance(note, Doubt) and note.kind == "no-label")]
    missing = [note for note in labels.notes if isinstance(note, Doubt) and note.kind == "no-label"]
    return replace(found, missing=labels.missing, notes=[*missing, *own])


def _only(cells: Sequence[str], used: Sequence[bool]) -> list[str]:
    return [cell for cell, good in zip(cells, used, strict=True) if good]


def _table(
    labels: LabelSpaceGuess,
    truths: Sequence[str],
    used: Sequence[bool],
    langs: Sequence[str],
    division: Division,
    codes: Sequence[str],
) -> LabelTable:
    places = {name: place for place, name in enumerate(labels.names)}
    of_cell = {cell: [places[name] for name in names] for cell, names in labels.of_cell.items()}
    split_of = division.split_of_rows
    rows = (
        (of_cell[truths[row]], "all" if split_of is None else str(split_of[row]), langs[row])
        for row, good in enumerate(used)
        if good
    )
    return label_table(rows, labels.names, ("all",) if split_of is None else tuple(division.source), codes)


def _of_texts(
    texts: Sequence[str], truths: Sequence[str], used: Sequence[bool], labels: LabelSpaceGuess, roles: Roles
) -> list[Doubt]:
    rows = [row for row, good in enumerate(used) if good]
    return doubts_of_texts([texts[row] for row in rows], [labels.of_cell[truths[row]] for row in rows], roles.text[-1])


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


def _check_map(question: InitRequest, roles: Roles) -> None:
    """Raises `UserError` for a map without a column."""
    if question.lang_map and roles.lang is None:
        raise UserError("--lang-map: no column tells the language of the rows.", "Name it: --lang COLUMN.")


def _language_wish(question: InitRequest, columns: dict[str, Column]) -> tuple[str | None, ColumnOverrides]:
    """`--lang` as a code, or as a column that is chosen."""
    if question.lang is None:
        return None, question.chosen
    if question.lang in columns:
        return None, replace(question.chosen, lang=question.lang)
    code = code_of(question.lang) or known_code(question.lang)
    if code is None or len(question.lang) > 40:
        raise UserError(
            f"--lang {question.lang}: neither a column nor a language's code.",
            f"The columns: {', '.join(columns)}; a code: en, ja.",
        )
    return code, question.chosen


def _labels(columns: dict[str, Column], roles: Roles, prepared: LabelColumn | None, question: InitRequest) -> LabelSpaceGuess:
    kind, separator = question.kind, question.separator
    if prepared is not None:
        if separator is not None and kind not in (None, LabelKind.MULTILABEL):
            raise UserError("--separator makes a multilabel task.", f"Leave --kind {kind} out, or --separator.")
        if separator is not None and prepared.column.lists:
            raise UserError(f"The column {prepared.column.name!r} holds lists.", "Leave --separator out.")
        found = label_space(prepared.column, kind, prepared.names, separator)
        return replace(found, absent=prepared.absent)
    if kind not in (None, LabelKind.MULTILABEL):
        raise UserError(
            "Several columns of labels make a multilabel task.",
            f"Leave --kind {kind} out, or name one column: --label NAME.",
        )
    wrong = next((name for name in roles.label if not columns[name].on_off and len(columns[name].counts) != 1), None)
    if wrong is not None:
        raise UserError(f"The column {wrong!r} does not hold 0 and 1.", "Name one column of labels, or several of 0 and 1.")
    return flags_space([columns[name] for name in roles.label])


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
    columns: dict[str, Column],
    roles: Roles,
    texts: list[str],
    question: InitRequest,
    code: str | None,
    by_path: list[str] | None,
) -> tuple[Languages, Sequence[str | Doubt]]:
    if code is not None:
        return Languages({code: len(texts)}), doubts_of_code(code, texts, list(columns))
    if by_path is not None or roles.lang is not None:
        cells = by_path or columns[str(roles.lang)].cells
        found = languages_of(roles.lang, cells, texts, LEAST, question.lang_map)
        if not found.rows:
            raise UserError(f"The column {roles.lang!r} names no language.", "Give a code instead: --lang en.")
        return found, [*found.notes, *doubts(found, cells, texts)]
    found = detected(texts)
    if not found.rows:
        hint = "Give it: --lang en (a code or a column)."
        raise Unanswered("No text has enough letters to detect its language.", hint, {"--lang": "en"})
    return found, found.notes


def _lang_of_rows(columns: dict[str, Column], languages: Languages, total: int) -> Sequence[str]:
    if languages.column is None:
        return [next(iter(languages.rows))] * total
    return [languages.mapping.get(cell, cell) for cell in columns[languages.column].cells]


def _truth(columns: dict[str, Column], names: Sequence[str], row: int) -> str:
    return columns[names[0]].cells[row] if len(names) == 1 else "|".join(columns[name].cells[row] for name in names)


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
    leaked = sum(count for text, count in tested.items() if text in trained)
    lengths = np.array([len(text) for text, good in zip(texts, usable, strict=True) if good])
    middle, long = np.percentile(lengths, [50, 95])
    without_text = sum(map(is_blank, texts))
    return Counted(
        division.rows, without_text, duplicates, conflicting, leaked, (round(middle), round(long), int(lengths.max()))
    )


def _others(roles: Roles) -> list[str]:
    if not roles.others:
        return []
    names = ", ".join(repr(name) for name in roles.others[:4])
    return [f"The label is {roles.label[0]!r}" + (" and its neighbours" if len(roles.label) > 1 else "")
            + f"; {names} could be the label too: --label {roles.others[0]}."]  # fmt: skip


def _of_rows(counted: Counted) -> list[Doubt]:
    doubts = []
    if counted.without_text:
        out = f"{_rows(counted.without_text)} no text and {'are' if counted.without_text > 1 else 'is'} left out."
        doubts.append(Doubt("no-text", out))
    if counted.conflicting:
        out = f"{_rows(counted.conflicting)} the text of an earlier row but another label (conflicting labels)."
        doubts.append(Doubt("conflicting-labels", out))
    return doubts


def duplicate_doubts(counted: Counted) -> list[Doubt]:
    """Sentences on duplicate texts."""
    if counted.leaked:
        text = f"{_rows(counted.leaked, 'test row')} the text of a train row, which inflates the results: bench analyze data."
        return [Doubt("leaked-rows", text)]
    if not counted.duplicates:
        return []
    known = "none is in both train and test"
    return [Doubt("duplicates", f"{_rows(counted.duplicates)} the text of an earlier row; {known}.")]


def _few(tested: dict[str, int]) -> list[Doubt]:
    """A sentence on languages with few test rows."""
    few = {code: rows for code, rows in tested.items() if small(rows)}
    if not few:
        return []
    shown = ", ".join(f"{code} ({rows})" for code, rows in list(few.items())[:8]) + (", ..." if len(few) > 8 else "")
    which = f"{next(iter(few.values()))}" if len(tested) == 1 else shown
    out = (
        f"Few test rows: {which}. Below {SMALL_N}, accuracy is uncertain by ±0.1 or more, and few differences are significant."
    )
    return [Doubt("few-test-rows", out)]


def _rows(count: int, what: str = "row") -> str:
    return f"{count:,} {what}s have" if count != 1 else f"1 {what} has"
