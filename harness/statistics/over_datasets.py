"""Configurations compared over several datasets: mean ranks, mean gaps, and tests whose sample is the datasets.

- Intervals: a bootstrap of two stages, of datasets and of the rows within them (Davison and Hinkley 1997, chapter 3.8). The
  rows' part is drawn from the normal distribution of the values' errors, jointly for datasets that share groups of rows. The
  quantiles are those of the expanded percentile (Hesterberg 2015, The American Statistician 69), as few datasets vary less in
  a resample than in truth. Below `FEW` datasets a resample of datasets says nothing: then the rows alone are drawn.
- All together: Friedman's test on ranks in the form of Iman and Davenport (Demsar 2006, JMLR 7). Pairs: Wilcoxon's signed-rank
  test with Holm's correction, which depends on the two alone, unlike Nemenyi's (Benavoli, Corani and Mangili 2016, JMLR 17).
- Pairs again: the Bayesian signed-rank test with a region of practical equivalence (Benavoli, Corani, Demsar and Zaffalon 2017,
  JMLR 18, section 4.2.2), with their prior: strength 0.5, at a difference of 0.

All values are such that larger is better.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.core.arrays import FloatArray
from harness.statistics.covariances import root
from harness.statistics.families import LEVEL
from harness.statistics.paired import holm

FEW = 5
"""Datasets from which on they are resampled and tested: Wilcoxon's p of four can't be below 0.125."""
REPLICATES = 20_000
_AT_ONCE = 2_000_000  # numbers of an array: bounds the memory
PRIOR_STRENGTH = 0.5


@dataclass(frozen=True, slots=True)
class Ranged:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MeansOver:
    """Of each of k configurations: `ranks`, the mean rank (1 is the best; ties share the mean of their ranks); `gaps`, the mean
    difference from the reference, or from the best of each dataset (then none is above 0)."""

    ranks: list[Ranged]
    gaps: list[Ranged]


def means_over(
    values: FloatArray, covariance: FloatArray, reference: int | None, *, replicates: int = REPLICATES, seed: int = 0
) -> MeansOver:
    """`values`: shape (d, k), of d datasets and k configurations; `covariance` of their errors, shape (d k, d k), in that
    order. `reference`: the place of a configuration; None for the best of each dataset."""
    own = _statistics(values[None], np.full((1, len(values)), 1 / len(values)), reference)[:, 0]
    drawn = np.concatenate(list(_drawn(values, covariance, reference, replicates, seed)), axis=1)
    share = _tail(len(values))
    low, high = np.quantile(drawn, [share, 1 - share], axis=1)
    ranks = [Ranged(float(r), float(min(a, r)), float(max(b, r))) for r, a, b in zip(own[0], low[0], high[0], strict=True)]
    gaps = [Ranged(float(g), float(min(a, g)), float(max(b, g))) for g, a, b in zip(own[1], low[1], high[1], strict=True)]
    return MeansOver(ranks, gaps)


def mean_ranks(values: FloatArray) -> FloatArray:
    """Shape (k,), from values of shape (d, k)."""
    return np.asarray(_statistics(values[None], np.full((1, len(values)), 1 / len(values)), 0)[0, 0])


def _tail(datasets: int) -> float:
    """The share of replicates beyond each end."""
    from scipy.stats import norm, t

    if datasets < FEW:
        return LEVEL / 2
    return float(norm.sf(np.sqrt(datasets / (datasets - 1)) * t.isf(LEVEL / 2, datasets - 1)))


def _drawn(
    values: FloatArray, covariance: FloatArray, reference: int | None, replicates: int, seed: int
) -> Iterator[FloatArray]:
    """Mean ranks and mean gaps of replicates, in portions of shape (2, r, k)."""
    rng, half, count = np.random.default_rng(seed), root(covariance), len(values)
    centres = _shrunken(values, covariance) if count >= FEW else values
    step = max(1, _AT_ONCE // values.size)
    for start in range(0, replicates, step):
        many = min(step, replicates - start)
        errors = (rng.standard_normal((many, values.size)) @ half.T).reshape(many, *values.shape)
        shares = np.full((many, count), 1 / count)
        if count >= FEW:
            shares = rng.multinomial(count, shares[0], many) / count
        yield _statistics(centres + errors, shares, reference)


def _shrunken(values: FloatArray, covariance: FloatArray) -> FloatArray:
    """The values with the datasets' deviations (dataset by configuration) shrunk by the rows' part of their variance, which
    the replicates draw again; without this it would count twice."""
    d, k = values.shape
    middle = values.mean(axis=0) + values.mean(axis=1, keepdims=True) - values.mean()
    deviations = values - middle
    centring = np.kron(np.eye(d) - 1 / d, np.eye(k) - 1 / k)
    observed, of_rows = float((deviations**2).sum()), float((centring * covariance).sum())
    return np.asarray(middle + deviations * np.sqrt(max(0.0, 1 - of_rows / observed) if observed else 0.0))


def _statistics(values: FloatArray, shares: FloatArray, reference: int | None) -> FloatArray:
    """Mean ranks and mean gaps, shape (2, r, k), from values of shape (r, d, k) and the datasets' shares, (r, d)."""
    from scipy.stats import rankdata

    other = values.max(axis=2) if reference is None else values[:, :, reference]
    parts = rankdata(-np.round(values, 12), axis=2), values - other[:, :, None]
    return np.round(np.stack([np.einsum("rdk,rd->rk", part, shares) for part in parts]), 12)


def friedman(values: FloatArray) -> float:
    """p of "all configurations are alike", from values of shape (d, k), k > 2: of F as Iman and Davenport (1980) have it."""
    from scipy.stats import f, friedmanchisquare

    d, k = values.shape
    if (values == values[:, :1]).all():
        return 1.0
    square = float(friedmanchisquare(*np.round(values, 12).T).statistic)
    left = d * (k - 1) - square
    return 0.0 if left <= 0 else float(f.sf((d - 1) * square / left, k - 1, (k - 1) * (d - 1)))


def signed_rank(differences: FloatArray) -> float:
    """Two-sided p of Wilcoxon's test, differences of shape (d,); half of those that are 0 count for each side (Demsar 2006)."""
    from scipy.stats import wilcoxon

    rounded = np.round(differences, 12)
    if not rounded.any():
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ties, for which it takes the normal approximation
        return float(wilcoxon(rounded, zero_method="zsplit").pvalue)


@dataclass(frozen=True, slots=True)
class Posterior:
    """Probabilities that on one more dataset of this kind the first of two is practically worse, equal, better."""

    worse: float
    equal: float
    better: float


def bayesian_signed_rank(differences: FloatArray, rope: float, *, samples: int = 20_000, seed: int = 0) -> Posterior:
    """Of the first less the second on each dataset, shape (d,); within ± `rope` the two are practically equal.

    The distribution of the differences has a Dirichlet process as its prior. For each draw of it the probabilities that the
    mean of two differences is below, within and above the region are computed; given is how often each is the largest.
    """
    z = np.concatenate([[0.0], differences])
    weights = np.random.default_rng(seed).dirichlet([PRIOR_STRENGTH, *np.ones(len(differences))], samples)
    sums = z[:, None] + z[None, :]
    tiny = 1e-12
    sides = [(sums < -2 * rope - tiny).astype(float), (sums > 2 * rope + tiny).astype(float)]
    if rope == 0:  # what is exactly 0 counts half for each side
        sides = [side + 0.5 * (np.abs(sums) <= tiny) for side in sides]
    below, above = (np.einsum("si,ij,sj->s", weights, side, weights, optimize=True) for side in sides)
    largest = np.argmax(np.stack([below, 1 - below - above, above]), axis=0)
    worse, equal, better = np.bincount(largest, minlength=3) / samples
    return Posterior(float(worse), float(equal), float(better))


def pairwise(values: FloatArray, pairs: list[tuple[int, int]]) -> list[tuple[float, float]]:
    """p of `signed_rank` and p after Holm's correction over these pairs; `values` of shape (d, k)."""
    found = [signed_rank(values[:, a] - values[:, b]) for a, b in pairs]
    return list(zip(found, holm(found), strict=True))
