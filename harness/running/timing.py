"""Measure a backend's latency, throughput and memory use: `bench analyze latency`.

The engine is loaded and called as in a run (`EngineSlot`, `encode`, `predict_batch`, `batches`). Engines return numbers or text
on the host, so the clock includes what a GPU still computes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from harness.core.errors import OutOfMemory, RunError, UserError
from harness.core.machine import (
    describe_machine,
    family_memory,
    gpu_taken,
    library_versions,
    load_average,
    peak_memory,
    reset_peaks,
    threads,
)
from harness.core.progress_events import OnProgress
from harness.core.types import Status
from harness.records.latency import (
    BatchFigures,
    LatencyIdentity,
    LatencyMemory,
    LatencyRecord,
    LatencySettings,
    LoadAverage,
    MemoryBefore,
    OfflineFigures,
    Percentiles,
)
from harness.running.batching import Item, batches, distinct, encode, most_charged_tokens
from harness.running.latency import Seconds, arrivals, figures
from harness.running.plan import Plan
from harness.running.predicting import Batch, launched, predict_batch
from harness.running.runner import EngineSlot
from harness.specs.costs import Budget

Clock = Callable[[], float]
FULL = "out of memory"

WARM_UP = 8
"""Rows that are computed before the clock starts, in batches of the measured size; none for a server."""

MOST_FAILED = 0.5
"""Share of failed answers above which nothing was measured."""

COUNTS = (
    "rendering of the prompt, tokenization, the model and parsing, one after the other; not loading, training and warm-up; "
    "each text once, in an order drawn at random. Offline: as in a run, sorted by length, tokenized while others compute"
)


@dataclass(frozen=True, slots=True)
class LatencyOptions:
    """`sizes`: rows per batch. `lag`: simulated seconds of network delay per call. `rate`: rows per second that arrive in a
    simulated queue; None: no queue."""

    sizes: tuple[int, ...]
    lag: float = 0.0
    rate: float | None = None


class _Stopwatch:
    """Times the calls of one plan and adds up their cost."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self.plan, self.clock, self.usd = plan, clock, 0.0
        self.served = plan.engine.model_is == "name"

    def call(self, items: Sequence[Item]) -> tuple[float, int]:
        """Seconds for a batch, encoding included, and failed rows. Raises `OutOfMemory`, or why a server is down."""
        started = self.clock()
        outcome = predict_batch(self.plan, encode(self.plan, items))
        seconds = self.clock() - started
        return seconds, self._take(outcome)

    def offline(self) -> tuple[float, int]:
        """Seconds for all rows in the batches of a run, and the number of batches. Raises `OutOfMemory`."""
        self.warm_up([distinct(self.plan.rows)[:WARM_UP]])
        started, count, failed = self.clock(), 0, 0
        for _, outcome in launched(self.plan, batches(self.plan, ()), self.plan.engine.ahead()):
            failed += self._take(outcome())
            count += 1
        seconds = self.clock() - started
        self.check(failed, len(self.plan.rows))
        return seconds, count

    def warm_up(self, chunks: Sequence[Sequence[Item]]) -> None:
        """Then the engine's caches are cleared, and the shortest text is computed again: it caches the common prefix of the
        prompts. A server needs no warm-up and would charge for it."""
        if self.served:
            return
        for chunk in chunks:
            self.call(chunk)
        self.plan.engine.reset()
        self.call(distinct(self.plan.rows)[-1:])

    def check(self, failed: int, rows: int) -> None:
        """Raise `RunError` if most answers failed: the time of a refusal is not the time of an answer."""
        if failed > MOST_FAILED * rows:
            raise RunError(
                f"{self.plan.backend.name}: {failed} of {rows} answers failed, so there is nothing to time.",
                "`bench run` with the same options shows the reasons.",
            )

    def _take(self, outcome: Batch) -> int:
        """Add the cost of a batch; returns its failed rows."""
        price, engine = self.plan.backend.price, self.plan.engine
        self.usd += 0.0 if price is None else price.charged(outcome.charged)
        if (down := engine.unavailable()) is not None:
            raise down
        return sum(prediction.status is Status.FAILED for prediction in outcome.predictions)


def measure(
    plan: Plan,
    options: LatencyOptions,
    budget: Budget | None = None,
    on_progress: OnProgress = lambda phase, done, total, note: None,
    clock: Clock = time.perf_counter,
) -> LatencyRecord:
    """Load the plan's engine (train it if no run did), time it, close it.

    One row per call is always timed. `budget`: the limit for a server; nothing is sent if the cost might exceed it.

    Raises `UserError` for too few rows or too small a budget, `RunError` if a single row does not fit in memory or most answers
    fail, the error of a server that is down, and what loading and training raise.
    """
    items = _in_random_order(plan)
    sizes = sorted({1, *options.sizes})
    if sizes[-1] > len(items):
        way = "Raise --limit, or lower" if plan.options.limit == len(plan.rows) else "There are no more in this language: lower"
        raise UserError(f"A batch of {sizes[-1]} rows can't be made of {len(items)} texts.", f"{way} --batch-size.")
    if options.rate is not None and plan.engine.model_is == "name":
        raise UserError(
            f"--rate simulates the queue of one engine; the server of {plan.backend.name} has its own.", "Leave it out."
        )
    if plan.engine.model_is == "name" and plan.backend.price is None:
        raise UserError(
            f"{plan.backend.name} may charge for each request, and has no price.",
            "Add its model to `models:` in prices.yaml in your folder (0 where it charges nothing).",
        )
    before, quiet = _memory(), load_average()
    with closing(EngineSlot()) as slot:
        plan, _, load_seconds = slot.ready(plan, on_progress)
        loaded = _memory()
        _check_budget(plan, items, len(sizes), budget)
        watch = _Stopwatch(plan, clock)
        times: dict[int, Seconds] = {}
        sized = []
        for number, size in enumerate(sizes):
            on_progress("time", number, len(sizes) + 1, f"{size} a batch")
            sized.append(_sized(watch, items, size, options.lag, before, times))
        on_progress("time", len(sizes), len(sizes) + 1, "offline")
        offline = _offline(watch, len(items), before)
        one = sized[0]
        record = LatencyRecord(
            identity=_identity(plan),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            settings=LatencySettings(
                batch_sizes=sizes, lag_ms=round(1000 * options.lag, 4), rate=options.rate, limit=plan.options.limit
            ),
            warm_up=None if watch.served else f"at least {WARM_UP} rows in batches of each size, then the shortest text once",
            counts=COUNTS,
            machine=describe_machine(),
            threads=threads(),
            versions=library_versions(),
            load_average=LoadAverage(before=quiet, after=load_average()),
            memory_mib=MemoryBefore(before_loading=before.host_now, loaded=loaded.host_now),
            load_seconds=round(load_seconds, 3),
            n=len(items),
            **{name: getattr(one, name) for name in Percentiles.model_fields},
            rows_per_second=offline.rows_per_second,
            batches=sized,
            offline=offline,
            arrivals=None if options.rate is None else arrivals(times, options.rate, options.lag),
            cost_usd=round(watch.usd, 6) if plan.backend.price is not None else None,
        )
    return record.model_copy(update={"warnings": list(_warnings(record, watch.served))})


def _identity(plan: Plan) -> LatencyIdentity:
    shared = {name: getattr(plan.identity, name) for name in ("task", "lang", "split", "rows", "backend", "prompt")}
    return LatencyIdentity(**shared, trained=None if plan.training is None else plan.identity.trained_key)


def _in_random_order(plan: Plan) -> list[Item]:
    """Each text once, since an engine may cache it; not in the file's order, which may be by label or length."""
    first = {row.text: row for row in reversed(plan.rows)}
    items = [Item([row]) for row in plan.rows if first[row.text] is row]
    return [items[index] for index in np.random.default_rng(0).permutation(len(items))]


def _sized(
    watch: _Stopwatch, items: list[Item], size: int, lag: float, before: _Memory, times: dict[int, Seconds]
) -> BatchFigures:
    """The figures of one batch size; the seconds of its batches go into `times`, shape (batches,)."""
    chunks = [items[start : start + size] for start in range(0, len(items) - size + 1, size)]
    reset = reset_peaks()
    try:
        watch.warm_up(chunks[: -(-WARM_UP // size)])
        timed = [watch.call(chunk) for chunk in chunks]
    except OutOfMemory as error:
        if size == 1:
            raise RunError(f"{watch.plan.backend.name}: no memory for a single row.", "Use a smaller model.") from error
        return BatchFigures(rows=size, error=FULL)
    failed = sum(failed for _, failed in timed)
    watch.check(failed, len(chunks) * size)
    times[size] = np.array([seconds for seconds, _ in timed])
    return BatchFigures(
        rows=size,
        batches=len(chunks),
        failed=failed,
        **dict(figures(times[size], size)),
        with_lag=figures(times[size] + lag, size) if lag else None,
        peak_memory_mib=_peak(before, reset),
    )


def _offline(watch: _Stopwatch, texts: int, before: _Memory) -> OfflineFigures:
    engine, reset = watch.plan.engine, reset_peaks()
    settings = OfflineFigures(batch_size=engine.batch_size(), batch_tokens=engine.batch_tokens())
    try:
        seconds, count = watch.offline()
    except OutOfMemory:
        return settings.model_copy(update={"error": FULL})
    figures_of_all = {"seconds": round(seconds, 4), "rows_per_second": round(texts / seconds, 3)}
    return settings.model_copy(update={"batches": count, **figures_of_all, "peak_memory_mib": _peak(before, reset)})


class _Memory(NamedTuple):
    """In MiB; `gpu_used`: on the whole device."""

    host_peak: int | None
    host_now: int | None
    gpu_used: int | None


def _memory() -> _Memory:
    return _Memory(*family_memory(), gpu_taken())


def _peak(before: _Memory, reset: bool) -> LatencyMemory:
    now, torch = _memory(), peak_memory()
    host = now.host_peak if reset else None
    return LatencyMemory(
        host=host,
        host_since_start=None if reset else torch.host,
        host_increase=None if host is None or before.host_now is None else host - before.host_now,
        gpu=torch.gpu,
        gpu_increase=None if now.gpu_used is None else now.gpu_used - (before.gpu_used or 0),
    )


def _check_budget(plan: Plan, items: list[Item], sizes: int, budget: Budget | None) -> None:
    """Raise `UserError` if the requests might cost more than the budget."""
    price = plan.backend.price
    if plan.engine.model_is != "name" or price is None or price.prompt == price.completion == 0:
        return
    once = sum(price.most(item.encoded.tokens, most_charged_tokens(plan)) for item in encode(plan, items))
    most = plan.engine.attempts() * once * (sizes + 1)
    if budget is None or most > budget.limit:
        allowed = "" if budget is None else f" --max-cost {budget.limit:g} is too little:"
        raise UserError(
            f"{plan.backend.name}:{allowed} {len(items)} rows, {sizes + 1} times over, may cost up to ${most:.4f}.",
            f"Allow it with --max-cost {np.ceil(most * 100) / 100:g}, or time fewer rows with --limit.",
        )


def _warnings(record: LatencyRecord, served: bool) -> Iterator[str]:
    """What a reader must know before using the figures."""
    if record.under_load:
        load = record.load_average
        values = " and then ".join(f"{value:.1f}" for value in (load.before, load.after) if value is not None)
        yield (
            f"the load of the machine was {values}, with {record.machine.cores} cores: "
            "other work was running, so these times are too long"
        )
    failed = sum(part.failed for part in record.batches)
    if failed:
        yield f"{failed} answers failed: their times mean nothing"
    yield from (f"{part.error}: {part.rows} rows per batch" for part in record.batches if part.error)
    if record.offline.error:
        yield f"{record.offline.error}: offline"
    if served:
        yield "the times include the network; the server may cache prompts of an earlier batch size"
