"""From the probabilities of a multilabel task to label sets: one threshold for each label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends.base import FloatArray
from harness.statistics.intervals import IntArray

DEFAULT = 0.5


def tuned_thresholds(probabilities: FloatArray, truth: IntArray) -> list[float]:
    """For each label the threshold with the highest F1 on these rows; of equal ones the nearest to a half.

    `probabilities` and `truth` (0 or 1): shape (rows, labels). A threshold lies midway between two probabilities that occur,
    so that it does not hang on the last digit of either. A label that no row has keeps a half.
    Macro-F1 is the mean of what is maximised here. Lipton et al. 2014, "Optimal Thresholding of Classifiers to Maximize
    F1 Measure", arXiv 1402.1892.
    """
    return [_best(probabilities[:, label], truth[:, label]) for label in range(truth.shape[1])]


def _best(probabilities: FloatArray, truth: IntArray) -> float:
    from sklearn.metrics import precision_recall_curve

    if not truth.any():
        return DEFAULT
    precision, recall, at = precision_recall_curve(truth, probabilities)
    total = precision[:-1] + recall[:-1]  # the last point stands for a threshold above all
    f1 = np.divide(2 * precision[:-1] * recall[:-1], total, out=np.zeros_like(total), where=total > 0)
    between = (at + np.concatenate([[0.0], at[:-1]])) / 2
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(between[best[np.argmin(np.abs(between[best] - DEFAULT))]])


def labels_above(probabilities: Sequence[float], thresholds: Sequence[float]) -> tuple[int, ...]:
    """The indices of the labels that a row is given; maybe none."""
    return tuple(index for index, (p, least) in enumerate(zip(probabilities, thresholds, strict=True)) if p >= least)
