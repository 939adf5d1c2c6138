"""95% intervals: Wilson's for shares, the bootstrap for what is a function of counts. docs/statistics.md has their coverage.

A confusion matrix here has shape (k, k + 1): row = true label, column = answer, last column = rows without a parsed
answer. Resampling n rows with replacement and counting them again is drawing its cells from one multinomial
distribution, so a million rows cost what a hundred cost. The statistics below work on r matrices at once.

`row_intervals.py` has the intervals of what is no function of counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from harness.core.types import BoolArray, FloatArray, IntArray

Counts = NDArray[Any]
"""How often each of some things was seen: whole numbers, or fractions where pseudo-rows are among them."""
Statistic = Callable[[Counts], FloatArray]
"""From r count arrays, shape (r, *counts.shape), to r values; NaN where a value is undefined."""
Method = Literal["wilson", "bc_bootstrap", "skewed_t", "delong"]

REPLICATES = 2000
PSEUDO_ROWS = 2.0
"""One right and one wrong; see `pseudo_cells`."""
SMALL_N = 100
"""With fewer rows a share near a half is known to about ±0.1 at best (Wilson's interval: 0.096 at 100 rows)."""
SMALL_CLASS = 10
"""With fewer rows of a label its recall, and so its part of macro-F1, is known to ±0.26 at best."""

_COUNTS_AT_ONCE = 4_000_000  # bounds the memory (32 MB) whatever the number of labels
_TAILS = (0.025, 0.975)


class MetricValue(TypedDict):
    """A number and its 95% interval; None (never NaN) where it is undefined or there is no interval."""

    value: float | None
    low: float | None
    high: float | None
    method: Method | None


def share(hits: BoolArray) -> MetricValue:
    """The share of true entries of `hits`, shape (n,), with Wilson's interval."""
    low, high = wilson(int(hits.sum()), len(hits))
    return {"value": float(hits.mean()), "low": low, "high": high, "method": "wilson"}


def booted(
    values: Mapping[str, tuple[float, Statistic]], counts: Counts, pseudo: FloatArray, replicates: int = REPLICATES
) -> dict[str, MetricValue]:
    """Each value (which is its statistic of `counts`) with its bootstrap interval, all from the same replicates.

    A value that is undefined has no interval.
    """
    names = [name for name, (value, _) in values.items() if math.isfinite(value)]
    found = _bootstrap(counts, [values[name][1] for name in names], pseudo, replicates, 0) if names else []
    bounds = dict(zip(names, found, strict=True))
    return {name: bounded(value, bounds.get(name), "bc_bootstrap") for name, (value, _) in values.items()}


def bounded(value: float, interval: tuple[float, float] | None, method: Method) -> MetricValue:
    """`value` with its interval, which holds the value itself; without one where either is undefined, or where it would have
    no width and so claim to be certain."""
    if interval is None or not math.isfinite(value) or not all(map(math.isfinite, interval)):
        return plain(value)
    low, high = min(interval[0], value), max(interval[1], value)
    if low == high:
        return plain(value)
    return {"value": float(value), "low": float(low), "high": float(high), "method": method}


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


def small(n: int, support: Sequence[int] = ()) -> str | None:
    """Why `n` rows are few to judge by, in plain words, or None. `support`: rows of each label; those without any don't count.

    `small(metrics["n"], [label["support"] for label in metrics["per_class"]])`.
    """
    if n < SMALL_N:
        return f"only {n} row{'s' if n > 1 else ''}"
    least = min((rows for rows in support if rows > 0), default=SMALL_CLASS)
    return f"only {least} row{'s' if least > 1 else ''} of one label" if least < SMALL_CLASS else None


def bootstrap_cells(
    counts: Counts, statistic: Statistic, pseudo: FloatArray | None = None, replicates: int = REPLICATES, seed: int = 0
) -> tuple[float, float]:
    """95% bootstrap interval of `statistic`, by resampling the cells of `counts` (any shape); bias-corrected (Efron 1981).

    `pseudo` are fractions of rows that are added to the cells first, of the same shape (default: none). Replicates where the
    statistic is undefined (NaN) are left out; (NaN, NaN) if that is all of them.
    """
    return _bootstrap(counts, [statistic], np.zeros(counts.shape) if pseudo is None else pseudo, replicates, seed)[0]


def pseudo_cells(cells: Counts) -> FloatArray:
    """One right row and one wrong one, spread evenly over the labels that occur (in truth or answers) and the wrong answers
    they allow. Shape (k, k + 1).

    Resampled alone, answers that are all right never err: the interval would have no width, and where few err it is still too
    narrow. Agresti and Coull (1998) mend the interval of a share by adding hits and misses, and so does this. A label that
    occurs nowhere is no part of macro-F1 and gets no share.
    """
    k = cells.shape[0]
    seen = (cells.sum(axis=1) + cells[:, :k].sum(axis=0)) > 0
    each = PSEUDO_ROWS / 2 * seen / seen.sum()
    others = seen[None, :] & ~np.eye(k, dtype=bool)
    if seen.sum() == 1:
        others = ~np.eye(k, dtype=bool)  # there is no other to err to
    wrong = others / np.maximum(others.sum(axis=1, keepdims=True), 1)
    added = np.zeros((k, k + 1))
    added[:, :k] = each[:, None] * (wrong + np.eye(k))
    return added


def _bootstrap(
    counts: Counts, statistics: Sequence[Statistic], pseudo: FloatArray, replicates: int, seed: int
) -> list[tuple[float, float]]:
    values = [[statistic(drawn) for statistic in statistics] for drawn in _draws(counts, pseudo, replicates, seed)]
    own = (counts + pseudo)[None]
    return [
        bias_corrected(np.concatenate([part[i] for part in values]), float(statistic(own)[0]))
        for i, statistic in enumerate(statistics)
    ]


def _draws(counts: Counts, pseudo: FloatArray, replicates: int, seed: int) -> Iterator[FloatArray]:
    """Arrays of shape (r, *counts.shape), `replicates` in all: n rows each, drawn from counts + pseudo.

    How many rows come of `pseudo` is drawn first, and they are scattered one by one: there are few, and the cells that
    were seen are often few among many.
    """
    rng = np.random.default_rng(seed)
    flat, extra = counts.reshape(-1), pseudo.reshape(-1)
    n, added = int(flat.sum()), float(extra.sum())
    filled = np.flatnonzero(flat)  # an empty cell stays empty: the multinomial never gets a chance to round into it
    step = max(1, _COUNTS_AT_ONCE // flat.size)
    for start in range(0, replicates, step):
        drawn = np.zeros((min(step, replicates - start), flat.size))
        scattered = rng.binomial(n, added / (n + added), size=len(drawn))
        drawn[:, filled] = rng.multinomial(n - scattered, flat[filled] / n)
        if added:
            cells = rng.choice(flat.size, size=int(scattered.sum()), p=extra / added)
            np.add.at(drawn, (np.repeat(np.arange(len(drawn)), scattered), cells), 1)
        yield drawn.reshape(-1, *counts.shape)


def bias_corrected(values: FloatArray, own: float) -> tuple[float, float]:
    """Quantiles of the replicates, at levels that make up for how far their mean lies from the statistic of what they were
    drawn from. Efron takes their median, which jumps where few rows err and the replicates take few values."""
    from scipy.special import ndtr, ndtri

    defined = values[~np.isnan(values)]
    if not defined.size or math.isnan(own):
        return math.nan, math.nan
    spread = float(defined.std())
    shift = (own - float(defined.mean())) / spread if spread > 0 else 0.0
    low, high = np.quantile(defined, ndtr(2 * shift + ndtri(np.array(_TAILS))))
    return float(low), float(high)


def farthest_labels(k: int) -> IntArray:
    """For each of k labels the one farthest from it, shape (k,); the middle one's is at the low end."""
    index = np.arange(k, dtype=np.int64)
    return np.where(index >= k - 1 - index, 0, k - 1).astype(np.int64)


def accuracy(cells: Counts) -> FloatArray:
    """Share of the rows on the diagonal, of matrices of shape (r, k, k + 1)."""
    return np.asarray(np.trace(cells, axis1=1, axis2=2) / cells.sum(axis=(1, 2)))


def macro_f1(cells: Counts) -> FloatArray:
    """Mean F1 of the labels, of matrices of shape (r, k, k + 1); a label in neither truth nor answers is left out."""
    return mean_of_defined(_f1_per_label(cells))


def weighted_f1(cells: Counts) -> FloatArray:
    """F1 of the labels weighted by their rows, of matrices of shape (r, k, k + 1)."""
    support = cells.sum(axis=2)
    f1 = np.nan_to_num(_f1_per_label(cells))  # undefined only where the weight is 0
    return np.asarray((f1 * support).sum(axis=1) / support.sum(axis=1))


def mae(cells: Counts) -> FloatArray:
    """Mean distance between true label and answer; a row without an answer errs by the most it can, max(y, k - 1 - y)."""
    rows = cells.reshape(len(cells), -1)
    return np.asarray(rows @ _distances(cells.shape[1]).ravel() / rows.sum(axis=1))


def qwk(cells: Counts) -> FloatArray:
    """Quadratic weighted kappa (Cohen 1968) of matrices of shape (r, k, k + 1); no answer = the farthest label.

    NaN where truth and answers are all one and the same label.
    """
    weights = _distances(cells.shape[1]) ** 2
    truth, answers = _margins(cells)
    observed = cells.reshape(len(cells), -1) @ weights.ravel()
    expected = ((truth @ weights[:, :-1]) * answers).sum(axis=1) / truth.sum(axis=1)
    return 1.0 - ratio(observed, expected)


def spearman(cells: Counts) -> FloatArray:
    """Rank correlation of matrices of shape (r, k, k + 1), ties at their mean rank; no answer = the farthest label.

    NaN where the truth or the answers are all one label.
    """
    k = cells.shape[1]
    truth, answers = _margins(cells)
    # The mean rank of a label, less that of all rows: half of the rows below it, minus half of those above.
    ranks = [(np.cumsum(rows, axis=1) - rows / 2) - rows.sum(axis=1, keepdims=True) / 2 for rows in (truth, answers)]
    filled = cells[:, :, :k].astype(np.float64)
    filled[:, np.arange(k), farthest_labels(k)] += cells[:, :, k]
    together = ((filled @ ranks[1][:, :, None])[:, :, 0] * ranks[0]).sum(axis=1)
    spread = (truth * ranks[0] ** 2).sum(axis=1) * (answers * ranks[1] ** 2).sum(axis=1)
    return ratio(together, np.sqrt(spread))


def _distances(k: int) -> FloatArray:
    """Between true label and answer, shape (k, k + 1); no answer is at the farthest label."""
    index = np.arange(k)
    answers = np.concatenate([np.broadcast_to(index, (k, k)), farthest_labels(k)[:, None]], axis=1)
    return np.asarray(np.abs(index[:, None] - answers), dtype=np.float64)


def _margins(cells: Counts) -> tuple[Counts, Counts]:
    """Rows of each true label and of each answer, both of shape (r, k); no answer = the farthest label."""
    k = cells.shape[1]
    return cells.sum(axis=2), cells[:, :, :k].sum(axis=1) + cells[:, :, k] @ np.eye(k)[farthest_labels(k)]


def _f1_per_label(cells: Counts) -> FloatArray:
    """Shape (r, k). The column without answers adds to a label's misses and belongs to no label."""
    k = cells.shape[1]
    hits = np.diagonal(cells, axis1=1, axis2=2)  # the shorter side: k entries
    return ratio(2 * hits, cells.sum(axis=2) + cells[:, :, :k].sum(axis=1))


def mean_of_defined(values: FloatArray) -> FloatArray:
    """Row means of (r, k) values without those that are NaN; NaN where all are."""
    return ratio(np.nan_to_num(values).sum(axis=1), (~np.isnan(values)).sum(axis=1))


def ratio(above: NDArray[np.generic], below: NDArray[np.generic]) -> FloatArray:
    """above / below, NaN where below is 0."""
    result = np.full(above.shape, np.nan)
    np.divide(above, below, out=result, where=below != 0)
    return result
