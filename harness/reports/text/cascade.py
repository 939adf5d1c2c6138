"""What `bench analyze cascade` says in a sentence."""

from __future__ import annotations

import math

from harness.analysis.cascade import Cascade, Choice, Point
from harness.records.entries import TITLES
from harness.records.names import names_of
from harness.reports.text.calibration import caveats
from harness.reports.text.compare import p_text
from harness.reports.text.recommend import usd
from harness.statistics.metrics import LOWER_IS_BETTER
from harness.statistics.paired import LEVEL


def sentence(found: Cascade) -> str:
    """Whether the cascade beats both models alone, what it costs; or, without a threshold, what the trade-off spans."""
    names = names_of([[found.first], [found.second]], [found.first.how, found.second.how])
    return _unsettled(found, *names) if found.choice is None else _settled(found, found.choice, *names)


def _settled(found: Cascade, choice: Choice, first: str, second: str) -> str:
    point, title = choice.point, TITLES.get(found.metric, found.metric)
    told = "(your own threshold)" if choice.tuned_on is None else f"(chosen on {choice.tuned_on:,} validation rows)"
    if point.threshold == 0 or point.threshold == math.inf:
        alone = first if point.threshold == 0 else second
        why = "With this threshold" if choice.tuned_on is None else f"On {choice.tuned_on:,} validation rows"
        best = (
            f"{alone} answers all rows" if choice.tuned_on is None else f"no threshold has a better {title} than {alone} alone"
        )
        shown = _shown(point, found.metric)
        return f"{why} {best}: {title} {shown} on {found.rows:,} {_split(found)} rows{_price(found, point)}."
    values = [_number(alone, found.metric) for alone in (found.points[0], found.points[-1])]
    share = f"{first} answers {point.share:.0%} of {found.rows:,} {_split(found)} rows"
    verdict = f"{_verdict(found, choice, first, second)}{_price(found, point)}{_spared(found, choice, first, second)}"
    return (
        f"If {first} answers where it is at least {point.threshold:.1%} sure {told} and {second} the rest, {share} and "
        f"{title} is {_shown(point, found.metric)}, against {values[0]} and {values[1]} alone: {verdict}."
    )


def _verdict(found: Cascade, choice: Choice, first: str, second: str) -> str:
    if choice.better:
        return f"it is better than both alone ({_p(choice.p)})"
    sign = -1 if found.metric in LOWER_IS_BETTER else 1
    worse: list[str] = []
    better: list[str] = []
    equal: list[str] = []
    for name, to in ((first, choice.to_first), (second, choice.to_second)):
        (equal if not to.p <= LEVEL else better if sign * to.value > 0 else worse).append(f"{name} ({_p(to.p)})")
    parts = [f"better than {better[0]}"] if better else []
    parts += [f"worse than {' and '.join(worse)}"] if worse else []
    parts += [f"can't be told apart from {' and '.join(equal)}"] if equal else []
    return "it is " + " and ".join(parts) if better or worse else f"it {parts[0]}"


def _spared(found: Cascade, choice: Choice, first: str, second: str) -> str:
    """The cheapest of the models that do as well alone, and are cheaper (or quicker, where prices are unknown)."""
    able = []
    for name, end, to in ((first, found.points[0], choice.to_first), (second, found.points[-1], choice.to_second)):
        ours, alone = (choice.point.cost, end.cost) if choice.point.cost is not None else (choice.point.seconds, end.seconds)
        if not to.p <= LEVEL and ours is not None and alone is not None and alone < ours:
            able.append((alone, name))
    return f"; so {min(able)[1]} alone may do" if able else ""


def _p(p: float) -> str:
    text = p_text(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _split(found: Cascade) -> str:
    return str(found.first.manifest["identity"]["split"])


def _unsettled(found: Cascade, first: str, second: str) -> str:
    title = TITLES.get(found.metric, found.metric)
    ends = [f"{title} {_number(point, found.metric)}" for point in (found.points[0], found.points[-1])]
    sign = -1 if found.metric in LOWER_IS_BETTER else 1
    inner = [point for point in found.points[1:-1] if point.values[found.metric]["value"] is not None]
    best = max(inner, key=lambda point: sign * (point.values[found.metric]["value"] or 0.0), default=None)
    between = (
        ""
        if best is None
        else f", with {_number(best, found.metric)} at best between them, where {first} answers {best.share:.0%}"
    )
    how = " && ".join(found.commands)
    way = "; name the test runs to have one chosen"
    if how:
        way = f"; to have one chosen on validation rows, run `{how}` ({caveats([one.manifest for one in found.missing])})"
    return (
        f"On {found.rows:,} rows the cascade goes from {ends[0]} ({first} alone{_price(found, found.points[0])}) to {ends[1]} "
        f"({second} alone{_price(found, found.points[-1])}){between}; no threshold is chosen, as one chosen on the rows that "
        f"it is judged by would promise too much{way}."
    )


def _number(point: Point, metric: str) -> str:
    value = point.values[metric]["value"]
    return "undefined" if value is None else f"{value:.3f}"


def _shown(point: Point, metric: str) -> str:
    value = point.values[metric]
    interval = "" if value["low"] is None else f" (95% interval {value['low']:.3f} to {value['high']:.3f})"
    return _number(point, metric) + interval


def _price(found: Cascade, point: Point) -> str:
    """At what price, beside those of the models alone where the point is neither."""
    ends = found.points[0], found.points[-1]
    if point.cost is not None:
        alone = [usd(end.cost) for end in ends if end.cost is not None]
        beside = "" if point in ends else f" instead of {' and '.join(alone)}"
        return f", at {usd(point.cost)} per 1,000 rows{beside}"
    if point.seconds is None:
        return ""
    alone = [f"{1000 * end.seconds:.3g}" for end in ends if end.seconds is not None]
    beside = "" if point in ends else f" instead of {' and '.join(alone)}"
    return f", in {1000 * point.seconds:.3g} s per 1,000 rows{beside} (no price is known for the machines of both)"
