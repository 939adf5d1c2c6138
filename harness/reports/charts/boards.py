"""Charts of whole tables: quality against a price, languages side by side, prompts side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.reports.charts.drawing import Rows, all_of, data_of, layered, legend, library, spoken, width_of
from harness.reports.charts.grids import across, cell_layers, down

if TYPE_CHECKING:
    import altair as alt


def quality(
    rows: Rows | None,
    x_title: str,
    y_title: str,
    log_x: bool = True,
    lower_is_better: bool = False,
    less_x_is_better: bool = False,
) -> alt.LayerChart:
    """Quality against a price or a speed: points with their intervals, and the line of those that nothing beats in both.

    Fields: name, how, engine, value, low, high, x, front (bool), key (unique). A row without x (on a logarithmic axis: with
    none above 0) is not drawn; one without an interval is a point alone.
    """
    alt = library()
    there = "isValid(datum.x) && isValid(datum.value)" + (" && datum.x > 0" if log_x else "")
    scale = alt.Scale(type="log" if log_x else "linear", zero=False, nice=False, padding=50)
    x = alt.X("x:Q", title=x_title, scale=scale, axis=alt.Axis(grid=False, tickCount=6, format=",.4~r"))
    y = alt.Y("value:Q", title=y_title, scale=alt.Scale(zero=False, padding=18), axis=alt.Axis(tickCount=7))
    base = alt.Chart(data_of(rows)).transform_filter(there).encode(x=x)
    line = (
        base.transform_filter("datum.front")
        .mark_line(style="soft", aria=False, strokeDash=[4, 3], strokeWidth=1.2)
        .encode(y=y, order=alt.Order("x:Q"))
    )
    rules = (
        base.transform_filter("isValid(datum.low) && isValid(datum.high)")
        .mark_rule(style="soft", aria=False, strokeWidth=1.2, opacity=0.45)
        .encode(y=alt.Y("low:Q", title=y_title), y2="high:Q")
    )
    points = spoken(base.mark_point(size=75, filled=True), "name", "how").encode(
        y=y,
        color=alt.Color("engine:N", scale=all_of("engine"), legend=legend("engine", 6)),
        shape=alt.Shape("engine:N", scale=all_of("engine"), legend=legend("engine", 6)),
        opacity=alt.condition("datum.front", alt.value(1), alt.value(0.6)),
        tooltip=_tips("name", "how", "engine", "value", "low", "high", "x"),
    )
    labels = _front_labels(base, y, log_x, lower_is_better, less_x_is_better)
    return layered(
        line,
        rules,
        points,
        labels,
        width=width_of(rows),
        height=340,
        description="Quality and its 95% interval, by what it takes; the front is joined.",
    )


def _front_labels(base: Any, y: Any, log_x: bool, lower_is_better: bool, less_x_is_better: bool) -> Any:
    """Names, on the side where nothing can stand that would be better; of points close together the first has one."""
    alt = library()
    way = alt.SortField("x", order="descending" if less_x_is_better else "ascending")
    front = (
        base.transform_calculate(at="log(datum.x)" if log_x else "datum.x")
        .transform_joinaggregate(first="min(at)", last="max(at)", least="min(value)", most="max(value)")
        .transform_filter("datum.front")
        .transform_window(before_at="lag(at)", before_value="lag(value)", sort=[way])
    )
    apart = (
        "!isValid(datum.before_at) || abs(datum.at - datum.before_at) > 0.2 * (datum.last - datum.first)"
        " || abs(datum.value - datum.before_value) > 0.08 * (datum.most - datum.least)"
    )
    return (
        front.transform_filter(apart)
        .mark_text(
            align="right" if less_x_is_better else "left",
            baseline="top" if lower_is_better else "bottom",
            dx=-6 if less_x_is_better else 6,
            dy=5 if lower_is_better else -5,
            limit=170,
            aria=False,
        )
        .encode(y=y, text="name:N")
    )


def _tips(*fields: str) -> list[Any]:
    """Tooltips; their titles are our words, never a name from the data."""
    alt = library()
    formats = {"value": ".3f", "low": ".3f", "high": ".3f", "x": ",.4~r"}
    return [alt.Tooltip(f"{name}:Q", format=formats[name]) if name in formats else alt.Tooltip(f"{name}:N") for name in fields]


def languages(rows: Rows | None, title: str) -> alt.LayerChart:
    """What each row has in each language. Fields: lang, name, value, text, shade (0 to 1, better is 1), low, high."""
    alt = library()
    base = alt.Chart(data_of(rows)).encode(x=across("lang", None), y=down("name", None))
    layers = cell_layers(base, _tips("name", "lang", "value", "low", "high"))
    return layered(
        *layers,
        colours="independent",
        width=alt.Step(96),
        height=alt.Step(26),
        title=title,
        description="Quality by language; the stronger the colour, the better.",
    )


def prompts(rows: Rows | None, title: str) -> alt.LayerChart:
    """How far the prompts of one model are apart. Fields: name, prompt, value, low, high, seeds, unread (share).

    Of several seeds `low` and `high` are their smallest and largest value, and drawn dashed; else the 95% interval.
    """
    alt = library()
    y = alt.Y("name:N", title=None, sort=None, scale=alt.Scale(paddingInner=0.35))
    base = alt.Chart(data_of(rows)).transform_filter("isValid(datum.value)")
    whisker = "datum.seeds > 1 ? datum.seeds + ' seeds, lowest to highest' : '95% interval'"
    base = base.transform_calculate(whisker=whisker).encode(y=y, yOffset=alt.YOffset("prompt:N", sort=None))
    rules = (
        base.transform_filter("isValid(datum.low) && isValid(datum.high)")
        .mark_rule(style="soft", aria=False, strokeWidth=1.5, opacity=0.6)
        .encode(
            x=alt.X("low:Q", title=title),
            x2="high:Q",
            strokeDash=alt.condition("datum.seeds > 1", alt.value([4, 3]), alt.value([1, 0])),
        )
    )
    points = spoken(base.mark_point(size=65, filled=True, opacity=1), "name", "prompt").encode(
        x=alt.X("value:Q", title=title, scale=alt.Scale(zero=False, padding=10), axis=alt.Axis(tickCount=8)),
        color=alt.Color("prompt:N", scale=all_of("prompt"), legend=legend("prompt", 5)),
        shape=alt.Shape("prompt:N", scale=all_of("prompt"), legend=legend("prompt", 5)),
        tooltip=[
            *_tips("name", "prompt", "value", "low", "high", "whisker"),
            alt.Tooltip("unread:Q", title="not read", format=".1%"),
        ],
    )
    return layered(
        rules,
        points,
        width=width_of(rows),
        height=alt.Step(16),
        description="The values of each model's prompts, with 95% intervals; dashed: lowest to highest of several seeds.",
    )
