"""Metrics as smooth functions of means over rows: the value, and its gradient, which gives the standard error.

A row has features (is label j hit, how often is label j named, ...); a metric is a function of their means. Its standard
error is that of the mean of gradient times features (the delta method). Values are those of `metrics`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.core.types import FloatArray, IntArray
from harness.statistics.intervals import farthest_labels

Smooth = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""From means of m features, shape (r, m), to r values and their gradients, shape (r, m). NaN where undefined."""


def f1_features(truth: IntArray, answers: IntArray) -> FloatArray:
    """Shape (n, 3 k), from 0/1 arrays of shape (n, k): the label is hit; named (by the truth, by the answer); true."""
    return np.hstack([truth & answers, truth + answers, truth]).astype(np.float64)


def one_hot(labels: IntArray, k: int) -> IntArray:
    """Shape (n, k); the label k, no answer, is a row of zeros. Without a k x k matrix: there may be thousands of labels."""
    found = np.zeros((len(labels), k + 1), dtype=np.int64)
    found[np.arange(len(labels)), labels] = 1
    return found[:, :k]


def macro_f1(means: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of `f1_features`: the mean of 2 hits / named over the labels that are named at all."""
    hits, named, _ = np.split(means, 3, axis=1)
    there = named > 0
    safe = np.where(there, named, 1.0)
    labels = there.sum(axis=1, keepdims=True)
    share = there / np.where(labels, labels, np.nan)
    gradient = np.hstack([2 / safe * share, -2 * hits / safe**2 * share, np.zeros_like(hits)])
    return np.asarray((2 * hits / safe * share).sum(axis=1)), gradient


def weighted_f1(means: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of `f1_features`: 2 hits / named, weighted by how often the label is true."""
    hits, named, true = np.split(means, 3, axis=1)
    safe = np.where(named > 0, named, 1.0)
    f1 = 2 * hits / safe
    return np.asarray((f1 * true).sum(axis=1)), np.hstack([2 * true / safe, -f1 * true / safe, f1])


def micro_f1(means: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of `f1_features`: 2 hits / named over all labels together."""
    hits, named, true = np.split(means, 3, axis=1)
    below = named.sum(axis=1, keepdims=True)
    below = np.where(below > 0, below, np.nan)
    value = 2 * hits.sum(axis=1, keepdims=True) / below
    ones = np.ones_like(hits)
    return value[:, 0], np.hstack([2 * ones / below, -value / below * ones, np.zeros_like(true)])


def mean(means: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of one feature: itself."""
    return means[:, 0], np.ones_like(means)


def distances(truth: IntArray, answers: IntArray, k: int) -> FloatArray:
    """Shape (n,): steps between truth and answer; no answer (k) is as far off as can be. Its mean is the MAE."""
    return np.asarray(np.abs(truth - filled(truth, answers, k)), dtype=np.float64)


def filled(truth: IntArray, answers: IntArray, k: int) -> IntArray:
    """The answers, shape (n,), with the label farthest from the truth where there is none."""
    return np.asarray(np.where(answers == k, farthest_labels(k)[truth], answers))


def qwk_features(truth: IntArray, answers: IntArray, k: int) -> FloatArray:
    """Shape (n, 1 + 2 k): squared distance, true label, answer."""
    given = filled(truth, answers, k)
    return np.hstack([(truth - given)[:, None] ** 2, one_hot(truth, k), one_hot(given, k)]).astype(np.float64)


def qwk(means: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of `qwk_features`: 1 - observed / expected squared distance (Cohen 1968)."""
    k = (means.shape[1] - 1) // 2
    observed, truth, answers = means[:, :1], means[:, 1 : k + 1], means[:, k + 1 :]
    weights = (np.arange(k)[:, None] - np.arange(k)[None, :]) ** 2.0
    expected = ((truth @ weights) * answers).sum(axis=1, keepdims=True)
    expected = np.where(expected > 1e-12, expected, np.nan)
    ratio = observed / expected
    gradient = np.hstack([-1 / expected, ratio / expected * (answers @ weights), ratio / expected * (truth @ weights)])
    return 1 - ratio[:, 0], gradient
