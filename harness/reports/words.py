"""How numbers and rows are worded wherever people read them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.reports.ranks import Place, Row

NAMED = 4
"""Backends that a sentence names."""


def shown(metric: Mapping[str, Any]) -> str:
    """`0.512 [0.468, 0.556]`; the interval only where there is one."""
    value, low, high = metric["value"], metric["low"], metric["high"]
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


def rank(place: Place) -> str:
    """`2=` where the rank is shared."""
    if place.rank is None:
        return UNRANKED
    return f"{place.rank}{'=' if place.tied else ''}"


NOBODY = "no model is shown to be better than always answering one label"


def apart(places: Sequence[Place], level: str = "") -> str:
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


def _beside(first: Place, others: Sequence[Place]) -> str:
    level = [place for place in others if place.rank == first.rank]
    if not level:
        return f", and can be told apart from {'the other one' if len(others) == 1 else f'all {len(others)} others'}"
    names = _ways_of(level, first.row.entry.backend)
    named = f"{', '.join(names[:NAMED])}{', …' if len(names) > NAMED else ''}"
    many = f"{len(level)} of the {len(others)} others" if len(level) < len(others) else "any other"
    return f", and can't be told apart from {'the other one' if len(others) == 1 else many} ({named})"


def _ways_of(level: Sequence[Place], leader: str) -> list[str]:
    """Backends, and in how many ways each: the first one's own name alone, or one that stands twice, would say nothing."""
    found = []
    for name, count in Counter(place.row.entry.backend for place in level).items():
        other = "other " if name == leader else ""
        found.append(f"{name} in {count} {other}way{'s' if count > 1 else ''}" if other or count > 1 else name)
    return found


def how(row: Row) -> str:
    return row.entry.how if len(row.runs) == 1 else f"{row.entry.made}, {len(row.runs)} seeds"


def hows(rows: Sequence[Row]) -> list[str]:
    """`how` of each row of a table; of those that read alike, also what their identities differ in: `…, batch_size=16`."""
    named = [(row.entry.backend, how(row)) for row in rows]
    twice = {name for name, count in Counter(named).items() if count > 1}
    alike = {name: [_flat(row) for row, other in zip(rows, named, strict=True) if other == name] for name in twice}
    return [
        ", ".join([name[1], *_unlike(_flat(row), alike[name])]) if name in twice else name[1]
        for row, name in zip(rows, named, strict=True)
    ]


def _unlike(own: Mapping[str, Any], alike: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is set here, and not the same in all of them; digests in eight digits."""
    differing = [name for name, value in own.items() if any(other.get(name) != value for other in alike)]
    said = [(name, own[name]) for name in differing if own[name] is not None]
    return [f"{name.split('.')[-1]}={value[:8] if isinstance(value, str) else json.dumps(value)}" for name, value in said]


def _flat(row: Row) -> dict[str, Any]:
    """The scalars of an identity, by their names in it; without the seed, which `how` says."""
    found: dict[str, Any] = {}
    left = [("", row.entry.manifest["identity"])]
    while left:
        prefix, values = left.pop(0)
        for name, value in values.items():
            if isinstance(value, Mapping):
                left.append((f"{prefix}{name}.", value))
            elif not isinstance(value, list) and name != "seed":
                found[f"{prefix}{name}"] = value
    return found
