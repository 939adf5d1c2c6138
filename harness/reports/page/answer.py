"""What the page answers: who is best on a set of rows, what is tied with it, and how the best of the other kind compares.

The words stand in `browser/answer.html.j2`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.reports.page.model import Board, Curve, Made, Place
from harness.reports.text.formats import plural

NAMED = 6
"""Backends that a sentence names."""
_PART = re.compile(r'(?:"(?:\\.|[^"\\])*"|\{[^{}]*\}|\[[^\[\]]*\]|(?!, ).)+', re.DOTALL)


def parts_of(how: str) -> list[str]:
    """`how` is a list: its parts stand between commas, but for those within brackets and quotes of a setting's value."""
    return [part.strip(", ") for part in _PART.findall(how)]


@dataclass(frozen=True)
class Fact:
    """What is cheapest, say, among the entries that share the first rank; `equal`: how many others have the same value."""

    label: str
    machine: str | None
    place: Place
    text: str
    busy: bool
    equal: int


@dataclass(frozen=True)
class Answer:
    board: Board
    boards: Sequence[Board]
    curves: Sequence[Curve]

    @cached_property
    def ranked(self) -> list[Place]:
        return [place for place in self.board.places if place.rank is not None]

    @property
    def first(self) -> Place | None:
        return self.ranked[0] if self.ranked else None

    @cached_property
    def level(self) -> list[Place]:
        """All of the first rank."""
        return [place for place in self.ranked if place.rank == 1]

    @property
    def unranked(self) -> int:
        return len(self.board.places) - len(self.ranked)

    @cached_property
    def common(self) -> list[str]:
        """Settings of all entries, without what was trained on, or the prompt: they are named once."""
        if len(self.board.places) < 2:
            return []
        first, *others = [parts_of(place.how)[1:] for place in self.board.places]
        return [part for part in first if all(part in parts for parts in others)]

    def own(self, place: Place) -> str:
        parts = parts_of(place.how)
        return ", ".join(part for number, part in enumerate(parts) if not number or part not in self.common)

    @property
    def tied(self) -> list[tuple[str, str]]:
        """Each backend tied with the first, and in how many ways; few are named with their settings, where a backend alone
        would say nothing: it is the first one's own, or stands twice."""
        leader, *others = self.level
        counts = Counter(place.backend for place in others)
        if len(others) < 4 and (leader.backend in counts or max(counts.values(), default=1) > 1):
            return [(place.backend, f"({self.own(place)})") for place in others]
        named = []
        for name, count in counts.items():
            other = "other " if name == leader.backend else ""
            ways = f"{count:,} {other}configuration{'s' if count > 1 else ''}"
            named.append((name, f"in {ways}" if other or count > 1 else ""))
        more = len(named) - NAMED
        return [*named[:NAMED], (f"{more} more backend{'s' if more > 1 else ''}", "")] if more > 0 else named

    @property
    def facts(self) -> list[Fact]:
        """Among tied entries speed, price and labels decide. Rates are compared on the machine that most of them ran on."""
        if len(self.level) < 2:
            return []
        rated = [place for place in self.level if place.rate is not None]
        machines = Counter(place.machine for place in rated)
        machine = machines.most_common(1)[0][0] if machines else None
        fast = [place for place in rated if place.machine == machine]
        other = machine if len(fast) < len(rated) else None
        cheap = [place for place in self.level if place.cost is not None]
        labelled = [place for place in self.level if place.labelled is not None]
        found = [
            _fact("Fastest", fast, lambda one: -(one.rate or 0), lambda one: f"{rate(one.rate)} rows/s", machine=other),
            _fact("Cheapest", cheap, lambda one: one.cost or 0, lambda one: f"{one.texts['cost']} per 1,000 rows"),
            _fact("Fewest labels", labelled, lambda one: one.labelled or 0, lambda one: plural(one.labelled or 0, "label")),
        ]
        return [fact for fact in found if fact is not None]

    @property
    def busy(self) -> tuple[int, int]:
        """How many of the first rank were timed on a busy machine, and how many were timed."""
        rated = [place for place in self.level if place.rate is not None]
        return sum(place.busy for place in rated), len(rated)

    @cached_property
    def kinds(self) -> dict[Made, Place]:
        """The best trained and the best prompted entry, the better one first."""
        best: dict[Made, Place] = {}
        for place in self.board.places:
            best.setdefault(place.made, place)
        return best

    @property
    def with_both(self) -> Board | None:
        """Other rows of the same task and language with entries of both kinds."""
        here = self.board.task, self.board.lang
        fitting = (one for one in self.boards if (one.task, one.lang) == here and not one.outdated)
        return next((one for one in fitting if len({place.made for place in one.places}) > 1), None)

    @property
    def curve(self) -> Curve | None:
        """How many labels it takes; the one of these rows before others."""
        fitting = [curve for curve in self.curves if (curve.task, curve.lang) == (self.board.task, self.board.lang)]
        return max(fitting, key=lambda curve: curve.n == self.board.n, default=None)


def _fact(
    label: str,
    places: Sequence[Place],
    key: Callable[[Place], float],
    text: Callable[[Place], str],
    machine: str | None = None,
) -> Fact | None:
    """None where nothing stands out."""
    if len(places) < 2:
        return None
    best = min(map(key, places))
    place, *equal = [one for one in places if key(one) == best]
    busy = place.busy and label != "Fewest labels"
    return None if len(equal) + 1 == len(places) else Fact(label, machine, place, text(place), busy, len(equal))


def rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """Empty without one; a bound below 0 makes no double dash."""
    if low is None or high is None:
        return ""
    return f"{decimal(low)}{' to ' if low < 0 else '–'}{decimal(high)}"
