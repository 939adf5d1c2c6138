"""From measured times to what a user waits: percentiles with their uncertainty, and a queue fed at a given rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]

PERCENTS = (50, 95, 99)
ABOVE = 10
"""Observations that must lie above a percentile: p50 needs 20 of them in all, p95 200, p99 1,000."""

ARRIVALS = 50_000
"""Rows that arrive in a simulation; the first tenth fills the queue and is not counted."""


@dataclass(frozen=True, slots=True)
class Percentile:
    """An observed time such that `percent` of all are no longer, with its 95% interval; in seconds."""

    percent: int
    value: float
    low: float | None
    high: float | None


def needed(percent: int) -> int:
    """Observations from which on a percentile is given."""
    return -(-ABOVE * 100 // (100 - percent))


def percentiles(seconds: Seconds) -> dict[int, Percentile | None]:
    """Of each of `PERCENTS`: None where fewer than `ABOVE` observations would lie above it.

    The interval is the distribution-free one between order statistics, which takes the observations as independent; None
    at an end that they are too few for.
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
    """A queue in front of one engine. `sojourn`: seconds from arrival to answer, shape (rows,); None where it can't keep up."""

    capacity: float
    """Rows a second that the engine can do when rows always wait."""
    utilisation: float
    """Share of the time that the engine is at work; 1 where it can't keep up."""
    sojourn: Seconds | None
    batch: float
    """Mean rows that were computed together."""


def one_at_a_time(service: Seconds, rate: float, rows: int = ARRIVALS, seed: int = 0) -> Queue:
    """First come, first served, a row at a time: `rate` rows a second arrive at random (a Poisson process), and each takes a
    time drawn from `service` (M/G/1)."""
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
    """When each row is done, first come, first served: a row begins when it is there and the one before it is done.

    Lindley's recursion, `left[i] = max(arrived[i], left[i-1]) + service[i]`, as running sums and maxima.
    """
    done = np.cumsum(service)
    return np.asarray(done + np.maximum.accumulate(arrived - (done - service)))


def in_batches(times: Mapping[int, Seconds], rate: float, rows: int = ARRIVALS, seed: int = 0) -> Queue:
    """As `one_at_a_time`, but whenever the engine is free it takes all rows that wait, up to the largest batch.

    `times`: rows a batch -> measured seconds of such batches. The time of another size lies between those of its neighbours,
    at the same quantile of both.
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


def figures(seconds: Seconds, rows: int) -> dict[str, Any]:
    """Of timed batches of so many rows, as a record holds them; `seconds`, shape (batches,)."""
    return {
        **_percentiles_ms(seconds),
        "mean_ms": _ms(float(seconds.mean())),
        "rows_per_second": round(rows * len(seconds) / float(seconds.sum()), 3),
    }


def _percentiles_ms(seconds: Seconds) -> dict[str, Any]:
    """`p50_ms`, ...: None where there are too few observations; `intervals_ms`: their 95% intervals."""
    found = percentiles(seconds)
    values = {f"p{percent}_ms": None if at is None else _ms(at.value) for percent, at in found.items()}
    intervals = {
        f"p{percent}": [None if end is None else _ms(end) for end in (at.low, at.high)]
        for percent, at in found.items()
        if at is not None
    }
    return {**values, "intervals_ms": intervals}


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 4)


def arrivals(times: Mapping[int, Seconds], rate: float, lag: float) -> dict[str, Any]:
    """What a row waits where `rate` rows a second arrive: a row at a time, and in batches of what waits; as a record holds it.

    `times`: rows a batch -> measured seconds of such batches, with a row at a time among them. `lag`: seconds that a network
    adds; it does not keep the engine busy.
    """
    ways = {1: one_at_a_time(times[1], rate)}
    if len(times) > 1:
        ways[max(times)] = in_batches(times, rate)
    enough = _percentiles_ms(times[1])  # a simulated tail is no better known than the one it was drawn from
    return {
        "rows_per_second": rate,
        "queues": [
            {
                "up_to": size,
                "keeps_up": queue.sojourn is not None,
                "capacity_rows_per_second": round(queue.capacity, 3),
                "utilisation": round(queue.utilisation, 4),
                "mean_batch": round(queue.batch, 2),
                **{
                    key: None if queue.sojourn is None or enough[key] is None else value
                    for key, value in _waits(queue.sojourn, lag).items()
                },
            }
            for size, queue in ways.items()
        ],
    }


def _waits(sojourn: Seconds | None, lag: float) -> dict[str, float | None]:
    if sojourn is None:
        return {"p50_ms": None, "p95_ms": None, "p99_ms": None}
    return {f"p{percent}_ms": _ms(float(np.percentile(sojourn, percent)) + lag) for percent in (50, 95, 99)}
