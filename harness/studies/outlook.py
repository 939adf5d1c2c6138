"""What a step would do, without doing any of it: no network, no download, nothing written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.core.errors import BenchError, MissingExtra, ModelUnavailable
from harness.core.options import RunOptions
from harness.core.types import Example
from harness.data.rows import load_examples
from harness.models.checkpoints import PACKAGED_PREFIX, Checkpoint, cache_dir, resolve_checkpoint
from harness.models.packaged import packaged_model
from harness.records.entries import finished_entry, read_entries
from harness.records.store import Store
from harness.running.plan import Plan, first_rows, make_plan
from harness.running.training import trained_folder, trained_key
from harness.specs.backend_specs import BackendSpec, engine_class, with_settings
from harness.specs.catalog import Catalog
from harness.specs.prices import tokens_of
from harness.specs.yamlspec import validate_options
from harness.studies.estimate import Estimate, Work, estimate, read_config, recorded_speed
from harness.studies.steps import Step, training, with_start

SAMPLE = 500
"""Texts of which the mean length is taken."""
RECORDED, TRAINED = "record there", "trained model there"
Rows = Callable[[str, str, str], list[Example] | None]
"""`rows(task, lang, split)`; None where they are not on this machine."""


@dataclass(frozen=True, slots=True)
class Count:
    """Rows in `langs` together. `number` is at most that where not `exact`, and None where nothing bounds it."""

    langs: tuple[str, ...]
    number: int | None
    exact: bool

    def __str__(self) -> str:
        number = "all" if self.number is None else f"{self.number:,}"
        return f"{'' if self.exact or self.number is None else '≤ '}{number} {'+'.join(self.langs)}"


@dataclass(frozen=True, slots=True)
class Outlook:
    """`state`: what is there already. `train` and `validation` are None for what is prompted, `test` for a search."""

    step: Step
    train: Count | None
    validation: Count | None
    test: Count | None
    state: str
    estimate: Estimate


def outlooks(steps: Sequence[Step], catalog: Catalog, store: Store) -> list[Outlook]:
    """What each step would do. Raises `UserError` for settings that the engine does not have."""
    entries = read_entries(store)
    rows = _reader(catalog, steps[0].request.data if steps else None)
    ahead: set[str] = set()  # models that an earlier step will have trained
    found = []
    for step in steps:
        spec = with_settings(catalog.backend(step.request.backend), step.request.settings)
        engine = engine_class(spec.engine)
        options = validate_options(spec.options, engine.Options, f"{step.name}: backend {spec.name!r}, options").model_dump()
        checkpoint, missing = _local_checkpoint(spec)
        train, validation, test = _counts(step, rows, trains=not _is_prompted(spec))
        state = missing or _state(step, catalog, store, rows)
        trains = train is not None and state not in (RECORDED, TRAINED) and training(step) not in ahead
        if train is not None and step.tune is None:
            ahead.add(training(step))
        work = _work(step, train if trains else None, validation, test, rows)
        if state == RECORDED:
            cost = Estimate(0.0, "nothing to do")
        elif work is None:
            cost = Estimate(None, "unknown: nothing bounds the number of rows")
        else:
            config = read_config(checkpoint.folder) if checkpoint is not None and not _is_prompted(spec) else None
            cost = estimate(work, options, recorded_speed(entries, spec.name, spec.model), config)
        found.append(Outlook(step, train, validation, test, state or ("trains" if trains else "to do"), cost))
    return found


def _is_prompted(spec: BackendSpec) -> bool:
    from harness.core.engine import LanguageModel

    return issubclass(engine_class(spec.engine), LanguageModel)


def _reader(catalog: Catalog, data_dir: Path | None) -> Rows:
    @cache
    def rows(task: str, lang: str, split: str) -> list[Example] | None:
        spec = catalog.task(task)
        if spec.source.hub is not None and data_dir is None:
            return None
        try:
            return load_examples(spec, lang=lang, split=split, data_dir=data_dir)
        except BenchError:
            return None  # not this machine's, or not rows of this task: the run will say which

    return rows


def _counts(step: Step, rows: Rows, *, trains: bool) -> tuple[Count | None, Count | None, Count | None]:
    request = step.request
    langs = request.train_lang or (request.lang,)

    def count(split: str, langs: tuple[str, ...], limit: int | None) -> Count:
        found = [rows(request.task, lang, split) for lang in langs]
        if all(part is not None for part in found):
            return Count(langs, sum(min(len(part), limit or len(part)) for part in found if part is not None), exact=True)
        return Count(langs, None if limit is None else limit * len(langs), exact=False)

    test = None if step.tune else count("test", (request.lang,), request.limit)
    if not trains:
        return None, None, test
    validated = count("validation", request.validation_lang or langs, request.validation_limit)
    return count("train", langs, request.train_limit), validated, test


def _work(step: Step, train: Count | None, validation: Count | None, test: Count | None, rows: Rows) -> Work | None:
    """None where nothing bounds the number of rows."""
    times = step.tune.trials if step.tune else 1
    predicted = validation if step.tune else test
    numbers = [0 if train is None else train.number, 0 if predicted is None else predicted.number]
    if numbers[0] is None or numbers[1] is None:
        return None
    first = predicted.langs[0] if predicted is not None else step.request.lang
    texts = rows(step.request.task, first, "validation" if step.tune else "test")
    tokens = None if texts is None else tokens_of([row.text for row in first_rows(texts, SAMPLE)])
    return Work(numbers[0] * times, numbers[1] * times, tokens)


def _local_checkpoint(spec: BackendSpec) -> tuple[Checkpoint | None, str]:
    """The model's files if they are on this machine, else what is missing."""
    cls = engine_class(spec.engine)
    for library in cls.libraries:
        if find_spec(library) is None:
            return None, f"the extra {cls.extra!r} is not installed"
    if cls.model_is != "checkpoint" or spec.model is None:
        return None, ""
    here = "model not on this machine"
    if spec.model.startswith(PACKAGED_PREFIX):
        name = spec.model.removeprefix(PACKAGED_PREFIX)
        if not (cache_dir() / "models" / f"{name}-{packaged_model(name).revision[:8]}").is_dir():
            return None, here
    try:
        with offline():
            return resolve_checkpoint(spec.model, spec.revision), ""
    except (ModelUnavailable, MissingExtra):
        return None, here


@contextmanager
def offline() -> Iterator[None]:
    """Keep the hub's client off the network; it reads the environment only once, when it is imported."""
    if find_spec("huggingface_hub") is None:
        yield
        return
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _state(step: Step, catalog: Catalog, store: Store, rows: Rows) -> str:
    """What of the step is there; empty where nothing is, or where that can't be told."""
    if step.tune is not None:
        return ""
    request = step.request
    if rows(request.task, request.lang, "test") is None:
        return ""
    try:
        with offline():
            plan = plan_of(step, catalog)
    except BenchError:
        return ""  # the model to go on from is still to be trained, say
    if finished_entry(store, plan.run_id) is not None:
        return RECORDED
    return TRAINED if plan.training is not None and (trained_folder(plan) / "model").is_dir() else ""


def plan_of(step: Step, catalog: Catalog) -> Plan:
    """The step's plan, with the model that it goes on from, which must have been trained. Raises `BenchError`."""
    return make_plan(request_of(step, catalog), catalog)


def request_of(step: Step, catalog: Catalog) -> RunOptions:
    """The step's request, with the model that it goes on from. Raises `BenchError`."""
    return with_start(step, None if step.base is None else trained_key(plan_of(step.base, catalog)))


def as_json(outlook: Outlook) -> dict[str, Any]:
    step, counts = outlook.step, (outlook.train, outlook.validation, outlook.test)
    train, validation, test = (
        None if count is None else {"langs": list(count.langs), "rows": count.number, "exact": count.exact} for count in counts
    )
    return {
        "step": step.name,
        "task": step.request.task,
        "backend": step.request.backend,
        "train": train,
        "validation": validation,
        "test": test,
        "settings": dict(step.request.settings),
        "seed": step.request.seed,
        "continued_from": step.base.name if step.base else None,
        "trials": step.tune.trials if step.tune else None,
        "state": outlook.state,
        "seconds": outlook.estimate.seconds,
        "basis": outlook.estimate.basis,
    }
