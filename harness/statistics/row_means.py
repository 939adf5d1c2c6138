"""A run's metric from its rows: a share of hits, a mean of losses, or a smooth function of the means of features.

A row has features (is label j hit, how often is it named, ...), and a smooth metric is a function of their means. Its gradient
gives the standard error, that of the mean of gradient times features (the delta method). Values are those of `metrics`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.core.predictions import Predictions
from harness.core.types import LabelKind, LabelSpace
from harness.statistics.intervals import farthest_labels
from harness.statistics.temperature import unrounded

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


def label_mean(means: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of `label_features`: the mean over labels of the mean score of their rows, over the labels that have rows."""
    sums, rows = np.split(means, 2, axis=1)
    there = rows > 0
    safe = np.where(there, rows, 1.0)
    labels = there.sum(axis=1, keepdims=True)
    share = there / np.where(labels, labels, np.nan)
    return np.asarray((sums / safe * share).sum(axis=1)), np.hstack([share / safe, -sums / safe**2 * share])


def label_features(truth: IntArray, scores: FloatArray, k: int) -> FloatArray:
    """Shape (n, 2 k): the row's score at its true label; true."""
    true = one_hot(truth, k)
    return np.hstack([true * scores[:, None], true]).astype(np.float64)


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


SHARES = ("accuracy", "subset_accuracy", "off_by_one")
SMOOTH = {
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "micro_f1": micro_f1,
    "balanced_accuracy": label_mean,
    "macro_mae": label_mean,
    "qwk": qwk,
    "mae": mean,
    "hamming_loss": mean,
}


def known_metrics(kind: LabelKind, *, probable: bool) -> list[str]:
    """What can be computed from rows; `probable`: with probabilities. Not ROC AUC, ECE and Spearman, which are no such
    function, and not the binary accuracy, whose threshold no record holds."""
    if kind is LabelKind.MULTILABEL:
        return ["micro_f1", "macro_f1", "subset_accuracy", "hamming_loss"]
    ordinal = ["mae", "macro_mae", "qwk", "off_by_one"] if kind is LabelKind.ORDINAL else []
    return ["accuracy", "macro_f1", "balanced_accuracy", "weighted_f1", *ordinal, *(["log_loss", "brier"] if probable else [])]


def features_of(run: Predictions, metric: str) -> tuple[FloatArray, Smooth] | None:
    """Features of shape (n, m), and the metric as a function of their means; None for a metric that this run does not have."""
    if metric not in known_metrics(run.labels.kind, probable=run.probabilities is not None):
        return None
    if metric in SMOOTH:
        return features(metric, run.labels, run.truth, run.answers), SMOOTH[metric]
    values = hits(metric, run) if metric in SHARES else losses(metric, run)
    return np.asarray(values, dtype=np.float64)[:, None], mean


def hits(metric: str, run: Predictions) -> BoolArray:
    """Of one of `SHARES`, shape (n,)."""
    return run.answered & (np.abs(run.truth - run.answers) <= 1) if metric == "off_by_one" else run.correct


def losses(metric: str, run: Predictions) -> FloatArray:
    """Log loss or Brier score of each row, shape (n,); their mean is the metric, as `metrics` defines it for rows without an
    answer too."""
    k = len(run.labels)
    probabilities = np.asarray(run.probabilities)
    worst = one_hot(farthest_labels(k)[run.truth], k)
    if metric == "log_loss":
        given = np.where(run.answered[:, None], unrounded(probabilities), worst)
        tiny = np.finfo(np.float64).eps
        return np.asarray(-np.log(np.clip(given[np.arange(len(given)), run.truth], tiny, 1 - tiny)))
    return np.asarray(((np.where(run.answered[:, None], probabilities, worst) - one_hot(run.truth, k)) ** 2).sum(axis=1))


def features(metric: str, labels: LabelSpace, truth: IntArray, answers: IntArray) -> FloatArray:
    """Of one of `SMOOTH`, shape (n, m)."""
    k = len(labels)
    if metric == "qwk":
        return qwk_features(truth, answers, k)
    if metric == "balanced_accuracy":
        return label_features(truth, (truth == answers).astype(np.float64), k)
    if metric == "macro_mae":
        return label_features(truth, distances(truth, answers, k), k)
    if metric == "mae":
        return distances(truth, answers, k)[:, None]
    if metric == "hamming_loss":
        return np.asarray((truth != answers).mean(axis=1, keepdims=True))
    if labels.kind is LabelKind.MULTILABEL:
        return f1_features(truth, answers)
    return f1_features(one_hot(truth, k), one_hot(answers, k))
