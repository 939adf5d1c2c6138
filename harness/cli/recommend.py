"""`bench recommend`: which of the recorded models to take."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.amounts import some
from harness.cli.options import RESULTS, Json, Results, finite_number, open_store, print_json, print_table
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.analysis.candidates import Candidate, CandidatePool
    from harness.analysis.next_steps import Step
    from harness.analysis.recommend import Question, Recommendation
    from harness.analysis.row_sets import RowSet
    from harness.analysis.what_if import Changes, Move, Stretch

LISTED = 3
"""Sets of rows that were left out, in a note."""


def recommend_command(
    task: Annotated[str, typer.Option(metavar="NAME", help="Task, as in `bench list runs`.")],
    lang: Annotated[str, typer.Option(metavar="CODE", help="Language of the rows.")],
    split: Annotated[str, typer.Option(help="Rows that the runs were tested on: test or validation.")] = "test",
    max_cost: Annotated[
        float | None, typer.Option(min=0, metavar="USD", help="Per 1,000 rows, with training and labels.")
    ] = None,
    max_p95_ms: Annotated[
        float | None, typer.Option(min=0, metavar="MS", help="Latency that 95 of 100 single rows stay below.")
    ] = None,
    min_f1: Annotated[float | None, typer.Option(min=0, max=1, metavar="X", help="Macro-F1 (multilabel: micro-F1).")] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, metavar="X", help="Accuracy (multilabel: subset accuracy).")
    ] = None,
    predictions: Annotated[
        float, typer.Option(min=1, metavar="N", help="Rows that share the cost of training and labels.")
    ] = 1e6,
    label_usd: Annotated[float, typer.Option(min=0, metavar="USD", help="What a label costs.")] = 0.0,
    utility: Annotated[str, typer.Option(metavar="NAME", help="What is best: quality, or f1-cost-latency.")] = "quality",
    tau: Annotated[
        float, typer.Option(min=0.001, metavar="MS", help="Of f1-cost-latency: F1 / cost * exp(-p50 / tau).")
    ] = 1000.0,
    hardware: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Count the measured time at the price of this entry of prices.yaml."),
    ] = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """The best recorded model within your limits, who can't be told apart from it, and what would change the answer.

    Quality is of the recorded runs, cost as in `bench analyze cost`, latency from `bench analyze latency`. A figure that is unknown does not meet
    a limit. Several seeds of one configuration are one candidate, with the figures of the run in the middle.

    The rows are those that the most informative set of models shares: runs on more rows are scored on the fewer that a slow
    model was run on. What does no better than chance is shown, and tested, and not recommended; then, and where no capable
    language model was tested, it says what to run next.

    --json prints an object with task, lang, split, n, rows (last_run, outdated, left_out: n, runs, last_run, outdated), asked,
    candidates (name, run, runs, made, finding: kind, message; tested_on, f1, accuracy, cost, p50_ms, p95_ms, front, misses,
    worth), pick, runners_up (name, difference: value, low, high; p_holm, apart), refused, next (why, command), nearest, changes
    (loosened, tightened, predictions, label_usd, unknown), notes, sentence. pick, refused and nearest are names of candidates;
    pick is null where nothing is recommended.
    """
    from harness.analysis.candidates import pool_of
    from harness.analysis.next_steps import next_steps
    from harness.analysis.recommend import Question, Utility, recommend
    from harness.analysis.what_if import changes_of
    from harness.cli.requests import member
    from harness.records.latency import load_latencies
    from harness.reports.text.recommend import change_lines, sentence
    from harness.specs.catalog import Catalog
    from harness.specs.prices import load_prices

    given = {
        "--max-cost": max_cost,
        "--max-p95-ms": max_p95_ms,
        "--predictions": predictions,
        "--label-usd": label_usd,
        "--tau": tau,
    }
    for option, value in given.items():
        if value is not None:
            finite_number(value, option)
    store, prices = open_store(results), load_prices(Path.cwd())
    if hardware is not None:
        prices.named(hardware)  # a slip in the name, even where no record needs it
    known = Catalog(Path.cwd())
    question = Question(max_cost, max_p95_ms, min_f1, min_accuracy, predictions, label_usd, member(Utility, utility), tau)
    field = pool_of(store, task, lang, split, prices, load_latencies(results), hardware, known)
    found = recommend(store, field, question)
    changes, steps = changes_of(field.offered, question), [_into(results, step) for step in next_steps(field, known)]
    if as_json:
        print_json(_as_json(found, changes, steps))
        return
    _print(found)
    if field.offered:
        typer.echo("\nWhat would change the answer")
        for line in change_lines(found, changes):
            typer.echo(plain(f"- {line}"))
    if steps:
        typer.echo("\nWhat to run next")
        for step in steps:
            typer.echo(plain(f"- {step.why}: `{step.command}`"))
    for note in notes(found):
        typer.echo(plain(f"note: {note}"), err=True)
    typer.echo(plain(f"\n{sentence(found, changes)}"))


def _into(results: Path, step: Step) -> Step:
    """With the folder of the records, where it is not the usual one: else the new run would not stand beside these."""
    return step if results == RESULTS else replace(step, command=f"{step.command} --results {shlex.quote(str(results))}")


def notes(found: Recommendation) -> list[str]:
    """What a reader should know before believing the figures."""
    from harness.reports.text.recommend import lacks_latency, measured_elsewhere
    from harness.statistics.intervals import small

    field, question = found.field, found.question
    told = about_rows(field)
    few = small(field.n)
    told += [f"These are {few}: only large differences can be seen."] if few else []
    refused = [f"{c.name} is not recommended: it {c.finding.message}." for c in field.refused if c.finding is not None]
    told += refused[:LISTED]
    told += [f"{len(refused) - LISTED} more do no better than chance."] if len(refused) > LISTED else []
    loaded = [c.name for c in field.candidates if c.under_load]
    told += [f"Something else was running while {some(loaded, 3)} predicted: the real cost may be lower."] if loaded else []
    f1 = None if found.pick is None else found.pick.f1
    if f1 and question.min_f1 is not None and f1["low"] is not None and f1["low"] < question.min_f1:
        told.append(f"The interval of the pick's F1 begins below --min-f1 {question.min_f1:g}.")
    told += [f"All {measured_elsewhere(field.hardware)}."] if field.hardware is not None else []
    told += _about_commands([c for c in field.candidates if lacks_latency(c, question)])
    unpriced = sorted({c.unpriced for c in field.candidates if c.unpriced})
    return told + [f"{text}." for text in unpriced]


def about_rows(field: CandidatePool) -> list[str]:
    """Which rows these are, and which were left out."""
    told = _scored(field)
    if field.outdated:
        told.append("The task's own files hold other rows or labels by now, and no run is on those: `bench run` anew.")
    if field.left_out:
        left = ", ".join(_left(rows) for rows in field.left_out[:LISTED])
        more = len(field.left_out) - LISTED
        others = f", and {more} other sets of rows" if more > 0 else ""
        own = f" The last run on these is of {field.when}." if field.when else ""
        told.append(f"Runs on other rows of this task and language are left out: {left}{others}.{own}")
    return told


def _scored(field: CandidatePool) -> list[str]:
    """Whose runs on more rows are scored on these."""
    larger = sorted({c.name for c in field.candidates if c.entry.tested_on})
    return [f"{some(larger, LISTED)}: run on more rows, scored on the {field.n:,} that all runs share."] if larger else []


def _left(rows: RowSet) -> str:
    of = [*(["outdated"] if rows.outdated else []), *([f"last run {rows.when}"] if rows.when else [])]
    runs = len(rows.entries)
    return f"{runs:,} run{'' if runs == 1 else 's'} on {rows.n:,} rows" + (f" ({', '.join(of)})" if of else "")


def _about_commands(untimed: list[Candidate]) -> list[str]:
    """What the `bench analyze latency` commands that are named can't tell."""
    from harness.analysis.related_runs import is_outdated

    if not untimed:
        return []
    told = [
        "Add to `bench analyze latency` the --data, --model or --continue-from that the run was given, if any, and use its machine."
    ]
    if any(is_outdated(c.entry.manifest) for c in untimed):
        told.append("Where a `bench run` comes first, the record is of an earlier version of bench, and that makes it anew.")
    return told


def _print(found: Recommendation) -> None:
    from harness.records.entries import TITLES
    from harness.reports.text.recommend import state

    field, question = found.field, found.question
    typer.echo(
        plain(
            f"{field.task} ({field.group[1]}), {field.lang}: {len(field.candidates)} candidates on the same {field.n:,} rows\n"
        )
    )
    apart = {id(runner.candidate): runner for runner in found.runners_up}
    columns = ["", "candidate", TITLES[field.f1], "seeds", "$ per 1,000", "p50 ms", "p95 ms", "limits", "apart from it"]
    rows = []
    for candidate in sorted(field.candidates, key=lambda c: -(c.f1["value"] or 0.0)):
        mark = "pick" if candidate is found.pick else "front" if any(c is candidate for c in found.front) else ""
        runner = apart.get(id(candidate))
        verdict = "" if runner is None else "yes" if runner.apart else "no"
        rows.append([mark, *_cells(candidate, question), state(candidate, question), verdict])
    print_table(columns, rows, text=["candidate", "limits"], optional=["p50 ms", "seeds", "p95 ms"])


def _cells(candidate: Candidate, question: Question) -> list[str]:
    from harness.reports.text.recommend import usd

    f1, cost = candidate.f1, question.cost(candidate)
    interval = "" if f1["low"] is None else f" [{f1['low']:.3f}, {f1['high']:.3f}]"
    return [
        candidate.name,
        "n/a" if f1["value"] is None else f"{f1['value']:.3f}{interval}",
        str(len(candidate.row.runs)),
        "unknown" if cost is None else usd(cost)[1:],
        *("unknown" if ms is None else f"{ms:.3g}" for ms in (candidate.p50_ms, candidate.p95_ms)),
    ]


def _as_json(found: Recommendation, changes: Changes, steps: Sequence[Step]) -> dict[str, Any]:
    from dataclasses import asdict

    from harness.reports.text.recommend import sentence

    field = found.field
    return {
        "task": field.task,
        "lang": field.lang,
        "split": field.group[1],
        "n": field.n,
        "rows": {
            "last_run": field.when or None,
            "outdated": field.outdated,
            "left_out": [_rows(rows) for rows in field.left_out],
        },
        "asked": {**asdict(found.question), "hardware": field.hardware},
        "candidates": [_candidate(found, candidate) for candidate in field.candidates],
        "pick": None if found.pick is None else found.pick.name,
        "runners_up": [
            {"name": r.candidate.name, "difference": _difference(r.difference), "p_holm": _finite(r.p_holm), "apart": r.apart}
            for r in found.runners_up
        ],
        "refused": [candidate.name for candidate in field.candidates if candidate.finding is not None],
        "next": [asdict(step) for step in steps],
        "nearest": None if found.nearest is None else found.nearest.name,
        "changes": {
            "loosened": [_move(move) for move in changes.loosened],
            "tightened": [_move(move) for move in changes.tightened],
            "predictions": [_stretch(part) for part in changes.predictions],
            "label_usd": [_stretch(part) for part in changes.label_usd],
            "unknown": [{"name": candidate.name, "unknown": needed} for candidate, needed in changes.unknown],
        },
        "notes": notes(found),
        "sentence": sentence(found, changes),
    }


def _rows(rows: RowSet) -> dict[str, Any]:
    return {"n": rows.n, "runs": len(rows.entries), "last_run": rows.newest or None, "outdated": rows.outdated}


def _candidate(found: Recommendation, candidate: Candidate) -> dict[str, Any]:
    from dataclasses import asdict

    from harness.analysis.recommend import misses, worth

    value = worth(candidate, found.question)
    return {
        "name": candidate.name,
        "run": candidate.entry.run_id,
        "runs": [entry.run_id for entry in candidate.row.runs],
        "made": candidate.entry.made,
        "finding": candidate.finding and candidate.finding.as_json(),
        "tested_on": candidate.entry.tested_on or found.field.n,
        "f1": candidate.f1,
        "accuracy": candidate.accuracy,
        "cost": found.question.cost(candidate),
        "p50_ms": candidate.p50_ms,
        "p95_ms": candidate.p95_ms,
        "front": any(c is candidate for c in found.front),
        "misses": [asdict(miss) for miss in misses(candidate, found.question)],
        "worth": None if value is None else value[0],
    }


def _move(move: Move) -> dict[str, Any]:
    pick = None if move.pick is None else move.pick.name
    return {"constraint": move.constraint, "bound": move.bound, "beyond": move.beyond, "pick": pick}


def _stretch(part: Stretch) -> dict[str, Any]:
    return {"low": part.low, "high": part.high, "pick": None if part.pick is None else part.pick.name}


def _difference(difference: Any) -> dict[str, float | None]:
    return {name: _finite(getattr(difference, name)) for name in ("value", "low", "high")}


def _finite(value: float) -> float | None:
    from harness.statistics.intervals import finite

    return finite(value)
