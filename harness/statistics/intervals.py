"""95% intervals: Wilson's for shares, the bootstrap for functions of counts, others for means over rows and ROC AUC.
docs/statistics.md has their coverage.

A confusion matrix has shape (k, k + 1): row = true label, column = answer, last column = rows without a parsed answer.
Resampling n rows and counting them again is drawing its cells from one multinomial distribution, so a million rows cost as much
as a hundred. The statistics below work on r matrices at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.core.record import Estimate

if TYPE_CHECKING:
    from scipy import sparse

Counts = NDArray[Any]
"""Whole numbers, or fractions where there are pseudo-rows."""
Statistic = Callable[[Counts], FloatArray]
"""From r count arrays, shape (r, *counts.shape), to r values; NaN where a value is undefined."""
Method = Literal["wilson", "bc_bootstrap", "skewed_t", "delong"]

REPLICATES = 2000
PSEUDO_ROWS = 2.0
"""One right and one wrong; see `pseudo_cells`."""
SMALL_N = 100
"""With fewer rows a share near 0.5 is known to ±0.1 at best (Wilson's interval: 0.096 at 100 rows)."""
SMALL_CLASS = 10
"""With fewer rows of a label its recall, and so its part of macro-F1, is known to ±0.26 at best."""

_COUNTS_AT_ONCE = 4_000_000  # bounds the memory (32 MB) whatever the number of labels
_TAILS = (0.025, 0.975)


def share(hits: BoolArray) -> Estimate:
    """The share of true entries of `hits`, shape (n,), with Wilson's interval."""
    low, high = wilson(int(hits.sum()), len(hits))
    return Estimate(value=float(hits.mean()), low=low, high=high, method="wilson")


def booted(
    values: Mapping[str, tuple[float, Statistic]], counts: Counts, pseudo: FloatArray, replicates: int = REPLICATES
) -> dict[str, Estimate]:
    """Each value (its statistic of `counts`) with its bootstrap interval, from the same replicates; none where undefined."""
    names = [name for name, (value, _) in values.items() if math.isfinite(value)]
    found = _bootstrap(counts, [values[name][1] for name in names], pseudo, replicates, 0) if names else []
    bounds = dict(zip(names, found, strict=True))
    return {name: bounded(value, bounds.get(name), "bc_bootstrap") for name, (value, _) in values.items()}


def bounded(value: float, interval: tuple[float, float] | None, method: Method) -> Estimate:
    """`value` with its interval, which is made to include the value; None where either is undefined, or it has no width."""
    if interval is None or not math.isfinite(value) or not all(map(math.isfinite, interval)):
        return plain(value)
    low, high = min(interval[0], value), max(interval[1], value)
    if low == high:
        return plain(value)
    return Estimate(value=float(value), low=float(low), high=float(high), method=method)


def plain(value: float) -> Estimate:
    """A number without an interval."""
    return Estimate(value=finite(value), low=None, high=None, method=None)


def finite(value: float) -> float | None:
    """None for NaN and the infinities, which strict JSON lacks."""
    return float(value) if math.isfinite(value) else None


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95% score interval of a share (Wilson 1927). Raises `ValueError` unless 0 <= successes <= n and n > 0."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def small(n: int, support: Sequence[int] = ()) -> str | None:
    """Why `n` rows are few, in words, or None. `support`: rows of each label; labels without rows don't count."""
    if n < SMALL_N:
        return f"only {n} row{'s' if n > 1 else ''}"
    least = min((rows for rows in support if rows > 0), default=SMALL_CLASS)
    return f"only {least} row{'s' if least > 1 else ''} of one label" if least < SMALL_CLASS else None


def bootstrap_cells(
    counts: Counts, statistic: Statistic, pseudo: FloatArray | None = None, replicates: int = REPLICATES, seed: int = 0
) -> tuple[float, float]:
    """95% bootstrap interval of `statistic`, by resampling the cells of `counts` (any shape); bias-corrected (Efron 1981).

    `pseudo`: fractions of rows that are added to the cells first. Undefined replicates are left out; (NaN, NaN) without others.
    """
    return _bootstrap(counts, [statistic], np.zeros(counts.shape) if pseudo is None else pseudo, replicates, seed)[0]


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

    The number of rows from `pseudo` is drawn first, and these few are scattered one by one, as most cells are empty.
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


MANY = 100
"""With more labels than this, a bootstrap of the whole confusion matrix takes minutes (2,000 labels: 81 s)."""

Margins = tuple[FloatArray, FloatArray, FloatArray]
"""Rows that are right, rows by true label, rows by answer: each of shape (r, labels)."""


def booted_f1(
    truth: IntArray, answers: IntArray, k: int, values: Mapping[str, float], replicates: int = REPLICATES
) -> dict[str, Estimate]:
    """The bootstrap intervals of `values`, macro_f1 and weighted_f1 of the labels 0 to k - 1; the answer k is none. k >= 2."""
    truth, answers, labels = occurring(truth, answers, k)
    drawn = [_f1s(margins) for margins in _drawn_margins(truth, answers, labels, replicates)]
    own = _f1s(_expected_margins(truth, answers, labels))
    return {
        name: bounded(
            value, bias_corrected(np.concatenate([part[name] for part in drawn]), float(own[name][0])), "bc_bootstrap"
        )
        for name, value in values.items()
    }


def occurring(truth: IntArray, answers: IntArray, k: int) -> tuple[IntArray, IntArray, int]:
    """Truth and answers renumbered to the labels that occur, and how many these are: at least two, so that one can be wrong."""
    seen = np.union1d(truth, answers[answers < k])
    if len(seen) < 2:
        seen = np.union1d(seen, np.array([0, 1]))[:2]
    number = np.full(k + 1, len(seen), dtype=np.int64)
    number[seen] = np.arange(len(seen))
    return number[truth], number[answers], len(seen)


def _drawn_margins(truth: IntArray, answers: IntArray, k: int, replicates: int) -> Iterator[Margins]:
    """As many rows as there are, drawn from the rows and from one right and one wrong pseudo-row (`pseudo_cells`)."""
    rng = np.random.default_rng(0)
    n = len(truth)
    cells, counts = np.unique(np.stack([truth, answers]), axis=1, return_counts=True)
    of_cells = _margin_matrices(cells[0], cells[1], k)
    step = max(1, _COUNTS_AT_ONCE // max(cells.shape[1], 3 * k))
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        pseudo = rng.binomial(n, PSEUDO_ROWS / (n + PSEUDO_ROWS), size=size)
        drawn = rng.multinomial(n - pseudo, counts / n).astype(np.float64)
        hits, true, named = (np.asarray((matrix.T @ drawn.T).T) for matrix in of_cells)
        at = np.repeat(np.arange(size), pseudo)
        label = rng.integers(k, size=len(at))
        right = rng.random(len(at)) < 0.5
        other = (label + rng.integers(1, k, size=len(at))) % k
        np.add.at(hits, (at[right], label[right]), 1)
        np.add.at(true, (at, label), 1)
        np.add.at(named, (at, np.where(right, label, other)), 1)
        yield hits, true, named


def _margin_matrices(truth: IntArray, answers: IntArray, k: int) -> list[sparse.csr_array]:
    """What turns counts of cells into counts of hits, of true labels and of answers; each of shape (cells, k)."""
    from scipy import sparse

    here = np.arange(len(truth))
    right, answered = truth == answers, answers < k
    return [
        sparse.csr_array((np.ones(int(chosen.sum())), (here[chosen], label[chosen])), shape=(len(truth), k))
        for chosen, label in ((right, truth), (np.ones(len(truth), dtype=bool), truth), (answered, answers))
    ]


def _expected_margins(truth: IntArray, answers: IntArray, k: int) -> Margins:
    """What the draws have on average, but for a factor."""
    share = PSEUDO_ROWS / 2 / k
    hits, true, named = (
        np.bincount(part, minlength=k + 1)[None, :k].astype(np.float64) for part in (truth[truth == answers], truth, answers)
    )
    return hits + share, true + 2 * share, named + 2 * share


def _f1s(margins: Margins) -> dict[str, FloatArray]:
    hits, true, named = margins
    f1 = ratio(2 * hits, true + named)
    weighted = (np.nan_to_num(f1) * true).sum(axis=1) / true.sum(axis=1)
    return {"macro_f1": mean_of_defined(f1), "weighted_f1": np.asarray(weighted)}


def multilabel_intervals(values: Mapping[str, float], truth: IntArray, answers: IntArray) -> dict[str, Estimate]:
    """`values` of micro_f1, macro_f1 and hamming_loss with their intervals; 0/1 arrays of shape (n, k)."""
    k = truth.shape[1]
    patterns, counts = np.unique(np.hstack([truth, answers]), axis=0, return_counts=True)
    added, weights = _pseudo_patterns((truth + answers).sum(axis=0) > 0)
    every = np.concatenate([patterns, added])
    truth_of, answer_of = every[:, :k], every[:, k:]
    statistics = {
        "micro_f1": pattern_f1(truth_of, answer_of, micro=True),
        "macro_f1": pattern_f1(truth_of, answer_of, micro=False),
        "hamming_loss": pattern_hamming(truth_of, answer_of),
    }
    counts = np.concatenate([counts, np.zeros(len(added), dtype=np.int64)])
    pseudo = np.concatenate([np.zeros(len(patterns)), weights])
    return booted({name: (value, statistics[name]) for name, value in values.items()}, counts, pseudo)


def pattern_f1(truth: IntArray, answers: IntArray, *, micro: bool) -> Statistic:
    """Micro or macro F1 as a function of how often each of m patterns occurs: 0/1 arrays (m, k), counts (r, m)."""
    # as floats: whole numbers are multiplied many times slower
    hits_of, sizes_of = (truth & answers).astype(np.float64), (truth + answers).astype(np.float64)

    def statistic(counts: Counts) -> FloatArray:
        hits, sizes = counts @ hits_of, counts @ sizes_of
        if micro:
            return ratio(2 * hits.sum(axis=1), sizes.sum(axis=1))
        return mean_of_defined(ratio(2 * hits, sizes))

    return statistic


def pattern_hamming(truth: IntArray, answers: IntArray) -> Statistic:
    """Share of the labels that are wrong; arguments as for `pattern_f1`."""
    wrong = (truth != answers).mean(axis=1)
    return lambda counts: np.asarray(counts @ wrong / counts.sum(axis=1))


def _pseudo_patterns(occurs: BoolArray) -> tuple[IntArray, FloatArray]:
    """The counterpart of `pseudo_cells`: rows of one label each, half of them right, a quarter missing it, and a quarter
    naming it for nothing. Shapes (m, 2k) and (m,)."""
    k = len(occurs)
    labels = np.flatnonzero(occurs) if occurs.any() else np.arange(k)
    one, none = np.eye(k, dtype=np.int64)[labels], np.zeros((len(labels), k), dtype=np.int64)
    patterns = np.concatenate([np.hstack([one, one]), np.hstack([one, none]), np.hstack([none, one])])
    return patterns, np.repeat([PSEUDO_ROWS / 2, PSEUDO_ROWS / 4, PSEUDO_ROWS / 4], len(labels)) / len(labels)


TIED_ROWS = 0.5
"""Added to the rows of the rarer side of each label; see `roc_auc`."""


def mean_of(values: FloatArray) -> Estimate:
    """The mean of one value per row, shape (n,), with Student's interval corrected for skewness (Hall 1992, "On the removal
    of skewness by transformation", J. R. Stat. Soc. B 54, his second transformation), as losses are skewed. No interval for one
    row, or where all rows are the same.
    """
    from scipy.stats import t

    n, mean = len(values), float(values.mean())
    spread = float(values.std(ddof=1)) if n > 1 else 0.0
    if spread <= 1e-12 * abs(mean):
        return plain(mean)
    skewness = float(((values - mean) ** 3).mean()) / spread**3
    quantile, error = float(t.ppf(0.975, n - 1)), spread / math.sqrt(n)
    low, high = (mean - error * _unskewed(y, skewness, n) for y in (quantile, -quantile))
    return bounded(mean, (low, high), "skewed_t")


def _unskewed(y: float, skewness: float, n: int) -> float:
    """The x with x + g x^2 / (3 sqrt n) + g^2 x^3 / (27 n) + g / (6 sqrt n) = y: a cubic that has one."""
    slope = skewness / (3 * math.sqrt(n))
    if abs(slope) < 1e-9:
        return y
    return float((np.cbrt(1 + 3 * slope * (y - slope / 2)) - 1) / slope)


def roc_auc(truth: FloatArray, scores: FloatArray) -> Estimate:
    """Macro mean of the areas under the curves, one label against the rest, of (n, k) arrays; `truth` of 0s and 1s. Undefined
    where a label occurs never or always.

    Variance: DeLong et al. (1988), of all labels together. The interval is symmetric on the logit scale, so it stays within 0
    and 1. As that variance is far too small where few rows are nearly all in order, the interval with `TIED_ROWS` added counts,
    too.
    """
    area, influence = _areas(truth, scores)
    if not math.isfinite(area):
        return plain(area)
    counts = truth.sum(axis=0)
    fewest = float(np.minimum(counts, len(truth) - counts).sum()) / (2 if truth.shape[1] == 2 else 1)
    error = _area_error(influence)
    kept = fewest / (fewest + TIED_ROWS)  # a tied row has an area of a half
    cautious = _logit_interval(kept * area + (1 - kept) / 2, math.hypot(kept * error, (1 - kept) / 2))
    low, high = _logit_interval(area, error)
    return bounded(area, (min(low, cautious[0]), max(high, cautious[1])), "delong")


def roc_auc_error(truth: FloatArray, scores: FloatArray) -> float:
    """DeLong's standard error of `roc_auc`; NaN where that is undefined."""
    area, influence = _areas(truth, scores)
    return _area_error(influence) if math.isfinite(area) else math.nan


def _areas(truth: FloatArray, scores: FloatArray) -> tuple[float, FloatArray]:
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


def _area_error(influence: FloatArray) -> float:
    n = len(influence)
    return float(np.sqrt((influence**2).sum() * n / max(n - 1, 1)))


def _logit_interval(area: float, error: float) -> tuple[float, float]:
    from scipy.special import expit, logit, ndtri

    if not 0 < area < 1:
        return area, area
    reach = float(ndtri(0.975)) * error / (area * (1 - area))
    return float(expit(logit(area) - reach)), float(expit(logit(area) + reach))
