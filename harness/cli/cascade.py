"""`bench analyze cascade`: a quick model answers where it is sure, a better one the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import RESULTS, Json, Results, finite_number, open_store, print_json, print_table
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.analysis.cascade import Cascade, Choice, Point


def cascade_command(
    first: Annotated[str, typer.Argument(metavar="FIRST", help="Run that answers where it is sure; it needs probabilities.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="Run that answers the rest.")],
    confidence: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="X", help="Your own threshold; default: chosen on both models' validation runs."),
    ] = None,
    metric: Annotated[str, typer.Option(metavar="NAME", help="accuracy, macro_f1, mae or qwk.")] = "accuracy",
    predictions: Annotated[
        float, typer.Option(min=1, metavar="N", help="Rows that share the cost of training and labels.")
    ] = 1e6,
    label_usd: Annotated[float, typer.Option(min=0, metavar="USD", help="What a label costs.")] = 0.0,
    hardware: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Count the measured time at the price of this entry of prices.yaml."),
    ] = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Quality and cost of two models in a row, from their stored predictions: nothing is run.

    The threshold is chosen on the validation runs of both models, where the folder of results holds them; else the whole
    trade-off is shown and nothing chosen. Costs are as in `bench analyze cost`.

    --json prints an object with first, second, n, metric, points (threshold, null for never; share of the rows that the first
    answers; values; cost per 1,000 rows in US dollars; seconds a row), choice (null, or point, tuned_on, tuned_value, to_first
    and to_second: value, low, high, p; better, p), commands, notes, sentence.
    """
    from harness.analysis.cascade import cascade_of
    from harness.reports.text.cascade import sentence
    from harness.reports.text.recommend import measured_elsewhere
    from harness.specs.prices import load_prices

    finite_number(predictions, "--predictions")
    finite_number(label_usd, "--label-usd")
    store, prices = open_store(results), load_prices(Path.cwd())
    if hardware is not None:
        prices.named(hardware)  # a slip in the name, even where no record needs it
    found = cascade_of(
        store,
        store.find(first),
        store.find(second),
        prices,
        threshold=confidence,
        metric=metric,
        predictions=predictions,
        labelling=label_usd,
        hardware=hardware,
    )
    if as_json:
        print_json(_as_json(found))
        return
    _print(found)
    for note in found.notes:
        typer.echo(plain(f"note: {note}"), err=True)
    if hardware is not None:
        typer.echo(plain(f"note: {measured_elsewhere(hardware)}"), err=True)
    typer.echo(plain(f"\n{sentence(found)}"))


def _print(found: Cascade) -> None:
    from harness.records.entries import TITLES

    points, chosen = found.points, None if found.choice is None else found.choice.point
    tuned_on = None if found.choice is None else found.choice.tuned_on
    settled = None if chosen is None else chosen.threshold
    if chosen is not None and all(point.threshold != settled for point in points):
        points = sorted([*points, chosen], key=lambda point: point.threshold)
    priced = points[0].cost is not None
    typer.echo(plain(f"first: {found.first.run_id}\nsecond: {found.second.run_id}\n{found.rows:,} rows that both have\n"))
    titles = [TITLES.get(name, name) for name in found.metrics]
    print_table(
        ["first where", "its share", *titles, "$ per 1,000" if priced else "s per 1,000", ""],
        [
            [
                _condition(point),
                f"{point.share:.0%}",
                *(_value(point, name) for name in found.metrics),
                _price(point, priced),
                ("yours" if tuned_on is None else "chosen") if point.threshold == settled else "",
            ]
            for point in points
        ],
        optional=list(reversed(titles[1:])),
    )


def _condition(point: Point) -> str:
    if point.threshold == 0:
        return "always"
    return "never" if point.threshold == float("inf") else f"p >= {point.threshold:.3f}"


def _value(point: Point, name: str) -> str:
    value = point.values[name]
    if value["value"] is None:
        return "n/a"
    interval = "" if value["low"] is None else f" [{value['low']:.3f}, {value['high']:.3f}]"
    return f"{value['value']:.3f}{interval}"


def _price(point: Point, priced: bool) -> str:
    from harness.reports.text.recommend import usd

    if priced:
        return "n/a" if point.cost is None else usd(point.cost)[1:]
    return "n/a" if point.seconds is None else f"{1000 * point.seconds:.3g}"


def _as_json(found: Cascade) -> dict[str, Any]:
    from harness.reports.text.cascade import sentence

    return {
        "first": found.first.run_id,
        "second": found.second.run_id,
        "n": found.rows,
        "metric": found.metric,
        "points": [_point_json(point) for point in found.points],
        "choice": None if found.choice is None else _choice_json(found.choice),
        "commands": found.commands,
        "notes": found.notes,
        "sentence": sentence(found),
    }


def _point_json(point: Point) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(point), "threshold": None if point.threshold == float("inf") else point.threshold}


def _choice_json(choice: Choice) -> dict[str, Any]:
    from harness.statistics.intervals import finite

    def difference(found: Any) -> dict[str, float | None]:
        return {name: finite(getattr(found, name)) for name in ("value", "low", "high", "p")}

    return {
        "point": _point_json(choice.point),
        "tuned_on": choice.tuned_on,
        "tuned_value": None if choice.tuned_value is None else finite(choice.tuned_value),
        "to_first": difference(choice.to_first),
        "to_second": difference(choice.to_second),
        "better": choice.better,
        "p": finite(choice.p),
    }
