"""The covariance of metrics on sets of rows that may have groups in common.

The error of a metric is, to first order, the mean over the units (rows, or groups of rows) of their parts; see `jackknife`. So
the joint error of several metrics is that of means of parts. Units that several sets share (parallel sentences) make them
dependent: the cluster-robust covariance (Liang and Zeger 1986; Field and Welsh 2007 for its equivalence to resampling groups).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.core.arrays import FloatArray, IntArray


def covariance(parts: Sequence[FloatArray], units: Sequence[IntArray]) -> FloatArray:
    """Of all columns of all sets, shape (m, m) with m their number. `parts`: of each set, shape (units, k), mean 0; `units`:
    their numbers, shape (units,), as `clusters.numbered_together` makes them. Sets that share no unit are independent."""
    widths = [part.shape[1] for part in parts]
    starts = np.concatenate([[0], np.cumsum(widths)])
    found = np.zeros((starts[-1], starts[-1]))
    for block in _sharing(units):
        names, number = np.unique(np.concatenate([units[place] for place in block]), return_inverse=True)
        many = len(names)
        sums = np.zeros((many, sum(widths[place] for place in block)))
        row, column = 0, 0
        columns: list[int] = []
        for place in block:
            n, k = parts[place].shape
            sums[number[row : row + n], column : column + k] = parts[place] / n
            columns += range(starts[place], starts[place] + k)
            row, column = row + n, column + k
        found[np.ix_(columns, columns)] = sums.T @ sums * (many / max(many - 1, 1))
    return found


def _sharing(units: Sequence[IntArray]) -> list[list[int]]:
    """The places of the sets, those that share units together."""
    blocks: list[tuple[set[int], list[int]]] = []
    for place, own in enumerate(units):
        held, places = set(own.tolist()), [place]
        for other in [block for block in blocks if not block[0].isdisjoint(held)]:
            blocks.remove(other)
            held, places = held | other[0], other[1] + places
        blocks.append((held, places))
    return [places for _, places in blocks]


def root(covariance_of: FloatArray) -> FloatArray:
    """A matrix whose product with its transpose is the covariance, which may be singular (equal predictions)."""
    values, vectors = np.linalg.eigh(covariance_of)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
