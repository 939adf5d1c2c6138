"""The trained models of the cache: what each of them is, and which runs were made with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from harness.core.errors import BenchError
from harness.core.locks import is_held
from harness.core.record import Identity, RunRecord, Training
from harness.models.cache import ABOUT, IN_USE, MODEL, Kept
from harness.records.store import Store
from harness.running.starts import TRAINING

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


class About(BaseModel):
    """What the cache keeps beside a model, so that a user can tell what it is. Nothing that bench computes depends on it."""

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
    """`minilm on reviews_demo (en)`; less where the cache knows less."""
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
    """None where it is not there, or can't be read: an earlier version wrote no such file."""
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
    """A record that can't be read is of no concern here."""
    made: dict[str, list[RunRecord]] = {}
    for name in store.ids():
        with suppress(BenchError):
            record = store.record(name)
            if record.identity.train is not None:
                made.setdefault(record.identity.trained_key, []).append(record)
    return made
