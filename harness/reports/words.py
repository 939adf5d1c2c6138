"""Numbers, ranks and comparisons in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.analysis.ranks import Configuration, RankedEntry
from harness.records.entries import Entry
from harness.records.names import told_apart
from harness.records.sizes import prompted_sizes, size_of

NAMED = 4
"""Number of backends that a sentence names."""


def between(low: float, median: float, high: float) -> str:
    """`0.512 – 0.530 – 0.551`: lowest, median and highest."""
    return f"{low:.3f} – {median:.3f} – {high:.3f}"


def part(share: float) -> str:
    """A share of rows; 0 is shown differently from a share that rounds to 0."""
    return "–" if share == 0 else "<0.1%" if share < 0.001 else f"{share:.1%}"


UNRANKED = "‡"
"""In place of a rank, for an entry that is no better than chance."""


def rank(place: RankedEntry) -> str:
    """`2=` for a shared rank."""
    if place.rank is None:
        return UNRANKED
    return f"{place.rank}{'=' if place.tied else ''}"


ONE_SEED = "◇"
"""Beside the value of a configuration that was trained under one seed: it is the value of this run."""


NOBODY = "no model is significantly better than always guessing one label"


def standing(places: Sequence[RankedEntry]) -> str:
    """How the first entry compares with the others: `, not significantly different from 2 of the 3 others (b, c) at the 5%
    level`. Entries that are no better than chance are only counted."""
    first, *others = [place for place in places if place.rank is not None]
    unranked = len(places) - 1 - len(others)
    more = f"; {unranked} more {'is' if unranked == 1 else 'are'} no better than always guessing one label" if unranked else ""
    if not others:
        return more or "; nothing else was run on these rows"
    return f"{_beside(first, others)} at the 5% level{more}"


def is_alone(places: Sequence[RankedEntry]) -> bool:
    """Whether the first entry is significantly better than all others that have a rank."""
    return all(place.behind for place in places[1:] if place.rank is not None)


def _beside(first: RankedEntry, others: Sequence[RankedEntry]) -> str:
    tied = [place for place in others if not place.behind]
    if not tied:
        return f", significantly better than {'the other one' if len(others) == 1 else f'all {len(others)} others'}"
    names = _counted(tied, first.row.entry.display_name)
    named = f"{', '.join(names[:NAMED])}{', …' if len(names) > NAMED else ''}"
    if len(others) == 1:
        return f", not significantly different from the other one ({named})"
    many = f"{len(tied)} of the {len(others)} others" if len(tied) < len(others) else f"any of the {len(others)} others"
    return f", not significantly different from {many} ({named})"


def _counted(tied: Sequence[RankedEntry], leader: str) -> list[str]:
    """The tied backends; of the leader's own backend, and of one with several configurations, with their number."""
    found = []
    for name, count in Counter(place.row.entry.display_name for place in tied).items():
        other = "other " if name == leader else ""
        text = f"{count} {other}configuration{'s' if count > 1 else ''} of {name}"
        found.append(text if other or count > 1 else name)
    return found


def with_size(entry: Entry, how: str) -> str:
    """`118M parameters, trained on 9 en`; without an unknown size."""
    return ", ".join(part for part in (size_of(entry), how) if part)


def sizes_told(places: Sequence[RankedEntry]) -> str:
    """A sentence on the sizes of the prompted models; empty if there is none, or only one entry."""
    return prompted_sizes(place.row.entry for place in places) if len(places) > 1 else ""


def how(row: Configuration) -> str:
    return row.entry.how if len(row.runs) == 1 else f"{row.entry.config_label}, {len(row.runs)} seeds"


def hows(rows: Sequence[Configuration]) -> list[str]:
    """`how` of each entry of a table, extended by the differences of identities if it is not unique: `…, batch_size=16`."""
    return told_apart([row.runs for row in rows], [how(row) for row in rows])
