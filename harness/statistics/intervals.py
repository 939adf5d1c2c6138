"""95% intervals: Wilson's for shares, the bootstrap for functions of counts, others for means over rows and ROC AUC.
docs/statistics.md has their coverage; `by_label` has those of F1s. All know rows in groups (`clusters`).

A confusion matrix has shape (k, k + 1): row = true label, column = answer, last column = rows without a parsed answer.
Resampling n rows and counting them again is drawing its cells from one multinomial distribution, so a million rows cost as much
as a hundred. The statistics below work on r matrices at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.core.record import Estimate
from harness.statistics import clusters as clustering
from harness.statistics.by_label import few_rows_per_label
from harness.statistics.estimates import bounded, logit_interval, plain

Counts = NDArray[Any]
"""Whole numbers, or fractions where there are pseudo-rows."""
Statistic = Callable[[Counts], FloatArray]
"""From r count arrays, shape (r, *counts.shape), to r values; NaN where a value is undefined."""

REPLICATES = 2000
PSEUDO_ROWS = 2.0
"""One right and one wrong; see `pseudo_cells`."""
SMALL_N = 100
"""With fewer rows a share near 0.5 is known to ±0.1 at best (Wilson's interval: 0.096 at 100 rows)."""
SMALL_CLASS = 10
"""With fewer rows of a label its recall, and so its part of macro-F1, is known to ±0.26 at best."""

_COUNTS_AT_ONCE = 4_000_000  # bounds the memory (32 MB) whatever the number of labels
_TAILS = (0.025, 0.975)


def share(hits: BoolArray, clusters: IntArray | None = None) -> Estimate:
    """The share of true entries of `hits`, shape (n,), with Wilson's interval.

    Of rows in groups (`clusters`: their numbers) Wilson's interval of the effective number of rows: n divided by the design
    effect and multiplied by the squared ratio of the quantiles of t with n - 1 and with G - 1 degrees of freedom (Korn and
    Graubard 1998; Dean and Pagano 2015 compare such intervals). No interval for a single group.
    """
    value, n = float(hits.mean()), len(hits)
    if clusters is None:
        low, high = wilson(int(hits.sum()), n)
        return Estimate(value=value, low=low, high=high, method="wilson")
    if clustering.degrees(n, clusters) < 1:
        return plain(value)
    effect = clustering.design_effect(hits.astype(np.float64) - value, clusters)
    effective = n / effect * (clustering.quantile(n, None) / clustering.quantile(n, clusters)) ** 2
    return bounded(value, _wilson(value, effective), clustering.method_of("wilson", clusters))


def _wilson(value: float, n: float) -> tuple[float, float]:
    """Wilson's interval where n is no whole number."""
    z = 1.959963984540054
    middle = (value + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(value * (1 - value) / n + z**2 / (4 * n**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def booted(
    values: Mapping[str, tuple[float, Statistic]],
    counts: Counts,
    pseudo: FloatArray,
    replicates: int = REPLICATES,
    by_group: Counts | None = None,
) -> dict[str, Estimate]:
    """Each value (its statistic of `counts`) with its bootstrap interval, from the same replicates; none where undefined.

    `by_group`: the counts of each group of rows, shape (G, counts.size). Then whole groups are resampled (Field and Welsh
    2007), and the interval is as much wider as Student's t with G - 1 degrees of freedom is than the normal distribution.
    """
    names = [name for name, (value, _) in values.items() if math.isfinite(value)]
    found = _bootstrap(counts, [values[name][1] for name in names], pseudo, replicates, by_group) if names else []
    bounds = dict(zip(names, found, strict=True))
    method = "bc_bootstrap" if by_group is None else "cluster_bc_bootstrap"
    return {name: bounded(value, bounds.get(name), method) for name, (value, _) in values.items()}


def cells_by_group(truth: IntArray, answers: IntArray, k: int, clusters: IntArray | None) -> Counts | None:
    """The confusion matrix of each group of rows, shape (G, k * (k + 1)); None without groups."""
    if clusters is None:
        return None
    found = np.zeros((clustering.group_count(clusters), k * (k + 1)))
    np.add.at(found, (clusters, truth * (k + 1) + answers), 1)
    return found


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95% score interval of a share (Wilson 1927). Raises `ValueError` unless 0 <= successes <= n and n > 0."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def small(n: int, support: Sequence[int] = (), groups: int | None = None) -> str | None:
    """Why `n` rows are few, in words, or None. `support`: rows of each label; labels without rows don't count. `groups`: of
    rows, None without groups."""
    if n < SMALL_N:
        return f"only {n} row{'s' if n > 1 else ''}"
    if groups is not None and groups < clustering.FEWEST_GROUPS:
        return f"only {groups} group{'s' if groups > 1 else ''} of rows"
    if support and (reason := few_rows_per_label(support)):
        return f"too few rows for an interval of macro-F1 ({reason})"
    least = min((rows for rows in support if rows > 0), default=SMALL_CLASS)
    return f"only {least} row{'s' if least > 1 else ''} of one label" if least < SMALL_CLASS else None


def pseudo_cells(cells: Counts) -> FloatArray:
    """One right and one wrong row, spread evenly over the labels that occur (in truth or answers) and their wrong answers.
    Shape (k, k + 1).

    Without them, an interval of answers that are all right has no width, and with few errors it is too narrow. Agresti and
    Coull (1998) add hits and misses to a share likewise. A label that does not occur is no part of macro-F1 and gets nothing.
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
    counts: Counts,
    statistics: Sequence[Statistic],
    pseudo: FloatArray,
    replicates: int,
    by_group: Counts | None,
) -> list[tuple[float, float]]:
    """95% intervals, by resampling the cells of `counts` (any shape) with `pseudo` added; bias-corrected (Efron 1981).
    Undefined replicates are left out; (NaN, NaN) without others."""
    draws = _draws(counts, pseudo, replicates) if by_group is None else _draws_of_groups(by_group, pseudo, replicates)
    values = [[statistic(drawn) for statistic in statistics] for drawn in draws]
    own = [float(statistic((counts + pseudo)[None])[0]) for statistic in statistics]
    found = [bias_corrected(np.concatenate([part[i] for part in values]), own[i]) for i in range(len(statistics))]
    if by_group is None:
        return found
    wider = _wider(len(by_group))
    return [
        (middle - (middle - low) * wider, middle + (high - middle) * wider)
        for (low, high), middle in zip(found, own, strict=True)
    ]


def _wider(groups: int) -> float:
    """How many times: a resample of G groups varies by (G - 1) / G of what it should, and t has longer tails."""
    from scipy.stats import norm, t

    if groups < 2:
        return math.nan
    return float(t.ppf(0.975, groups - 1) / norm.ppf(0.975)) * math.sqrt(groups / (groups - 1))


def _draws_of_groups(by_group: Counts, pseudo: FloatArray, replicates: int) -> Iterator[FloatArray]:
    """As `_draws`, of whole groups; as many pseudo-rows are added as would be drawn among independent rows."""
    rng = np.random.default_rng(0)
    groups, cells = by_group.shape
    added, shares = float(pseudo.sum()), pseudo.reshape(-1) / max(float(pseudo.sum()), 1e-300)
    step = max(1, _COUNTS_AT_ONCE // max(cells, groups))
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=size).astype(np.float64) @ by_group
        scattered = rng.poisson(added, size=size)
        if scattered.sum():
            at = rng.choice(cells, size=int(scattered.sum()), p=shares)
            np.add.at(drawn, (np.repeat(np.arange(size), scattered), at), 1)
        yield drawn.reshape(-1, *pseudo.shape)


def _draws(counts: Counts, pseudo: FloatArray, replicates: int) -> Iterator[FloatArray]:
    """Arrays of shape (r, *counts.shape), `replicates` in all: n rows each, drawn from counts + pseudo.

    The number of rows from `pseudo` is drawn first, and these few are scattered one by one, as most cells are empty.
    """
    rng = np.random.default_rng(0)
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
    """Quantiles of the replicates, at levels that correct for the distance of their mean from the statistic of what they were
    drawn from. Efron takes their median, which jumps where replicates take few values."""
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


def mae(cells: Counts) -> FloatArray:
    """Mean distance between true label and answer; a row without an answer errs by the most it can, max(y, k - 1 - y)."""
    rows = cells.reshape(len(cells), -1)
    return np.asarray(rows @ _distances(cells.shape[1]).ravel() / rows.sum(axis=1))


def qwk(cells: Counts) -> FloatArray:
    """Quadratic weighted kappa (Cohen 1968) of matrices of shape (r, k, k + 1); no answer = the farthest label.
    NaN where truth and answers are all one label."""
    weights = _distances(cells.shape[1]) ** 2
    truth, answers = _margins(cells)
    observed = cells.reshape(len(cells), -1) @ weights.ravel()
    expected = ((truth @ weights[:, :-1]) * answers).sum(axis=1) / truth.sum(axis=1)
    return 1.0 - ratio(observed, expected)


def spearman(cells: Counts) -> FloatArray:
    """Rank correlation of matrices of shape (r, k, k + 1), ties at their mean rank; no answer = the farthest label.
    NaN where the truth or the answers are all one label."""
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


def ratio(above: NDArray[np.generic], below: NDArray[np.generic]) -> FloatArray:
    """above / below, NaN where below is 0."""
    result = np.full(above.shape, np.nan)
    np.divide(above, below, out=result, where=below != 0)
    return result


MANY = 100
"""With more labels than this, the whole confusion matrix is too large to keep, and a bootstrap of it takes minutes."""


def occurring(truth: IntArray, answers: IntArray, k: int) -> tuple[IntArray, IntArray, int]:
    """Truth and answers renumbered to the labels that occur, and how many these are: at least two, so that one can be wrong."""
    seen = np.union1d(truth, answers[answers < k])
    if len(seen) < 2:
        seen = np.union1d(seen, np.array([0, 1]))[:2]
    number = np.full(k + 1, len(seen), dtype=np.int64)
    number[seen] = np.arange(len(seen))
    return number[truth], number[answers], len(seen)


TIED_ROWS = 0.5
"""Added to the rows of the rarer side of each label; see `roc_auc`."""


def mean_of(values: FloatArray, clusters: IntArray | None = None) -> Estimate:
    """The mean of one value per row, shape (n,), with Student's interval corrected for skewness (Hall 1992, "On the removal
    of skewness by transformation", J. R. Stat. Soc. B 54, his second transformation), as losses are skewed. No interval for one
    row, or where all rows are the same. Of rows in groups the same for the sums of the groups' deviations from the mean.
    """
    n, mean = len(values), float(values.mean())
    parts = values - mean if clusters is None else clustering.sums(values - mean, clusters)
    units = len(parts)
    spread = math.sqrt(float((parts**2).sum()) / max(units - 1, 1))
    if units < 2 or spread <= 1e-12 * abs(mean):
        return plain(mean)
    skewness = float((parts**3).mean()) / spread**3
    error = math.sqrt(clustering.variance_of_sum(values - mean, clusters)) / n
    quantile = clustering.quantile(n, clusters)
    low, high = (mean - error * _unskewed(y, skewness, units) for y in (quantile, -quantile))
    return bounded(mean, (low, high), clustering.method_of("skewed_t", clusters))


def _unskewed(y: float, skewness: float, n: int) -> float:
    """The x with x + g x^2 / (3 sqrt n) + g^2 x^3 / (27 n) + g / (6 sqrt n) = y: a cubic that has one."""
    slope = skewness / (3 * math.sqrt(n))
    if abs(slope) < 1e-9:
        return y
    return float((np.cbrt(1 + 3 * slope * (y - slope / 2)) - 1) / slope)


def roc_auc(truth: FloatArray, scores: FloatArray, clusters: IntArray | None = None) -> Estimate:
    """Macro mean of the areas under the curves, one label against the rest, of (n, k) arrays; `truth` of 0s and 1s. Undefined
    where a label occurs never or always.

    Variance: DeLong et al. (1988), of all labels together. The interval is symmetric on the logit scale, so it stays within 0
    and 1. As that variance is far too small where few rows are nearly all in order, the interval with `TIED_ROWS` added counts,
    too. Of rows in groups the variance is that of the influences' sums by group (Obuchowski 1997).
    """
    from scipy.special import ndtri

    area, influence = roc_areas(truth, scores)
    if not math.isfinite(area):
        return plain(area)
    counts = truth.sum(axis=0)
    fewest = float(np.minimum(counts, len(truth) - counts).sum()) / (2 if truth.shape[1] == 2 else 1)
    error, freedom = math.sqrt(clustering.variance_of_sum(influence, clusters)), clustering.degrees(len(truth), clusters)
    if freedom < 1:
        return plain(area)
    quantile = float(ndtri(0.975)) if clusters is None else clustering.quantile(len(truth), clusters)
    fewest /= 1 if clusters is None else clustering.design_effect(influence, clusters)
    kept = fewest / (fewest + TIED_ROWS)  # a tied row has an area of a half
    cautious = logit_interval(kept * area + (1 - kept) / 2, quantile * math.hypot(kept * error, (1 - kept) / 2))
    low, high = logit_interval(area, quantile * error)
    return bounded(area, (min(low, cautious[0]), max(high, cautious[1])), clustering.method_of("delong", clusters))


def roc_areas(truth: FloatArray, scores: FloatArray) -> tuple[float, FloatArray]:
    """The macro mean, and how much each row contributes to its error, shape (n,)."""
    n, k = truth.shape
    influence = np.zeros(n)
    areas = []
    for label in range(k):
        positive = truth[:, label] > 0
        hits = int(positive.sum())
        if hits in (0, n):
            return math.nan, influence
        places = _ahead_of(positive, scores[:, label])
        area = float(places[positive].mean())
        influence += (places - area) / np.where(positive, hits, n - hits) / k
        areas.append(area)
    return float(np.mean(areas)), influence


def _ahead_of(positive: BoolArray, scores: FloatArray) -> FloatArray:
    """Of each row the share of the rows of the other kind that it is on the right side of; a tie is half of one."""
    _, level = np.unique(scores, return_inverse=True)
    every, ours = np.bincount(level), np.bincount(level, weights=positive)
    others = every - ours
    below = np.cumsum(others) - others / 2  # negatives with lower scores
    above = ours.sum() - (np.cumsum(ours) - ours / 2)  # positives with higher ones
    return np.asarray(np.where(positive, below[level] / others.sum(), above[level] / ours.sum()))
