"""What each run or search of a command would do, without doing it: no network, no download, nothing written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from harness.core.errors import BenchError, MissingExtra, ModelUnavailable
from harness.core.json_files import digest
from harness.core.types import Example
from harness.data.rows import load_examples
from harness.execution.jobs import check_needs, group_of, need_of
from harness.models.cache import MODEL
from harness.models.checkpoints import local_only
from harness.records.store import Store
from harness.running.runner import found_run
from harness.running.training import trained_folder
from harness.specs.backend_specs import BackendSpec, checkpoint_of, engine_class, with_settings
from harness.specs.catalog import Catalog
from harness.specs.executors import Needs
from harness.studies.steps import Step, plan_of

CHOICES = ("decoding", "calibration", "decision", "shots_by")
Rows = Callable[[str, str, str], list[Example] | None]
"""`rows(task, lang, split)`; None where they are not on this machine."""


class State(StrEnum):
    """`CONTINUES`: a run began and was interrupted."""

    FOUND = "found"
    CONTINUES = "continues"
    TO_DO = "to do"


@dataclass(frozen=True, slots=True)
class Count:
    """The rows of `langs` together: at most `rows` unless `exact`, and None where nothing limits their number."""

    langs: tuple[str, ...]
    rows: int | None
    exact: bool

    def __str__(self) -> str:
        number = "all" if self.rows is None else f"{self.rows:,}"
        return f"{'' if self.exact or self.rows is None else '≤ '}{number} {'+'.join(self.langs)}"


@dataclass(frozen=True, slots=True)
class PlannedNeed:
    """`gpus`: None for one where the machine has one. None elsewhere: as the engine has it by default."""

    gpus: float | None
    cpus: float | None
    memory_gib: float | None


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """`train` and `validation` are None for a prompted model, `test` for a search. `choices`: of how a
    model is prompted, by option. `need`: of the machine that carries it out.
    `group`: a number, equal for steps that the same loaded model serves. `continued_from`: the step that it waits for. `note`:
    what is missing on this machine, or that the model is trained already."""

    step: str
    task: str
    backend: str
    train: Count | None
    validation: Count | None
    test: Count | None
    settings: Mapping[str, Any]
    prompt: str | None
    choices: Mapping[str, str]
    seed: int
    continued_from: str | None
    searched: tuple[str, ...]
    trials: int | None
    need: PlannedNeed
    group: int
    state: State
    note: str | None


def planned_steps(steps: Sequence[Step], catalog: Catalog, store: Store, needs: Needs) -> list[PlannedStep]:
    """`needs`: those of bench.toml. Raises as `check_needs` does."""
    check_needs(needs, catalog)
    rows = _reader(catalog, steps[0].request.data if steps else None)
    groups: dict[str, int] = {}
    planned = []
    for step in steps:
        served = group_of(step.request, catalog) if step.tune is None else repr(step)
        number = groups.setdefault(digest([served, step.base and step.base.name]), len(groups) + 1)
        planned.append(_planned(step, catalog, store, rows, _need(step, catalog, needs), number))
    return planned


def _need(step: Step, catalog: Catalog, needs: Needs) -> PlannedNeed:
    need = need_of(step.request, catalog, needs)
    return PlannedNeed(need.gpus, need.cpus, need.memory_gib)


def _planned(step: Step, catalog: Catalog, store: Store, rows: Rows, need: PlannedNeed, group: int) -> PlannedStep:
    from harness.core.engine import Classifier, TrainedLanguageModel

    request, tune = step.request, step.tune
    spec = with_settings(catalog.backend(request.backend), request.settings)
    langs = request.train_lang or (request.lang,)
    trains = issubclass(engine_class(spec.engine), Classifier | TrainedLanguageModel)

    def count(split: str, langs: tuple[str, ...], limit: int | None) -> Count:
        found = [rows(request.task, lang, split) for lang in langs]
        here = [len(part) for part in found if part is not None]
        if len(here) == len(langs):
            return Count(langs, sum(n if limit is None else min(n, limit) for n in here), exact=True)
        return Count(langs, None if limit is None else limit * len(langs), exact=False)

    with local_only():
        note = _missing(spec)
        state = State.TO_DO
        if note is None and tune is None and rows(request.task, request.lang, "test") is not None:
            state, note = _state(step, catalog, store)
    return PlannedStep(
        step=step.name,
        task=request.task,
        backend=request.backend,
        train=count("train", langs, request.train_limit) if trains else None,
        validation=count("validation", request.validation_lang or langs, request.validation_limit) if trains else None,
        test=None if tune else count("test", (request.lang,), request.limit),
        settings=dict(request.settings),
        prompt=request.prompt,
        choices={name: str(value) for name in CHOICES if (value := getattr(request, name)) is not None},
        seed=request.seed,
        continued_from=step.base.name if step.base else None,
        searched=tuple(tune.space) if tune else (),
        trials=tune.trials if tune else None,
        need=need,
        group=group,
        state=state,
        note=note,
    )


def _reader(catalog: Catalog, data_dir: Path | None) -> Rows:
    @cache
    def rows(task: str, lang: str, split: str) -> list[Example] | None:
        spec = catalog.task(task)
        if spec.source.hub is not None and data_dir is None:
            return None
        try:
            return load_examples(spec, lang=lang, split=split, data_dir=data_dir)
        except BenchError:
            return None  # the run will say what is wrong with them

    return rows


def _missing(spec: BackendSpec) -> str | None:
    try:
        checkpoint_of(spec)
    except MissingExtra:
        return f"the extra {engine_class(spec.engine).extra!r} is not installed"
    except ModelUnavailable:
        return "the model is not on this machine"
    return None


def _state(step: Step, catalog: Catalog, store: Store) -> tuple[State, str | None]:
    try:
        plan = plan_of(step, catalog)
    except BenchError:
        return State.TO_DO, None  # the model to start from is still to be trained, say
    if found_run(store, plan) is not None:
        return State.FOUND, None
    state = State.CONTINUES if (store.root / f"{plan.run_id}.partial" / "journal.jsonl").is_file() else State.TO_DO
    trained = plan.training is not None and (trained_folder(plan) / MODEL).is_dir()
    return state, "the model is trained already" if trained else None
