"""A small sweep by real processes, and what the simulation predicts for it.

Each worker is a process with one thread and one engine slot. The driver follows `Dispatch`, as the simulation does. What the
simulation is told is measured before on other runs: the seed, the rows and all languages but one differ.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import mean
from typing import Any

from _simulation import Cluster, Dispatch, Group, Job, Plan, simulate
from pydantic import BaseModel, ConfigDict

from harness.core.cache_folder import cache_dir
from harness.core.errors import RunError
from harness.core.options import RunOptions

LANGS = ("en", "de", "es", "fr", "ja", "zh")
ROWS, FEWER = 30, 15
TRAIN = {"train_limit": 60, "validation_limit": 15}
PROMPTS = ("strict", "stars")
TAIL = 12
"""Tokens of a prompt behind the text, about."""
Tokens = Mapping[str, Mapping[str, float]]
"""Mean tokens of the texts, by tokenizer and language."""
TOKENIZERS = {"embed-e5": "e5-small", "e5-small": "e5-small", "smollm2": "smollm2"}


class Measured(BaseModel):
    """Seconds of one run by a worker. `load` with the training; both are 0 where the model was loaded before. A training that
    another worker did counts in `training` too."""

    model_config = ConfigDict(frozen=True)

    wall: float
    cpu: float
    predict: float
    load: float = 0.0
    training: float = 0.0
    loaded: bool = False


class Rate(BaseModel):
    """What the simulation is told of a backend, in processor seconds. `per_token`: of a prediction; `training`: in English."""

    model_config = ConfigDict(frozen=True)

    load: float
    training: float
    per_token: float
    overhead: float


class Sweep(BaseModel):
    """The sweep by one number of workers. `cpu`: processor seconds of the busiest worker; None for a prediction."""

    model_config = ConfigDict(frozen=True)

    workers: int
    repeat: int
    load_average: float
    predicted: float
    measured: float
    predicted_cpu: float
    measured_cpu: float
    predicted_loads: int
    measured_loads: int


class Check(BaseModel):
    model_config = ConfigDict(frozen=True)

    runs: int
    groups: int
    rates: list[dict[str, Rate]]
    start: list[float]
    sweeps: list[Sweep]


# What a worker does.


def serve(connection: Connection, folder: str) -> None:
    """Until the driver closes: receive options, send what the run took. Imports come first, so that no run pays for them."""
    import torch
    import transformers  # noqa: F401

    from harness.records.store import Store
    from harness.running.plan import make_plan
    from harness.running.runner import EngineSlot, run
    from harness.specs.catalog import Catalog

    torch.set_num_threads(1)
    os.chdir(folder)
    known, store, slot = Catalog(Path(folder)), Store(Path(folder) / "runs"), EngineSlot()

    def measured(options: RunOptions) -> Measured:
        phases: set[str] = set()
        wall, cpu = time.perf_counter(), time.process_time()
        record = run(make_plan(options, known), store, slot, lambda phase, *_: phases.add(phase), gate=False).record
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        predict, load = record.timing.seconds or 0.0, record.timing.load_seconds or 0.0
        trained = 0.0 if record.training is None else record.training.seconds or 0.0
        if "load" not in phases:  # the record repeats what its slot took before
            load = trained = 0.0
        return Measured(wall=wall, cpu=cpu, predict=predict, load=load, training=trained, loaded="load" in phases)

    connection.send(None)
    while (options := connection.recv()) is not None:
        connection.send(measured(options))
    slot.close()


@contextmanager
def pool(workers: int, folder: Path) -> Iterator[tuple[list[Connection], float]]:
    """Connections to that many worker processes, and the seconds until all were ready."""
    context, connections = multiprocessing.get_context("spawn"), list[Connection]()
    processes: list[BaseProcess] = []
    started = time.perf_counter()
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process: BaseProcess = context.Process(target=serve, args=(theirs, str(folder)), daemon=True)
            process.start()
            theirs.close()
            connections.append(ours)
            processes.append(process)
        for connection in connections:
            _answer(connection)
        yield connections, time.perf_counter() - started
    finally:
        for connection in connections:
            try:
                connection.send(None)
            except OSError:
                continue
        for process in processes:
            process.join(30)


def _answer(connection: Connection) -> Any:  # what `serve` sends
    try:
        return connection.recv()
    except EOFError as error:
        raise RunError("A worker ended.", "Its message is above.") from error


def carry_out(plan: Plan, options: Mapping[str, RunOptions], workers: int, folder: Path) -> dict[str, list[Measured]]:
    """All jobs by that many processes; what each worker measured. An executor of bench can take the place of this function."""
    dispatch = Dispatch(plan, cores=workers)
    found: dict[str, list[Measured]] = {str(number): [] for number in range(workers)}
    with pool(workers, folder) as (connections, _):
        serving: list[Group | None] = [None] * workers
        working: dict[int, Job] = {}
        while dispatch.left:
            for number, connection in enumerate(connections):
                if number not in working and (job := _next(dispatch, serving, number)) is not None:
                    working[number] = job
                    connection.send(options[job.name])
            ready = wait([connections[number] for number in working])
            for number in [number for number in working if connections[number] in ready]:
                found[str(number)].append(_answer(connections[number]))
                dispatch.done(working.pop(number))
    return found


def _next(dispatch: Dispatch, serving: list[Group | None], number: int) -> Job | None:
    """The job of a free worker: of the group that it serves, else of another one."""
    if (group := serving[number]) is not None:
        if (job := dispatch.take(group.name)) is not None:
            return job
        dispatch.leave(group.name)
    serving[number] = group = dispatch.join(lambda gpus: not gpus, lambda group: group.load)
    return None if group is None else dispatch.take(group.name, first=True)


# The sweep, and what is known of it before.


def options_of(seed: int = 0, langs: Sequence[str] = LANGS) -> dict[str, tuple[str, str | None, RunOptions]]:
    """By name of the job: its group, the job that it waits for, and the run."""
    found: dict[str, tuple[str, str | None, RunOptions]] = {}
    common = {"task": "reviews_demo", "limit": ROWS, "seed": seed}
    english = {"backend": "e5-small", "train_lang": ("en",), "settings": {"train.epochs": 1}}
    for lang in langs:
        for name in ("tfidf", "embed-e5"):
            options = RunOptions.model_validate({"backend": name, "lang": lang, **common, **TRAIN})
            found[f"{name} {lang}"] = f"{name} {lang}", None, options
        options = RunOptions.model_validate({"lang": lang, **english, **common, **TRAIN})
        found[f"e5-small {lang}"] = "e5-small", None if lang == langs[0] else f"e5-small {langs[0]}", options
        for prompt in PROMPTS:
            prompted = {"backend": "smollm2", "lang": lang, "prompt": prompt, "decoding": "score"}
            found[f"smollm2 {prompt} {lang}"] = "smollm2", None, RunOptions.model_validate({**prompted, **common})
    return found


def tokens_by_lang() -> Tokens:
    """Of the task's rows. Loads the tokenizers."""
    from transformers import AutoTokenizer

    from harness.data.drawing import first_rows
    from harness.data.rows import load_examples, with_names
    from harness.models.packaged import packaged_folder
    from harness.specs.catalog import Catalog

    task = with_names(Catalog(Path.cwd()).task("reviews_demo"))
    texts = {lang: [row.text for row in first_rows(load_examples(task, lang=lang, split="test"), ROWS)] for lang in LANGS}
    found = {}
    for name in set(TOKENIZERS.values()):
        tokenizer = AutoTokenizer.from_pretrained(packaged_folder(name, cache_dir() / "models"), trust_remote_code=False)
        found[name] = {lang: mean(len(ids) for ids in tokenizer(rows)["input_ids"]) for lang, rows in texts.items()}
    return found


def rates_from(measured: Mapping[str, Sequence[Measured]], tokens: Tokens, kind: str) -> dict[str, Rate]:
    """Of each backend two runs in English, of `FEWER` and `ROWS` rows; the first one trained. `kind`: wall or cpu."""
    found = {}
    for name, (first, second) in measured.items():
        share = (1.0, 1.0) if kind == "wall" else (first.cpu / first.wall, second.cpu / second.wall)
        per_row = (first.predict * share[0] + second.predict * share[1]) / (FEWER + ROWS)
        rest = [(one.wall - one.predict - one.load) * part for one, part in zip((first, second), share, strict=True)]
        found[name] = Rate(
            load=max(0.0, first.load - first.training) * share[0],
            training=first.training * share[0],
            per_token=per_row / tokens_of(name, "en", tokens),
            overhead=max(0.0, mean(rest)),
        )
    return found


def once(cold: Mapping[str, Sequence[Measured]], warm: Mapping[str, Sequence[Measured]], kind: str) -> float:
    """Seconds that a worker takes once, such as imports: what the same runs took longer when they were its first."""
    longer = sum(
        getattr(first, kind) - getattr(later, kind)
        for name, runs in cold.items()
        for first, later in zip(runs, warm[name], strict=True)
    )
    return max(0.0, float(longer))


def tokens_of(backend: str, lang: str, tokens: Tokens) -> float:
    """Tokens that a row costs; 1 for a backend without a tokenizer."""
    if backend not in TOKENIZERS:
        return 1.0
    return tokens[TOKENIZERS[backend]][lang] + (TAIL if backend == "smollm2" else 0)


def plan_of(rates: Mapping[str, Rate], tokens: Tokens) -> Plan:
    """The sweep with the seconds that the rates give."""
    groups, jobs = {}, []
    for name, (group, after, options) in options_of().items():
        rate, size = rates[options.backend], tokens_of(options.backend, options.lang, tokens)
        groups[group] = Group(group, load=rate.load)
        longer = size / tokens_of(options.backend, "en", tokens) if options.backend == "embed-e5" else 1.0
        training = 0.0 if after is not None else rate.training * longer
        jobs.append(Job(name, group, rate.per_token * size * ROWS, training, rate.overhead, after))
    return Plan(groups, jobs)


def calibrated(folder: Path) -> tuple[list[dict[str, list[Measured]]], float]:
    """Twice two runs of each backend in English, with other seeds than the sweep, by one worker; the seconds of its start."""
    passes: list[dict[str, list[Measured]]] = []
    with pool(1, folder) as ((connection,), start):
        for seed in (7, 8):
            found: dict[str, list[Measured]] = {}
            for _, _, options in options_of(seed, langs=("en",)).values():
                if options.prompt == PROMPTS[1]:
                    continue
                for rows in (FEWER, ROWS):
                    connection.send(options.changed(limit=rows))
                    found.setdefault(options.backend, []).append(_answer(connection))
            passes.append(found)
    return passes, start


@contextmanager
def fresh() -> Iterator[Path]:
    """A folder for records with a cache of its own, so that each sweep trains anew; the packaged models are shared."""
    with tempfile.TemporaryDirectory() as name:
        folder, before = Path(name), os.environ.get("BENCH_CACHE")
        (folder / "cache").mkdir()
        (folder / "cache" / "models").symlink_to(cache_dir() / "models", target_is_directory=True)
        os.environ["BENCH_CACHE"] = str(folder / "cache")
        try:
            yield folder
        finally:
            os.environ.pop("BENCH_CACHE") if before is None else os.environ.update(BENCH_CACHE=before)
            shutil.rmtree(folder / "runs", ignore_errors=True)


def check(repeats: int, workers: Sequence[int], on_repeat: Callable[[Check], None]) -> Check:
    """Each repeat measures the rates, predicts, and carries out the sweep by each number of workers. `on_repeat` receives what
    there is after each."""
    tokens = tokens_by_lang()
    found = Check(runs=0, groups=0, rates=[], start=[], sweeps=[])
    for repeat in range(repeats):
        with fresh() as folder:
            (cold, warm), start = calibrated(folder)
        rates = {kind: rates_from(warm, tokens, kind) for kind in ("wall", "cpu")}
        plans = {kind: plan_of(told, tokens) for kind, told in rates.items()}
        starts = {"wall": start + once(cold, warm, "wall"), "cpu": once(cold, warm, "cpu")}
        sweeps = [_one(plans, starts, count, repeat) for count in workers]
        found = Check(
            runs=len(plans["wall"].jobs),
            groups=len(plans["wall"].groups),
            rates=[*found.rates, rates["cpu"]],
            start=[*found.start, round(start, 2)],
            sweeps=[*found.sweeps, *sweeps],
        )
        on_repeat(found)
    return found


def _one(plans: Mapping[str, Plan], starts: Mapping[str, float], workers: int, repeat: int) -> Sweep:
    predicted, processor = (simulate(plans[kind], Cluster(cores=workers, start=starts[kind])) for kind in ("wall", "cpu"))
    options = {name: options for name, (_, _, options) in options_of().items()}
    with fresh() as folder:
        load, began = os.getloadavg()[0], time.perf_counter()
        found = carry_out(plans["cpu"], options, workers, folder)
        seconds = time.perf_counter() - began
    return Sweep(
        workers=workers,
        repeat=repeat,
        load_average=round(load, 2),
        predicted=predicted.seconds,
        measured=seconds,
        predicted_cpu=processor.seconds,
        measured_cpu=max(sum(run.cpu for run in runs) for runs in found.values()),
        predicted_loads=predicted.loads,
        measured_loads=sum(run.loaded for runs in found.values() for run in runs),
    )
