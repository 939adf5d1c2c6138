"""Labels that are bare numbers: names by `--names`, or a doubt."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import replace

from harness.core.errors import UserError
from harness.core.types import LabelKind
from harness.data.guess.cells import Column
from harness.data.guess.labels import LabelSpaceGuess, number_of
from harness.data.guess.scale_ends import ends_of
from harness.parsing.folding import fold


def named(space: LabelSpaceGuess, names: Sequence[str], cells: Collection[str]) -> LabelSpaceGuess:
    """`space` with other names of its labels, in its order. `cells`: of the column of labels; none where each label has one.

    Raises `UserError` where these are not as many, or not told apart.
    """
    old = space.names
    if len(names) != len(old):
        raise UserError(
            f"--names gives {len(names)} names, and there are {len(old)} labels: {', '.join(old[:12])}.",
            "Give one name for each, in this order, separated by commas.",
        )
    if len({fold(name) for name in names}) < len(names) or any(not name or number_of(name) is not None for name in names):
        raise UserError("--names: names must differ, and be neither empty nor numbers.", "Such as bad,ok,good.")
    new = dict(zip(old, names, strict=True))
    mapping = {cell: new[name] for cell, name in space.mapping.items()}
    if not mapping and any(name in cells and not re.fullmatch(r"-?\d+", name) for name in old):
        mapping = new
    notes = [note for note in space.notes if "--names" not in note]  # what was asked is answered
    return replace(space, rows={new[name]: count for name, count in space.rows.items()}, mapping=mapping, notes=notes)


def bare(space: LabelSpaceGuess, column: Column) -> bool:
    """Whether the labels show numbers and nothing else: their column holds numbers, and no names came from elsewhere."""
    numbers = bool(column.counts) and all(number_of(cell) is not None for cell in column.counts)
    return numbers and all(re.match(r"-?[\d.,]+( of -?[\d.,]+| stars?)?$", name) for name in space.names)


def doubts_of_scale(space: LabelSpaceGuess, column: Column) -> list[str]:
    """A sentence on a scale of bare numbers whose column does not tell what they mean."""
    if space.kind is not LabelKind.ORDINAL or not bare(space, column) or ends_of(column.name) is not None:
        return []
    first, last = (name.split()[0] for name in (space.names[0], space.names[-1]))
    example = ",".join(_steps(len(space.names)))
    return [
        f"The numbers {first} to {last} in {column.name!r} do not say what they count, nor which end is the good one: the"
        f" prompt calls them lowest and highest. Name the steps from {first} to {last}: --names {shlex.quote(example)}."
    ]


def _steps(count: int) -> list[str]:
    known = {2: "bad,good", 3: "bad,ok,good", 4: "very bad,bad,good,very good", 5: "very bad,bad,ok,good,very good"}
    return known[count].split(",") if count in known else [f"NAME{step}" for step in range(1, count + 1)]
