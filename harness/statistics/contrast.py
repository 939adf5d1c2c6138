"""A metric of a run, and the differences of configurations in it on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.core.predictions import ObjectArray, Predictions
from harness.core.record import Estimate
from harness.statistics import intervals, paired
from harness.statistics.by_label import OVER_LABELS, few_rows_per_label
from harness.statistics.clusters import numbered, numbered_together
from harness.statistics.covariances import covariance
from harness.statistics.estimates import plain
from harness.statistics.families import LEVEL, REPLICATES, Family, Score, all_pairs
from harness.statistics.jackknife import Parts, parts_of, parts_of_mean
from harness.statistics.metrics import range_of, with_reason
from harness.statistics.paired import Difference
from harness.statistics.row_means import SHARES, SMOOTH, features, hits, known_metrics, losses


def comparable(run: Predictions) -> list[str]:
    """The metrics that pairs of runs like this one can be tested in."""
    return known_metrics(run.labels.kind, probable=run.probabilities is not None)


def value_of(metric: str, run: Predictions) -> Estimate:
    """What `metrics` makes of these rows; only a share has its interval here."""
    if metric in SHARES:
        clusters = numbered(run.groups)
        return with_reason(metric, intervals.share(hits(metric, run), clusters), [], clusters)
    if metric in SMOOTH:
        return plain(
            float(SMOOTH[metric](features(metric, run.labels, run.truth, run.answers).mean(axis=0, keepdims=True))[0][0])
        )
    return plain(float(losses(metric, run).mean()))


def groups_of(runs: Sequence[Predictions]) -> ObjectArray | None:
    """Each row's group, shape (n,), from the first run that has groups; None where none has. The runs are of the same rows in
    the same order."""
    return next((run.groups for run in runs if run.groups is not None), None)


def score_of(seeds: Sequence[Parts]) -> Score:
    """Of one configuration, from what its seeds have on the same rows (or groups)."""
    if len(seeds) == 1:
        return Score(seeds[0].value, seeds[0].parts, seeds[0].pseudo)
    values, parts = np.array([one.value for one in seeds]), np.stack([one.parts for one in seeds])
    seeds_variance, units = float(values.var(ddof=1)) / len(values), parts.shape[1]
    within = float(parts.var(axis=0, ddof=1).sum()) / len(values)
    return Score(
        value=float(values.mean()),
        parts=parts.mean(axis=0),
        pseudo=float(np.mean([one.pseudo for one in seeds])),
        seeds=seeds_variance,
        freedom=len(values) - 1,
        within=min(within, seeds_variance * units**2),  # seeds that are close by chance hold less of it
    )


@dataclass(frozen=True)
class Measured:
    """Configurations on the same rows in one metric. `units`: the names of the groups of rows, shape (G,), in the order of the
    scores' parts; where each row is a unit, how many there are. `sizes`: rows of each group, None without groups."""

    n: int
    scores: list[Score]
    units: ObjectArray | int
    sizes: FloatArray | None

    @property
    def is_defined(self) -> bool:
        return all(score.is_defined for score in self.scores)

    @property
    def values(self) -> FloatArray:
        """Means over the seeds, shape (k,)."""
        return np.array([score.value for score in self.scores])

    @property
    def parts(self) -> FloatArray:
        """Shape (units, k)."""
        return np.stack([score.parts for score in self.scores], axis=1)

    @property
    def of_seeds(self) -> FloatArray:
        """The variance of the values that seeds add to that of the rows, shape (k,), 0 with one seed. What is in both is taken
        out."""
        both = [min(score.within, float(score.parts @ score.parts)) / len(score.parts) ** 2 for score in self.scores]
        return np.array([score.seeds for score in self.scores]) - both

    @property
    def covariance(self) -> FloatArray:
        """Of the values, of rows and seeds together, shape (k, k)."""
        return covariance([self.parts], numbered_together([self.units])) + np.diag(self.of_seeds)


def measured(metric: str, configurations: Sequence[Sequence[Predictions]]) -> Measured:
    """Of configurations, each with the runs of its seeds; all runs are of the same rows in the same order."""
    groups = groups_of([run for seeds in configurations for run in seeds])
    units = numbered(groups)
    scores = [score_of([parts_of(metric, run, units) for run in seeds]) for seeds in configurations]
    n = len(configurations[0][0])
    if groups is None:
        return Measured(n, scores, n, None)
    return Measured(n, scores, np.unique(groups.astype(str)).astype(object), _sizes(units))


def not_tested(metric: str, run: Predictions) -> str | None:
    """Why these rows can't show a difference in this metric: a mean over labels of which each has few rows; None where they
    can."""
    return few_rows_per_label(run.support) if metric in OVER_LABELS else None


def span_of(metric: str, run: Predictions) -> float:
    """The largest difference that there can be in this metric."""
    low, high = range_of(metric, len(run.labels))
    return high - low


def differences_of(
    metric: str, configurations: Sequence[Sequence[Predictions]], *, replicates: int = REPLICATES, seed: int = 0
) -> Family:
    """All pairs of configurations; see `measured`. Neither p nor interval where `not_tested`."""
    if metric in SHARES:
        right = [[hits(metric, run) for run in seeds] for seeds in configurations]
        units = numbered(groups_of([run for seeds in configurations for run in seeds]))
        return share_differences(right, units, replicates=replicates, seed=seed)
    first = configurations[0][0]
    found = measured(metric, configurations)
    if not_tested(metric, first) is not None:
        unknown = np.full(len(found.scores[0].parts), np.nan)
        found = replace(found, scores=[replace(score, parts=unknown) for score in found.scores])
    span = span_of(metric, first)
    return all_pairs(found.scores, found.sizes, span=span, replicates=replicates, seed=seed)


def share_differences(
    right: Sequence[Sequence[BoolArray]], units: IntArray | None = None, *, replicates: int = REPLICATES, seed: int = 0
) -> Family:
    """All pairs of configurations in a share of the rows: which rows each seed has right, shape (n,).

    Two runs are compared by the exact test of McNemar and its interval, unless the rows are in groups.
    """
    if len(right) == 2 and units is None and all(len(seeds) == 1 for seeds in right):
        return _of_two(paired.share_difference(right[0][0], right[1][0]))
    scores = [score_of([parts_of_mean(one.astype(np.float64), units) for one in seeds]) for seeds in right]
    return _not_certain(all_pairs(scores, _sizes(units), span=1.0, replicates=replicates, seed=seed), len(scores[0].parts))


def _not_certain(family: Family, units: int) -> Family:
    """With an interval for pairs that are right in the same rows: that no row of a sample differs does not say that none ever
    will. It is that of 0 differing rows (groups) in so many, at a level that is shared by all pairs (Bonferroni)."""
    same = (family.low == 0) & (family.high == 0)
    reach = 1 - (LEVEL / 2 / len(family)) ** (1 / units)
    return replace(family, low=np.where(same, -reach, family.low), high=np.where(same, reach, family.high))


def _sizes(units: IntArray | None) -> FloatArray | None:
    return None if units is None else np.bincount(units).astype(np.float64)


def difference_of(metric: str, a: Predictions, b: Predictions, *, replicates: int = REPLICATES, seed: int = 0) -> Difference:
    """B - A of two runs, on the same rows in the same order."""
    return difference_at(differences_of(metric, [[a], [b]], replicates=replicates, seed=seed), 0)


def difference_at(family: Family, place: int) -> Difference:
    """One pair of a family: its p is the one of the pair alone, its interval the simultaneous one."""
    value, low, high, p, detectable = (
        float(column[place]) for column in (family.value, family.low, family.high, family.p, family.detectable)
    )
    return Difference(value, low, high, p, detectable, family.method)


def _of_two(found: Difference) -> Family:
    columns = {name: np.array([getattr(found, name)]) for name in ("value", "low", "high", "p", "detectable")}
    return Family(np.array([0]), np.array([1]), **columns, p_adjusted=columns["p"], method="mcnemar")
