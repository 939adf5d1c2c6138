"""Jobs that misbehave, for workers in other processes: they import this module."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

from harness.core.errors import RunBusy
from harness.execution.events import Event
from harness.execution.executors._ray_worker import Coordinator
from harness.execution.jobs import Need
from harness.execution.outcome import Outcome
from harness.execution.worker import Worker

NOTHING = Need(0)


@dataclass(frozen=True)
class Errand:
    """`notes`: a file that gets a line for each beginning: name, process, GPUs, CPUs of the actor, time."""

    name: str
    notes: str
    need: Need = NOTHING
    group: str = "g"
    after: int | None = None
    trains: bool = False
    start: str | None = None
    seconds: float = 0.0

    def started_from(self, outcome: Outcome) -> Errand:
        return replace(self, start=outcome.trained_key)

    def carried_out_by(self, worker: Worker) -> Outcome:
        import ray

        resources = ray.get_runtime_context().get_assigned_resources()
        with Path(self.notes).open("a") as file:
            words = [self.name, os.getpid(), resources.get("GPU", 0), resources.get("CPU", 0), time.time(), self.start]
            file.write(" ".join(map(str, words)) + "\n")
        return self._act(worker)

    def _act(self, worker: Worker) -> Outcome:
        time.sleep(self.seconds)
        return Outcome("new", trained_key=f"model of {self.name}")


@dataclass(frozen=True)
class Deadly(Errand):
    """Kills its worker, the first `times`."""

    times: int = 99

    def _act(self, worker: Worker) -> Outcome:
        if len(Path(self.notes).read_text().splitlines()) <= self.times:
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome("new")


@dataclass(frozen=True)
class Occupied(Errand):
    """Another process works on its run, the first `times`."""

    times: int = 1

    def _act(self, worker: Worker) -> Outcome:
        if len(Path(self.notes).read_text().splitlines()) <= self.times:
            raise RunBusy("Another process (1 on elsewhere) is working on the run x.", "Wait for it.")
        return Outcome("new")


@dataclass(frozen=True)
class Lost(Errand):
    """Says that it wrote a record."""

    def _act(self, worker: Worker) -> Outcome:
        return Outcome("new", "reviews_demo.en.majority.s0.0123456789")


class MortalCoordinator(Coordinator):
    """Dies as its node does."""

    def events(self) -> list[Event]:
        os._exit(1)


@dataclass(frozen=True)
class Halfway(Errand):
    """Its worker dies after a row; the next one says whether it goes on."""

    def _act(self, worker: Worker) -> Outcome:
        assert worker.listener is not None
        if len(Path(self.notes).read_text().splitlines()) == 1:
            worker.listener.update("predict", 1, 2, "")
            time.sleep(2)
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome("new", trained_key=str(worker.goes_on))
