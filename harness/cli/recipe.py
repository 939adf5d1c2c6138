"""`bench study recipe`: the runs of a recipe, beside the published figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import verbosity
from harness.cli.dry_run import DryRun, print_plan
from harness.cli.execute_runs import FinishedRun, error_as_json, run_all, tracking_with
from harness.cli.options import (
    Json,
    Many,
    catalog,
    names,
    open_store,
    print_json,
    print_table,
    tolerate_broken_pipe,
    worded,
)
from harness.cli.requests import budget_of
from harness.cli.run_options import completion, takes_run_options
from harness.cli.tune import carry_out_search
from harness.core.options import IN_PARTS, ExecutionOptions, RunOptions
from harness.core.plain import plain
from harness.specs.asked import Asked

if TYPE_CHECKING:
    from harness.core.errors import BenchError
    from harness.execution.jobs import Request
    from harness.records.store import Store
    from harness.specs.catalog import Catalog
    from harness.specs.costs import Budget
    from harness.specs.reported import Figure
    from harness.studies.steps import Step

HELP = {
    **{
        name: f"{str(field.description).partition('; default:')[0].rstrip('.')}."
        for name, field in RunOptions.model_fields.items()
    },
    "seed": "Override the recipe's seed; several seeds run each step once per seed.",
    "results": "Folder of run records; a smoke test uses its subfolder smoke.",
}
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Recipe. See `bench list recipes`.", autocompletion=completion("recipe"))
]
Run = Annotated[Many, typer.Option(metavar="NAME", help="Only these runs, and those that they continue from.")]
Smoke = Annotated[bool, typer.Option("--smoke", help="Run every step in minutes, with a small model and few rows.")]


@takes_run_options(
    but=("task", "continue_from", "labels_from", "soft_labels", *IN_PARTS),
    help=HELP,
    defaults=dict.fromkeys([*RunOptions.model_fields, "results"]),
    explicit=[name for name in RunOptions.model_fields if name != "data"],  # a folder's defaults must not change a recipe
)
def recipe_command(
    name: Name,
    asked: Asked,
    execution: ExecutionOptions,
    run: Run = None,
    smoke: Smoke = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Repeat a published comparison.

    Runs every step of a recipe and shows the published figures beside the measured ones. Options of a run override the
    recipe's, in all of its runs. A recorded run is not repeated, and a stopped run or search continues: repeat the command.

    --json prints a list with one object per step: step, reported (source's figures: metric, value, low, high, n, lang,
    note), and for a run what `bench run --json` prints of it, for a search state, study, metric, value, best, trials,
    backend, error. With --dry-run: step, task, backend, train, validation, test (each: langs, rows, exact), settings,
    prompt, choices, seed, continued_from, searched, trials, need (gpus, cpus, memory_gib), group, state (found, continues,
    to do), note.
    """
    from harness.studies.steps import Changes, steps_of

    known = catalog(execution.trust_metric_code)
    recipe = known.recipe(name)
    steps = steps_of(recipe, known, Changes(asked, smoke), names(run, "--run") or None)
    figures = known.reported(recipe.reported).figures if recipe.reported else []
    folder = execution.results / "smoke" if smoke else execution.results  # never among real records
    store = open_store(folder)
    _check_options(steps, known)
    if dry_run:
        print_plan(steps, known, store, execution, as_json=as_json)
        if recipe.note and not as_json:
            typer.echo(plain(f"Note: {recipe.note}"), err=True)
        return
    budget = budget_of(execution, known, dict.fromkeys(step.request.backend for step in steps), asked.one("model"))
    with tracking_with(execution, folder) as series:
        done, stopped = carry_out(recipe.name, steps, known, store, execution, budget)
    if not stopped:
        with tolerate_broken_pipe():
            if as_json:
                print_json([_as_json(step, outcome, figures) for step, outcome in done])
            else:
                _print_outcomes(done, figures)
        if smoke and figures:
            verbosity.note("Figures of a smoke test are not measurements: its rows and model are not the published ones.")
    series.finish([outcome for _, outcome in done], stopped)


@dataclass(frozen=True, slots=True)
class Searched:
    """What became of a search. `best`: settings of its best trial, whose `metric` on validation rows is `value`; `backend`: the
    YAML with these settings."""

    state: str
    study: str = ""
    metric: str = ""
    value: float | None = None
    best: dict[str, Any] | None = None
    trials: int = 0
    backend: Path | None = None
    error: BenchError | None = None

    def as_json(self) -> dict[str, Any]:
        backend = self.backend and self.backend.as_posix()
        return {**asdict(replace(self, error=None)), "backend": backend, "error": self.error and error_as_json(self.error)}


Done = tuple["Step", FinishedRun | Searched]


def carry_out(
    recipe: str, steps: Sequence[Step], known: Catalog, store: Store, execution: ExecutionOptions, budget: Budget | None
) -> tuple[list[Done], bool]:
    """What became of each step so far, and whether Ctrl-C ended it. Searches go the way of `bench study tune`."""
    done: list[Done] = []
    for group in _groups(steps):
        if group[0].tune is not None:
            searched, stopped = _search(recipe, group[0], known, store.root.parent, execution)
            done.append((group[0], searched))
        else:
            impossible, runs = _startable(group, done)
            done += impossible
            finished, stopped = run_all(known, _requests(runs), store, execution, budget) if runs else ([], False)
            done += [(runs[one.position][0], one) for one in finished]
            if len(finished) < len(runs) and not stopped:
                break  # no space or no budget left: every other run would end the same way
        if stopped:
            return done, True
    return done, False


def _groups(steps: Sequence[Step]) -> list[list[Step]]:
    """Neighbours that are one series of runs: a search is a group of its own."""
    groups: list[list[Step]] = []
    for step in steps:
        if not groups or step.tune is not None or groups[-1][0].tune is not None:
            groups.append([step])
        else:
            groups[-1].append(step)
    return groups


def _startable(group: Sequence[Step], done: Sequence[Done]) -> tuple[list[Done], list[tuple[Step, RunOptions]]]:
    """The steps that a failure in an earlier group makes impossible; and the others, with the model from which they continue
    where an earlier group has trained it."""
    from harness.execution.schedule import impossible
    from harness.execution.worker import failed

    ended: list[Done] = []
    runs: list[tuple[Step, RunOptions]] = []
    for step in group:
        before = next((outcome for other, outcome in [*done, *ended] if other is step.base), None)
        if before is None:
            runs.append((step, step.request))
        elif before.error is not None:
            assert step.base is not None
            error = impossible(step.name, step.base.name)
            typer.echo(worded(error), err=True)
            ended.append((step, FinishedRun(step.request, failed(error))))
        else:
            key = before.outcome.trained_key if isinstance(before, FinishedRun) else None
            runs.append((step, step.request.changed(continue_from=key)))  # later steps know the step itself
    return ended, runs


def _requests(runs: Sequence[tuple[Step, RunOptions]]) -> list[Request]:
    from harness.execution.jobs import Request

    places = {id(step): place for place, (step, _) in enumerate(runs)}
    return [
        Request(f"{step.name} {options.lang}", options, None if step.base is None else places.get(id(step.base)))
        for step, options in runs
    ]


def _search(recipe: str, step: Step, known: Catalog, results: Path, execution: ExecutionOptions) -> tuple[Searched, bool]:
    """The search, and whether Ctrl-C ended it."""
    from harness.core.errors import as_bench_error
    from harness.studies.search import new_search
    from harness.studies.steps import SearchCatalog

    assert step.tune is not None
    catalog = SearchCatalog(known.project, known.trust_metric_code, space=step.tune.space)
    request = step.request
    try:
        search = new_search(
            request, request.validation_lang or request.train_lang or (request.lang,), catalog, step.tune.metric
        )
        # A search on other rows, or of another backend, is another study.
        folder = results / "studies" / f"{recipe}-{step.name}-{search.digest}"
        path = folder / f"{request.backend}-tuned.yaml"
        found = carry_out_search(search, folder, path, catalog, step.tune.trials, execution)
    except Exception as problem:
        failure = as_bench_error(problem)
        typer.echo(worded(failure), err=True)
        return Searched("failed", error=failure), False
    finished, state = sum(trial.is_finished for trial in found.trials), "stopped" if found.stopped else "searched"
    if found.best is None:
        return Searched(state, folder.name, search.metric, trials=finished, error=found.error), found.stopped
    return Searched(state, folder.name, search.metric, found.best.value, found.best.settings, finished, path), found.stopped


def _check_options(steps: Sequence[Step], known: Catalog) -> None:
    """A wrong setting or search space is found before the first model trains."""
    from harness.specs.backend_specs import engine_class, with_settings
    from harness.specs.yamlspec import validate_options
    from harness.studies.search import searched_backend
    from harness.studies.steps import SearchCatalog

    for step in steps:
        spec = with_settings(known.backend(step.request.backend), step.request.settings)
        validate_options(spec.options, engine_class(spec.engine).Options, f"{step.name}: backend {spec.name!r}, options")
        if step.tune is not None:
            searched_backend(step.request, SearchCatalog(known.project, known.trust_metric_code, space=step.tune.space))


def _figures(step: Step, figures: Sequence[Figure]) -> list[Figure]:
    """The published figures of this run, in this language or in all languages together."""
    return [figure for figure in figures if figure.run == step.name and figure.lang in (None, step.request.lang)]


def _print_outcomes(done: Sequence[Done], figures: Sequence[Figure]) -> None:
    records = [outcome.record for _, outcome in done if isinstance(outcome, FinishedRun) and outcome.record]
    headline = [name for record in records for name in record.metrics.headline]
    searched = [outcome.metric for _, outcome in done if isinstance(outcome, Searched) and outcome.metric]
    published = [figure.metric for figure in figures if any(figure.metric in record.metrics.values for record in records)]
    metrics = list(dict.fromkeys([*headline, *searched, *published]))
    from harness.studies.trial_jobs import shown_settings

    columns = ["step", "lang", "n", *metrics, "rows/s", "reported", "record", "run"]
    rows = [
        [step.name, step.request.lang, *_measured(outcome, metrics), _shown(_figures(step, figures)), *_record(outcome)]
        for step, outcome in done
    ]
    print_table(columns, rows, text=["reported"], optional=["rows/s", *reversed(metrics[1:]), "run"])
    for step, outcome in done:
        if isinstance(outcome, Searched) and outcome.best is not None:
            best = shown_settings(outcome.best)
            verbosity.note(f"{step.name}, best of {outcome.trials} trials: {best}. Written: {outcome.backend}")
    verbosity.note("Reported figures are published ones, not measured here.")


def _measured(outcome: FinishedRun | Searched, metrics: Sequence[str]) -> list[str]:
    """Number of rows, metrics, rows per second."""
    from harness.reports.text.formats import shown

    if isinstance(outcome, Searched):
        value = "-" if outcome.value is None else f"{outcome.value:.3f} (validation)"
        return ["-", *(value if name == outcome.metric else "-" for name in metrics), "-"]
    if outcome.record is None:
        return ["-"] * (len(metrics) + 2)
    values, rate = outcome.record.metrics.values, outcome.record.timing.rows_per_second
    cells = [shown(values[name]) if name in values else "-" for name in metrics]
    return [str(outcome.record.n), *cells, "-" if rate is None else f"{rate:,.1f}"]


def _record(outcome: FinishedRun | Searched) -> list[str]:
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


def _as_json(step: Step, outcome: FinishedRun | Searched, figures: Sequence[Figure]) -> dict[str, Any]:
    reported = [
        {
            **figure.model_dump(include={"metric", "value", "n", "lang", "split", "note"}),
            **dict(zip(("low", "high"), figure.interval or (None, None), strict=True)),
        }
        for figure in _figures(step, figures)
    ]
    return {"step": step.name, "reported": reported, **outcome.as_json()}
