"""Whether labels are a scale: words in a known order, numbers that count up, stars."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.core.errors import UserError
from harness.core.types import LabelKind
from harness.data.guess.cells import Column
from harness.data.guess.words import RATED, SCALES, UNITS
from harness.parsing._answers import fold

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
    return column.key in RATED or bool(column.words & RATED)


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
            "Say which: --kind ordinal (from lowest to highest) or --kind nominal.",
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
