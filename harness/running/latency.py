"""Percentiles of measured times with their intervals, and a simulated queue with a given arrival rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from harness.records.latency import Arrivals, Figures, QueueFigures

Seconds = NDArray[np.float64]

PERCENTS = (50, 95, 99)
ABOVE = 10
"""Observations that must lie above a percentile: p50 needs 20 in all, p95 200, p99 1,000."""

ARRIVALS = 50_000
"""Rows in a simulation; the first tenth is a warm-up and is not counted."""


@dataclass(frozen=True, slots=True)
class Percentile:
    """An observed time that `percent` of all do not exceed, with its 95% interval; in seconds."""

    percent: int
    value: float
    low: float | None
    high: float | None


def needed(percent: int) -> int:
    """The least number of observations for a percentile."""
    return -(-ABOVE * 100 // (100 - percent))


def percentiles(seconds: Seconds) -> dict[int, Percentile | None]:
    """For each of `PERCENTS`; None if fewer than `ABOVE` observations lie above it.

    The interval is the distribution-free one between order statistics of independent observations; an end is None if there are
    too few for it.
    """
    from scipy.stats import quantile_test

    found: dict[int, Percentile | None] = {}
    for percent in PERCENTS:
        if len(seconds) < needed(percent):
            found[percent] = None
            continue
        value = float(np.quantile(seconds, percent / 100, method="inverted_cdf"))
        interval = quantile_test(seconds, q=value, p=percent / 100).confidence_interval(0.95)
        low, high = (float(end) if np.isfinite(end) else None for end in (interval.low, interval.high))
        found[percent] = Percentile(percent, value, low, high)
    return found


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue in front of one engine. `capacity`: rows per second if rows always wait. `utilisation`: share of the time in
    which the engine is busy; 1 if it can't keep up. `sojourn`: seconds from arrival to answer, shape (rows,); None if it can't
    keep up. `batch`: mean rows per batch."""

    capacity: float
    utilisation: float
    sojourn: Seconds | None
    batch: float


def one_at_a_time(service: Seconds, rate: float, rows: int = ARRIVALS, seed: int = 0) -> Queue:
    """First come, first served, one row per call: `rate` rows per second arrive (a Poisson process), and each takes a time
    sampled from `service` (M/G/1)."""
    capacity = 1 / float(service.mean())
    if rate >= capacity:
        return Queue(capacity, 1.0, None, 1.0)
    rng = np.random.default_rng(seed)
    arrived = poisson(rng, rate, rows)
    left = departures(arrived, rng.choice(service, rows))
    return Queue(capacity, rate / capacity, (left - arrived)[rows // 10 :], 1.0)


def poisson(rng: np.random.Generator, rate: float, rows: int) -> Seconds:
    """Times at which rows arrive, shape (rows,)."""
    return np.asarray(np.cumsum(rng.exponential(1 / rate, rows)))


def departures(arrived: Seconds, service: Seconds) -> Seconds:
    """When each row is done: it begins when it has arrived and the row before it is done.

    Lindley's recursion, `left[i] = max(arrived[i], left[i-1]) + service[i]`, as running sums and maxima.
    """
    done = np.cumsum(service)
    return np.asarray(done + np.maximum.accumulate(arrived - (done - service)))


def in_batches(times: Mapping[int, Seconds], rate: float, rows: int = ARRIVALS, seed: int = 0) -> Queue:
    """As `one_at_a_time`, but a free engine takes all waiting rows, up to the largest batch.

    `times`: rows per batch -> measured seconds of such batches. The time of another size is interpolated between its
    neighbours, at the same quantile of both.
    """
    sizes = np.array(sorted(times), dtype=np.float64)
    largest = int(sizes[-1])
    capacity = largest / float(times[largest].mean())  # with a long queue all batches are the largest
    if rate >= capacity:
        return Queue(capacity, 1.0, None, float(largest))
    rng = np.random.default_rng(seed)
    arrived = poisson(rng, rate, rows)
    left = np.empty(rows)
    draws = rng.random(rows)
    ordered = [np.sort(times[int(size)]) for size in sizes]
    first, free, busy, batches = 0, 0.0, 0.0, 0
    while first < rows:
        begins = max(free, float(arrived[first]))
        waiting = int(np.searchsorted(arrived[first : first + largest], begins, side="right"))
        seconds = [part[int(draws[batches] * len(part))] for part in ordered]
        taken = float(np.interp(waiting, sizes, seconds))
        free, busy = begins + taken, busy + taken
        left[first : first + waiting] = free
        first, batches = first + waiting, batches + 1
    return Queue(capacity, busy / free, (left - arrived)[rows // 10 :], rows / batches)


def figures(seconds: Seconds, rows: int) -> Figures:
    """Of timed batches of `rows` rows; `seconds`, shape (batches,)."""
    found = percentiles(seconds)
    return Figures(
        **{f"p{percent}_ms": None if at is None else _ms(at.value) for percent, at in found.items()},
        intervals_ms={f"p{percent}": (_ms(at.low), _ms(at.high)) for percent, at in found.items() if at is not None},
        mean_ms=_ms(float(seconds.mean())),
        rows_per_second=round(rows * len(seconds) / float(seconds.sum()), 3),
    )


@overload
def _ms(seconds: float) -> float: ...
@overload
def _ms(seconds: float | None) -> float | None: ...
def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 4)


def arrivals(times: Mapping[int, Seconds], rate: float, lag: float) -> Arrivals:
    """The waiting times if `rate` rows per second arrive: with one row per call, and with batches of the waiting rows.

    `times`: rows per batch -> measured seconds of such batches; 1 is among them. `lag`: seconds that a network adds; the engine
    is not busy meanwhile.
    """
    queues = {1: one_at_a_time(times[1], rate)}
    if len(times) > 1:
        queues[max(times)] = in_batches(times, rate)
    # A simulated tail is known no better than the one it was sampled from.
    enough = [percent for percent, at in percentiles(times[1]).items() if at is not None]
    return Arrivals(rows_per_second=rate, queues=[_queue_figures(size, queue, lag, enough) for size, queue in queues.items()])


def _queue_figures(size: int, queue: Queue, lag: float, enough: Sequence[int]) -> QueueFigures:
    waits: dict[str, float | None] = dict.fromkeys((f"p{percent}_ms" for percent in PERCENTS), None)
    if queue.sojourn is not None:
        waits |= {f"p{percent}_ms": _ms(float(np.percentile(queue.sojourn, percent)) + lag) for percent in enough}
    return QueueFigures(
        up_to=size,
        keeps_up=queue.sojourn is not None,
        capacity_rows_per_second=round(queue.capacity, 3),
        utilisation=round(queue.utilisation, 4),
        mean_batch=round(queue.batch, 2),
        **waits,
    )
