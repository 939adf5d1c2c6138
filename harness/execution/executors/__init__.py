"""Executors: who carries out the jobs of a command. All of them give the same outcomes; the store, resuming, the budget and the
exit codes are not theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from harness.core.errors import UserError
from harness.core.options import ExecutionOptions
from harness.execution.events import OnEvent
from harness.execution.jobs import Job
from harness.execution.outcome import Outcome
from harness.execution.worker import Setup
from harness.specs.executors import ExecutorTables


class Executor(Protocol):
    def carry_out(self, jobs: Sequence[Job], on_event: OnEvent) -> Iterator[tuple[int, Outcome]]:
        """The outcomes as they come, each with its job's position. `on_event` gets the events of all jobs. After Ctrl-C it
        raises `KeyboardInterrupt` once all workers have ended. Raises `BenchError` where the engine can't be used."""


def executor_of(execution: ExecutionOptions, tables: ExecutorTables, setup: Setup) -> Executor:
    """Raises `MissingExtra` where the engine is not installed, and `UserError` for options that it does not have."""
    if execution.executor != "local" and execution.track is not None:
        raise UserError(
            f"--track {execution.track} follows runs of this process, and --executor {execution.executor} has them elsewhere.",
            "Leave out --track, or run with --executor local.",
        )
    if execution.executor == "ray":
        from harness.execution.executors.ray import RayExecutor

        return RayExecutor(setup, tables.ray, execution.workers, execution.address)
    if execution.executor == "slurm":
        from harness.execution.executors.slurm import SlurmExecutor

        return SlurmExecutor(setup, tables.slurm, execution.workers)
    from harness.execution.executors.local import LocalExecutor

    return LocalExecutor(setup)
