"""Rows that were sampled in groups (reviews of one film, sentences of one document): the variance of sums over them.

Rows of a group are alike, so that n rows tell less than n independent ones. The design effect says how many times the variance
grows (Kish 1965): the variance of the sums by group over that of independent rows. It counts as at least 1, as an estimate
below 1 is chance where there are few groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from harness.core.arrays import FloatArray, IntArray
from harness.core.predictions import ObjectArray

FEWEST_GROUPS = 10
"""With fewer groups the variance between them is not known well enough for an interval; see docs/statistics.md."""


def numbered(groups: Iterable[str | None] | None) -> IntArray | None:
    """Numbers from 0 for the groups of n rows, shape (n,). None without groups, or where some row has none."""
    groups = [] if groups is None else list(groups)
    if not groups or any(group is None for group in groups):
        return None
    return np.unique(np.array(groups, dtype=str), return_inverse=True)[1].astype(np.int64)


def numbered_together(units: Sequence[ObjectArray | int]) -> list[IntArray]:
    """Numbers for the units of several sets of rows. `units`: of each set the names of its groups, shape (G,), which have the
    same number in all sets; or how many rows it has, where each row is a unit of its own."""
    numbers: dict[object, int] = {}
    found = []
    for place, own in enumerate(units):
        keys = [(place, row) for row in range(own)] if isinstance(own, int) else own.tolist()
        found.append(np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64))
    return found


def group_count(clusters: IntArray) -> int:
    """How many groups `clusters`, numbered from 0, has."""
    return int(clusters.max()) + 1


def sums(values: FloatArray, clusters: IntArray) -> FloatArray:
    """Of `values`, shape (n,), by group; shape (G,)."""
    return np.bincount(clusters, weights=values).astype(np.float64)


def variance_of_sum(influences: FloatArray, clusters: IntArray | None) -> float:
    """Of the sum of influences whose mean is about 0, shape (n,): that of independent rows times the design effect."""
    n = len(influences)
    rows = float((influences**2).sum()) * n / max(n - 1, 1)
    return rows if clusters is None else rows * design_effect(influences, clusters)


def design_effect(influences: FloatArray, clusters: IntArray) -> float:
    """How many times larger the variance of the sum is than with independent rows, at least 1. Influences without any spread
    say nothing of it: then each group counts as one row."""
    n, groups = len(influences), group_count(clusters)
    rows = float((influences**2).sum()) * n / max(n - 1, 1)
    if rows <= 1e-24 * max(float(np.abs(influences).max()), 1.0):
        return n / groups
    between = float((sums(influences, clusters) ** 2).sum()) * groups / max(groups - 1, 1)
    return max(1.0, between / rows)


def degrees(n: int, clusters: IntArray | None) -> int:
    """Of freedom, of that variance: rows, or groups, less one."""
    return (n if clusters is None else group_count(clusters)) - 1


def quantile(n: int, clusters: IntArray | None) -> float:
    """Of Student's t at 97.5%. NaN for a single row or group."""
    from scipy.stats import t

    freedom = degrees(n, clusters)
    return float(t.ppf(0.975, freedom)) if freedom > 0 else math.nan


def method_of(method: str, clusters: IntArray | None) -> str:
    """The name of an interval's method: of rows in groups `cluster_wilson`, say."""
    return method if clusters is None else f"cluster_{method}"


def too_few(clusters: IntArray | None) -> str | None:
    """Why there is no interval of rows in so few groups; None where there are enough, or no groups."""
    groups = FEWEST_GROUPS if clusters is None else group_count(clusters)
    if groups >= FEWEST_GROUPS:
        return None
    return f"the rows are of {groups} group{'s' if groups > 1 else ''}, at least {FEWEST_GROUPS} are needed"
