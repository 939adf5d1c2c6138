"""How fast a backend answers, and in how much memory: `bench analyze latency`.

The engine is loaded and fed as a run does it (`EngineSlot`, `encode`, `predict_batch`, `batches`); only the clock is here.
Engines hand back numbers or text on the host, so what a GPU still computes is waited for before the clock stops.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from harness.core.engine import Classifier, LanguageModel
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
from harness.running.batching import Item, batches, distinct, encode, most_new_tokens
from harness.running.latency import Seconds, arrivals, figures
from harness.running.plan import Plan
from harness.running.predicting import Batch, predict_batch
from harness.running.runner import EngineSlot
from harness.running.training import trained_key
from harness.specs.costs import Budget

Clock = Callable[[], float]

WARM_UP = 8
"""Rows that are computed before the clock starts, in batches of the size that is timed; not those of a server."""

MOST_FAILED = 0.5
"""Share of the answers that may fail before nothing was measured."""

COUNTS = (
    "rendering of the prompt, tokenization, the model and parsing, one after the other; not loading, training and warm-up; "
    "each text once, in an order drawn at random. Offline: as in a run, sorted by length, tokenized while others compute"
)


@dataclass(frozen=True, slots=True)
class LatencyOptions:
    """What to measure. `sizes`: rows a batch. `lag`: seconds that a network would add to each call. `rate`: rows a second
    that arrive at random, for a simulated queue; None for none."""

    sizes: tuple[int, ...]
    lag: float = 0.0
    rate: float | None = None


class _Stopwatch:
    """Times the calls of one plan, and counts what a server charges for them."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self.plan, self.clock, self.usd = plan, clock, 0.0
        self.served = plan.engine.model_is == "name"

    def call(self, items: Sequence[Item]) -> tuple[float, int]:
        """Seconds for a batch, encoding included, and rows that failed. Raises `OutOfMemory`, and what ends a server."""
        started = self.clock()
        outcome = predict_batch(self.plan, encode(self.plan, items))
        seconds = self.clock() - started
        return seconds, self._take(outcome)

    def offline(self) -> tuple[float, int]:
        """Seconds for all rows in the harness's own batches, and how many batches those were. Raises `OutOfMemory`."""
        self.warm_up([distinct(self.plan.rows)[:WARM_UP]])
        started, count, failed = self.clock(), 0, 0
        for batch in batches(self.plan, ()):
            failed += self._take(predict_batch(self.plan, batch))
            count += 1
        seconds = self.clock() - started
        self.check(failed, len(self.plan.rows))
        return seconds, count

    def warm_up(self, chunks: Sequence[Sequence[Item]]) -> None:
        """What was kept of these texts is forgotten again; the shortest text is computed once more, for what every prompt
        begins with. A server needs none of it, and would charge for it."""
        if self.served:
            return
        for chunk in chunks:
            self.call(chunk)
        self.plan.engine.reset()
        self.call(distinct(self.plan.rows)[-1:])

    def check(self, failed: int, rows: int) -> None:
        """Raise `RunError` where most answers failed: how quickly a server refuses is not how quickly it answers."""
        if failed > MOST_FAILED * rows:
            raise RunError(
                f"{self.plan.backend.name}: {failed} of {rows} answers failed, so there is nothing to time.",
                "`bench run` with the same options says why.",
            )

    def _take(self, outcome: Batch) -> int:
        """Count what a batch cost; rows that failed."""
        price, engine = self.plan.backend.price, self.plan.engine
        self.usd += 0.0 if price is None else price.of(outcome.prompt_tokens, outcome.new_tokens)
        if isinstance(engine, LanguageModel) and (down := engine.unavailable()) is not None:
            raise down
        return sum(prediction.status is Status.FAILED for prediction in outcome.predictions)


def measure(
    plan: Plan,
    options: LatencyOptions,
    budget: Budget | None = None,
    on_progress: OnProgress = lambda phase, done, total, note: None,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Load the plan's engine (train it, where no run did before), time it, close it. The record: `harness.records.latency`.

    A row at a time is always timed. `budget`: what may be spent on a server; nothing is sent unless it is sure to suffice.

    Raises `UserError` for too few rows or too small a budget, `RunError` where a single row does not fit in memory or most
    answers fail, what ends a server, and what loading and training raise.
    """
    items = _in_random_order(plan)
    sizes = sorted({1, *options.sizes})
    if sizes[-1] > len(items):
        way = "Raise --limit, or lower" if plan.options.limit == len(plan.rows) else "There are no more in this language: lower"
        raise UserError(f"A batch of {sizes[-1]} rows can't be made of {len(items)} texts.", f"{way} --batch-size.")
    if options.rate is not None and plan.engine.model_is == "name":
        raise UserError(
            f"--rate simulates a queue before one engine, and {plan.backend.name} is a server with a queue of its own.",
            "Leave it out.",
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
        record = {
            **_circumstances(plan, options, sizes),
            "load_average": {"before": quiet, "after": load_average()},
            "memory_mib": {"before_loading": before["host_now"], "loaded": loaded["host_now"]},
            "load_seconds": round(load_seconds, 3),
        }
    one = sized[0]
    record |= {
        "n": len(items),
        **{key: one[key] for key in ("p50_ms", "p95_ms", "p99_ms")},
        "rows_per_second": offline.get("rows_per_second"),
        "batches": sized,
        "offline": offline,
        "arrivals": None if options.rate is None else arrivals(times, options.rate, options.lag),
        "cost_usd": round(watch.usd, 6) if plan.backend.price is not None else None,
    }
    return record | {"warnings": _warnings(record, watch.served)}


def _in_random_order(plan: Plan) -> list[Item]:
    """Each text once: an engine may remember one. Not in the file's order, which may be by label or by length."""
    first = {row.text: row for row in reversed(plan.rows)}
    items = [Item([row]) for row in plan.rows if first[row.text] is row]
    return [items[index] for index in np.random.default_rng(0).permutation(len(items))]


def _sized(
    watch: _Stopwatch, items: list[Item], size: int, lag: float, before: dict[str, Any], times: dict[int, Seconds]
) -> dict[str, Any]:
    """The record of one batch size; the seconds of its batches go into `times`, shape (batches,)."""
    chunks = [items[start : start + size] for start in range(0, len(items) - size + 1, size)]
    reset = reset_peaks()
    try:
        watch.warm_up(chunks[: -(-WARM_UP // size)])
        timed = [watch.call(chunk) for chunk in chunks]
    except OutOfMemory as error:
        if size == 1:
            raise RunError(f"{watch.plan.backend.name}: no memory for a single row.", "Use a smaller model.") from error
        return {"rows": size, "error": "out of memory"}
    watch.check(sum(failed for _, failed in timed), len(chunks) * size)
    times[size] = np.array([seconds for seconds, _ in timed])
    return {
        "rows": size,
        "batches": len(chunks),
        "failed": sum(failed for _, failed in timed),
        **figures(times[size], size),
        "with_lag": None if not lag else figures(times[size] + lag, size),
        "peak_memory_mib": _peak(before, reset),
    }


def _offline(watch: _Stopwatch, texts: int, before: dict[str, Any]) -> dict[str, Any]:
    engine, reset = watch.plan.engine, reset_peaks()
    settings = {"batch_size": engine.batch_size(), "batch_tokens": engine.batch_tokens()}
    try:
        seconds, count = watch.offline()
    except OutOfMemory:
        return {**settings, "error": "out of memory"}
    return {
        **settings,
        "batches": count,
        "seconds": round(seconds, 4),
        "rows_per_second": round(texts / seconds, 3),
        "peak_memory_mib": _peak(before, reset),
    }


def _memory() -> dict[str, int | None]:
    peak, now = family_memory()
    return {"host_peak": peak, "host_now": now, "gpu_taken": gpu_taken()}


def _peak(before: dict[str, Any], reset: bool) -> dict[str, int | None]:
    """`host`: this process and those it started, while this was timed; `host_since_start` where the system can only tell
    the peak of this process since it began. `host_increase`: over what was held before loading. `gpu`: torch's, in this
    process; `gpu_increase`: of what is taken on the whole device."""
    now, torch = _memory(), peak_memory()
    host = now["host_peak"] if reset else None
    return {
        "host": host,
        "host_since_start": None if reset else torch.host,
        "host_increase": None if host is None or before["host_now"] is None else host - before["host_now"],
        "gpu": torch.gpu,
        "gpu_increase": None if now["gpu_taken"] is None else now["gpu_taken"] - (before["gpu_taken"] or 0),
    }


def _check_budget(plan: Plan, items: list[Item], sizes: int, budget: Budget | None) -> None:
    """Raise `UserError` unless the requests can't cost more than was allowed."""
    price = plan.backend.price
    if plan.engine.model_is != "name" or price is None or price.prompt == price.completion == 0:
        return
    assert isinstance(plan.engine, LanguageModel)
    once = sum(price.of(item.encoded.tokens, most_new_tokens(plan)) for item in encode(plan, items))
    most = plan.engine.attempts() * once * (sizes + 1)
    if budget is None or most > budget.limit:
        allowed = "" if budget is None else f" --max-cost {budget.limit:g} is too little:"
        raise UserError(
            f"{plan.backend.name}:{allowed} {len(items)} rows, {sizes + 1} times over, may cost up to ${most:.4f}.",
            f"Allow it with --max-cost {_rounded_up(most):g}, or time fewer rows with --limit.",
        )


def _rounded_up(usd: float) -> float:
    return float(np.ceil(usd * 100) / 100)


def _circumstances(plan: Plan, options: LatencyOptions, sizes: list[int]) -> dict[str, Any]:
    names, identity = ("task", "lang", "split", "rows", "backend", "prompt"), plan.identity.as_json()
    return {
        "identity": {
            **{name: identity[name] for name in names},
            "trained": trained_key(plan) if isinstance(plan.engine, Classifier) else None,
        },
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {
            "batch_sizes": sizes,
            "lag_ms": round(1000 * options.lag, 4),
            "rate": options.rate,
            "limit": plan.options.limit,
        },
        "warm_up": None
        if plan.engine.model_is == "name"
        else f"at least {WARM_UP} rows in batches of each size, then the shortest text once",
        "counts": COUNTS,
        "machine": describe_machine().as_json(),
        "threads": threads(),
        "versions": library_versions(),
    }


def is_loaded(record: dict[str, Any]) -> bool:
    """Whether more wanted to run, before or after, than there are cores."""
    return any((load or 0) > record["machine"]["cores"] for load in record["load_average"].values())


def _warnings(record: dict[str, Any], served: bool) -> list[str]:
    """What a reader must know before the figures are believed."""
    return list(_reasons(record, served))


def _reasons(record: dict[str, Any], served: bool) -> Iterator[str]:
    if is_loaded(record):
        load = {when: f"{value:.1f}" for when, value in record["load_average"].items() if value is not None}
        yield (
            f"the load of the machine was {' and then '.join(load.values())}, with cores for {record['machine']['cores']}: "
            "something else was running, these times are too long"
        )
    failed = sum(part.get("failed", 0) for part in record["batches"])
    if failed:
        yield f"{failed} answers failed: their times say nothing"
    for part in [*record["batches"], record["offline"]]:
        if "error" in part:
            yield f"{part['error']}: {part['rows']} rows a batch" if "rows" in part else f"{part['error']}: offline"
    if served:
        yield "the times hold the network between here and the server, which may remember prompts of an earlier batch size"
