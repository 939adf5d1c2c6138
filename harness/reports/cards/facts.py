"""What a model card tells, gathered from run records: the model, every run that tested it, and what its task's file says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.analysis.related_runs import is_outdated
from harness.core.errors import RunError, UserError
from harness.core.record import Identity
from harness.records.entries import Entry, read_entry
from harness.records.store import Store
from harness.running.starts import folder_of
from harness.specs.backend_specs import BackendSpec, engine_class
from harness.specs.catalog import Catalog
from harness.specs.tasks import TaskSpec

ENGINES = ("encoder", "setfit")
"""Whose trained models are weights and a tokenizer, which others can load."""

Keyed = list[tuple[str, Entry]]


@dataclass(frozen=True)
class Subject:
    """`entry` is the run that was asked for, `runs` all that tested its trained model (the same weights), that one included.
    `damaged` are the ids of records that can't be read, which may have been of this model, too.

    `task` is None where no task of that name is here, or one with other labels; so is `backend` where none of its name is.
    `start` is the run whose model this one went on from, if it did and its record is here. `seeds` are the runs on the same
    rows that only the seed tells from `entry`.
    """

    entry: Entry
    runs: tuple[Entry, ...]
    task: TaskSpec | None
    backend: BackendSpec | None
    start: str | None
    seeds: tuple[Entry, ...]
    damaged: tuple[str, ...]

    @property
    def identity(self) -> Mapping[str, Any]:
        identity: Mapping[str, Any] = self.entry.manifest["identity"]
        return identity

    @property
    def training(self) -> Mapping[str, Any]:
        """What the engine said of its training; records of earlier versions say less."""
        return self.entry.manifest.get("training") or {}

    @property
    def labels(self) -> list[str]:
        return list(self.identity["labels"])

    @property
    def langs(self) -> list[str]:
        """Those it was trained on, in this training."""
        return list(self.identity["train"]["langs"])

    @property
    def head(self) -> str:
        """softmax, one_hot, coral, corn, multilabel (a sigmoid for each label), or setfit."""
        if self.identity["backend"]["engine"] == "setfit":
            return "setfit"
        if self.identity["label_kind"] == "multilabel":
            return "multilabel"
        return str(self.identity["backend"]["options"].get("head", "softmax"))

    @property
    def folder(self) -> Path:
        """Where the trained model lies on this machine, if it is still there."""
        return folder_of(Identity.model_validate(self.identity).trained_key) / "model"

    @property
    def name(self) -> str:
        """For a title, and for the repository where nobody names one."""
        parts = [self.identity["backend"]["name"], self.identity["task"], *self.langs]
        return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-.") for part in parts)

    @property
    def has_own_model(self) -> bool:
        """Whether the base model is another one than the backend's file names (`--model`), or that file is not here."""
        if self.backend is None or self.backend.model is None:
            return True
        usual = self.backend.model.partition("@")[0]
        return self.identity["backend"]["model"].partition("@")[0] not in (usual, Path(usual).name)

    @property
    def base_languages(self) -> list[str]:
        """Those that the base model was made for, as the backend's file says; empty where it says nothing of this model."""
        return [] if self.has_own_model or self.backend is None else list(self.backend.languages)

    @property
    def headline(self) -> list[str]:
        return list(self.entry.metrics["headline"])


def subject_of(store: Store, run_id: str, catalog: Catalog) -> Subject:
    """Raises `UserError` for a run that fine-tuned no encoder, `RunError` for one whose record is damaged."""
    entry = read_entry(store, run_id)
    identity = entry.manifest["identity"]
    engine = identity["backend"]["engine"]
    if identity["train"] is None:
        raise UserError(f"{run_id} prompts a model and trains none, so there is no model of its own to describe.", _HINT)
    if engine not in ENGINES:
        raise UserError(f"{run_id}: the engine {engine!r} is no encoder; its models are for bench alone.", _HINT)
    others, damaged = _readable(store, entry)
    return Subject(
        entry,
        tuple(sorted(_same_model(entry, others), key=lambda run: _order(run, entry))),
        _task(identity, catalog),
        _backend(identity, catalog),
        _start(entry, others),
        _seeds(entry, others),
        tuple(damaged),
    )


_HINT = "A card is for a fine-tuned encoder (e5-small, minilm, xlm-roberta ...) or SetFit: `bench list runs` shows the runs."


def _readable(store: Store, entry: Entry) -> tuple[Keyed, list[str]]:
    """The other runs that trained an encoder, with the keys of their models; and the ids of the records that are damaged."""
    others, damaged = [], []
    for name in store.ids():
        if name != entry.run_id:
            try:
                run = read_entry(store, name)
                identity = run.manifest["identity"]
                if identity["train"] is not None and identity["backend"]["engine"] in ENGINES:
                    others.append((Identity.model_validate(identity).trained_key, run))
            except (RunError, LookupError, TypeError, AttributeError):
                damaged.append(name)
    return others, damaged


def _same_model(entry: Entry, others: Keyed) -> list[Entry]:
    """The runs that predicted with these weights, whatever their rows, runtime or decision."""
    key = entry.record.identity.trained_key
    return [entry, *(run for other, run in others if other == key)]


def _seeds(entry: Entry, others: Keyed) -> tuple[Entry, ...]:
    alike = [run for _, run in others if run.configuration == entry.configuration and run.group == entry.group]
    return tuple(sorted((run for run in alike if run.seed != entry.seed), key=lambda run: run.seed))


def _order(run: Entry, asked: Entry) -> tuple[Any, ...]:
    """The test split first, languages of the training before others, larger row sets first; the run that was asked for
    before others on its rows."""
    identity = run.manifest["identity"]
    lang = identity["lang"]
    place = (identity["task"], identity["split"] != "test", lang not in identity["train"]["langs"], lang)
    return *place, -run.metrics["n"], run.run_id != asked.run_id, run.run_id


def _task(identity: Mapping[str, Any], catalog: Catalog) -> TaskSpec | None:
    """The task's file, if it still means what the run meant."""
    try:
        task = catalog.task(identity["task"])
    except UserError:
        return None
    answers = task.labels.answers
    if answers is not None and list(answers) != list(identity["labels"]):
        return None
    return task if task.labels.kind == identity["label_kind"] else None


def _backend(identity: Mapping[str, Any], catalog: Catalog) -> BackendSpec | None:
    try:
        return catalog.backend(identity["backend"]["name"])
    except UserError:
        return None


def _start(entry: Entry, others: Keyed) -> str | None:
    before = entry.manifest["identity"]["train"].get("continued_from")
    if before is None:
        return None
    return next((run.run_id for key, run in others if key == before["key"]), None)


def used_alike(run: Entry, subject: Subject) -> bool:
    """Whether a run predicted as the run that was asked for did."""
    same_task = run.manifest["identity"]["task"] == subject.identity["task"]
    return same_task and answered_by(run) == answered_by(subject.entry)


def answered_by(run: Entry) -> str:
    """Decision, runtime, and precision of the weights."""
    identity = run.manifest["identity"]
    predict = identity["backend"]["options"].get("predict") or {}
    parts = [identity.get("decision", "argmax"), predict.get("runtime", "torch"), identity["backend"].get("dtype")]
    return ", ".join(part for part in parts if part)


def main_runs(subject: Subject) -> list[Entry]:
    """One run for each language and split: that which was asked for, else the one on most rows; all of one sort of use.

    Those are what the metadata may tell: a hub knows one figure for a language and split.
    """
    found: dict[tuple[str, str], Entry] = {}
    for run in subject.runs:
        identity = run.manifest["identity"]
        if used_alike(run, subject) and (
            run.run_id == subject.entry.run_id or (identity["lang"], identity["split"]) not in found
        ):
            found[identity["lang"], identity["split"]] = run
    return list(found.values())


@dataclass(frozen=True)
class Hub:
    """A data set on the Hugging Face hub. `split`: the name there of the split that was tested; None where the task divides
    the rows itself."""

    id: str
    config: str | None
    revision: str | None
    split: str | None


def source_of(run: Entry) -> str | None:
    """hub, files (those of the task), bundled, or data (a folder that `--data` named); None where the record does not tell."""
    source: str | None = (run.manifest.get("rows_from") or {}).get("source")
    return source


def hub_of(run: Entry) -> Hub | None:
    """Where the record says that the rows came from the hub. A task's file alone says nothing: `--data` takes its place."""
    return Hub(**run.manifest["rows_from"]["hub"]) if source_of(run) == "hub" else None


def rows_used(run: Entry) -> str:
    """`200 of 5000` where a limit left out rows of the task's split; an earlier version's record does not tell of how many."""
    n, limit = run.metrics["n"], run.manifest.get("limit")
    total = (run.manifest.get("rows_from") or {}).get("split_rows")
    if total is not None:
        return str(n) if n == total else f"{n} of {total}"
    return str(n) if limit is None or n < limit else f"{n}, by --limit"


def base_repository(identity: Mapping[str, Any]) -> str | None:
    """The hub's name of the model that was fine-tuned; None for a folder and for a model of the package index."""
    backend = identity["backend"]
    is_commit = re.fullmatch("[0-9a-f]{40}", backend["revision"] or "") is not None
    return str(backend["model"]).partition("@")[0] if is_commit else None


def base_licence(identity: Mapping[str, Any]) -> str | None:
    """As the card of the base model says, where this machine's hub cache holds that card; else None, and nothing is guessed."""
    repository = base_repository(identity)
    if repository is None:
        return None
    from huggingface_hub import ModelCard, try_to_load_from_cache

    card = try_to_load_from_cache(repository, "README.md", revision=identity["backend"]["revision"])
    if not isinstance(card, str):
        return None
    try:
        licence = ModelCard.load(card, ignore_metadata_errors=True).data.get("license")
    except (OSError, ValueError, yaml.YAMLError):  # a card without front matter, or with one that can't be read
        return None
    return licence if isinstance(licence, str) else None


def flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"train": {"lr": 1}}` as `{"train.lr": 1}`."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        inner = flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
        found.update(inner)
    return found


def options_of(subject: Subject) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that differ from the engine's defaults, and the others. All of them are of the first kind where an earlier
    version of bench made the record, whose defaults nobody knows any more."""
    backend = subject.identity["backend"]
    options, asked = flat(backend["options"]), set(subject.entry.manifest.get("settings") or {})
    if is_outdated(subject.entry.manifest):
        return options, {}
    defaults = flat(engine_class(backend["engine"]).Options().model_dump(mode="json"))
    chosen = {name: value for name, value in options.items() if name in asked or defaults.get(name, ...) != value}
    return chosen, {name: value for name, value in options.items() if name not in chosen}
