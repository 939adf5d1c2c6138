"""Trained classifiers are kept in the user's cache under a digest of all that determines them: no training twice."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from backends.base import Classifier, LabelledTexts
from harness.checkpoints import cache_dir
from harness.errors import RunError
from harness.plan import Plan, TrainingRows
from harness.store import digest, write_atomically
from harness.types import Example

OnProgress = Callable[[str, int, int, str], None]
"""`on_progress(phase, done, total, note)`."""


def trained_key(plan: Plan) -> str:
    """Two plans with the same key need the same trained model."""
    identity = plan.identity
    # Batch size and dtype of the prediction pass stay in: they are options, and a wrong model is worse than a second one.
    return digest([identity["version"], identity["backend"], identity["train"], identity["labels"], identity["seed"]])[:20]


def trained_folder(plan: Plan) -> Path:
    """Where the model is kept, or will be; it is there if this has a folder `model`."""
    return cache_dir() / "trained" / trained_key(plan)


def ensure_trained(plan: Plan, on_progress: OnProgress) -> dict[str, Any]:
    """Leave `plan.engine` ready to predict; train only if no run before did. Returns the record of the training."""
    assert isinstance(plan.engine, Classifier)
    assert plan.training is not None
    folder = trained_folder(plan)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "model").is_dir():
            _train(plan.engine, plan, plan.training, folder, on_progress)
        else:
            plan.engine.load(folder / "model", plan.task.label_space)
    record: dict[str, Any] = json.loads((folder / "model" / "training.json").read_text(encoding="utf-8"))
    return record


def _train(engine: Classifier, plan: Plan, rows: TrainingRows, folder: Path, on_progress: OnProgress) -> None:
    started = time.perf_counter()
    report = engine.fit(
        _texts(rows.train),
        _texts(rows.validation),
        plan.task.label_space,
        plan.request.seed,
        folder / "scratch",
        lambda done, total, note: on_progress("train", done, total, note),
    )
    try:
        record = json.dumps({**report, "seconds": round(time.perf_counter() - started, 3)}, allow_nan=False)
    except ValueError as error:
        raise RunError(f"{plan.backend.name}: the training diverged: {report}.", "Lower its learning rate.") from error
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    engine.save(unfinished)
    write_atomically(unfinished / "training.json", record)
    unfinished.replace(folder / "model")
    shutil.rmtree(folder / "scratch", ignore_errors=True)


def _texts(rows: list[Example]) -> LabelledTexts:
    return LabelledTexts([row.text for row in rows], [row.label for row in rows])
