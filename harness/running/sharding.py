"""One shard of a run. Plan, windows and batches are those of the whole run, so that its predictions are the same bits."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from harness.core.durable import DIGESTS
from harness.core.errors import DamagedRecord
from harness.core.json_files import digest
from harness.core.progress_events import OnProgress
from harness.core.shard import Shard
from harness.core.shard_record import ShardRecord
from harness.models.cache import MODEL
from harness.records.entries import Entry, finished_entry
from harness.records.journal import Journal
from harness.records.outcomes import Outcomes
from harness.records.shards import finish_shard, finished_shard, read_shard, shard_name
from harness.records.store import Store
from harness.running.batching import window_count, window_size
from harness.running.gates import Gates
from harness.running.plan import Plan
from harness.running.runner import Computed, EngineSlot, circumstances, compute, found_run, public_options
from harness.running.trained_models import TRAINING
from harness.running.training import OnEvaluation, trained_folder
from harness.specs.costs import Budget


@dataclass(frozen=True, slots=True)
class ShardResult:
    """A finished shard. `whole`: the record of the whole run, where it was there already; then there is no `record`."""

    run_id: str
    shard: Shard
    record: ShardRecord | None
    whole: Entry | None
    computed: bool  # False if it was found

    @property
    def rows(self) -> int:
        return 0 if self.record is None else self.record.rows


def run_shard(
    plan: Plan,
    shard: Shard,
    store: Store,
    slot: EngineSlot | None = None,
    on_progress: OnProgress = lambda phase, done, total, note: None,
    *,
    force: bool = False,
    budget: Budget | None = None,
    on_evaluation: OnEvaluation | None = None,
    gate: bool = True,
    goes_on: bool = False,
) -> ShardResult:
    """Predict the rows of a shard, unless it is finished or the run has its record. A killed shard continues where it stopped.

    Parameters and errors are those of `harness.running.runner.run`. A gate that stops a run stops the shard whose rows fail it.
    A shard without rows (fewer windows than shards) loads no model.
    """
    if not force and (found := _found(plan, shard, store)) is not None:
        return found
    if slot is None:
        with closing(EngineSlot()) as own:
            options = {"force": force, "gate": gate, "goes_on": goes_on}
            return run_shard(plan, shard, store, own, on_progress, budget=budget, on_evaluation=on_evaluation, **options)
    name = shard_name(plan.run_id, shard)
    with store.journal(name) as journal:
        if not force:
            if (found := _found(plan, shard, store)) is not None:  # another process finished it meanwhile
                return found
            store.set_aside(name)
        if shard.index > window_count(plan):
            journal.clear()
            done = _nothing(plan, journal)
        else:
            done = compute(
                plan,
                journal,
                slot,
                on_progress,
                force=force and not goes_on,
                budget=budget,
                gate=gate,
                on_evaluation=on_evaluation,
                shard=shard,
            )
        replaced = finished_entry(store, plan.run_id) if force else None
        record = _record(done, shard, replaced)
        finish_shard(store, record)
    return ShardResult(plan.run_id, shard, record, None, computed=True)


def _found(plan: Plan, shard: Shard, store: Store) -> ShardResult | None:
    if (whole := found_run(store, plan, warn=False)) is not None:
        return ShardResult(whole.run_id, shard, None, whole, computed=False)
    if (folder := finished_shard(store, plan.run_id, shard)) is None:
        return None
    try:
        return ShardResult(plan.run_id, shard, read_shard(folder), None, computed=False)
    except DamagedRecord:  # moved away, and predicted again
        return None


def _nothing(plan: Plan, journal: Journal) -> Computed:
    """Of a shard without rows."""
    return Computed(plan, [], [], None, 0.0, Outcomes([]), Gates(plan, journal.answers, stops=False))


def _record(done: Computed, shard: Shard, replaced: Entry | None) -> ShardRecord:
    plan, known = done.plan, circumstances(done, done.rows)
    return ShardRecord(
        run_id=plan.run_id,
        identity=plan.identity,
        options=public_options(plan),
        shard=shard,
        rows=len(done.rows),
        window_size=window_size(plan.engine),
        replaces=None if replaced is None else digest(replaced.record.manifest()),
        finished=known.finished,
        rows_from=plan.rows_from,
        checkpoint=known.checkpoint if done.rows else None,
        training=None if done.trained is None else done.trained.record,
        runtime=None if done.trained is None else done.trained.runtime,
        weights=None if done.trained is None else _weights(trained_folder(plan) / MODEL),
        timing=known.timing,
        cost=known.cost,
        peak_memory_mib=known.peak_memory,
        machine=known.machine,
        versions=known.versions,
        gates=done.gates.found,
        journal="",
    )


def _weights(model: Path) -> str | None:
    """Digest of a trained model's files, without the report of its training, whose times differ; None of a model without
    digests, of an earlier version."""
    seal = model / DIGESTS
    if not seal.is_file():
        return None
    lines = seal.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.endswith(f"  {TRAINING}")]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()
