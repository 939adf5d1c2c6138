"""A command's runs as jobs: what each needs, what it waits for, and which jobs a loaded model serves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from harness.core.errors import UnknownName
from harness.core.json_files import digest
from harness.core.options import RunOptions
from harness.core.shard import Shard
from harness.core.types import ShotsBy
from harness.execution.outcome import Outcome
from harness.execution.worker import Worker
from harness.specs.asked import engine_of, is_prompted, is_trained
from harness.specs.backend_specs import validated_options, with_settings
from harness.specs.catalog import Catalog
from harness.specs.executors import Needs


@dataclass(frozen=True, slots=True)
class Need:
    """What a job needs of its machine. `gpus`: a fraction shares a GPU; None: one, if the machine has any. `cpus`,
    `memory_gib`: None for the default of the executor. `engine`, `checkpoint`: what a worker loads."""

    gpus: float | None
    cpus: float | None = None
    memory_gib: float | None = None
    engine: str = ""
    checkpoint: str | None = None


class Job(Protocol):
    """Work for a worker; it can be pickled."""

    @property
    def name(self) -> str:
        """As progress shows it."""

    @property
    def need(self) -> Need: ...

    @property
    def group(self) -> str:
        """Equal for jobs that the same loaded model serves."""

    @property
    def trains(self) -> bool:
        """Whether the first job of the group trains its model."""

    @property
    def after(self) -> int | None:
        """The position in the plan of the job whose trained model this one starts from."""

    def started_from(self, outcome: Outcome) -> Job:
        """The same job, once the one that it waits for has its outcome."""

    def carried_out_by(self, worker: Worker) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Request:
    """One run of a command. `name`: as progress and errors show it. `after`: as of `Job`."""

    name: str
    options: RunOptions
    after: int | None = None


def requests_of(runs: Iterable[RunOptions]) -> list[Request]:
    """Of runs that wait for none."""
    return [Request(f"{options.backend} {options.lang}", options) for options in runs]


@dataclass(frozen=True)
class RunJob:
    """One run. A request and never a plan: the id of a run names its device, which the worker's machine may have alone."""

    name: str
    options: RunOptions
    need: Need = field(repr=False)
    group: str = field(repr=False)
    after: int | None = None
    shard: Shard | None = None
    trains: bool = field(default=False, repr=False)

    def started_from(self, outcome: Outcome) -> RunJob:
        options = self.options.changed(continue_from=outcome.trained_key)
        return replace(self, options=options, group=digest([self.group, options.continue_from]))

    def carried_out_by(self, worker: Worker) -> Outcome:
        return worker.run(self.options, self.shard)


def check_needs(needs: Needs, catalog: Catalog) -> None:
    """Raises `UnknownName` for a backend of `needs` that does not exist."""
    known = catalog.names("backend")
    for name in needs:
        if name not in known:
            raise UnknownName("backend", name, known)


def run_jobs(runs: Sequence[Request], catalog: Catalog, needs: Needs) -> list[RunJob]:
    """Raises as `check_needs` does."""
    check_needs(needs, catalog)
    return [
        RunJob(
            run.name,
            run.options,
            need_of(run.options, catalog, needs),
            group_of(run.options, catalog),
            run.after,
            trains=is_trained(catalog, run.options.backend),
        )
        for run in runs
    ]


def in_shards(jobs: Sequence[RunJob], shards: Sequence[Shard]) -> list[RunJob]:
    """For each job, which waits for no other one, a job for each of the shards."""
    return [replace(job, name=f"{job.name} {shard}", shard=shard) for job in jobs for shard in shards]


def need_of(options: RunOptions, catalog: Catalog, needs: Needs) -> Need:
    """What the engine says of its GPUs, and for the rest what bench.toml says of the backend."""
    spec = with_settings(catalog.backend(options.backend), options.settings)
    asked = needs.get(spec.name)
    gpus = engine_of(catalog, spec.name).gpus(validated_options(spec))
    if asked is None:
        return Need(gpus, engine=spec.engine, checkpoint=options.model or spec.model)
    return Need(
        gpus if asked.gpus is None else asked.gpus,
        asked.cpus,
        asked.memory_gib,
        engine=spec.engine,
        checkpoint=options.model or spec.model,
    )


def group_of(options: RunOptions, catalog: Catalog) -> str:
    """Equal for runs that the same loaded model serves: of a prompted model all prompts and languages, of a trained one all
    tests of the same training."""
    parts: list[object] = [options.backend, options.model, dict(options.settings)]
    # Examples that an encoder chooses load that encoder beside the model.
    shots = [options.shots_by is not None and options.shots_by is not ShotsBy.RANDOM]
    if not is_trained(catalog, options.backend):
        return digest([*parts, *(shots if is_prompted(catalog, options.backend) else [options.task])])
    langs = options.train_lang or (options.lang,)
    limits = [options.train_limit, options.resample_train, options.validation_limit]
    starts = [options.continue_from, options.labels_from, options.soft_labels]
    data = None if options.data is None else str(options.data)
    where = [options.task, data, langs, options.validation_lang or langs]
    prompted = [options.prompt, *shots] if is_prompted(catalog, options.backend) else []
    return digest([*parts, *where, *limits, *starts, *prompted, options.seed])
