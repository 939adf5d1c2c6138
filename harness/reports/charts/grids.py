"""Heat maps with the value in each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.reports.charts.drawing import Rows, data_of, layered, library, titled
from harness.reports.charts.theme import INK_TURNS

if TYPE_CHECKING:
    import altair as alt

GAP = 0.04
"""Between two cells, as a share of a cell."""


def cell_layers(base: Any, tooltip: list[Any], shade: str = "shade", text: str = "text", dy: int = 0) -> list[Any]:
    """Cells coloured by their shade (0 to 1), and their text in black or white."""
    alt = library()
    fill = alt.Color(f"{shade}:Q", scale=alt.Scale(domain=[0, 1], range="ramp", clamp=True), legend=None)
    cells = base.mark_rect(stroke=None, cornerRadius=3).encode(color=fill, tooltip=tooltip)
    return [cells, base.mark_text(dy=dy).encode(text=f"{text}:N", color=ink(shade))]


def ink(shade: str) -> Any:
    """Black or white text, by the shade beneath."""
    alt = library()
    return alt.Color(f"{shade}:Q", scale=alt.Scale(type="threshold", domain=[INK_TURNS], range="ordinal"), legend=None)


def across(field: str, title: str | None, width: int) -> Any:
    """A column of `width` pixels for each value, labelled above."""
    alt = library()
    axis = alt.Axis(orient="top", labelAngle=0, ticks=False, domain=False, labelPadding=6, labelLimit=width - 4)
    return alt.X(f"{field}:N", title=title, scale=alt.Scale(paddingInner=GAP), axis=axis, sort=None)


def down(field: str, title: str | None) -> Any:
    """A line for each value, labelled on the left."""
    alt = library()
    axis = alt.Axis(ticks=False, domain=False, labelPadding=6, labelLimit=420)
    return alt.Y(f"{field}:N", title=title, scale=alt.Scale(paddingInner=GAP), axis=axis, sort=None)


def transfer(rows: Rows | None, title: str, note: str = "") -> alt.LayerChart:
    """Trained on × tested on. Fields: train, lang, value, text, below (its interval), shade, trained (bool), best (bool).

    A cell without a shade (no run, no value) has only its text.
    """
    alt = library()
    base = alt.Chart(data_of(rows)).encode(x=across("lang", "tested on", 110), y=down("train", "trained on"))
    tips = [alt.Tooltip(f"{name}:N") for name in ("train", "lang", "text", "below")]
    cells, _ = cell_layers(base, tips)
    ground = base.mark_rect(style="soft", opacity=0.08, cornerRadius=3)  # keeps empty rows
    inked = base.encode(color=ink("shade"))
    inset = alt.RelativeBandSize(0.93)
    frame = inked.transform_filter("datum.trained").mark_rect(
        filled=False, strokeWidth=1.3, cornerRadius=2, width=inset, height=alt.RelativeBandSize(0.85)
    )
    plain = inked.transform_filter("!datum.best").mark_text(fontSize=13, dy=-5).encode(text="text:N")
    best = inked.transform_filter("datum.best").mark_text(fontSize=13, dy=-5, fontWeight="bold").encode(text="text:N")
    none = base.transform_filter("!isValid(datum.shade)").mark_text(style="soft").encode(text="text:N")
    below = inked.mark_text(fontSize=11, dy=11).encode(text="below:N")
    return layered(
        ground,
        cells,
        frame,
        plain,
        best,
        below,
        none,
        colours="independent",
        width=alt.Step(110),
        height=alt.Step(46),
        title=titled(title, note),
        description="Quality by training and test language; the stronger the colour, the better.",
    )


def confusion(rows: Rows | None) -> alt.LayerChart:
    """What was answered for each label. Fields: truth, answer, count, share (of the truth's row), order_truth, order_answer."""
    alt = library()
    base = alt.Chart(data_of(rows)).encode(
        x=across("answer", "answer", 64).sort(alt.EncodingSortField("order_answer", op="min")),
        y=down("truth", "truth").sort(alt.EncodingSortField("order_truth", op="min")),
    )
    tips = [alt.Tooltip("truth:N"), alt.Tooltip("answer:N"), alt.Tooltip("count:Q"), alt.Tooltip("share:Q", format=".1%")]
    layers = cell_layers(base, tips, shade="share", text="count")
    return layered(
        *layers,
        colours="independent",
        width=alt.Step(64),
        height=alt.Step(36),
        description="Rows by their label and the answer given.",
    )
