"""Which of the recorded models to take: constraints, a utility, the Pareto front, and who can't be told apart from the pick."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from harness.analysis.candidates import Candidate, CandidatePool
from harness.records.predictions import predictions_of, shared_rows
from harness.records.store import Store
from harness.statistics.contrast import difference_of
from harness.statistics.paired import LEVEL, Difference, holm

LEAST_COST = 1e-6
"""US dollars per 1,000 rows: what costs less, or nothing, counts as this where a utility divides by the cost."""


class Utility(StrEnum):
    """`quality`: the highest F1; of equal ones the cheapest, then the quickest.

    `f1-cost-latency`: F1 / cost * exp(-p50 / tau), with the cost in US dollars per 1,000 rows and p50 and tau in milliseconds
    (Valdes Gonzalez 2026, arXiv 2602.06370). A model at half the price is worth as much to it as one of twice the F1.
    """

    QUALITY = "quality"
    F1_COST_LATENCY = "f1-cost-latency"


@dataclass(frozen=True)
class Question:
    """What the user asked. `max_cost`: US dollars per 1,000 rows, training and labels included, for `predictions` rows."""

    max_cost: float | None = None
    max_p95_ms: float | None = None
    min_f1: float | None = None
    min_accuracy: float | None = None
    predictions: float = 1e6
    label_usd: float = 0.0
    utility: Utility = Utility.QUALITY
    tau: float = 1000.0

    def cost(self, candidate: Candidate) -> float | None:
        return candidate.cost(self.predictions, self.label_usd)


def asked(question: Question, name: str, value: float) -> Question:
    """The question with another value in one place."""
    changed: dict[str, Any] = {name: value}
    return replace(question, **changed)


CONSTRAINTS = ("max_cost", "max_p95_ms", "min_f1", "min_accuracy")


def measured(candidate: Candidate, question: Question, constraint: str) -> float | None:
    """What a constraint is about; None where it is unknown."""
    if constraint == "max_cost":
        return question.cost(candidate)
    if constraint == "max_p95_ms":
        return candidate.p95_ms
    return (candidate.f1 if constraint == "min_f1" else candidate.accuracy)["value"]


@dataclass(frozen=True, slots=True)
class Miss:
    """A constraint that a candidate does not meet; `value` None: that is unknown, which is not to meet it."""

    constraint: str
    value: float | None
    bound: float

    @property
    def relative(self) -> float:
        """How far off, as a share of the bound; infinite where unknown."""
        return math.inf if self.value is None else abs(self.value - self.bound) / max(abs(self.bound), 1e-12)


def misses(candidate: Candidate, question: Question) -> list[Miss]:
    found = []
    for constraint in CONSTRAINTS:
        bound = getattr(question, constraint)
        if bound is None:
            continue
        value = measured(candidate, question, constraint)
        if value is None or (value > bound if constraint.startswith("max") else value < bound):
            found.append(Miss(constraint, value, bound))
    return found


Worth = tuple[float, ...]


def worth(candidate: Candidate, question: Question) -> Worth | None:
    """Larger is better; None where a figure that the utility needs is unknown."""
    f1, cost = candidate.f1["value"], question.cost(candidate)
    if f1 is None:
        return None
    if question.utility is Utility.QUALITY:
        return f1, -_or_worst(cost), -_or_worst(candidate.p95_ms)
    if cost is None or candidate.p50_ms is None:
        return None
    return (f1 / max(cost, LEAST_COST) * math.exp(-candidate.p50_ms / question.tau),)


def _or_worst(value: float | None) -> float:
    return math.inf if value is None else value


def best_of(candidates: Sequence[Candidate], question: Question) -> Candidate | None:
    """The one of the greatest worth among those that meet all constraints; of equal ones the first."""
    rated = [(worth(c, question), c) for c in candidates if not misses(c, question)]
    known = [(value, c) for value, c in rated if value is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def pareto(candidates: Sequence[Candidate], question: Question) -> list[Candidate]:
    """Those that no other one is as good as in F1, cost and p95, and better than in one; what is unknown counts as worst."""

    def figures(candidate: Candidate) -> tuple[float, float, float]:
        f1 = candidate.f1["value"]
        return -math.inf if f1 is None else f1, -_or_worst(question.cost(candidate)), -_or_worst(candidate.p95_ms)

    every = [figures(candidate) for candidate in candidates]
    return [
        candidate
        for candidate, own in zip(candidates, every, strict=True)
        if not any(other != own and all(x >= y for x, y in zip(other, own, strict=True)) for other in every)
    ]


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """Another one that meets all constraints: its F1 less the pick's. `apart`: told apart from the pick at 5% (Holm)."""

    candidate: Candidate
    difference: Difference
    p_holm: float
    apart: bool


@dataclass(frozen=True)
class Recommendation:
    """`runners_up`: all others that meet the constraints. `nearest`: what comes nearest to that where nothing does."""

    field: CandidatePool
    question: Question
    front: list[Candidate]
    pick: Candidate | None
    runners_up: list[RunnerUp]
    nearest: Candidate | None

    @property
    def rivals(self) -> list[RunnerUp]:
        """The runners-up that could be the answer."""
        offered = {id(candidate) for candidate in self.field.offered}
        return [runner for runner in self.runners_up if id(runner.candidate) in offered]


def recommend(store: Store, field: CandidatePool, question: Question) -> Recommendation:
    """The pick among the candidates of a field that do better than chance, and what was tested about it."""
    pick = best_of(field.offered, question)
    runners_up = [] if pick is None else _runners_up(store, field, question, pick)
    return Recommendation(
        field=field,
        question=question,
        front=pareto(field.candidates, question),
        pick=pick,
        runners_up=runners_up,
        nearest=None if pick is not None else nearest_of(field.offered, question),
    )


def nearest_of(candidates: Sequence[Candidate], question: Question) -> Candidate | None:
    """Of those that miss a constraint: fewest unknown figures first, then the smallest worst miss, then the best F1."""
    ranked = []
    for candidate in candidates:
        found = misses(candidate, question)
        unknown = sum(miss.value is None for miss in found)
        worst = max((miss.relative for miss in found if miss.value is not None), default=0.0)
        if found:
            ranked.append(((unknown, worst, -(candidate.f1["value"] or 0.0)), candidate))
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _runners_up(store: Store, field: CandidatePool, question: Question, pick: Candidate) -> list[RunnerUp]:
    """Compared in F1 on the same rows, by the median runs; best first."""
    others = [c for c in field.candidates if c is not pick and not misses(c, question) and c.f1["value"] is not None]
    found = []
    for other in others:
        of_pick, of_other = shared_rows([predictions_of(store, c.entry) for c in (pick, other)])
        found.append(difference_of(field.f1, of_pick, of_other))
    defined = [i for i, difference in enumerate(found) if not math.isnan(difference.p)]
    adjusted = dict(zip(defined, holm([found[i].p for i in defined]), strict=True))
    runners = [
        RunnerUp(other, difference, adjusted.get(i, math.nan), adjusted.get(i, 1.0) <= LEVEL)
        for i, (other, difference) in enumerate(zip(others, found, strict=True))
    ]
    return sorted(runners, key=lambda runner: -(runner.candidate.f1["value"] or 0.0))
