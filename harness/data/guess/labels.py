"""The label space that the cells of a label column stand for: kind, names in order, and how cells map to names."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.core.errors import UserError
from harness.core.types import LabelKind
from harness.data.guess.cells import Column
from harness.data.guess.scale_ends import ends_of
from harness.data.guess.words import ABSENT, RATED, SCALES, UNITS, YES_NO
from harness.data.rows import separated
from harness.parsing.folding import fold

MOST_STEPS = 11
"""Whole numbers from 0, 1 or below may be a scale if they are so many at most: 0 to 10."""

MOST_RATED = 30
"""Steps of a scale, at most: more are a quantity. By its name alone a column of whole numbers may have them."""

MOST_CLASSES = 100
"""Bare numbers that may be classes without being asked about."""

_STEPS = [{fold(word): step for word, step in scale.items()} for scale in SCALES]
_UNITS = re.compile(UNITS)
_STARS = re.compile(r"[★⭐✩☆\ufe0f\s]+")


def rated(column: Column) -> bool:
    """Whether the name of the column speaks of a scale."""
    return column.key in RATED or bool(column.words & RATED) or ends_of(column.name) is not None


def gaps_of(values: Sequence[float]) -> list[int]:
    """Whole numbers between the lowest and the highest that are missing."""
    if not all(value.is_integer() for value in values):
        return []
    missing = sorted(set(range(int(min(values)), int(max(values)))) - set(map(int, values)))
    return missing if len(missing) < len(values) else []  # 0, 10, 20, ... is a scale without gaps


def kind_of_numbers(
    column: Column, values: Sequence[float], named: bool, wished: LabelKind | None
) -> tuple[LabelKind, list[str]]:
    scaled = rated(column)
    padded = any(re.fullmatch(r"0\d+", cell.strip()) for cell in column.counts)
    if wished is not None:
        return wished, []
    if len(values) == 2 or ((named or padded) and not scaled):
        return LabelKind.NOMINAL, []
    low, high = min(values), max(values)
    if not padded and len(values) > (MOST_RATED if scaled else MOST_CLASSES):
        raise UserError(
            f"The column {column.name!r} holds {len(values):,} numbers from {low:g} to {high:g}: too many for a scale that a"
            " model could be asked for.",
            "Divide them into a few steps in the data; or say what they are: --kind ordinal or --kind nominal.",
        )
    if scaled and not padded:
        note = f"The numbers {low:g} to {high:g} in {column.name!r} are taken for a scale. If they are classes: --kind nominal."
        return LabelKind.ORDINAL, [note]
    if padded or (high - low < MOST_STEPS and low <= 1):
        raise UserError(
            f"The numbers {low:g} to {high:g} in {column.name!r} may be a scale, or stand for classes in no order.",
            "Say which: --kind ordinal (from lowest to highest) or --kind nominal; and what they mean: --names NAME,NAME,..."
            " (one for each, in this order).",
        )
    return LabelKind.NOMINAL, []


def by_words(names: Sequence[str]) -> list[str] | None:
    """In the order of a known scale that has all of them, each a step of its own."""
    folded = {name: fold(name).replace("_", " ").replace("-", " ").strip() for name in names}
    for steps in _STEPS:
        found = {name: steps.get(word) for name, word in folded.items()}
        if None not in found.values() and len(set(found.values())) == len(names) >= 2:
            return sorted(names, key=lambda name: found[name] or 0)
    return None


def stars_of(name: str) -> float | None:
    """The number in `4 stars`, `★★★★☆`, `4/5` or `7-8`; None where the words around it do not speak of a scale."""
    if _STARS.fullmatch(name):
        return float(sum(name.count(star) for star in "★⭐"))
    match = re.match(r"\D*?(\d+(?:[.,]\d+)?)", name)
    if match is None:
        return None
    rest = re.sub(r"\d+(?:[.,]\d+)?", " ", name.lower())
    words = [word for word in re.split(r"[\s\-–_()]+", rest) if word]
    return float(match[1].replace(",", ".")) if all(_UNITS.fullmatch(word) for word in words) else None


def step_number(name: str) -> float | None:
    """The number that the name of a step shows: of `2 stars`, `-1 of 2`, `★★☆`, `three`; None where it shows none."""
    if _STARS.fullmatch(name):
        return float(sum(name.count(star) for star in "★⭐"))
    for number, word in enumerate(("one", "two", "three", "four", "five"), start=1):
        if fold(name).split()[:1] == [word]:
            return float(number)
    match = re.search(r"(?<![\w.,])[-+]?\d+(?:[.,]\d+)?", name)
    return None if match is None else float(match[0].replace(",", "."))


def number_of(cell: str) -> float | None:
    text = cell.strip().replace(",", ".")
    return float(text) if re.fullmatch(r"[-+]?\d+(\.\d+)?", text) else None


ON = ("1", "1.0", "true")
"""What stands, in lower case, in a column of 0 and 1 where a row has its label."""

FEW = 10
"""A label with fewer rows is named as rare: nothing can be said of how well it is found."""


@dataclass(frozen=True, slots=True)
class LabelSpaceGuess:
    """`rows`: name -> rows, all names in their order. `mapping`: cell -> name, where the harness can't know it by itself.

    `first`: the lowest whole number, where cells are whole numbers in a row. `separator`: of a cell with several labels.
    """

    kind: LabelKind
    rows: dict[str, int]
    first: int = 0
    mapping: dict[str, str] = field(default_factory=dict)
    separator: str | None = None
    missing: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return list(self.rows)


def label_space(column: Column, wished: LabelKind | None, names: Mapping[str, str]) -> LabelSpaceGuess:
    """Of one column. `names`: cell -> name from elsewhere. Raises `UserError` where a scale can't be told from classes."""
    if not column.counts:
        raise UserError(f"The column {column.name!r} is empty: no row has a label.", "Name another one: --label NAME.")
    if column.lists and wished not in (None, LabelKind.MULTILABEL):
        raise UserError(
            f"The column {column.name!r} holds lists: several labels a row make a multilabel task.",
            f"Leave --kind {wished} out, or name another column: --label NAME.",
        )
    several = column.lists or column.separator is not None
    if wished is LabelKind.MULTILABEL or (wished is None and several):
        return _several(column, names)
    counts = column.counts
    if len(counts) > max(2, sum(counts.values()) / 2):
        raise UserError(
            f"The column {column.name!r} has {len(counts):,} values in {sum(counts.values()):,} rows: too many for classes.",
            "Each label needs several rows: give more of them, or name another column: --label NAME.",
        )
    cells = _joined_spellings(counts)
    missing, notes = _missing(column)
    notes += [*_spelling_notes(cells), *_placeholders(column)]
    by_cell = {cell: names.get(name, name) for cell, name in cells.items()}
    ordered, kind, said = _ordered(column, by_cell, wished)
    shown = _shown(ordered, kind, column)
    to_name = {cell: shown[name] for cell, name in by_cell.items()}
    rows: dict[str, int] = {shown[name]: 0 for name in ordered}
    for cell, count in counts.items():
        rows[to_name[cell]] += count
    if len(rows) < 2:
        raise UserError(
            f"The column {column.name!r} has only one label: {next(iter(rows))}.", "Name another one: --label NAME."
        )
    first, mapping = _mapped(to_name, list(rows))
    return LabelSpaceGuess(kind, rows, first, mapping, None, missing, [*notes, *said])


def flags_space(columns: Sequence[Column]) -> LabelSpaceGuess:
    """Of several columns of 0 and 1, named by their columns."""
    on = {
        column.name: sum(column.counts[cell] for cell in column.counts if cell.lower() in ("1", "1.0", "true"))
        for column in columns
    }
    each = Counter(
        sum(cell.lower() in ("1", "1.0", "true") for cell in row) for row in zip(*(one.cells for one in columns), strict=True)
    )
    notes = []
    if each.keys() == {1}:
        notes.append("Each row has exactly one of these labels; a single column with its name would make a nominal task of it.")
    elif each[0]:
        notes.append(f"{each[0]:,} rows have none of these labels, which is an answer too.")
    return LabelSpaceGuess(LabelKind.MULTILABEL, on, notes=notes)


def rare(space: LabelSpaceGuess) -> list[str]:
    """Sentences on labels with very few rows."""
    few = {name: count for name, count in space.rows.items() if count < FEW}
    if not few:
        return []
    shown = ", ".join(f"{name} ({count})" for name, count in list(few.items())[:8]) + (", ..." if len(few) > 8 else "")
    have = "has" if len(few) == 1 else "have"
    return [f"{len(few)} of {len(space.rows)} labels {have} fewer than {FEW} rows, too few to learn or to measure: {shown}."]


def _several(column: Column, names: Mapping[str, str]) -> LabelSpaceGuess:
    separator = None if column.lists else column.separator or ","
    counts: Counter[str] = Counter()
    for cell, count in column.counts.items():
        counts.update(dict.fromkeys(parts_of(cell, separator), count))
    cells = list(counts)
    ordered = sorted(cells, key=int) if all(re.fullmatch(r"\d+", cell) for cell in cells) else sorted(cells)
    to_name = {cell: names.get(cell, cell) for cell in ordered}
    rows = {to_name[cell]: counts[cell] for cell in ordered}
    if len(rows) < 2:
        raise UserError(f"The column {column.name!r} has only one label.", "Name another one: --label NAME.")
    first, mapping = _mapped(to_name, list(rows))
    # Beside lists, nothing at all is another thing than an empty list; an empty cell of joy|anger is both.
    missing, notes = _missing(column) if column.lists else (0, [])
    empty = sum(not parts_of(cell, separator) for cell in column.cells) - missing
    if empty:
        what = "an empty list" if column.lists else "no label"
        notes.append(f"{empty:,} rows have {what} in {column.name!r}, which is an answer too.")
    if all(name.isdecimal() for name in rows):
        notes.append(_unnamed(column))
    return LabelSpaceGuess(LabelKind.MULTILABEL, rows, first, mapping, separator, missing, notes)


def parts_of(cell: str, separator: str | None) -> list[str]:
    """The labels of a cell; without a separator, of one that is a list as JSON."""
    if separator is not None:
        return separated(cell, separator)
    return [item for item in json.loads(cell or "[]") if item.strip()]


def _missing(column: Column) -> tuple[int, list[str]]:
    """Rows without a label, and the sentence on them."""
    missing = len(column.cells) - sum(column.counts.values())
    return missing, [f"{missing:,} rows have no label in {column.name!r} and are left out."] if missing else []


def _unnamed(column: Column) -> str:
    return (
        f"The labels in {column.name!r} are bare numbers. A language model can't know what they mean:"
        " give one for each, in their order: --names NAME,NAME,..."
    )


def _joined_spellings(counts: Counter[str]) -> dict[str, str]:
    """Cell -> the commonest spelling of what reads the same: `Positive`, ` positive`."""
    best: dict[str, str] = {}
    for cell, _ in counts.most_common():
        best.setdefault(fold(cell), cell.strip())
    return {cell: best[fold(cell)] for cell in counts}


def _spelling_notes(cells: Mapping[str, str]) -> list[str]:
    by_name = Counter(cells.values())
    joined = [name for name, count in by_name.items() if count > 1]
    return [f"Spellings that differ in case or spaces only are one label: {', '.join(joined[:6])}."] if joined else []


def _ordered(column: Column, by_cell: Mapping[str, str], wished: LabelKind | None) -> tuple[list[str], LabelKind, list[str]]:
    """The names in order, their kind, and what was doubtful. Names are bare numbers where there are no others."""
    names = list(dict.fromkeys(by_cell.values()))
    numbers = {by_cell[cell]: number_of(cell) for cell in by_cell}
    by_word = by_words(names)
    if by_word is not None:
        binary = len(names) == 2 and wished is not LabelKind.ORDINAL
        kind = LabelKind.NOMINAL if binary else wished or LabelKind.ORDINAL
        return by_word, kind, [] if binary or wished else [_scale_note(by_word)]
    stars = {name: stars_of(name) for name in names}
    if None in numbers.values() and None not in stars.values() and len(set(stars.values())) == len(names):
        ordered = sorted(names, key=lambda name: stars[name] or 0)
        kind = wished or (LabelKind.ORDINAL if len(names) > 2 else LabelKind.NOMINAL)
        return ordered, kind, [] if wished or len(names) == 2 else [_scale_note(ordered)]
    if None in numbers.values():
        if wished is LabelKind.ORDINAL:
            raise UserError(
                f"The order of the labels is not known: {', '.join(names[:12])}.",
                "Leave --kind out; then put `kind: ordinal` and the names from lowest to highest into the task's YAML.",
            )
        return sorted(names), LabelKind.NOMINAL, [] if wished else _doubts_of_classes(column, sorted(names))
    ordered = sorted(names, key=lambda name: numbers[name] or 0)
    named = any(number_of(name) is None for name in names)
    kind, said = kind_of_numbers(column, [numbers[name] or 0 for name in ordered], named, wished)
    bare = kind is LabelKind.NOMINAL and not named and len(names) > 2
    said += [_unnamed(column)] if bare or (len(names) == 2 and not named) else []
    gaps = gaps_of([number for number in numbers.values() if number is not None]) if kind is LabelKind.ORDINAL else []
    if gaps:
        said.append(
            f"No row has {', '.join(map(str, gaps[:6]))}{', ...' if len(gaps) > 6 else ''} in {column.name!r}:"
            f" the scale of the task has only the {len(names)} steps that occur."
        )
    return ordered, kind, said


def _doubts_of_classes(column: Column, names: Sequence[str]) -> list[str]:
    if {fold(name) for name in names} in YES_NO:
        return [
            f"The labels in {column.name!r} are {' and '.join(names)}. A language model can't know of what:"
            " say in the prompt what they are about, or name them: --names NAME,NAME (in this order)."
        ]
    if sum(fold(name) not in ABSENT for name in names) > 2 and rated(column):
        return [
            f"The labels in {column.name!r} are taken for classes. If they are a scale: put `kind: ordinal`, and the names from"
            " lowest to highest, into the task's YAML; bench init does not know their order."
        ]
    return []


def _placeholders(column: Column) -> list[str]:
    found = [(cell.strip(), count) for cell, count in column.counts.items() if fold(cell) in ABSENT]
    return [
        f"{count:,} rows say {cell!r} in {column.name!r}, which is taken for a label."
        " If it means that there is none, leave these cells empty."
        for cell, count in found
    ]


def _scale_note(ordered: Sequence[str]) -> str:
    return f"The labels are taken for a scale, from low to high: {', '.join(ordered)}. If they have no order: --kind nominal."


def _shown(ordered: Sequence[str], kind: LabelKind, column: Column) -> dict[str, str]:
    """Name -> what it is called: a bare number of a scale says what it counts; a prompt's own numbers would clash with it."""
    numbers = [number_of(name) for name in ordered]
    if kind is not LabelKind.ORDINAL or None in numbers:
        return {name: name for name in ordered}
    texts = [f"{number:g}" for number in numbers if number is not None]
    if {"star", "stars"} & column.words:
        return {name: f"{text} star" + ("" if text == "1" else "s") for name, text in zip(ordered, texts, strict=True)}
    return {name: f"{text} of {texts[-1]}" for name, text in zip(ordered, texts, strict=True)}


def _mapped(to_name: Mapping[str, str], names: Sequence[str]) -> tuple[int, dict[str, str]]:
    """`first`, and the map: empty where cells are the names, or whole numbers in a row."""
    numbers = {cell: int(cell) for cell in to_name if re.fullmatch(r"-?(0|[1-9]\d{0,17})", cell)}
    low = min(numbers.values(), default=0)
    if len(numbers) == len(to_name) and {number - low: to_name[cell] for cell, number in numbers.items()} == dict(
        enumerate(names)
    ):
        return low, {}
    bare = any(re.fullmatch(r"-?\d+", name) for name in names)  # a name that is a number would be read as an index
    return 0, {} if not bare and all(cell == name for cell, name in to_name.items()) else dict(to_name)
