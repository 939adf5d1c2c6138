"""A simulation of a sweep: jobs in groups that share a loaded model, on machines with GPUs and cores.

`Dispatch` decides which group a free place serves next. It knows no clock, so that a pool of real processes can follow the same
rules as the simulation (`_scale_check.py`):

1. A worker keeps its model until its group has no job that can start.
2. A free place goes to a group that nobody serves, those that need the most GPUs and then the most time before the others.
3. If there is none, it goes to a group with workers where that pays: its jobs that can start, shared by its workers, last
   longer than loading the model again takes (`Split.LAST`).
4. Before rule 2, such a group gets a further worker where its jobs, shared by its workers, would end later than all work that
   is left, shared by all places (`Split.BALANCED`). Otherwise the longest jobs can begin last.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import count

from harness.core.errors import UserError

ROUNDING = 1e-9
"""Seconds that sums of floats may differ by."""


@dataclass(frozen=True, slots=True)
class Group:
    """What a loaded model serves. `load`: seconds for each worker, start of its process included. `download`: seconds that a
    machine's link is busy with the checkpoint, once for each machine and the same for all groups that use it. `gpus` 0: one
    core of the processor."""

    name: str
    load: float = 0.0
    gpus: int = 0
    checkpoint: str = ""
    download: float = 0.0


@dataclass(frozen=True, slots=True)
class Job:
    """One run. Seconds of its training, of its predictions, and of all else (plan, metrics, record). `after`: the job whose
    trained model it needs."""

    name: str
    group: str
    predicting: float
    training: float = 0.0
    overhead: float = 0.0
    after: str | None = None

    @property
    def seconds(self) -> float:
        return self.training + self.predicting + self.overhead


@dataclass(frozen=True)
class Plan:
    """Raises `UserError` for a job of an unknown group, a name that two have, and jobs that wait for each other."""

    groups: Mapping[str, Group]
    jobs: Sequence[Job]
    by_name: Mapping[str, Job] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {job.name: job for job in self.jobs})
        if len(self.by_name) < len(self.jobs) or any(job.group not in self.groups for job in self.jobs):
            raise UserError("Two jobs have one name, or a job has no group.", "Correct the plan.")
        known: set[str] = set()
        for job in self.jobs:
            if job.after is not None and job.after not in known:
                raise UserError(f"{job.name} waits for {job.after}, which is not before it.", "Put it after that job.")
            known.add(job.name)

    def work(self, *, on_gpus: bool) -> float:
        """Seconds of one GPU (or core) that the jobs need, with each model loaded once."""
        needed = sum(job.seconds * max(1, self.groups[job.group].gpus) for job in self.jobs if self._is(job, on_gpus))
        used = {job.group for job in self.jobs if self._is(job, on_gpus)}
        return needed + sum(self.groups[name].load * max(1, self.groups[name].gpus) for name in used)

    def _is(self, job: Job, on_gpus: bool) -> bool:
        return (self.groups[job.group].gpus > 0) == on_gpus

    def critical_path(self) -> float:
        """Seconds of the longest chain: a model is loaded before its job starts, and what a job waits for has ended."""
        ends: dict[str, float] = {}
        for job in self.jobs:
            group = self.groups[job.group]
            before = 0.0 if job.after is None else ends[job.after]
            ends[job.name] = max(before, group.load + group.download) + job.seconds
        return max(ends.values(), default=0.0)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Equal machines. `driver`: seconds of the driver for each job, one job at a time. `store`: seconds that the shared store
    serves one record, one record at a time; `upload`: seconds that a worker waits beside that. `start`: seconds until the
    workers of a pool of long-lived processes are there."""

    machines: int = 1
    gpus: int = 0
    cores: int = 1
    driver: float = 0.0
    store: float = 0.0
    upload: float = 0.0
    start: float = 0.0

    def shortest(self, plan: Plan) -> float:
        """A time that no order of the jobs can fall below."""
        gpus, cores = self.machines * self.gpus, self.machines * self.cores
        shares = [plan.work(on_gpus=True) / gpus if gpus else 0.0, plan.work(on_gpus=False) / cores]
        return self.start + max(plan.critical_path(), *shares)


class Split(StrEnum):
    """When a further worker loads the model of a group: never, when all groups have a worker, or (also) before."""

    NEVER = "never"
    LAST = "last"
    BALANCED = "balanced"


class Dispatch:
    """The jobs that are left, and which group a free place serves next."""

    def __init__(self, plan: Plan, split: Split = Split.BALANCED, *, gpus: int = 0, cores: int = 1) -> None:
        """`gpus`, `cores`: of all machines together."""
        self.plan, self._split = plan, split
        self._places = {True: max(1, gpus), False: max(1, cores)}
        self._left = {on_gpus: plan.work(on_gpus=on_gpus) for on_gpus in (True, False)}
        self._ready: dict[str, deque[Job]] = {name: deque() for name in plan.groups}
        self._seconds: dict[str, float] = dict.fromkeys(plan.groups, 0.0)  # of the jobs that can start
        self._workers: Counter[str] = Counter()
        self._loading: Counter[str] = Counter()  # of them; each will take a job
        self._waiting: dict[str, list[Job]] = defaultdict(list)
        self.left = len(plan.jobs)
        total: dict[str, float] = defaultdict(float)
        for job in plan.jobs:
            total[job.group] += job.seconds
        self._rank = {name: (-group.gpus, -(total[name] + group.load)) for name, group in plan.groups.items()}
        self._unserved: dict[int, list[tuple[tuple[int, float], str]]] = defaultdict(list)  # heaps, by GPUs needed
        self._served: dict[int, dict[str, None]] = defaultdict(dict)  # with a worker, and jobs that can start
        for job in plan.jobs:
            if job.after is None:
                self._open(job)
            else:
                self._waiting[job.after].append(job)

    def _open(self, job: Job) -> None:
        name, gpus = job.group, self.plan.groups[job.group].gpus
        self._ready[name].append(job)
        self._seconds[name] += job.seconds
        if self._workers[name]:
            self._served[gpus][name] = None
        elif len(self._ready[name]) == 1:
            heapq.heappush(self._unserved[gpus], (self._rank[name], name))

    def take(self, name: str, *, first: bool = False) -> Job | None:
        """The next job of the group that a worker serves, if one can start. `first`: the worker has just loaded the model."""
        self._loading[name] -= first
        ready = self._ready[name]
        if not ready:
            return None
        job, gpus = ready.popleft(), self.plan.groups[name].gpus
        self._seconds[name] -= job.seconds
        self._left[gpus > 0] -= job.seconds * max(1, gpus)
        if not ready:
            self._served[self.plan.groups[name].gpus].pop(name, None)
        return job

    def done(self, job: Job) -> None:
        self.left -= 1
        for waited in self._waiting.pop(job.name, ()):
            self._open(waited)

    def join(self, fits: Callable[[int], bool], load: Callable[[Group], float]) -> Group | None:
        """The group that a free place starts to serve. `fits`: whether there is room for so many GPUs (0: for a core);
        `load`: seconds until the model is loaded there."""
        for gpus in sorted({*self._unserved, *self._served}, reverse=True):
            if not fits(gpus):
                continue
            heap = self._unserved[gpus]
            fair = self._left[gpus > 0] / self._places[gpus > 0] if heap else 0.0
            if (name := self._split_next(gpus, load, fair)) is None and heap:
                name = heapq.heappop(heap)[1]
            if name is not None:
                return self._joined(name)
        return None

    def _split_next(self, gpus: int, load: Callable[[Group], float], fair: float) -> str | None:
        """The group with workers that gains the most by a further one. `fair`: seconds of all work, shared by all places, where
        a group has no worker yet; else 0."""
        if self._split is Split.NEVER or (fair and self._split is Split.LAST) or not self._served[gpus]:
            return None
        best, most = None, 0.0
        for name in self._served[gpus]:
            if len(self._ready[name]) <= self._loading[name]:
                continue
            shared = self._seconds[name] / self._workers[name]
            gain = shared - load(self.plan.groups[name]) if shared + self._ready[name][0].seconds > fair else 0.0
            if gain > most:
                best, most = name, gain
        return best

    def _joined(self, name: str) -> Group:
        self._workers[name] += 1
        self._loading[name] += 1
        group = self.plan.groups[name]
        if self._ready[name]:
            self._served[group.gpus][name] = None
        return group

    def leave(self, name: str) -> None:
        """A worker drops the model, because no job of its group can start."""
        self._workers[name] -= 1


@dataclass(slots=True)
class Trace:
    """What happened. Seconds of `spent` count each GPU (or core) that a worker holds."""

    seconds: float = 0.0
    loads: int = 0
    downloads: int = 0
    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    begun: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    gpu_seconds: float = 0.0
    """That workers held GPUs, waiting included."""


@dataclass(slots=True, eq=False)
class _Worker:
    machine: int
    group: Group
    since: float
    job: Job | None = None
    loaded: bool = False


class _Cluster:
    """Free places of each machine, and the checkpoints that have arrived or will."""

    def __init__(self, shape: Cluster) -> None:
        self.gpus = [shape.gpus] * shape.machines
        self.cores = [shape.cores] * shape.machines
        self.arrives: list[dict[str, float]] = [{} for _ in self.gpus]
        self.link = [0.0] * shape.machines

    def fits(self, gpus: int) -> bool:
        return any(free >= gpus for free in self.gpus) if gpus else any(self.cores)

    def place(self, group: Group) -> int:
        """A machine with room, one that has the checkpoint before the others, then the one with the most room."""
        free, need = (self.gpus, group.gpus) if group.gpus else (self.cores, 1)
        possible = [machine for machine, places in enumerate(free) if places >= need]
        return max(possible, key=lambda machine: (group.checkpoint in self.arrives[machine], free[machine]))

    def take(self, machine: int, group: Group, sign: int = 1) -> None:
        if group.gpus:
            self.gpus[machine] -= sign * group.gpus
        else:
            self.cores[machine] -= sign

    def loaded(self, group: Group, now: float) -> float:
        """When the model is loaded on the best place, seen from now."""
        machine = self.place(group)
        there = self.arrives[machine].get(group.checkpoint)
        return max(now, max(now, self.link[machine]) + group.download if there is None else there) + group.load


def simulate(plan: Plan, shape: Cluster, split: Split = Split.BALANCED) -> Trace:
    """Carry out the plan. Raises `UserError` for a group that fits no machine."""
    if any(group.gpus > shape.gpus for group in plan.groups.values()):
        raise UserError("A model needs more GPUs than a machine has.", "Use larger machines.")
    return _Simulation(plan, shape, split).run()


class _Simulation:
    def __init__(self, plan: Plan, shape: Cluster, split: Split) -> None:
        self._shape, self._free = shape, _Cluster(shape)
        gpus, cores = shape.machines * shape.gpus, shape.machines * shape.cores
        self._dispatch, self._trace = Dispatch(plan, split, gpus=gpus, cores=cores), Trace()
        self._events: list[tuple[float, int, Callable[[float, _Worker], bool], _Worker]] = []
        self._number = count()
        self._workers: list[_Worker] = []
        self._driver = self._store = 0.0

    def run(self) -> Trace:
        self._fill(self._shape.start)
        while self._dispatch.left:
            now, settled = self._events[0][0], []
            while self._events and self._events[0][0] <= now + ROUNDING:
                _, _, happened, worker = heapq.heappop(self._events)
                if happened(now, worker):
                    settled.append(worker)
            for worker in settled:  # after all that has ended now, since it may let other jobs start
                self._go_on(now, worker)
            self._fill(now)
        self._trace.seconds = max(self._trace.ended.values(), default=0.0)
        for worker in self._workers:  # one may still load
            self._trace.gpu_seconds += (self._trace.seconds - worker.since) * worker.group.gpus
        return self._trace

    def _at(self, time: float, happened: Callable[[float, _Worker], bool], worker: _Worker) -> None:
        heapq.heappush(self._events, (time, next(self._number), happened, worker))

    def _spend(self, worker: _Worker, **seconds: float) -> None:
        places = max(1, worker.group.gpus)
        for kind, spent in seconds.items():
            self._trace.spent[kind] += spent * places

    def _fill(self, now: float) -> None:
        """Let free places serve groups, as long as one gains by it."""
        loaded = self._free.loaded
        while (group := self._dispatch.join(self._free.fits, lambda group: loaded(group, now) - now)) is not None:
            machine = self._free.place(group)
            self._free.take(machine, group)
            worker, arrives = _Worker(machine, group, now), self._free.arrives[machine]
            self._workers.append(worker)
            if group.checkpoint not in arrives:
                self._free.link[machine] = arrives[group.checkpoint] = max(now, self._free.link[machine]) + group.download
                self._trace.downloads += 1
            there = max(now, arrives[group.checkpoint])
            self._trace.loads += 1
            self._spend(worker, downloading=there - now, loading=group.load)
            self._at(there + group.load, lambda _now, _worker: True, worker)

    def _go_on(self, now: float, worker: _Worker) -> None:
        worker.job = job = self._dispatch.take(worker.group.name, first=not worker.loaded)
        worker.loaded = True
        if job is None:
            self._end(now, worker)
            return
        self._driver = begin = max(now, self._driver) + self._shape.driver
        self._trace.begun[job.name] = begin
        self._spend(worker, driver=begin - now, training=job.training, predicting=job.predicting, overhead=job.overhead)
        self._at(begin + job.seconds, self._computed, worker)

    def _end(self, now: float, worker: _Worker) -> None:
        self._dispatch.leave(worker.group.name)
        self._free.take(worker.machine, worker.group, sign=-1)
        self._trace.gpu_seconds += (now - worker.since) * worker.group.gpus
        self._workers.remove(worker)

    def _computed(self, now: float, worker: _Worker) -> bool:
        self._store = max(now, self._store) + self._shape.store
        end = self._store + self._shape.upload
        self._spend(worker, uploading=end - now)
        self._at(end, self._stored, worker)
        return False

    def _stored(self, now: float, worker: _Worker) -> bool:
        assert worker.job is not None
        self._trace.ended[worker.job.name] = now
        self._dispatch.done(worker.job)
        return True


def alone(plan: Plan) -> Plan:
    """The same jobs, each of which loads its model itself."""
    groups = {job.name: replace(plan.groups[job.group], name=job.name) for job in plan.jobs}
    return Plan(groups, [replace(job, group=job.name) for job in plan.jobs])


def sharded(plan: Plan, longest: float) -> Plan:
    """The predictions of each run in so many equal shards that none lasts longer than `longest` seconds; a shard has the
    overhead of a run. A job that trains keeps its training, and its shards wait for it."""
    jobs: list[Job] = []
    last: dict[str, list[str]] = {}
    for job in plan.jobs:
        parts = max(1, -int(-job.predicting // longest))
        assert job.after is None or len(last[job.after]) == 1, "what others wait for trains, and its first shard ends it"
        after = None if job.after is None else last[job.after][0]
        first = replace(job, predicting=job.predicting / parts, after=after)
        names = [f"{job.name}#{number}" for number in range(1, parts)]
        wait = job.name if job.training else after
        jobs += [first, *(replace(first, name=name, training=0.0, after=wait) for name in names)]
        last[job.name] = [job.name]
    return Plan(plan.groups, jobs)
