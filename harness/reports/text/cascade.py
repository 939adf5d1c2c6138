"""The result of `bench analyze cascade` in one sentence."""

from __future__ import annotations

import math

from harness.analysis.cascade import Cascade, Choice, Point
from harness.records.names import names_of
from harness.reports.text.calibration import caveats
from harness.reports.text.formats import listed, p_equals, usd
from harness.reports.text.templates import render
from harness.statistics.families import LEVEL
from harness.statistics.metrics import LOWER_IS_BETTER


def sentence(found: Cascade) -> str:
    """Whether the cascade is better than both models alone, and its cost; without a threshold, the range of the trade-off."""
    first, second = names_of([[found.first], [found.second]], [found.first.how, found.second.how])
    sign = -1 if found.metric in LOWER_IS_BETTER else 1
    inner = [(value, point) for point in found.points[1:-1] if (value := point.values[found.metric].value) is not None]
    return render(
        "cascade",
        found=found,
        choice=found.choice,
        metric=found.metric,
        split=found.first.record.identity.split,
        first=first,
        second=second,
        first_point=found.points[0],
        last_point=found.points[-1],
        best=max(inner, key=lambda pair: sign * pair[0])[1] if inner else None,
        infinite=math.inf,
        price=lambda point: _price(found, point),
        paid="" if found.choice is None else _paid(found.choice),
        caveats=caveats([entry.record for entry in found.missing]),
        verdicts=[] if found.choice is None else _verdicts(found, found.choice, first, second),
        enough_alone=None if found.choice is None else _enough_alone(found, found.choice, first, second),
    )


def _verdicts(found: Cascade, choice: Choice, first: str, second: str) -> list[str]:
    """How it compares with each model, where it is not better than both."""
    sign = -1 if found.metric in LOWER_IS_BETTER else 1
    groups: dict[str, list[str]] = {}
    for name, to in ((first, choice.to_first), (second, choice.to_second)):
        tied, better = not to.p <= LEVEL, sign * to.value > 0
        how = "not significantly different from" if tied else "better than" if better else "worse than"
        groups.setdefault(how, []).append(f"{name} ({p_equals(to.p)})")
    order = ("better than", "worse than", "not significantly different from")
    return [f"{how} {listed(groups[how])}" for how in order if how in groups]


def _enough_alone(found: Cascade, choice: Choice, first: str, second: str) -> str | None:
    """The cheapest model that is as good alone, and cheaper (or faster, where prices are unknown)."""
    able = []
    for name, end, to in ((first, found.points[0], choice.to_first), (second, found.points[-1], choice.to_second)):
        ours, alone = (choice.point.cost, end.cost) if choice.point.cost is not None else (choice.point.seconds, end.seconds)
        if not to.p <= LEVEL and ours is not None and alone is not None and alone < ours:
            able.append((alone, name))
    return min(able)[1] if able else None


def _paid(choice: Choice) -> str:
    if not choice.labels:
        return ""
    included = " (their price is included)" if choice.point.cost is not None else ""
    return f"; the threshold took {choice.labels:,} labels of validation rows that no training used{included}"


def _price(found: Cascade, point: Point) -> str:
    """The price (or time) of a point, beside those of the models alone where it is neither."""
    ends = found.points[0], found.points[-1]
    alone = [usd(end.cost) for end in ends if end.cost is not None]
    if point.cost is None:
        alone = [f"{1000 * end.seconds:.3g}" for end in ends if end.seconds is not None]
    beside = "" if point in ends else f" instead of {listed(alone)}"
    if point.cost is not None:
        return f", at {usd(point.cost)} per 1,000 rows{beside}"
    if point.seconds is None:
        return ""
    return f", in {1000 * point.seconds:.3g} s per 1,000 rows{beside} (no price is known for the machines of both)"
