"""The mean over languages of the difference of two runs, with its 95% interval."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from harness.core.arrays import FloatArray
from harness.core.predictions import Predictions
from harness.statistics.contrast import difference_of
from harness.statistics.influence import influences, mean_with_interval
from harness.statistics.paired import mean_of_differences


def mean_difference_over(pairs: Sequence[Sequence[Predictions]], metric: str) -> tuple[float, float, float]:
    """`pairs`: A and B on the same rows in the same order, for each language. B - A; NaN where undefined.

    Languages with separate rows: the intervals of the languages are combined (`paired.mean_of_differences`). Where languages
    have groups in common (parallel sentences), their errors are not independent: these groups are summed over the languages,
    and the interval is Student's for the mean of groups.
    """
    if not _share_groups([pair[0] for pair in pairs]):
        return mean_of_differences([difference_of(metric, a, b) for a, b in pairs])
    values: list[float] = []
    parts: list[FloatArray] = []
    for a, b in pairs:
        found = [influences(run, metric) for run in (a, b)]
        if found[0] is None or found[1] is None:
            return float("nan"), float("nan"), float("nan")
        values.append(found[1][0] - found[0][0])
        parts.append(found[1][1] - found[0][1])
    return mean_with_interval(values, parts, [pair[0].groups for pair in pairs])


def _share_groups(runs: Sequence[Predictions]) -> bool:
    groups = [set() if run.groups is None else set(run.groups.tolist()) for run in runs]
    return any(not a.isdisjoint(b) for a, b in combinations(groups, 2))
