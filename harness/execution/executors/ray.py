"""On a Ray cluster: an actor for each loaded model, which Ray places where there is room."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.core import library_logging
from harness.core.errors import BenchError, RunBusy, RunError, UserError
from harness.core.locks import LEASE_SECONDS
from harness.execution.deaths import MOST_DEATHS, Deaths
from harness.execution.events import BUSY, Event, OnEvent
from harness.execution.executors._ray_cluster import Nodes, Resources, connect, first_line, in_words, the_ray
from harness.execution.executors._ray_worker import Coordinator, Environment, RayWorker, Started, sent_variables
from harness.execution.jobs import Job
from harness.execution.outcome import Outcome, is_seen
from harness.execution.schedule import Schedule
from harness.execution.worker import Setup, failed
from harness.specs.executors import RaySettings

TICK = 0.5
"""Seconds between two looks at what the workers tell."""

GRACE = 15.0
"""Seconds that the workers have to stop. After that they are killed: every finished batch is in its journal."""

BUSY_PATIENCE = 30.0
"""Seconds for which a run is tried again that another process works on: it may be a worker of a driver that was killed."""

DEAD_PATIENCE = 3 * LEASE_SECONDS
"""The same after a worker has died with the run: on another machine its lock is taken for lost after `LEASE_SECONDS`, and taken
over after as long again."""

UNSEEN_PATIENCE = 10.0
"""Seconds after which a record that a worker has written should be seen here: NFS is late."""


@dataclass(frozen=True)
class RayExecutor:
    """See the module. `workers`: at most so many actors."""

    setup: Setup
    settings: RaySettings
    workers: int | None
    address: str | None

    def __post_init__(self) -> None:
        the_ray()

    def carry_out(self, jobs: Sequence[Job], on_event: OnEvent) -> Iterator[tuple[int, Outcome]]:
        connect(self.address or self.settings.address, self.settings.runtime_env)
        pool = _WorkerPool(self, jobs, on_event)
        try:
            yield from pool.outcomes()
        except the_ray().exceptions.RayTaskError:  # a fault of ours
            raise
        except the_ray().exceptions.RayError as error:  # not of a worker, whose death is expected
            raise RunError(
                f"The Ray cluster is lost: {first_line(error)}",
                "Finished rows are kept. When the cluster is up again, repeat the command to go on.",
            ) from error
        finally:
            pool.end()


@dataclass
class _Worker:
    """A worker as the driver sees it. `reply`: of what it was asked, until it has answered; `job`: what it does; `group`: whose
    model it has loaded."""

    number: int
    actor: Any
    resources: Resources
    reply: Any
    since: float
    host: str = ""
    job: int | None = None
    group: str | None = None
    is_up: bool = False


class _WorkerPool:
    def __init__(self, executor: RayExecutor, jobs: Sequence[Job], on_event: OnEvent) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray, self._nodes = the_ray(), Nodes()
        self._schedule = Schedule(jobs)
        self._on_event = on_event
        self._limit = executor.workers or len(jobs)
        self._store, self._budget = executor.setup.store, executor.setup.budget
        store = replace(self._store, root=self._store.root.absolute())
        # Without what this process has read: on another node bench may be installed elsewhere.
        self._setup = replace(executor.setup, store=store, catalog=replace(executor.setup.catalog), budget=None)
        runtime_env = executor.settings.runtime_env
        self._environment = Environment(
            None if "working_dir" in runtime_env else Path.cwd(),
            sent_variables(os.environ, runtime_env.get("env_vars", {})),
            library_logging.loud(),
        )
        limit, spent = (None, 0.0) if self._budget is None else (self._budget.limit, self._budget.spent)
        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        # On the node of this process: no other one takes it along.
        self._coordinator = self._ray.remote(num_cpus=0, scheduling_strategy=here)(Coordinator).remote(limit, spent)
        self._workers: dict[int, _Worker] = {}
        self._started = 0
        self._deaths = Deaths()
        self._lost_jobs: set[int] = set()  # jobs whose worker has died
        self._failed_starts = 0  # workers in a row that died before they were up
        self._busy: dict[int, float] = {}  # when another process was first found at the job's run
        self._paused: dict[int, float] = {}  # jobs to be tried again, and when
        self._seen: set[str] = set()  # hosts whose records are seen here
        self._warned: set[str] = set()
        self._awaited: set[str] = set()  # kinds of workers that progress says it waits for

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        schedule = self._schedule
        while not schedule.is_over:
            self._resume()
            self._assign()
            self._end_idle()
            yield from self._start_workers()
            for worker in self._answered():
                yield from self._ended(worker)

    def end(self) -> None:
        """Stop all workers, those that work as Ctrl-C does."""
        replies = [worker.reply for worker in self._workers.values() if worker.is_up and worker.reply is not None]
        if replies:
            self._coordinator.stop.remote()
            with suppress(KeyboardInterrupt):  # a second one: without grace
                self._ray.wait(replies, num_returns=len(replies), timeout=GRACE)
        with suppress(self._ray.exceptions.RayError):
            self._tell()
            if self._budget is not None:
                for worker in self._workers.values():
                    self._coordinator.write_off.remote(worker.number)
                self._budget.settle(0.0, self._ray.get(self._coordinator.spent.remote(), timeout=GRACE) - self._budget.spent)
        for actor in [*(worker.actor for worker in self._workers.values()), self._coordinator]:
            self._ray.kill(actor)
        self._workers.clear()

    # Who does what

    def _resume(self) -> None:
        for job in [job for job, when in self._paused.items() if when <= time.monotonic()]:
            del self._paused[job]
            self._schedule.give_back(job)

    def _assign(self) -> None:
        idle = [worker for worker in self._workers.values() if worker.is_up and worker.reply is None]
        for worker in sorted(idle, key=lambda worker: worker.group is None):  # first those that go on with their model
            job = self._schedule.take(worker.group, lambda need, worker=worker: self._nodes.asked_by(need) == worker.resources)  # type: ignore[misc]
            if job is not None:
                asked = self._schedule.jobs[job]
                worker.job, worker.group = job, asked.group
                self._on_event(Event(job, "start"))
                worker.reply = worker.actor.do.remote(job, asked, goes_on=self._deaths.has_rows(job))

    def _end_idle(self) -> None:
        """End workers that have nothing more to do, and idle ones that keep others from their room."""
        waiting, ready = self._kinds(self._schedule.waiting()), self._kinds(self._schedule.ready())
        beside = [worker.resources for worker in self._workers.values()]
        is_full = len(self._workers) >= self._limit
        is_tight = any(is_full or not self._nodes.have_room(one, beside) for one in ready)
        for worker in list(self._workers.values()):
            if worker.job is None and (worker.resources not in waiting or (worker.is_up and is_tight)):
                self._end_worker(worker)

    def _kinds(self, jobs: Sequence[int]) -> list[Resources]:
        """What the jobs ask for, each once: a command may have thousands of jobs, and has few kinds."""
        needs = dict.fromkeys(self._schedule.jobs[job].need for job in jobs)
        found: list[Resources] = []
        for resources in map(self._nodes.asked_by, needs):
            if resources not in found:
                found.append(resources)
        return found

    def _start_workers(self) -> Iterator[tuple[int, Outcome]]:
        """A worker for each job that could begin, as far as there is room. Yields the failures of jobs that fit on no node."""
        for resources in self._kinds(self._schedule.ready()):
            jobs = [job for job in self._schedule.ready() if self._nodes.asked_by(self._schedule.jobs[job].need) == resources]
            if not self._nodes.can_hold(resources):
                for job in jobs:
                    if job not in self._schedule.outcomes:
                        yield from self._schedule.add(job, failed(self._too_large(job, resources)))
                continue
            coming = [one for one in self._workers.values() if not one.is_up and one.resources == resources]
            for worker, job in zip(coming, jobs, strict=False):
                self._tell_wait(worker, job)
            for _ in jobs[len(coming) :]:
                beside = [worker.resources for worker in self._workers.values()]
                if len(beside) >= self._limit or not self._nodes.have_room(resources, beside):
                    break
                self._start_worker(resources)

    def _start_worker(self, resources: Resources) -> None:
        self._started += 1
        options = {"num_cpus": resources["CPU"], "num_gpus": resources.get("GPU", 0), "memory": int(resources.get("memory", 0))}
        actor = self._ray.remote(**options)(RayWorker).remote(self._started, self._coordinator)
        reply = actor.start.remote(self._setup, self._environment, has_budget=self._budget is not None)
        self._workers[self._started] = _Worker(self._started, actor, resources, reply, time.monotonic())

    def _end_worker(self, worker: _Worker) -> None:
        del self._workers[worker.number]
        if worker.is_up:
            worker.actor.close.remote()
            worker.actor.__ray_terminate__.remote()  # after that
        else:
            self._ray.kill(worker.actor)

    def _too_large(self, job: int, resources: Resources) -> UserError:
        asked = self._schedule.jobs[job]
        return UserError(
            f"{asked.name} needs {in_words(resources)}, and no node of the Ray cluster has so much: the largest has "
            f"{self._nodes.largest()}.",
            "Lower what the runs of this backend need: [needs.BACKEND] in bench.toml (docs/scale.md); or add a larger node.",
        )

    # What comes back

    def _answered(self) -> list[_Worker]:
        """The workers that have answered; what they told before that has been passed on."""
        replies = {worker.reply: worker for worker in self._workers.values() if worker.reply is not None}
        if replies:
            ready, _ = self._ray.wait(list(replies), num_returns=1, timeout=TICK)
        else:
            ready = []
            time.sleep(TICK)
        self._tell()
        return [replies[reply] for reply in ready]

    def _tell(self) -> None:
        for event in self._ray.get(self._coordinator.events.remote()):
            if event.kind != "warn" or event.text not in self._warned:  # every worker may have met the same
                self._on_event(event)
            if event.kind == "warn":
                self._warned.add(event.text)
            self._deaths.see(event)

    def _tell_wait(self, worker: _Worker, job: int) -> None:
        kind = in_words(worker.resources)
        if kind not in self._awaited and time.monotonic() - worker.since > 10:
            self._awaited.add(kind)
            self._on_event(Event(job, "start"))
            self._on_event(Event(job, "say", f"waiting for a worker with {kind}"))

    def _ended(self, worker: _Worker) -> Iterator[tuple[int, Outcome]]:
        try:
            answer = self._ray.get(worker.reply)
        except self._ray.exceptions.RayTaskError as error:  # BENCH_DEBUG, or a fault of ours
            raise error.as_instanceof_cause() from None
        except self._ray.exceptions.RayError as error:
            yield from self._lost(worker, error)
            return
        worker.reply, job, worker.job = None, worker.job, None
        if isinstance(answer, Started):
            if answer.problem is not None:
                raise answer.problem
            worker.is_up, worker.host, self._failed_starts = True, answer.host, 0
        elif job is not None:
            yield from self._done(job, answer)

    def _done(self, job: int, outcome: Outcome | None) -> Iterator[tuple[int, Outcome]]:
        if outcome is None:  # somebody else has interrupted the worker
            self._schedule.give_back(job)
        elif isinstance(outcome.error, RunBusy) and self._is_patient(job):
            self._paused[job] = time.monotonic() + 5
            self._on_event(Event(job, "update", *BUSY))
        else:
            self._check_seen(outcome)
            yield from self._schedule.add(job, outcome)

    def _is_patient(self, job: int) -> bool:
        since = self._busy.setdefault(job, time.monotonic())
        return time.monotonic() - since < (DEAD_PATIENCE if job in self._lost_jobs else BUSY_PATIENCE)

    def _check_seen(self, outcome: Outcome) -> None:
        """Raises `RunError` if the first record of a host is not where this machine looks for it."""
        if outcome.run_id is None or outcome.host in self._seen:
            return
        until = time.monotonic() + UNSEEN_PATIENCE
        while not is_seen(self._store, outcome):
            if time.monotonic() > until:
                raise RunError(
                    f"{outcome.host} has written the record {outcome.run_id}, and it is not in {self._store.root}: that is "
                    "another folder there.",
                    "All nodes need the same folder of results: --results DIR on a shared disk (docs/scale.md).",
                )
            time.sleep(TICK)
        self._seen.add(outcome.host)

    def _lost(self, worker: _Worker, error: Exception) -> Iterator[tuple[int, Outcome]]:
        """The worker has died: its job is done by another one."""
        del self._workers[worker.number]
        self._coordinator.write_off.remote(worker.number)
        with suppress(Exception):  # it may only be cut off
            self._ray.kill(worker.actor)
        why, job = _cause(error), worker.job
        if job is None:
            self._failed_starts += not worker.is_up
            if self._failed_starts == MOST_DEATHS:
                raise RunError(
                    f"Ray can't start a worker: {why}", "See Ray's logs on its nodes (/tmp/ray/session_latest/logs)."
                )
            return
        self._lost_jobs.add(job)
        name = self._schedule.jobs[job].name
        if not self._deaths.add(job):
            self._on_event(
                Event(job, "warn", f"{name}: its worker on {worker.host} has died ({why}); another one goes on with it")
            )
            self._schedule.give_back(job)
            return
        problem: BenchError = RunError(
            f"{name}: {MOST_DEATHS} workers in a row have died with it, the last one on {worker.host} ({why}).",
            "Finished rows are kept. If its memory was full, give it more: [needs.BACKEND] in bench.toml (docs/scale.md).",
        )
        yield from self._schedule.add(job, failed(problem))


def _cause(error: Exception) -> str:
    text = str(error)
    if "its node has died" in text or "node was terminated" in text:
        return "its node is lost"
    if type(error).__name__ == "ActorUnavailableError":
        return "it can't be reached"
    if "running low on memory" in text or "OOM" in type(error).__name__:
        return "the memory of its node was full"
    if type(error).__name__ == "RuntimeEnvSetupError":
        return first_line(error)
    if "creation task" in text:
        return text.strip().splitlines()[-1]
    return "its process was killed" if "unexpected" in text else first_line(error)
