"""Thresholds of a multilabel task: from probabilities to label sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.arrays import FloatArray, IntArray

DEFAULT = 0.5
FOLDS = 5
RULE = "micro_f1"
"""The metric of `tuned_thresholds`; part of a run's identity."""


def tuned_thresholds(probabilities: FloatArray, truth: IntArray) -> list[float]:
    """The threshold of each label, for the highest micro-F1 on similar rows.

    `probabilities` and `truth` (0 or 1): shape (rows, labels). For calibrated probabilities one threshold for all labels is
    best (Lipton et al. 2014, "Optimal Thresholding of Classifiers to Maximize F1 Measure", arXiv 1402.1892), and few rows
    suffice; others need one per label (Fan & Lin 2007, "A Study on Threshold Selection for Multi-label Classification") and
    many rows. Cross-validation on the rows decides. A threshold lies midway between two observed probabilities, so that it does
    not depend on their last digits. Without any label in the truth: 0.5.
    """
    given, right = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=np.int64)
    common = one_threshold(given, right)
    found = each_threshold(given, right, common) if _each_is_better(given, right) else np.full(right.shape[1], common)
    return [float(threshold) for threshold in found]


def one_threshold(probabilities: FloatArray, truth: IntArray) -> float:
    """The threshold for all labels with the highest micro-F1 on these rows; of equal ones the nearest to 0.5. Shapes as
    above."""
    if not truth.any():
        return DEFAULT
    cuts = _cuts(probabilities.ravel(), truth.ravel())
    return cuts.best(2 * cuts.right / (cuts.given + truth.sum()), DEFAULT)


def each_threshold(probabilities: FloatArray, truth: IntArray, common: float) -> FloatArray:
    """The thresholds with the highest possible micro-F1 on these rows, shape (labels,); of equal ones the nearest to `common`.

    Micro-F1 is 2 R / (G + P): R of the G predicted labels are right, P are in the truth. For a given F, 2 R - F (G + P) is a
    sum over labels, so each label takes the threshold with the largest 2 right - F given; F is recomputed until it does not
    change. Dinkelbach 1967, "On Nonlinear Fractional Programming", Management Science 13(7), proves that this reaches the
    largest F.
    """
    cuts = [_cuts(p, labelled, common) for p, labelled in zip(probabilities.T, truth.T, strict=True)]
    found = np.full(len(cuts), common)
    reached = micro_f1(probabilities, truth, found)
    while True:
        better = np.array([one.best(2 * one.right - reached * one.given, common) for one in cuts])
        now = micro_f1(probabilities, truth, better)
        if now <= reached:
            return found
        found, reached = better, now


def micro_f1(probabilities: FloatArray, truth: IntArray, thresholds: FloatArray | float) -> float:
    """0 if no label is predicted and none is true."""
    right, given = _counts(probabilities, truth, thresholds)
    return 2 * right / max(1, given + int(truth.sum()))


def _counts(probabilities: FloatArray, truth: IntArray, thresholds: FloatArray | float) -> tuple[int, int]:
    given = probabilities >= thresholds
    return int(truth[given].sum()), int(given.sum())


def _each_is_better(probabilities: FloatArray, truth: IntArray) -> bool:
    """Whether one threshold per label has a higher micro-F1 in 5-fold cross-validation than one for all. The counts of the
    folds are added before F1 is computed, since few rows may have no label at all."""
    place = np.arange(len(truth)) % FOLDS
    one, each = np.zeros(2), np.zeros(2)
    for fold in range(min(FOLDS, len(truth)) if len(truth) > 1 else 0):
        seen, held = (probabilities[place != fold], truth[place != fold]), (probabilities[place == fold], truth[place == fold])
        common = one_threshold(*seen)
        one += _counts(*held, common)
        each += _counts(*held, each_threshold(*seen, common))
    labels = max(1, int(truth.sum()))
    return bool(each[0] / (each[1] + labels) > one[0] / (one[1] + labels))


@dataclass(frozen=True, slots=True)
class _Cuts:
    """All distinct thresholds: arrays of shape (distinct probabilities + 1,). At threshold `at`, in descending order, `given`
    labels are predicted, and `right` of them are in the truth."""

    at: FloatArray
    given: IntArray
    right: IntArray

    def best(self, worth: FloatArray, near: float) -> float:
        """The threshold with the highest `worth`; of equal ones the nearest to `near`."""
        equal = np.flatnonzero(worth >= worth.max() - 1e-9)
        return float(self.at[equal[np.argmin(np.abs(self.at[equal] - near))]])


def _cuts(p: FloatArray, truth: IntArray, keep: float | None = None) -> _Cuts:
    """`p` and `truth`: shape (n,). The first threshold lies above all probabilities, the others midway between two, except for
    `keep`, which replaces the one in its interval."""
    order = np.argsort(-p, kind="stable")
    falling = p[order]
    ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    bounds = np.concatenate([[np.nextafter(1.0, 2.0)], falling[ends], [0.0]])
    high, low = bounds[:-1], bounds[1:]
    at = (high + low) / 2
    at = np.where(at > low, at, high)  # neighbouring floats have no midpoint
    if keep is not None:
        at = np.where((low < keep) & (keep <= high), keep, at)
    given = np.append(0, ends + 1)
    return _Cuts(at, given, np.append(0, np.cumsum(truth[order]))[given])


def labels_above(probabilities: Sequence[float], thresholds: Sequence[float]) -> tuple[int, ...]:
    """The indices of the predicted labels of a row; may be empty."""
    return tuple(index for index, (p, least) in enumerate(zip(probabilities, thresholds, strict=True)) if p >= least)
