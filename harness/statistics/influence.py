"""A run's metric as a value and what each row adds to its error; the covariance of several such values.

The error of a smooth function of means is, to first order, the mean over rows of an influence: the gradient times the row's
features less their mean (the delta method; Hampel 1974). So the joint error of several metrics is that of means of
influences. Rows of one group (a film, an author, parallel sentences) are summed before their products are taken: the
cluster-robust covariance (Liang and Zeger 1986; Field and Welsh 2007 for its equivalence to resampling groups).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.core.arrays import FloatArray, IntArray
from harness.core.predictions import ObjectArray, Predictions
from harness.statistics.row_means import features_of


def influences(run: Predictions, metric: str) -> tuple[float, FloatArray] | None:
    """The value, and the influence of each row, shape (n,), mean 0; None for a metric that is no function of means over rows,
    or that is undefined here."""
    found = features_of(run, metric)
    if found is None:
        return None
    rows, metric_of = found
    means = rows.mean(axis=0)
    values, gradients = metric_of(means[None, :])
    if not np.isfinite(values[0]):
        return None
    return float(values[0]), np.asarray((rows - means) @ gradients[0])


def units_of(groups: Sequence[ObjectArray | None], sizes: Sequence[int]) -> list[IntArray]:
    """A number for what each row was sampled with, for several sets of rows: equal groups have equal numbers in all sets, and
    rows without a group are units of their own. `sizes`: rows of each set."""
    numbers: dict[object, int] = {}
    found = []
    for place, (own, size) in enumerate(zip(groups, sizes, strict=True)):
        keys = [(place, row) for row in range(size)] if own is None else own.tolist()
        found.append(np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64))
    return found


def covariance(parts: Sequence[FloatArray], units: Sequence[IntArray]) -> FloatArray:
    """Of the means of all columns of all parts, shape (m, m) with m their number. `parts`: influences on separate sets of rows,
    shapes (n, k); `units`: of each part, shape (n,), as `units_of` makes them. Parts that share no unit are independent."""
    widths = [part.shape[1] for part in parts]
    starts = np.concatenate([[0], np.cumsum(widths)])
    found = np.zeros((starts[-1], starts[-1]))
    for block in _sharing(units):
        _, number = np.unique(np.concatenate([units[place] for place in block]), return_inverse=True)
        sums = np.zeros((int(number.max()) + 1, sum(widths[place] for place in block)))
        row, column = 0, 0
        columns: list[int] = []
        for place in block:
            n, k = parts[place].shape
            np.add.at(sums[:, column : column + k], number[row : row + n], parts[place] / n)
            columns += range(starts[place], starts[place] + k)
            row, column = row + n, column + k
        many = len(sums)
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


def mean_with_interval(
    values: Sequence[float], parts: Sequence[FloatArray], groups: Sequence[ObjectArray | None]
) -> tuple[float, float, float]:
    """The mean of values on several sets of rows (languages) whose groups may be shared, and its 95% interval.

    `parts`: influences, shapes (n,). The interval is Student's with G - 1 degrees of freedom, G the number of units.
    """
    from scipy.stats import t

    units = units_of(groups, [len(part) for part in parts])
    share = np.full(len(values), 1 / len(values))
    error = float(np.sqrt(share @ covariance([part[:, None] for part in parts], units) @ share))
    many = len(np.unique(np.concatenate(units)))
    value, reach = float(np.mean(values)), float(t.ppf(0.975, max(many - 1, 1))) * error
    return value, value - reach, value + reach
