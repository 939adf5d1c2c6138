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


NOBODY = "no model is significantly better than always guessing one label"


def standing(places: Sequence[RankedEntry]) -> str:
    """How the first entry compares with the others, to follow its value: `, not significantly different from 2 of the 3 others
    (b, c) at the 5% level`. Entries that do no better than chance are only counted."""
    first, *others = [place for place in places if place.rank is not None]
    unranked = len(places) - 1 - len(others)
    more = f"; {unranked} more {'is' if unranked == 1 else 'are'} no better than always guessing one label" if unranked else ""
    if not others:
        return more or "; nothing else was run on these rows"
    return f"{_beside(first, others)} at the 5% level{more}"


def _beside(first: RankedEntry, others: Sequence[RankedEntry]) -> str:
    tied = [place for place in others if place.rank == first.rank]
    if not tied:
        return f", significantly better than {'the other one' if len(others) == 1 else f'all {len(others)} others'}"
    names = _counted(tied, first.row.entry.display_name)
    named = f"{', '.join(names[:NAMED])}{', …' if len(names) > NAMED else ''}"
    if len(others) == 1:
        return f", not significantly different from the other one ({named})"
    many = f"{len(tied)} of the {len(others)} others" if len(tied) < len(others) else f"all {len(others)} others"
    return f", not significantly different from {many} ({named})"


def _counted(tied: Sequence[RankedEntry], leader: str) -> list[str]:
    """Backends, and how many configurations of each; of the leader's own backend, or of one that stands twice, a name alone
    would not say which."""
    found = []
    for name, count in Counter(place.row.entry.display_name for place in tied).items():
        other = "other " if name == leader else ""
        text = f"{count} {other}configuration{'s' if count > 1 else ''} of {name}"
        found.append(text if other or count > 1 else name)
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
