"""All pairs of a family of configurations by one joint test: p values, and simultaneous intervals that agree with them.

A configuration is one model under one or more seeds; its value is the mean over the seeds. The difference D of two
configurations has a standard error with two independent parts.

- *Rows.* The variance comes from the delete-one jackknife over the rows (over the groups, where rows were sampled in groups).
  Unlike that of a gradient it is not too small where labels have few rows (Efron and Stein 1981). Under the null hypothesis A
  and B change places at random in each row: a sign flip of the pseudo-values of D (Tukey 1958). For means over rows this is the
  exact permutation test, and for shares McNemar's.
- *Seeds.* The variance of the mean over S seeds is that of the S values, divided by S. It contains what the seeds change in
  single rows by chance, which is taken out of the variance of the rows. A draw has a normal error of this variance, and a
  variance of its own: chi-squared with S - 1 degrees of freedom, as in the parametric bootstrap for the problem of Behrens and
  Fisher (Krishnamoorthy, Lu, Mathew 2007).

t = D / standard error is brought to the scale of a normal variable by its degrees of freedom (Satterthwaite 1946; Wallace
1959), so that a pair with few seeds does not set the bound of all others (Beran 1988, "Balanced simultaneous confidence sets").
The largest |z| of all pairs in a draw gives the adjusted p values and the bound of all intervals (Westfall and Young 1993;
Romano and Wolf 2005): one product of signs with the pseudo-values of all configurations serves all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.core.arrays import FloatArray, IntArray

LEVEL = 0.05
POWER = 0.8
REPLICATES = 4_999
_SIGNS = 200_000_000
"""Signs that are drawn: some seconds. Of more (above 40,000 different rows) their sum is normal."""
_AT_ONCE = 500_000
"""Entries of an array: bounds the memory."""
_NONE = 1e-12
_TIES = 1 - 1e-9
"""Sums of the same numbers in another order count as equal."""

Method = Literal["mcnemar", "sign_flip", "normal"]


@dataclass(frozen=True, slots=True)
class Score:
    """The value of one configuration in one metric.

    `parts`: what each row (or group) adds to its error, shape (units,), NaN where undefined. `pseudo`: the variance that one
    more row, right or wrong, would add, in the unit of `parts` squared. `seeds`: the variance of the mean over the seeds, 0 for
    one run; `freedom`: its degrees of freedom. `within`: what of the sum of the squared `parts` the seeds add, each differing
    from the others in each row by chance; it is a part of `seeds` too.
    """

    value: float
    parts: FloatArray
    pseudo: float = 0.0
    seeds: float = 0.0
    freedom: int = 0
    within: float = 0.0

    @property
    def is_defined(self) -> bool:
        return math.isfinite(self.value) and bool(np.isfinite(self.parts).all())


@dataclass(frozen=True)
class Family:
    """B - A of all pairs: arrays of shape (pairs,). `a`, `b`: the places of the configurations, a < b.

    `low`, `high`: simultaneous 95% intervals of all pairs; one excludes 0 exactly where `p_adjusted` <= 0.05. `p`: of the pair
    alone. `detectable`: the smallest difference that is found in 80% of samples like this one. NaN: undefined.
    """

    a: IntArray
    b: IntArray
    value: FloatArray
    low: FloatArray
    high: FloatArray
    p: FloatArray
    p_adjusted: FloatArray
    detectable: FloatArray
    method: Method

    def __len__(self) -> int:
        return len(self.a)


def all_pairs(
    scores: Sequence[Score],
    sizes: FloatArray | None = None,
    *,
    span: float = math.inf,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Family:
    """Compare all pairs; `scores`: of the same rows in the same order, or of the same groups, which have `sizes` rows each,
    shape (units,). `span`: the largest difference that there can be."""
    every_a, every_b = np.triu_indices(len(scores), 1)
    known = np.array([score.is_defined for score in scores], dtype=bool)
    tested = known[every_a] & known[every_b]
    values = np.array([score.value for score in scores], dtype=np.float64)
    difference = values[every_b] - values[every_a]
    difference[np.abs(difference) < _NONE] = 0.0  # what adding in another order leaves
    columns = {name: np.full(len(every_a), np.nan) for name in ("low", "high", "p", "p_adjusted", "detectable")}
    method: Method = "sign_flip"
    if tested.any():
        order = [place for place in np.argsort(values, kind="stable") if known[place]]  # the same draws in whatever order
        number = np.zeros(len(scores), dtype=np.int64)
        number[order] = np.arange(len(order))
        pairs = number[every_a[tested]], number[every_b[tested]]
        joint = _Joint([scores[place] for place in order], sizes, pairs, difference[tested])
        found = joint.tested(replicates, np.random.default_rng(seed), span)
        method = joint.method(replicates)
        for name, column in zip(columns, found, strict=True):
            columns[name][tested] = column
    return Family(every_a, every_b, difference, **columns, method=method)


class _Joint:
    """The pairs (a, b) of scores that are all defined, and their differences, shape (pairs,)."""

    def __init__(
        self, scores: Sequence[Score], sizes: FloatArray | None, pairs: tuple[IntArray, IntArray], difference: FloatArray
    ) -> None:
        self.a, self.b = pairs
        self.difference = difference
        self.units = len(scores[0].parts)
        weights = np.ones(self.units) if sizes is None else sizes / sizes.mean()
        parts = np.stack([score.parts for score in scores], axis=1)
        parts = parts - parts.mean(axis=0)
        rows = parts + weights[:, None] * np.array([score.value for score in scores])
        rows = rows - rows.mean(axis=1, keepdims=True) + 0.0  # only differences matter
        self.pseudo = np.array([score.pseudo for score in scores])
        counts = np.array([score.freedom + 1 for score in scores])
        variance, self.freedom = moderated(np.array([score.seeds for score in scores]) * counts, counts - 1)
        self.seeds = variance / counts
        added = self.pseudo[self.a] + self.pseudo[self.b]
        within = np.array([score.within for score in scores])
        of_rows, centred = self._squares(rows), self._squares(parts)
        twice = np.minimum(within[self.a] + within[self.b], centred)  # counted among the seeds
        self.null = np.maximum(of_rows - twice + added, 0.0) / self.units**2  # the variance if the true difference is 0
        self.centred = (centred - twice + added) / self.units**2  # if it is the one that was found
        full = of_rows + added
        self.scale = np.sqrt(np.divide(np.maximum(full - twice, 0.0), full, out=np.ones_like(full), where=full > 0))
        between = weights @ parts / self.units**2
        self.slope, self.curve = between[self.b] - between[self.a], float(weights @ weights) / self.units**2
        self.rows, self.counts = _kinds(rows)

    def _squares(self, rows: FloatArray) -> FloatArray:
        """Sums of the squared differences of each pair, shape (pairs,)."""
        gram = rows.T @ rows
        found = gram[self.a, self.a] + gram[self.b, self.b] - 2 * gram[self.a, self.b]
        return np.where(found < _NONE * max(1.0, float(gram.max(initial=0.0))), 0.0, found)

    def method(self, replicates: int) -> Method:
        return "normal" if len(self.rows) * replicates > _SIGNS else "sign_flip"

    def tested(self, replicates: int, rng: np.random.Generator, span: float) -> tuple[FloatArray, ...]:
        """Low, high, p, adjusted p and detectable difference."""
        from scipy.special import ndtri

        own, freedom = self._z(self.difference, self.seeds[None, :])
        own, freedom = own[0], freedom[0]
        reached, largest = np.zeros(len(own), dtype=np.int64), []
        for sums, errors, variances in self._draws(replicates, rng):
            drawn = self.scale * (sums[:, self.b] - sums[:, self.a])
            z, _ = self._z(drawn + errors[:, self.b] - errors[:, self.a] if self.seeds.any() else drawn, variances)
            reached += (z >= own * _TIES).sum(axis=0)
            largest.append(z.max(axis=1))
        most = np.sort(np.concatenate(largest))
        p = (1 + reached) / (1 + replicates)
        above = len(most) - np.searchsorted(most, own * _TIES, side="left")
        adjusted = (1 + above) / (1 + replicates)
        place = max(1, int(LEVEL * (replicates + 1) + 1e-9))
        below, above_it = self._reach(_from_z(np.full(len(own), most[-place]), freedom), span)
        error = np.sqrt(self.centred + self.seeds[self.a] + self.seeds[self.b])
        detectable = np.where(error > 0, (below + above_it) / 2 + float(ndtri(POWER)) * error, np.nan)
        low, high = np.maximum(self.difference - below, -span), np.minimum(self.difference + above_it, span)
        low, high = (np.where(np.abs(end) < _NONE, 0.0, end) for end in (low, high))  # what rounding leaves excludes no 0
        return low, high, p, adjusted, np.where(detectable <= span, detectable, np.nan)

    def _reach(self, t: FloatArray, span: float) -> tuple[FloatArray, FloatArray]:
        """How far the interval reaches below and above the difference D: to the true differences D - x that the test with the
        bound t does not reject, where the variance is `centred` + 2 slope x + curve x^2 + that of the seeds."""
        left = 1 - t**2 * self.curve
        linear, fixed = t**2 * self.slope, t**2 * (self.centred + self.seeds[self.a] + self.seeds[self.b])
        safe = np.maximum(left, _NONE)
        root = np.sqrt(linear**2 + safe * fixed)
        most = 2 * span if math.isfinite(span) else math.nan
        return np.where(left > _NONE, (root + linear) / safe, most), np.where(left > _NONE, (root - linear) / safe, most)

    def _z(self, differences: FloatArray, seeds: FloatArray) -> tuple[FloatArray, FloatArray]:
        """|z| and degrees of freedom, shape (r, pairs), where the means over seeds have the variances `seeds`, (r, scores)."""
        if not self.seeds.any():
            errors = np.sqrt(self.null)
            z = np.abs(np.divide(differences, errors, out=np.zeros(np.shape(differences)), where=errors > 0))
            return np.atleast_2d(z), np.full((1, len(errors)), np.inf)
        squares = np.divide(seeds**2, self.freedom, out=np.zeros_like(seeds), where=self.freedom > 0)
        variance = self.null + seeds[:, self.a] + seeds[:, self.b]
        below = squares[:, self.a] + squares[:, self.b]
        freedom = np.divide(variance**2, below, out=np.full_like(variance, np.inf), where=below > 0)
        t = np.divide(np.abs(differences), np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0)
        return _to_z(t, freedom), freedom

    def _draws(self, replicates: int, rng: np.random.Generator) -> Iterator[tuple[FloatArray, FloatArray, FloatArray]]:
        """In portions of r draws: errors of the rows and of the seeds, and variances of the seeds; each (r, scores)."""
        k = len(self.seeds)
        step = max(1, _AT_ONCE // max(len(self.a), 1))
        sums = self._sums(replicates, rng)
        for start in range(0, replicates, step):
            shape = min(step, replicates - start), k
            flips = 2.0 * rng.integers(0, 2, shape) - 1
            rows = (sums[start : start + shape[0]] + flips * np.sqrt(self.pseudo)) / self.units
            if not self.seeds.any():
                yield rows, np.zeros((1, k)), self.seeds[None, :]
                continue
            errors = rng.standard_normal(shape) * np.sqrt(self.seeds)
            drawn = rng.chisquare(np.maximum(self.freedom, 1), shape) / np.maximum(self.freedom, 1)
            yield rows, errors, self.seeds * drawn

    def _sums(self, replicates: int, rng: np.random.Generator) -> FloatArray:
        """Sums of the rows under random signs, shape (replicates, scores). Rows of one kind are drawn together."""
        if self.method(replicates) == "normal":
            values, vectors = np.linalg.eigh((self.rows.T * self.counts) @ self.rows)
            normal = rng.standard_normal((replicates, len(values)))
            return np.asarray((normal * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)
        found, step = [], max(1, 4 * _AT_ONCE // len(self.rows))
        once = bool(self.counts.max() == 1)  # a bit is drawn much faster than a binomial number
        for start in range(0, replicates, step):
            shape = min(step, replicates - start), len(self.rows)
            drawn = rng.integers(0, 2, shape, dtype=np.int8) if once else rng.binomial(self.counts, 0.5, shape)
            found.append((2.0 * drawn - self.counts) @ self.rows)
        return np.concatenate(found)


def _kinds(rows: FloatArray) -> tuple[FloatArray, IntArray]:
    """The different rows of (units, scores), sorted, and how often each occurs; all of them where most occur once."""
    rows = rows[np.lexsort(rows.T)]
    first = np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)])
    if 4 * int(first.sum()) > len(rows):
        return rows, np.ones(len(rows), dtype=np.int64)
    places = np.flatnonzero(first)
    return rows[places], np.diff(np.append(places, len(rows)))


FEWEST = 5
"""Configurations with several seeds from which on their variances tell something of each other."""
POOLED = 4
"""Degrees of freedom that the mean variance of all configurations counts beside a configuration's own."""


def moderated(variance: FloatArray, freedom: IntArray) -> tuple[FloatArray, FloatArray]:
    """Variances between seeds and their degrees of freedom, both (scores,); those of one seed (freedom 0) stay at 0.

    Three seeds tell little of their variance: of many pairs none would be significant. So a variance is averaged with the mean
    of all, weighted by degrees of freedom, as Smyth (2004, Statistical Applications in Genetics and Molecular Biology 3) does.
    His weight of the mean is estimated, and rejects too often where few configurations differ in their variance. Here it is
    fixed, and no variance becomes smaller than it was found.
    """
    several = freedom > 0
    if several.sum() < FEWEST:
        return variance.astype(np.float64), freedom.astype(np.float64)
    own, found = freedom[several], variance.astype(np.float64)
    averaged = (POOLED * variance[several].mean() + own * variance[several]) / (POOLED + own)
    found[several] = np.maximum(variance[several], averaged)
    return found, np.where(several, freedom + POOLED, freedom).astype(np.float64)


def _to_z(t: FloatArray, freedom: FloatArray) -> FloatArray:
    """The normal variable that is as far out as t >= 0 (Wallace 1959, Annals of Mathematical Statistics 30)."""
    nu = np.minimum(freedom, 1e9)
    return np.asarray((8 * nu + 1) / (8 * nu + 3) * np.sqrt(nu * np.log1p(t**2 / nu)))


def _from_z(z: FloatArray, freedom: FloatArray) -> FloatArray:
    """The inverse of `_to_z`."""
    if np.isinf(freedom).all():
        return z
    nu = np.minimum(freedom, 1e9)
    return np.asarray(np.sqrt(nu * np.expm1(np.minimum((z * (8 * nu + 3) / (8 * nu + 1)) ** 2 / nu, 600.0))))
