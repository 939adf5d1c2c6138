"""A learning curve: its sentence, tables, page and plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from harness.analysis.break_even import BreakEven, Crossing, Curve, Estimate, Line, Pass
from harness.reports.templates import better, render
from harness.reports.text.formats import title
from harness.statistics.metrics import LOWER_IS_BETTER


def crossing_words(found: Crossing, sizes: Sequence[int]) -> str:
    """Such as `about 130 labels (95%: between 90 and 210), 125 more than the prompt's 5`. `sizes`: those of the curve."""
    if found.falls_back:
        return _stretches_in_words(found)
    words = _one_crossing(found, sizes) + _paid(found, min(sizes))
    if len(found.passes) > 1:
        words += f"; the means cross it {len(found.passes)} times, which may be chance"
    return words


def _one_crossing(found: Crossing, sizes: Sequence[int]) -> str:
    first, last = min(sizes), max(sizes)
    if found.low == found.high == 0:
        return f"from {first} labels on, or fewer (the smallest number tried)"
    if math.isinf(found.low):
        return f"no crossing up to {last:,} labels"
    if math.isinf(found.labels):
        start = f"{first} or fewer" if found.low == 0 else f"{two_digits(found.low)}"
        return f"no crossing up to {last:,} labels, though {start} can't be ruled out (95%)"
    about = f"{first} labels or fewer" if found.labels == 0 else f"about {two_digits(found.labels)} labels"
    return (
        f"{about} {_interval(found.low, found.high, first, last)}"
        if found.low or math.isfinite(found.high)
        else (f"{about}, but anything is possible (95%: from {first} or fewer to more than {last:,})")
    )


def _interval(low: float, high: float, first: int, last: int) -> str:
    if low == 0:
        return f"(95%: at most {two_digits(high)})"
    if math.isinf(high):
        return f"(95%: at least {two_digits(low)}, perhaps more than {last:,})"
    return f"(95%: between {two_digits(low)} and {two_digits(high)})"


def _paid(found: Crossing, first: int) -> str:
    """The labels of the line's few-shot examples, which it pays for, too."""
    used = found.line_labels
    if not used or math.isinf(found.labels):
        return ""
    if (found.labels or first) <= used:
        return f", no more than the {used:,} that the prompt used"
    return f", {two_digits((found.labels or first) - used)} more than the {used:,} that the prompt used"


def _stretches_in_words(found: Crossing) -> str:
    """Such as `several crossings: better up to 60 labels (95%: 40 to 90), then worse`."""
    parts = []
    for stretch, after in zip(found.stretches, (*found.passes, None), strict=True):
        side = ("better" if stretch.better else "worse") + ("" if stretch.sure else " (perhaps by chance)")
        parts.append(side if after is None else f"{side} up to {_place(after)}")
    used = f"; the prompt used {found.line_labels:,} labels" if found.line_labels else ""
    return f"several crossings: {', then '.join(parts)}{used}"


def _place(one: Pass) -> str:
    low = "fewer" if one.low == 0 else two_digits(one.low)
    high = "more" if math.isinf(one.high) else two_digits(one.high)
    return f"{two_digits(one.labels)} labels (95%: {low} to {high})"


def two_digits(number: float) -> str:
    """A number of labels, to its first two digits."""
    size = max(0, math.floor(math.log10(number)) - 1)
    return f"{round(number, -size):,.0f}"


def sentence(result: BreakEven, lang: str) -> str:
    """The best prompted line, and the number of labels from which each trained backend is as good."""
    metric_title, rows = title(result.metric), f"On {result.n:,} {lang} rows"
    if not result.lines:
        ends = [f"{curve.name} reaches {_best(curve, result.metric)}" for curve in result.curves]
        return f"{rows}, by {metric_title}: {'; '.join(ends)}."
    best = best_line(result)
    parts = [
        f"{found.curve} {_passes(found, list(_points(result, found.curve)))}"
        for found in result.crossings
        if found.line == best.name
    ]
    paid = f" with {best.labels:,} labels" if best.labels else ""
    return f"{rows}, {best.name} has {metric_title} {best.estimate.value:.3f}{paid}; {'; '.join(parts)}."


def _passes(found: Crossing, sizes: Sequence[int]) -> str:
    words = crossing_words(found, sizes)
    if found.falls_back or words.startswith("no"):
        return f"has {words}"
    return f"is at least as good {words if words.startswith('from') else f'with {words}'}"


def best_line(result: BreakEven) -> Line:
    best: Line = _top(result.metric)(result.lines, key=lambda line: line.estimate.value)
    return best


def _best(curve: Curve, metric: str) -> str:
    size, found = _top(metric)(curve.points.items(), key=lambda item: item[1].value)
    return f"{found.value:.3f} with {size:,} labels"


def _top(metric: str) -> Any:
    return min if metric in LOWER_IS_BETTER else max


def _points(result: BreakEven, name: str) -> dict[int, Estimate]:
    return dict(next(curve for curve in result.curves if curve.name == name).points)


def point_rows(result: BreakEven) -> list[list[str]]:
    """The rows under `POINT_COLUMNS`; prompted lines first."""
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
    """The rows under `CROSSING_COLUMNS`."""
    return [
        [found.curve, found.line, crossing_words(found, list(_points(result, found.curve))), f"{found.never:.0%}"]
        for found in result.crossings
    ]


POINT_COLUMNS = ["backend", "labels", "", "seeds: lowest · median · highest", "seeds"]
CROSSING_COLUMNS = ["trained", "prompted", "at least as good with", "no crossing in"]
NOTE = "Bands: 95% interval of test rows and seeds; small dots: single seeds; dashed: prompted; circled: crossings."


def markdown(
    result: BreakEven,
    task: str,
    lang: str,
    picture: str | None,
    notes: Sequence[str] = (),
    tables: Sequence[tuple[str, tuple[list[str], list[list[str]]]]] = (),
    second: tuple[str, str] | None = None,
) -> str:
    """The page; `picture` is the file name of the plot beside it. `notes` and `tables` (title, columns, rows): of a curve with
    a teacher; `second`: the title and file name of its plot by log loss."""
    return render(
        "curve_page.md.j2",
        task=task,
        lang=lang,
        title=title(result.metric),
        sentence=sentence(result, lang),
        picture=picture,
        notes=notes,
        tables=tables,
        second=second,
        crossings=(CROSSING_COLUMNS, crossing_rows(result)),
        points=([name or title(result.metric) for name in POINT_COLUMNS], point_rows(result)),
    )


def svg(result: BreakEven, task: str, lang: str) -> bytes:
    """The plot: the same bytes for the same result and libraries. Raises `MissingExtra`."""
    from harness.reports.charts import curve, svg_of

    y_title = f"{title(result.metric)} ({better(result.metric)} is better)"
    return svg_of(curve(chart_rows(result), y_title, f"{task} · {lang} · {result.n:,} test rows", NOTE))


def chart_rows(result: BreakEven) -> list[dict[str, Any]]:
    """The rows of the chart: trained backends, prompted ones, crossings."""
    found = []
    for curve in result.curves:
        for size, point in curve.points.items():
            found.append(_chart_row(curve.name, "trained", size, point))
            if len(point.by_seed) > 1:
                found += [{"name": curve.name, "kind": "seed", "labels": size, "value": value} for value in point.by_seed]
    for line in result.lines:
        shown = f" · {line.labels} labels used" if line.labels else ""
        found.append(_chart_row(line.name + shown, "prompted", line.labels, line.estimate))
    height = {line.name: line.estimate.value for line in result.lines}
    for crossing in result.crossings:
        places = [one.labels for one in crossing.passes] if crossing.falls_back else [crossing.labels]
        for labels in places:
            if 0 < labels < math.inf:
                value = height[crossing.line]
                found.append({"name": crossing.curve, "kind": "crossing", "labels": labels, "value": value})
    return found


def _chart_row(name: str, kind: str, labels: int, found: Estimate) -> dict[str, Any]:
    low, high = (None if math.isnan(bound) else bound for bound in (found.low, found.high))
    return {"name": name, "kind": kind, "labels": labels, "value": found.value, "low": low, "high": high}
