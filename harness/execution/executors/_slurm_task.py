"""A task of a job array: does its jobs one after the other, on whatever node the cluster starts it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from harness.core.distributed import forget_launcher
from harness.core.errors import RunBusy
from harness.core.locks import LEASE_SECONDS
from harness.execution.events import BUSY, Event, Listener, Sender, forwarded
from harness.execution.executors._slurm_budget import FileBudget
from harness.execution.executors._slurm_folder import BEGIN, LATE, STOP, ArrayFolder, EventFile
from harness.execution.jobs import Job
from harness.execution.outcome import Outcome
from harness.execution.worker import Setup, Worker, working

EVERY = 2.0
"""Seconds between two events about the same phase."""
PATIENCE = 2.5 * LEASE_SECONDS
"""How long a task waits for the lock of a task that died on another node."""
QUEUE_AGAIN = getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}", None) or signal.SIGTERM
"""The signal by which submitit tells a task that its time is up."""


@dataclass(frozen=True)
class Task:
    """submitit calls it, on a node. `number`: among the tasks of the command. `jobs`: with their positions in the plan.
    `again`: some of them were begun by a task that has died. `folder` and `cwd` are on a storage that all nodes share."""

    folder: Path
    number: int
    setup: Setup
    jobs: Sequence[tuple[int, Job]]
    cwd: Path
    again: bool = False

    def __call__(self) -> None:
        """Do the jobs that have no outcome. A signal ends the process once the journal is closed."""
        os.chdir(self.cwd)
        forget_launcher()
        folder, events = ArrayFolder(self.folder), self._events()
        again = self.again or events.began()
        setup = self._with_own_budget()
        with _stopped_by_signal(events):
            events.write({"kind": BEGIN, "pid": os.getpid()})
            with working(setup) as worker, forwarded(lambda: worker.listener):
                done, begun = folder.ended_jobs(), folder.predicted() if again else set()
                for position, job in self.jobs:
                    if position in done:
                        continue
                    if folder.has_ended():
                        break
                    events.send(Event(position, "start"))
                    listener = Sender(position, events.send, EVERY)
                    outcome = _done(worker, job, listener, patience=PATIENCE if again else 0.0, goes_on=position in begun)
                    folder.write_outcome(position, replace(outcome, entry=None))

    def checkpoint(self) -> Any:
        """submitit calls it when the time limit is near or the node is wanted for another job, and has the same task queued
        again: what has an outcome is left out, and a run continues from its journal."""
        from submitit.helpers import DelayedSubmission

        self._events().write({"kind": STOP})
        return DelayedSubmission(self)

    def _events(self) -> EventFile:
        return EventFile(ArrayFolder(self.folder).events / f"{self.number}.jsonl")

    def _with_own_budget(self) -> Setup:
        if not isinstance(self.setup.budget, FileBudget):
            return self.setup
        return replace(self.setup, budget=self.setup.budget.of(str(self.number)))


def _done(worker: Worker, job: Job, listener: Listener, patience: float, *, goes_on: bool) -> Outcome:
    """Waits up to `patience` seconds for the lock of a worker that died on another node. `goes_on`: as of `Worker.do`."""
    until = time.monotonic() + patience
    while True:
        outcome = worker.do(job, listener, goes_on=goes_on)
        if not isinstance(outcome.error, RunBusy) or time.monotonic() > until:
            return outcome
        listener.update(*BUSY)
        time.sleep(5)


_stopping: list[int] = []


@contextmanager
def _stopped_by_signal(events: EventFile) -> Iterator[None]:
    """SIGTERM, by which clusters end a process with some seconds of grace, ends it as Ctrl-C does; a second one is ignored, as
    the cluster sends it while the first is obeyed. SIGUSR2 is submitit's, which has the task queued again and ends it."""

    def stop(number: int, frame: FrameType | None) -> None:
        if not _stopping:
            _stopping.append(number)
            raise KeyboardInterrupt

    def queue_again(number: int, frame: FrameType | None) -> None:
        _stopping.append(number)
        try:
            submitits(number, frame)
        except UncompletedJobError:
            events.write({"kind": LATE})
            sys.exit(1)
        except Exception:  # else it would count as an error of the job; scontrol may have been ended with the task
            sys.exit(128 + number)

    from submitit.core.utils import UncompletedJobError

    signal.signal(signal.SIGTERM, stop)
    submitits: Any = signal.signal(QUEUE_AGAIN, queue_again)
    try:
        yield
    except KeyboardInterrupt:
        events.write({"kind": STOP})
        sys.exit(128 + (_stopping[0] if _stopping else signal.SIGINT))
