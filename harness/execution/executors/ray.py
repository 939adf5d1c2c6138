"""On a Ray cluster: an actor for each loaded model, which Ray places where there is room."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.core import library_logging
from harness.core.errors import BenchError, RunBusy, RunError, UserError
from harness.core.locks import LEASE_SECONDS
from harness.execution.events import PREDICT, Event
from harness.execution.executors._ray_cluster import Nodes, Resources, connect, first_line, in_words, the_ray
from harness.execution.executors._ray_worker import Desk, RayWorker, Started, Surroundings, sent_variables
from harness.execution.jobs import Job
from harness.execution.outcome import Outcome, is_seen
from harness.execution.schedule import Schedule
from harness.execution.worker import Setup, failed
from harness.specs.executors import RaySettings

TICK = 0.5
"""Seconds between two looks at what the workers tell."""

GRACE = 15.0
"""Seconds that the workers have to stop. After that they are killed: every finished batch is in its journal."""

MOST_DEATHS = 3
"""Workers in a row that a job may cost without getting any further."""

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

    def carry_out(self, jobs: Sequence[Job], told: Callable[[Event], None]) -> Iterator[tuple[int, Outcome]]:
        connect(self.address or self.settings.address, self.settings.runtime_env)
        crew = _Crew(self, jobs, told)
        try:
            yield from crew.outcomes()
        finally:
            crew.end()


@dataclass
class _Hand:
    """A worker as the driver sees it. `reply`: of what it was asked, until it has answered; `job`: what it does; `group`: whose
    model it has loaded."""

    number: int
    actor: Any
    resources: Resources
    reply: Any
    hired: float
    host: str = ""
    job: int | None = None
    group: str | None = None
    is_up: bool = False


class _Crew:
    def __init__(self, executor: RayExecutor, jobs: Sequence[Job], told: Callable[[Event], None]) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray, self._nodes = the_ray(), Nodes()
        self._schedule = Schedule(jobs)
        self._told = told
        self._limit = executor.workers or len(jobs)
        self._store, self._budget = executor.setup.store, executor.setup.budget
        store = replace(self._store, root=self._store.root.absolute())
        # Without what this process has read: on another node bench may be installed elsewhere.
        self._setup = replace(executor.setup, store=store, catalog=replace(executor.setup.catalog), budget=None)
        environment = executor.settings.runtime_env
        self._surroundings = Surroundings(
            None if "working_dir" in environment else Path.cwd(),
            sent_variables(os.environ, environment.get("env_vars", {})),
            library_logging.loud(),
        )
        limit, spent = (None, 0.0) if self._budget is None else (self._budget.limit, self._budget.spent)
        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        # On the node of this process: no other one takes it along.
        self._desk = self._ray.remote(num_cpus=0, scheduling_strategy=here)(Desk).remote(limit, spent)
        self._hands: dict[int, _Hand] = {}
        self._hired = 0
        self._deaths: Counter[int] = Counter()  # of workers in a row that got no further, by job
        self._orphans: set[int] = set()  # jobs whose worker has died
        self._furthest: dict[tuple[int, str], int] = {}  # what is done, by job and phase
        self._advanced: set[int] = set()  # jobs that got further since their worker died
        self._unborn = 0  # workers in a row that died before they were up
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
            self._dismiss()
            yield from self._hire()
            for hand in self._answered():
                yield from self._ended(hand)

    def end(self) -> None:
        """Stop all workers, those that work as Ctrl-C does."""
        replies = [hand.reply for hand in self._hands.values() if hand.is_up and hand.reply is not None]
        if replies:
            self._desk.stop.remote()
            with suppress(KeyboardInterrupt):  # a second one: without grace
                self._ray.wait(replies, num_returns=len(replies), timeout=GRACE)
        with suppress(self._ray.exceptions.RayError):
            self._tell()
            if self._budget is not None:
                for hand in self._hands.values():
                    self._desk.forfeit.remote(hand.number)
                self._budget.settle(0.0, self._ray.get(self._desk.spent.remote(), timeout=GRACE) - self._budget.spent)
        for actor in [*(hand.actor for hand in self._hands.values()), self._desk]:
            self._ray.kill(actor)
        self._hands.clear()

    # Who does what

    def _resume(self) -> None:
        for job in [job for job, when in self._paused.items() if when <= time.monotonic()]:
            del self._paused[job]
            self._schedule.give_back(job)

    def _assign(self) -> None:
        idle = [hand for hand in self._hands.values() if hand.is_up and hand.reply is None]
        for hand in sorted(idle, key=lambda hand: hand.group is None):  # first those that go on with their model
            job = self._schedule.take(hand.group, lambda need, hand=hand: self._nodes.asked_by(need) == hand.resources)  # type: ignore[misc]
            if job is not None:
                asked = self._schedule.jobs[job]
                hand.job, hand.group = job, asked.group
                self._told(Event(job, "start"))
                hand.reply = hand.actor.do.remote(job, asked, goes_on=self._furthest.get((job, PREDICT), 0) > 0)

    def _dismiss(self) -> None:
        """End workers that have nothing more to do, and idle ones that keep others from their room."""
        waiting = [self._nodes.asked_by(self._schedule.jobs[job].need) for job in self._schedule.waiting()]
        ready = [self._nodes.asked_by(self._schedule.jobs[job].need) for job in self._schedule.ready()]
        beside = [hand.resources for hand in self._hands.values()]
        is_full = len(self._hands) >= self._limit
        is_tight = any(is_full or not self._nodes.have_room(one, beside) for one in ready)
        for hand in list(self._hands.values()):
            if hand.job is None and (hand.resources not in waiting or (hand.is_up and is_tight)):
                self._release(hand)

    def _hire(self) -> Iterator[tuple[int, Outcome]]:
        """A worker for each job that could begin, as far as there is room. Yields the failures of jobs that fit on no node."""
        coming = [hand for hand in self._hands.values() if not hand.is_up]
        for job in self._schedule.ready():
            if job in self._schedule.outcomes:
                continue  # what it waits for has failed meanwhile
            resources = self._nodes.asked_by(self._schedule.jobs[job].need)
            mine = next((hand for hand in coming if hand.resources == resources), None)
            if mine is not None:
                coming.remove(mine)
                self._tell_wait(mine, job)
            elif not self._nodes.can_hold(resources):
                yield from self._schedule.add(job, failed(self._too_large(job, resources)))
            elif len(self._hands) < self._limit and self._nodes.have_room(
                resources, [hand.resources for hand in self._hands.values()]
            ):
                self._start(resources)

    def _start(self, resources: Resources) -> None:
        self._hired += 1
        options = {"num_cpus": resources["CPU"], "num_gpus": resources.get("GPU", 0), "memory": int(resources.get("memory", 0))}
        actor = self._ray.remote(**options)(RayWorker).remote(self._hired, self._desk)
        reply = actor.start.remote(self._setup, self._surroundings, paid=self._budget is not None)
        self._hands[self._hired] = _Hand(self._hired, actor, resources, reply, time.monotonic())

    def _release(self, hand: _Hand) -> None:
        del self._hands[hand.number]
        if hand.is_up:
            hand.actor.close.remote()
            hand.actor.__ray_terminate__.remote()  # after that
        else:
            self._ray.kill(hand.actor)

    def _too_large(self, job: int, resources: Resources) -> UserError:
        asked = self._schedule.jobs[job]
        return UserError(
            f"{asked.name} needs {in_words(resources)}, and no node of the Ray cluster has so much: the largest has "
            f"{self._nodes.largest()}.",
            "Lower what the runs of this backend need: [needs.BACKEND] in bench.toml (docs/scale.md); or add a larger node.",
        )

    # What comes back

    def _answered(self) -> list[_Hand]:
        """The workers that have answered; what they told before that has been passed on."""
        replies = {hand.reply: hand for hand in self._hands.values() if hand.reply is not None}
        if replies:
            ready, _ = self._ray.wait(list(replies), num_returns=1, timeout=TICK)
        else:
            ready = []
            time.sleep(TICK)
        self._tell()
        return [replies[reply] for reply in ready]

    def _tell(self) -> None:
        for event in self._ray.get(self._desk.events.remote()):
            if event.kind != "warn" or event.text not in self._warned:  # every worker may have met the same
                self._told(event)
            if event.kind == "warn":
                self._warned.add(event.text)
            elif event.kind == "update" and event.done > self._furthest.get((event.job, event.text), 0):
                self._furthest[event.job, event.text] = event.done
                self._advanced.add(event.job)

    def _tell_wait(self, hand: _Hand, job: int) -> None:
        kind = in_words(hand.resources)
        if kind not in self._awaited and time.monotonic() - hand.hired > 10:
            self._awaited.add(kind)
            self._told(Event(job, "start"))
            self._told(Event(job, "say", f"waiting for a worker with {kind}"))

    def _ended(self, hand: _Hand) -> Iterator[tuple[int, Outcome]]:
        try:
            answer = self._ray.get(hand.reply)
        except self._ray.exceptions.RayTaskError as error:  # BENCH_DEBUG, or a fault of ours
            raise error.as_instanceof_cause() from None
        except self._ray.exceptions.RayError as error:
            yield from self._lost(hand, error)
            return
        hand.reply, job, hand.job = None, hand.job, None
        if isinstance(answer, Started):
            if answer.problem is not None:
                raise answer.problem
            hand.is_up, hand.host, self._unborn = True, answer.host, 0
        elif job is not None:
            yield from self._done(job, answer)

    def _done(self, job: int, outcome: Outcome | None) -> Iterator[tuple[int, Outcome]]:
        if outcome is None:  # somebody else has interrupted the worker
            self._schedule.give_back(job)
        elif isinstance(outcome.error, RunBusy) and self._is_patient(job):
            self._paused[job] = time.monotonic() + 5
            self._told(Event(job, "update", "wait", note="another process works on the run"))
        else:
            self._check_seen(outcome)
            yield from self._schedule.add(job, outcome)

    def _is_patient(self, job: int) -> bool:
        since = self._busy.setdefault(job, time.monotonic())
        return time.monotonic() - since < (DEAD_PATIENCE if job in self._orphans else BUSY_PATIENCE)

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

    def _lost(self, hand: _Hand, error: Exception) -> Iterator[tuple[int, Outcome]]:
        """The worker has died: its job is done by another one."""
        del self._hands[hand.number]
        self._desk.forfeit.remote(hand.number)
        with suppress(Exception):  # it may only be cut off
            self._ray.kill(hand.actor)
        why, job = _cause(error), hand.job
        if job is None:
            self._unborn += not hand.is_up
            if self._unborn == MOST_DEATHS:
                raise RunError(
                    f"Ray can't start a worker: {why}", "See Ray's logs on its nodes (/tmp/ray/session_latest/logs)."
                )
            return
        self._orphans.add(job)
        self._deaths[job] = 1 if job in self._advanced else self._deaths[job] + 1
        self._advanced.discard(job)
        name = self._schedule.jobs[job].name
        if self._deaths[job] < MOST_DEATHS:
            self._told(Event(job, "warn", f"{name}: its worker on {hand.host} has died ({why}); another one goes on with it"))
            self._schedule.give_back(job)
            return
        problem: BenchError = RunError(
            f"{name}: {MOST_DEATHS} workers in a row have died with it, the last one on {hand.host} ({why}).",
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
