"""Where a training may start from: the model that an earlier run trained, in this machine's cache."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness.core.cache_folder import cache_dir
from harness.core.durable import DIGESTS, commit, damage_of, set_aside
from harness.core.errors import RunError, UserError
from harness.core.locks import held
from harness.core.progress_events import tell
from harness.core.record import Identity, TrainedOrigin, Training
from harness.models.cache import ABOUT, LOCK, MODEL, TRAINED, About
from harness.models.checkpoints import Checkpoint
from harness.specs.backend_specs import BackendSpec, validated_options
from harness.specs.tasks import TaskSpec
from harness.storage.copies import shared_cache
from harness.storage.remote import StorageError

log = logging.getLogger("bench")
TRAINING = "training.json"
"""In the folder of a trained model: its `Training`."""


@dataclass(frozen=True, slots=True)
class Start:
    """`checkpoint` is the one of the backend, with the trained weights in place of its own; `langs` those it was trained on."""

    key: str
    langs: list[str]
    checkpoint: Checkpoint


def folder_of(key: str) -> Path:
    """Where that model is kept, or will be; it is there if this has a folder `model`."""
    return cache_dir() / "trained" / key


def has_model(folder: Path) -> bool:
    """Whether the model is there, and is what was written. A damaged one is set aside with a warning, so that a run trains it
    anew. The caller holds the lock."""
    model = folder / MODEL
    problem = damage_of(model) if model.is_dir() else ""
    if problem:
        log.warning("The trained model %s %s. It was set aside as %s.", model, problem, set_aside(model).name)
        for made_of_it in folder.glob("onnx-*"):
            shutil.rmtree(made_of_it)
    return model.is_dir()


def fetch_model(folder: Path) -> None:
    """Take the model of this folder's key from the shared cache, if there is one that has it. A damaged one is left out with a
    warning, and so is a cache that can't be reached: the run trains. The caller holds the lock."""
    remote = shared_cache()
    if remote is None or (folder / MODEL).is_dir():
        return
    place, fetched = f"{TRAINED}/{folder.name}", folder / "unfinished"
    shutil.rmtree(fetched, ignore_errors=True)
    try:
        names = remote.listing(place)
        if f"{place}/{MODEL}/{DIGESTS}" not in names:
            return
        for name in names:
            tell("download", 0, 0, f"{remote.url}/{name}")
            file = fetched / name.removeprefix(f"{place}/")
            file.parent.mkdir(parents=True, exist_ok=True)
            remote.fetch(name, file)
    except StorageError as error:
        log.warning("The shared cache was not used. %s", error.message)
        return
    problem = damage_of(fetched / MODEL)
    if problem:
        log.warning("The trained model %s in the shared cache %s. It was not used.", folder.name, problem)
        return
    (fetched / ABOUT).replace(folder / ABOUT)
    commit(fetched / MODEL, folder / MODEL)
    shutil.rmtree(fetched, ignore_errors=True)


def share_model(folder: Path) -> None:
    """Upload the model of this folder to the shared cache, if there is one that lacks it: its digests last, so that a reader
    finds all of it or nothing. A cache that can't be reached is left with a warning."""
    remote = shared_cache()
    if remote is None:
        return
    place, seal = f"{TRAINED}/{folder.name}", folder / MODEL / DIGESTS
    files = [folder / ABOUT, *sorted(file for file in (folder / MODEL).rglob("*") if file.is_file() and file != seal), seal]
    try:
        if remote.stamp(f"{place}/{MODEL}/{DIGESTS}") is None:
            for file in files:
                remote.send(file, f"{place}/{file.relative_to(folder).as_posix()}")
    except StorageError as error:
        log.warning("The trained model was not uploaded to the shared cache. %s", error.message)


def mark_used(folder: Path) -> None:
    """Tell `bench cache prune` that the model in this folder was used now."""
    with suppress(OSError):  # a cache that can only be read serves its models all the same
        os.utime(folder / "model")


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """While the files of the model in this folder are read: `bench cache` deletes none that is. Raises `RunError` for a damaged
    model."""
    with ExitStack() as stack:
        if (folder / MODEL).is_dir():
            with suppress(OSError):  # where nothing can be written, nothing is deleted either
                stack.enter_context(held(folder / LOCK, wait=True))
        problem = damage_of(folder / MODEL)
        if problem:
            raise RunError(
                f"The trained model {folder / MODEL} {problem}.", "Repeat its run with --force: that trains it anew."
            )
        mark_used(folder)
        yield


def about(identity: Identity) -> About:
    backend, train = identity.backend, identity.train
    assert train is not None
    return About(
        task=identity.task, backend=backend.name, model=backend.model, langs=tuple(train.langs), rows=train.train_count
    )


def origin(identity: Identity) -> TrainedOrigin:
    """What a trained model says of itself, for a training that goes on from it."""
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
    """Raises `UserError` for a model that is not on this machine, or that does not fit."""
    if checkpoint is None:
        raise UserError(
            f"The backend {backend.name!r} can't go on from an earlier training.", "Choose one that fine-tunes a model."
        )
    folder = folder_of(key) / MODEL
    if not folder.is_dir() and shared_cache() is not None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with held(folder.parent / LOCK, wait=True):
            fetch_model(folder.parent)
    problem = damage_of(folder) if folder.is_dir() else "is not on this machine"
    if problem:
        raise UserError(f"The model to go on from ({key}) {problem}.", "Repeat the run that trained it, with --force.")
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
    here, there = (one.model_dump(mode="json") for one in (wanted, found))
    for name in TrainedOrigin.model_fields:
        ours, theirs = here[name], there[name]
        if ours != theirs:
            raise UserError(
                f"The model to go on from has the {name} {theirs!r}, and this run {ours!r}.", "They must be the same."
            )
    return Start(key, found.langs, replace(checkpoint, folder=folder))
