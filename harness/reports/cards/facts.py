"""What a model card tells: the trained model, each run that tested it, and what the files of its task and backend say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from harness.analysis.related_runs import chose_checkpoint, is_outdated
from harness.core.errors import RunError, UserError
from harness.core.record import CalibrationBin, CheckpointFacts, Identity, OverlapCount, Training
from harness.core.types import LabelKind
from harness.records.entries import Entry, read_entry
from harness.records.store import Store
from harness.records.weights import LONG, packaged_of, used_precision
from harness.running.trained_models import folder_of
from harness.specs.backend_specs import BackendSpec, engine_class
from harness.specs.catalog import Catalog
from harness.specs.tasks import TaskSpec
from harness.statistics.intervals import small

ENGINES = ("encoder", "setfit")
"""Their trained models are weights and a tokenizer, which other programs can load."""

_HINT = "A card describes a fine-tuned encoder (e5-small, minilm, xlm-roberta ...) or a SetFit model. See `bench list runs`."


class ModelRun:
    """A run that tested the model. `key` is the same for all runs that predicted with the same weights, whatever their rows,
    runtime or decision."""

    def __init__(self, entry: Entry) -> None:
        self.entry, self.run_id, self.record = entry, entry.run_id, entry.record
        self.identity = self.record.identity
        self.key = self.identity.trained_key
        assert self.identity.train is not None
        self.train, self.options = self.identity.train, self.identity.backend.options
        self.training = self.record.training or Training.model_validate({})
        self.headline, self.values = self.record.metrics.headline, self.record.metrics.values
        self.score = self.values[self.headline[0]]
        rows = self.record.rows_from  # earlier versions did not record it; the task's file proves nothing beside `--data`
        self.source = rows.source if rows else None
        self.hub = rows.hub if rows else None
        self.split_rows = rows.split_rows if rows else None

    @property
    def rows(self) -> str:
        return f"the {self.identity.lang} {self.identity.split} rows"

    @property
    def rows_used(self) -> str:
        """`200 of 5000` where a limit left out rows of the split."""
        n, limit, total = self.record.n, self.record.options.limit, self.split_rows
        if total is not None:
            return str(n) if n == total else f"{n} of {total}"
        return str(n) if limit is None or n < limit else f"{n}, by --limit"

    @property
    def runtime(self) -> str:
        if self.record.runtime is not None:
            return self.record.runtime.runtime
        return str((self.options.get("predict") or {}).get("runtime", "torch"))

    @property
    def predicted_with(self) -> str:
        """Decision, runtime, and precision of the weights."""
        return ", ".join(part for part in (self.identity.decision, self.runtime, self.identity.backend.dtype) if part)

    @property
    def few_rows(self) -> str | None:
        """Why its rows are few to judge by."""
        return small(self.record.n, [label.support for label in self.record.metrics.per_class])

    @property
    def checkpoint_duplicates(self) -> OverlapCount | None:
        """Duplicates of its rows among those that chose the checkpoint, if there are any."""
        found = self.record.overlap.by.get("validation") if self.record.overlap else None
        return found if found and chose_checkpoint(self.record) and (found.exact or found.near) else None

    @property
    def confidence(self) -> float | None:
        """Mean probability of the answers."""
        bins: list[CalibrationBin] = self.record.metrics.calibration_bins or []
        count = sum(part.count for part in bins)
        return sum(part.count * part.confidence for part in bins) / count if count else None

    @property
    def always_one_label(self) -> float | None:
        """Accuracy of always answering the most frequent label."""
        support = [label.support for label in self.record.metrics.per_class]
        return max(support) / self.record.n if "accuracy" in self.headline and any(support) else None


@dataclass(frozen=True)
class ModelFacts:
    """`run` is the one that was asked for, `runs` are all that tested its trained model (the same weights), with it.
    `damaged` are the ids of records that can't be read; they may be of this model, too.

    `task` is None where the project has no such task, or one with other labels; `backend` likewise. `start` is the run from
    whose model the training continued, where its record is here. `seeds` are runs that differ from `run` in the seed only.
    """

    run: ModelRun
    runs: tuple[ModelRun, ...]
    task: TaskSpec | None
    backend: BackendSpec | None
    start: str | None
    seeds: tuple[ModelRun, ...]
    damaged: tuple[str, ...]

    @property
    def langs_before(self) -> list[str]:
        """The languages of the training that this one continued."""
        return before.langs if (before := self.run.train.continued_from) else []

    @property
    def langs_tested(self) -> list[str]:
        return list(dict.fromkeys(run.identity.lang for run in self.runs if run.identity.split == "test"))

    @property
    def head(self) -> str:
        """softmax, one_hot, coral, corn, multilabel (a sigmoid for each label), or setfit."""
        identity = self.run.identity
        if identity.backend.engine == "setfit":
            return "setfit"
        return "multilabel" if identity.label_kind == LabelKind.MULTILABEL else str(self.run.options.get("head", "softmax"))

    @property
    def folder(self) -> Path:
        """Where the trained model is on this machine, if it still is."""
        return folder_of(self.run.key) / "model"

    @property
    def name(self) -> str:
        """The card's title where no repository is named."""
        parts = [self.run.identity.backend.name, self.run.identity.task, *self.run.train.langs]
        return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-.") for part in parts)

    @property
    def described_base(self) -> BackendSpec | None:
        """The backend's file, if it describes this base model: `--model` may have named another."""
        if self.backend is None or self.backend.model is None:
            return None
        usual = self.backend.model.partition("@")[0]
        is_usual = str(self.run.identity.backend.model).partition("@")[0] in (usual, Path(usual).name)
        return self.backend if is_usual else None

    @property
    def runs_alike(self) -> list[ModelRun]:
        """The runs that predicted as the one that was asked for did."""
        asked = self.run.identity.task, self.run.predicted_with
        return [run for run in self.runs if (run.identity.task, run.predicted_with) == asked]

    @property
    def main_runs(self) -> list[ModelRun]:
        """Of `runs_alike` one for each language and split: the one that was asked for, else the one on the most rows. The hub
        knows one figure for a language and split."""
        found: dict[tuple[str, str], ModelRun] = {}
        for run in self.runs_alike:
            place = run.identity.lang, run.identity.split
            if run.run_id == self.run.run_id or place not in found:
                found[place] = run
        return list(found.values())

    @property
    def outdated(self) -> bool:
        """Whether this version of bench would train another model."""
        return is_outdated(self.run.record)

    @cached_property
    def set_options(self) -> dict[str, Any]:
        """The engine's options that were set: those that were asked for, and those that differ from the default. All of them
        in an outdated record, whose defaults are not known."""
        options = _flat(self.run.options)
        if self.outdated:
            return options
        defaults = _flat(engine_class(self.run.identity.backend.engine).Options().model_dump(mode="json"))
        asked = self.run.record.options.settings
        return {name: value for name, value in options.items() if name in asked or defaults.get(name, ...) != value}

    @property
    def default_options(self) -> dict[str, Any]:
        return {name: value for name, value in _flat(self.run.options).items() if name not in self.set_options}

    @property
    def command(self) -> str:
        """The command that repeats the run, as far as its record tells."""
        options, processes = self.run.record.options, self.run.train.processes
        if self.run.train.continued_from is not None:
            options = options.changed(continue_from=self.start or "RUN")
        command = options.command()
        if processes == 1:
            return command
        return f"torchrun --nproc-per-node {processes} -m harness.cli{command.removeprefix('bench')}"

    @property
    def checkpoint(self) -> CheckpointFacts:
        """What the base model's weights are, as far as it is known."""
        return self.run.entry.checkpoint

    @property
    def is_of_folder(self) -> bool:
        """Whether the base model was read from a local folder."""
        return self.base_repository is None and not str(self.run.identity.backend.model).startswith("packaged:")

    @property
    def trained_in(self) -> str | None:
        return LONG.get(str(self.run.identity.backend.precision))

    @property
    def used_precision(self) -> str | None:
        return used_precision(self.run.record)

    @property
    def base_repository(self) -> str | None:
        """The hub repository that the base model was read from; None for a folder and for a model of the package index."""
        backend = self.run.identity.backend
        is_commit = re.fullmatch("[0-9a-f]{40}", backend.revision or "") is not None
        return str(backend.model).partition("@")[0] if is_commit else None

    @property
    def base_model(self) -> str | None:
        """Hub id of the base model, wherever its weights came from: for a folder, that of the base model of its model."""
        return self.base_repository or self.checkpoint.base

    @property
    def base_name(self) -> str:
        """The base model's hub id, or the name of its folder."""
        named = None if self.is_of_folder else self.base_model
        return named or str(self.run.identity.backend.model)

    @cached_property
    def base_licence(self) -> str | None:
        """That of a packaged model, or what the base model's card names, where this machine's hub cache holds that card."""
        if (packaged := packaged_of(self.run.record)) is not None:
            return packaged.licence
        if self.base_repository is None:
            return None
        from huggingface_hub import ModelCard, try_to_load_from_cache

        card = try_to_load_from_cache(self.base_repository, "README.md", revision=self.run.identity.backend.revision)
        if not isinstance(card, str):
            return None
        try:
            licence = ModelCard.load(card, ignore_metadata_errors=True).data.get("license")
        except (OSError, ValueError, yaml.YAMLError):  # a card whose front matter is missing or damaged
            return None
        return licence if isinstance(licence, str) else None


def read_facts(store: Store, run_id: str, catalog: Catalog) -> ModelFacts:
    """Raises `UserError` for a run that fine-tuned no encoder, `RunError` for a damaged record."""
    entry = read_entry(store, run_id)
    identity = entry.record.identity
    if identity.train is None:
        raise UserError(f"{run_id} prompts a model and trains none, so it has no model to describe.", _HINT)
    if identity.backend.engine not in ENGINES:
        raise UserError(f"{run_id}: the engine {identity.backend.engine!r} trains models that only bench can use.", _HINT)
    run = ModelRun(entry)
    others, damaged = _other_runs(store, run_id)
    before = run.train.continued_from
    return ModelFacts(
        run,
        tuple(sorted([run, *(other for other in others if other.key == run.key)], key=lambda other: _order(other, run))),
        _task(identity, catalog),
        _backend(identity, catalog),
        next((other.run_id for other in others if before is not None and other.key == before.key), None),
        tuple(sorted((other for other in others if _differs_in_seed(other, run)), key=lambda other: other.identity.seed)),
        tuple(damaged),
    )


def _other_runs(store: Store, run_id: str) -> tuple[list[ModelRun], list[str]]:
    """The other runs that trained an encoder, and the ids of the damaged records."""
    others, damaged = [], []
    for name in store.ids():
        try:
            entry = read_entry(store, name)
            identity = entry.record.identity
            if name != run_id and identity.train and identity.backend.engine in ENGINES:
                others.append(ModelRun(entry))
        except (RunError, ValueError, LookupError, TypeError, AttributeError):
            damaged.append(name)
    return others, damaged


def _differs_in_seed(run: ModelRun, asked: ModelRun) -> bool:
    """Whether only the seed differs."""
    same = run.entry.configuration == asked.entry.configuration and run.entry.group == asked.entry.group
    return same and run.identity.seed != asked.identity.seed


def _order(run: ModelRun, asked: ModelRun) -> tuple[Any, ...]:
    """The test split first, then languages of the training, then most rows; of equal ones, the run that was asked for."""
    identity = run.identity
    place = (identity.task, identity.split != "test", identity.lang not in run.train.langs, identity.lang)
    return *place, -run.record.n, run.run_id != asked.run_id, run.run_id


def _task(identity: Identity, catalog: Catalog) -> TaskSpec | None:
    """The task's file, if its labels are still those of the run."""
    with suppress(UserError):
        task = catalog.task(identity.task)
        if task.labels.kind == identity.label_kind and list(task.labels.answers or identity.labels) == identity.labels:
            return task
    return None


def _backend(identity: Identity, catalog: Catalog) -> BackendSpec | None:
    with suppress(UserError):
        return catalog.backend(identity.backend.name)
    return None


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"train": {"lr": 1}}` as `{"train.lr": 1}`."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
    return found
