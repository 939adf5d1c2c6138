"""A learning curve on the labels of a model against those of people: its sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from harness.analysis.break_even import BreakEven, Contrast, Crossing, Estimate
from harness.reports.curve_page import two_digits
from harness.reports.text.formats import plural, title, usd
from harness.studies.curve import Measured, Teaching

COLUMNS = ["trained", "labels", "human labels", "learned from", "", "difference", "human $", "LLM $"]
Table = tuple[list[str], list[list[str]]]


def tables(made: Measured) -> list[tuple[str, Table]]:
    """A table for each metric, with its title: both kinds of labels at each size, and their paired difference."""
    assert made.teaching is not None
    return [(title(result.metric), (_columns(result), list(_rows(result, made.teaching)))) for result in results_of(made)]


def results_of(made: Measured) -> list[BreakEven]:
    return [made.result, *([] if made.log_loss is None else [made.log_loss])]


def _columns(result: BreakEven) -> list[str]:
    return [name or title(result.metric) for name in COLUMNS]


def _rows(result: BreakEven, teaching: Teaching) -> Iterator[list[str]]:
    """The teacher first, which was trained on none of the labels."""
    for line in result.lines:
        if line.name == teaching.line:
            yield [line.name, "–", "–", "–", _shown(line.estimate), "–", "–", "–"]
    points = {curve.name: curve.points for curve in result.curves}
    for contrast in result.contrasts:
        backend, _, _ = contrast.curve.rpartition(" · ")
        for size, difference in contrast.differences.items():
            yield [
                backend,
                f"{size:,}",
                _shown(points[contrast.curve][size]),
                contrast.other.rpartition(" · ")[2],
                _shown(points[contrast.other][size]),
                _signed(difference),
                _dollars(teaching.human_usd(size)),
                _dollars(teaching.usd(size)),
            ]


def _shown(found: Estimate) -> str:
    return f"{found.value:.3f}" + ("" if math.isnan(found.low) else f" [{found.low:.3f}, {found.high:.3f}]")


def _signed(found: Estimate) -> str:
    return f"{found.value:+.3f}" + ("" if math.isnan(found.low) else f" [{found.low:+.3f}, {found.high:+.3f}]")


def _dollars(amount: float | None) -> str:
    return "–" if amount is None else usd(amount)


def sentences(made: Measured) -> list[str]:
    """What the labels of the model are, and for each backend and metric what they are worth."""
    teaching = made.teaching
    assert teaching is not None
    left = f"; {plural(teaching.unlabelled, 'row')} without a label are left out" if teaching.unlabelled else ""
    price = "" if teaching.usd_per_label is None else f" They cost {usd(1000 * teaching.usd_per_label)} per 1,000."
    same = f"{teaching.agreement:.0%} of the labels of {teaching.teacher} on {teaching.rows:,} training rows"
    found = [f"{same} agree with those of people{left}.{price}"]
    for result in results_of(made):
        sizes = {curve.name: list(curve.points) for curve in result.curves}
        found += [_compared(one, title(result.metric), sizes[one.curve], teaching) for one in result.contrasts]
    return found


def _compared(contrast: Contrast, metric: str, sizes: Sequence[int], teaching: Teaching) -> str:
    reached = contrast.equal_up_to
    words = (
        f"not significantly worse up to {reached:,} labels" if reached else f"significantly worse with {min(sizes):,} labels"
    )
    worth = f"{contrast.most:,} are worth {_human_labels(contrast.worth, sizes)}"
    return f"By {metric}, {contrast.other} are {words}; {worth}{_priced(contrast, teaching)}."


def _human_labels(found: Crossing, sizes: Sequence[int]) -> str:
    """`about 29 human labels (95%: between 15 and 31)`. `sizes`: those that were tried."""
    low, high = _count(found.low, sizes), _count(found.high, sizes)
    exact = 0 < found.labels < math.inf
    first = f"about {two_digits(found.labels)}" if exact else _count(found.labels, sizes)
    return f"{first} human labels" + ("" if low == high else f" (95%: from {low} to {high})")


def _count(labels: float, sizes: Sequence[int]) -> str:
    if labels == 0:
        return f"at most {min(sizes):,}"
    return f"more than {max(sizes):,}" if math.isinf(labels) else two_digits(labels)


def _priced(contrast: Contrast, teaching: Teaching) -> str:
    """What both cost, where both have a price and the number of human labels is known."""
    labels = contrast.worth.labels
    if not 0 < labels < math.inf:
        return ""
    human, model = teaching.human_usd(labels), teaching.usd(contrast.most)
    return "" if human is None or model is None else f"; they cost {usd(model)} and {usd(human)}"
