"""A grid as colours, for terminal and SVG: one ramp from pale to dark blue, which the colour-blind and grey print can read."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from harness.studies.matrix import Grid, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Colour = tuple[float, float, float]
RAMP: tuple[Colour, ...] = ((0.945, 0.957, 0.973), (0.663, 0.784, 0.898), (0.310, 0.561, 0.776), (0.039, 0.176, 0.373))
INK, PAPER, GREY = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.45, 0.45, 0.47)
LEVELS = 48  # of the scale: matplotlib draws 50 and more as a picture of dots


def colour(share: float) -> Colour:
    """Of a share from 0 (pale, the worst) to 1 (dark, the best); red, green and blue from 0 to 1."""
    place = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    index = min(int(place), len(RAMP) - 2)
    part = place - index
    red, green, blue = (low + part * (high - low) for low, high in zip(RAMP[index], RAMP[index + 1], strict=True))
    return red, green, blue


def ink_on(background: Colour) -> Colour:
    """Dark or white text, whichever stands out more."""
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
    """The heat map, the same bytes for the same grid and matplotlib. Needs the extra `charts`."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # A name that holds $ is no formula.
    plain: Any = {"svg.hashsalt": "bench", "svg.fonttype": "path", "text.parse_math": False, "font.family": "DejaVu Sans"}
    with rc_context(plain):
        width, height = 1.15 * len(grid.langs), 0.62 * len(grid.rows)
        figure = Figure(figsize=(width + 3.0, height + 1.5), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        _draw_cells(axes, grid)
        _label(figure, axes, grid)
        _draw_scale(figure, axes, grid)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight", pad_inches=0.1)
    return file.getvalue()


def _draw_cells(axes: Axes, grid: Grid) -> None:
    from matplotlib.patches import Rectangle

    shares = grid.shares()
    for down, row in enumerate(grid.rows):
        for across, lang in enumerate(grid.langs):
            share = shares.get((row, lang))
            fill = PAPER if share is None else colour(share)
            axes.add_patch(Rectangle((across - 0.5, down - 0.5), 1, 1, facecolor=fill, edgecolor=PAPER, linewidth=2.5))
            if grid.is_trained(row, lang):  # inside the cell, so that frames of neighbours do not touch
                frame = Rectangle((across - 0.455, down - 0.43), 0.91, 0.86, fill=False, edgecolor=ink_on(fill), linewidth=1.3)
                axes.add_patch(frame)
            _write(axes, grid, row, lang, (across, down), ink_on(fill))


def _write(axes: Axes, grid: Grid, row: Row, lang: str, where: tuple[int, int], ink: Colour) -> None:
    """The value above its interval."""
    value, below = grid.texts(row, lang)
    weight = "bold" if (row, lang) in grid.best else "normal"
    up = 0.12 if below else 0.0
    axes.text(where[0], where[1] - up, value, ha="center", va="center", color=ink, fontsize=10.5, fontweight=weight)
    if below:
        axes.text(where[0], where[1] + 0.21, below, ha="center", va="center", color=ink, fontsize=7)


def _label(figure: Figure, axes: Axes, grid: Grid) -> None:
    axes.set_xlim(-0.5, len(grid.langs) - 0.5)
    axes.set_ylim(len(grid.rows) - 0.5, -0.5)  # the first row on top
    axes.set_xticks(range(len(grid.langs)), [f"{lang}\nn = {grid.counts[lang]}" for lang in grid.langs])
    axes.set_yticks(range(len(grid.rows)), [row.label for row in grid.rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    mixed = any(not row.own for row in grid.rows)
    axes.set_ylabel("trained on (validated on)" if mixed else "trained and validated on", labelpad=8)
    axes.set_title(f"{grid.backend} · {grid.task}", loc="left", fontsize=12, fontweight="bold", pad=10)
    spread = "Small: 95% interval." if len(grid.seeds) == 1 else f"Mean of {len(grid.seeds)} seeds; small: smallest–largest."
    axes.set_xlabel("tested on", labelpad=6)
    note = f"Framed: tested in a training language. Bold: best of its column. {spread}"
    figure.supxlabel(note, fontsize=7, color=GREY)


def _draw_scale(figure: Figure, axes: Axes, grid: Grid) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    values = [cell.value for cell in grid.cells.values() if cell.value is not None]
    if not values or min(values) == max(values):
        return
    colours = [colour(level / (LEVELS - 1)) for level in range(LEVELS)]
    ramp = ListedColormap(colours[::-1] if grid.lower_is_better else colours)
    bar = figure.colorbar(ScalarMappable(Normalize(min(values), max(values)), ramp), ax=axes, aspect=14, pad=0.03)
    bar.set_label(f"{grid.title} ({'lower' if grid.lower_is_better else 'higher'} is better)")
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set_edgecolor("face")  # or thin lines show between the levels
