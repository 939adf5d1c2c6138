"""`bench compare`: which of these runs is better, and how sure is that?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import RESULTS, Json, Many, Results, names, open_store, plain, print_json, print_table

if TYPE_CHECKING:
    from harness.analysis.compare import Comparison, Verdict
    from harness.statistics.intervals import MetricValue

LISTED = 10


def compare_command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN [RUN ...]", help="Any part of an id that names one run only.")],
    metric: Annotated[
        Many,
        typer.Option(
            metavar="NAME", help="What to compare, the first for the sentence; default: the headline metrics, and log loss."
        ),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help=f"List so many rows with different answers; default: {LISTED}, with --json all."),
    ] = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Compare runs, row by row, on the rows that all of them have.

    Differences are B - A with 95% intervals. p is that of McNemar's exact test for shares (accuracy), of a permutation test
    for log loss and Brier, of a paired bootstrap for all else, and after Holm's correction over all pairs; where it is at
    most 0.05, one is better. "found from" is the smallest true difference that four of five such samples would show.

    --json prints an object with task, lang, split, n, metrics, runs (letter, name, run, rows, values), pairs (a, b: ids of
    runs; both_right, only_a, only_b, neither_right; differences: for each metric value, low, high, p, p_holm, method,
    detectable, better: an id or null), differing (how many rows), rows (id, truth, answers: by letter), notes, sentence.
    """
    from harness.analysis.compare import compare
    from harness.reports.text.compare import sentence

    store = open_store(results)
    comparison = compare(store, [store.find(part) for part in runs], names(metric, "--metric"))
    said = sentence(comparison)
    if as_json:
        print_json(_as_json(comparison, rows, said))
        return
    _print_runs(comparison)
    _print_differences(comparison)
    _print_pairs(comparison)
    _print_rows(comparison, LISTED if rows is None else rows)
    for note in comparison.notes:
        typer.echo(plain(f"Note: {note}"))
    typer.echo(plain(said))


def _print_runs(comparison: Comparison) -> None:
    from harness.records.names import told_apart
    from harness.reports.text.compare import title

    hows = told_apart([[run.entry] for run in comparison.runs], [run.entry.how for run in comparison.runs])
    columns = ["", "backend", "how", "rows", *map(title, comparison.metrics), "run"]
    table = [
        [
            run.letter,
            run.entry.display_name,
            how,
            f"{run.own_rows}",
            *(_value(run.values[metric]) for metric in comparison.metrics),
            run.entry.run_id.rpartition(".")[2],
        ]
        for run, how in zip(comparison.runs, hows, strict=True)
    ]
    print_table(columns, table, text=["how"], optional=["rows", *reversed(columns[5:-1])])
    typer.echo()


def _print_differences(comparison: Comparison) -> None:
    from harness.reports.text.compare import amount, interval_text, p_text, title

    several = len(comparison.pairs) > 1
    columns = ["metric", "pair", "difference", "95% interval", "p", *(["p (Holm)"] if several else []), "found from", "better"]
    table = []
    for verdict in comparison.verdicts:
        metric, found = verdict.metric, verdict.difference
        a, b = (comparison.runs[place].letter for place in (verdict.a, verdict.b))
        table.append(
            [
                title(metric),
                f"{b} - {a}",
                "n/a" if found.value != found.value else ("+" if found.value > 0 else "") + amount(metric, found.value),
                interval_text(metric, found.low, found.high) or "n/a",
                p_text(found.p),
                *([p_text(verdict.p_holm)] if several else []),
                "n/a" if found.detectable != found.detectable else amount(metric, found.detectable),
                _better(comparison, verdict),
            ]
        )
    print_table(columns, table, optional=["found from", "p"] if several else ["found from"])
    typer.echo()


def _better(comparison: Comparison, verdict: Verdict) -> str:
    return "can't be told apart" if verdict.better is None else comparison.runs[verdict.better].letter


def _print_pairs(comparison: Comparison) -> None:
    table = []
    for pair in comparison.pairs:
        a, b = (comparison.runs[place].letter for place in (pair.a, pair.b))
        table.append([f"{a}, {b}", *map(str, (pair.both, pair.only_a, pair.only_b, pair.neither))])
    print_table(["pair", "both right", "only the first", "only the second", "both wrong"], table)
    typer.echo()


def _print_rows(comparison: Comparison, limit: int) -> None:
    total = len(comparison.differing)
    shown = comparison.differing[:limit]
    if len(shown):
        letters = [run.letter for run in comparison.runs]
        print_table(
            ["row", "truth", *letters],
            [
                [
                    str(comparison.columns[0].ids[row]),
                    comparison.truth(row),
                    *(comparison.answer(place, row) for place in range(len(letters))),
                ]
                for row in shown
            ],
            text=("row", "truth", *letters),
        )
    which = f"; here are {len(shown)}, those that some have right first" if 0 < len(shown) < total else ""
    typer.echo(plain(f"The answers differ in {total:,} of {comparison.n:,} rows{which}.\n"))


def _value(metric: MetricValue) -> str:
    value, low, high = metric["value"], metric["low"], metric["high"]
    if value is None:
        return "n/a"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _as_json(comparison: Comparison, rows: int | None, said: str) -> dict[str, Any]:
    first, letters = comparison.columns[0], [run.letter for run in comparison.runs]
    return {
        **{key: getattr(first.identity, key) for key in ("task", "lang", "split")},
        "n": comparison.n,
        "metrics": comparison.metrics,
        "runs": [
            {"letter": run.letter, "name": run.name, "run": run.entry.run_id, "rows": run.own_rows, "values": run.values}
            for run in comparison.runs
        ],
        "pairs": _pairs_json(comparison),
        "differing": len(comparison.differing),
        "rows": [
            {
                "id": str(first.ids[row]),
                "truth": comparison.truth(row),
                "answers": {letter: comparison.answer(place, row) for place, letter in enumerate(letters)},
            }
            for row in comparison.differing[:rows]
        ],
        "notes": comparison.notes,
        "sentence": said,
    }


def _pairs_json(comparison: Comparison) -> list[dict[str, Any]]:
    from harness.statistics.intervals import finite

    ids = [run.entry.run_id for run in comparison.runs]
    differences: dict[tuple[int, int], dict[str, Any]] = {}
    for verdict in comparison.verdicts:
        found = verdict.difference
        differences.setdefault((verdict.a, verdict.b), {})[verdict.metric] = {
            **{key: finite(getattr(found, key)) for key in ("value", "low", "high", "p", "detectable")},
            "p_holm": finite(verdict.p_holm),
            "method": found.method,
            "better": None if verdict.better is None else ids[verdict.better],
        }
    return [
        {
            "a": ids[pair.a],
            "b": ids[pair.b],
            "both_right": pair.both,
            "only_a": pair.only_a,
            "only_b": pair.only_b,
            "neither_right": pair.neither,
            "differences": differences[pair.a, pair.b],
        }
        for pair in comparison.pairs
    ]
