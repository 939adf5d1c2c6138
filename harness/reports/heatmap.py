"""The heat map of a grid, for terminal and SVG: one ramp from pale to dark blue, readable for the colour-blind and in grey."""

from __future__ import annotations

from typing import Any

from harness.reports.charts import theme
from harness.studies.transfer import Grid

Colour = tuple[float, float, float]


def rgb_of(text: str) -> Colour:
    """Of `#rrggbb`."""
    red, green, blue = (int(text[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue


RAMP = tuple(rgb_of(step) for step in theme.RAMP)
INK, PAPER = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def colour(share: float) -> Colour:
    """The colour of a share from 0 (pale, the worst) to 1 (dark, the best)."""
    place = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    index = min(int(place), len(RAMP) - 2)
    part = place - index
    red, green, blue = (low + part * (high - low) for low, high in zip(RAMP[index], RAMP[index + 1], strict=True))
    return red, green, blue


def ink_on(background: Colour) -> Colour:
    """Black or white text, whichever has more contrast."""
    return max((INK, PAPER), key=lambda ink: contrast(ink, background))


def contrast(one: Colour, other: Colour) -> float:
    """Contrast ratio of WCAG 2.1, from 1 (equal) to 21 (black on white)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(rgb: Colour) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def hex_of(rgb: Colour) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def svg(grid: Grid) -> bytes:
    """The heat map: the same bytes for the same grid and libraries. Raises `MissingExtra`."""
    from harness.reports.charts import svg_of, transfer

    spread = "small: 95% interval" if len(grid.seeds) == 1 else f"mean of {len(grid.seeds)} seeds; small: smallest and largest"
    validated = "" if all(row.own for row in grid.rows) else "; in parentheses: whose validation rows chose the checkpoint"
    better = "lower" if grid.lower_is_better else "higher"
    title = f"{grid.backend} · {grid.task} · {grid.title} ({better} is better)"
    note = f"Framed: tested in a training language; bold: best of its column; {spread}{validated}."
    return svg_of(transfer(cells(grid), title, note))


def cells(grid: Grid) -> list[dict[str, Any]]:
    """The rows of the chart."""
    shares = grid.shares()
    found = []
    for row in grid.rows:
        for lang in grid.langs:
            cell = grid.cells.get((row, lang))
            text, below = grid.texts(row, lang)
            found.append(
                {
                    "train": row.label,
                    "lang": f"{lang} (n = {grid.counts[lang]:,})",
                    "value": cell and cell.value,
                    "text": text,
                    "below": below,
                    "shade": shares.get((row, lang)),
                    "trained": grid.is_trained(row, lang),
                    "best": (row, lang) in grid.best,
                }
            )
    return found
