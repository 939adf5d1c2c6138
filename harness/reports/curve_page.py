"""A learning curve in words: the sentence, the tables and the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.analysis.break_even import BreakEven, Crossing, Curve, Estimate, Line
from harness.records.entries import TITLES
from harness.reports.markdown import escape, table
from harness.statistics.metrics import LOWER_IS_BETTER


def crossing_words(found: Crossing, sizes: Sequence[int]) -> str:
    """`about 130 labels (95%: between 90 and 210)`, or what else there is to say; `sizes` are those that the curve has."""
    first, last = min(sizes), max(sizes)
    if found.low == found.high == 0:
        return f"from {first} labels on, or fewer (the smallest number tried)"
    if math.isinf(found.low):
        return f"no crossing up to {last:,} labels"
    if math.isinf(found.labels):
        start = f"{first} or fewer" if found.low == 0 else f"{_labels(found.low)}"
        return f"no crossing up to {last:,} labels, though {start} can't be ruled out (95%)"
    about = f"{first} labels or fewer" if found.labels == 0 else f"about {_labels(found.labels)} labels"
    if found.low == 0 and math.isinf(found.high):
        return f"{about}, but anything is possible (95%: from {first} or fewer to more than {last:,})"
    if found.low == 0:
        return f"{about} (95%: at most {_labels(found.high)})"
    if math.isinf(found.high):
        return f"{about} (95%: at least {_labels(found.low)}, perhaps more than {last:,})"
    return f"{about} (95%: between {_labels(found.low)} and {_labels(found.high)})"


def _labels(number: float) -> str:
    """Two digits: more would be a pretence."""
    size = max(0, math.floor(math.log10(number)) - 1)
    return f"{round(number, -size):,.0f}"


def sentence(result: BreakEven, lang: str) -> str:
    """Which line is the best, and from how many labels on each trained backend passes it."""
    title = TITLES.get(result.metric, result.metric)
    rows = f"On {result.n:,} {lang} rows"
    if not result.lines:
        ends = [f"{curve.name} reaches {_best(curve, result)}" for curve in result.curves]
        return f"{rows}, by {title}: {'; '.join(ends)}."
    best = best_line(result)
    parts = [
        f"{found.curve} {_passes(found, list(_points(result, found.curve)))}"
        for found in result.crossings
        if found.line == best.name
    ]
    return f"{rows}, {best.name} has {title} {best.estimate.value:.3f}; {'; '.join(parts)}."


def _passes(found: Crossing, sizes: Sequence[int]) -> str:
    words = crossing_words(found, sizes)
    if words.startswith("no"):
        return f"has {words}"
    return f"is at least as good {words if words.startswith('from') else f'with {words}'}"


def best_line(result: BreakEven) -> Line:
    sign = -1 if result.metric in LOWER_IS_BETTER else 1
    return max(result.lines, key=lambda line: sign * line.estimate.value)


def _best(curve: Curve, result: BreakEven) -> str:
    sign = -1 if result.metric in LOWER_IS_BETTER else 1
    size, found = max(curve.points.items(), key=lambda item: sign * item[1].value)
    return f"{found.value:.3f} with {size:,} labels"


def _points(result: BreakEven, name: str) -> dict[int, Estimate]:
    return dict(next(curve for curve in result.curves if curve.name == name).points)


def point_rows(result: BreakEven) -> list[list[str]]:
    """Backend, labels, value with interval, lowest-median-highest of the seeds, number of seeds; the lines first."""
    rows = [[line.name, str(line.labels), *_cells(line.estimate)] for line in result.lines]
    for curve in result.curves:
        rows += [[curve.name, f"{size:,}", *_cells(point)] for size, point in curve.points.items()]
    return rows


def _cells(found: Estimate) -> list[str]:
    seeds = sorted(found.by_seed)
    middle = (seeds[(len(seeds) - 1) // 2] + seeds[len(seeds) // 2]) / 2
    spread = "–" if len(seeds) == 1 else f"{seeds[0]:.3f} · {middle:.3f} · {seeds[-1]:.3f}"
    interval = "" if math.isnan(found.low) else f" [{found.low:.3f}, {found.high:.3f}]"
    return [f"{found.value:.3f}{interval}", spread, str(len(seeds))]


def crossing_rows(result: BreakEven) -> list[list[str]]:
    """Trained, prompted, the crossing in words, the share of resamples without one."""
    return [
        [found.curve, found.line, crossing_words(found, list(_points(result, found.curve))), f"{found.never:.0%}"]
        for found in result.crossings
    ]


POINT_COLUMNS = ["backend", "labels", "", "seeds: lowest · median · highest", "seeds"]
CROSSING_COLUMNS = ["trained", "prompted", "at least as good with", "no crossing in"]
LEGEND = """\
Made by `bench study curve`. A value is the mean over the seeds; each seed draws its own labels (a larger number adds to the smaller)
and its own exemplars. In brackets the 95% interval of test rows and seeds together (of one seed: of the rows); beside it the
seeds alone. All labels that are used are counted: no checkpoint is chosen on validation rows. The crossing takes quality not
to fall with more labels, and to be linear between the sizes on a logarithmic scale; the last column is the share of the
resamples without one."""


def markdown(result: BreakEven, task: str, lang: str, picture: str | None) -> str:
    """The page; `picture` is the file name of the plot beside it."""
    title = TITLES.get(result.metric, result.metric)
    lines = [
        f"# {escape(task)}, {escape(lang)}: {escape(title)} by number of labels",
        "",
        f"**{escape(sentence(result, lang))}**",
        "",
    ]
    if picture is not None:
        lines += [f"![{escape(title)} by number of labels]({picture})", ""]
    lines += [LEGEND, ""]
    if result.crossings:
        lines += [*table(CROSSING_COLUMNS, crossing_rows(result)), ""]
    columns = [name or title for name in POINT_COLUMNS]
    return "\n".join([*lines, *table(columns, point_rows(result)), ""])
