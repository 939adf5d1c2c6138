"""The trained models of the cache: what each of them is, and which runs were made with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import BenchError
from harness.core.locks import is_held
from harness.models.cache import ABOUT, IN_USE, MODEL, Kept
from harness.records.store import Store
from harness.running.starts import key_of

READY, INTERRUPTED = "ready", "interrupted"


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """`task`, `backend`, `langs` and `rows` (of training) are those of the run that first asked for it; None, or empty, where
    neither the cache nor a record knows. `state` is ready, interrupted (a run that needs it goes on from its last
    checkpoint) or in use; `runs` are the records that were made with it."""

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


def about(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What the cache keeps beside a model, so that a user can tell what it is. Nothing that bench computes depends on it."""
    backend, train = identity["backend"], identity["train"]
    return {
        "task": identity["task"],
        "backend": backend["name"],
        "model": backend["model"],
        "langs": train["langs"],
        "rows": train["train_count"],
    }


def title(kept: Kept) -> str:
    """`minilm on reviews_demo (en)`; less where the cache knows less."""
    known = _read(kept.paths[0] / ABOUT)
    return f"{known['backend']} on {known['task']} ({'+'.join(known['langs'])})" if "langs" in known else "trained model"


def trained_models(kept: Iterable[Kept], store: Store) -> list[TrainedModel]:
    """The longest unused first."""
    made = _runs_by_key(store)
    found = [_described(one, made.get(one.name, [])) for one in kept if one.part == "trained" and not one.paths[0].is_symlink()]
    return sorted(found, key=lambda model: (model.kept.used, model.key))


def _described(kept: Kept, runs: Sequence[tuple[str, Mapping[str, Any]]]) -> TrainedModel:
    folder = kept.paths[0]
    known = _read(folder / ABOUT) or (about(runs[0][1]) if runs else _read(folder / MODEL / "training.json").get("origin", {}))
    state = INTERRUPTED if not (folder / MODEL).is_dir() else READY
    if kept.lock is not None and is_held(kept.lock):
        state = IN_USE
    return TrainedModel(
        kept,
        known.get("task"),
        known.get("backend"),
        known.get("model"),
        tuple(known.get("langs", ())),
        known.get("rows"),
        state,
        tuple(name for name, _ in runs),
    )


def _read(path: Path) -> dict[str, Any]:
    """Empty where it is not there, or can't be read: an earlier version wrote no such file."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _runs_by_key(store: Store) -> dict[str, list[tuple[str, Mapping[str, Any]]]]:
    """A record that can't be read is of no concern here."""
    made: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for name in store.ids():
        with suppress(BenchError, KeyError, TypeError):
            identity = store.manifest(name)["identity"]
            if identity["train"] is not None:
                made.setdefault(key_of(identity), []).append((name, identity))
    return made
