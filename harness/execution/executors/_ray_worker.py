"""What runs in Ray's processes: a worker holds one loaded model and does one job after the other; the coordinator collects the
events of the workers and holds their budget."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.core import library_logging
from harness.core.distributed import forget_launcher
from harness.core.errors import BenchError, RunError
from harness.execution.events import Event, Sender, forwarded
from harness.execution.jobs import Job
from harness.execution.outcome import Outcome
from harness.execution.worker import Setup, working
from harness.specs.costs import MemoryBudget

EVERY = 0.5
"""Seconds between two reports of a worker."""

SENT = ("BENCH_", "HF_", "TRANSFORMERS_", "VLLM_", "AWS_", "FSSPEC_")
KEYS = "_API_KEY"


def sent_variables(environment: Mapping[str, str], own: Mapping[str, Any]) -> dict[str, str]:
    """The variables of this process that a worker takes over: settings of bench and of its libraries, and the keys of servers.
    They go to the worker with its setup, as Ray shows the variables of a runtime environment to everyone who sees the
    dashboard. `own`: those of the runtime environment, which win."""
    return {
        name: value for name, value in environment.items() if (name.startswith(SENT) or name.endswith(KEYS)) and name not in own
    }


@dataclass(frozen=True, slots=True)
class Environment:
    """What a worker takes over from the driver. `folder`: to work in; None: where Ray starts it (`working_dir` of a runtime
    environment). `loud`: library messages go to Ray's logs."""

    folder: Path | None
    variables: Mapping[str, str]
    loud: bool


@dataclass(frozen=True, slots=True)
class BudgetState:
    """What a worker sees of the budget after a request. `wait`: another worker's reservation leaves no room."""

    limit: float
    spent: float
    left: float
    count: int = 0
    wait: bool = False


class Coordinator:
    """An actor. `limit`, `spent`: of the budget, in US dollars."""

    def __init__(self, limit: float | None, spent: float) -> None:
        self._events: list[Event] = []
        self._stops = False
        self._budget = MemoryBudget(limit or 0.0, spent)
        self._reserved: dict[int, float] = {}  # by worker

    def report(self, events: Sequence[Event]) -> bool:
        """Whether the worker is to stop."""
        self._events += events
        return self._stops

    def events(self) -> list[Event]:
        """Since the last call."""
        taken, self._events = self._events, []
        return taken

    def stop(self) -> None:
        self._stops = True

    def reserve(self, worker: int, parts: Sequence[float]) -> BudgetState:
        self.write_off(worker)  # it sends one batch at a time: what it has not settled, it never will
        count = self._budget.reserve(parts)
        if count:
            self._reserved[worker] = sum(parts[:count])
        return self._state(count, wait=not count and bool(self._reserved))

    def settle(self, worker: int, charged: float) -> BudgetState:
        self._budget.settle(self._reserved.pop(worker, 0.0), charged)
        return self._state()

    def write_off(self, worker: int) -> None:
        """What the worker has reserved counts as spent: it has died, or stopped, and the request may have been answered."""
        reserved = self._reserved.pop(worker, 0.0)
        self._budget.settle(reserved, reserved)

    def spent(self) -> float:
        """Also what is reserved."""
        return self._budget.limit - self._budget.left

    def _state(self, count: int = 0, *, wait: bool = False) -> BudgetState:
        budget = self._budget
        return BudgetState(budget.limit, budget.spent, budget.left, count, wait)


class CoordinatorBudget:
    """The `Budget` of a worker."""

    def __init__(self, coordinator: Any, worker: int) -> None:
        self._coordinator, self._worker = coordinator, worker
        self._seen: BudgetState = _got(coordinator.reserve.remote(worker, []))

    @property
    def limit(self) -> float:
        return self._seen.limit

    @property
    def spent(self) -> float:
        return self._seen.spent

    @property
    def left(self) -> float:
        return self._seen.left

    def reserve(self, parts: Sequence[float]) -> int:
        while True:
            self._seen = _got(self._coordinator.reserve.remote(self._worker, list(parts)))
            if not self._seen.wait:
                return self._seen.count
            time.sleep(EVERY)

    def settle(self, reserved: float, charged: float) -> None:
        """The coordinator knows what is reserved."""
        self._seen = _got(self._coordinator.settle.remote(self._worker, charged))

    def write_off(self) -> None:
        _got(self._coordinator.write_off.remote(self._worker))


def _got(reference: Any) -> Any:
    import ray

    return ray.get(reference)


class _EventSender:
    """Sends events to the coordinator, in a thread. Where the coordinator asks for it, or is gone with its driver, it
    interrupts the main thread as Ctrl-C does: also a training, a download, a wait for a lock."""

    def __init__(self, coordinator: Any) -> None:
        self._coordinator = coordinator
        self._events: list[Event] = []
        self._lock = threading.RLock()
        self._busy = threading.Event()
        self._stopped = False
        threading.Thread(target=self._work, name="events", daemon=True).start()

    def send(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Around a job. At its end all events are sent."""
        self._busy.set()
        try:
            yield
        finally:
            self._busy.clear()
            self._deliver()

    def _work(self) -> None:
        while True:
            self._busy.wait()
            stops = self._deliver()
            with self._lock:
                if stops and self._busy.is_set() and not self._stopped:  # once: what it ends must not be interrupted
                    self._stopped = True
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(EVERY)

    def _deliver(self) -> bool:
        from ray.exceptions import RayError

        with self._lock:
            events, self._events = self._events, []
        try:
            return bool(_got(self._coordinator.report.remote(events)))
        except RayError:
            return True


@dataclass(frozen=True, slots=True)
class Started:
    """A worker is up. `problem`: why it can do no job."""

    host: str
    pid: int
    problem: BenchError | None = None


class RayWorker:
    """An actor. Ray calls its methods in the main thread."""

    def __init__(self, number: int, coordinator: Any) -> None:
        self._number, self._coordinator = number, coordinator
        self._around = ExitStack()
        self._budget: CoordinatorBudget | None = None

    def start(self, setup: Setup, environment: Environment, *, has_budget: bool) -> Started:
        """`has_budget`: there is a budget."""
        here = socket.gethostname(), os.getpid()
        forget_launcher()
        os.environ.update(environment.variables)
        library_logging.speak() if environment.loud else library_logging.hush()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray blocks it, so that Ctrl-C ends the driver alone
        try:
            os.chdir(environment.folder or ".")
        except OSError as error:
            problem = RunError(
                f"{environment.folder} can't be entered on {here[0]} ({error.strerror}), where a worker is to run.",
                "All nodes need the folder of the project at the same place, on a shared disk; or name it as `working_dir` "
                "under [ray.runtime_env] in bench.toml (docs/scale.md).",
            )
            return Started(*here, problem)
        if environment.folder is None:
            setup = replace(setup, catalog=replace(setup.catalog, project=Path.cwd()))
        if has_budget:
            self._budget = CoordinatorBudget(self._coordinator, self._number)
            setup = replace(setup, budget=self._budget)
        self._sender = _EventSender(self._coordinator)
        self._worker = self._around.enter_context(working(setup))
        self._around.enter_context(forwarded(lambda: self._worker.listener))
        return Started(*here)

    def do(self, position: int, job: Job, *, goes_on: bool) -> Outcome | None:
        """None if it was stopped. `goes_on`: as of `Worker.do`."""
        try:
            with self._sender.busy():
                outcome = self._worker.do(job, Sender(position, self._sender.send, EVERY), goes_on=goes_on)
            if self._budget is not None:
                self._budget.write_off()
            return replace(outcome, entry=None)
        except KeyboardInterrupt:
            return None

    def close(self) -> None:
        self._around.close()
