"""Latency, throughput, queues and their records: engines and a clock that do as they are told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st

from harness.core import machine
from harness.core.errors import ModelUnavailable, OutOfMemory, RunError, UserError
from harness.core.record import Machine, RunRecord
from harness.core.types import Decoding
from harness.records.latency import LatencyRecord, latency_of, load_latencies, write_latency
from harness.records.store import Store
from harness.running.batching import most_new_tokens
from harness.running.latency import arrivals, departures, figures, in_batches, needed, one_at_a_time, percentiles
from harness.running.plan import Plan
from harness.running.runner import run
from harness.running.timing import WARM_UP, LatencyOptions, measure
from harness.specs.costs import MemoryBudget

# Percentiles


@pytest.mark.parametrize(("percent", "least"), [(50, 20), (95, 200), (99, 1000)])
def test_a_percentile_needs_ten_observations_above_it(percent: int, least: int) -> None:
    assert needed(percent) == least
    assert percentiles(np.arange(least - 1.0))[percent] is None
    found = percentiles(np.arange(float(least)))[percent]
    assert found is not None
    assert found.value == least - 11  # an observation, with exactly ten above it
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


@pytest.mark.slow
def test_the_interval_of_a_percentile_covers() -> None:
    """The true p95 of an exponential is in 95% of the intervals (a bit more: they are discrete)."""
    rng, true = np.random.default_rng(3), -np.log(0.05)
    found = [percentiles(rng.exponential(size=200))[95] for _ in range(300)]
    inside = [p is not None and (p.low or 0) <= true <= (p.high or np.inf) for p in found]
    assert 0.91 < np.mean(inside) < 0.99


def test_figures_of_batches() -> None:
    found = figures(np.full(20, 0.5), 4)
    assert found.p50_ms == found.mean_ms == 500
    assert found.p95_ms is found.p99_ms is None
    assert found.rows_per_second == 8
    assert found.intervals_ms == {"p50": (500, 500)}


# Queues


def test_a_regular_queue_is_exact() -> None:
    """Every 2 s a row that takes 3 s: each waits a second longer than the one before."""
    arrived = np.arange(5) * 2.0
    assert departures(arrived, np.full(5, 3.0)).tolist() == [3, 6, 9, 12, 15]
    assert departures(arrived, np.full(5, 1.0)).tolist() == [1, 3, 5, 7, 9]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30), st.lists(st.floats(0, 10), min_size=30, max_size=30))
def test_departures_follow_the_recursion(gaps: list[float], service: list[float]) -> None:
    arrived, taken = np.cumsum(gaps), np.array(service[: len(gaps)])
    left, expected = -np.inf, []
    for at, takes in zip(arrived, taken, strict=True):
        left = max(at, left) + takes
        expected.append(left)
    assert departures(arrived, taken) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("rate", [20.0, 50.0, 80.0])
def test_random_service_waits_as_in_theory(rate: float) -> None:
    """M/M/1: the time in the system is exponential with mean 1 / (capacity - rate)."""
    service = np.random.default_rng(1).exponential(0.01, 200_000)
    capacity = 1 / service.mean()
    found = one_at_a_time(service, rate, rows=400_000)
    assert found.sojourn is not None
    assert found.sojourn.mean() == pytest.approx(1 / (capacity - rate), rel=0.06)
    assert np.percentile(found.sojourn, 95) == pytest.approx(-np.log(0.05) / (capacity - rate), rel=0.08)
    assert found.utilisation == pytest.approx(rate / capacity)


def test_fixed_service_waits_as_in_theory() -> None:
    """M/D/1, Pollaczek-Khinchine: the wait is rho * s / (2 (1 - rho)): half of that of random service."""
    found = one_at_a_time(np.full(3, 0.01), 80, rows=400_000)
    assert found.sojourn is not None
    assert found.sojourn.mean() == pytest.approx(0.01 + 0.8 * 0.01 / (2 * 0.2), rel=0.04)


@pytest.mark.slow
def test_batches_of_one_are_the_same_queue() -> None:
    one, same = one_at_a_time(np.full(2, 0.01), 60), in_batches({1: np.full(2, 0.01)}, 60)
    assert one.sojourn is not None
    assert same.sojourn is not None
    assert same.sojourn == pytest.approx(one.sojourn)
    assert (same.batch, same.utilisation) == (1, pytest.approx(0.6, abs=0.02))


def test_batches_keep_up_where_single_rows_do_not() -> None:
    times = {1: np.full(5, 0.01), 16: np.full(5, 0.04)}
    assert one_at_a_time(times[1], 200).sojourn is None
    found = in_batches(times, 200)
    assert found.capacity == pytest.approx(400)
    assert found.sojourn is not None
    assert found.sojourn.min() >= 0.01 - 1e-9
    assert found.sojourn.max() < 0.2
    assert 1 < found.batch < 16
    # No row is lost: rows that arrive are rows that are done, batch by batch.
    mean_time = np.interp(found.batch, [1, 16], [0.01, 0.04])  # a line, so that the mean of times is the time of the mean
    assert found.utilisation == pytest.approx(200 / found.batch * mean_time, rel=0.02)


def test_nothing_is_said_of_waits_where_rows_come_too_fast() -> None:
    times = {1: np.full(300, 0.01), 4: np.full(30, 0.02)}
    found = arrivals(times, 200, lag=0)
    assert [(queue.up_to, queue.keeps_up, queue.p50_ms) for queue in found.queues] == [
        (1, False, None),
        (4, False, None),
    ]
    assert [queue.capacity_rows_per_second for queue in found.queues] == [100, 200]


def test_the_lag_is_waited_for_and_keeps_nobody_busy() -> None:
    times = {1: np.full(200, 0.01)}
    near, far = arrivals(times, 50, lag=0).queues[0], arrivals(times, 50, lag=0.5).queues[0]
    assert far.p50_ms == pytest.approx(near.p50_ms + 500)
    assert far.utilisation == near.utilisation == 0.5
    assert near.p95_ms is not None
    assert near.p99_ms is None  # 200 observations: too few, however many rows are simulated


# An engine and a clock


class FakeClock:
    """Stands still but for what the engine takes: `fixed` seconds a call and `each` second a text."""

    def __init__(self, plan: Plan, fixed: float = 0.1, each: float = 0.01) -> None:
        self.now, self.calls = 0.0, [0]
        engine: Any = plan.engine

        def answer(texts: Sequence[str]) -> None:
            self.calls.append(len(texts))
            self.now += fixed + each * len(texts)

        engine.hook = answer

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def many(project: Path) -> Path:
    """The toy project with 60 test rows in English, one of them twice."""
    rows = [toy.row("test", "en", n, str(n % 3), n % 3) for n in range(60)]
    toy.write_rows(project, "test", [*rows, {**rows[7], "id": "again"}])
    return project


KINDS: list[dict[str, Any]] = [
    {"backend": "toy-classifier"},
    {"backend": "toy-model"},
    {"backend": "toy-model", "decoding": Decoding.SCORE},
    {"backend": "toy-model", "decoding": Decoding.CONSTRAINED},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_text_is_timed_once_a_size(many: Path, kind: dict[str, Any]) -> None:
    plan = toy.plan(many, kind["backend"], decoding=kind.get("decoding"))
    record = measure(plan, LatencyOptions((4, 20)), clock=FakeClock(plan))
    assert record.n == 60
    assert [(part.rows, part.batches, part.failed) for part in record.batches] == [
        (1, 60, 0),
        (4, 15, 0),
        (20, 3, 0),
    ]
    assert [part.mean_ms for part in record.batches] == pytest.approx([110, 140, 300])
    assert [part.rows_per_second for part in record.batches] == pytest.approx([1 / 0.11, 4 / 0.14, 20 / 0.3], abs=1e-3)
    assert (record.p50_ms, record.p95_ms) == (pytest.approx(110), None)
    # Offline: 60 texts in the engine's own batches of 3.
    assert record.offline.batches == 20
    assert record.rows_per_second == pytest.approx(60 / (20 * 0.13), abs=1e-3)
    assert record.arrivals is None
    assert record.batches[0].with_lag is None


def test_the_order_is_not_that_of_the_file_and_the_warm_up_is_forgotten(many: Path) -> None:
    plan = toy.plan(many, "toy-classifier")
    engine = toy.engine_of(plan)
    measure(plan, LatencyOptions((1,)), clock=FakeClock(plan))
    texts = [batch[0] for batch in engine.batches]
    warm, shortest, timed = texts[:WARM_UP], texts[WARM_UP], texts[WARM_UP + 1 : WARM_UP + 61]
    assert warm == timed[:WARM_UP]
    assert len(shortest) == min(map(len, timed))
    in_file = list(dict.fromkeys(row.text for row in plan.rows))
    assert sorted(timed) == sorted(in_file)
    assert timed != in_file
    assert timed != sorted(timed, key=len, reverse=True)
    assert (engine.resets, engine.fits, engine.closes) == (2, 1, 1)  # once for single rows, once for offline


def test_a_lag_is_added_to_each_call(many: Path) -> None:
    plan = toy.plan(many, "toy-classifier")
    record = measure(plan, LatencyOptions((20,), lag=0.05), clock=FakeClock(plan))
    one, twenty = record.batches
    assert one.with_lag.p50_ms == pytest.approx(one.p50_ms + 50)
    assert one.p50_ms == pytest.approx(110)
    assert twenty.with_lag.mean_ms == pytest.approx(350)
    assert twenty.with_lag.rows_per_second == pytest.approx(20 / 0.35, abs=1e-3)
    assert record.settings.lag_ms == 50


@pytest.mark.slow
def test_arrivals_are_simulated_from_what_was_measured(many: Path) -> None:
    plan = toy.plan(many, "toy-classifier")
    record = measure(plan, LatencyOptions((20,), rate=5), clock=FakeClock(plan))
    single, batched = record.arrivals.queues
    assert single.capacity_rows_per_second == pytest.approx(1 / 0.11, abs=1e-3)
    assert single.utilisation == pytest.approx(0.55)
    assert single.p50_ms > 110
    assert (single.p95_ms, batched.p95_ms) == (None, None)  # 60 observations
    assert batched.capacity_rows_per_second == pytest.approx(20 / 0.3, abs=1e-3)
    assert batched.p50_ms < single.p50_ms


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_said_and_the_others_are_timed(many: Path) -> None:
    plan = toy.plan(many, "toy-classifier")
    clock = FakeClock(plan)
    engine = toy.engine_of(plan)
    took = engine.hook

    def full(texts: Sequence[str]) -> None:
        if len(texts) == 10:
            raise OutOfMemory("full")
        took(texts)

    engine.hook = full
    record = measure(plan, LatencyOptions((10, 20), rate=5), clock=clock)
    assert [part.error for part in record.batches] == [None, "out of memory", None]
    assert [queue.up_to for queue in record.arrivals.queues] == [1, 20]
    assert "out of memory: 10 rows per batch" in record.warnings

    def over(texts: Sequence[str]) -> None:
        raise OutOfMemory("full")

    again = toy.plan(many, "toy-classifier")
    toy.engine_of(again).hook = over
    with pytest.raises(RunError, match="no memory for a single row"):
        measure(again, LatencyOptions((4,)))
    assert toy.engine_of(again).closes == 1


def test_offline_out_of_memory_leaves_no_throughput(many: Path) -> None:
    plan = toy.plan(many, "toy-classifier")
    clock, engine = FakeClock(plan), toy.engine_of(plan)
    took = engine.hook

    def full(texts: Sequence[str]) -> None:
        if len(texts) == 3:
            raise OutOfMemory("full")
        took(texts)

    engine.hook = full
    record = measure(plan, LatencyOptions((1,)), clock=clock)
    assert record.rows_per_second is None
    assert record.offline.error == "out of memory"
    assert "out of memory: offline" in record.warnings


def test_too_few_rows_for_a_batch(many: Path) -> None:
    with pytest.raises(UserError, match=r"A batch of 61 rows can't be made of 60 texts") as caught:
        measure(toy.plan(many, "toy-classifier"), LatencyOptions((61,)))
    assert "no more in this language" in caught.value.hint
    with pytest.raises(UserError, match=r"A batch of 12 rows") as caught:
        measure(toy.plan(many, "toy-classifier", limit=8), LatencyOptions((12,)))
    assert "Raise --limit" in caught.value.hint


def test_answers_that_fail_are_no_speed(project: Path) -> None:
    toy.write_rows(project, "test", [toy.row("test", "en", n, f"{'fail' if n < 7 else n} {n}", n % 3) for n in range(12)])
    plan = toy.plan(project)
    with pytest.raises(RunError, match="7 of 12 answers failed, so there is nothing to time"):
        measure(plan, LatencyOptions((1,)))


def test_a_server_that_is_down_is_not_timed(project: Path) -> None:
    plan = toy.plan(project)
    toy.engine_of(plan).unavailable = lambda: ModelUnavailable("It is down.", "Wait.")
    with pytest.raises(ModelUnavailable, match="It is down"):
        measure(plan, LatencyOptions((1,)))
    assert len(toy.engine_of(plan).batches) == 1


def test_failed_answers_are_counted(project: Path) -> None:
    plan = toy.plan(project)  # one of its eleven rows says "fail"
    record = measure(plan, LatencyOptions((1,)), clock=FakeClock(plan))
    assert record.batches[0].failed == 1
    assert "1 answers failed: their times mean nothing" in record.warnings


def test_load_is_a_warning(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = toy.plan(many, "toy-classifier")
    loads = iter([0.0, 1000.0, 0.0, 0.0])
    monkeypatch.setattr("harness.running.timing.load_average", lambda: next(loads))
    record = measure(plan, LatencyOptions((1,)), clock=FakeClock(plan))
    assert (record.load_average.before, record.load_average.after) == (0.0, 1000.0)
    assert any("other work was running" in warning for warning in record.warnings)
    again = toy.plan(many, "toy-classifier")
    assert measure(again, LatencyOptions((1,)), clock=FakeClock(again)).warnings == []


# A server, which charges


def server(project: Path, **changes: Any) -> Plan:
    return toy.plan(project, "toy-server", **changes)


def test_nothing_is_sent_without_leave(project: Path) -> None:
    plan = server(project)
    with pytest.raises(UserError, match=r"toy-server: 11 rows, 3 times over, may cost up to \$") as caught:
        measure(plan, LatencyOptions((4,)))
    assert toy.engine_of(plan).batches == []
    once = sum(len(row.text.split()) * 1000 + most_new_tokens(plan) * 2000 for row in plan.rows) / 1e6
    assert f"up to ${3 * once:.4f}" in caught.value.message  # single rows, batches of four, offline
    allowed = float(caught.value.hint.split("--max-cost ")[1].split(",")[0])
    again = server(project)
    with pytest.raises(UserError, match="is too little"):
        measure(again, LatencyOptions((4,)), MemoryBudget(allowed / 2))
    assert toy.engine_of(again).batches == []
    record = measure(server(project), LatencyOptions((4,)), MemoryBudget(allowed))
    assert 0 < record.cost_usd <= allowed


def test_a_server_is_not_warmed_up_and_all_that_it_charges_is_counted(project: Path) -> None:
    plan = server(project)
    record = measure(plan, LatencyOptions((4,)), MemoryBudget(1000), clock=FakeClock(plan))
    sent = [text for batch in toy.engine_of(plan).batches for text in batch]
    assert len(sent) == 11 + 8 + 11  # one by one; two batches of four; offline
    expected = sum(len(text.split()) * 1000 + (0 if toy.said_in(text) == "fail" else 2 * 2000) for text in sent) / 1e6
    assert record.cost_usd == pytest.approx(expected, abs=1e-6)
    assert record.warm_up is None
    assert any("network" in warning for warning in record.warnings)


def test_a_server_without_a_price_is_refused_and_a_free_one_is_not(project: Path) -> None:
    path = project / "backends" / "toy-server.yaml"
    text = path.read_text()
    path.write_text(text.replace("1000", "0").replace("2000", "0"))
    plan = server(project)
    assert measure(plan, LatencyOptions((1,)), clock=FakeClock(plan)).cost_usd == 0
    path.write_text("engine: toy_server\nmodel: served\n")
    unpriced = server(project)
    with pytest.raises(UserError, match="may charge for each request, and has no price"):
        measure(unpriced, LatencyOptions((1,)), MemoryBudget(10))
    assert toy.engine_of(unpriced).loads == 0


def test_a_server_has_a_queue_of_its_own(project: Path) -> None:
    with pytest.raises(UserError, match="--rate simulates the queue of one engine"):
        measure(server(project), LatencyOptions((1,), rate=5), MemoryBudget(10))


# Records


@pytest.fixture
def measured(many: Path) -> Callable[[], LatencyRecord]:
    def make() -> LatencyRecord:
        plan = toy.plan(many, "toy-classifier")
        return measure(plan, LatencyOptions((1,)), clock=FakeClock(plan))

    return make


def changed(record: LatencyRecord, **changes: Any) -> LatencyRecord:
    return LatencyRecord.model_validate({**record.as_json(), **changes})


def test_a_record_is_written_whole_and_read_again(measured: Callable[[], LatencyRecord], tmp_path: Path) -> None:
    record, run_id = measured(), "toy.en.toy-classifier.from-en.s0.0123456789"
    path = write_latency(tmp_path / "results", run_id, record)
    assert path.parent == tmp_path / "results" / "latency"
    assert path.name.startswith("toy.en.toy-classifier.from-en.s0.")
    assert load_latencies(tmp_path / "results") == [record]
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    # The same measurement again takes its place; another batch size does not.
    assert write_latency(tmp_path / "results", run_id, changed(record, finished="later")) == path
    other = changed(record, settings={**record.settings.as_json(), "batch_sizes": [1, 2]})
    assert write_latency(tmp_path / "results", run_id, other) != path
    assert len(load_latencies(tmp_path / "results")) == 2
    assert toy.SECRET not in path.read_text()


def test_the_committed_records_are_read_and_written_as_they_were(tmp_path: Path) -> None:
    folder = Path(__file__).parents[3] / "results"
    records = load_latencies(folder)
    files = sorted((folder / "latency").glob("*.json"))
    assert len(records) == len(files) > 0
    for record, file in zip(records, files, strict=True):
        written = write_latency(tmp_path, file.name.removesuffix(".json"), record)
        assert json.loads(written.read_text()) == {"sha256": ANY, **json.loads(file.read_text())}


def test_no_records_are_no_speeds(tmp_path: Path) -> None:
    assert load_latencies(tmp_path) == []


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"identity": 3}'])
def test_a_damaged_record_is_left_out(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "latency" / "x.json"
    path.parent.mkdir()
    path.write_text(text)
    assert load_latencies(tmp_path) == []
    assert f"{path} is damaged" in caplog.text


def record_of(store: Store, plan: Plan) -> RunRecord:
    return store.record(run(plan, store, None, toy.quiet).run_id)


def with_identity(record: RunRecord, **changes: Any) -> RunRecord:
    return record.model_copy(update={"identity": record.identity.model_copy(update=changes)})


def test_the_record_that_fits_a_run(many: Path, store: Store, measured: Callable[[], LatencyRecord]) -> None:
    latencies = [measured()]
    record = record_of(store, toy.plan(many, "toy-classifier", seed=3, train_limit=5))
    assert latency_of(record, latencies) == latencies[0]  # whatever it was trained on
    assert latency_of(record, []) is None
    assert latency_of(with_identity(record, lang="de"), latencies) is None
    backend = record.identity.backend
    slower = backend.model_copy(update={"options": {**backend.options, "flavour": "bold"}})
    assert latency_of(with_identity(record, backend=slower), latencies) is None
    trained = backend.model_copy(update={"options": {**backend.options, "train": {"lr": 1}}})
    assert latency_of(with_identity(record, backend=trained), latencies) == latencies[0]


def test_the_own_machine_goes_before_a_later_measurement(
    many: Path, store: Store, measured: Callable[[], LatencyRecord]
) -> None:
    own = changed(measured(), finished="2026-01-01")
    elsewhere = changed(own, finished="2026-03-01", machine={**own.machine.as_json(), "cpu": "another"})
    later = changed(own, finished="2026-02-01")
    record = record_of(store, toy.plan(many, "toy-classifier"))
    assert latency_of(record, [own, elsewhere]) == own
    assert latency_of(record, [own, later, elsewhere]) == later
    assert latency_of(record.model_copy(update={"machine": Machine()}), [own, later, elsewhere]) == elsewhere


def test_prompts_are_told_apart_but_not_what_a_seed_draws(many: Path, store: Store) -> None:
    plan = toy.plan(many, "toy-model", prompt="shown", seed=1)
    latency = measure(plan, LatencyOptions((1,)), clock=FakeClock(plan))
    other_seed = record_of(store, toy.plan(many, "toy-model", prompt="shown", seed=2))
    other_prompt = record_of(store, toy.plan(many, "toy-model", prompt="echo"))
    asked, again = latency.identity.prompt, other_seed.identity.prompt
    assert asked is not None
    assert again is not None
    assert asked.shots != again.shots
    assert latency_of(other_seed, [latency]) == latency
    assert latency_of(other_prompt, [latency]) is None


# Memory


@pytest.mark.slow
def test_peaks_begin_anew_and_children_count() -> None:
    """Where the system tells (Linux): a peak that is over goes away with a reset, and what a child holds is added."""
    peak, now = machine.family_memory()
    if peak is None or now is None:
        pytest.skip("no /proc here")
    if not machine.reset_peaks():
        pytest.skip("this kernel can't reset a peak")
    block = bytearray(b"x") * (80 * 2**20)
    during = machine.family_memory()[0] or 0
    del block
    assert during > now + 60
    assert machine.reset_peaks()
    assert (machine.family_memory()[0] or 0) < during - 60
    code = "import sys; held = bytearray(b'x') * (80 * 2**20); print('ready', flush=True); sys.stdin.read()"
    before = machine.family_memory()[1] or 0
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"ready\n"
    assert (machine.family_memory()[1] or 0) > before + 70
    child.communicate(timeout=30)


def test_memory_where_the_system_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_family", list)
    assert machine.family_memory() == (None, None)
    assert machine.reset_peaks() is False


def test_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch, many: Path) -> None:
    resets: list[int] = []
    cuda = SimpleNamespace(
        is_available=lambda: True,
        get_device_name=lambda: "Imaginary 9000",
        max_memory_allocated=lambda: 3 * 2**20,
        reset_peak_memory_stats=lambda: resets.append(1),
        mem_get_info=lambda: (6 * 2**20, 10 * 2**20),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, get_num_threads=lambda: 7))
    plan = toy.plan(many, "toy-classifier")
    record = measure(plan, LatencyOptions((2,)), clock=FakeClock(plan))
    assert record.batches[1].peak_memory_mib.gpu == 3
    assert record.batches[1].peak_memory_mib.gpu_increase == 0
    assert record.threads == 7
    assert record.machine.gpu == "Imaginary 9000"
    assert len(resets) == 3  # for each size and for offline
    monkeypatch.delitem(sys.modules, "torch")
    assert machine.gpu_taken() is machine.threads() is None
