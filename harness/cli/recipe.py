"""`bench study recipe`: the runs of a recipe, beside what others reported of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import verbosity
from harness.cli.options import (
    RESULTS,
    Data,
    Json,
    Limit,
    Many,
    NoGate,
    Quiet,
    Settings,
    Track,
    TrainLimit,
    TrustMetricCode,
    ValidationLimit,
    Verbose,
    catalog,
    check_data,
    names,
    open_store,
    print_json,
    print_table,
    tolerate_broken_pipe,
)
from harness.cli.recipe_steps import Done, Searched, carry_out
from harness.cli.requests import check_fit, seeds, settings_from
from harness.cli.tune import shown_value
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.records.store import Store
    from harness.specs.catalog import Catalog
    from harness.specs.reported import Figure
    from harness.studies.dry_run import PlannedStep
    from harness.studies.steps import Step


def recipe_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Recipe. See `bench list recipes`.")],
    run: Annotated[Many, typer.Option(metavar="NAME", help="Only these of its runs, and what they go on from.")] = None,
    lang: Annotated[Many, typer.Option(metavar="CODE", help="Languages to test in, in place of the recipe's.")] = None,
    backend: Annotated[str | None, typer.Option(metavar="NAME", help="Backend in place of the recipe's.")] = None,
    seed: Annotated[
        Many, typer.Option(metavar="N", help="Seed in place of the recipe's; with several, each run so often.")
    ] = None,
    setting: Settings = None,
    limit: Limit = None,
    train_limit: TrainLimit = None,
    validation_limit: ValidationLimit = None,
    data: Data = None,
    trust_metric_code: TrustMetricCode = False,
    smoke: Annotated[
        bool,
        typer.Option("--smoke", help="Every step in minutes: a small model, and few rows, bench's own or those of --data."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and what is done already; run nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Repeat runs that are there.")] = False,
    no_gate: NoGate = False,
    results: Annotated[
        Path | None,
        typer.Option("--results", metavar="DIR", help="Folder of run records; default: results, with --smoke results/smoke."),
    ] = None,
    track: Track = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Carry out a recipe: every run of a comparison that was published, and beside each what was reported.

    A run that is recorded already is not repeated, and a stopped one goes on: give the same command again. A search, too.

    --json prints a list with one object per step: step, reported (source's figures: metric, value, low, high, n, lang, note),
    and for a run what `bench run --json` prints of it, for a search state, study, metric, value, best, trials, backend,
    error. With --dry-run: step, task, backend, train, validation, test (each: langs, rows, exact), settings, prompt, seed,
    continued_from, searched, trials, state (found, continues, to do), note.
    """
    from harness.cli.execute_runs import exit_if_interrupted, exit_with, tracking_with
    from harness.specs.recipes import Cell
    from harness.studies.dry_run import planned_steps
    from harness.studies.steps import Changes, steps_of

    verbosity.begin(quiet, verbose)
    known = catalog(trust_metric_code)
    recipe = known.recipe(name)
    check_data(data)
    cell = Cell(
        backend=[backend] if backend else None,
        lang=names(lang, "--lang") or None,
        seed=seeds(seed) if seed else None,
        limit=[limit] if limit else None,
        train_limit=train_limit,
        validation_limit=validation_limit,
        set=settings_from(setting),
    )
    steps = steps_of(recipe, known, Changes(cell, smoke, data), names(run, "--run") or None)
    check_fit(known, [step.request for step in steps], [step.request.prompt for step in steps if step.request.prompt])
    figures = known.reported(recipe.reported).figures if recipe.reported else []
    folder = results or (RESULTS / "smoke" if smoke else RESULTS)
    store = open_store(folder)
    _check_options(steps, known)
    if dry_run:
        _print_plan(planned_steps(steps, known, store), as_json)
        if recipe.note and not as_json:
            typer.echo(plain(f"Note: {recipe.note}"), err=True)
        return
    with tracking_with(track, folder) as series:
        done, stopped = carry_out(recipe.name, steps, known, store, force, gate=not no_gate)
    if not stopped:
        with tolerate_broken_pipe():
            if as_json:
                print_json([_as_json(step, outcome, figures) for step, outcome in done])
            else:
                _print_outcomes(done, figures, store)
        if smoke and figures:
            verbosity.note("A smoke test's figures are no measurement: other rows, and another model, than those reported.")
    series.print_summary([outcome for _, outcome in done])
    exit_if_interrupted(stopped)
    exit_with(outcome.error for _, outcome in done)


def _check_options(steps: Sequence[Step], known: Catalog) -> None:
    """A slip in a setting, or in what is searched, is found before the first model trains."""
    from harness.specs.backend_specs import engine_class, with_settings
    from harness.specs.yamlspec import validate_options
    from harness.studies.search import searched_backend
    from harness.studies.steps import SearchCatalog

    for step in steps:
        spec = with_settings(known.backend(step.request.backend), step.request.settings)
        validate_options(spec.options, engine_class(spec.engine).Options, f"{step.name}: backend {spec.name!r}, options")
        if step.tune is not None:
            searched_backend(step.request, SearchCatalog(known.project, known.trust_metric_code, space=step.tune.space))


def _print_plan(planned: Sequence[PlannedStep], as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print_json([asdict(step) for step in planned])
        return
    columns = ["step", "task", "backend", "train", "validation", "test", "settings", "state"]
    rows = [_plan_row(step) for step in planned]
    print_table(columns, rows, text=["settings", "state"], optional=["task", "validation", "settings"])
    typer.echo("Nothing was run.", err=True)


def _plan_row(planned: PlannedStep) -> list[str]:
    settings = [f"{key}={value}" for key, value in planned.settings.items()]
    if planned.trials is not None:
        settings.append(f"search of {', '.join(planned.searched)}: {planned.trials} trials")
    if planned.prompt:
        settings.append(f"prompt {planned.prompt}")
    if planned.seed:
        settings.append(f"seed {planned.seed}")
    train, *others = (str(count or "-") for count in (planned.train, planned.validation, planned.test))
    if planned.continued_from:
        train += f", after {planned.continued_from}"
    state = planned.state if planned.note is None else f"{planned.state}; {planned.note}"
    return [planned.step, planned.task, planned.backend, train, *others, ", ".join(settings) or "-", state]


def _figures(step: Step, figures: Sequence[Figure]) -> list[Figure]:
    """What was reported of this run in this language, or of it in all languages together."""
    return [figure for figure in figures if figure.run == step.name and figure.lang in (None, step.request.lang)]


def _print_outcomes(done: Sequence[Done], figures: Sequence[Figure], store: Store) -> None:
    runs = [outcome for _, outcome in done if not isinstance(outcome, Searched) and outcome.metrics]
    metrics = list(dict.fromkeys(name for run in runs if run.metrics for name in run.metrics["headline"]))
    searched = [outcome.metric for _, outcome in done if isinstance(outcome, Searched) and outcome.metric]
    also = [figure.metric for figure in figures if any(run.metrics and figure.metric in run.metrics["values"] for run in runs)]
    metrics = list(dict.fromkeys([*metrics, *searched, *also]))
    columns = ["step", "lang", "n", *metrics, "rows/s", "reported", "record", "run"]
    rows = [
        [step.name, step.request.lang, *_measured(outcome, metrics, store), _shown(_figures(step, figures)), *_record(outcome)]
        for step, outcome in done
    ]
    print_table(columns, rows, text=["reported"], optional=["rows/s", *reversed(metrics[1:]), "run"])
    for step, outcome in done:
        if isinstance(outcome, Searched) and outcome.best is not None:
            best = ", ".join(f"{name}={shown_value(value)}" for name, value in outcome.best.items())
            verbosity.note(f"{step.name}, best of {outcome.trials} trials: {best}. Written: {outcome.backend}")
    verbosity.note("Reported figures were not measured here.")


def _measured(outcome: Any, metrics: Sequence[str], store: Store) -> list[str]:
    """Number of rows, metrics, rows per second."""
    from harness.reports.words import shown

    if isinstance(outcome, Searched):
        value = "-" if outcome.value is None else f"{outcome.value:.3f} (validation)"
        return ["-", *(value if name == outcome.metric else "-" for name in metrics), "-"]
    if outcome.metrics is None:
        return ["-"] * (len(metrics) + 2)
    values = outcome.metrics["values"]
    rate = store.manifest(outcome.run_id)["timing"]["rows_per_second"]
    cells = [shown(values[name]) if name in values else "-" for name in metrics]
    return [str(outcome.metrics["n"]), *cells, "-" if rate is None else f"{rate:,.1f}"]


def _record(outcome: Any) -> list[str]:
    which = outcome.study if isinstance(outcome, Searched) else (outcome.run_id or "").rpartition(".")[2]
    return [outcome.state, which or "-"]


def _shown(figures: Sequence[Figure]) -> str:
    return "; ".join(f"{figure.metric} {figure.shown}{_of(figure)}" for figure in figures) or "-"


def _of(figure: Figure) -> str:
    parts = [
        f"n {figure.n:,}" if figure.n else "",
        "" if figure.lang else "all languages",
        "" if figure.split == "test" else figure.split,
    ]
    said = ", ".join(part for part in parts if part)
    return f" ({said})" if said else ""


def _as_json(step: Step, outcome: Any, figures: Sequence[Figure]) -> dict[str, Any]:
    reported = [
        {
            **figure.model_dump(include={"metric", "value", "n", "lang", "split", "note"}),
            **dict(zip(("low", "high"), figure.interval or (None, None), strict=True)),
        }
        for figure in _figures(step, figures)
    ]
    if not isinstance(outcome, Searched):
        return {"step": step.name, "reported": reported, **outcome.as_json()}
    error = outcome.error
    return {
        "step": step.name,
        "reported": reported,
        **{field: getattr(outcome, field) for field in ("state", "study", "metric", "value", "best", "trials")},
        "backend": None if outcome.backend is None else str(outcome.backend),
        "error": None if error is None else {"message": error.message, "hint": error.hint, "exit_code": error.exit_code},
    }
