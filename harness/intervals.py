"""95% intervals: Wilson's for shares, the percentile bootstrap for what is a function of counts.

A confusion matrix here has shape (k, k + 1): row = true label, column = answer, last column = rows without a parsed
answer. Resampling n rows with replacement and counting them again is drawing its cells from one multinomial
distribution, so a million rows cost what a hundred cost. The statistics below work on r matrices at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
Statistic = Callable[[IntArray], FloatArray]
"""From r resampled count arrays, shape (r, *counts.shape), to r values; NaN where a value is undefined."""

_COUNTS_AT_ONCE = 4_000_000  # bounds the memory (32 MB of int64) whatever the number of labels


class MetricValue(TypedDict):
    """A number and its 95% interval; None (never NaN) where it is undefined or there is no interval."""

    value: float | None
    low: float | None
    high: float | None
    method: Literal["wilson", "bootstrap"] | None


def share(hits: BoolArray) -> MetricValue:
    """The share of true entries of `hits`, shape (n,), with Wilson's interval."""
    low, high = wilson(int(hits.sum()), len(hits))
    return {"value": float(hits.mean()), "low": low, "high": high, "method": "wilson"}


def booted(value: float, counts: IntArray, statistic: Statistic) -> MetricValue:
    """`value`, which is `statistic` of `counts`, with its bootstrap interval (none where the value is undefined)."""
    if not math.isfinite(value):
        return plain(value)
    low, high = bootstrap_cells(counts, statistic)
    return {"value": float(value), "low": finite(low), "high": finite(high), "method": "bootstrap"}


def plain(value: float) -> MetricValue:
    """A number without an interval."""
    return {"value": finite(value), "low": None, "high": None, "method": None}


def finite(value: float) -> float | None:
    """None for NaN and the infinities, which strict JSON has no words for."""
    return float(value) if math.isfinite(value) else None


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95% score interval of a share (Wilson 1927). Raises `ValueError` unless 0 <= successes <= n and n > 0."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_cells(counts: IntArray, statistic: Statistic, replicates: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95% percentile bootstrap interval (Efron 1979) of `statistic`, by resampling the cells of `counts` (any shape).

    Replicates where the statistic is undefined (NaN) are left out; (NaN, NaN) if that is all of them. Where every
    replicate gives the same value (one row, or answers that are all correct) the interval has no width: the bootstrap
    knows only what it saw.
    """
    rng = np.random.default_rng(seed)
    flat = counts.reshape(-1)
    filled = np.flatnonzero(flat)  # an empty cell stays empty: the multinomial never gets a chance to round into it
    shares = flat[filled] / flat.sum()
    values = []
    step = max(1, _COUNTS_AT_ONCE // flat.size)
    for start in range(0, replicates, step):
        drawn = np.zeros((min(step, replicates - start), flat.size), dtype=np.int64)
        drawn[:, filled] = rng.multinomial(flat.sum(), shares, size=len(drawn))
        values.append(statistic(drawn.reshape(-1, *counts.shape)))
    every = np.concatenate(values)
    defined = every[~np.isnan(every)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, (0.025, 0.975))
    return float(low), float(high)


def farthest_labels(k: int) -> IntArray:
    """For each of k labels the one farthest from it, shape (k,); the middle one's is at the low end."""
    index = np.arange(k, dtype=np.int64)
    return np.where(index >= k - 1 - index, 0, k - 1).astype(np.int64)


def macro_f1(cells: IntArray) -> FloatArray:
    """Mean F1 of the labels, of matrices of shape (r, k, k + 1); a label in neither truth nor answers is left out."""
    return _mean_of_defined(_f1_per_label(cells))


def weighted_f1(cells: IntArray) -> FloatArray:
    """F1 of the labels weighted by their rows, of matrices of shape (r, k, k + 1)."""
    support = cells.sum(axis=2)
    f1 = np.nan_to_num(_f1_per_label(cells))  # undefined only where the weight is 0
    return np.asarray((f1 * support).sum(axis=1) / support.sum(axis=1))


def mae(cells: IntArray) -> FloatArray:
    """Mean distance between true label and answer; a row without an answer errs by the most it can, max(y, k - 1 - y)."""
    k = cells.shape[1]
    index = np.arange(k)
    distance = np.abs(index[:, None] - np.concatenate([index, [0]])[None, :])
    distance[:, k] = np.abs(index - farthest_labels(k))
    return np.asarray(np.einsum("rij,ij->r", cells, distance) / cells.sum(axis=(1, 2)))


def qwk(cells: IntArray) -> FloatArray:
    """Quadratic weighted kappa (Cohen 1968) of matrices of shape (r, k, k + 1); no answer = the farthest label.

    NaN where truth and answers are all one and the same label.
    """
    k = cells.shape[1]
    answered = cells[:, :, :k].copy()
    answered[:, np.arange(k), farthest_labels(k)] += cells[:, :, k]
    index = np.arange(k)
    weights = (index[:, None] - index[None, :]) ** 2
    truth, answers = answered.sum(axis=2).astype(np.float64), answered.sum(axis=1)
    observed = np.einsum("rij,ij->r", answered, weights)
    expected = ((truth @ weights) * answers).sum(axis=1) / truth.sum(axis=1)
    return 1.0 - _ratio(observed, expected)


def multilabel_f1(truth: IntArray, answers: IntArray, *, micro: bool) -> Statistic:
    """Micro or macro F1 as a function of how often each of m patterns occurs: 0/1 arrays (m, k), counts (r, m)."""

    def statistic(counts: IntArray) -> FloatArray:
        hits, found, asked = counts @ (truth & answers), counts @ answers, counts @ truth
        if micro:
            return _ratio(2 * hits.sum(axis=1), (found + asked).sum(axis=1))
        return _mean_of_defined(_ratio(2 * hits, found + asked))

    return statistic


def hamming(truth: IntArray, answers: IntArray) -> Statistic:
    """Share of the labels that are wrong; arguments as for `multilabel_f1`."""
    wrong = (truth != answers).mean(axis=1)
    return lambda counts: np.asarray(counts @ wrong / counts.sum(axis=1))


def _f1_per_label(cells: IntArray) -> FloatArray:
    """Shape (r, k). The column without answers adds to a label's misses and belongs to no label."""
    k = cells.shape[1]
    hits = np.diagonal(cells, axis1=1, axis2=2)  # the shorter side: k entries
    return _ratio(2 * hits, cells.sum(axis=2) + cells[:, :, :k].sum(axis=1))


def _mean_of_defined(values: FloatArray) -> FloatArray:
    return _ratio(np.nan_to_num(values).sum(axis=1), (~np.isnan(values)).sum(axis=1))


def _ratio(above: NDArray[np.generic], below: NDArray[np.generic]) -> FloatArray:
    """above / below, NaN where below is 0."""
    result = np.full(above.shape, np.nan)
    np.divide(above, below, out=result, where=below != 0)
    return result
