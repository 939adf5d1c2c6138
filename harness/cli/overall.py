"""`bench analyze overall`: configurations compared over several tasks and languages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.amounts import some
from harness.cli.options import RESULTS, Json, Many, Results, finite_number, names, open_store, print_json, print_table
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.analysis.overall import Overall, Standing
    from harness.statistics.over_datasets import Ranged

LISTED = 3
"""Names in a note."""


def overall_command(
    task: Annotated[Many, typer.Option(metavar="NAME", help="Only these tasks; default: all with runs.")] = None,
    lang: Annotated[Many, typer.Option(metavar="CODE", help="Only these languages; default: all with runs.")] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="Only runs on these rows: test or validation.")] = "test",
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="Metric; default: the first headline metric of each task.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Configuration that gaps are from; default: the best of each task and language."),
    ] = None,
    rope: Annotated[
        float, typer.Option(min=0, metavar="X", help="Differences of at most this are practically equal: 0.01 is one point.")
    ] = 0.01,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Compare configurations over several tasks and languages.

    A dataset is one task in one language. Compared are the configurations that have runs on all datasets of the largest table
    without gaps; what is left out is named. For each: its mean rank (1 is the best) and its mean gap from --reference or from
    the best of each dataset, with 95% intervals for datasets and rows. With fewer than 5 datasets the intervals are for the
    rows alone, and there are no tests over datasets.

    With 5 datasets or more also: Friedman's test of "all alike", Wilcoxon's signed-rank test of each configuration against the
    reference (or the one of the best mean rank) with Holm's correction, and the probabilities of the Bayesian signed-rank test
    that it is better, practically equal (within --rope) or worse on one more dataset.

    --json prints an object with datasets (task, lang, split, n, metric, groups), standings (name, values, runs, rank and gap:
    value, low, high; versus: p, p_holm, posterior: worse, equal, better), reference, compared_with, rope, few, shares_groups,
    friedman, left_out (dataset -> configurations that have it), incomplete (configuration -> datasets that it has), notes.
    """
    from harness.analysis.overall import overall
    from harness.cli.requests import check_split

    check_split(split)
    finite_number(rope, "--rope")
    found = overall(open_store(results), names(task, "--task"), names(lang, "--lang"), split, metric, reference, rope)
    if as_json:
        print_json(_as_json(found))
        return
    _print(found)
    for note in notes(found):
        typer.echo(plain(f"note: {note}"), err=True)


def _print(found: Overall) -> None:
    rows = sum(dataset.n for dataset in found.datasets)
    many = f"{len(found.standings)} configurations on {len(found.datasets)} datasets with {rows:,} rows"
    typer.echo(plain(f"{many}: {', '.join(dataset.name for dataset in found.datasets)}\n"))
    gap = "gap to the best" if found.reference is None else "gap to the reference"
    tested = [] if found.few else ["p (Holm)", "P(better)", "P(equal)", "P(worse)"]
    print_table(
        ["configuration", "mean rank", "95%", gap, "95% of the gap", *tested],
        [[one.name, *_cells(one, found)] for one in found.standings],
        text=["configuration"],
        optional=["P(worse)", "P(equal)", "P(better)"],
    )
    if found.compared_with is not None:
        alike = "" if found.friedman is None else f'Friedman\'s test of "all alike": {_p(found.friedman)}. '
        region = f"P: on one more dataset; equal: within {found.rope:g}."
        typer.echo(plain(f"\n{alike}p and P: against {found.compared_with}. {region}"))


def _p(value: float) -> str:
    from harness.reports.text.formats import p_equals

    return p_equals(value)


def _cells(one: Standing, found: Overall) -> list[str]:
    from harness.reports.text.formats import p_text

    shown = [f"{one.rank.value:.2f}", _interval(one.rank, "{:.2f}"), f"{one.gap.value:+.3f}", _interval(one.gap, "{:+.3f}")]
    if found.few:
        return shown
    if one.versus is None:
        return [*shown, "", "", "", ""]
    posterior = one.versus.posterior
    shares = (posterior.better, posterior.equal, posterior.worse)
    return [*shown, p_text(one.versus.p_holm), *(f"{share:.2f}" for share in shares)]


def _interval(value: Ranged, form: str) -> str:
    return f"{form.format(value.low)} to {form.format(value.high)}"


def notes(found: Overall) -> list[str]:
    """What limits the figures."""
    told = []
    if found.few:
        told.append(
            f"{len(found.datasets)} datasets are few: the intervals are for the sampling of their rows, and say nothing of "
            "other tasks or languages. From 5 datasets on there are tests over datasets."
        )
    compared = len(found.standings) - 1
    pairs = compared if found.reference is not None else compared * (compared + 1) // 2
    if not found.few and pairs * 2 * 0.5 ** len(found.datasets) > 0.05:
        told.append(
            f"With {len(found.datasets)} datasets and {pairs} pairs no p can be below 0.05 after Holm's correction: "
            f"{'test' if found.reference is not None else 'name a --reference, or test'} on more datasets."
        )
    metrics = sorted({dataset.metric for dataset in found.datasets})
    if len(metrics) > 1:
        told.append(f"The datasets have different metrics: {', '.join(metrics)}.")
    if found.shares_groups:
        told.append("Datasets share groups of rows (such as parallel sentences): these are drawn together.")
    if found.left_out:
        missing = [f"{name} ({count} of {len(found.standings)} configurations)" for name, count in found.left_out.items()]
        told.append(f"Datasets left out, since not all of these configurations have runs on them: {some(missing, LISTED)}.")
    if found.incomplete:
        missing = [f"{name} on {count}" for name, count in found.incomplete.items()]
        told.append(f"Configurations left out, with runs on fewer of these datasets: {some(missing, LISTED)}.")
    return told


def _as_json(found: Overall) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    fields = ("datasets", "standings", "reference", "compared_with", "rope", "few", "shares_groups", "friedman")
    dumped = {name: getattr(found, name) for name in (*fields, "left_out", "incomplete")}
    return dict(to_jsonable_python({**dumped, "notes": notes(found)}, inf_nan_mode="null"))
