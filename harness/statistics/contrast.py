"""A metric of a run, and the difference of two runs in it on the same rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.arrays import IntArray
from harness.core.predictions import Predictions
from harness.core.record import Estimate
from harness.core.types import LabelKind, LabelSpace
from harness.statistics import intervals, paired
from harness.statistics.intervals import MANY, occurring
from harness.statistics.paired import LEVEL, REPLICATES, Difference, Patterns
from harness.statistics.row_means import SHARES, SMOOTH, features, hits, known_metrics, losses


def comparable(run: Predictions) -> list[str]:
    """The metrics that pairs of runs like this one can be tested in."""
    return known_metrics(run.labels.kind, probable=run.probabilities is not None)


def value_of(metric: str, run: Predictions) -> Estimate:
    """What `metrics` makes of these rows; only a share has its interval here."""
    if metric in SHARES:
        return intervals.share(hits(metric, run))
    if metric in SMOOTH:
        return intervals.plain(
            float(SMOOTH[metric](features(metric, run.labels, run.truth, run.answers).mean(axis=0, keepdims=True))[0][0])
        )
    return intervals.plain(float(losses(metric, run).mean()))


def difference_of(
    metric: str, a: Predictions, b: Predictions, level: float = LEVEL, *, replicates: int = REPLICATES, seed: int = 0
) -> Difference:
    """B - A, on the same rows in the same order; `level` is what `detectable` is about."""
    if metric in SHARES:
        return paired.share_difference(hits(metric, a), hits(metric, b), level)
    if metric not in SMOOTH:
        return paired.mean_difference(losses(metric, a), losses(metric, b), level, replicates=replicates, seed=seed)
    if a.labels.kind is LabelKind.NOMINAL and len(a.labels) > MANY:
        a, b = _occurring(a, b)
    seen, pseudo = _seen(metric, a, b), _pseudo(metric, a, b)
    return paired.counted_difference(SMOOTH[metric], seen, pseudo, level, replicates=replicates, seed=seed)


def _occurring(a: Predictions, b: Predictions) -> tuple[Predictions, Predictions]:
    """The same runs with those labels alone that occur in the truth or an answer: no other label is a part of an F1."""
    n, k = len(a), len(a.labels)
    truth, answers, few = occurring(np.concatenate([a.truth, b.truth]), np.concatenate([a.answers, b.answers]), k)
    labels = LabelSpace(a.labels.kind, tuple(map(str, range(few))))
    ours = replace(a, labels=labels, truth=truth[:n], answers=answers[:n], probabilities=None)
    return ours, replace(b, labels=labels, truth=truth[n:], answers=answers[n:], probabilities=None)


def _seen(metric: str, a: Predictions, b: Predictions) -> Patterns:
    """The patterns (truth, answer of A, answer of B) of the rows."""
    _, rows, counts = np.unique(_codes(a, b), return_index=True, return_counts=True)
    ours, theirs = (features(metric, a.labels, run.truth[rows], run.answers[rows]) for run in (a, b))
    return Patterns(ours, theirs, counts.astype(np.float64))


def _pseudo(metric: str, a: Predictions, b: Predictions) -> Patterns:
    """One row in which only A is right and one in which only B is, spread over the true labels by frequency, and evenly over
    the wrong ones. Of a multilabel task: a label that one has found and the other has not."""
    k = len(a.labels)
    if a.labels.kind is LabelKind.MULTILABEL:
        right, wrong = np.eye(k, dtype=np.int64), np.zeros((k, k), dtype=np.int64)
        often = a.truth.sum(axis=0)
        occurs = np.flatnonzero(often if often.any() else often + 1)
        right, wrong = right[occurs], wrong[occurs]
        truth, shares = right, (often if often.any() else often + 1)[occurs] / max(often.sum(), len(occurs))
    else:
        cells = a.confusion_matrix + b.confusion_matrix
        occurs = cells.sum(axis=1) > 0  # a label that only one model names would be a part of the other's mean too
        others = (occurs if occurs.sum() > 1 else ~occurs)[None, :] & ~np.eye(k, dtype=bool) & (cells.sum(axis=1) > 0)[:, None]
        truth, wrong = np.nonzero(others)
        right, shares = truth, (cells.sum(axis=1) / cells.sum() / np.maximum(others.sum(axis=1), 1))[truth]
        if k > MANY:
            return _merged(metric, a.labels, np.flatnonzero(occurs), cells.sum(axis=1))
    good, bad = features(metric, a.labels, truth, right), features(metric, a.labels, truth, wrong)
    return Patterns(np.vstack([good, bad]), np.vstack([bad, good]), np.concatenate([shares, shares]))


def _merged(metric: str, labels: LabelSpace, truth: IntArray, often: IntArray) -> Patterns:
    """The patterns of `_pseudo` for many labels: those of one true label are merged into their mean, as k * k are too many."""
    good = features(metric, labels, truth, truth)
    none = features(metric, labels, truth, np.full(len(truth), len(labels)))  # what a wrong answer has, but for the answer
    named = (good - none).sum(axis=0, keepdims=True) - (good - none)
    hits = np.arange(good.shape[1]) < len(labels)  # of a wrong answer there are none
    bad = none + np.where(hits, 0.0, named / max(len(truth) - 1, 1))
    shares = often[truth] / often.sum()
    return Patterns(np.vstack([good, bad]), np.vstack([bad, good]), np.concatenate([shares, shares]))


def _codes(a: Predictions, b: Predictions) -> NDArray[Any]:
    """Shape (n,), the same for rows of the same pattern."""
    if a.labels.kind is LabelKind.MULTILABEL:
        bits = np.packbits(np.hstack([a.truth, a.answers, b.answers]).astype(bool), axis=1)
        return np.asarray(bits.view(np.dtype((np.void, bits.shape[1])))[:, 0])
    one_more = len(a.labels) + 1
    return np.asarray((a.truth * one_more + a.answers) * one_more + b.answers)
