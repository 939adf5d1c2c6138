"""The trained models of the cache: where they are, which runs were made with them, and training that continues from one."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from harness.core.durable import damage_of, set_aside
from harness.core.errors import BenchError, RunError, UserError
from harness.core.locks import held, is_held
from harness.core.record import Identity, RunRecord, TrainedOrigin, Training
from harness.models.cache import ABOUT, IN_USE, LOCK, MODEL, Kept
from harness.models.checkpoints import Checkpoint, cache_dir
from harness.records.store import Store
from harness.specs.backend_specs import BackendSpec, validated_options
from harness.specs.tasks import TaskSpec

log = logging.getLogger("bench")
TRAINING = "training.json"
"""In the folder of a trained model: its `Training`."""


@dataclass(frozen=True, slots=True)
class Start:
    """`checkpoint`: that of the backend, with the trained weights; `langs`: those it was trained on."""

    key: str
    langs: list[str]
    checkpoint: Checkpoint


def folder_of(key: str) -> Path:
    """Where the model is kept, or will be; it exists if this has a folder `model`."""
    return cache_dir() / "trained" / key


def has_model(folder: Path) -> bool:
    """Whether the model exists and is intact. A damaged one is moved away with a warning, so that a run trains it again. The
    caller holds the lock."""
    model = folder / MODEL
    problem = damage_of(model) if model.is_dir() else ""
    if problem:
        log.warning("The trained model %s %s. It was moved to %s.", model, problem, set_aside(model).name)
        for derived in folder.glob("onnx-*"):
            shutil.rmtree(derived)
    return model.is_dir()


def mark_used(folder: Path) -> None:
    """Record for `bench cache` that the model in this folder was used now."""
    with suppress(OSError):  # a read-only cache
        os.utime(folder / "model")


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """While the files of the model in this folder are read, `bench cache` does not delete them. Raises `RunError` for a damaged
    model."""
    with ExitStack() as stack:
        if (folder / MODEL).is_dir():
            with suppress(OSError):  # a read-only cache: nothing can be deleted
                stack.enter_context(held(folder / LOCK, wait=True))
        problem = damage_of(folder / MODEL)
        if problem:
            raise RunError(
                f"The trained model {folder / MODEL} {problem}.", "Repeat its run with --force: that trains it again."
            )
        mark_used(folder)
        yield


def origin(identity: Identity) -> TrainedOrigin:
    """The description of a trained model, for a training that continues from it."""
    assert identity.train is not None
    return TrainedOrigin(
        engine=identity.backend.engine,
        model=identity.backend.model,
        revision=identity.backend.revision,
        labels=identity.labels,
        label_kind=identity.label_kind,
        head=identity.backend.options.get("head"),
        langs=identity.train.langs,
    )


def trained_start(key: str, backend: BackendSpec, checkpoint: Checkpoint | None, task: TaskSpec) -> Start:
    """Raises `UserError` for a model that is not on this machine or does not fit."""
    if checkpoint is None:
        raise UserError(
            f"The backend {backend.name!r} can't continue from an earlier training.", "Use one that fine-tunes a model."
        )
    folder = folder_of(key) / MODEL
    problem = damage_of(folder) if folder.is_dir() else "is not on this machine"
    if problem:
        raise UserError(f"The model to continue from ({key}) {problem}.", "Repeat the run that trained it, with --force.")
    found = Training.model_validate_json((folder / TRAINING).read_bytes()).origin
    assert found is not None
    labels = task.label_space
    wanted = TrainedOrigin(
        engine=backend.engine,
        model=checkpoint.name,
        revision=checkpoint.revision,
        labels=list(labels.names),
        label_kind=labels.kind,
        head=getattr(validated_options(backend), "head", None),
        langs=found.langs,
    )
    for name in TrainedOrigin.model_fields:
        ours, theirs = getattr(wanted, name), getattr(found, name)
        if ours != theirs:
            raise UserError(
                f"The model to continue from has the {name} {theirs!r}, and this run {ours!r}.", "They must be the same."
            )
    return Start(key, found.langs, replace(checkpoint, folder=folder))


READY, INTERRUPTED = "ready", "interrupted"


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """`task`, `backend`, `langs` and `rows` (of training) are those of the run that trained it; None, or empty, if unknown.
    `state`: ready, interrupted (a run continues from its last checkpoint) or in use; `runs`: the records made with it."""

    kept: Kept
    task: str | None
    backend: str | None
    model: str | None
    langs: tuple[str, ...]
    rows: int | None
    state: str
    runs: tuple[str, ...]

    @property
    def key(self) -> str:
        return self.kept.name


class About(BaseModel):
    """A description that the cache keeps beside a model, for the user only."""

    task: str | None = None
    backend: str | None = None
    model: str | None = None
    langs: tuple[str, ...] = ()
    rows: int | None = None


def about(identity: Identity) -> About:
    backend, train = identity.backend, identity.train
    assert train is not None
    return About(
        task=identity.task, backend=backend.name, model=backend.model, langs=tuple(train.langs), rows=train.train_count
    )


def title(kept: Kept) -> str:
    """Such as `minilm on reviews_demo (en)`."""
    known = _read(kept.paths[0] / ABOUT)
    return f"{known.backend} on {known.task} ({'+'.join(known.langs)})" if known and known.langs else "trained model"


def trained_models(kept: Iterable[Kept], store: Store) -> list[TrainedModel]:
    """The longest unused first."""
    made = _runs_by_key(store)
    found = [_described(one, made.get(one.name, [])) for one in kept if one.part == "trained" and not one.paths[0].is_symlink()]
    return sorted(found, key=lambda model: (model.kept.used, model.key))


def _described(kept: Kept, runs: Sequence[RunRecord]) -> TrainedModel:
    folder = kept.paths[0]
    known = _read(folder / ABOUT) or (about(runs[0].identity) if runs else _of_model(folder / MODEL / TRAINING))
    state = INTERRUPTED if not (folder / MODEL).is_dir() else READY
    if kept.lock is not None and is_held(kept.lock):
        state = IN_USE
    names = tuple(run.run_id for run in runs)
    return TrainedModel(kept, known.task, known.backend, known.model, known.langs, known.rows, state, names)


def _read(path: Path) -> About | None:
    """None if it is missing or unreadable: earlier versions wrote no such file."""
    with suppress(OSError, ValueError):
        return About.model_validate_json(path.read_bytes())
    return None


def _of_model(path: Path) -> About:
    with suppress(OSError, ValueError):
        origin = Training.model_validate_json(path.read_bytes()).origin
        if origin is not None:
            return About(model=origin.model, langs=tuple(origin.langs))
    return About()


def _runs_by_key(store: Store) -> dict[str, list[RunRecord]]:
    """Damaged records are left out."""
    made: dict[str, list[RunRecord]] = {}
    for name in store.ids():
        with suppress(BenchError):
            record = store.record(name)
            if record.identity.train is not None:
                made.setdefault(record.identity.trained_key, []).append(record)
    return made
