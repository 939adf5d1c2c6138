"""Charts in Vega-Lite, by Altair: the page embeds their specs, pictures are drawn from the same ones.

Each function takes its data as `rows`, or None: then the spec names its data ("rows") and has no values, and whoever embeds it
provides them. A name stands in the data alone, never in an expression, a format or a template, so that it can't be anything
but a name. `svg_of` draws a complete chart.
"""

from harness.reports.charts.boards import languages, prompts, quality
from harness.reports.charts.drawing import svg_of
from harness.reports.charts.grids import confusion, transfer
from harness.reports.charts.lines import curve, reliability
from harness.reports.charts.theme import config

__all__ = ["config", "confusion", "curve", "languages", "prompts", "quality", "reliability", "svg_of", "transfer"]
