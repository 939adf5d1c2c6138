"""To be written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.execution.events import Event
from harness.execution.jobs import Job
from harness.execution.outcome import Outcome
from harness.execution.worker import Setup
from harness.specs.executors import RaySettings


@dataclass(frozen=True)
class RayExecutor:
    setup: Setup
    settings: RaySettings
    workers: int | None
    address: str | None

    def carry_out(self, jobs: Sequence[Job], told: Callable[[Event], None]) -> Iterator[tuple[int, Outcome]]:
        raise NotImplementedError
