"""Metrics of confusion matrices, of many at once: the truth about a population, and the rivals."""

from __future__ import annotations

import numpy as np

from harness.core.arrays import FloatArray
from harness.statistics.intervals import Counts, ratio


def accuracy(cells: Counts) -> FloatArray:
    """Share of the rows on the diagonal, of matrices of shape (r, k, k + 1)."""
    return np.asarray(np.trace(cells, axis1=1, axis2=2) / cells.sum(axis=(1, 2)))


def macro_f1(cells: Counts) -> FloatArray:
    """Mean F1 of the labels, of matrices of shape (r, k, k + 1); a label in neither truth nor answers is left out."""
    return mean_of_defined(f1_per_label(cells))


def weighted_f1(cells: Counts) -> FloatArray:
    """F1 of the labels weighted by their rows, of matrices of shape (r, k, k + 1)."""
    support = cells.sum(axis=2)
    f1 = np.nan_to_num(f1_per_label(cells))  # undefined only where the weight is 0
    return np.asarray((f1 * support).sum(axis=1) / support.sum(axis=1))


def f1_per_label(cells: Counts) -> FloatArray:
    """Shape (r, k). The column without answers adds to a label's misses and belongs to no label."""
    k = cells.shape[1]
    hits = np.diagonal(cells, axis1=1, axis2=2)  # the shorter side: k entries
    return ratio(2 * hits, cells.sum(axis=2) + cells[:, :, :k].sum(axis=1))


def mean_of_defined(values: FloatArray) -> FloatArray:
    """Row means of (r, k) values without those that are NaN; NaN where all are."""
    return ratio(np.nan_to_num(values).sum(axis=1), (~np.isnan(values)).sum(axis=1))
