"""Signs between the labels of a cell: which may be some, and what `bench init` says of them, whether it splits or not."""

from __future__ import annotations

import re
import shlex
from collections import Counter

from harness.data.guess.cells import MOST_LABELS, Column
from harness.data.guess.doubts import Doubt
from harness.data.rows import separated

MAYBE = (
    *(
        "|",
        ";",
        ",",
        "\t",
        "、",
        "，",
        "；",
        "・",
        "｜",
        "／",
        "·",
        " > ",
        "::",
        " / ",
        "/",
        " & ",
        "&",
        " + ",
        "+",
        "<br>",
        " - ",
    ),
    *(" and ", " or ", ":", ".", "_", "-", " "),
)
"""What may stand between labels where `Column.separator` splits none; a sign with its spaces before the bare one."""

WITHIN_NAMES = (" and ", " or ", " & ", "&", ":", ".", "_", "-", " ")
"""Signs that stand within names too: of some cell each part must be a label of its own."""

_NUMBERS = re.compile(r"[-+]?\d+([.,]\d+)?")


def shown_separator(separator: str) -> str:
    """As a shell takes it, and `--separator` reads it."""
    named = {"\n": r"\n", "\t": r"\t"}
    return shlex.quote(named.get(separator, separator))


def unsplit(column: Column) -> list[str]:
    """Separators that the cells may hold: some parts of theirs stand in other cells too. None where the cells are lists."""
    if column.lists:
        return []
    cells = [cell for cell in column.counts if not _NUMBERS.fullmatch(cell.strip())]
    return next(([sign] for sign in MAYBE if _may_separate(sign, cells)), [])


def _may_separate(sign: str, cells: list[str]) -> bool:
    parts = {cell: set(separated(cell, sign)) for cell in cells if sign in cell.strip()}
    several = {cell: found for cell, found in parts.items() if len(found) > 1}
    if any(len(part) > 60 for found in several.values() for part in found):
        return False
    if all(_NUMBERS.fullmatch(part) for found in several.values() for part in found):
        return False  # 4/5 and 3/5, dates, ranges
    whole = {cell.strip() for cell in cells if cell not in several}
    counts = Counter(part for found in several.values() for part in found)
    if len(counts) > MOST_LABELS:
        return False
    if any(found <= whole for found in several.values()):
        return True
    return sign not in WITHIN_NAMES and len(several) > 1 and any(count > 1 or part in whole for part, count in counts.items())


def unsplit_doubts(column: Column) -> list[str | Doubt]:
    """On cells that are taken whole though they may hold several labels."""
    return [
        Doubt(
            "separator",
            f"{_held(column, sign)} rows have {sign!r} in {column.name!r}. Each cell is taken for one label. If it holds"
            f" several: --separator {shown_separator(sign)}.",
        )
        for sign in unsplit(column)
    ]


def split_doubt(column: Column, separator: str) -> Doubt:
    """On cells that are split."""
    return Doubt(
        "separator",
        f"{_held(column, separator)} rows have {separator!r} in {column.name!r}, which is taken for the separator of several"
        " labels. If each cell is one label: --kind nominal.",
    )


def _held(column: Column, separator: str) -> str:
    return f"{sum(count for cell, count in column.counts.items() if len(set(separated(cell, separator))) > 1):,}"
