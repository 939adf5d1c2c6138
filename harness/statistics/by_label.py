"""Intervals of F1s and of means over labels (macro-F1, balanced accuracy, macro-averaged MAE).

With many labels each has few rows, and the bias of macro-F1 is as large as its standard error: a bootstrap has that bias twice.
Here it is computed. With H hits, M misses and A false alarms of a label, its F1 is 2 H / (2 H + M + A) = f(J), where J = H / N,
N = H + M + A and f(x) = 2 x / (1 + x). Given N, H is binomial, so J has no bias, and the bias and the variance of f(J) are sums
over N + 1 outcomes; for more than `EXACT` rows both are those of the delta method. As a label's own J is known badly, both are
taken where `PRIOR` rows more have the labels' mean J.

Errors of different labels are not independent (a false alarm of one is a miss of another): the variance is that of the sum of
the rows' influences (by group where rows come in groups). The interval is symmetric on the logit scale. Half a right and half a
wrong row are added, spread over the labels, so that the variance is not 0 where all rows are right. Labels without rows count
as if they were drawn from the same labels as the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.arrays import FloatArray, IntArray
from harness.core.record import Estimate
from harness.statistics.clusters import design_effect, method_of, quantile, variance_of_sum
from harness.statistics.estimates import bounded, logit_interval, plain

OVER_LABELS = ("macro_f1", "balanced_accuracy", "macro_mae")
"""Means over labels: they have neither interval nor test where labels have too few rows (`few_rows_per_label`)."""
ROWS_PER_LABEL = 10.0
"""A mean over more than `FEW_LABELS` labels has no interval below this many rows per label; see docs/statistics.md."""
ROWS_OF_FEW_LABELS = 4.0
"""... and a mean over fewer labels below this many."""
FEW_LABELS = 20
LABELS_WITHOUT_ROWS = 0.1
"""Nor has it one where a larger share of many labels has no rows."""
PSEUDO = 0.5
"""Right rows that are added, and as many wrong ones."""
PRIOR = 2.0
EXACT = 60
METHOD = "label_delta"


def rows_needed_per_label(labels: int) -> float:
    """The fewest rows per label, on average, for an interval of a mean over so many labels."""
    return ROWS_PER_LABEL if labels > FEW_LABELS else ROWS_OF_FEW_LABELS


def few_rows_per_label(support: Sequence[int]) -> str | None:
    """Why `support`, the rows of each label, is not enough for an interval of a mean over labels; None where it is."""
    labels, mean = len(support), sum(support) / max(len(support), 1)
    needed = rows_needed_per_label(labels)
    if mean < needed:
        return f"{mean:.1f} rows per label, at least {needed:g} are needed"
    absent = sum(rows == 0 for rows in support)
    if labels > FEW_LABELS and absent > LABELS_WITHOUT_ROWS * labels:
        return f"{absent} of {labels} labels have no rows, at most {math.floor(LABELS_WITHOUT_ROWS * labels)} may have none"
    return None


@dataclass(frozen=True)
class _Part:
    """A metric's estimate without its bias, and how much a row adds to its error: `hit` where it is right; where it is wrong,
    `missed` for its true label and `named` for its answer; each of shape (k,). `pseudo`: the variance of the pseudo-rows;
    `between`: of labels without rows."""

    center: float
    hit: FloatArray
    missed: FloatArray
    named: FloatArray
    pseudo: float
    between: float = 0.0


def f1_intervals(
    values: Mapping[str, float], truth: IntArray, answers: IntArray, k: int, clusters: IntArray | None = None
) -> dict[str, Estimate]:
    """The intervals of `values`, macro_f1 and weighted_f1 of a single-label task. `truth`, `answers`: shape (n,); the answer k
    is none. `clusters`: numbers of the rows' groups."""
    right = truth == answers
    true = np.bincount(truth, minlength=k)[:k].astype(np.float64)
    named = np.bincount(answers, minlength=k + 1)[:k].astype(np.float64)
    hits = np.bincount(truth[right], minlength=k)[:k].astype(np.float64)
    found = {}
    for name, value in values.items():
        part = _macro_f1(hits, true + named - hits) if name == "macro_f1" else _weighted_f1(hits, true, named)
        false_alarm = np.append(part.named, 0.0)
        influence = np.where(right, part.hit[truth], part.missed[truth] + false_alarm[answers])
        found[name] = _estimate(value, part, influence, clusters)
    return found


def multilabel_f1_intervals(
    values: Mapping[str, float], truth: IntArray, answers: IntArray, clusters: IntArray | None = None
) -> dict[str, Estimate]:
    """The intervals of `values`, macro_f1 and micro_f1 of a multilabel task; 0/1 arrays of shape (n, k)."""
    hit, wrong = (truth & answers).astype(np.float64), (truth != answers).astype(np.float64)
    found = {}
    for name, value in values.items():
        macro = name == "macro_f1"
        columns = (hit, wrong) if macro else (hit.sum(axis=1, keepdims=True), wrong.sum(axis=1, keepdims=True))
        hits = columns[0].sum(axis=0)
        if not math.isfinite(value) or not hits.sum() + columns[1].sum():
            found[name] = plain(value)
            continue
        part = _macro_f1(hits, hits + columns[1].sum(axis=0))
        found[name] = _estimate(value, part, columns[0] @ part.hit + columns[1] @ part.missed, clusters)
    return found


def hamming_interval(value: float, truth: IntArray, answers: IntArray, clusters: IntArray | None = None) -> Estimate:
    """The interval of the Hamming loss of 0/1 arrays of shape (n, k); the wrong pseudo-row is wrong in one label."""
    n, k = truth.shape
    wrong = (truth != answers).mean(axis=1)
    center = (n * value + PSEUDO / k) / (n + 2 * PSEUDO)
    variance = (variance_of_sum(wrong - wrong.mean(), clusters) + PSEUDO / k**2) / n**2
    return _bounded(value, center, variance, 1.0, n, clusters)


def label_mean(
    value: float, truth: IntArray, scores: FloatArray, k: int, top: float = 1.0, clusters: IntArray | None = None
) -> Estimate:
    """The interval of `value`, the mean over labels of the mean score of their rows, over the labels that have rows. `truth`,
    `scores`: shape (n,), scores from 0 to `top`."""
    rows = np.bincount(truth, minlength=k)[:k].astype(np.float64)
    seen = rows > 0
    labels = int(seen.sum())
    rows = rows[seen]
    place = np.cumsum(seen)[truth] - 1
    means = np.bincount(place, weights=scores) / rows
    each = 2 * PSEUDO / labels
    padded = rows + each
    within = np.bincount(place, weights=(scores - means[place]) ** 2) + each * (top / 2) ** 2
    known = padded > 1.5
    pooled = float((within[known] / (padded[known] - 1)).mean()) if known.any() else (top / 2) ** 2
    spread = (within + PRIOR * pooled) / (np.maximum(padded - 1, 0) + PRIOR)
    weight = 1 / padded / labels
    variance = float((weight**2 * padded * spread).sum())
    if clusters is not None:
        variance *= design_effect(weight[place] * (scores - means[place]), clusters)
    variance += _between(means, labels, k)
    return _bounded(value, _shrunk(float(means.mean()) / top, len(truth)) * top, variance, top, len(truth), clusters)


def _macro_f1(hits: FloatArray, size: FloatArray) -> _Part:
    """Of the hits of each label and of the rows where it is true or named, both of shape (k,)."""
    k, seen = len(hits), size > 0
    labels = int(seen.sum())
    each = PSEUDO / labels
    padded = size[seen] + 3 * each  # a wrong pseudo-row counts for two labels
    jaccard = (hits[seen] + each) / padded
    rate = (hits[seen] + each + PRIOR * float(jaccard.mean())) / (padded + PRIOR)
    bias, slope = _bias_and_slope(np.maximum(np.round(padded), 1), rate)
    estimate = _f1(jaccard) - bias
    weight = slope / padded / labels
    pseudo = PSEUDO * (float(((weight * (1 - rate)) ** 2).mean()) + _mean_of_pairs(weight * rate))
    hit, wrong = np.zeros(k), np.zeros(k)
    hit[seen], wrong[seen] = weight * (1 - rate), -weight * rate
    return _Part(float(estimate.mean()), hit, wrong, wrong, pseudo, _between(estimate, labels, k))


def _bias_and_slope(size: FloatArray, rate: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The bias of f(J), and the slope in J that gives its standard deviation; J is the mean of `size` rows of that `rate`."""
    bias, slope = -2 * rate * (1 - rate) / (1 + rate) ** 3 / size, 2 / (1 + rate) ** 2
    for n in np.unique(size[size <= EXACT]).astype(int).tolist():
        here = size == n
        values, chances = _f1(np.arange(n + 1) / n), _binomial(n, rate[here])
        mean = chances @ values
        variance = np.maximum(chances @ values**2 - mean**2, 0)
        bias[here] = mean - _f1(rate[here])
        slope[here] = np.sqrt(variance * n / (rate[here] * (1 - rate[here])))
    return bias, slope


def _binomial(n: int, rate: FloatArray) -> FloatArray:
    """The chances of 0 to n hits, shape (len(rate), n + 1)."""
    from scipy.stats import binom

    return np.asarray(binom.pmf(np.arange(n + 1)[None], n, rate[:, None]))


def _f1(jaccard: FloatArray) -> FloatArray:
    return 2 * jaccard / (1 + jaccard)


def _weighted_f1(hits: FloatArray, true: FloatArray, named: FloatArray) -> _Part:
    """Of the hits of each label, its rows, and how often it is named. The bias is half of the sum of the second derivatives
    of 2 H (H + M) / (2 H + M + A) times the variances of the counts, each about the count itself."""
    seen = true + named > 0
    labels = int(seen.sum())
    each = PSEUDO / labels * seen
    h, t, a = hits + each, true + 2 * each, named + 2 * each
    missed, size = t - h, np.where(seen, t + a, 1.0)
    product = h * t
    by_hits = 4 * (1 / size - 2 * (2 * h + missed) / size**2 + 4 * product / size**3)
    by_misses = 4 * (product / size**3 - h / size**2)
    by_alarms = 4 * product / size**3
    bias = (h * by_hits + missed * by_misses + (a - h) * by_alarms) / 2
    union = t + a - h
    total = float(t.sum())
    center = float((2 * product / size - bias * union / (union + PRIOR)).sum()) / total
    whole = float((2 * product / size).sum()) / total
    hit = (2 * (2 * h + missed) / size - 4 * product / size**2 - whole) / total
    miss = (2 * h / size - 2 * product / size**2 - whole) / total
    alarm = -2 * product / size**2 / total
    at = np.flatnonzero(seen)
    pseudo = PSEUDO * (float((hit[at] ** 2).mean()) + float(((miss[at] + alarm[at].mean()) ** 2).mean()))
    return _Part(center, hit, miss, alarm, pseudo)


def _mean_of_pairs(a: FloatArray) -> float:
    """The mean of (a_i + a_j)^2 over i != j; with one label alone its own square."""
    m, squares = len(a), float((a**2).sum())
    return squares if m < 2 else 2 * ((m - 2) * squares + float(a.sum()) ** 2) / (m * (m - 1))


def _between(means: FloatArray, labels: int, k: int) -> float:
    """The variance of a mean over `labels` of k labels as that over all of them."""
    return float(means.var(ddof=1)) * (1 / labels - 1 / k) if 1 < labels < k else 0.0


def _estimate(value: float, part: _Part, influence: FloatArray, clusters: IntArray | None) -> Estimate:
    n = len(influence)
    variance = variance_of_sum(influence, clusters) + part.pseudo + part.between
    return _bounded(value, part.center, variance, 1.0, n, clusters)


def _shrunk(share: float, n: int) -> float:
    """With the pseudo-rows."""
    return (n * share + PSEUDO) / (n + 2 * PSEUDO)


def _bounded(value: float, center: float, variance: float, top: float, n: int, clusters: IntArray | None) -> Estimate:
    """The interval around `center` on the logit scale of 0 to `top`, made to include `value`."""
    low, high = logit_interval(min(max(center / top, 1e-6), 1 - 1e-6), quantile(n, clusters) * math.sqrt(variance) / top)
    return bounded(float(value), (low * top, high * top), method_of(METHOD, clusters))
