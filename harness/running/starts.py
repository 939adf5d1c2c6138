"""Where a training may start from: the model that an earlier run trained, in this machine's cache."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.core.durable import damage_of, set_aside
from harness.core.errors import RunError, UserError
from harness.core.json_files import digest
from harness.core.locks import held
from harness.core.types import LabelKind
from harness.models.cache import LOCK, MODEL
from harness.models.checkpoints import Checkpoint, cache_dir
from harness.specs.backend_specs import BackendSpec, validated_options
from harness.specs.tasks import TaskSpec

log = logging.getLogger("bench")
KEPT_ANEW = {"baseline": 2}
"""Engines whose models are kept in another form than before: those of before are not found. 2: as arrays, not as a pickle."""


@dataclass(frozen=True, slots=True)
class Start:
    """`checkpoint` is the one of the backend, with the trained weights in place of its own; `langs` those it was trained on."""

    key: str
    langs: list[str]
    checkpoint: Checkpoint


def key_of(identity: Mapping[str, Any]) -> str:
    """Two runs with the same key need the same trained model.

    What concerns predictions alone (`options.predict` and the dtype of the prediction pass) is left out, and so is the
    backend's name: a search's best model is the model of the backend that the search wrote. What of these a training depends
    on all the same stays: the kernel of attention, and of a multilabel task the dtype, with which thresholds were tuned.
    """
    left_out = ["name"] if identity["label_kind"] == LabelKind.MULTILABEL else ["name", "dtype"]
    backend = {name: value for name, value in identity["backend"].items() if name not in left_out}
    backend["options"] = {name: value for name, value in backend["options"].items() if name != "predict"}
    attention = identity["backend"]["options"].get("predict", {}).get("attention", "auto")
    if attention != "auto":
        backend["attention"] = attention
    if backend["engine"] in KEPT_ANEW:
        backend["kept"] = KEPT_ANEW[backend["engine"]]
    parts = [identity[name] for name in ("version", "train", "labels", "label_kind", "seed")]
    return digest([backend, *parts])[:20]


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


def mark_used(folder: Path) -> None:
    """Tell `bench cache prune` that the model in this folder was used now."""
    with suppress(OSError):  # a cache that can only be read serves its models all the same
        os.utime(folder / "model")


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Keep `bench cache prune` from deleting the model in this folder. Raises `RunError` for a damaged model."""
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


def about(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What the cache keeps beside a model, for `bench cache prune` to name it."""
    return {
        "task": identity["task"],
        "backend": identity["backend"]["name"],
        "model": identity["backend"]["model"],
        "langs": identity["train"]["langs"],
        "rows": identity["train"]["train_count"],
    }


def origin(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What a trained model says of itself, for a training that goes on from it."""
    backend = identity["backend"]
    return {
        **{name: backend[name] for name in ("engine", "model", "revision")},
        "labels": identity["labels"],
        "label_kind": identity["label_kind"],
        "head": backend["options"].get("head"),
        "langs": identity["train"]["langs"],
    }


def trained_start(key: str, backend: BackendSpec, checkpoint: Checkpoint | None, task: TaskSpec) -> Start:
    """Raises `UserError` for a model that is not on this machine, or that does not fit."""
    if checkpoint is None:
        raise UserError(
            f"The backend {backend.name!r} can't go on from an earlier training.", "Choose one that fine-tunes a model."
        )
    folder = folder_of(key) / MODEL
    problem = damage_of(folder) if folder.is_dir() else "is not on this machine"
    if problem:
        raise UserError(f"The model to go on from ({key}) {problem}.", "Repeat the run that trained it, with --force.")
    found = json.loads((folder / "training.json").read_text(encoding="utf-8"))["origin"]
    labels = task.label_space
    wanted = {
        "engine": backend.engine,
        "model": checkpoint.name,
        "revision": checkpoint.revision,
        "labels": list(labels.names),
        "label_kind": labels.kind,
        "head": getattr(validated_options(backend), "head", None),
    }
    for name, value in wanted.items():
        if found[name] != value:
            raise UserError(
                f"The model to go on from has the {name} {found[name]!r}, and this run {value!r}.", "They must be the same."
            )
    return Start(key, found["langs"], replace(checkpoint, folder=folder))
