"""The mean over languages of the difference of two runs, with its 95% interval."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from harness.core.arrays import FloatArray
from harness.core.predictions import ObjectArray, Predictions
from harness.statistics.clusters import numbered_together
from harness.statistics.contrast import difference_of, measured
from harness.statistics.covariances import covariance
from harness.statistics.paired import mean_of_differences


def mean_difference_over(pairs: Sequence[Sequence[Predictions]], metric: str) -> tuple[float, float, float]:
    """`pairs`: A and B on the same rows in the same order, for each language. B - A; NaN where undefined.

    Languages with separate rows: the intervals of the languages are combined (`paired.mean_of_differences`). Where languages
    have groups in common (parallel sentences), their errors are not independent: these groups are summed over the languages,
    and the interval is Student's for the mean of groups.
    """
    if not _share_groups([pair[0] for pair in pairs]):
        return mean_of_differences([difference_of(metric, a, b) for a, b in pairs])
    found = [measured(metric, [[a], [b]]) for a, b in pairs]
    if not all(one.is_defined for one in found):
        return float("nan"), float("nan"), float("nan")
    values = [float(one.values[1] - one.values[0]) for one in found]
    return mean_with_interval(values, [one.parts[:, 1] - one.parts[:, 0] for one in found], [one.units for one in found])


def mean_with_interval(
    values: Sequence[float], parts: Sequence[FloatArray], units: Sequence[ObjectArray | int]
) -> tuple[float, float, float]:
    """The mean of values on several sets of rows, and its 95% interval: Student's with G - 1 degrees of freedom for G units.
    `parts`: of each set, shape (units,); `units`: see `numbered_together`."""
    from scipy.stats import t

    numbers = numbered_together(units)
    share = np.full(len(values), 1 / len(values))
    error = float(np.sqrt(share @ covariance([part[:, None] for part in parts], numbers) @ share))
    many = len(np.unique(np.concatenate(numbers)))
    value, reach = float(np.mean(values)), float(t.ppf(0.975, max(many - 1, 1))) * error
    return value, value - reach, value + reach


def _share_groups(runs: Sequence[Predictions]) -> bool:
    groups = [set() if run.groups is None else set(run.groups.tolist()) for run in runs]
    return any(not a.isdisjoint(b) for a, b in combinations(groups, 2))
