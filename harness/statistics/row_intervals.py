"""95% intervals of what is no function of counts: means over rows, and ROC AUC. docs/statistics.md has their coverage.

No rows are resampled: both cost one pass over a million rows.
"""

from __future__ import annotations

import math

import numpy as np

from harness.core.types import BoolArray, FloatArray
from harness.statistics.intervals import MetricValue, bounded, plain

TIED_ROWS = 0.5
"""Added to the rows of the rarer side of each label; see `roc_auc`."""


def mean_of(values: FloatArray) -> MetricValue:
    """The mean of one value per row, shape (n,), with Student's interval corrected for skewness (Hall 1992, "On the removal
    of skewness by transformation", J. R. Stat. Soc. B 54, his second transformation).

    Losses are skewed: most rows cost little, a few much. Without the correction an interval of them is too low. None for one
    row, or where all rows are the same: they say nothing of how rows differ.
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


def roc_auc(truth: FloatArray, scores: FloatArray) -> MetricValue:
    """Macro mean over the labels of the areas under the curves, one label against the rest, of (n, k) arrays; `truth` of 0s
    and 1s. Undefined where a label occurs never or always.

    Variance: DeLong et al. (1988), of all labels together, as they are about the same rows. The interval is symmetric on the
    logit scale, so it stays within 0 and 1. Where rows are few and nearly all in order that variance is far too small: the
    lower end is the lower one of two, the second with `TIED_ROWS` added.
    """
    area, influence = _areas(truth, scores)
    if not math.isfinite(area):
        return plain(area)
    counts = truth.sum(axis=0)
    fewest = float(np.minimum(counts, len(truth) - counts).sum()) / (2 if truth.shape[1] == 2 else 1)
    error = _error(influence)
    kept = fewest / (fewest + TIED_ROWS)  # a tied row has an area of a half
    cautious = _logit_interval(kept * area + (1 - kept) / 2, math.hypot(kept * error, (1 - kept) / 2))
    low, high = _logit_interval(area, error)
    return bounded(area, (min(low, cautious[0]), max(high, cautious[1])), "delong")


def roc_auc_error(truth: FloatArray, scores: FloatArray) -> float:
    """DeLong's standard error of `roc_auc`; NaN where that is undefined."""
    area, influence = _areas(truth, scores)
    return _error(influence) if math.isfinite(area) else math.nan


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
        places = _places(positive, scores[:, label])
        area = float(places[positive].mean())
        influence += (places - area) / np.where(positive, hits, n - hits) / k
        areas.append(area)
    return float(np.mean(areas)), influence


def _places(positive: BoolArray, scores: FloatArray) -> FloatArray:
    """Of each row the share of the rows of the other kind that it is on the right side of; a tie is half of one."""
    _, level = np.unique(scores, return_inverse=True)
    every, ours = np.bincount(level), np.bincount(level, weights=positive)
    others = every - ours
    below = np.cumsum(others) - others / 2  # negatives with lower scores
    above = ours.sum() - (np.cumsum(ours) - ours / 2)  # positives with higher ones
    return np.asarray(np.where(positive, below[level] / others.sum(), above[level] / ours.sum()))


def _error(influence: FloatArray) -> float:
    n = len(influence)
    return float(np.sqrt((influence**2).sum() * n / max(n - 1, 1)))


def _logit_interval(area: float, error: float) -> tuple[float, float]:
    from scipy.special import expit, logit, ndtri

    if not 0 < area < 1:
        return area, area
    reach = float(ndtri(0.975)) * error / (area * (1 - area))
    return float(expit(logit(area) - reach)), float(expit(logit(area) + reach))
