"""`bench study tune`: search for the options of a backend, on validation rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import verbosity
from harness.cli.options import (
    RESULTS,
    Data,
    Json,
    Many,
    Model,
    Quiet,
    Results,
    Settings,
    Task,
    Track,
    TrainLimit,
    TrustMetricCode,
    ValidationLimit,
    Verbose,
    catalog,
    check_cache,
    check_data,
    names,
    print_json,
    print_table,
    tolerate_broken_pipe,
    worded,
)
from harness.cli.requests import check_model, settings_from, task_or_default

if TYPE_CHECKING:
    from harness.cli.progress import Progress
    from harness.core.options import RunOptions
    from harness.specs.catalog import Catalog
    from harness.studies.search import Search
    from harness.studies.study import Study, Trial


def tune_command(
    backend: Annotated[str, typer.Option(metavar="NAME", help="Backend whose YAML has `search:`; it must be one that trains.")],
    task: Task = None,
    lang: Annotated[
        Many, typer.Option(metavar="CODE", help="Languages to train on and to validate in; needed where the task has several.")
    ] = None,
    train_lang: Annotated[
        Many, typer.Option(metavar="CODE", help="Languages to train on, together, in place of --lang.")
    ] = None,
    validation_lang: Annotated[
        Many, typer.Option(metavar="CODE", help="Languages to validate in, in place of --lang or --train-lang.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="Trials in all, those of earlier commands counted.")] = 10,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="What is optimized; default: the task's first headline metric.")
    ] = None,
    pruning: Annotated[
        bool, typer.Option("--pruning/--no-pruning", help="Give up on a trial that does worse than the median of the others.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, metavar="N", help="Of the search and of every training.")] = 0,
    train_limit: TrainLimit = None,
    validation_limit: ValidationLimit = None,
    settings: Settings = None,
    model: Model = None,
    data: Data = None,
    trust_metric_code: TrustMetricCode = False,
    study: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the study; default: from task, backend and languages.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the backend to write; default: the backend's, and -tuned.")
    ] = None,
    results: Results = RESULTS,
    track: Track = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Search for options that do well on validation rows, and write a backend that has them.

    What is tried stands under `search:` in the backend's YAML. Each trial trains and predicts validation rows; test rows are
    never read. With several validation languages a trial is worth the mean over them. A search that was stopped goes on: give
    the same command again. The best trial's trained model stays in the cache, those of the others are deleted.

    --json prints an object with study, folder, metric, trials (a list of number, state, settings, value, error), best, backend
    (the file).
    """
    from harness.cli.execute_runs import exit_if_interrupted, tracking_with
    from harness.core.errors import RunError
    from harness.core.json_files import write_atomically
    from harness.studies.search import check_output, new_search
    from harness.studies.study import open_study

    verbosity.begin(quiet, verbose)
    known = catalog(trust_metric_code)
    task = task_or_default(known, task)
    check_data(data)
    known.backend(backend)
    check_model(known, [backend], model)
    langs, trained_on = _languages(known, task, lang, train_lang, validation_lang)
    request = _request(task, backend, langs, trained_on, seed, train_limit, validation_limit, settings, model, data)
    search = new_search(request, langs, known, metric)
    name = study or _default_name(request, langs)
    path = Path("backends") / f"{_checked(output or f'{backend}-tuned', '--output')}.yaml"
    check_output(path, search, name, known)
    folder = results / "studies" / _checked(name, "--study")
    with open_study(search, folder, known) as opened, tracking_with(track, results) as series:
        stopped = run_trials(opened, trials, pruning)
        done, best = opened.trials(), opened.best()
    if not stopped:
        if best is not None:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, backend_yaml(search, best, done, name))
        with tolerate_broken_pipe():
            print_json(_as_json(name, folder, search, done, best, path)) if as_json else _print_trials(search, done, best)
        if best is not None:
            verbosity.note(f"Best: trial {best.number}. Written: {path}")
            verbosity.note(f"Next: {_next(request, langs, path.stem, results)}")
    series.print_search(folder)
    exit_if_interrupted(stopped)
    if best is None:
        raise RunError(f"No trial of the study {name!r} was completed.", "See above why; then more --trials, or another space.")


def _languages(
    known: Catalog, task: str, lang: Many, train_lang: Many, validation_lang: Many
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Languages to validate in, and to train on."""
    from harness.core.errors import UnknownName, UserError

    spec = known.task(task)
    both = names(lang, "--lang")
    trained = names(train_lang, "--train-lang") or both
    validated = names(validation_lang, "--validation-lang") or both or trained
    trained = trained or validated or spec.languages
    validated = validated or trained
    for code in (*trained, *validated):
        if code not in spec.languages:
            raise UnknownName(f"language of the task {task!r}", code, spec.languages)
    if len(spec.languages) > 1 and not (lang or train_lang or validation_lang):
        raise UserError(f"Which language of {task!r}? Name it with --lang.", f"Known: {', '.join(spec.languages)}.")
    return tuple(validated), tuple(trained)


def _request(
    task: str,
    backend: str,
    langs: tuple[str, ...],
    trained_on: tuple[str, ...],
    seed: int,
    train_limit: int | None,
    validation_limit: int | None,
    settings: Many,
    model: str | None,
    data: Path | None,
) -> RunOptions:
    from harness.core.options import RunOptions

    return RunOptions(
        task=task,
        backend=backend,
        lang=langs[0],
        split="validation",
        train_lang=trained_on,
        validation_lang=langs,
        seed=seed,
        train_limit=train_limit,
        validation_limit=validation_limit,
        settings=settings_from(settings),
        model=model,
        data=data,
    )


def _default_name(request: RunOptions, langs: tuple[str, ...]) -> str:
    parts = [request.task, request.backend, "+".join(request.train_lang)]
    if langs != request.train_lang:
        parts.append("for-" + "+".join(langs))
    return "-".join([*parts, *([f"s{request.seed}"] if request.seed else [])])


def _checked(name: str, option: str) -> str:
    from harness.core.errors import UserError

    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise UserError(f"{option} {name!r}: that is no name.", "Use letters, digits, and - _ . + between them.")
    return name


def run_trials(study: Study, trials: int, pruning: bool) -> bool:
    """Whether Ctrl-C ended it."""
    from harness.cli.progress import Progress

    check_cache()
    before = study.finished()
    if before:
        verbosity.note(f"Found: {before} finished trial{'' if before == 1 else 's'}.")
    with Progress(max(trials - before, 0)) as progress:
        try:
            while study.finished() < trials:
                progress.next(f"trial {study.finished()}")
                trial = study.next_trial(_started(progress), progress.update, pruning=pruning)
                _ended(progress, trial, study)
            study.tidy()  # a kill may have come after the last trial and before its model was deleted
        except KeyboardInterrupt:
            return True
    return False


def _started(progress: Progress) -> Callable[[Trial], None]:
    return lambda trial: progress.say(f"trial {trial.number}: {_settings(trial)}")


def _ended(progress: Progress, trial: Trial, study: Study) -> None:
    from harness.core.errors import RunError

    if trial.error is not None:
        progress.print(worded(RunError(f"trial {trial.number} failed: {trial.error}")))
    elif trial.value is None:
        progress.say(f"trial {trial.number}: pruned, below the median of the others")
    else:
        best = study.best()
        new = " (best so far)" if best is not None and best.number == trial.number else ""
        progress.say(f"trial {trial.number}: {study.search.metric} {trial.value:.4f}{new}")


def _settings(trial: Trial) -> str:
    return ", ".join(f"{name}={shown_value(value)}" for name, value in trial.settings.items())


def shown_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def backend_yaml(search: Search, best: Trial, trials: Sequence[Trial], study: str) -> str:
    from harness.studies.search import tuned_backend

    count = sum(trial.state in ("complete", "pruned", "failed") for trial in trials)
    description = (
        f"{search.request.backend}, tuned: {search.metric} {best.value:.4f} on validation rows ({'+'.join(search.langs)}), "
        f"the best of {count} trials of the study {study}."
    )
    return tuned_backend(search, best.settings, description, study)


def _as_json(
    name: str, folder: Path, search: Search, trials: Sequence[Trial], best: Trial | None, path: Path
) -> dict[str, Any]:
    fields = ("number", "state", "settings", "value", "error")
    return {
        "study": name,
        "folder": folder.as_posix(),
        "metric": search.metric,
        "trials": [{field: getattr(trial, field) for field in fields} for trial in trials],
        "best": None if best is None else best.number,
        "backend": None if best is None else path.as_posix(),
    }


def _print_trials(search: Search, trials: Sequence[Trial], best: Trial | None) -> None:
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


def _next(request: RunOptions, langs: tuple[str, ...], output: str, results: Path) -> str:
    """A command that tests the best model, found in the cache."""
    train = ",".join(request.train_lang)
    words = ["bench run", f"--backend {output}", f"--task {request.task}", f"--train-lang {train}"]
    if langs != request.train_lang:
        words.append(f"--validation-lang {','.join(langs)}")
    given = {"train-limit": request.train_limit, "validation-limit": request.validation_limit, "data": request.data}
    given |= {"seed": request.seed or None, "results": None if results == RESULTS else results}
    return " ".join([*words, *(f"--{name} {value}" for name, value in given.items() if value is not None)])
