"""Which column of a file holds what: text, label, language, split, id. By its cells first, by its name second."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from harness.core.errors import UserError
from harness.data.guess.cells import MOST_LABELS, ON_OFF, Column
from harness.data.guess.doubts import Doubt
from harness.data.guess.folders import split_named
from harness.data.guess.language import code_of
from harness.data.guess.words import ID, LABEL, LANG, NO_LABEL, OF_SPLITS, SPLIT, SPLIT_WORDS, TEXT, TITLES

ROWS_A_LABEL = 3
MOST_SPLITS = 12
LONG = 3.0  # times as long on average: the other column is a title, a name or a note beside the text


@dataclass(frozen=True, slots=True)
class ColumnOverrides:
    """What the user said: the name of a column, or of several; None: to be found."""

    text: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    lang: str | None = None
    id: str | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Roles:
    """`names`: a column with the names of the label's numbers. `others`: what might be the label too. `unused`: the rest."""

    text: tuple[str, ...]
    label: tuple[str, ...]
    lang: str | None = None
    id: str | None = None
    split: str | None = None
    names: str | None = None
    others: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    notes: tuple[str | Doubt, ...] = ()


def roles_of(columns: Mapping[str, Column], chosen: ColumnOverrides, total: int) -> Roles:
    """Raises `UserError` with the candidates where the file does not tell, and for a column that is not there."""
    _check_there(columns, chosen)
    taken = {name for name in (*chosen.text, *chosen.label, chosen.lang, chosen.id, chosen.split) if name is not None}
    free = [column for name, column in columns.items() if name not in taken]
    split = chosen.split or _first(column.name for column in free if _is_split(column))
    free = [column for column in free if column.name != split]
    lang = chosen.lang or _first(
        column.name for column in sorted(free, key=lambda one: one.key not in LANG) if _is_lang(column)
    )
    free = [column for column in free if column.name != lang]
    text, notes = (chosen.text, []) if chosen.text else _text(free, chosen.label)
    free = [column for column in free if column.name not in text]
    label, others = (chosen.label, ()) if chosen.label else _label(free, total)
    free = [column for column in free if column.name not in label]
    names = _names_of(columns[label[0]], free) if len(label) == 1 else None
    ids = [column for column in free if _is_id(column, total)]
    counting = _first(column.name for column in ids if _counts_rows(column))
    row_id = chosen.id or _first(column.name for column in ids if column.name != counting)
    used = {*text, *label, lang, row_id, split, names}
    unused = tuple(name for name in columns if name not in used)
    doubts = [*notes, *(_unused_splits([columns[name] for name in unused]) if split is None else [])]
    if counting is not None and row_id is None:
        doubts.append(
            Doubt(
                "row-numbers",
                f"{counting!r} counts the rows and is not taken for their id: another order of the rows would draw other test"
                f" rows. If the numbers belong to the texts: --id {shlex.quote(counting)}.",
            )
        )
    return Roles(
        text, label, lang, row_id, split, names, tuple(name for name in others if name != names), unused, tuple(doubts)
    )


def _check_there(columns: Mapping[str, Column], chosen: ColumnOverrides) -> None:
    single = {"--lang": chosen.lang, "--id": chosen.id, "--split": chosen.split}
    named = {"--text": chosen.text, "--label": chosen.label, **{option: (name,) for option, name in single.items() if name}}
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
    named = column.key in LANG or bool({"lang", "language"} & column.words)
    codes = [code_of(cell, strict=not named) for cell in column.counts]
    known = sum(column.counts[cell] for cell, code in zip(column.counts, codes, strict=True) if code is not None)
    return known >= (0.9 if named else 1.0) * sum(column.counts.values()) and (named or len(column.counts) > 1)


def _is_id(column: Column, total: int) -> bool:
    if column.key not in ID and not (ID - {"no", "nr"}) & column.words:
        return False
    return len(column.counts) == total and all(count == 1 for count in column.counts.values())


def _text(free: Sequence[Column], label: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The column of the text, maybe with that of its title; and what was doubtful about it."""
    able = [
        column for column in free if column.name not in label and not column.lists and not column.numeric and not column.dates
    ]
    found = [column for column in able if column.wordy and (column.spread > 0.3 or len(column.counts) > 200)]
    named = [column for column in able if column.key in TEXT[0] and column.spread > 0.2 and column not in found]
    found = found or named  # short texts, of a word or two
    titles = [column for column in found if _is_title(column)]
    bodies = [column for column in found if column not in titles] or titles
    short = [column for column in able if column not in found and _is_title(column)]
    if not bodies:  # a sole column of that name is the text, whatever it holds
        bodies = [column for column in free if column.key in TEXT[0] and column.name not in label and not column.lists]
        bodies = bodies if len(bodies) == 1 else []
    if not bodies:
        names = ", ".join(column.name for column in free) or "none"
        raise UserError("No column looks like running text.", f"Say which it is: --text NAME. The columns: {names}.")
    main = _one_text(bodies)
    if main is None:
        shown = ", ".join(f"{column.name} ({column.length:.0f} characters on average)" for column in bodies)
        raise UserError(
            f"Several columns look like the text: {shown}.",
            f"Say which: --text {bodies[0].name!r}; or several, which are joined: --text '{bodies[0].name},{bodies[1].name}'.",
        )
    joined = [column for column in short if _is_part_of_text(column)]
    beside = [column.name for column in (*titles, *joined) if column is not main and column.length < main.length * 1.5][:1]
    left = [column.name for column in bodies if column is not main]
    aside = [column for column in short if column.name not in beside]
    notes = []
    if beside:
        repeated = next((f", with {len(one.counts):,} different values," for one in joined if one.name == beside[0]), "")
        notes.append(
            f"The text is {beside[0]!r}{repeated} and {main.name!r}, joined by a newline."
            f" Without the title: --text {shlex.quote(main.name)}."
        )
    if left:
        both = shlex.quote(f"{main.name},{left[0]}")
        notes.append(f"{_listed(left)} could be the text: --text {shlex.quote(left[0])}; both: --text {both}.")
    if aside:
        both = shlex.quote(f"{aside[0].name},{main.name}")
        notes.append(
            f"{aside[0].name!r} is not taken for a part of the text ({shown_values(aside[0])}). If it is: --text {both}."
        )
    return (*beside, main.name), notes


def _counts_rows(column: Column) -> bool:
    """Whether the cells are whole numbers that count up one by one, from any start."""
    if not all(cell.isdecimal() for cell in column.sample):
        return False
    start = int(column.cells[0]) if column.cells[0].isdecimal() else 0
    return all(cell == str(start + place) for place, cell in enumerate(column.cells))


LONGEST_SALUTATION = 6
FEW_SUBJECTS = 30


def _is_title(column: Column) -> bool:
    return (column.key in TITLES or bool(TITLES & column.words)) and not column.words & NO_LABEL


def _is_part_of_text(title: Column) -> bool:
    """Whether a title that repeats, or is a word or two, belongs to the text: not Mr and Ms, and not the subjects of a school."""
    if max(map(len, title.counts), default=0) <= LONGEST_SALUTATION or len(title.counts) < 2:
        return False
    return "subject" not in title.words or len(title.counts) > FEW_SUBJECTS


def _one_text(found: Sequence[Column]) -> Column | None:
    if len(found) == 1:
        return found[0]
    for names in TEXT:
        named = [column for column in found if column.key in names or (names is TEXT[1] and names & column.words)]
        if len(named) == 1:
            return named[0]
        if named:
            found = named
            break
    by_length = sorted(found, key=lambda column: column.length, reverse=True)
    return by_length[0] if by_length[0].length >= LONG * by_length[1].length else None


def _label(free: Sequence[Column], total: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The column of the label, or several of 0 and 1; and those that could be it too."""
    able = [column for column in free if _labels(column, total)]
    sure = [column for column in free if column.key in LABEL[0]]
    named = sure or [column for column in free if column.key in LABEL[1]]
    tiers = [[column for column in able if column.key in LABEL[0]], [column for column in able if column.key in LABEL[1]]]
    tiers.append([column for column in able if LABEL[2] & column.words and not column.words & NO_LABEL])
    flags = _flags(free)
    if flags:
        tiers.append([])
    tiers.append([column for column in able if not column.words & NO_LABEL and column.name not in flags])
    for number, tier in enumerate(tiers):
        if flags and number == 3 and not tier:
            others = [column for column in chain(able, sure) if column.name not in flags and not column.words & NO_LABEL]
            return flags, tuple(dict.fromkeys(column.name for column in others))
        pick = _one_label([column for column in tier if column.name not in flags])
        if pick is not None:
            others = [column for column in chain(tier, *tiers[:3], sure) if column is not pick]
            return (pick.name,), tuple(dict.fromkeys(column.name for column in others))
    if len(named) == 1:  # what is wrong with its values is said where they are looked at
        return (named[0].name,), ()
    names = ", ".join(column.name for column in free) or "none"
    raise UserError(
        "No column looks like a label (a few values that come again and again).",
        f"Say which it is: --label NAME. Left beside the text: {names}.",
    )


def _one_label(tier: Sequence[Column]) -> Column | None:
    """The only one; of a number and its name the number. Raises `UserError` where there are several."""
    if len(tier) < 2:
        return tier[0] if tier else None
    unnamed = [
        column for column in tier if not any(_same(other, column) for other in tier if other is not column and other.numeric)
    ]
    rest = unnamed or list(tier[:1])
    if len(rest) == 1:
        return rest[0]
    shown = "; ".join(f"{column.name} ({shown_values(column)})" for column in rest)
    raise UserError(f"Several columns could be the label: {shown}.", f"Say which: --label {rest[0].name!r}.")


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
        if not any(kind and kind <= values for values in ON_OFF) or column.words & NO_LABEL:
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


def _listed(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names[:3])
