"""A worker: does one job after the other and keeps the model that the next one may need. One for each process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.core.cache_folder import cache_dir
from harness.core.errors import BenchError, BudgetReached, ModelUnavailable, RunIncomplete, as_bench_error
from harness.core.options import RunOptions
from harness.core.shard import Shard
from harness.execution.events import Listener
from harness.execution.outcome import Outcome, State
from harness.records.entries import read_entry
from harness.records.journal import JOURNAL
from harness.records.shards import shard_name
from harness.records.store import Store
from harness.running.plan import Plan, make_plan
from harness.running.runner import EngineSlot, found_run, run
from harness.running.sharding import run_shard
from harness.running.training import make_cache_folder, trained_folder, trained_key
from harness.specs.catalog import Catalog
from harness.specs.costs import Budget

if TYPE_CHECKING:
    from harness.execution.jobs import Job


@dataclass(frozen=True)
class Setup:
    """What a worker needs beside its jobs. It can be pickled. `budget`: what all workers of the command may spend."""

    catalog: Catalog
    store: Store
    force: bool = False
    gate: bool = True
    budget: Budget | None = None


class Worker:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.listener: Listener | None = None
        self._slot = EngineSlot()
        self.goes_on = False
        self._unavailable: dict[str, ModelUnavailable] = {}  # to ask the hub again for every language would take minutes

    def do(self, job: Job, listener: Listener, *, goes_on: bool = False) -> Outcome:
        """`goes_on`: a worker of the command that has ended had predicted some of its rows, which --force keeps. Raises nothing
        but `KeyboardInterrupt` and what ends a process."""
        self.listener, self.goes_on, before = listener, goes_on, self._slot.loads
        try:
            outcome = job.carried_out_by(self)
        except Exception as error:
            if os.environ.get("BENCH_DEBUG"):
                raise
            outcome = failed(as_bench_error(error), ends_all=isinstance(error, OSError) and error.errno is not None)
        finally:
            self.listener = None
        return replace(outcome, loads=self._slot.loads - before)

    def run(self, options: RunOptions, shard: Shard | None = None) -> Outcome:
        """Find or make a run, or one shard of it. Raises what `runner.run` raises."""
        if options.backend in self._unavailable:
            raise self._unavailable[options.backend]
        try:
            return self._run(options, shard)
        except ModelUnavailable as error:
            self._unavailable[options.backend] = error
            raise
        except RunIncomplete as error:
            if error.server is not None:
                self._unavailable[options.backend] = error.server
            raise

    def _run(self, options: RunOptions, shard: Shard | None) -> Outcome:
        setup, listener = self.setup, self.listener
        assert listener is not None
        plan = make_plan(options, setup.catalog)
        key = None if plan.training is None else trained_key(plan)
        if not setup.force and (entry := found_run(setup.store, plan, warn=False)) is not None:
            listener.say(f"{entry.run_id}: found, nothing to do (--force runs it again)")
            return Outcome("found", entry.run_id, trained_key=key, entry=entry)
        make_cache_folder(cache_dir())  # before a run begins
        in_cache = plan.training is not None and (trained_folder(plan) / "model").is_dir()
        notes = _notes(plan, shard, setup, in_cache=in_cache, anew=setup.force and not self.goes_on)
        listener.say(plan.run_id + (f": {', '.join(notes)}" if notes else ""))
        if shard is not None:
            return self._run_shard(
                plan, shard, listener, Outcome("new", model_from_cache=in_cache, trained_key=key, shard=shard)
            )
        done = run(
            plan,
            setup.store,
            self._slot,
            listener.update,
            force=setup.force,
            budget=setup.budget,
            gate=setup.gate,
            goes_on=self.goes_on,
        )
        return Outcome(
            "new" if done.computed else "found",
            done.run_id,
            model_from_cache=in_cache,
            trained_key=key,
            entry=read_entry(setup.store, done.run_id),
        )

    def _run_shard(self, plan: Plan, shard: Shard, listener: Listener, outcome: Outcome) -> Outcome:
        """`outcome`: what is known of it before."""
        setup = self.setup
        done = run_shard(
            plan,
            shard,
            setup.store,
            self._slot,
            listener.update,
            force=setup.force,
            budget=setup.budget,
            gate=setup.gate,
            goes_on=self.goes_on,
        )
        if not done.computed:
            listener.say(f"{plan.run_id}: shard {shard} found, nothing to do (--force predicts it again)")
        elif not done.rows:
            listener.say(f"{plan.run_id}: the run has fewer windows than shards, so shard {shard} has no rows")
        return replace(outcome, state="new" if done.computed else "found", run_id=done.run_id, rows=done.rows)

    def close(self) -> None:
        self._slot.close()


@contextmanager
def working(setup: Setup) -> Iterator[Worker]:
    worker = Worker(setup)
    try:
        yield worker
    finally:
        worker.close()


def failed(error: BenchError, *, ends_all: bool = False) -> Outcome:
    """`ends_all`: no space, no permission: the next run would train for hours and end the same way."""
    state: State = "incomplete" if isinstance(error, RunIncomplete) else "failed"
    return Outcome(state, error=error, ends_all=ends_all or isinstance(error, BudgetReached))


def _notes(plan: Plan, shard: Shard | None, setup: Setup, *, in_cache: bool, anew: bool) -> list[str]:
    """Which part it is, and what is there already."""
    notes = [] if shard is None else [f"shard {shard}"]
    notes += ["trained model found in the cache"] if in_cache else []
    if plan.training is not None and not in_cache and any((trained_folder(plan) / "scratch").glob("*")):
        notes.append("training continues from its last checkpoint")
    name = plan.run_id if shard is None else shard_name(plan.run_id, shard)
    if (setup.store.root / f"{name}.partial" / JOURNAL).exists():
        notes.append("starts again" if anew else "continues where it stopped")
    return notes
