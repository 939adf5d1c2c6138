"""`bench prompts optimize`: search for a prompt, on validation rows."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import verbosity
from harness.cli.options import (
    RESULTS,
    Json,
    catalog,
    check_cache,
    open_store,
    plain,
    print_json,
    print_table,
    tolerate_broken_pipe,
    worded,
)
from harness.cli.requests import budget_of, completed
from harness.cli.run_options import completion, takes_run_options
from harness.core.options import ExecutionOptions, RunOptions
from harness.core.places import place_of
from harness.specs.asked import Asked, check_data, check_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.cli.progress import Progress
    from harness.core.errors import BenchError
    from harness.specs.catalog import Catalog
    from harness.specs.costs import Budget
    from harness.studies.prompt_files import Candidate, Output
    from harness.studies.prompt_search import PromptSearch
    from harness.studies.prompt_study import Change, PromptStudy, SearchTrial

OPTIONS = (
    *("backend", "task", "lang", "prompt", "decoding", "calibration", "seed", "validation_limit", "settings", "model", "data"),
    *("max_cost", "force", "trust_metric_code", "results", "track", "quiet", "verbose"),
)
HELP = {
    "backend": "Language model that the prompt is for.",
    "lang": "Languages to validate in; default: all of the task's.",
    "prompt": "Prompts to start from; the first is the original; default: by the task's kind of labels.",
    "decoding": "free, constrained or score, for all trials; default: the prompt's own.",
    "calibration": "Calibrations to try with score, besides the prompt's own; default: none, batch.",
    "seed": "Seed of the search, and of the first draw of few-shot examples.",
    "validation_limit": "At most N validation rows per language; default: all.",
    "force": "Replace the prompt's file if it exists.",
}
Trials = Annotated[int, typer.Option(min=1, metavar="N", help="Number of trials, including those of earlier commands.")]
Metric = Annotated[
    str | None, typer.Option(metavar="NAME", help="Metric to optimize; default: the task's first headline metric.")
]
MaxShots = Annotated[int, typer.Option(min=0, metavar="N", help="At most N few-shot examples per class, from training rows.")]
Draws = Annotated[int, typer.Option(min=1, metavar="N", help="Different draws of the few-shot examples.")]
ProposerName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Language model that writes new instructions.", autocompletion=completion("backend")),
]
Proposals = Annotated[int, typer.Option(min=1, metavar="N", help="Instructions that --proposer writes.")]
ProposalTokens = Annotated[
    int, typer.Option(min=1, metavar="N", help="Longest answer of --proposer; a model that thinks needs more.")
]
StudyName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the study; default: from task, backend and languages.")
]
OutputName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Prompt to write; default: the original's name and -optimized.")
]


@takes_run_options(*OPTIONS, help=HELP)
def optimize_command(
    asked: Asked,
    execution: ExecutionOptions,
    trials: Trials = 10,
    max_shots: MaxShots = 2,
    draws: Draws = 3,
    proposer: ProposerName = None,
    proposals: Proposals = 4,
    proposal_tokens: ProposalTokens = 1024,
    metric: Metric = None,
    study: StudyName = None,
    output: OutputName = None,
    as_json: Json = False,
) -> None:
    """Search for a better prompt on validation rows.

    Each trial is a run with one of the prompts, a number and a draw of few-shot examples, and a calibration. It begins on few
    rows, and ends there if it is clearly worse than the best so far. Test rows are never read. With several languages the value
    of a trial is the mean over them. The best prompt is written to prompts/, and the command that tests it is printed. A
    stopped search continues: repeat the command.

    --json prints an object with study, folder, metric, rows, trials (a list of number, state, prompt, shots, shots_seed,
    calibration, value, rows, error), best, original, difference (value, low, high, significant), prompt, file, command.
    """
    from harness.cli.execute_runs import exit_if_interrupted, tracking_with
    from harness.studies.prompt_files import Output
    from harness.studies.prompt_search import new_prompt_search

    known = catalog(execution.trust_metric_code)
    asked = completed(asked, known, open_store(execution.results))
    options, langs = _options(asked, known)
    budget = budget_of(execution, known, list(filter(None, [options.backend, proposer])), options.model)
    search = new_prompt_search(
        options,
        langs,
        asked.many("prompt"),
        known,
        metric=metric,
        max_shots=max_shots,
        draws=draws,
        calibrations=asked.many("calibration"),
        proposer=proposer,
        proposals=proposals,
        proposal_tokens=proposal_tokens,
    )
    name = study or "-".join(
        ["prompts", options.task, options.backend, "+".join(langs), *([f"s{options.seed}"] if options.seed else [])]
    )
    folder = execution.results / "studies" / _checked(name, "--study", r"\w[\w.+-]*")
    written = Output(
        Path("prompts"), _checked(output or f"{search.templates[0].name}-optimized", "--output", r"[A-Za-z0-9_-]+")
    )
    with tracking_with(execution) as series:
        found = carry_out(search, folder, written, known, trials, budget, force=execution.force)
    with tolerate_broken_pipe():
        if not found.stopped:
            _report(search, found, _command(search, found, execution.results, known), as_json=as_json)
    series.print_search(folder)
    exit_if_interrupted(found.stopped)
    if found.error is not None:
        raise found.error


def _options(asked: Asked, known: Catalog) -> tuple[RunOptions, tuple[str, ...]]:
    """Options of the trials, and the languages to validate in."""
    from harness.core.errors import UnknownName, UserError

    task, backend = known.task(asked.one("task")), asked.one("backend")
    check_data(asked.one("data"))
    check_model(known, [backend], asked.one("model"))
    langs = tuple(asked.many("lang") or task.languages)
    for code in langs:
        if code not in task.languages:
            raise UnknownName(f"language of the task {task.name!r}", code, task.languages)
    if asked.one("validation_limit") == 0:
        raise UserError("--validation-limit 0: a search needs validation rows.", "Give it a larger number, or leave it out.")
    own = {"task": task.name, "backend": backend, "seed": asked.one("seed"), "decoding": asked.one("decoding")}
    return asked.base(**own, lang=langs[0], split="validation"), langs


def _checked(name: str, option: str, pattern: str) -> str:
    from harness.core.errors import UserError

    if not re.fullmatch(pattern, name):
        raise UserError(f"{option} {name!r} is not a valid name.", "Use letters, digits, - and _ between them.")
    return name


@dataclass(frozen=True)
class FinishedSearch:
    """`stopped`: by Ctrl-C. `error`: what ended the search, or that no trial completed. `path`: the file of the best prompt,
    None if that is the original. `exhausted`: all combinations were tried. `twins`: see `PromptStudy.twins`, of the best."""

    study: str
    folder: Path
    trials: list[SearchTrial]
    best: SearchTrial | None
    original: SearchTrial | None
    change: Change | None
    twins: int
    path: Path | None
    stopped: bool
    exhausted: bool
    error: BenchError | None


def carry_out(
    search: PromptSearch, folder: Path, output: Output, known: Catalog, trials: int, budget: Budget | None, *, force: bool
) -> FinishedSearch:
    """Run the trials of the study in `folder`, and write the best prompt. Raises `UserError` before the first trial if that
    would replace other files and `force` is not given."""
    from harness.core.errors import BenchError, RunError
    from harness.studies.prompt_study import open_prompt_study
    from harness.studies.study import is_begun

    if not is_begun(folder):
        output.check(known, force=force)
    with open_prompt_study(search, folder, known, budget) as study:
        if study.finished() < trials:
            output.check(known, force=force)
        stopped, exhausted, error = _run_trials(study, trials)
        done, best = study.trials(), study.best()
        is_over = not stopped and error is None
        if is_over and best is None:
            error = RunError(f"No trial of the study {folder.name!r} completed.", "See the errors above; then try more trials.")
        path = None
        if is_over and best is not None and best.candidate != search.original:
            try:
                output.write(study.winner_files(output), force=force)
                path = output.path
            except BenchError as refused:
                error = refused
        twins = study.twins(best) if best is not None and best.candidate.shots else 0
        return FinishedSearch(
            folder.name, folder, done, best, study.original(), study.change(), twins, path, stopped, exhausted, error
        )


def _run_trials(study: PromptStudy, trials: int) -> tuple[bool, bool, BenchError | None]:
    """Whether Ctrl-C ended it, whether all combinations were tried, and the error that ended it."""
    from harness.cli.progress import Progress
    from harness.studies.prompt_study import KEPT

    def started(number: int, candidate: Candidate) -> None:
        progress.say(f"trial {number}: {candidate}")

    check_cache()
    before = study.finished()
    if before:
        verbosity.note(f"Found: {before} finished trial{'' if before == 1 else 's'}.")
    with Progress(max(trials - before, 0)) as progress:
        try:
            while study.finished() < trials:
                progress.next(f"trial {study.finished()}")
                trial = study.next_trial(started, progress.update)
                if trial is None:
                    return False, True, None
                _ended(progress, trial, study)
        except KeyboardInterrupt:
            return True, False, None
        except KEPT as error:
            return False, False, error
    return False, False, None


def _ended(progress: Progress, trial: SearchTrial, study: PromptStudy) -> None:
    from harness.core.errors import RunError

    if trial.error is not None:
        progress.print(worded(RunError(f"trial {trial.number} failed: {trial.error}")))
        return
    worth = f"{study.search.metric} {trial.value:.4f} on {trial.rows} rows"
    if trial.state == "stopped":
        progress.say(f"trial {trial.number}: {worth}, stopped: clearly worse than the best")
        return
    best = study.best()
    new = " (best so far)" if best is not None and best.number == trial.number else ""
    progress.say(f"trial {trial.number}: {worth}{new}")


def _command(search: PromptSearch, found: FinishedSearch, results: Path, known: Catalog) -> str | None:
    """The command that tests the best prompt on test rows; None if the search is not over."""
    from harness.studies.prompt_search import as_asked

    if found.best is None or found.error is not None:
        return None
    langs = search.langs if set(search.langs) != set(known.task(search.request.task).languages) else ()
    lang = ",".join(langs)
    tested = search.request.changed(lang=lang, prompt=None if found.path is None else found.path.stem)
    if found.path is None:
        tested = as_asked(tested, search.templates[0], lang, search.asked_decoding)
    where = [] if results == RESULTS else ["--results", place_of(results)]
    return shlex.join(["bench", "run", *tested.changed(split="test", limit=None).arguments(), *where])


# What it prints


def _report(search: PromptSearch, found: FinishedSearch, command: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json(_json(search, found, command))
    elif found.trials:
        _print_trials(search, found)
        for line in _sentences(search, found):
            typer.echo(plain(line))
    if command is not None:
        if found.path is not None:
            verbosity.note(f"Written: {found.path}")
        verbosity.note(f"Next: {command}")


def _json(search: PromptSearch, found: FinishedSearch, command: str | None) -> dict[str, Any]:
    over, change = command is not None, found.change
    limits = [None if change is None or math.isnan(limit) else limit for limit in (change and (change.low, change.high)) or ()]
    return {
        "study": found.study,
        "folder": found.folder.as_posix(),
        "metric": search.metric,
        "rows": len(search.rows),
        "trials": [_trial_json(trial) for trial in found.trials],
        "best": found.best and found.best.number,
        "original": found.original and found.original.number,
        "difference": change
        and {"value": change.value, **dict(zip(("low", "high"), limits, strict=True)), "significant": change.is_significant},
        "prompt": (search.templates[0].name if found.path is None else found.path.stem) if over else None,
        "file": found.path and found.path.as_posix(),
        "command": command,
    }


def _trial_json(trial: SearchTrial) -> dict[str, Any]:
    candidate = trial.candidate
    return {
        **{"number": trial.number, "state": trial.state, "prompt": candidate.template, "shots": candidate.shots},
        **{"shots_seed": candidate.shots_seed, "calibration": str(candidate.calibration), "value": trial.value},
        **{"rows": trial.rows, "error": trial.error},
    }


def _print_trials(search: PromptSearch, found: FinishedSearch) -> None:
    columns = ["trial", "prompt", "shots", "shots seed", "calibration", search.metric, "rows", "state"]
    rows = [
        [
            f"{trial.number}{'*' if found.best is not None and trial.number == found.best.number else ''}",
            trial.candidate.template,
            str(trial.candidate.shots),
            "-" if trial.candidate.shots_seed is None else str(trial.candidate.shots_seed),
            str(trial.candidate.calibration),
            "-" if trial.value is None else f"{trial.value:.4f}",
            "-" if trial.rows is None else str(trial.rows),
            trial.state,
        ]
        for trial in found.trials
    ]
    print_table(columns, rows, optional=["calibration", "shots seed", "rows"])


def _sentences(search: PromptSearch, found: FinishedSearch) -> list[str]:
    counts = _counted(found.trials)
    rows = f"{len(search.rows):,} validation rows ({'+'.join(search.langs)})"
    lines = [f"\n{len(found.trials)} trials on {rows}: {counts}.{' All combinations were tried.' if found.exhausted else ''}"]
    best, original, change = found.best, found.original, found.change
    if best is None:
        return lines
    if best.candidate == search.original:
        lines.append(f"No trial was better than the original ({best.candidate}): {search.metric} {best.value:.4f}.")
    else:
        lines.append(f"Best: trial {best.number} ({best.candidate}): {search.metric} {best.value:.4f}.")
        if original is not None and change is not None:
            lines.append(
                f"Original: trial {original.number} ({original.candidate}): {original.value:.4f}. {_difference(change)}"
            )
        lines.append(
            f"This score is too high, as that of the best of {len(found.trials)} trials on the rows that chose it. The run on"
            " test rows is the one that counts."
        )
    if found.twins:
        lines.append(f"{found.twins} validation rows have a duplicate among the few-shot examples: they count for too much.")
    lines.append(
        f"No test row was read, so duplicates of validation rows among them are not counted here: bench analyze data --task"
        f" {search.request.task} counts them."
    )
    return lines


def _counted(trials: Sequence[SearchTrial]) -> str:
    states = [trial.state for trial in trials]
    named = {"complete": "complete", "stopped": "stopped early", "failed": "failed", "interrupted": "interrupted"}
    return ", ".join(f"{states.count(state)} {words}" for state, words in named.items() if state in states)


def _difference(change: Change) -> str:
    if math.isnan(change.low):
        return f"Difference {change.value:+.4f}, without an interval."
    verdict = "significant" if change.is_significant else "not significant"
    return (
        f"Difference {change.value:+.4f}, 95% interval {change.low:+.4f} to {change.high:+.4f} (paired, the same rows):"
        f" {verdict}, without a correction for the choice."
    )
