"""The one loop that all engines go through: batches in a fixed order, a journal line each, a record at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backends.base import Classifier, Engine, LanguageModel
from harness.errors import OutOfMemory, RunError
from harness.machine import describe_machine, library_versions, load_average, peak_memory
from harness.metrics import evaluate_predictions
from harness.plan import Plan
from harness.predicting import Batch, predict_batch
from harness.store import Journal, Store, digest, prediction_from, prediction_record
from harness.training import OnProgress, ensure_trained, trained_key
from harness.types import Example


@dataclass(frozen=True, slots=True)
class Result:
    run_id: str
    folder: Path
    metrics: dict[str, Any]
    computed: bool  # False where a finished record was found and nothing was computed


class EngineSlot:
    """Keeps one engine loaded for as long as the next runs need the same one (the same model in another language)."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._engine: Engine | None = None
        self._training: dict[str, Any] | None = None
        self._load_seconds = 0.0

    def ready(self, plan: Plan, on_progress: OnProgress) -> tuple[Plan, dict[str, Any] | None, float]:
        """The plan with a loaded engine, the record of its training, and the seconds that loading took."""
        key = trained_key(plan) if isinstance(plan.engine, Classifier) else digest(plan.identity["backend"])
        if key == self._key and self._engine is not None:
            return replace(plan, engine=self._engine), self._training, self._load_seconds
        self.close()
        on_progress("load", 0, 0, plan.backend.name)
        started = time.perf_counter()
        self._engine = plan.engine
        try:
            if isinstance(plan.engine, Classifier):
                self._training = ensure_trained(plan, on_progress)
            elif isinstance(plan.engine, LanguageModel):
                plan.engine.load()
        except OutOfMemory as error:
            self.close()
            raise RunError(
                f"{plan.backend.name}: no memory left while loading or training.", "Lower its batch size."
            ) from error
        except BaseException:
            self.close()
            raise
        self._key, self._load_seconds = key, time.perf_counter() - started
        return plan, self._training, self._load_seconds

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._key = self._engine = self._training = None


def run(
    plan: Plan,
    store: Store,
    slot: EngineSlot | None = None,
    on_progress: OnProgress = lambda phase, done, total, note: None,
    *,
    force: bool = False,
) -> Result:
    """Carry out a plan, or find it done. A killed run goes on where it stopped.

    A `slot` keeps the engine for the next run; its owner closes it. Without one the engine is closed at the end.

    Raises `RunBusy`, `ModelUnavailable`, `RunError`, and `UserError` for what only the engine can find wrong.
    """
    name = plan.run_id
    if store.has(name) and not force:
        return Result(name, store.root / name, store.metrics(name), computed=False)
    if slot is None:
        with closing(EngineSlot()) as own:
            return run(plan, store, own, on_progress, force=force)
    with store.journal(name) as journal:  # first, so that two processes do not both load the model
        plan, training, load_seconds = slot.ready(plan, on_progress)
        if force:
            journal.clear()
        _predict_all(plan, journal, lambda done, note: on_progress("predict", done, len(plan.rows), note))
        entries = journal.entries()
        by_id = {record["id"]: record for entry in entries for record in entry["rows"]}
        records = [by_id[row.id] for row in plan.rows]
        metrics = evaluate_predictions(
            plan.rows,
            [prediction_from(record) for record in records],
            plan.task.label_space,
            threshold=plan.task.threshold,
            extra_metrics=plan.task.metrics,
        )
        manifest = _manifest(plan, entries, training, load_seconds)
        folder = store.finish(name, manifest, records, dict(metrics))
    return Result(name, folder, dict(metrics), computed=True)


def cut_batches(rows: Sequence[Example], size: int) -> list[list[Example]]:
    """Longest texts first: little padding, and a batch that does not fit shows at once. Fixed by rows and size."""
    ordered = sorted(rows, key=lambda row: (-len(row.text), row.id))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _predict_all(plan: Plan, journal: Journal, on_progress: Callable[[int, str], None]) -> None:
    truth = {row.id: row for row in plan.rows}
    done = {record["id"] for entry in journal.entries() for record in entry["rows"]}
    # A batch that was halved for want of memory may be half done; whole batches are skipped as they were cut.
    batches = [[row for row in batch if row.id not in done] for batch in cut_batches(plan.rows, plan.engine.batch_size())]
    pending = [batch for batch in batches if batch]
    if pending:
        predict_batch(plan, pending[-1][-1:])  # warm-up on the shortest row, not counted
    on_progress(len(done), "")
    counted = len(done)
    for batch in pending:
        for rows, outcome, seconds in _in_memory(plan, batch):
            journal.append(_entry(rows, outcome, seconds, truth), outcome.answers)
            counted += len(rows)
            on_progress(counted, "")


def _in_memory(plan: Plan, rows: list[Example]) -> Iterator[tuple[list[Example], Batch, float]]:
    """The batch, in halves (and their halves) where the device has no memory for the whole."""
    started = time.perf_counter()
    try:
        outcome = predict_batch(plan, rows)
    except OutOfMemory as error:
        if len(rows) == 1:
            raise RunError(f"No memory for a single row ({rows[0].id}) of {plan.run_id}.", "Use a smaller model.") from error
        half = len(rows) // 2
    else:
        yield rows, outcome, time.perf_counter() - started
        return
    yield from _in_memory(plan, rows[:half])
    yield from _in_memory(plan, rows[half:])


def _entry(rows: list[Example], outcome: Batch, seconds: float, truth: dict[str, Example]) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 6),
        "prompt_tokens": outcome.prompt_tokens,
        "new_tokens": outcome.new_tokens,
        "batch": len(rows),
        "rows": [prediction_record(truth[prediction.id], prediction) for prediction in outcome.predictions],
    }


def _manifest(
    plan: Plan, entries: list[dict[str, Any]], training: dict[str, Any] | None, load_seconds: float
) -> dict[str, Any]:
    seconds = sum(entry["seconds"] for entry in entries)
    return {
        "run_id": plan.run_id,
        "identity": plan.identity,
        "n": len(plan.rows),
        "limit": plan.request.limit,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "training": training,
        "timing": {
            "seconds": round(seconds, 3),
            "rows_per_second": round(len(plan.rows) / seconds, 3) if seconds else None,
            "counts": "rendering, tokenization, the model and parsing; not loading, training, warm-up and the journal",
            "load_seconds": round(load_seconds, 3),
            "batch_size": plan.engine.batch_size(),
            "smallest_batch": min((entry["batch"] for entry in entries), default=0),
            "sorted_by_length": True,
            "load_average": load_average(),
        },
        "tokens": {
            "prompt": sum(entry["prompt_tokens"] for entry in entries),
            "new": sum(entry["new_tokens"] for entry in entries),
        },
        "peak_memory_mib": peak_memory(),
        "machine": describe_machine(),
        "versions": library_versions(),
    }
