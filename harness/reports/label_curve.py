"""A learning curve on the labels of a model against those of people: its sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from harness.analysis.break_even import BreakEven, Contrast, Crossing, Estimate
from harness.reports.curve_page import crossing_words
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
    points = {curve.name: curve.points for curve in result.curves}
    for contrast in result.contrasts:
        backend, _, _ = contrast.curve.rpartition(" · ")
        for size, difference in contrast.differences.items():
            ours, theirs = points[contrast.curve][size], points[contrast.other][size]
            yield [
                backend,
                f"{size:,}",
                _shown(ours),
                contrast.other.rpartition(" · ")[2],
                _shown(theirs),
                _signed(difference),
                _dollars(size, teaching.human_usd_per_label),
                _dollars(size, teaching.usd_per_label),
            ]


def _shown(found: Estimate) -> str:
    return f"{found.value:.3f}" + ("" if math.isnan(found.low) else f" [{found.low:.3f}, {found.high:.3f}]")


def _signed(found: Estimate) -> str:
    return f"{found.value:+.3f}" + ("" if math.isnan(found.low) else f" [{found.low:+.3f}, {found.high:+.3f}]")


def _dollars(labels: float, each: float | None) -> str:
    return "–" if each is None else usd(labels * each)


def sentences(made: Measured) -> list[str]:
    """What the labels of the model are, and for each backend and metric what they are worth."""
    teaching = made.teaching
    assert teaching is not None
    left = f"; {plural(teaching.unlabelled, 'row')} without a label are left out" if teaching.unlabelled else ""
    price = "" if teaching.usd_per_label is None else f" They cost {usd(1000 * teaching.usd_per_label)} per 1,000."
    first = f"{teaching.agreement:.0%} of the labels of {teaching.teacher} on {teaching.rows:,} training rows are those of people{left}.{price}"
    return [first, *(line for result in results_of(made) for line in _worth(result, teaching))]


def _worth(result: BreakEven, teaching: Teaching) -> Iterator[str]:
    sizes = {curve.name: list(curve.points) for curve in result.curves}
    for contrast in result.contrasts:
        name = f"By {title(result.metric)}, {contrast.other}"
        upto = (
            f"no significant loss up to {contrast.equal_up_to:,} labels"
            if contrast.equal_up_to
            else "a significant loss from the first size on"
        )
        yield f"{name}: {upto}; {_compared(contrast, sizes[contrast.curve])}{_priced(contrast, teaching)}."


def _compared(contrast: Contrast, sizes: Sequence[int]) -> str:
    return f"{contrast.most:,} of them are worth {_number(contrast.worth, sizes)}"


def _number(found: Crossing, sizes: Sequence[int]) -> str:
    words = crossing_words(found, sizes)
    return words.replace("labels", "human labels", 1) if "labels" in words else f"human labels: {words}"


def _priced(contrast: Contrast, teaching: Teaching) -> str:
    """What both cost, where both have a price and the number of human labels is known."""
    human, model = teaching.human_usd_per_label, teaching.usd_per_label
    labels = contrast.worth.labels
    if human is None or model is None or not 0 < labels < math.inf:
        return ""
    return f"; {usd(contrast.most * model)} against {usd(labels * human)}"
