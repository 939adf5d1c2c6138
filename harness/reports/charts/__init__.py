"""Charts in Vega-Lite, by Altair: the page embeds their specs, and pictures are drawn from the same specs.

Each function takes its data as `rows`, or None: then the spec refers to data named "rows", which the page provides. Names from
the data are never part of an expression, a format or a template. `svg_of` draws a complete chart.
"""

from harness.reports.charts.boards import labelled, languages, prompts, quality
from harness.reports.charts.drawing import svg_of, with_rows
from harness.reports.charts.grids import confusion, transfer
from harness.reports.charts.lines import curve, reliability
from harness.reports.charts.theme import config

__all__ = [
    "config",
    "confusion",
    "curve",
    "labelled",
    "languages",
    "prompts",
    "quality",
    "reliability",
    "svg_of",
    "transfer",
    "with_rows",
]
