"""`bench recommend`: which of the recorded models to use."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.amounts import number, some
from harness.cli.cost import Hardware, LabelUsd, Predictions, priced_by
from harness.cli.options import RESULTS, Json, Results, finite_number, open_store, print_json, print_table
from harness.core.places import place_of
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.analysis.candidates import Candidate, CandidatePool
    from harness.analysis.choice import Confirmed, Optimism
    from harness.analysis.next_steps import Step
    from harness.analysis.recommend import Changes, Question, Recommendation
    from harness.analysis.row_sets import RowSet

LISTED = 3
"""Names or sets of rows in a note."""


def recommend_command(
    task: Annotated[str, typer.Option(metavar="NAME", help="Task, as in `bench list runs`.")],
    lang: Annotated[str, typer.Option(metavar="CODE", help="Language of the rows.")],
    choose_on: Annotated[
        str,
        typer.Option(metavar="NAME", help="Rows to choose on: test; or validation, then the test run is reported."),
    ] = "test",
    max_cost_per_1k: Annotated[
        float | None,
        typer.Option(min=0, metavar="USD", help="At most so many US dollars per 1,000 rows, with training and labels."),
    ] = None,
    max_p95_ms: Annotated[
        float | None, typer.Option(min=0, metavar="MS", help="At most this latency in 95% of single rows.")
    ] = None,
    min_f1: Annotated[
        float | None, typer.Option(min=0, max=1, metavar="X", help="At least this macro-F1 (multilabel: micro-F1).")
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, metavar="X", help="At least this accuracy (multilabel: subset accuracy).")
    ] = None,
    predictions: Predictions = 1e6,
    label_usd: LabelUsd = 0,
    utility: Annotated[str, typer.Option(metavar="NAME", help="What to maximize: quality, or f1-cost-latency.")] = "quality",
    tau: Annotated[
        float, typer.Option(min=0.001, metavar="MS", help="Of f1-cost-latency: F1 / cost * exp(-p50 / tau).")
    ] = 1000.0,
    hardware: Hardware = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Recommend a recorded model within limits of cost, latency and quality.

    Quality is the metric that ranks on the leaderboard: the task's `rank_by`, which is by default accuracy, of multilabel tasks
    micro-F1. --min-f1 and --min-accuracy are limits on these metrics, whatever ranks.

    Also shows which models are not significantly different from it, and what would change the answer. Quality comes from the
    recorded runs, cost is as in `bench analyze cost`, latency comes from `bench analyze latency`. An unknown figure does not
    meet a limit. Several seeds of one configuration are one candidate: the mean of their values, the cost of the run in the
    middle.

    The best of many on the same rows looks better than it is. With --choose-on validation the choice is made on runs on
    validation rows, and the test run of the chosen model is reported, or the command that makes it. Else its value is also
    shown corrected for the choice.

    The rows are those that the most informative set of models shares: runs on more rows are scored on the fewer that a slow
    model was run on. A model that is not better than chance is shown but not recommended. Then, and where no capable language
    model was tested, the commands to run next are named.

    --json prints an object with task, lang, split (that of the choice), n, metric, rows (last_run, outdated, left_out: n,
    runs, last_run, outdated), asked, candidates (name, run, runs, configuration, finding: kind, message; tested_on,
    quality, f1, accuracy, cost, p50_ms, p95_ms, pareto_front, misses, worth), recommended, runners_up (name, difference:
    value, low, high, p, detectable, method; p_adjusted, significant), optimism (metric, configurations, n, observed, corrected,
    again; null where nothing is corrected), confirmed (configurations, n, runs, test_n, value, commands, chose_checkpoints;
    null but with --choose-on validation), refused, next (why, command), nearest, changes (loosened, tightened, predictions,
    label_usd, unknown), notes, sentence. recommended, refused and nearest are names of candidates; recommended is null
    where nothing is.
    """
    from harness.analysis.candidates import pool_of
    from harness.analysis.choice import confirmed_on_test, optimism_of
    from harness.analysis.next_steps import Step, next_steps
    from harness.analysis.recommend import Question, Utility, changes_of, recommend
    from harness.cli.requests import check_split, member
    from harness.records.latency import load_latencies
    from harness.reports.text.recommend import change_lines
    from harness.specs.catalog import Catalog

    check_split(choose_on)
    for option, value in {"--max-cost-per-1k": max_cost_per_1k, "--max-p95-ms": max_p95_ms, "--tau": tau}.items():
        if value is not None:
            finite_number(value, option)
    store, prices = open_store(results), priced_by(predictions, label_usd, hardware)
    known = Catalog(Path.cwd())
    question = Question(
        max_cost_per_1k, max_p95_ms, min_f1, min_accuracy, predictions, label_usd, member(Utility, utility), tau
    )
    pool = pool_of(store, task, lang, choose_on, prices, load_latencies(results), hardware, known)
    found = recommend(store, pool, question)
    changes, steps = changes_of(pool.offered, question), [_into(results, step) for step in next_steps(pool, known)]
    on_test = choose_on == "test"
    choice = _Choice(optimism_of(store, found) if on_test else None, None if on_test else confirmed_on_test(store, found))
    if choice.confirmed is not None:
        missing = [Step("test what was chosen", command) for command in choice.confirmed.commands]
        steps = [*(_into(results, step) for step in missing), *steps]
    if as_json:
        print_json(_as_json(found, changes, steps, choice))
        return
    _print(found)
    if pool.offered:
        typer.echo("\nWhat would change the answer")
        for line in change_lines(found, changes):
            typer.echo(plain(f"- {line}"))
    if steps:
        typer.echo("\nWhat to run next")
        for step in steps:
            typer.echo(plain(f"- {step.why}: `{step.command}`"))
    for note in notes(found, choice.confirmed):
        typer.echo(plain(f"note: {note}"), err=True)
    typer.echo(plain(f"\n{_told(found, changes, choice)}"))


@dataclass(frozen=True)
class _Choice:
    """What the choice makes of the recommended one's value; at most one of the two."""

    optimism: Optimism | None
    confirmed: Confirmed | None


def _told(found: Recommendation, changes: Changes, choice: _Choice) -> str:
    from harness.reports.text.recommend import choice_told, sentence

    return " ".join(filter(None, (sentence(found, changes), choice_told(found, choice.optimism, choice.confirmed))))


def _into(results: Path, step: Step) -> Step:
    """With the folder of the records, where it is not the usual one."""
    return step if results == RESULTS else replace(step, command=f"{step.command} --results {shlex.quote(place_of(results))}")


def notes(found: Recommendation, confirmed: Confirmed | None = None) -> list[str]:
    """What limits the figures."""
    from harness.reports.text.recommend import lacks_latency, measured_elsewhere
    from harness.statistics.intervals import small

    pool, question = found.pool, found.question
    told = about_rows(pool)
    few = small(pool.n)
    told += [f"These are {few}: only large differences can be found."] if few else []
    refused = [f"{c.name} is not recommended: it {c.finding.message}." for c in pool.refused if c.finding is not None]
    told += refused[:LISTED]
    told += [f"{len(refused) - LISTED} more are not better than chance."] if len(refused) > LISTED else []
    loaded = [c.name for c in pool.candidates if c.under_load]
    told += (
        [f"The machine was under load while {some(loaded, LISTED)} predicted: the real cost may be lower."] if loaded else []
    )
    if found.recommended is not None and found.recommended.row.is_single:
        told.append(f"{found.recommended.name} has one seed: its figures are those of this run, and another seed may differ.")
    low = None if found.recommended is None else found.recommended.f1.low
    if question.min_f1 is not None and low is not None and low < question.min_f1:
        told.append(f"The interval of the recommended model's F1 begins below --min-f1 {question.min_f1:g}.")
    told += [f"All {measured_elsewhere(pool.hardware)}."] if pool.hardware is not None else []
    told += _about_commands([c for c in pool.candidates if lacks_latency(c, question)])
    if confirmed is not None and confirmed.chose_checkpoints:
        several = some(confirmed.chose_checkpoints, LISTED)
        told.append(f"Validation rows also chose the checkpoints of {several}: their values here are too good.")
    unpriced = sorted({c.unpriced for c in pool.candidates if c.unpriced})
    return told + [f"{text}." for text in unpriced]


def about_rows(pool: CandidatePool) -> list[str]:
    """Which rows these are, and which were left out."""
    larger = sorted({c.name for c in pool.candidates if c.entry.tested_on})
    told = [f"Run on more rows, scored on the {pool.n:,} that all runs share: {some(larger, LISTED)}."] if larger else []
    if pool.outdated:
        told.append("The task's own files now hold other rows or labels, on which there are no runs: use `bench run` again.")
    if pool.left_out:
        left = ", ".join(_left(rows) for rows in pool.left_out[:LISTED])
        more = len(pool.left_out) - LISTED
        others = f", and {more} other sets of rows" if more > 0 else ""
        own = f" The last run on these is of {pool.when}." if pool.when else ""
        told.append(f"Runs on other rows of this task and language are left out: {left}{others}.{own}")
    return told


def _left(rows: RowSet) -> str:
    of = [*(["outdated"] if rows.outdated else []), *([f"last run {rows.when}"] if rows.when else [])]
    return f"{number(len(rows.entries), 'run')} on {rows.n:,} rows" + (f" ({', '.join(of)})" if of else "")


def _about_commands(untimed: list[Candidate]) -> list[str]:
    """What to know of the `bench analyze latency` commands that are named."""
    from harness.analysis.related_runs import is_outdated

    if not untimed:
        return []
    told = [
        "Run `bench analyze latency` on the machine of the run; DIR and PATH stand for places that its record does not name."
    ]
    if any(is_outdated(c.entry.record) for c in untimed):
        told.append("Where a `bench run` comes first, the record is of an earlier version of bench and the run is repeated.")
    return told


def _print(found: Recommendation) -> None:
    from harness.reports.text.formats import title
    from harness.reports.text.recommend import state

    pool, question = found.pool, found.question
    candidates = f"{len(pool.candidates)} candidates on the same {pool.n:,} rows"
    typer.echo(plain(f"{pool.task} ({pool.split}), {pool.lang}: {candidates}\n"))
    runners = {id(runner.candidate): runner for runner in found.runners_up}
    columns = ["", "candidate", title(pool.metric), "seeds", "$ per 1,000", "p50 ms", "p95 ms", "limits", "significant"]
    rows = []
    for candidate in sorted(pool.candidates, key=lambda c: -c.worst_first):
        on_front = any(c is candidate for c in found.pareto_front)
        mark = "recommended" if candidate is found.recommended else "Pareto front" if on_front else ""
        runner = runners.get(id(candidate))
        verdict = "" if runner is None else "yes" if runner.significant else "no"
        rows.append([mark, *_cells(candidate, question), state(candidate, question), verdict])
    print_table(columns, rows, text=["candidate", "limits"], optional=["p50 ms", "seeds", "p95 ms"])


def _cells(candidate: Candidate, question: Question) -> list[str]:
    from harness.reports.text.formats import shown, usd

    cost = question.cost(candidate)
    return [
        candidate.name,
        shown(candidate.quality),
        str(len(candidate.row.runs)),
        "unknown" if cost is None else usd(cost)[1:],
        *("unknown" if ms is None else f"{ms:.3g}" for ms in (candidate.p50_ms, candidate.p95_ms)),
    ]


def _as_json(found: Recommendation, changes: Changes, steps: Sequence[Step], choice: _Choice) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    pool = found.pool
    dumped = {
        "task": pool.task,
        "lang": pool.lang,
        "split": pool.split,
        "n": pool.n,
        "metric": pool.metric,
        "rows": {
            "last_run": pool.when or None,
            "outdated": pool.outdated,
            "left_out": [
                {"n": rows.n, "runs": len(rows.entries), "last_run": rows.newest or None, "outdated": rows.outdated}
                for rows in pool.left_out
            ],
        },
        "asked": {**_fields(found.question), "hardware": pool.hardware},
        "candidates": [_candidate(found, candidate) for candidate in pool.candidates],
        "recommended": _name(found.recommended),
        "runners_up": [{"name": runner.candidate.name, **_fields(runner, "candidate")} for runner in found.runners_up],
        **_fields(choice),
        "refused": [candidate.name for candidate in pool.candidates if candidate.finding is not None],
        "next": steps,
        "nearest": _name(found.nearest),
        "changes": {
            **{
                name: [
                    {**_fields(part, "recommended"), "recommended": _name(part.recommended)} for part in getattr(changes, name)
                ]
                for name in ("loosened", "tightened", "predictions", "label_usd")
            },
            "unknown": [{"name": candidate.name, "unknown": needed} for candidate, needed in changes.unknown],
        },
        "notes": notes(found, choice.confirmed),
        "sentence": _told(found, changes, choice),
    }
    return dict(to_jsonable_python(dumped, inf_nan_mode="null"))


def _name(candidate: Candidate | None) -> str | None:
    return None if candidate is None else candidate.name


def _fields(item: Any, *without: str) -> dict[str, Any]:
    """Of a dataclass, as they are."""
    from dataclasses import fields

    return {field.name: getattr(item, field.name) for field in fields(item) if field.name not in without}


def _candidate(found: Recommendation, candidate: Candidate) -> dict[str, Any]:
    from harness.analysis.recommend import misses, worth

    value = worth(candidate, found.question)
    return {
        "name": candidate.name,
        "run": candidate.entry.run_id,
        "runs": [entry.run_id for entry in candidate.row.runs],
        "configuration": candidate.entry.config_label,
        "finding": candidate.finding,
        "tested_on": candidate.entry.tested_on or found.pool.n,
        "quality": candidate.quality,
        "f1": candidate.f1,
        "accuracy": candidate.accuracy,
        "cost": found.question.cost(candidate),
        "p50_ms": candidate.p50_ms,
        "p95_ms": candidate.p95_ms,
        "pareto_front": any(c is candidate for c in found.pareto_front),
        "misses": misses(candidate, found.question),
        "worth": None if value is None else value[0],
    }
