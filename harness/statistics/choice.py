"""The best of several configurations, chosen on the rows that its value is of: by how much that value is too high.

Bootstrap bias correction (Tsamardinos, Greasidou and Borboudakis 2018, Machine Learning 107): resample the rows, choose on the
resample, score the chosen one on the rows that were left out, and take the mean. Here the resample is drawn from the normal
distribution of its means: with X the values and Z an error with the covariance of X, the choice is made on
X + Z and scored on X - Z. The two are uncorrelated, as are the rows that were drawn and those that were left out (thinning;
Neufeld et al. 2024, JMLR 25), and X - Z is, given the draw, what the rows left out have in the mean. So a metric that is no
mean over rows, groups of rows and seeds are covered, and a million rows cost nothing.

The standard error is that of Efron and Tibshirani (1997, JASA 92, section 4) for such a mean over replicates: the delta method
after the bootstrap. The interval of a share is Wilson's with the number of rows that has this standard error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.core.arrays import FloatArray, IntArray
from harness.statistics.covariances import root

REPLICATES = 10_000
Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Corrected:
    """The value that the chosen configuration has on other rows, with its 95% interval. `again`: the share of the replicates
    that choose the same configuration."""

    value: float
    low: float
    high: float
    again: float


def corrected(
    values: FloatArray,
    covariance: FloatArray,
    chosen: int,
    pick: Callable[[FloatArray], IntArray] | None = None,
    *,
    is_share: bool = False,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Corrected:
    """`values`: of k configurations, shape (k,); `covariance`: of their errors, of rows and seeds together, (k, k).

    `pick`: from values of shape (r, k) the places that would be chosen, shape (r,); default: the largest. `is_share`: the
    values are shares of rows.
    """
    k = len(values)
    half = root(covariance)
    numbers = np.random.default_rng(seed).standard_normal((replicates, k))
    errors = numbers @ half.T
    picked = np.argmax(values + errors, axis=1) if pick is None else pick(values + errors)
    scores = (values - errors)[np.arange(replicates), picked]
    often = np.bincount(picked, minlength=k) / replicates
    value = float(scores.mean())
    slope = 2 * half.T @ often + numbers.T @ (scores - value) / replicates
    low, high = interval(value, float(np.sqrt(slope @ slope)), is_share=is_share)
    return Corrected(value, low, high, float(often[chosen]))


def interval(value: float, error: float, *, is_share: bool) -> tuple[float, float]:
    """The 95% interval of a value with this standard error."""
    if not is_share or error < 1e-12 or not 0 < value < 1:
        return value - Z * error, value + Z * error
    squared = Z**2 * error**2 / (value * (1 - value))  # z squared / n, with the n that has this error
    centre = (value + squared / 2) / (1 + squared)
    reach = math.sqrt(squared * value * (1 - value) + squared**2 / 4) / (1 + squared)
    return centre - reach, centre + reach


def weighted(weights: FloatArray, *, lower_is_better: bool) -> Callable[[FloatArray], IntArray]:
    """A `pick` by the value times a weight; of a metric where lower is better by the smallest value."""

    def pick(values: FloatArray) -> IntArray:
        worth = values * weights
        return np.asarray(np.argmin(worth, axis=1) if lower_is_better else np.argmax(worth, axis=1))

    return pick
