"""Two runs on the same rows: is their difference significant? Pure statistics on arrays. A difference is B - A.

- Shares (accuracy): McNemar's exact test (1947), and the interval of Fay and Lumbard that agrees with it.
- Means over rows (log loss, Brier): the studentised permutation test, in which A and B change places at random in each row. It
  is exact where the errors of A and B have the same distribution, else asymptotic (Janssen 1997; Konietschke and Pauly 2014).
- Functions of what was answered (F1s, QWK, MAE): the studentised bootstrap (bootstrap-t, Efron and Tibshirani 1993, chapter
  12.5) of the paired rows, with one pseudo-row in which only A is right and one in which only B is. Without these it rejects
  far too often where few errors weigh heavily (benchmarks/type_one.py); Agresti and Min (2005) add rows likewise.

An interval excludes 0 exactly where p <= 0.05. Rows of one pattern (truth, answer of A, answer of B) are drawn together, so a
million rows cost as much as a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.statistics.row_means import Smooth, label_mean, mean, qwk

LEVEL = 0.05
POWER = 0.8
REPLICATES = 9_999
_WORK = 1_000_000_000  # patterns x features x replicates: some seconds; above it fewer replicates
_FEWEST = 999  # where not even these are within the work, n is large and t is normal
_DRAWING = 10  # what a draw costs, in the same unit
_AT_ONCE = 2_000_000  # entries of an array: bounds the memory


@dataclass(frozen=True, slots=True)
class Difference:
    """B - A with its 95% interval, p of "no difference", and the smallest difference that is found in 80% of all samples of
    this size (at the level that the test was asked for). NaN where undefined."""

    value: float
    low: float
    high: float
    p: float
    detectable: float
    method: Literal["mcnemar", "permutation", "bootstrap", "normal"]


class Patterns(NamedTuple):
    """Kinds of rows: features of A and of B, shapes (m, features), and how many rows of each kind there are, (m,)."""

    a: FloatArray
    b: FloatArray
    counts: FloatArray


def mcnemar(correct_a: BoolArray, correct_b: BoolArray) -> float:
    """Two-sided p of the exact test of McNemar: of the rows where only one is right, each is right in half. Shapes (n,)."""
    return sign_test(int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum()))


def sign_test(only_a: int, only_b: int) -> float:
    """`mcnemar` from its two counts."""
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted for multiple tests (Holm 1979): reject where the adjusted one is <= the level."""
    given = np.asarray(p, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    adjusted = np.empty(len(given))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * (len(given) - np.arange(len(given)))))
    return [float(value) for value in adjusted]


def mean_of_differences(parts: Sequence[Difference]) -> tuple[float, float, float]:
    """The mean of differences on separate rows (languages), and its 95% interval. NaN where undefined.

    The squared distances of the limits from their values are added (Zou and Donner 2008, Statistics in Medicine 27).
    """
    k = len(parts)
    value = sum(part.value for part in parts) / k
    below = math.hypot(*(part.value - part.low for part in parts)) / k
    above = math.hypot(*(part.high - part.value for part in parts)) / k
    return value, value - below, value + above


def share_difference(hits_a: BoolArray, hits_b: BoolArray, level: float = LEVEL) -> Difference:
    """Of two shares of the same rows; arrays of shape (n,), n > 0."""
    n, only_a, only_b = len(hits_a), int((hits_a & ~hits_b).sum()), int((hits_b & ~hits_a).sum())
    low, high = share_interval(only_a, only_b, n)
    p = sign_test(only_a, only_b)
    return Difference((only_b - only_a) / n, low, high, p, detectable_share(n, only_a + only_b, level), "mcnemar")


def share_interval(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    """95% interval of (only_b - only_a) / n, which covers at least 95% and agrees with `sign_test`; see `_lower`."""
    return _lower(only_b, only_a + only_b, n), -_lower(only_a, only_a + only_b, n)


def _lower(gained: int, discordant: int, n: int) -> float:
    """Lower 97.5% limit of (gained - lost) / n, melded from those of gained / discordant and of discordant / n.

    Fay and Lumbard 2021 (Statistics in Medicine 40): above 0 exactly where McNemar's exact one-sided p is below 0.025. The
    limit is the quantile of (2 T - 1) G with T ~ Beta(gained, discordant - gained + 1), and for G the lower confidence
    distribution of the share of discordant rows where 2 T > 1, the upper one elsewhere.
    """
    from scipy.optimize import brentq
    from scipy.stats import beta

    lower_g = beta(discordant, n - discordant + 1).cdf if discordant else lambda x: np.ones_like(x)
    upper_g = beta(discordant + 1, n - discordant).sf if discordant < n else lambda x: np.ones_like(x)
    if not gained:  # T is 0
        return -float(beta(discordant + 1, n - discordant).ppf(1 - LEVEL / 2)) if discordant < n else -1.0
    half = float(beta(gained, discordant - gained + 1).cdf(0.5))
    levels, weights = _quadrature()
    below = 1 - 2 * beta(gained, discordant - gained + 1).ppf(levels * half)
    above = 2 * beta(gained, discordant - gained + 1).ppf(half + levels * (1 - half)) - 1

    def cumulative(limit: float) -> float:
        if limit < 0:
            inner = upper_g(np.minimum(-limit / np.maximum(below, 1e-300), 1.0)) * (below >= -limit)
            return float(half * weights @ inner)
        inner = lower_g(np.minimum(limit / np.maximum(above, 1e-300), 1.0))
        return float(half + (1 - half) * weights @ inner)

    return float(brentq(lambda limit: cumulative(limit) - LEVEL / 2, -1.0, 1.0, xtol=1e-7))


@cache
def _quadrature() -> tuple[FloatArray, FloatArray]:
    """Gauss and Legendre's, of the integral from 0 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(128)
    return (nodes + 1) / 2, weights / 2


def detectable_share(n: int, discordant: int, level: float = LEVEL) -> float:
    """The smallest difference of two shares that McNemar's exact test at `level` finds in 80% of samples of n rows with as many
    discordant rows as here (or as few as the difference takes); NaN where n is too small for any.

    Power is the mean over the number m of discordant rows of the power given m (Miettinen 1968, Biometrics 24).
    """
    from scipy.optimize import brentq

    def excess(difference: float) -> float:
        return _power(difference, max(discordant / n, difference), n, level) - POWER

    if excess(1.0) < 0:
        return math.nan
    return float(brentq(excess, 0.0, 1.0, xtol=1e-7))


def _power(difference: float, share: float, n: int, level: float) -> float:
    """Of the two-sided exact test, where a `share` of the rows is discordant."""
    from scipy.stats import binom

    low, high = (int(limit) for limit in binom(n, share).ppf((1e-9, 1 - 1e-9)))
    m = np.arange(low, high + 1, 1 + (high - low) // 400)  # of many, every so many tell the same
    reached = binom.ppf(level / 2, m, 0.5)
    critical = np.where(binom.cdf(reached, m, 0.5) <= level / 2, reached, reached - 1)  # p <= level up to here
    right = (1 + difference / share) / 2 if share else 0.5
    found = binom.cdf(critical, m, right) + binom.sf(m - critical - 1, m, right)
    likely = binom.pmf(m, n, share)
    return float(likely @ np.where(critical < 0, 0.0, found) / likely.sum())


def mean_difference(
    losses_a: FloatArray, losses_b: FloatArray, level: float = LEVEL, *, replicates: int = REPLICATES, seed: int = 0
) -> Difference:
    """Of the means of what each row has, shapes (n,): log loss, Brier."""
    differences = losses_b - losses_a
    n, value = len(differences), float(differences.mean())
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if not len(sizes):
        return Difference(0.0, 0.0, 0.0, 1.0, math.nan, "permutation")
    square = float(sizes**2 @ counts) / n

    def errors(means: FloatArray) -> FloatArray:
        variance = square - means**2
        return np.sqrt(np.where(variance > 1e-12 * square, variance, 0.0) / n)

    def t(signs: IntArray) -> FloatArray:
        means = signs @ sizes / n
        return np.abs(_ratio(means, errors(means)))

    error = float(errors(np.array([value]))[0])
    times = _replicates(replicates, len(sizes) * _DRAWING, level)
    if not times:
        return _normal(value, value, error, level)
    rng = np.random.default_rng(seed)
    drawn = np.sort(np.concatenate([t(signs) for signs in _signs(rng, counts, times)]))
    own = float(np.abs(_ratio(np.array([value]), np.array([error])))[0])
    p = (1 + int((drawn >= own * (1 - 1e-9)).sum())) / (1 + times)
    usual, strict = (float(drawn[-_place(share, times)]) for share in (LEVEL, level))
    reach = usual * error if error else math.nan
    return _difference(value, value - reach, value + reach, p, (strict, error), "permutation")


def counted_difference(
    metric: Smooth, seen: Patterns, pseudo: Patterns, level: float = LEVEL, *, replicates: int = REPLICATES, seed: int = 0
) -> Difference:
    """Of a metric of means over the rows `seen`; `pseudo` are fractions of rows that the bootstrap sees besides."""
    n = int(seen.counts.sum())
    own = metric(np.stack([seen.counts @ seen.a, seen.counts @ seen.b]) / n)[0]
    value = float(own[1] - own[0])
    if not math.isfinite(value):
        return Difference(math.nan, math.nan, math.nan, math.nan, math.nan, "bootstrap")
    if abs(value) < 1e-12:  # what adding in another order leaves
        value = 0.0
    both = Patterns(*(np.concatenate(parts) for parts in zip(seen, pseudo, strict=True)))
    shares = both.counts / both.counts.sum()
    centre, error = (float(part[0]) for part in _estimated(metric, both, shares[None], n))
    if error <= 1e-12:  # every row differs alike, or none does: a handful of rows, or no pseudo-rows
        return Difference(value, math.nan, math.nan, 1.0, math.nan, "bootstrap")
    span = (
        float(np.abs(both.b - both.a).max()) if metric in (mean, label_mean) else 2.0 if metric is qwk else 1.0
    )  # no difference is larger
    times = _replicates(replicates, len(shares) * max(both.a.shape[1], _DRAWING), level)
    if not times:
        return _normal(value, centre, error, level, span)
    drawn = []
    rng, step = np.random.default_rng(seed), max(1, _AT_ONCE // len(shares))
    for start in range(0, times, step):
        values, errors = _estimated(metric, both, rng.multinomial(n, shares, min(step, times - start)) / n, n)
        drawn.append(_ratio(values - centre, errors))
    t = np.sort(np.concatenate(drawn)[~np.isnan(np.concatenate(drawn))])
    tails = (t >= centre / error).sum(), (t <= centre / error).sum()
    p = min(1.0, 2 * (1 + int(min(tails))) / (1 + len(t)))
    (first, last), (least, most) = ((t[_place(x / 2, len(t)) - 1], t[-_place(x / 2, len(t))]) for x in (LEVEL, level))
    low, high = max(-span, centre - float(last) * error), min(span, centre - float(first) * error)
    needed = float(most - least) / 2
    return _difference(value, min(low, value), max(high, value), p, (needed, error), "bootstrap")


def _estimated(metric: Smooth, patterns: Patterns, shares: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    """Differences and their standard errors for n rows, shapes (r,), where the patterns have these shares, (r, m)."""
    means_a, means_b = shares @ patterns.a, shares @ patterns.b
    (values_a, slopes_a), (values_b, slopes_b) = metric(means_a), metric(means_b)
    centre = (slopes_b * means_b).sum(axis=1, keepdims=True) - (slopes_a * means_a).sum(axis=1, keepdims=True)
    influence = slopes_b @ patterns.b.T - slopes_a @ patterns.a.T - centre
    return values_b - values_a, np.sqrt((shares * influence**2).sum(axis=1) / n)


def _replicates(usual: int, work: int, level: float) -> int:
    """How many: enough for the level, and as many as there is time for; 0 where there is none."""
    least = math.ceil(2 / level) - 1  # with fewer, no p is as small as the level
    return next((times for times in (max(usual, least), max(_FEWEST, least)) if work * times <= _WORK), 0)


def _place(share: float, replicates: int) -> int:
    """The place from the end at which a share of the replicates, and what was seen, is as far out."""
    return max(1, int(share * (replicates + 1) + 1e-9))


def _signs(rng: np.random.Generator, counts: IntArray, times: int) -> Iterator[IntArray]:
    """Sums of `counts` random signs each, in portions of shape (r, m), `times` in all."""
    step = max(1, _AT_ONCE // len(counts))
    for start in range(0, times, step):
        shape = min(step, times - start), len(counts)
        once = counts.max() == 1  # a bit is drawn much faster than a binomial number
        drawn = rng.integers(0, 2, shape, dtype=np.int8).astype(np.int64) if once else rng.binomial(counts, 0.5, shape)
        yield 2 * drawn - counts


def _ratio(values: FloatArray, errors: FloatArray) -> FloatArray:
    """t; infinite for a value that has no standard error."""
    sure = np.where(np.abs(values) < 1e-12, 0.0, np.copysign(np.inf, values))
    sure[np.isnan(values)] = np.nan
    return np.asarray(np.divide(values, errors, out=sure, where=errors > 1e-12))


def _normal(value: float, centre: float, error: float, level: float, span: float = math.inf) -> Difference:
    """n is large: t is normal. `span`: the largest difference that there can be."""
    from scipy.stats import norm

    usual, strict = (float(norm.isf(share / 2)) for share in (LEVEL, level))
    p = 2 * float(norm.sf(abs(centre) / error)) if error else 1.0
    low, high = min(value, max(-span, centre - usual * error)), max(value, min(span, centre + usual * error))
    return _difference(value, low, high, p, (strict, error), "normal")


def _difference(
    value: float,
    low: float,
    high: float,
    p: float,
    needed: tuple[float, float],
    method: Literal["permutation", "bootstrap", "normal"],
) -> Difference:
    """`needed`: the t that a difference must reach, and its standard error."""
    from scipy.stats import norm

    detectable = (needed[0] + float(norm.ppf(POWER))) * needed[1] if needed[1] and math.isfinite(needed[0]) else math.nan
    bounded = math.isfinite(low) and math.isfinite(high)
    return Difference(value, low if bounded else math.nan, high if bounded else math.nan, p, detectable, method)
