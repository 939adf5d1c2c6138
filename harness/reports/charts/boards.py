"""Charts of whole tables: quality against a price, languages side by side, prompts side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.reports.charts.drawing import NAME, Rows, all_of, data_of, layered, legend, library, spoken, width_of
from harness.reports.charts.grids import across, cell_layers, down

if TYPE_CHECKING:
    import altair as alt

NUMBER = ",.4~r"
"""Format of a price or a speed."""

SIDE, LONGEST = 50, 190
"""Pixels beside the first and the last point, and of a long label."""

MOST_LETTERS = 32
"""Of a label, so that it takes about `LONGEST` pixels."""

LETTER = 5.8
"""Mean width of a letter in pixels: Vega's expressions can't measure a text."""


def quality(
    rows: Rows | None,
    x_title: str,
    y_title: str,
    log_x: bool = True,
    lower_is_better: bool = False,
    less_x_is_better: bool = False,
) -> alt.LayerChart:
    """Quality against a price or a speed: points with their intervals, and the Pareto front.

    Fields: name, how, engine, value, low, high, x, front (bool), key (unique), label (of a point of the front; computed here if
    rows are given). A row without x (on a logarithmic axis: without a positive one) is not drawn.
    """
    alt = library()
    rows = labelled(rows) if rows else rows
    there = "isValid(datum.x) && isValid(datum.value)" + (" && datum.x > 0" if log_x else "")
    scale = alt.Scale(type="log" if log_x else "linear", zero=False, nice=False, padding=SIDE)
    x = alt.X("x:Q", title=x_title, scale=scale, axis=_numbered())
    y = alt.Y("value:Q", title=y_title, scale=_roomy(), axis=alt.Axis(tickCount=7))
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
        tooltip=_tips("name", "how", "engine", "value", "low", "high", "x", "timed"),
    )
    return layered(
        line,
        rules,
        points,
        *_front_labels(base, y, log_x, lower_is_better, less_x_is_better),
        width=width_of(rows),
        height=340,
        description="Quality with its 95% interval, by price or speed; the Pareto front is connected.",
    )


def _roomy() -> Any:
    """A scale with margins around values and intervals, but none below 0 if all are positive."""
    alt = library()
    low, high, value = (f"extent(pluck(data('{NAME}'), '{field}'))" for field in ("low", "high", "value"))
    least = f"(isValid({low}[0]) ? min({low}[0], {value}[0]) : {value}[0])"
    most = f"(isValid({high}[1]) ? max({high}[1], {value}[1]) : {value}[1])"
    room = f"0.06 * max({most} - {least}, 0.02)"
    begin = f"isValid({value}[0]) ? ({least} < 0 ? {least} - {room} : max(0, {least} - {room})) : null"
    end = f"isValid({value}[0]) ? {most} + {room} : null"
    return alt.Scale(zero=False, nice=False, domainMin=alt.ExprRef(begin), domainMax=alt.ExprRef(end))


def _numbered() -> Any:
    """The axis of a price or a speed. If a logarithmic axis spans less than a power of ten, Vega omits most labels of its
    ticks."""
    less = "domain('x')[1] < 10 * domain('x')[0]"
    named = f"datum.label || ({less} ? format(datum.value, '{NUMBER}') : '')"
    return library().Axis(grid=False, tickCount=6, format=NUMBER, labelExpr=named, labelBound=8, labelSeparation=6)


def labelled(rows: Rows) -> Rows:
    """With the labels that `quality` needs."""
    front = [row for row in rows if row["front"]]
    labels = front_labels([(row["name"], row["how"]) for row in front])
    found = dict(zip(map(id, front), labels, strict=True))
    return [{**row, "label": found.get(id(row), row["name"])} for row in rows]


def front_labels(named: Sequence[tuple[str, str]]) -> list[str]:
    """What tells those of a front, given by name and how, apart: of a name that is there more than once also what not all of
    them have."""
    parts: dict[str, list[list[str]]] = {}
    for name, how in named:
        parts.setdefault(name, []).append(how.split(", "))
    labels = []
    for name, how in named:
        alike = parts[name]
        own = [part for part in how.split(", ") if len(alike) > 1 and not all(part in other for other in alike)]
        said = ", ".join(own).removeprefix("trained ")
        labels.append(f"{name} · {said}" if own else name)
    return _cut(labels)


def _cut(labels: list[str]) -> list[str]:
    """Shortened to `MOST_LETTERS` if they stay different: to their beginnings, else to their ends."""
    beginnings = [label if len(label) <= MOST_LETTERS else f"{label[: MOST_LETTERS - 1]}…" for label in labels]
    ends = [label if len(label) <= MOST_LETTERS else f"…{label[1 - MOST_LETTERS :]}" for label in labels]
    return next((found for found in (beginnings, ends) if len(set(found)) == len(set(labels))), labels)


def _front_labels(base: Any, y: Any, log_x: bool, lower_is_better: bool, less_x_is_better: bool) -> list[Any]:
    """Names of the points of the front, on the side without better points; of points close together only the first has one.
    Each has a rim in the colour of the background."""
    alt = library()
    edge = "(datum.at - datum.first)" if less_x_is_better else "(datum.last - datum.at)"  # where labels run to
    way = alt.SortField("x", order="descending" if less_x_is_better else "ascending")
    front = (
        base.transform_calculate(at="log(datum.x)" if log_x else "datum.x")
        .transform_joinaggregate(first="min(at)", last="max(at)", least="min(value)", most="max(value)")
        .transform_filter("datum.front")
        .transform_calculate(wide=f"min({LONGEST}, {LETTER} * length(datum.label))")
        .transform_calculate(edge=f"{SIDE} + (width - {2 * SIDE}) * {edge} / (datum.last - datum.first)")
        .transform_calculate(begin="max(datum.edge - 8, datum.wide)", end="datum.edge - 8 - datum.wide")
        .transform_window(before_end="lag(end)", before_value="lag(value)", sort=[way])
    )
    apart = (
        "!isValid(datum.before_value) || datum.before_end - datum.begin > 10"
        " || abs(datum.value - datum.before_value) > 0.08 * (datum.most - datum.least)"
    )
    beside = "scale('x', datum.x)" if less_x_is_better else "(width - scale('x', datum.x))"
    beyond = f"max(0, datum.wide + 8 - {beside})"  # keeps the label inside the chart
    place: dict[str, Any] = {
        "align": "right" if less_x_is_better else "left",
        "baseline": "top" if lower_is_better else "bottom",
        "dx": alt.ExprRef(f"{beyond} - 8" if less_x_is_better else f"8 - {beyond}"),
        "dy": 8 if lower_is_better else -8,
        "limit": 2 * LONGEST,  # for wide letters, or labels that can't be shortened
        "aria": False,
    }
    named = front.transform_filter(apart).encode(y=y, text="label:N")
    return [named.mark_text(**place, style="rim", strokeWidth=3, strokeJoin="round"), named.mark_text(**place)]


def _tips(*fields: str) -> list[Any]:
    """Tooltips; their titles never contain a name from the data."""
    alt = library()
    formats = {"value": ".3f", "low": ".3f", "high": ".3f", "x": NUMBER}
    return [alt.Tooltip(f"{name}:Q", format=formats[name]) if name in formats else alt.Tooltip(f"{name}:N") for name in fields]


def languages(rows: Rows | None, title: str) -> alt.LayerChart:
    """Values by entry and language. Fields: lang, name, value, text, shade (0 to 1, better is 1), low, high."""
    alt = library()
    base = alt.Chart(data_of(rows)).encode(x=across("lang", None, 96), y=down("name", None))
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
    """How far the prompts of one model are apart. Fields: name, prompt, value, low, high, seeds, unparsed (share).

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
            alt.Tooltip("unparsed:Q", title="unparsed", format=".1%"),
        ],
    )
    return layered(
        rules,
        points,
        width=width_of(rows),
        height=alt.Step(16),
        description="The values of each model's prompts, with 95% intervals; dashed: lowest to highest of several seeds.",
    )
