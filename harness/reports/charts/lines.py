"""Learning curves and reliability diagrams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reports.charts.drawing import Rows, all_of, data_of, layered, legend, library, spoken, titled, width_of

if TYPE_CHECKING:
    import altair as alt


def curve(rows: Rows | None, title: str, heading: str = "", note: str = "") -> alt.LayerChart:
    """Quality by number of training labels. Fields: name, kind, labels, value, low, high; `title` is that of the metric.

    kind: "trained" (a point of a curve, with its interval), "seed" (one seed of it), "prompted" (a line over all numbers of
    labels, with its interval), "crossing" (where a curve reaches a line).
    """
    alt = library()
    base = alt.Chart(data_of(rows))
    sizes = sorted({row["labels"] for row in rows if row["kind"] == "trained"}) if rows else []
    axis = alt.Axis(format=",d", **({"values": sizes} if sizes else {"tickCount": 8}), grid=False, labelOverlap=True)
    x = alt.X("labels:Q", title="training labels", scale=alt.Scale(type="log", base=2, nice=False, padding=10), axis=axis)
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    colour = alt.Color("name:N", scale=all_of("name"), legend=legend(None, 2))
    shape = alt.Shape("name:N", scale=all_of("name"), legend=legend(None, 2))
    trained, prompted = (base.transform_filter(f"datum.kind == '{kind}'") for kind in ("trained", "prompted"))
    known = "isValid(datum.low) && isValid(datum.high)"
    tips = [
        alt.Tooltip("name:N"),
        alt.Tooltip("labels:Q", format=","),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "low", "high")),
    ]
    strips = (
        prompted.transform_filter(known)
        .mark_rect(aria=False, opacity=0.1)
        .encode(y=alt.Y("low:Q", title=title), y2="high:Q", color=colour)
    )
    rules = spoken(prompted.mark_rule(strokeDash=[6, 4], strokeWidth=1.6), "name").encode(y=y, color=colour, tooltip=tips)
    bands = (
        trained.transform_filter(known)
        .mark_area(aria=False, opacity=0.16, line=False)
        .encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q", color=colour)
    )
    curves = trained.mark_line(aria=False, strokeWidth=2).encode(x=x, y=y, color=colour)
    points = spoken(trained.mark_point(size=55, filled=True, opacity=1), "name", "labels").encode(
        x=x, y=y, color=colour, shape=shape, tooltip=tips
    )
    seeds = (
        base.transform_filter("datum.kind == 'seed'")
        .mark_circle(aria=False, size=14, opacity=0.7)
        .encode(x=x, y=y, color=colour)
    )
    crossed = base.transform_filter("datum.kind == 'crossing'")
    circles = crossed.mark_point(style="ink", size=150, shape="circle", strokeWidth=1.6, filled=False)
    crossings = spoken(circles, "name", "labels").encode(x=x, y=y, tooltip=tips)
    ends = prompted.mark_point(aria=False, size=55, filled=True, opacity=1).encode(
        x=alt.value("width"), y=y, color=colour, shape=shape
    )
    titles = {"title": titled(heading, note)} if heading else {}
    return layered(
        strips,
        rules,
        ends,
        bands,
        curves,
        seeds,
        points,
        crossings,
        width=width_of(rows),
        height=360,
        description="Quality by number of training labels, with 95% intervals; circles where a curve reaches a line.",
        **titles,
    )


def reliability(rows: Rows | None) -> alt.LayerChart:
    """Accuracy by confidence. Fields: low, high (bounds of the bin), confidence, accuracy, count."""
    alt = library()
    unit = alt.Scale(domain=[0, 1])
    x, y = alt.X("confidence:Q", title="confidence", scale=unit), alt.Y("accuracy:Q", title="accuracy", scale=unit)
    data = alt.Chart(data_of(rows))
    diagonal = (
        data.transform_aggregate(bins="count()")  # one line, and not one for each bin
        .mark_rule(style="soft", aria=False, strokeDash=[4, 4], strokeWidth=1.2)
        .encode(x=alt.XDatum(0, scale=unit), y=alt.YDatum(0, scale=unit), x2=alt.X2Datum(1), y2=alt.Y2Datum(1))
    )
    base = data.transform_filter("datum.count > 0")
    bars = base.mark_bar(opacity=0.25).encode(x=alt.X("low:Q", bin="binned", scale=unit, title="confidence"), x2="high:Q", y=y)
    tips = [
        *(alt.Tooltip(f"{name}:Q", format=".2f") for name in ("low", "high")),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("confidence", "accuracy")),
        alt.Tooltip("count:Q", format=","),
    ]
    points = base.mark_point(filled=True, opacity=1).encode(
        x=x,
        y=y,
        size=alt.Size("count:Q", legend=alt.Legend(title="rows", tickCount=3), scale=alt.Scale(range=[20, 260])),
        tooltip=tips,
    )
    return layered(
        bars,
        diagonal,
        points,
        width=320 if rows is not None else "container",
        height=320,
        description="Accuracy by confidence; on the diagonal a confidence is right on average.",
    )
