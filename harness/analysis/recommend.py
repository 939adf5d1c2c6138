"""Which of the recorded models to use: constraints, a utility, the Pareto front, ties, and what would change the answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations, pairwise
from typing import Literal

from harness.analysis.candidates import Candidate, CandidatePool
from harness.analysis.ranks import metric_family
from harness.records.store import Store
from harness.statistics.contrast import difference_at
from harness.statistics.families import LEVEL
from harness.statistics.metrics import LOWER_IS_BETTER
from harness.statistics.paired import Difference
from harness.statistics.pareto import pareto_front

LEAST_COST = 1e-6
"""US dollars per 1,000 rows: a smaller cost counts as this where a utility divides by the cost."""
PREDICTIONS = (1.0, 1e12)
LABEL_USD = (0.0, 1000.0)

Constraint = Literal["max_cost_per_1k", "max_p95_ms", "min_f1", "min_accuracy"]
CONSTRAINTS: tuple[Constraint, ...] = ("max_cost_per_1k", "max_p95_ms", "min_f1", "min_accuracy")


class Utility(StrEnum):
    """`quality`: the best value of the metric that ranks on the leaderboard; of equal ones the cheapest, then the fastest.

    `f1-cost-latency`: F1 / cost * exp(-p50 / tau), with the cost in US dollars per 1,000 rows and p50 and tau in milliseconds
    (Valdes Gonzalez 2026, arXiv 2602.06370). To it half the price is worth as much as twice the F1.
    """

    QUALITY = "quality"
    F1_COST_LATENCY = "f1-cost-latency"


@dataclass(frozen=True)
class Question:
    """What the user asked for. `max_cost_per_1k`: US dollars, training and labels included, for `predictions` rows."""

    max_cost_per_1k: float | None = None
    max_p95_ms: float | None = None
    min_f1: float | None = None
    min_accuracy: float | None = None
    predictions: float = 1e6
    label_usd: float = 0.0
    utility: Utility = Utility.QUALITY
    tau: float = 1000.0

    def cost(self, candidate: Candidate) -> float | None:
        return candidate.cost(self.predictions, self.label_usd)

    def bound(self, constraint: Constraint) -> float | None:
        bound: float | None = getattr(self, constraint)
        return bound

    @property
    def is_constrained(self) -> bool:
        return any(self.bound(constraint) is not None for constraint in CONSTRAINTS)

    def changed(self, name: str, value: float) -> Question:
        return replace(self, **{name: value})  # type: ignore[arg-type]


def measured(candidate: Candidate, question: Question, constraint: Constraint) -> float | None:
    """The figure that a constraint is about; None where it is unknown."""
    if constraint == "max_cost_per_1k":
        return question.cost(candidate)
    if constraint == "max_p95_ms":
        return candidate.p95_ms
    return (candidate.f1 if constraint == "min_f1" else candidate.accuracy).value


@dataclass(frozen=True, slots=True)
class Miss:
    """A constraint that a candidate does not meet; `value` None: the figure is unknown."""

    constraint: Constraint
    value: float | None
    bound: float

    @property
    def relative(self) -> float:
        """How far off, as a share of the bound; infinite where unknown."""
        return math.inf if self.value is None else abs(self.value - self.bound) / max(abs(self.bound), 1e-12)


def misses(candidate: Candidate, question: Question) -> list[Miss]:
    found = []
    for constraint in CONSTRAINTS:
        bound = question.bound(constraint)
        if bound is None:
            continue
        value = measured(candidate, question, constraint)
        if value is None or (value > bound if constraint.startswith("max") else value < bound):
            found.append(Miss(constraint, value, bound))
    return found


Worth = tuple[float, ...]


def worth(candidate: Candidate, question: Question) -> Worth | None:
    """Larger is better; None where a figure that the utility needs is unknown."""
    weight = quality_weight(candidate, question)
    if weight is None:
        return None
    if question.utility is Utility.QUALITY:
        return candidate.worst_first, -_or_worst(question.cost(candidate)), -_or_worst(candidate.p95_ms)
    return ((candidate.f1.value or 0.0) * weight,)


def quality_weight(candidate: Candidate, question: Question) -> float | None:
    """What the utility multiplies the quality (of `f1-cost-latency`: F1) with; None where a figure that it needs is unknown."""
    if question.utility is Utility.QUALITY:
        return None if candidate.goodness is None else 1.0
    cost = question.cost(candidate)
    if candidate.f1.value is None or cost is None or candidate.p50_ms is None:
        return None
    return math.exp(-candidate.p50_ms / question.tau) / max(cost, LEAST_COST)


def _or_worst(value: float | None) -> float:
    return math.inf if value is None else value


def best_of(candidates: Sequence[Candidate], question: Question) -> Candidate | None:
    """The one of the greatest worth among those that meet all constraints; of equal ones the first."""
    rated = [(worth(c, question), c) for c in candidates if not misses(c, question)]
    known = [(value, c) for value, c in rated if value is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def pareto(candidates: Sequence[Candidate], question: Question) -> list[Candidate]:
    """The Pareto front of quality, cost and p95; what is unknown counts as worst."""
    points = [(c.worst_first, -_or_worst(question.cost(c)), -_or_worst(c.p95_ms)) for c in candidates]
    return [c for c, on_front in zip(candidates, pareto_front(points) if points else [], strict=True) if on_front]


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """Another candidate that may be recommended. `difference`: its quality less that of the recommended one; the interval and
    `p_adjusted` are simultaneous for all pairs; `significant`: at 5%."""

    candidate: Candidate
    difference: Difference
    p_adjusted: float
    significant: bool

    @property
    def gain(self) -> float:
        """The difference, positive where this one is better."""
        value = self.difference.value
        return -value if self.candidate.metric in LOWER_IS_BETTER else value


@dataclass(frozen=True)
class Recommendation:
    """`runners_up`: all others that meet the constraints and are better than chance. `nearest`: what comes nearest to the
    constraints where nothing meets them."""

    pool: CandidatePool
    question: Question
    pareto_front: list[Candidate]
    recommended: Candidate | None
    runners_up: list[RunnerUp]
    nearest: Candidate | None


def recommend(store: Store, pool: CandidatePool, question: Question) -> Recommendation:
    """The best candidate that is better than chance, and how the others compare with it."""
    best = best_of(pool.offered, question)
    return Recommendation(
        pool=pool,
        question=question,
        pareto_front=pareto(pool.candidates, question),
        recommended=best,
        runners_up=[] if best is None else _runners_up(store, pool, question, best),
        nearest=None if best is not None else nearest_of(pool.offered, question),
    )


def nearest_of(candidates: Sequence[Candidate], question: Question) -> Candidate | None:
    """Of those that miss a constraint: fewest unknown figures first, then the smallest worst miss, then the best quality."""
    ranked = []
    for candidate in candidates:
        found = misses(candidate, question)
        unknown = sum(miss.value is None for miss in found)
        worst = max((miss.relative for miss in found if miss.value is not None), default=0.0)
        if found:
            ranked.append(((unknown, worst, -candidate.worst_first), candidate))
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _runners_up(store: Store, pool: CandidatePool, question: Question, best: Candidate) -> list[RunnerUp]:
    """Best first. All pairs are tested together, as on the leaderboard: a test of the best one against each other one would
    forget that it was chosen on the same rows."""
    able = [c for c in pool.offered if not misses(c, question) and c.goodness is not None]
    if len(able) < 2:
        return []
    family = metric_family(store, [c.row for c in able], pool.metric)
    own = next(place for place, candidate in enumerate(able) if candidate is best)
    runners = []
    for place in range(len(family)):
        a, b = int(family.a[place]), int(family.b[place])
        if own in (a, b):
            difference = difference_at(family, place)
            adjusted = float(family.p_adjusted[place])
            found = difference if own == a else difference.reversed
            runners.append(RunnerUp(able[a + b - own], found, adjusted, adjusted <= LEVEL))
    return sorted(runners, key=lambda runner: -runner.candidate.worst_first)


# What would change the answer


@dataclass(frozen=True, slots=True)
class Move:
    """With the constraint set to `bound` (`beyond`: to anything stricter), this one is recommended; None: nothing meets it."""

    constraint: Constraint
    bound: float
    beyond: bool
    recommended: Candidate | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `low` to `high` this one is recommended."""

    low: float
    high: float
    recommended: Candidate | None


@dataclass(frozen=True)
class Changes:
    """`loosened`: each step at which a looser constraint gives a better answer. `tightened`: the first stricter one that rules
    the recommended one out. `predictions`, `label_usd`: the answer over their whole range. `unknown`: would be recommended if a
    missing figure turned out to meet the constraint; with the constraints in question."""

    loosened: list[Move]
    tightened: list[Move]
    predictions: list[Stretch]
    label_usd: list[Stretch]
    unknown: list[tuple[Candidate, list[str]]]


def changes_of(candidates: Sequence[Candidate], question: Question) -> Changes:
    best = best_of(candidates, question)
    return Changes(
        loosened=[move for constraint in CONSTRAINTS for move in _loosened(candidates, question, constraint, best)],
        tightened=[] if best is None else list(_tightened(candidates, question, best)),
        predictions=stretches(candidates, question, "predictions"),
        label_usd=stretches(candidates, question, "label_usd"),
        unknown=_unknown(candidates, question, best),
    )


def _loosened(
    candidates: Sequence[Candidate], question: Question, constraint: Constraint, best: Candidate | None
) -> Iterator[Move]:
    """The nearest bound first, then each farther one that gives a still better answer."""
    bound = question.bound(constraint)
    if bound is None:
        return
    values = {measured(candidate, question, constraint) for candidate in candidates if misses(candidate, question)}
    known = sorted(value for value in values if value is not None)
    outward = [v for v in known if v > bound] if constraint.startswith("max") else [v for v in reversed(known) if v < bound]
    for value in outward:
        found = best_of(candidates, question.changed(constraint, value))
        if found is not best:
            yield Move(constraint, value, False, found)
            best = found


def _tightened(candidates: Sequence[Candidate], question: Question, best: Candidate) -> Iterator[Move]:
    for constraint in CONSTRAINTS:
        value = measured(best, question, constraint)
        if value is None:
            continue
        stricter = math.nextafter(value, -math.inf if constraint.startswith("max") else math.inf)
        yield Move(constraint, value, True, best_of(candidates, question.changed(constraint, stricter)))


def _unknown(candidates: Sequence[Candidate], question: Question, best: Candidate | None) -> list[tuple[Candidate, list[str]]]:
    """Those that only miss constraints on unknown figures, and would otherwise be worth more than the recommended one."""
    own = None if best is None else worth(best, question)
    found = []
    for candidate in candidates:
        missing = misses(candidate, question)
        needed: list[str] = [miss.constraint for miss in missing]
        if any(miss.value is not None for miss in missing):
            continue
        value = worth(candidate, question)
        if value is None and question.utility is Utility.F1_COST_LATENCY and candidate.f1.value is not None:
            found.append((candidate, [*needed, "utility"]))
        elif value is not None and missing and (own is None or value > own):
            found.append((candidate, needed))
    return found


def stretches(candidates: Sequence[Candidate], question: Question, name: str) -> list[Stretch]:
    """The answer over the whole range of `predictions` or `label_usd`, all else as asked; equal neighbours are merged.

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
        best = best_of(candidates, question.changed(name, inside))
        if found and found[-1].recommended is best:
            found[-1] = replace(found[-1], high=stop)
        else:
            found.append(Stretch(start, stop, best))
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
    if question.utility is Utility.F1_COST_LATENCY and candidate.f1.value is not None and candidate.p50_ms is not None:
        gain = candidate.f1.value * math.exp(-candidate.p50_ms / question.tau)
    if name == "predictions":
        return _Line(candidate.inference, once, gain)
    shared = 1000 / question.predictions
    return _Line(candidate.inference + candidate.training * shared, candidate.labels * shared, gain)


def _meetings(lines: Sequence[_Line], question: Question) -> Iterator[float]:
    for line in lines:
        if question.max_cost_per_1k is not None and line.slope:
            yield (question.max_cost_per_1k - line.fixed) / line.slope
    for a, b in combinations(lines, 2):
        weights = [(1.0, 1.0)] + ([(a.gain, b.gain)] if a.gain is not None and b.gain is not None else [])
        for of_a, of_b in weights:  # of_a / cost of a = of_b / cost of b
            slope = of_a * b.slope - of_b * a.slope
            if slope:
                yield (of_b * a.fixed - of_a * b.fixed) / slope
