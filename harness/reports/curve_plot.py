"""A learning curve as a picture: curves with bands, lines, and where they cross."""

from __future__ import annotations

import math
from typing import Any

from harness.analysis.break_even import BreakEven, Estimate
from harness.records.entries import TITLES
from harness.statistics.metrics import LOWER_IS_BETTER

NOTE = "Bands: 95% interval of test rows and seeds; small dots: single seeds; dashed: prompted; circled: crossings."


def svg(result: BreakEven, task: str, lang: str) -> bytes:
    """The same bytes for the same result and libraries. Needs the extra `charts`."""
    from harness.reports.charts import curve, svg_of

    title = TITLES.get(result.metric, result.metric)
    better = "lower" if result.metric in LOWER_IS_BETTER else "higher"
    heading = f"{task} · {lang} · {result.n:,} test rows"
    return svg_of(curve(rows(result), f"{title} ({better} is better)", heading, NOTE))


def rows(result: BreakEven) -> list[dict[str, Any]]:
    """The rows of the chart: trained backends first, then prompted ones, then where they cross."""
    found = []
    for curve in result.curves:
        for size, point in curve.points.items():
            found.append(_row(curve.name, "trained", size, point))
            if len(point.by_seed) > 1:
                found += [{"name": curve.name, "kind": "seed", "labels": size, "value": value} for value in point.by_seed]
    for line in result.lines:
        shown = f" · {line.labels} labels shown" if line.labels else ""
        found.append(_row(line.name + shown, "prompted", line.labels, line.estimate))
    height = {line.name: line.estimate.value for line in result.lines}
    for crossing in result.crossings:
        if 0 < crossing.labels < math.inf:
            labels, value = crossing.labels, height[crossing.line]
            found.append({"name": crossing.curve, "kind": "crossing", "labels": labels, "value": value})
    return found


def _row(name: str, kind: str, labels: int, found: Estimate) -> dict[str, Any]:
    low, high = (None if math.isnan(bound) else bound for bound in (found.low, found.high))
    return {"name": name, "kind": kind, "labels": labels, "value": found.value, "low": low, "high": high}
