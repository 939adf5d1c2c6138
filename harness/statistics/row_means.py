"""A run's metric from its rows: a share of hits, a mean of losses, or a smooth function of the means of features."""

from __future__ import annotations

import numpy as np

from harness.core.predictions import Predictions
from harness.core.types import BoolArray, FloatArray, IntArray, LabelKind, LabelSpace
from harness.statistics import smooth
from harness.statistics.intervals import farthest_labels
from harness.statistics.smooth import Smooth

SHARES = ("accuracy", "subset_accuracy", "off_by_one")
SMOOTH = {
    "macro_f1": smooth.macro_f1,
    "weighted_f1": smooth.weighted_f1,
    "micro_f1": smooth.micro_f1,
    "qwk": smooth.qwk,
    "mae": smooth.mean,
    "hamming_loss": smooth.mean,
}


def known_metrics(kind: LabelKind, *, probable: bool) -> list[str]:
    """What can be computed from rows; `probable`: with probabilities. Not ROC AUC, ECE and Spearman, which are no such
    function, and not the binary accuracy, whose threshold no record holds."""
    if kind is LabelKind.MULTILABEL:
        return ["micro_f1", "macro_f1", "subset_accuracy", "hamming_loss"]
    ordinal = ["mae", "qwk", "off_by_one"] if kind is LabelKind.ORDINAL else []
    return ["accuracy", "macro_f1", "weighted_f1", *ordinal, *(["log_loss", "brier"] if probable else [])]


def features_of(run: Predictions, metric: str) -> tuple[FloatArray, Smooth] | None:
    """Features of shape (n, m), and the metric as a function of their means; None for a metric that this run does not have."""
    if metric not in known_metrics(run.labels.kind, probable=run.probabilities is not None):
        return None
    if metric in SMOOTH:
        return features(metric, run.labels, run.truth, run.answers), SMOOTH[metric]
    values = hits(metric, run) if metric in SHARES else losses(metric, run)
    return np.asarray(values, dtype=np.float64)[:, None], smooth.mean


def hits(metric: str, run: Predictions) -> BoolArray:
    """Of one of `SHARES`, shape (n,)."""
    return run.answered & (np.abs(run.truth - run.answers) <= 1) if metric == "off_by_one" else run.correct


def losses(metric: str, run: Predictions) -> FloatArray:
    """Log loss or Brier score of each row, shape (n,); their mean is the metric, as `metrics` defines it for rows without an
    answer too."""
    k = len(run.labels)
    probabilities = np.asarray(run.probabilities)
    worst = smooth.one_hot(farthest_labels(k)[run.truth], k)
    given = np.where(run.answered[:, None], probabilities, worst)
    if metric == "log_loss":
        tiny = np.finfo(np.float64).eps
        return np.asarray(-np.log(np.clip(given[np.arange(len(given)), run.truth], tiny, 1 - tiny)))
    return np.asarray(((given - smooth.one_hot(run.truth, k)) ** 2).sum(axis=1))


def features(metric: str, labels: LabelSpace, truth: IntArray, answers: IntArray) -> FloatArray:
    """Of one of `SMOOTH`, shape (n, m)."""
    k = len(labels)
    if metric == "qwk":
        return smooth.qwk_features(truth, answers, k)
    if metric == "mae":
        return smooth.distances(truth, answers, k)[:, None]
    if metric == "hamming_loss":
        return np.asarray((truth != answers).mean(axis=1, keepdims=True))
    if labels.kind is LabelKind.MULTILABEL:
        return smooth.f1_features(truth, answers)
    return smooth.f1_features(smooth.one_hot(truth, k), smooth.one_hot(answers, k))
