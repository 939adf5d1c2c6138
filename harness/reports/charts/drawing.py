"""Shared parts of all charts: data, sizes, legends, and the conversion to a picture."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.core.errors import MissingExtra
from harness.core.plain import all_plain
from harness.reports.charts.theme import GROUND, GROUND_DARK, config

if TYPE_CHECKING:
    import altair as alt

Rows = Sequence[Mapping[str, Any]]
NAME = "rows"
WIDTH = 640
SVG = "http://www.w3.org/2000/svg"
VEGA_LITE = "6.4"
"""The version whose schema Altair writes."""


def library() -> Any:
    """Altair, without its slow check of each part against the schema: the tests check whole charts. Raises `MissingExtra`."""
    try:
        import altair
        from altair.utils import schemapi
    except ImportError as error:
        raise MissingExtra("altair", "charts", "Drawing") from error
    schemapi.disable_debug_mode()
    return altair


def data_of(rows: Rows | None) -> Any:
    """The rows, or the name under which the page provides them."""
    alt = library()
    return alt.NamedData(NAME) if rows is None else alt.InlineData(values=[dict(row) for row in rows], name=NAME)


def all_of(field: str) -> Any:
    """A scale of all values of a field in the order of the data, so that the colours and shapes of several layers share a
    legend."""
    alt = library()
    return alt.Scale(domain=alt.ExprRef(f"pluck(data('{NAME}'), '{field}')"))


def spoken(chart: Any, *fields: str) -> Any:
    """Marks with a description for screen readers, made of these fields and the value. Vega-Lite's own one is an expression of
    the axis titles, without quoting of backslashes."""
    words = " + ', ' + ".join(f"datum.{field}" for field in fields)
    return chart.transform_calculate(said=f"{words} + ': ' + format(datum.value, '.3f')").encode(
        description=library().Description("said:N")
    )


def layered(*layers: Any, colours: str = "shared", **properties: Any) -> alt.LayerChart:
    """Layers as one chart; `colours="independent"` if one layer's colour is that of its text."""
    chart: alt.LayerChart = library().layer(*layers).resolve_scale(color=colours).properties(**properties)
    return chart


def titled(title: str, note: str = "") -> Any:
    """A chart's title with a line of explanation below it."""
    return library().TitleParams(title, subtitle=note) if note else library().TitleParams(title)


def legend(title: str | None, columns: int) -> Any:
    """Above the chart, so that a narrow page keeps its width for the points."""
    return library().Legend(title=title, columns=columns, symbolOpacity=1, symbolSize=70)


def width_of(rows: Rows | None) -> Any:
    """The width of its place on the page; a fixed one for a picture."""
    return "container" if rows is None else WIDTH


def with_rows(spec: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """The spec of a chart that was made without rows, as if it had been made with them. Altair needs longer to make a chart
    than vl-convert to draw it, so one spec serves many pictures."""
    width = {"width": WIDTH} if spec.get("width") == width_of(None) else {}
    return {**spec, **width, "data": {"values": [dict(row) for row in rows], "name": NAME}}


def svg_of(chart: alt.TopLevelMixin | Mapping[str, Any]) -> bytes:
    """The picture of a chart with rows, or of its spec: the same bytes for the same chart and version of vl-convert; no
    network. It is light or dark like the page around it, with its own background. Raises `MissingExtra`."""
    try:
        import vl_convert
    except ImportError as error:
        raise MissingExtra("vl-convert-python", "charts", "Drawing") from error
    spec = all_plain(
        chart if isinstance(chart, Mapping) else chart.to_dict(validate=False)
    )  # a character that XML forbids crashes vl-convert
    light, dark = (
        vl_convert.vegalite_to_svg(
            spec, vl_version=VEGA_LITE, config={**config(night), "background": ground}, allowed_base_urls=[]
        )
        for night, ground in ((False, GROUND), (True, GROUND_DARK))
    )
    return _of_both(light, dark)


def _of_both(light: str, dark: str) -> bytes:
    """Join two pictures that differ only in colours: the light one, with CSS rules for a dark page."""
    for prefix, address in (("", SVG), ("xlink", "http://www.w3.org/1999/xlink")):
        ElementTree.register_namespace(prefix, address)
    drawn = ElementTree.fromstring(light)
    names: dict[str, str] = {}
    for one, other in zip(drawn.iter(), ElementTree.fromstring(dark).iter(), strict=True):
        paints = [(name, other.get(name, "inherit")) for name in ("fill", "stroke") if one.get(name) != other.get(name)]
        if paints:
            rule = "".join(f"{name}:{paint};" for name, paint in paints)
            name = names.setdefault(rule, f"d{len(names)}")
            one.set("class", f"{one.get('class', '')} {name}".strip())
    style = ElementTree.Element(f"{{{SVG}}}style")
    style.text = f"@media (prefers-color-scheme:dark){{{''.join(f'.{name}{{{rule}}}' for rule, name in names.items())}}}"
    drawn.insert(0, style)
    return f"{ElementTree.tostring(drawn, encoding='unicode')}\n".encode()
