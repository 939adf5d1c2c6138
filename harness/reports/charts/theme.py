"""Colours, fonts and frames of all charts, for light and dark backgrounds; specs contain none of them."""

from __future__ import annotations

from typing import Any

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""The first is built into vl-convert, so that the layout does not depend on the machine; the others have the same widths."""

CATEGORIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5C00", "#000000")
CATEGORIES_DARK = ("#56B4E9", "#E69F00", "#2CC295", "#E59AC6", "#F0E442", "#5E9BFF", "#C9A24B", "#FFFFFF")
"""Okabe and Ito's palette for the colour-blind; lighter on a dark background."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")

RAMP = ("#f1f4f8", "#a9c8e5", "#4f8fc6", "#0a2d5f")
RAMP_DARK = ("#14202f", "#1b4070", "#255890", "#d6e8fb")
"""From the worst to the best; the best has the highest contrast with the background."""

GROUND, GROUND_DARK = "#ffffff", "#0d1117"
"""The background of pictures, and nearly that of the page."""

INK_TURNS = 0.74
"""The shade from which the other text colour is easier to read, on both ramps."""


def config(dark: bool) -> dict[str, Any]:
    """The `config` of Vega-Lite for a light or a dark background, which itself is transparent."""
    ink, soft, line = ("#e6e8eb", "#a3a9b2", "#3a4048") if dark else ("#1c1f23", "#5c636d", "#dfe2e6")
    ground = GROUND_DARK if dark else GROUND
    ramp = list(RAMP_DARK if dark else RAMP)
    return {
        "background": None,
        "font": FONT,
        "padding": 6,
        "view": {"stroke": None},
        "style": {
            "soft": {"color": soft, "stroke": soft},
            "ink": {"color": ink, "stroke": ink},
            "rim": {"color": ground, "stroke": ground},
        },
        "range": {
            "category": list(CATEGORIES_DARK if dark else CATEGORIES),
            "symbol": list(SHAPES),
            "ramp": ramp,
            "heatmap": ramp,
            "ordinal": ["#ffffff", "#000000"] if dark else ["#000000", "#ffffff"],  # the ink on the two halves of the ramp
        },
        "title": {"color": ink, "subtitleColor": soft, "anchor": "start", "fontSize": 14, "subtitleFontSize": 11, "offset": 10},
        "mark": {"color": (CATEGORIES_DARK if dark else CATEGORIES)[0]},
        "axis": {
            "labelColor": ink,
            "titleColor": soft,
            "gridColor": line,
            "domainColor": soft,
            "tickColor": soft,
            "labelFontSize": 11,
            "titleFontSize": 11,
            "titleFontWeight": "normal",
            "labelLimit": 260,
        },
        "legend": {
            "orient": "top",
            "offset": 8,
            "titleOrient": "left",
            "labelColor": ink,
            "titleColor": soft,
            "titleFontWeight": "normal",
            "labelFontSize": 11,
            "titleFontSize": 11,
            "labelLimit": 300,
            "symbolStrokeColor": soft,
        },
        "text": {"color": ink, "fontSize": 11},
    }
