"""Which column of a file holds what: text, label, language, split, id. By its cells first, by its name second."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from harness.core.errors import Unanswered, UserError
from harness.data.guess.cells import MOST_LABELS, ON_OFF, Column
from harness.data.guess.doubts import Doubt
from harness.data.guess.folders import split_named
from harness.data.guess.language import code_of, known_code
from harness.data.guess.text_columns import TextGuess, left_doubts, text_of
from harness.data.guess.words import (
    COUNTS,
    GROUPED,
    ID,
    INDEX,
    LABEL,
    LANG,
    LANG_WORDS,
    NO_LABEL,
    OF_GROUPS,
    OF_SPLITS,
    RATED,
    SPLIT,
    SPLIT_WORDS,
    STARS,
)

ROWS_A_LABEL = 3
MOST_SPLITS = 12
MOST_STEPS = 11  # of a scale: 0 to 10
MOST_NAMED = 60
"""Values of a column named after languages whose cells are unknown: more are something else."""


@dataclass(frozen=True, slots=True)
class ColumnOverrides:
    """What the user said: the name of a column, or of several; None: to be found."""

    text: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    lang: str | None = None
    id: str | None = None
    split: str | None = None
    group: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Roles:
    """`names`: a column with the names of the label's numbers. `others`: what might be the label too. `unused`: the rest.
    `questions`: what only the user can answer; the columns are guesses then."""

    text: tuple[str, ...]
    label: tuple[str, ...]
    lang: str | None = None
    id: str | None = None
    split: str | None = None
    group: tuple[str, ...] = ()
    names: str | None = None
    others: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    notes: tuple[str | Doubt, ...] = ()
    questions: tuple[Unanswered, ...] = ()


def roles_of(columns: Mapping[str, Column], chosen: ColumnOverrides, total: int, languages: bool = True) -> Roles:
    """`languages`: whether a column may tell the language. Raises `UserError` for a column that is not there, and where none
    may be the text or the label."""
    _check_there(columns, chosen)
    single = (chosen.lang, chosen.id, chosen.split)
    taken = {name for name in (*chosen.text, *chosen.label, *chosen.group, *single) if name is not None}
    free = [column for name, column in columns.items() if name not in taken]
    split = chosen.split or _first(column.name for column in free if _is_split(column))
    free = [column for column in free if column.name != split]
    by_name = sorted(free, key=lambda one: one.key not in LANG)
    lang = chosen.lang or _first(column.name for column in by_name if languages and _is_lang(column))
    free = [column for column in free if column.name != lang]
    text = _text(free, chosen, total)
    free = [column for column in free if column.name not in text.names]
    if lang is not None and not chosen.lang and not chosen.label and not any(_labels(column, total) for column in free):
        free, lang = [*free, columns[lang]], None  # the language is what a model is to tell
    label, others, asked = (chosen.label, (), None) if chosen.label else _label(free, total)
    free = [column for column in free if column.name not in label]
    names = _names_of(columns[label[0]], free) if len(label) == 1 else None
    row_id, id_doubts = (chosen.id, _doubts_of_id(columns[chosen.id])) if chosen.id else _row_id(free, total)
    group, group_doubts = _group(
        [column for column in free if column.name not in (row_id, names)],
        chosen.group,
        None if lang is None else columns[lang],
        [columns[name] for name in label],
    )
    used = {*text.names, *label, *group, lang, row_id, split, names}
    unused = tuple(name for name in columns if name not in used)
    others = tuple(name for name in others if name != names)
    rest = [columns[name] for name in unused if name not in others]
    doubts = [
        *text.notes,
        *([] if chosen.text else left_doubts(text.names, rest, text.notes)),
        *id_doubts,
        *group_doubts,
        *(_unused_splits([columns[name] for name in unused]) if split is None else []),
    ]
    questions = tuple(question for question in (text.question, asked) if question is not None)
    return Roles(text.names, label, lang, row_id, split, group, names, others, unused, tuple(doubts), questions)


def _text(free: Sequence[Column], chosen: ColumnOverrides, total: int) -> TextGuess:
    if chosen.text:
        return TextGuess(chosen.text)
    sought = () if chosen.label else [column for column in free if _labels(column, total) and not _unlikely(column)]
    return text_of(free, lambda column: column in sought)


def _check_there(columns: Mapping[str, Column], chosen: ColumnOverrides) -> None:
    single = {"--lang": chosen.lang, "--id": chosen.id, "--split": chosen.split}
    several = {"--text": chosen.text, "--label": chosen.label, "--group": chosen.group}
    named = {**several, **{option: (name,) for option, name in single.items() if name}}
    taken: dict[str, str] = {}
    for option, asked in named.items():
        for name in asked:
            if name not in columns:
                raise UserError(f"{option} {name}: there is no such column.", f"The columns: {', '.join(columns)}.")
            if taken.setdefault(name, option) != option:
                raise UserError(f"{option} {name}: that is the column of {taken[name]}.", "Name another one.")


def _first(names: Iterable[str]) -> str | None:
    return next(iter(names), None)


def _is_split(column: Column) -> bool:
    if len(column.counts) > MOST_SPLITS:
        return False
    splits = {cell: split_named(cell) for cell in column.counts}
    known = {split for split in splits.values() if split is not None}
    named = column.key in SPLIT or bool(SPLIT_WORDS & column.words)
    if "train" not in known or not (len(known) > 1 or named):
        return False
    told = sum(column.counts[cell] for cell, split in splits.items() if split is not None)
    return None not in splits.values() or told >= (0.1 if named else 0.5) * sum(column.counts.values())


def _unused_splits(unused: Sequence[Column]) -> list[str | Doubt]:
    """On columns that look as if they told the split, and are not used."""
    return [
        Doubt(
            "split-unused",
            f"{column.name!r} may tell the split of each row ({', '.join(sorted(column.counts)[:6])}) and is not used. If it"
            f" does: write train, validation and test there, and use --split {shlex.quote(column.name)}.",
        )
        for column in unused
        if 1 < len(column.counts) <= MOST_SPLITS
        and (column.key in SPLIT or (SPLIT_WORDS | OF_SPLITS) & column.words or "train" in map(split_named, column.counts))
    ]


def _is_lang(column: Column) -> bool:
    if not column.counts or len(column.counts) > MOST_LABELS:
        return False
    named = column.key in LANG or bool(LANG_WORDS & column.words)
    if not named:
        return len(column.counts) > 1 and all(code_of(cell, strict=True) for cell in column.counts)
    if column.key in LABEL[0]:
        return False
    known = sum(count for cell, count in column.counts.items() if known_code(cell) is not None)
    if known >= 0.9 * sum(column.counts.values()):
        return True
    return not column.wordy and 1 < len(column.counts) <= MOST_NAMED


def _row_id(free: Sequence[Column], total: int) -> tuple[str | None, list[Doubt]]:
    """The column of ids that say which row is which; those that only count the rows are none."""
    found = [column for column in free if _is_id(column, total)]
    counting = [column for column in found if _counts_rows(column)]
    row_id = _first(column.name for column in found if column not in counting)
    named = [column for column in counting if not re.fullmatch(INDEX, column.name)]
    if row_id is not None or not named:
        return row_id, []
    text = (
        f"{named[0].name!r} counts the rows and is not used as their id: a row put in front would change all ids, and which"
        f" rows are drawn. Ids are made of the texts. If the numbers belong to the rows: --id {shlex.quote(named[0].name)}."
    )
    return None, [Doubt("row-numbers", text)]


def _doubts_of_id(column: Column) -> list[Doubt]:
    if not _counts_rows(column):
        return []
    text = (
        f"{column.name!r} counts the rows: a row put in front changes all ids, and which rows are drawn. Without --id, ids are"
        " made of the texts."
    )
    return [Doubt("row-numbers", text)]


def _is_id(column: Column, total: int) -> bool:
    if column.key not in ID and not (ID - {"no", "nr"}) & column.words:
        return False
    return len(column.counts) == total and all(count == 1 for count in column.counts.values())


def _counts_rows(column: Column) -> bool:
    """Whether the cells are whole numbers that count up one by one from any start, or those from 0 or 1 on in any order."""
    if not all(cell.strip().isdecimal() and len(cell) < 19 for cell in column.cells):
        return False
    numbers = [int(cell) for cell in column.cells]
    first = min(numbers, default=0)
    counted = range(first, first + len(numbers))
    return numbers == list(counted) or (first in (0, 1) and set(numbers) == set(counted))


LEAST_GROUPS = 10
"""Groups in a column, at least: a dozen categories are no sample of them."""
ROWS_A_GROUP = 2.0
"""Rows of a group, on the mean, at least."""
LARGEST_GROUP = 0.5
"""Share of the rows in one group, at most: with more, no split can be made."""
ALIKE = 0.98
"""Share of the groups whose rows have one label, at least, where translations are recognized."""


def _group(
    free: Sequence[Column], chosen: tuple[str, ...], lang: Column | None, labels: Sequence[Column]
) -> tuple[tuple[str, ...], list[Doubt]]:
    """The column of what rows were sampled with, and a sentence on it. Of several the one with the fewest, largest groups."""
    if chosen:
        return chosen, []
    named = [column for column in free if _names_groups(column)]
    found = sorted(named, key=lambda column: len(column.counts))
    if not found and lang is not None:
        found = [column for column in free if _is_translated(column, lang, labels)][:1]
    if not found:
        return (), []
    column, others = found[0], found[1:]
    groups = len(column.counts)
    what = "puts rows together" if column in named else "puts translations of one text together"
    text = (
        f"{column.name!r} {what}: {groups:,} groups of {column.counts.total() / groups:.1f} rows on the mean. They stay on one"
        " side of a split, and intervals count groups. If rows of one group are no more alike than others: delete the line"
        " `group` in the task's YAML."
    )
    if others:
        text += f" {', '.join(repr(one.name) for one in others)} would be possible too: --group {shlex.quote(others[0].name)}."
    return (column.name,), [Doubt("group", text)]


def _names_groups(column: Column) -> bool:
    """Whether the name says what the rows are about, or by, and the cells come again and again, in many groups."""
    told = column.words & GROUPED if column.key not in GROUPED else {column.key}
    if not told or column.words - GROUPED - OF_GROUPS or column.lists or column.dates or not column.name.strip():
        return False
    rows, groups = column.counts.total(), len(column.counts)
    return (
        groups >= LEAST_GROUPS
        and rows >= len(column.cells) / 2
        and rows >= ROWS_A_GROUP * groups
        and max(column.counts.values()) <= LARGEST_GROUP * len(column.cells)
    )


def _is_translated(column: Column, lang: Column, labels: Sequence[Column]) -> bool:
    """Whether each cell stands once in each of several languages, with one label: the number of a sentence that was translated.
    Numbers that only count the rows of a language have other labels in each."""
    groups = len(column.counts)
    if groups < LEAST_GROUPS or column.counts.total() < ROWS_A_GROUP * groups or column.lists:
        return False
    if len(set(zip(column.cells, lang.cells, strict=True))) < len(column.cells):
        return False
    truths = zip(*(label.cells for label in labels), strict=True)
    return len(set(zip(column.cells, truths, strict=True))) <= groups + (1 - ALIKE) * groups


def _unlikely(column: Column) -> bool:
    """Whether the name speaks against labels: an id, a date, a number of something; or nobody chose it."""
    against = column.words & NO_LABEL
    if column.words & STARS:  # `number of stars`
        against -= COUNTS
    return bool(against) or re.fullmatch(INDEX, column.name) is not None


def _may_be_scale(column: Column) -> bool:
    """Whether all that speaks against labels is a word for a number of something, and the numbers could be a scale."""
    numbers = column.numeric and 3 <= len(column.counts) <= MOST_STEPS
    return numbers and re.fullmatch(INDEX, column.name) is None and not (column.words & NO_LABEL) - COUNTS


def _label(free: Sequence[Column], total: int) -> tuple[tuple[str, ...], tuple[str, ...], Unanswered | None]:
    """The column of the label, or several of 0 and 1; those that could be it too; and what only the user can answer."""
    able = [column for column in free if _labels(column, total)]
    sure = [column for column in free if column.key in LABEL[0]]
    named = sure or [column for column in free if column.key in LABEL[1]]
    tiers = [[column for column in able if column.key in LABEL[0]], [column for column in able if column.key in LABEL[1]]]
    tiers.append([column for column in able if column.speaks_of(LABEL[2]) and not _unlikely(column)])
    flags = _flags(free)
    if flags:
        tiers.append([])
    scales = [column for column in able if _may_be_scale(column)]  # `Počet bodů` is a number of points
    tiers.append([column for column in able if (not _unlikely(column) or column in scales) and column.name not in flags])
    for number, tier in enumerate(tiers):
        if flags and number == 3 and not tier:
            others = [column for column in chain(able, sure) if column.name not in flags and not _unlikely(column)]
            return flags, tuple(dict.fromkeys(column.name for column in others)), None
        rest = _rivals([column for column in tier if column.name not in flags])
        if len(rest) == 1:
            others = [column for column in chain(tier, *tiers[:3], sure) if column is not rest[0]]
            return (rest[0].name,), tuple(dict.fromkeys(column.name for column in others)), None
        if rest:
            return _asked_of_several(rest)
    if len(named) == 1:  # what is wrong with its values is said where they are looked at
        return (named[0].name,), (), None
    return _asked_of_any(free)


def _asked_of_several(rest: Sequence[Column]) -> tuple[tuple[str, ...], tuple[str, ...], Unanswered]:
    """The likeliest is guessed: a scale by its name, then one of few numbers."""
    best = min(rest, key=lambda column: (not column.speaks_of(RATED), not column.numeric))
    shown = "; ".join(f"{column.name} ({shown_values(column)})" for column in rest)
    question = Unanswered(
        f"Several columns could be the label: {shown}.",
        f"Say which: --label {shlex.quote(best.name)}.",
        {"--label": best.name},
    )
    return (best.name,), (), question


def _asked_of_any(free: Sequence[Column]) -> tuple[tuple[str, ...], tuple[str, ...], Unanswered]:
    """No column looks like a label: the one with the fewest values is guessed. Raises `UserError` where there is none."""
    names = ", ".join(column.name for column in free if column.name.strip()) or "none"
    message = "No column looks like a label (a few values that come again and again)."
    able = [column for column in free if len(column.counts) > 1 and column.name.strip()]
    if not able:
        raise UserError(message, f"Say which it is: --label NAME. Left beside the text: {names}.")
    best = min(able, key=lambda column: (_unlikely(column), len(column.counts)))
    hint = f"Say which it is: --label NAME. Left beside the text: {names}."
    return (best.name,), (), Unanswered(message, hint, {"--label": best.name})


def _rivals(tier: Sequence[Column]) -> list[Column]:
    """Without those that have a name for each number of another one."""
    unnamed = [
        column for column in tier if not any(_same(other, column) for other in tier if other is not column and other.numeric)
    ]
    return unnamed or list(tier[:1])


def shown_values(column: Column) -> str:
    """`5 values: 1, 2, 3, 4, 5`; the values only where they are few and short."""
    values = [cell for cell, _ in column.counts.most_common(6)]
    few = sorted(values) if len(column.counts) <= 6 and max(map(len, values), default=0) <= 30 else []
    return f"{len(column.counts)} values" + (f": {', '.join(few)}" if few else "")


def _labels(column: Column, total: int) -> bool:
    if column.lists:
        return True
    distinct = len(column.counts)
    if distinct < 2 or column.dates:
        return False
    named = column.key in LABEL[0] or column.key in LABEL[1]
    if named and column.separator is not None:
        return True
    fractions = column.numeric and any(not re.fullmatch(r"[-+]?\d+([.,][05])?", cell.strip()) for cell in column.counts)
    few = distinct <= min(MOST_LABELS, max(2, sum(column.counts.values()) // ROWS_A_LABEL))
    return (
        few
        and not (fractions and distinct > 20)
        and max(map(len, column.counts)) <= 100
        and not (distinct > 100 and column.numeric)
    )


def _flags(free: Sequence[Column]) -> tuple[str, ...]:
    """The longest series of neighbouring columns of 0 and 1, all written alike: three of them at least."""
    best: list[str] = []
    series: list[str] = []
    before: frozenset[str] = frozenset()
    for column in free:
        kind = frozenset(cell.lower() for cell in column.counts)
        if not any(kind and kind <= values for values in ON_OFF) or _unlikely(column):
            series = []
            continue
        series = [*series, column.name] if series and any(kind | before <= values for values in ON_OFF) else [column.name]
        before = kind
        best = series if len(series) > len(best) else best
    return tuple(best) if len(best) >= 3 else ()


def _names_of(label: Column, free: Sequence[Column]) -> str | None:
    """A column that has a name for each number of the label."""
    if not label.numeric:
        return None
    found = [column for column in free if not column.numeric and _same(label, column)]
    return found[0].name if found else None


def _same(numbers: Column, names: Column) -> bool:
    """Whether each value of one always stands beside the same value of the other."""
    if names.numeric or not 0 <= len(numbers.counts) - len(names.counts) <= 1:
        return False  # one number may have no name: -1 for a label that is kept back
    named = {pair for pair in zip(numbers.cells, names.cells, strict=True) if pair[1].strip()}
    return len(named) == len(names.counts) == len({number for number, _ in named if number.strip()})
