"""`bench analyze cascade`: a fast model answers where it is confident, a better one the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.cost import Hardware, LabelUsd, Predictions, priced_by
from harness.cli.options import RESULTS, Json, Results, open_store, print_json, print_table
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.analysis.cascade import Cascade, Point


def cascade_command(
    first: Annotated[
        str, typer.Argument(metavar="FIRST", help="Run that answers where it is confident; it needs probabilities.")
    ],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="Run that answers the rest.")],
    confidence: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="X", help="Your own threshold; default: chosen on both models' validation runs."),
    ] = None,
    metric: Annotated[str, typer.Option(metavar="NAME", help="accuracy, macro_f1, mae or qwk.")] = "accuracy",
    predictions: Predictions = 1e6,
    label_usd: LabelUsd = 0,
    hardware: Hardware = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Compute quality and cost of a cascade of two models.

    The first model answers where its confidence reaches a threshold, the second the rest. Stored predictions are used: nothing
    is run. The threshold is chosen on the validation runs of both models, if the results have them; else the whole trade-off is
    shown. Costs are as in `bench analyze cost`; labels of validation rows that chose the threshold count, too.

    --json prints an object with first, second, n, metric, points (threshold, null for never; share of the rows that the first
    answers; values; cost per 1,000 rows in US dollars; seconds per row), choice (null, or point, tuned_on, tuned_value,
    labels (of validation rows that no training used), to_first and to_second: value, low, high, p, detectable, method;
    better, p), commands, notes, sentence.
    """
    from harness.analysis.cascade import cascade_of
    from harness.reports.text.cascade import sentence
    from harness.reports.text.recommend import measured_elsewhere

    store, prices = open_store(results), priced_by(predictions, label_usd, hardware)
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
        print_json({**_as_json(found), "sentence": sentence(found)})
        return
    _print(found)
    for note in found.notes:
        typer.echo(plain(f"note: {note}"), err=True)
    if hardware is not None:
        typer.echo(plain(f"note: {measured_elsewhere(hardware)}"), err=True)
    typer.echo(plain(f"\n{sentence(found)}"))


def _print(found: Cascade) -> None:
    from harness.reports.text.formats import shown, title

    points, chosen = found.points, None if found.choice is None else found.choice.point
    tuned_on = None if found.choice is None else found.choice.tuned_on
    settled = None if chosen is None else chosen.threshold
    if chosen is not None:  # in place of the point with its threshold: its cost includes the labels that chose it
        others = [point for point in points if point.threshold != settled]
        points = sorted([*others, chosen], key=lambda point: point.threshold)
    priced = points[0].cost is not None
    typer.echo(plain(f"first: {found.first.run_id}\nsecond: {found.second.run_id}\n{found.n:,} rows that both have\n"))
    titles = [title(name) for name in found.metrics]
    print_table(
        ["first where", "its share", *titles, "$ per 1,000" if priced else "s per 1,000", ""],
        [
            [
                _condition(point),
                f"{point.share:.0%}",
                *(shown(point.values[name]) for name in found.metrics),
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


def _price(point: Point, priced: bool) -> str:
    from harness.reports.text.formats import usd

    if priced:
        return "n/a" if point.cost is None else usd(point.cost)[1:]
    return "n/a" if point.seconds is None else f"{1000 * point.seconds:.3g}"


def _as_json(found: Cascade) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    dumped = {
        "first": found.first.run_id,
        "second": found.second.run_id,
        **{name: getattr(found, name) for name in ("n", "metric", "points", "choice", "commands", "notes")},
    }
    return dict(to_jsonable_python(dumped, inf_nan_mode="null"))
