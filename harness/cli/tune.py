"""`bench study tune`: search for the options of a backend, on validation rows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import verbosity
from harness.cli.dry_run import DryRun, print_plan
from harness.cli.options import (
    RESULTS,
    Json,
    catalog,
    check_cache,
    open_store,
    print_json,
    print_table,
    tolerate_broken_pipe,
    worded,
)
from harness.cli.requests import completed
from harness.cli.run_options import takes_run_options
from harness.core.options import ELSEWHERE, ExecutionOptions, RunOptions
from harness.core.places import place_of
from harness.specs.asked import Asked, check_data, check_model

if TYPE_CHECKING:
    from harness.cli.execute_runs import Lines
    from harness.core.errors import BenchError
    from harness.specs.catalog import Catalog
    from harness.studies.search import Search
    from harness.studies.steps import Step
    from harness.studies.study import Study, Trial

OPTIONS = ("backend", "task", "lang", "train_lang", "validation_lang", "seed", "train_limit", "validation_limit", "settings")
HELP = {
    "backend": "Backend that trains and whose YAML has `search:`.",
    "lang": "Languages to train on and to validate in; needed if the task has several.",
    "train_lang": "Languages to train on, together; default: those of --lang.",
    "validation_lang": "Languages to validate in; default: those of --lang, else of --train-lang.",
    "seed": "Seed of the search and of every training.",
}
Trials = Annotated[int, typer.Option(min=1, metavar="N", help="Number of trials, including those of earlier commands.")]
Metric = Annotated[
    str | None, typer.Option(metavar="NAME", help="Metric to optimize; default: the task's first headline metric.")
]
Pruning = Annotated[
    bool, typer.Option("--pruning/--no-pruning", help="Stop a trial that is worse than the median of the others.")
]
StudyName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the study; default: from task, backend and languages.")
]
Output = Annotated[str | None, typer.Option(metavar="NAME", help="Backend to write; default: the backend's name and -tuned.")]


@takes_run_options(
    *OPTIONS, "model", "data", "trust_metric_code", "results", *ELSEWHERE, "track", "quiet", "verbose", help=HELP
)
def tune_command(
    asked: Asked,
    execution: ExecutionOptions,
    trials: Trials = 10,
    metric: Metric = None,
    pruning: Pruning = True,
    study: StudyName = None,
    output: Output = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Search a backend's hyperparameters on validation rows.

    The search space is `search:` in the backend's YAML. Each trial trains a model and predicts validation rows; test rows are
    never read. With several validation languages the value of a trial is the mean over them. The best settings are written as a
    new backend. A stopped search continues: repeat the command. The best trial's model stays in the cache, the others are
    deleted.

    --json prints an object with study, folder, metric, trials (a list of number, state, settings, value, key, error), best,
    backend (the file). With --dry-run: as `bench study recipe` prints it.
    """
    from harness.cli.execute_runs import exit_if_interrupted, tracking_with
    from harness.studies.search import check_output, new_search

    known = catalog(execution.trust_metric_code)
    results = execution.results
    store = open_store(results)
    options, langs = _options(completed(asked, known, store), known)
    if dry_run:
        print_plan(
            [_step(study or _default_name(options, langs), options, known, trials)], known, store, execution, as_json=as_json
        )
        return
    search = new_search(options, langs, known, metric)
    name = study or _default_name(options, langs)
    path = Path("backends") / f"{_checked(output or f'{options.backend}-tuned', '--output')}.yaml"
    check_output(path, search, name, known)
    folder = results / "studies" / _checked(name, "--study")
    with tracking_with(execution) as series:
        found = carry_out_search(search, folder, path, known, trials, execution, pruning=pruning)
    best = found.best
    if not found.stopped:
        with tolerate_broken_pipe():
            if as_json:
                which = {"study": name, "folder": folder.as_posix(), "metric": search.metric}
                written = {"best": best and best.number, "backend": best and path.as_posix()}
                print_json({**which, "trials": [asdict(trial) for trial in found.trials], **written})
            else:
                _print_trials(search, found.trials, best)
        if best is not None:
            verbosity.note(f"Best: trial {best.number}. Written: {path}")
            verbosity.note(f"Next: {_test_command(options, langs, path.stem, results)}")
    series.print_search(folder)
    exit_if_interrupted(found.stopped)
    if found.error is not None:
        raise found.error


def _step(name: str, options: RunOptions, known: Catalog, trials: int) -> Step:
    """The search, for --dry-run. Raises `UserError` if its space does not fit."""
    from harness.specs.recipes import Tune
    from harness.studies.search import searched_backend
    from harness.studies.steps import Step

    return Step(name, options, tune=Tune(trials=trials, space=searched_backend(options, known).search))


def _options(asked: Asked, known: Catalog) -> tuple[RunOptions, tuple[str, ...]]:
    """Options of the trials, and the languages to validate in."""
    from harness.core.errors import UnknownName, UserError

    task, backend = known.task(asked.one("task")), asked.one("backend")
    check_data(asked.one("data"))
    check_model(known, [backend], asked.one("model"))
    both = asked.many("lang")
    trained, validated = asked.many("train_lang") or both, asked.many("validation_lang") or both
    trained, validated = trained or validated or task.languages, validated or trained or task.languages
    for code in (*trained, *validated):
        if code not in task.languages:
            raise UnknownName(f"language of the task {task.name!r}", code, task.languages)
    if len(task.languages) > 1 and not any(name in asked.values for name in ("lang", "train_lang", "validation_lang")):
        raise UserError(f"Which language of {task.name!r}? Name it with --lang.", f"Known: {', '.join(task.languages)}.")
    own = {"task": task.name, "backend": backend, "seed": asked.one("seed"), "lang": validated[0], "split": "validation"}
    return asked.base(**own, train_lang=trained, validation_lang=validated), tuple(validated)


def _default_name(request: RunOptions, langs: tuple[str, ...]) -> str:
    parts = [request.task, request.backend, "+".join(request.train_lang)]
    if langs != request.train_lang:
        parts.append("for-" + "+".join(langs))
    return "-".join([*parts, *([f"s{request.seed}"] if request.seed else [])])


def _checked(name: str, option: str) -> str:
    from harness.core.errors import UserError

    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise UserError(f"{option} {name!r} is not a valid name.", "Use letters, digits, and - _ . + between them.")
    return name


@dataclass(frozen=True)
class FinishedSearch:
    """`stopped`: by Ctrl-C. `error`: no trial completed."""

    trials: list[Trial]
    best: Trial | None
    stopped: bool
    error: BenchError | None


def carry_out_search(
    search: Search,
    folder: Path,
    path: Path,
    known: Catalog,
    trials: int,
    execution: ExecutionOptions,
    *,
    pruning: bool = True,
) -> FinishedSearch:
    """Run the trials of the study in `folder`, and write the best settings as a backend to `path`."""
    from harness.core.errors import RunError
    from harness.core.json_files import write_atomically
    from harness.studies.study import open_study

    error: BenchError | None
    with open_study(search, folder, known, is_shared=execution.executor != "local") as study:
        stopped, error = _run_trials(study, trials, execution, pruning=pruning)
        done, best = study.trials(), study.best()
    if error is not None:
        raise error
    if best is not None and not stopped:
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, _backend_yaml(search, best, done, folder.name))
    elif not stopped:
        error = RunError(f"No trial of the study {folder.name!r} completed.", "See the errors above; then try more trials.")
    return FinishedSearch(done, best, stopped, error)


def _run_trials(study: Study, trials: int, execution: ExecutionOptions, *, pruning: bool) -> tuple[bool, BenchError | None]:
    """Whether Ctrl-C ended it, and the error that did."""
    from harness.cli.execute_runs import Lines, executor_for
    from harness.cli.progress import Progress
    from harness.cli.project_file import executor_tables
    from harness.records.store import Store
    from harness.studies.trial_jobs import trial_jobs

    check_cache()
    finished = study.finished_places()
    if finished:
        verbosity.note(f"Found: {len(finished)} finished trial{'' if len(finished) == 1 else 's'}.")
    executor = executor_for(execution, study.catalog, Store(study.folder / "runs"), None)
    jobs = trial_jobs(study.search, study.folder, trials, study.catalog, executor_tables().needs, pruning=pruning)
    left = [job for job in jobs if job.place not in finished]
    if execution.executor == "local" or not left:  # elsewhere the list of jobs tells an array that a command attaches to
        jobs = left
    with Progress(len(jobs)) as progress:
        lines, told = Lines(progress, jobs), set(finished)
        try:
            for position, outcome in executor.carry_out(jobs, lines.tell):
                place = jobs[position].place
                if outcome.error is not None:
                    return False, outcome.error
                if place not in told:
                    _tell(lines, position, study.finished_places()[place], study)
                lines.end(position)
            study.tidy()  # a kill may have come after the last trial and before its model was deleted
        except KeyboardInterrupt:
            return True, None
    return False, None


def _tell(lines: Lines, position: int, trial: Trial, study: Study) -> None:
    """What became of a trial."""
    from harness.core.errors import RunError

    if trial.error is not None:
        lines.print(worded(RunError(f"trial {trial.number} failed: {trial.error}")))
    elif trial.value is None:
        lines.say(position, f"trial {trial.number}: pruned, worse than the median of the others")
    else:
        best = study.best()
        new = " (best so far)" if best is not None and best.number == trial.number else ""
        lines.say(position, f"trial {trial.number}: {study.search.metric} {trial.value:.4f}{new}")


def _backend_yaml(search: Search, best: Trial, trials: Sequence[Trial], study: str) -> str:
    from harness.studies.search import tuned_backend

    count = sum(trial.is_finished for trial in trials)
    description = (
        f"{search.request.backend}, tuned: {search.metric} {best.value:.4f} on validation rows ({'+'.join(search.langs)}), "
        f"the best of {count} trials of the study {study}."
    )
    return tuned_backend(search, best.settings, description, study)


def _print_trials(search: Search, trials: Sequence[Trial], best: Trial | None) -> None:
    from harness.studies.trial_jobs import shown_value

    searched = list(search.space)
    rows = [
        [
            f"{trial.number}{'*' if best is not None and trial.number == best.number else ''}",
            *(shown_value(trial.settings[name]) if name in trial.settings else "-" for name in searched),
            "-" if trial.value is None else f"{trial.value:.4f}",
            trial.state,
        ]
        for trial in trials
    ]
    print_table(["trial", *searched, search.metric, "state"], rows, optional=["state", *reversed(searched)])


def _test_command(options: RunOptions, langs: tuple[str, ...], output: str, results: Path) -> str:
    """The command that tests the best model, which is in the cache. It lacks --lang: all languages are tested."""
    validated = langs if langs != options.train_lang else ()
    tested = options.changed(backend=output, lang="", split="test", settings={}, model=None, validation_lang=validated)
    where = [] if results == RESULTS else ["--results", place_of(results)]
    return shlex.join(["bench", "run", *tested.arguments(), *where])
