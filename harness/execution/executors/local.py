"""In this process, one job after the other, in the order of the command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.execution.events import Event, Listener, OnEvent, Sender, log_lines
from harness.execution.jobs import Job
from harness.execution.outcome import Outcome
from harness.execution.schedule import Schedule
from harness.execution.worker import Setup, working


@dataclass(frozen=True)
class LocalExecutor:
    """See the module."""

    setup: Setup

    def carry_out(self, jobs: Sequence[Job], on_event: OnEvent) -> Iterator[tuple[int, Outcome]]:
        schedule = Schedule(jobs)
        current: list[Listener] = []
        with working(self.setup) as worker, log_lines(lambda: current[-1] if current else None):
            while (job := schedule.take_first()) is not None:
                on_event(Event(job, "start"))
                current[:] = [Sender(job, on_event, every=0.0)]
                yield from schedule.add(job, worker.do(schedule.jobs[job], current[0]))
