"""Carry out a recipe's steps: runs through `run_all`, searches through the study that `bench study tune` uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.options import worded

if TYPE_CHECKING:
    from harness.cli.execute_runs import Outcome
    from harness.core.errors import BenchError
    from harness.core.options import RunOptions
    from harness.records.store import Store
    from harness.specs.catalog import Catalog
    from harness.studies.steps import Step


@dataclass(frozen=True, slots=True)
class Searched:
    """What became of a search. `best`: the settings of its best trial, worth `value` in `metric` on validation rows, and
    `backend` the YAML that has them."""

    state: str
    study: str = ""
    metric: str = ""
    value: float | None = None
    best: dict[str, Any] | None = None
    trials: int = 0
    backend: Path | None = None
    error: BenchError | None = None


Done = tuple["Step", "Outcome | Searched"]


def carry_out(
    recipe: str, steps: Sequence[Step], known: Catalog, store: Store, force: bool, *, gate: bool = True
) -> tuple[list[Done], bool]:
    """What became of each step so far, and whether Ctrl-C ended it."""
    from harness.cli.execute_runs import run_all
    from harness.core.errors import BenchError

    done: list[Done] = []
    for group in _groups(steps):
        if group[0].tune is not None:
            searched, stopped = _search(recipe, group[0], known, store.root.parent)
            done.append((group[0], searched))
        else:
            asked = [(step, _request(step, known, done)) for step in group]
            done += [(step, _failed(step, request)) for step, request in asked if isinstance(request, BenchError)]
            runs = [(step, request) for step, request in asked if not isinstance(request, BenchError)]
            requests = [request for _, request in runs]
            outcomes, stopped = run_all(known, requests, store, force, None, gate=gate) if runs else ([], False)
            done += [(step, outcome) for (step, _), outcome in zip(runs, outcomes, strict=False)]
            if len(outcomes) < len(runs) and not stopped:
                break  # no space, say: every other run would end the same way
        if stopped:
            return done, True
    return done, False


def _groups(steps: Sequence[Step]) -> list[list[Step]]:
    """Neighbours that can be one series of runs: no searches, and none that goes on from a model of the same group."""
    groups: list[list[Step]] = []
    for step in steps:
        last = groups[-1] if groups else []
        alone = not last or step.tune is not None or last[0].tune is not None
        if alone or step.base in last:
            groups.append([step])
        else:
            last.append(step)
    return groups


def _request(step: Step, known: Catalog, done: Sequence[Done]) -> RunOptions | BenchError:
    """What to run, now that the model it goes on from is trained; or why that is not possible."""
    from harness.core.errors import BenchError, RunError
    from harness.studies.steps import request_of

    if step.base is None:
        return step.request
    before = next((outcome for other, outcome in done if other is step.base), None)
    if before is None or before.error is not None:
        message = f"{step.name} is not possible: it goes on from {step.base.name}, which failed."
        return RunError(message, "See above why; the same command tries both again.")
    try:
        return request_of(step, known)
    except BenchError as error:
        return error


def _failed(step: Step, error: BenchError) -> Outcome:
    from harness.cli.execute_runs import Outcome

    typer.echo(worded(error), err=True)
    return Outcome(step.request, "failed", error=error)


def _search(recipe: str, step: Step, known: Catalog, results: Path) -> tuple[Searched, bool]:
    """The search, and whether Ctrl-C ended it."""
    from harness.cli import as_bench_error, tune
    from harness.core.json_files import write_atomically
    from harness.studies.search import new_search
    from harness.studies.steps import SearchCatalog
    from harness.studies.study import open_study

    assert step.tune is not None
    catalog = SearchCatalog(known.project, known.trust_metric_code, space=step.tune.space)
    request = step.request
    try:
        langs = request.validation_lang or request.train_lang or (request.lang,)
        search = new_search(request, langs, catalog, step.tune.metric)
        # A search of other rows, or of another backend, is another study.
        name = f"{recipe}-{step.name}-{search.digest}"
        path = results / "studies" / name / f"{request.backend}-tuned.yaml"
        with open_study(search, results / "studies" / name, catalog) as study:
            stopped = tune.run_trials(study, step.tune.trials, True)
            best, finished = study.best(), study.finished()
            if best is not None:
                write_atomically(path, tune.backend_yaml(search, best, study.trials(), name))
    except Exception as problem:
        error = as_bench_error(problem)
        typer.echo(worded(error), err=True)
        return Searched("failed", error=error), False
    found = "stopped" if stopped else "searched"
    if best is None:
        return Searched(found, name, search.metric, trials=finished, error=_fruitless(name, stopped)), stopped
    return Searched(found, name, search.metric, best.value, best.settings, finished, path), stopped


def _fruitless(name: str, stopped: bool) -> BenchError | None:
    from harness.core.errors import RunError

    return None if stopped else RunError(f"No trial of the study {name!r} was completed.", "See above why.")
