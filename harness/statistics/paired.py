"""Two shares of the same rows: is their difference significant? Pure statistics on arrays. A difference is B - A.

McNemar's exact test (1947), and the interval of Fay and Lumbard that agrees with it: the interval excludes 0 exactly where
p <= 0.05. All other comparisons are those of `families`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.statistics.families import LEVEL, POWER, Method


@dataclass(frozen=True, slots=True)
class Difference:
    """B - A with its 95% interval, p of "no difference", and the smallest difference that is found in 80% of all samples of
    this size. NaN where undefined."""

    value: float
    low: float
    high: float
    p: float
    detectable: float
    method: Method

    @property
    def reversed(self) -> Difference:
        """A - B."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low)


def mcnemar(correct_a: BoolArray, correct_b: BoolArray) -> float:
    """Two-sided p of the exact test of McNemar: of the rows where only one is right, each is right in half. Shapes (n,)."""
    return sign_test(int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum()))


def sign_test(only_a: int, only_b: int) -> float:
    """`mcnemar` from its two counts."""
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def sign_tests(only_a: IntArray, only_b: IntArray) -> FloatArray:
    """`sign_test` of many pairs at once, shape (m,), without the second that importing scipy.stats takes."""
    from scipy.special import bdtr

    discordant = only_a + only_b
    return np.asarray(np.minimum(1.0, 2 * bdtr(np.minimum(only_a, only_b), discordant, 0.5)))


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
    p = mcnemar(hits_a, hits_b)
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
