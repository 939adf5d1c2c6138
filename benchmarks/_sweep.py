"""The sweep that `scale.py` estimates: 20 backends x 30 languages x 5 prompts or seeds, as a plan for the simulation.

Every figure is an `Input`: measured by a script of this folder, published, or assumed, with its source. An estimate draws each
input between its ends, evenly on a log scale and independently of the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import exp, log, sqrt
from statistics import median

from _simulation import Cluster, Group, Job, Plan, Split, Trace, alone, sharded, simulate
from pydantic import BaseModel, ConfigDict

TEST, TRAIN, VALIDATION, EPOCHS = 5_000, 20_000, 2_000, 3
REPEATS = 5
"""Prompts of a language model; seeds of a trained model, each with training rows of its own."""
PER_MACHINE = 8
CORES = 8
"""Runs without a GPU at a time, for each GPU of a machine."""
LONGEST = 60.0
"""Seconds of predictions in a shard, at most."""
THOUGHTS = 512
"""Tokens that a thinking model writes for a row."""
TAIL = 15
"""Tokens of a prompt behind the text; what comes before the text is computed once in a run."""


class Kind(StrEnum):
    MEASURED = "measured"
    PUBLISHED = "published"
    ASSUMED = "assumed"


class Input(BaseModel):
    """`low` and `high`: ends of its range."""

    model_config = ConfigDict(frozen=True)

    what: str
    low: float
    high: float
    kind: Kind
    source: str

    @property
    def middle(self) -> float:
        return sqrt(self.low * self.high)

    def drawn(self, share: float) -> float:
        return exp(log(self.low) + share * (log(self.high) - log(self.low)))


Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Backend:
    """Parameters in billions: all, and those that each token is multiplied with. `width`: bytes of a stored parameter.

    `trains`: "" (prompted), "lang" (in each language), "en" (in English, for all languages)."""

    name: str
    parameters: float
    body: float
    trains: str = ""
    width: int = 2
    gpus: int = 1
    vllm: bool = False
    frozen: bool = False
    thinks: bool = False
    checkpoint: str = ""


def _llm(name: str, parameters: float, **more: bool | int | str) -> Backend:
    return Backend(name, parameters, parameters, **more)  # type: ignore[arg-type]


BACKENDS = (
    Backend("tfidf", 0.0, 0.0, trains="lang", gpus=0),
    *(
        Backend(name, parameters, body, trains="lang", width=4, frozen=True)
        for name, parameters, body in (
            ("embed-e5", 0.118, 0.021),
            ("embed-mpnet", 0.278, 0.086),
            ("embed-e5-large", 0.560, 0.304),
            ("embed-arctic", 0.568, 0.304),
        )
    ),
    *(
        Backend(name, parameters, body, trains="lang", width=4)
        for name, parameters, body in (
            ("xlm-roberta", 0.278, 0.086),
            ("mdeberta", 0.278, 0.086),
            ("mmbert", 0.307, 0.110),
            ("gte-multilingual", 0.305, 0.113),
        )
    ),
    Backend("mmbert-small", 0.140, 0.042, trains="en", width=4),
    Backend("qwen3-0.6b-lora", 0.60, 0.44, trains="en"),
    _llm("qwen3-0.6b", 0.60),
    _llm("llama3-3b", 3.21),
    _llm("gemma3-4b", 3.88),
    _llm("qwen3-4b", 4.02),
    _llm("qwen-7b-vllm", 7.62, vllm=True),
    _llm("llama3-8b-vllm", 8.03, vllm=True),
    _llm("qwen3-8b-vllm", 8.19, vllm=True),
    _llm("Mistral Small by vllm, 2 GPUs", 23.57, vllm=True, gpus=2),
    _llm("qwen3-8b-vllm that thinks", 8.19, vllm=True, thinks=True, checkpoint="qwen3-8b-vllm"),
)
"""Sizes: the descriptions in backends/*.yaml, the table of docs/one-gpu.md, the models' cards."""


def plan_of(values: Values, langs: Mapping[str, float]) -> Plan:
    """The jobs. `langs`: tokens of a text over those of the English text, by language; English comes first.

    Of each trained model the first job of a group trains, and the others wait for it."""
    groups: dict[str, Group] = {}
    jobs: list[Job] = []
    for backend in BACKENDS:
        for number in range(REPEATS):
            for lang, ratio in langs.items():
                name = _group_of(backend, lang, number)
                first = name not in groups
                groups.setdefault(name, _group(backend, name, values))
                trained = f"{backend.name} en {number}" if backend.trains == "en" and not first else None
                job = Job(
                    f"{backend.name} {lang} {number}",
                    name,
                    predicting=TEST * row_seconds(backend, ratio, values),
                    training=training_seconds(backend, ratio, values) if backend.trains and first else 0.0,
                    overhead=values["run"],
                    after=trained,
                )
                jobs.append(job)
    return Plan(groups, jobs)


def _group_of(backend: Backend, lang: str, number: int) -> str:
    parts = {"": (), "lang": (lang, number), "en": (number,)}[backend.trains]
    return " ".join(map(str, (backend.name, *parts)))


def _group(backend: Backend, name: str, values: Values) -> Group:
    gigabytes = backend.parameters * backend.width
    load = values["imports"] + gigabytes / values["read"] + (values["vllm"] if backend.vllm else 0.0)
    checkpoint = backend.checkpoint or backend.name
    return Group(name, load, backend.gpus, checkpoint, gigabytes / values["download"])


def row_seconds(backend: Backend, ratio: float, values: Values) -> float:
    """Seconds of one prediction: operations by the rate of the GPUs, or the time of the processor where that is longer."""
    if not backend.gpus:
        return 1 / values["tfidf"]
    tokens = values["tokens"] * ratio + (0 if backend.trains else TAIL)
    peak = values["peak"] * backend.gpus
    seconds = 2e9 * backend.body * tokens / (peak * values["share"])
    if backend.thinks:
        seconds += 2e9 * backend.body * THOUGHTS / (peak * values["writing"])
    return max(seconds, 1 / values["rows" if backend.trains else "prompts"])


def training_seconds(backend: Backend, ratio: float, values: Values) -> float:
    """A training step computes three times the operations of a prediction; a frozen encoder embeds each row once."""
    if not backend.gpus:
        return TRAIN / values["tfidf"]
    if backend.frozen:
        return (TRAIN + VALIDATION) * row_seconds(backend, ratio, values) + values["fit"]
    step = 3 * 2e9 * backend.body * values["tokens"] * ratio / (values["peak"] * values["training"])
    return EPOCHS * (TRAIN * max(step, 1 / values["steps"]) + VALIDATION * row_seconds(backend, ratio, values))


def cluster_of(gpus: int, values: Values) -> Cluster:
    machines, each = max(1, gpus // PER_MACHINE), min(gpus, PER_MACHINE)
    return Cluster(
        machines,
        each,
        CORES * each,
        driver=values["driver"],
        store=values["files"] / values["requests"],
        upload=values["files"] * values["latency"],
    )


def fitting(plan: Plan, gpus: int) -> Plan:
    """Where there is one GPU, it serves the model that otherwise takes two: its runs take twice as long."""
    if gpus > 1:
        return plan
    wide = {name for name, group in plan.groups.items() if group.gpus > 1}
    groups = {name: replace(group, gpus=1) if name in wide else group for name, group in plan.groups.items()}
    return Plan(groups, [replace(job, predicting=2 * job.predicting) if job.group in wide else job for job in plan.jobs])


class Ends(BaseModel):
    """Median of the draws, with the ends of the middle 90%."""

    model_config = ConfigDict(frozen=True)

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Ends:
        ordered = sorted(values)
        cut = int(0.05 * len(ordered))
        return cls(middle=median(ordered), low=ordered[cut], high=ordered[-1 - cut])


class Estimate(BaseModel):
    """Of one number of GPUs. At the middle of all inputs: `loads` of models; `work_minutes` of all jobs shared by all GPUs and
    `chain_minutes` of the longest run with its load, below which no time can fall; `what_if`, the share of the hours that is
    saved if one thing took no time (or half the time); `policies`, the hours by how runs are grouped."""

    model_config = ConfigDict(frozen=True)

    gpus: int
    hours: Ends
    gpu_hours: Ends
    usd: Ends
    used: Ends
    speedup: Ends
    above_bound: Ends
    loads: int
    work_minutes: float
    chain_minutes: float
    what_if: dict[str, float]
    policies: dict[str, float]


WHAT_IF: Mapping[str, Callable[[Plan, Cluster, Values], tuple[Plan, Cluster]]] = {
    "no model had to be loaded": lambda plan, shape, _: (_groups(plan, load=0.0), shape),
    "no checkpoint had to be downloaded": lambda plan, shape, _: (_groups(plan, download=0.0), shape),
    "no run waited for the training of another": lambda plan, shape, _: (_jobs(plan, after=None), shape),
    "trainings took half the time": lambda plan, shape, _: (_scaled(plan, "training"), shape),
    "predictions took half the time": lambda plan, shape, _: (_scaled(plan, "predicting"), shape),
    "runs were cut into shards of a minute": lambda plan, shape, _: (sharded(plan, LONGEST), shape),
    "metrics and records took no time": lambda plan, shape, _: (_jobs(plan, overhead=0.0), shape),
    "the driver took no time": lambda plan, shape, _: (plan, replace(shape, driver=0.0)),
    "uploads took no time": lambda plan, shape, _: (plan, replace(shape, store=0.0, upload=0.0)),
}
POLICIES: Mapping[str, Callable[[Plan, Cluster], Trace]] = {
    "each run loads its model": lambda plan, shape: simulate(alone(plan), shape, Split.NEVER),
    "one worker for each group": lambda plan, shape: simulate(plan, shape, Split.NEVER),
    "a group is split when all have a worker": lambda plan, shape: simulate(plan, shape, Split.LAST),
    "a long group is split before": lambda plan, shape: simulate(plan, shape, Split.BALANCED),
    "and its runs are cut into shards of a minute": lambda plan, shape: simulate(sharded(plan, LONGEST), shape),
}


def _groups(plan: Plan, **changes: float) -> Plan:
    return Plan({name: replace(group, **changes) for name, group in plan.groups.items()}, plan.jobs)  # type: ignore[arg-type]


def _jobs(plan: Plan, **changes: float | None) -> Plan:
    return Plan(plan.groups, [replace(job, **changes) for job in plan.jobs])  # type: ignore[arg-type]


def _scaled(plan: Plan, part: str) -> Plan:
    return Plan(plan.groups, [replace(job, **{part: getattr(job, part) / 2}) for job in plan.jobs])


def estimates(inputs: Mapping[str, Input], langs: Mapping[str, float], sizes: Sequence[int], draws: int) -> list[Estimate]:
    """For each number of GPUs, from the same draws of the inputs."""
    rng = random.Random(0)
    drawn = [{name: one.drawn(rng.random()) for name, one in inputs.items()} for _ in range(draws)]
    plans = [plan_of(values, langs) for values in drawn]
    middle = {name: one.middle for name, one in inputs.items()}
    alone_hours: list[float] = []
    found = []
    for gpus in sizes:
        fitted = [fitting(plan, gpus) for plan in plans]
        shapes = [cluster_of(gpus, values) for values in drawn]
        traces = [simulate(plan, shape) for plan, shape in zip(fitted, shapes, strict=True)]
        hours = [trace.seconds / 3600 for trace in traces]
        alone_hours = alone_hours or [one * gpus for one in hours]
        plan, shape = fitting(plan_of(middle, langs), gpus), cluster_of(gpus, middle)
        now = simulate(plan, shape)
        changed = {what: change(plan, shape, middle) for what, change in WHAT_IF.items()}
        found.append(
            Estimate(
                gpus=gpus,
                hours=Ends.of(hours),
                gpu_hours=Ends.of([one * gpus for one in hours]),
                usd=Ends.of([one * gpus * values["usd"] for one, values in zip(hours, drawn, strict=True)]),
                used=Ends.of([trace.gpu_seconds / (trace.seconds * gpus) for trace in traces]),
                speedup=Ends.of([first / one for first, one in zip(alone_hours, hours, strict=True)]),
                above_bound=Ends.of(
                    [one.seconds / shape.shortest(plan) for one, shape, plan in zip(traces, shapes, fitted, strict=True)]
                ),
                loads=now.loads,
                work_minutes=plan.work(on_gpus=True) / gpus / 60,
                chain_minutes=plan.critical_path() / 60,
                what_if={what: 1 - simulate(*other).seconds / now.seconds for what, other in changed.items()},
                policies={what: carried(plan, shape).seconds / 3600 for what, carried in POLICIES.items()},
            )
        )
        print(gpus, found[-1].hours, f"{found[-1].loads} loads", flush=True)
    return found
