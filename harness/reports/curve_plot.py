"""A learning curve as a picture: curves with bands, lines, and where they cross."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from harness.records.entries import TITLES
from harness.statistics.break_even import BreakEven
from harness.statistics.metrics import LOWER_IS_BETTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which the colour-blind can tell apart; markers and dashes for grey print.
TRAINED = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
PROMPTED = ("#555555", "#000000", "#7A5C00", "#8A8A8A")
MARKERS, DASHES = ("o", "s", "^", "D"), ("--", ":", "-.", (0, (1, 4)))
GREY = "#737378"


def svg(result: BreakEven, task: str, lang: str) -> bytes:
    """The same bytes for the same result and matplotlib. Needs the extra `charts`."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    plain: Any = {"svg.hashsalt": "bench", "svg.fonttype": "path", "text.parse_math": False, "font.family": "DejaVu Sans"}
    with rc_context(plain):
        figure = Figure(figsize=(8.2, 4.6), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        _draw_lines(axes, result)
        _draw_curves(axes, result)
        _draw_crossings(axes, result)
        _label(axes, result, task, lang)
        figure.legend(fontsize=8, frameon=False, loc="outside lower left", ncols=2)
        note = "Bands: 95% interval of test rows and seeds. Small dots: single seeds. Circled: crossings."
        axes.annotate(note, (1.0, 1.015), xycoords="axes fraction", ha="right", fontsize=7, color=GREY)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight", pad_inches=0.1)
    return file.getvalue()


def _draw_lines(axes: Axes, result: BreakEven) -> None:
    for place, line in enumerate(result.lines):
        colour, found = PROMPTED[place % len(PROMPTED)], line.estimate
        labels = f" · {line.labels} labels shown" if line.labels else ""
        axes.axhline(found.value, color=colour, linestyle=DASHES[place % len(DASHES)], linewidth=1.4, label=line.name + labels)
        if not math.isnan(found.low):
            axes.axhspan(found.low, found.high, color=colour, alpha=0.08, linewidth=0)


def _draw_curves(axes: Axes, result: BreakEven) -> None:
    for place, curve in enumerate(result.curves):
        colour, sizes, points = TRAINED[place % len(TRAINED)], list(curve.points), list(curve.points.values())
        low, high = [point.low for point in points], [point.high for point in points]
        axes.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
        values = [point.value for point in points]
        axes.plot(
            sizes, values, color=colour, marker=MARKERS[place % len(MARKERS)], linewidth=1.8, markersize=5, label=curve.name
        )
        for size, point in zip(sizes, points, strict=True):
            axes.scatter([size] * len(point.by_seed), point.by_seed, color=colour, s=5, alpha=0.6, linewidths=0, zorder=3)


def _draw_crossings(axes: Axes, result: BreakEven) -> None:
    height = {line.name: line.estimate.value for line in result.lines}
    for found in result.crossings:
        if 0 < found.labels < math.inf:
            axes.scatter(
                [found.labels], [height[found.line]], s=70, facecolors="none", edgecolors="black", linewidths=1.2, zorder=4
            )


def _label(axes: Axes, result: BreakEven, task: str, lang: str) -> None:
    sizes = sorted({size for curve in result.curves for size in curve.points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    title = TITLES.get(result.metric, result.metric)
    axes.set_ylabel(f"{title} ({'lower' if result.metric in LOWER_IS_BETTER else 'higher'} is better)")
    axes.set_xlabel("training labels")
    axes.set_title(f"{task} · {lang} · {result.n:,} test rows", loc="left", fontsize=11, fontweight="bold", pad=18)
