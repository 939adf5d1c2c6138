"""What would change a recommendation: another constraint, number of predictions or price of a label; a figure not yet known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from harness.analysis.candidates import Candidate
from harness.analysis.recommend import CONSTRAINTS, Question, Utility, asked, best_of, measured, misses, worth

PREDICTIONS = (1.0, 1e12)
LABEL_USD = (0.0, 1000.0)


@dataclass(frozen=True, slots=True)
class Move:
    """A constraint set to `bound` (`beyond`: anything stricter than it) makes the answer `pick`; None: nothing meets it."""

    constraint: str
    bound: float
    beyond: bool
    pick: Candidate | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `low` to `high` the answer is `pick`."""

    low: float
    high: float
    pick: Candidate | None


@dataclass(frozen=True)
class Changes:
    """`loosened`: each step at which a looser constraint gives a better answer. `tightened`: the first stricter one that rules
    the pick out. `predictions`, `label_usd`: the answer over their whole range. `unknown`: would be the answer if a figure that
    is missing turned out to meet the constraint; with the constraints that this is about."""

    loosened: list[Move]
    tightened: list[Move]
    predictions: list[Stretch]
    label_usd: list[Stretch]
    unknown: list[tuple[Candidate, list[str]]]


def changes_of(candidates: Sequence[Candidate], question: Question) -> Changes:
    pick = best_of(candidates, question)
    return Changes(
        loosened=[move for name in CONSTRAINTS for move in _loosened(candidates, question, name, pick)],
        tightened=[] if pick is None else list(_tightened(candidates, question, pick)),
        predictions=stretches(candidates, question, "predictions"),
        label_usd=stretches(candidates, question, "label_usd"),
        unknown=_unknown(candidates, question, pick),
    )


def _loosened(candidates: Sequence[Candidate], question: Question, constraint: str, pick: Candidate | None) -> Iterator[Move]:
    """The nearest bound first, then each farther one that gives a better answer still."""
    bound = getattr(question, constraint)
    if bound is None:
        return
    values = {measured(candidate, question, constraint) for candidate in candidates if misses(candidate, question)}
    known = sorted(value for value in values if value is not None)
    outward = [v for v in known if v > bound] if constraint.startswith("max") else [v for v in reversed(known) if v < bound]
    for value in outward:
        found = best_of(candidates, asked(question, constraint, value))
        if found is not pick:
            yield Move(constraint, value, False, found)
            pick = found


def _tightened(candidates: Sequence[Candidate], question: Question, pick: Candidate) -> Iterator[Move]:
    for constraint in CONSTRAINTS:
        value = measured(pick, question, constraint)
        if value is None:
            continue
        stricter = math.nextafter(value, -math.inf if constraint.startswith("max") else math.inf)
        yield Move(constraint, value, True, best_of(candidates, asked(question, constraint, stricter)))


def _unknown(candidates: Sequence[Candidate], question: Question, pick: Candidate | None) -> list[tuple[Candidate, list[str]]]:
    """Those that miss nothing but what is unknown, and would be worth more than the pick if that were no hindrance."""
    own = None if pick is None else worth(pick, question)
    found = []
    for candidate in candidates:
        missing = misses(candidate, question)
        needed = [miss.constraint for miss in missing]
        if any(miss.value is not None for miss in missing):
            continue
        value = worth(candidate, question)
        if value is None and candidate.f1["value"] is not None:
            found.append((candidate, [*needed, "utility"]))
        elif value is not None and missing and (own is None or value > own):
            found.append((candidate, needed))
    return found


def stretches(candidates: Sequence[Candidate], question: Question, name: str) -> list[Stretch]:
    """The answer over the whole range of `predictions` or `label_usd`, all else as asked; neighbours that agree are one.

    Costs are straight lines in 1 / predictions, and in the price of a label, so every place where the answer can change is
    known: where a line meets the largest cost allowed, where two lines cross, and where the utilities of two are equal.
    """
    low, high = PREDICTIONS if name == "predictions" else LABEL_USD
    lines = [line for c in candidates if (line := _line(c, question, name)) is not None]
    places = {1 / x if name == "predictions" else x for x in _meetings(lines, question) if x > 0}
    ends = [low, *sorted(place for place in places if low < place < high), high]
    found: list[Stretch] = []
    for start, stop in pairwise(ends):
        inside = math.sqrt(start * stop) if start > 0 else stop / 2
        pick = best_of(candidates, asked(question, name, inside))
        if found and found[-1].pick is pick:
            found[-1] = replace(found[-1], high=stop)
        else:
            found.append(Stretch(start, stop, pick))
    return found


@dataclass(frozen=True, slots=True)
class _Line:
    """Cost = fixed + slope * x; `gain`: what a utility divides by the cost, None where it does not."""

    fixed: float
    slope: float
    gain: float | None


def _line(candidate: Candidate, question: Question, name: str) -> _Line | None:
    if candidate.inference is None or candidate.training is None:
        return None
    once = 1000 * (candidate.training + candidate.labels * question.label_usd)
    gain = None
    if question.utility is Utility.F1_COST_LATENCY and candidate.f1["value"] is not None and candidate.p50_ms is not None:
        gain = candidate.f1["value"] * math.exp(-candidate.p50_ms / question.tau)
    if name == "predictions":
        return _Line(candidate.inference, once, gain)
    shared = 1000 / question.predictions
    return _Line(candidate.inference + candidate.training * shared, candidate.labels * shared, gain)


def _meetings(lines: Sequence[_Line], question: Question) -> Iterator[float]:
    for line in lines:
        if question.max_cost is not None and line.slope:
            yield (question.max_cost - line.fixed) / line.slope
    for a, b in combinations(lines, 2):
        weights = [(1.0, 1.0)] + ([(a.gain, b.gain)] if a.gain is not None and b.gain is not None else [])
        for of_a, of_b in weights:  # of_a / cost of a = of_b / cost of b
            slope = of_a * b.slope - of_b * a.slope
            if slope:
                yield (of_b * a.fixed - of_a * b.fixed) / slope
