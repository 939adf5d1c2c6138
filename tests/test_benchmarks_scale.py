"""The simulation of a sweep against closed forms and bounds that hold for every order of the jobs."""

from __future__ import annotations

import sys
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
simulation = pytest.importorskip("_simulation")
Cluster, Group, Job, Plan, Split = (getattr(simulation, name) for name in ("Cluster", "Group", "Job", "Plan", "Split"))
simulate = simulation.simulate


def plan_of(groups: list[Any], jobs: list[Any]) -> Any:
    return Plan({group.name: group for group in groups}, jobs)


@pytest.mark.parametrize(("jobs", "workers"), [(1, 1), (7, 1), (7, 2), (8, 4), (9, 4), (3, 8)])
def test_equal_jobs(jobs: int, workers: int) -> None:
    plan = plan_of([Group("g")], [Job(f"j{i}", "g", predicting=3.0) for i in range(jobs)])
    for split_plan in (plan, simulation.alone(plan)):
        trace = simulate(split_plan, Cluster(cores=workers), Split.LAST)
        assert trace.seconds == pytest.approx(3.0 * ceil(jobs / workers))


def test_one_group_loads_once_on_one_worker() -> None:
    group = Group("g", load=10.0, gpus=1, checkpoint="c", download=4.0)
    plan = plan_of([group], [Job(f"j{i}", "g", predicting=1.0, overhead=0.5) for i in range(6)])
    trace = simulate(plan, Cluster(gpus=4), Split.NEVER)
    assert trace.seconds == pytest.approx(4 + 10 + 6 * 1.5)
    assert (trace.loads, trace.downloads) == (1, 1)
    assert trace.gpu_seconds == pytest.approx(trace.seconds)
    assert dict(trace.spent) == pytest.approx(
        {"downloading": 4, "loading": 10, "predicting": 6, "overhead": 3, "training": 0, "driver": 0, "uploading": 0}
    )


def test_a_chain_takes_the_sum() -> None:
    names = [None, *(f"j{i}" for i in range(5))]
    jobs = [Job(f"j{i}", f"g{i % 2}", predicting=i + 1.0, after=names[i]) for i in range(5)]
    plan = plan_of([Group("g0"), Group("g1")], jobs)
    assert simulate(plan, Cluster(cores=3)).seconds == pytest.approx(15)
    assert plan.critical_path() == pytest.approx(15)


@pytest.mark.parametrize(("seconds", "workers"), [(2.0, 1), (11.0, 2), (60.0, 4)])
def test_a_group_is_split_where_loading_again_is_shorter_than_what_waits(seconds: float, workers: int) -> None:
    """Load 10 s, eight runs. With m workers, eight runs of t seconds are waited for t * 8 / m seconds."""
    plan = plan_of([Group("g", load=10.0)], [Job(f"j{i}", "g", predicting=seconds) for i in range(8)])
    trace = simulate(plan, Cluster(cores=4))
    never = simulate(plan, Cluster(cores=4), Split.NEVER)
    assert never.seconds == pytest.approx(10 + 8 * seconds)
    assert trace.loads == {1: 2, 2: 4, 4: 4}[workers]
    assert trace.seconds <= never.seconds


@pytest.mark.parametrize(("split", "seconds"), [(Split.NEVER, 30.0), (Split.LAST, 15.0), (Split.BALANCED, 14.0)])
def test_long_jobs_of_one_group_begin_before_short_groups(split: Any, seconds: float) -> None:
    """Three workers, three jobs of 10 s on one model, ten groups of 1 s: ten short ones in 5 s on two workers and then two long
    ones side by side, or three long ones first and then 1 s each, four at most on one worker."""
    groups = [Group("long"), *(Group(f"s{i}") for i in range(10))]
    jobs = [
        *(Job(f"j{i}", "long", predicting=10.0) for i in range(3)),
        *(Job(f"s{i}", f"s{i}", predicting=1.0) for i in range(10)),
    ]
    assert simulate(plan_of(groups, jobs), Cluster(cores=3), split).seconds == pytest.approx(seconds)


def test_jobs_wait_for_the_training_of_another() -> None:
    first = Job("train", "g", training=20.0, predicting=2.0)
    rest = [Job(f"j{i}", "g", predicting=2.0, after="train") for i in range(5)]
    trace = simulate(plan_of([Group("g", load=1.0)], [first, *rest]), Cluster(cores=6))
    assert trace.seconds == pytest.approx(1 + 22 + 3)  # four others load in 1 s and take one each, of 2 s
    assert min(trace.begun[job.name] for job in rest) == pytest.approx(23)


def test_the_driver_and_the_store_serve_one_job_at_a_time() -> None:
    plan = plan_of([Group("g")], [Job(f"j{i}", "g", predicting=1.0) for i in range(10)])
    assert simulate(plan, Cluster(cores=10, driver=0.5)).seconds == pytest.approx(10 * 0.5 + 1)
    assert simulate(plan, Cluster(cores=10, store=0.5, upload=0.25)).seconds == pytest.approx(1 + 10 * 0.5 + 0.25)
    assert simulate(plan, Cluster(cores=10, start=3.0)).seconds == pytest.approx(4)


def test_a_checkpoint_is_downloaded_once_on_each_machine() -> None:
    groups = [Group(f"g{i}", gpus=1, checkpoint="c", download=5.0) for i in range(4)]
    plan = plan_of(groups, [Job(f"j{i}", f"g{i}", predicting=10.0) for i in range(4)])
    one, two = simulate(plan, Cluster(gpus=4)), simulate(plan, Cluster(machines=2, gpus=2))
    assert (one.downloads, one.seconds) == (1, pytest.approx(15))
    assert (two.downloads, two.seconds) == (2, pytest.approx(15))
    other = plan_of([Group(f"g{i}", gpus=1, checkpoint=f"c{i}", download=5.0) for i in range(4)], list(plan.jobs))
    assert simulate(other, Cluster(gpus=4)).seconds == pytest.approx(4 * 5 + 10)  # one link for all


def test_a_model_on_two_gpus_holds_both() -> None:
    groups = [Group("two", gpus=2), Group("one", gpus=1)]
    plan = plan_of(groups, [Job("a", "two", predicting=4.0), *(Job(f"j{i}", "one", predicting=4.0) for i in range(2))])
    trace = simulate(plan, Cluster(gpus=3), Split.LAST)
    assert trace.seconds == pytest.approx(8)
    assert trace.gpu_seconds == pytest.approx(2 * 4 + 2 * 4)
    assert simulate(plan, Cluster(gpus=4), Split.LAST).seconds == pytest.approx(4)
    with pytest.raises(UserError):
        simulate(plan, Cluster(machines=2, gpus=1))


def test_shards_of_a_run() -> None:
    jobs = [Job("train", "g", training=5.0, predicting=8.0), Job("j", "g", predicting=3.0, overhead=1.0, after="train")]
    plan = simulation.sharded(plan_of([Group("g")], jobs), 2.0)
    assert [(job.name, job.seconds, job.after) for job in plan.jobs] == [
        ("train", 7.0, None),
        *((f"train#{i}", 2.0, "train") for i in (1, 2, 3)),
        ("j", 2.5, "train"),
        ("j#1", 2.5, "train"),
    ]
    whole = plan_of([Group("g", load=1.0)], [Job("j", "g", predicting=40.0)])
    assert simulate(whole, Cluster(cores=4)).seconds == pytest.approx(41)
    assert simulate(simulation.sharded(whole, 10.0), Cluster(cores=4)).seconds == pytest.approx(11)


@pytest.mark.parametrize(
    "jobs",
    [
        [Job("a", "g", 1.0), Job("a", "g", 1.0)],
        [Job("a", "unknown", 1.0)],
        [Job("a", "g", 1.0, after="b"), Job("b", "g", 1.0, after="a")],
    ],
)
def test_a_wrong_plan_is_refused(jobs: list[Any]) -> None:
    with pytest.raises(UserError):
        plan_of([Group("g")], jobs)


@st.composite
def plans(draw: st.DrawFn) -> Any:
    seconds = st.floats(0.0, 20.0)
    gpus = st.sampled_from([0, 1, 1, 2])
    downloads = {name: draw(seconds) for name in "ab"}
    groups = []
    for i in range(draw(st.integers(1, 4))):
        checkpoint = draw(st.sampled_from("ab"))
        groups.append(Group(f"g{i}", draw(seconds), draw(gpus), checkpoint, downloads[checkpoint]))
    jobs = []
    for i in range(draw(st.integers(1, 14))):
        after = draw(st.none() | st.integers(0, i - 1)) if i else None
        name = f"g{draw(st.integers(0, len(groups) - 1))}"
        waited = None if after is None else f"j{after}"
        jobs.append(Job(f"j{i}", name, draw(seconds), draw(seconds), draw(seconds), waited))
    return plan_of(groups, jobs)


@pytest.mark.slow
@given(plan=plans(), machines=st.integers(1, 3), gpus=st.integers(2, 4), split=st.sampled_from(list(Split)))
def test_every_job_runs_once_and_no_time_falls_below_the_bound(plan: Any, machines: int, gpus: int, split: Any) -> None:
    shape = Cluster(machines, gpus, cores=2, driver=0.1, store=0.1, upload=0.2, start=1.0)
    trace = simulate(plan, shape, split)
    assert sorted(trace.ended) == sorted(job.name for job in plan.jobs)
    for job in plan.jobs:
        assert trace.ended[job.name] >= trace.begun[job.name] + job.seconds + 0.3 - 1e-6
        assert job.after is None or trace.begun[job.name] >= trace.ended[job.after] - 1e-6
    assert trace.seconds >= shape.shortest(plan) - 1e-6
    assert trace.gpu_seconds <= trace.seconds * machines * gpus + 1e-6
    assert len({job.group for job in plan.jobs}) <= trace.loads <= len(plan.jobs)


@given(plan=plans(), workers=st.integers(1, 5))
def test_without_loads_it_holds_the_bound_of_list_scheduling(plan: Any, workers: int) -> None:
    """R. L. Graham (1969), Bounds on multiprocessing timing anomalies: work / N + (1 - 1 / N) * longest chain, which is at most
    2 - 1 / N times the shortest time."""
    free = plan_of([Group(group.name) for group in plan.groups.values()], list(plan.jobs))
    shape = Cluster(cores=workers)
    seconds = simulate(free, shape).seconds
    work, chain = sum(job.seconds for job in free.jobs), free.critical_path()
    assert seconds <= work / workers + (1 - 1 / workers) * chain + 1e-6
    assert seconds <= (2 - 1 / workers) * shape.shortest(free) + 1e-6


# The sweep, its inputs and its tables.


def test_the_sweep_has_all_runs_and_each_group_trains_once() -> None:
    sweep, scale = pytest.importorskip("_sweep"), pytest.importorskip("scale")
    inputs = {name: line[1] for name, line in scale.NOT_MEASURED.items()}
    values = {**inputs, "peak": 1e15, "tokens": 40.0, "run": 1.0, "imports": 5.0, "files": 3.0, "tfidf": 5000.0, "usd": 7.0}
    langs = scale.languages({"en": 1.0, "de": 1.25})
    plan = sweep.plan_of(values, langs)
    assert len(langs) == 30
    assert len(plan.jobs) == 20 * 30 * 5
    trained = [job for job in plan.jobs if job.training]
    assert len(trained) == 9 * 30 * 5 + 2 * 5  # in each language, or in English alone; each seed
    assert {plan.by_name[job.after].training > 0 for job in plan.jobs if job.after} == {True}
    assert sum(job.after is not None for job in plan.jobs) == 2 * 5 * 29
    loaded = {job.group for job in plan.jobs if not job.training and job.after is None}
    assert len(loaded) == 9  # a language model is loaded once for all its runs
    assert plan.by_name["qwen3-8b-vllm en 0"].predicting == pytest.approx(  # by hand: operations, or 200 rows/s at most
        5000 * max(2 * 8.19e9 * (40 + 15) / (1e15 * 0.1), 1 / 200)
    )
    one_gpu = sweep.fitting(plan, 1)
    assert {group.gpus for group in one_gpu.groups.values()} == {0, 1}
    assert sweep.cluster_of(64, values).machines == 8


def test_draws_stay_within_the_range_and_are_even_on_a_log_scale() -> None:
    sweep = pytest.importorskip("_sweep")
    one = sweep.Input(what="w", low=1.0, high=100.0, kind="assumed", source="s")
    assert [one.drawn(share) for share in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 10.0, 100.0])
    assert one.middle == pytest.approx(10.0)
    ends = sweep.Ends.of([float(value) for value in range(100)])
    assert (ends.low, ends.middle, ends.high) == (5.0, 49.5, 94.0)


@pytest.mark.slow
def test_more_gpus_are_faster_and_need_more_gpu_hours() -> None:
    sweep, scale = pytest.importorskip("_sweep"), pytest.importorskip("scale")
    lines = {**scale.NOT_MEASURED, **{name: ("w", low, high, "measured", "s") for name, low, high in MEASURED}}
    keys = ("what", "low", "high", "kind", "source")
    inputs = {name: sweep.Input(**dict(zip(keys, line, strict=True))) for name, line in lines.items()}
    langs = dict(list(scale.languages({"en": 1.0}).items())[:3])
    few, many = sweep.estimates(scale.values_of(inputs), langs, (1, 64), draws=3)
    assert few.hours.middle > many.hours.middle
    assert few.gpu_hours.middle < many.gpu_hours.middle
    assert few.speedup.middle == pytest.approx(1.0)
    assert few.above_bound.low >= 1.0
    assert many.above_bound.low >= 1.0
    assert few.what_if["predictions took half the time"] > 0
    assert few.policies["each run loads its model"] > few.policies["a long group is split before"]
    assert scale.bottleneck(few).startswith("the GPUs' work")
    long = many.model_copy(update={"chain_minutes": 2.0, "work_minutes": 1.0, "what_if": dict.fromkeys(many.what_if, 0.001)})
    assert scale.bottleneck(long) == "the longest run"


MEASURED = (("tokens", 40, 40), ("run", 0.5, 1), ("imports", 5, 8), ("files", 3, 3), ("tfidf", 5000, 5000), ("usd", 7, 7))


def test_rates_of_the_small_sweep_by_hand() -> None:
    check = pytest.importorskip("_scale_check")
    first = check.Measured(wall=20.0, cpu=10.0, predict=3.0, load=12.0, training=8.0, loaded=True)
    second = check.Measured(wall=9.0, cpu=4.5, predict=6.0)
    tokens = {"smollm2": {"en": 8.0, "de": 18.0}}
    found = check.rates_from({"smollm2": [first, second]}, tokens, "wall")["smollm2"]
    rows = check.FEWER + check.ROWS
    assert found.model_dump() == pytest.approx(
        {"load": 4.0, "training": 8.0, "per_token": 9.0 / rows / (8 + check.TAIL), "overhead": (5.0 + 3.0) / 2}
    )
    halved = check.rates_from({"smollm2": [first, second]}, tokens, "cpu")["smollm2"]
    assert halved.model_dump() == pytest.approx({name: value / 2 for name, value in found.model_dump().items()})
    assert check.once({"a": [first, second]}, {"a": [second, second]}, "wall") == pytest.approx(11.0)
    assert check.once({"a": [second]}, {"a": [first]}, "cpu") == 0.0
    assert check.tokens_of("smollm2", "de", tokens) == 18.0 + check.TAIL
    assert check.tokens_of("tfidf", "de", tokens) == 1.0


def test_the_small_sweep_is_planned_as_it_is_run() -> None:
    check = pytest.importorskip("_scale_check")
    rate = check.Rate(load=1.0, training=2.0, per_token=0.001, overhead=0.1)
    langs = dict.fromkeys(check.LANGS, 10.0)
    plan = check.plan_of(
        dict.fromkeys(("tfidf", "embed-e5", "e5-small", "smollm2"), rate), {"e5-small": langs, "smollm2": langs}
    )
    options = check.options_of()
    assert [job.name for job in plan.jobs] == list(options)
    assert len(plan.jobs) == 6 * (2 + 1 + 2)
    assert [job.name for job in plan.jobs if job.group == "e5-small" and job.training] == ["e5-small en"]
    assert {options[job.name][2].train_lang for job in plan.jobs if job.group == "e5-small"} == {("en",)}
    assert plan.groups.keys() >= {"tfidf zh", "embed-e5 ja", "smollm2"}


@pytest.mark.slow
def test_two_processes_carry_out_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = pytest.importorskip("_scale_check")
    from harness.core.options import RunOptions

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    options = {
        f"{lang} {decision}": RunOptions.model_validate(
            {"task": "reviews_demo", "backend": "majority", "lang": lang, "decision": decision, "limit": 5}
        )
        for lang in ("en", "de")
        for decision in ("argmax", "median")
    }
    jobs = [Job(name, name.split()[0], predicting=1.0) for name in options]
    found = check.carry_out(plan_of([Group("en", load=5.0), Group("de", load=5.0)], jobs), options, 2, tmp_path)
    assert [len(runs) for runs in found.values()] == [2, 2]  # a group for each worker
    assert all(run.wall > 0 for runs in found.values() for run in runs)
    assert [run.loaded for run in found["0"]] == [True, False]
    assert len([path for path in (tmp_path / "runs").iterdir() if path.is_dir()]) == 4


@pytest.mark.slow
def test_the_committed_estimate_is_that_of_the_committed_measurements() -> None:
    sweep, scale = pytest.importorskip("_sweep"), pytest.importorskip("scale")
    record = scale.Record.model_validate_json((scale.RESULTS / "scale.json").read_text(encoding="utf-8"))
    inputs = scale.read_inputs(record)
    assert {name: one.model_dump() for name, one in record.inputs.items()} == {
        name: pytest.approx(one.model_dump()) for name, one in inputs.items()
    }
    middle = {name: one.middle for name, one in scale.values_of(inputs).items()}
    for one in record.estimates:
        plan = sweep.fitting(sweep.plan_of(middle, scale.languages(record.langs)), one.gpus)
        trace = simulate(plan, sweep.cluster_of(one.gpus, middle))
        assert trace.loads == one.loads, "run benchmarks/scale.py --parts estimate"
        assert trace.seconds / 3600 == pytest.approx(one.policies["a long group is split before"])
        assert plan.critical_path() / 60 == pytest.approx(one.chain_minutes)
