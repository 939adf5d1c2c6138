"""How numbers and rows are worded wherever people read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.analysis.ranks import Configuration, RankedEntry
from harness.core.record import Estimate
from harness.records.entries import Entry
from harness.records.names import told_apart
from harness.records.sizes import prompted_sizes, size_of

NAMED = 4
"""Backends that a sentence names."""


def shown(estimate: Estimate) -> str:
    """`0.512 [0.468, 0.556]`; the interval only where there is one."""
    value, low, high = estimate.value, estimate.low, estimate.high
    if value is None:
        return "n/a"
    return f"{value:.3f}" if low is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def between(low: float, median: float, high: float) -> str:
    """`0.512 – 0.530 – 0.551`: lowest, median and highest."""
    return f"{low:.3f} – {median:.3f} – {high:.3f}"


def part(share: float) -> str:
    """A share of rows that is not there reads differently from one that rounds to 0."""
    return "–" if share == 0 else "<0.1%" if share < 0.001 else f"{share:.1%}"


UNRANKED = "‡"
"""In the place of a rank, of what does no better than chance."""


def rank(place: RankedEntry) -> str:
    """`2=` where the rank is shared."""
    if place.rank is None:
        return UNRANKED
    return f"{place.rank}{'=' if place.tied else ''}"


NOBODY = "no model is shown to be better than always answering one label"


def apart(places: Sequence[RankedEntry], level: str = "") -> str:
    """How the first stands to the others, to follow its value: `, and can't be told apart from 2 of the 3 others (b, c)`.

    `level`: words to follow that, as ` at the 5% level`. What does no better than chance is only counted.
    """
    first, *others = [place for place in places if place.rank is not None]
    unranked = len(places) - 1 - len(others)
    are = "is" if unranked == 1 else "are"
    more = f"; {unranked} more {are} not shown to be better than always answering one label" if unranked else ""
    if not others:
        return more or "; nothing else was run on these rows"
    return _beside(first, others) + level + more


def _beside(first: RankedEntry, others: Sequence[RankedEntry]) -> str:
    level = [place for place in others if place.rank == first.rank]
    if not level:
        return f", and can be told apart from {'the other one' if len(others) == 1 else f'all {len(others)} others'}"
    names = _ways_of(level, first.row.entry.display_name)
    named = f"{', '.join(names[:NAMED])}{', …' if len(names) > NAMED else ''}"
    many = f"{len(level)} of the {len(others)} others" if len(level) < len(others) else "any other"
    return f", and can't be told apart from {'the other one' if len(others) == 1 else many} ({named})"


def _ways_of(level: Sequence[RankedEntry], leader: str) -> list[str]:
    """Backends, and in how many ways each: the first one's own name alone, or one that stands twice, would say nothing."""
    found = []
    for name, count in Counter(place.row.entry.display_name for place in level).items():
        other = "other " if name == leader else ""
        found.append(f"{name} in {count} {other}way{'s' if count > 1 else ''}" if other or count > 1 else name)
    return found


def with_size(entry: Entry, how: str) -> str:
    """`118M parameters, trained on 9 en`; without the size where it is not known."""
    return ", ".join(part for part in (size_of(entry), how) if part)


def sizes_told(places: Sequence[RankedEntry]) -> str:
    """How large the prompted models are, after a sentence about all places; empty where none is, or nothing is compared."""
    return prompted_sizes(place.row.entry for place in places) if len(places) > 1 else ""


def how(row: Configuration) -> str:
    return row.entry.how if len(row.runs) == 1 else f"{row.entry.config_label}, {len(row.runs)} seeds"


def hows(rows: Sequence[Configuration]) -> list[str]:
    """`how` of each row of a table; of those that read alike, also what their identities differ in: `…, batch_size=16`."""
    return told_apart([row.runs for row in rows], [how(row) for row in rows])
