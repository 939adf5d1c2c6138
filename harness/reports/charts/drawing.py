"""What all charts share: where their data come from, how large they are, and how they become a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import MissingExtra
from harness.reports.charts.theme import config

if TYPE_CHECKING:
    import altair as alt

Rows = Sequence[Mapping[str, Any]]
NAME = "rows"
WIDTH = 640
VEGA_LITE = "6.4"
"""The version whose schema Altair writes."""


def library() -> Any:
    """Altair. Raises `MissingExtra`."""
    try:
        import altair
    except ImportError as error:
        raise MissingExtra("altair", "charts", "Drawing") from error
    return altair


def data_of(rows: Rows | None) -> Any:
    """The rows themselves, or the name under which the page provides them."""
    alt = library()
    return alt.NamedData(NAME) if rows is None else alt.InlineData(values=[dict(row) for row in rows], name=NAME)


def all_of(field: str) -> Any:
    """A scale of all values of a field in the order of the data, whichever rows a layer takes: so that colours and shapes,
    which are not of the same layers, share a legend."""
    alt = library()
    return alt.Scale(domain=alt.ExprRef(f"pluck(data('{NAME}'), '{field}')"))


def spoken(chart: Any, *fields: str) -> Any:
    """Marks that a screen reader names by these fields and their value.

    Without it Vega-Lite makes an expression of the titles of the axes, and does not quote a backslash in them.
    """
    words = " + ', ' + ".join(f"datum.{field}" for field in fields)
    return chart.transform_calculate(said=f"{words} + ': ' + format(datum.value, '.3f')").encode(
        description=library().Description("said:N")
    )


def layered(*layers: Any, colours: str = "shared", **properties: Any) -> alt.LayerChart:
    """Layers as one chart; `colours="independent"` where one layer's colour is its ink."""
    chart: alt.LayerChart = library().layer(*layers).resolve_scale(color=colours).properties(**properties)
    return chart


def titled(title: str, note: str = "") -> Any:
    """A chart's title with a line of explanation below it."""
    return library().TitleParams(title, subtitle=note) if note else library().TitleParams(title)


def legend(title: str | None, columns: int) -> Any:
    """Above the chart, so that a narrow page keeps its width for the points."""
    return library().Legend(title=title, columns=columns, symbolOpacity=1, symbolSize=70)


def width_of(rows: Rows | None) -> Any:
    """As wide as its place on the page; a picture has a width of its own."""
    return "container" if rows is None else WIDTH


def svg_of(chart: alt.TopLevelMixin, dark: bool = False) -> bytes:
    """The picture of a chart that has rows: the same bytes for the same chart and version of vl-convert; no network.

    It has a ground of its own, as it may stand on a page of any colour. Raises `MissingExtra`.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise MissingExtra("vl-convert-python", "charts", "Drawing") from error
    looks = {**config(dark), "background": "#0d1117" if dark else "#ffffff"}
    svg = vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=VEGA_LITE, config=looks, allowed_base_urls=[])
    return svg.encode() + b"\n"
