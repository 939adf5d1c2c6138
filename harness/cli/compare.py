"""`bench compare`: which of these configurations is better, and is the difference significant?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import RESULTS, Json, Many, Results, names, open_store, plain, print_json, print_table

if TYPE_CHECKING:
    from harness.analysis.compare import Comparison, Verdict

LISTED = 10


def compare_command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN [RUN ...]", help="Any part of an id that names one run only.")],
    metric: Annotated[
        Many,
        typer.Option(
            metavar="NAME",
            help="What to compare, the first for the summary; default: the headline metrics, and log loss.",
        ),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help=f"List N rows with different answers; default: {LISTED}, with --json all."),
    ] = None,
    runs_only: Annotated[
        bool,
        typer.Option("--runs-only", help="Compare the named runs alone, not the means over the seeds of their configurations."),
    ] = False,
    rope: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Differences up to X do not matter (0.01: a point of accuracy): say which pairs are practically equal.",
        ),
    ] = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Compare configurations on the rows that all of them have.

    A run stands for its configuration: the mean of all recorded runs that differ from it in their seeds only. Differences are
    B - A, with p and 95% intervals for all pairs of a metric together; both take the rows and the seeds into account, and the
    groups of rows where the task has them. A difference with p up to 0.05 is significant. "detectable" is the smallest true
    difference that is found in 80% of samples.

    --json prints an object with task, lang, split, n, groups (of rows, or null), metrics, runs (letter, name, run, runs, seeds,
    one_seed: whether nothing is known of other seeds; rows, checkpoint: parameters, stored, base, null where unknown; values),
    pairs (a, b: ids of runs; both_right, only_a, only_b, neither_right: of these runs; differences: for each metric value, low,
    high, p: of the pair alone, p_adjusted, method, detectable, better: an id or null, outcome: different, practically equal or
    undecided; not_tested: the reason, or null), differing (how many rows), rows (id, truth, answers: by letter), notes,
    sentence, pair_sentences (with --rope).
    """
    from harness.analysis.compare import compare
    from harness.reports.text.compare import pair_sentences, sentence

    store = open_store(results)
    found = [store.find(part) for part in runs]
    comparison = compare(store, found, names(metric, "--metric"), runs_only=runs_only, rope=rope)
    if as_json:
        said = {"sentence": sentence(comparison), "pair_sentences": pair_sentences(comparison)}
        print_json({**_as_json(comparison, rows), **said})
        return
    _print_runs(comparison)
    _print_differences(comparison)
    _print_pairs(comparison)
    _print_rows(comparison, LISTED if rows is None else rows)
    for note in comparison.notes:
        typer.echo(plain(f"Note: {note}"))
    for line in pair_sentences(comparison):
        typer.echo(plain(line))
    typer.echo(plain(sentence(comparison)))


def _print_runs(comparison: Comparison) -> None:
    from harness.records.names import told_apart
    from harness.records.weights import weights_told
    from harness.reports.text.formats import shown, title
    from harness.reports.words import how

    hows = told_apart([run.row.runs for run in comparison.runs], [how(run.row) for run in comparison.runs])
    weights = [weights_told(run.entry.record) for run in comparison.runs]
    metrics = [title(metric) for metric in comparison.metrics]
    columns = ["", "backend", "configuration", *(["weights"] if any(weights) else []), "rows", *metrics, "run"]
    table = [
        [
            run.letter,
            run.entry.display_name,
            words,
            *([found or "–"] if any(weights) else []),
            f"{run.own_rows}",
            *(shown(run.values[metric]) for metric in comparison.metrics),
            run.entry.run_id.rpartition(".")[2],
        ]
        for run, words, found in zip(comparison.runs, hows, weights, strict=True)
    ]
    print_table(columns, table, text=["configuration"], optional=["rows", *reversed(metrics[1:]), "weights"])
    typer.echo()


def _print_differences(comparison: Comparison) -> None:
    import math

    from harness.reports.text.formats import amount, interval_text, p_text, title

    letters = [run.letter for run in comparison.runs]
    columns = ["metric", "pair", "difference", "95% interval", "p", "detectable", "better"]
    table = []
    for verdict in comparison.verdicts:
        metric, found = verdict.metric, verdict.difference
        sign = "+" if found.value > 0 else ""
        table.append(
            [
                title(metric),
                f"{letters[verdict.b]} - {letters[verdict.a]}",
                "n/a" if math.isnan(found.value) else sign + amount(metric, found.value),
                interval_text(metric, found.low, found.high) or "n/a",
                p_text(verdict.p_adjusted),
                "n/a" if math.isnan(found.detectable) else amount(metric, found.detectable),
                _better(verdict, letters),
            ]
        )
    print_table(columns, table, optional=["detectable"])
    typer.echo()


def _better(verdict: Verdict, letters: list[str]) -> str:
    from harness.analysis.compare import Outcome

    if verdict.not_tested is not None:
        return "not tested"
    if verdict.outcome is Outcome.EQUIVALENT:
        return str(verdict.outcome)
    return "not significant" if verdict.better is None else letters[verdict.better]


def _print_pairs(comparison: Comparison) -> None:
    letters = [run.letter for run in comparison.runs]
    table = [
        [f"{letters[pair.a]}, {letters[pair.b]}", *map(str, (pair.both_right, pair.only_a, pair.only_b, pair.neither_right))]
        for pair in comparison.pairs
    ]
    print_table(["pair", "both right", "only the first", "only the second", "both wrong"], table)
    typer.echo()


def _print_rows(comparison: Comparison, limit: int) -> None:
    total, shown = len(comparison.differing), _rows(comparison, limit)
    letters = [run.letter for run in comparison.runs]
    if shown:
        table = [[row["id"], row["truth"], *row["answers"].values()] for row in shown]
        print_table(["row", "truth", *letters], table, text=("row", "truth", *letters))
    which = f"; {len(shown)} are listed, first those that some have right" if 0 < len(shown) < total else ""
    typer.echo(plain(f"The answers differ in {total:,} of {comparison.n:,} rows{which}.\n"))


def _rows(comparison: Comparison, limit: int | None) -> list[dict[str, Any]]:
    """The rows with different answers."""
    return [
        {
            "id": str(comparison.predictions[0].ids[row]),
            "truth": comparison.truth(row),
            "answers": {run.letter: comparison.answer(place, row) for place, run in enumerate(comparison.runs)},
        }
        for row in comparison.differing[:limit]
    ]


def _as_json(comparison: Comparison, rows: int | None) -> dict[str, Any]:
    from dataclasses import asdict

    from pydantic_core import to_jsonable_python

    identity, ids = comparison.predictions[0].identity, [run.entry.run_id for run in comparison.runs]
    differences: dict[tuple[int, int], dict[str, Any]] = {}
    for verdict in comparison.verdicts:
        better = None if verdict.better is None else ids[verdict.better]
        found = {**asdict(verdict.difference), "p_adjusted": verdict.p_adjusted, "better": better, "outcome": verdict.outcome}
        found["not_tested"] = verdict.not_tested
        differences.setdefault((verdict.a, verdict.b), {})[verdict.metric] = found
    found = {
        "task": identity.task,
        "lang": identity.lang,
        "split": identity.split,
        "n": comparison.n,
        "groups": comparison.groups,
        "metrics": comparison.metrics,
        "runs": [
            {
                **{"letter": run.letter, "name": run.name, "run": run.entry.run_id, "rows": run.own_rows},
                **{"runs": [one.run_id for one in run.row.every], "seeds": run.row.seeds},
                "one_seed": run.row.is_single,
                **{"checkpoint": run.entry.checkpoint.model_dump(), "values": run.values},
            }
            for run in comparison.runs
        ],
        "pairs": [
            {**asdict(pair), "a": ids[pair.a], "b": ids[pair.b], "differences": differences[pair.a, pair.b]}
            for pair in comparison.pairs
        ],
        "differing": len(comparison.differing),
        "rows": _rows(comparison, rows),
        "notes": comparison.notes,
    }
    return dict(to_jsonable_python(found, inf_nan_mode="null"))
