"""As tasks of job arrays, through submitit: on a SLURM cluster, or as processes of this machine.

The command hands each task a list of jobs, and reads their outcomes and events from files (`_slurm_folder`). It may end: the
tasks go on, and the same command attaches to them.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from harness.core.durable import file_sha256
from harness.core.errors import RunBusy, RunError, RunIncomplete
from harness.core.json_files import digest
from harness.core.locks import Busy, held
from harness.core.places import not_shared
from harness.execution.deaths import MOST_DEATHS, Deaths
from harness.execution.events import COMMAND, Event, OnEvent
from harness.execution.executors._slurm_budget import FileBudget
from harness.execution.executors._slurm_cluster import Resources, SubmititCluster, check_cluster, resources_of
from harness.execution.executors._slurm_folder import BEGIN, LATE, STOP, ArrayFolder, EventFile, State, Submitted
from harness.execution.executors._slurm_task import Task
from harness.execution.jobs import Job, RunJob
from harness.execution.outcome import Outcome, is_seen
from harness.execution.schedule import Schedule
from harness.execution.worker import Setup, failed
from harness.specs.catalog import Catalog
from harness.specs.executors import SlurmSettings

GRACE_SECONDS = 30.0
"""For a task that is cancelled, as SLURM gives it."""

log = logging.getLogger("bench")


@dataclass(frozen=True)
class SlurmExecutor:
    """`workers`: the most tasks at once, but at least one for each kind of resources; None: a task for each group."""

    setup: Setup
    settings: SlurmSettings
    workers: int | None

    def carry_out(self, jobs: Sequence[Job], on_event: OnEvent) -> Iterator[tuple[int, Outcome]]:
        check_cluster(self.settings)
        name = digest([self.setup.force, self.setup.gate, [repr(job) for job in jobs], _files(self.setup.catalog)])[:12]
        # Never at a URL: submitit unpickles files of it, and another command of this machine would see them come back.
        folder = ArrayFolder(not_shared(self.setup.store.root.parent.absolute()) / "slurm" / name)
        with _alone(folder):
            array = _Array(folder, self._shared_setup(folder), self.settings, self.workers, jobs, on_event)
            try:
                yield from array.outcomes()
            except (KeyboardInterrupt, GeneratorExit):  # the command ends
                array.cancel()
                raise
            array.wait()
            if self.setup.budget is not None and isinstance(array.setup.budget, FileBudget):
                self.setup.budget.settle(0.0, array.setup.budget.total())  # for the next array of a recipe
            array.tidy()

    def _shared_setup(self, folder: ArrayFolder) -> Setup:
        """With a budget for all tasks."""
        if self.setup.budget is None:
            return self.setup
        budget = FileBudget(folder.budget, self.setup.budget.left)
        budget.begin()
        return replace(self.setup, budget=budget)


@contextmanager
def _alone(folder: ArrayFolder) -> Iterator[None]:
    """Raises `RunBusy` where another command waits for the same jobs. A folder without anything in it is deleted at last."""
    folder.make()
    try:
        with held(folder.lock, wait=False):
            yield
    except Busy as error:
        raise RunBusy(f"{error} waits for the same jobs.", "Let it go on, or stop it.") from error
    finally:
        with suppress(OSError):  # not empty
            folder.root.rmdir()
            folder.root.parent.rmdir()


def _files(catalog: Catalog) -> dict[str, str]:
    """Digests of the project's own tasks, prompts and backends: with another content the jobs would be others."""
    found: dict[str, str] = {}
    for kind in ("task", "prompt", "backend"):
        paths = [path for path in catalog.files(kind).values() if path.is_relative_to(catalog.project)]
        found |= {str(path.relative_to(catalog.project)): file_sha256(path) for path in paths}
    return found


@dataclass
class _LiveTask:
    """A task that waits or runs. `under_way`: the job that it began last. `pid`: of its process, once it has begun."""

    submitted: Submitted
    events: EventFile
    under_way: int | None = None
    pid: int | None = None
    stopped: bool = False

    def read(self, on_event: OnEvent) -> None:
        for line in self.events.new():
            if line["kind"] == BEGIN:
                self.pid, self.stopped, self.under_way = line["pid"], False, None
            elif line["kind"] in (STOP, LATE):
                self.stopped = line["kind"] == STOP
            else:
                event = Event(**line)
                self.under_way = event.job if event.kind == "start" else self.under_way
                on_event(event)


@dataclass
class _Array:
    """The tasks of one command."""

    folder: ArrayFolder
    setup: Setup
    settings: SlurmSettings
    workers: int | None
    jobs: Sequence[Job]
    on_event: OnEvent
    schedule: Schedule = field(init=False)
    cluster: SubmititCluster = field(init=False)
    state: State = field(init=False)
    deaths: Deaths = field(init=False)
    live: dict[int, _LiveTask] = field(init=False)
    has_failures: bool = False

    def __post_init__(self) -> None:
        self.schedule = Schedule(self.jobs)
        self.cluster = SubmititCluster(self.settings, self.folder.logs, f"bench-{self.folder.root.name}")
        found = self.folder.state()
        self.state = found or State()
        self.deaths = Deaths(self.state.deaths)  # which this object keeps
        self.live = {task.task: self._watched(task) for task in self.state.live}
        if found is not None:
            self._drop_lost_records()
            self.folder.go_on()
            there = _shown([task.job_id for task in self.state.live])
            self._say(f"attached to what an earlier command submitted: {there or 'all of it has ended'}")

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Of all jobs, as they come."""
        begun: set[int] = set()
        while True:
            begun |= set(self.schedule.take_all())
            for live in self.live.values():
                live.read(self._hear)
            for job in sorted(begun & self.folder.ended_jobs()):
                begun.remove(job)
                yield from self._add(job, self.folder.outcome(job))
            for job, outcome in self._dead(begun):
                begun.remove(job)
                yield from self._add(job, outcome)
            if self.folder.has_ended() and not self.live:
                for job in begun:
                    self.schedule.give_back(job)
                begun.clear()
            if self.schedule.is_over:
                return
            placed = {job for live in self.live.values() for job in live.submitted.jobs}
            left = begun - placed
            if left and not self.folder.has_ended():
                # An outcome may have come just before its task ended: it is read in the next round.
                self._submit(sorted(left - self.folder.ended_jobs()))
            time.sleep(self.cluster.poll_seconds)

    def cancel(self) -> None:
        """All tasks, with time to close their journals. The same command submits what is left."""
        self.folder.end()
        for live in self.live.values():
            live.read(self.on_event)
        self.cluster.cancel({live.submitted.job_id: live.pid for live in self.live.values()}, GRACE_SECONDS)
        self.tidy()

    def wait(self) -> None:
        """All jobs have their outcomes; the tasks that had them are about to end."""
        self.cluster.wait([live.submitted.job_id for live in self.live.values()], GRACE_SECONDS)

    def tidy(self) -> None:
        """The same command begins anew. What failed tasks printed stays."""
        keep = (self.folder.lock.name, *([self.folder.logs.name] if self.has_failures else []))
        for path in self.folder.root.iterdir():
            if path.name not in keep:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _add(self, job: int, outcome: Outcome) -> Iterator[tuple[int, Outcome]]:
        if outcome.ends_all:
            self.folder.end()
        yield from self.schedule.add(job, outcome)

    def _submit(self, jobs: Sequence[int]) -> None:
        """One array for each kind of resources."""
        if not jobs:
            return
        kinds: dict[Resources, list[int]] = {}
        for job in jobs:
            kinds.setdefault(resources_of(self.schedule.jobs[job].need, self.settings), []).append(job)
        free = None if self.workers is None else max(self.workers - len(self.live), len(kinds))
        for (resources, mine), workers in zip(kinds.items(), _apportioned(kinds.values(), free), strict=True):
            tasks = [self._task(part) for part in split({job: self.schedule.jobs[job] for job in mine}, workers)]
            ids = self.cluster.submit(tasks, resources)
            for task, job_id in zip(tasks, ids, strict=True):
                positions = [position for position, _ in task.jobs]
                log_file = str(self.cluster.log_of(job_id))
                self._watch(Submitted(task=task.number, job_id=job_id, jobs=positions, log=log_file))
            self._say(f"submitted: {len(mine)} of {len(self.jobs)} as {_shown(ids)}")

    def _task(self, jobs: Sequence[int]) -> Task:
        self.state.tasks += 1
        again = any(job in self.state.submitted for job in jobs)
        self.state.submitted = sorted({*self.state.submitted, *jobs})
        named = [(job, self.schedule.jobs[job]) for job in jobs]
        return Task(self.folder.root, self.state.tasks, self.setup, named, Path.cwd(), again)

    def _watched(self, task: Submitted) -> _LiveTask:
        return _LiveTask(task, EventFile(self.folder.events / f"{task.task}.jsonl"))

    def _watch(self, task: Submitted) -> None:
        self.live[task.task] = self._watched(task)
        self._keep()

    def _keep(self) -> None:
        self.state.live = [live.submitted for live in self.live.values()]
        self.folder.keep(self.state)

    def _dead(self, begun: set[int]) -> Iterator[tuple[int, Outcome]]:
        """Forget the tasks that have ended; what they left undone is submitted again. The outcomes of jobs that can't be: with
        which several tasks have died, or whose task a user cancelled."""
        over = self.cluster.ended([live.submitted.job_id for live in self.live.values()])
        if not over:
            return
        done = self.folder.ended_jobs()
        for number, live in list(self.live.items()):
            if live.submitted.job_id not in over:
                continue
            live.read(self._hear)
            del self.live[number]
            if isinstance(self.setup.budget, FileBudget):
                self.setup.budget.write_off(str(number))
            left = [job for job in live.submitted.jobs if job in begun and job not in done]
            if left and not self.folder.has_ended():
                yield from self._given_up(live, left)
        self._keep()

    def _given_up(self, live: _LiveTask, left: Sequence[int]) -> Iterator[tuple[int, Outcome]]:
        job_id, log_file = live.submitted.job_id, live.submitted.log
        if self.cluster.was_cancelled(job_id):
            for job in left:
                yield (
                    job,
                    failed(RunIncomplete(f"{self._name(job)}: job {job_id} was cancelled.", "Repeat the command to go on.")),
                )
            return
        if live.stopped:
            return
        self.has_failures = True
        for job in [job for job in left if job == live.under_way] or left:
            if self.deaths.add(job):
                what = f"{self._name(job)}: {MOST_DEATHS} workers in a row have died with it, the last one as job {job_id}."
                yield job, failed(RunError(what, f"Look at {log_file}; a longer time or more memory may help."))
            else:
                self._say(f"{self._name(job)}: its worker (job {job_id}) has died; submitted again. Log: {log_file}")

    def _name(self, job: int) -> str:
        return self.jobs[job].name

    def _drop_lost_records(self) -> None:
        """Outcomes whose records were deleted meanwhile."""
        for job in self.folder.ended_jobs():
            outcome = self.folder.outcome(job)
            if outcome.run_id is not None and not is_seen(self.setup.store, outcome):
                self.folder.forget_outcome(job)

    def _hear(self, event: Event) -> None:
        self.deaths.see(event)
        self.on_event(event)

    def _say(self, text: str) -> None:
        self.on_event(Event(COMMAND, "say", text))


def _shown(ids: Sequence[str]) -> str:
    """`job 7`, `jobs 7_0, 7_1` or `jobs 7_0, ..., 7_99`."""
    few = ids if len(ids) < 6 else [ids[0], "...", ids[-1]]
    return f"job{'' if len(ids) == 1 else 's'} {', '.join(few)}" if ids else ""


def split(jobs: Mapping[int, Job], workers: int | None) -> list[list[int]]:
    """The jobs of each task: whole groups, one for each task without `workers`. Groups are split where there are fewer of them
    than workers, and put together where there are more. A group whose first job trains its model is not split: the other
    workers would wait for it. Shards are there to be done at once: they are."""
    groups: dict[str, list[int]] = {}
    for position, job in jobs.items():
        groups.setdefault(job.group, []).append(position)
    if workers is None:
        return [part for group in groups.values() for part in _pieces(group, len(group) if _is_shard(jobs[group[0]]) else 1)]
    most = {name: len(group) if not jobs[group[0]].trains or _is_shard(jobs[group[0]]) else 1 for name, group in groups.items()}
    pieces = dict.fromkeys(groups, 1)
    while sum(pieces.values()) < min(workers, sum(most.values())):
        divisible = [name for name in groups if pieces[name] < most[name]]
        pieces[max(divisible, key=lambda name: len(groups[name]) / pieces[name])] += 1
    parts = [part for name, group in groups.items() for part in _pieces(group, pieces[name])]
    tasks: list[list[int]] = [[] for _ in range(min(workers, len(parts)))]
    for part in sorted(parts, key=len, reverse=True):
        min(tasks, key=len).extend(part)
    return tasks


def _is_shard(job: Job) -> bool:
    return isinstance(job, RunJob) and job.shard is not None


def _pieces(group: Sequence[int], count: int) -> list[list[int]]:
    """Of nearly the same size."""
    ends = [len(group) * piece // count for piece in range(count + 1)]
    return [list(group[begin:end]) for begin, end in pairwise(ends)]


def _apportioned(kinds: Iterable[Sequence[int]], workers: int | None) -> list[int | None]:
    """How many of the workers each kind gets: at least one, the others where most jobs are left for each."""
    sizes = [len(jobs) for jobs in kinds]
    if workers is None:
        return [None] * len(sizes)
    counts = [1] * len(sizes)
    for _ in range(workers - len(sizes)):
        counts[max(range(len(sizes)), key=lambda kind: sizes[kind] / counts[kind])] += 1
    return list(counts)
