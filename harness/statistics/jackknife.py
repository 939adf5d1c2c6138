"""What each row, or each group of rows, adds to the error of a metric: the delete-one jackknife.

The part of unit i is (units - 1) (value of all rows - value without the unit i). For a mean over rows it is the row's value
less the mean. For a function of counts it needs no gradient, and its variance is not too small where labels have few rows: its
expectation is at least the true variance (Efron and Stein 1981, Annals of Statistics 9).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from harness.core.arrays import FloatArray, IntArray
from harness.core.predictions import Predictions
from harness.core.types import LabelKind
from harness.statistics.intervals import occurring
from harness.statistics.row_means import SHARES, SMOOTH, Smooth, features, hits, losses, mean

_AT_ONCE = 4_000_000
"""Entries of an array: bounds the memory."""
_FEW = 10
"""Up to so many labels each wrong answer is tried in a pseudo-row, of more labels one."""


class Parts(NamedTuple):
    """`value`: the metric; `parts`: shape (units,), in the order of the rows or of the numbers of the groups; `pseudo`: see
    `families.Score`."""

    value: float
    parts: FloatArray
    pseudo: float


def parts_of(metric: str, run: Predictions, units: IntArray | None = None) -> Parts:
    """Of one run; `units`: the groups of the rows, see `clusters.numbered`."""
    if metric not in SMOOTH:
        values = hits(metric, run) if metric in SHARES else losses(metric, run)
        return parts_of_mean(values.astype(np.float64), units)
    if run.labels.kind is LabelKind.NOMINAL:
        run = _occurring(run)
    truth, answers, inverse, counts = _patterns(run, units)
    rows = _Rows(metric, run, truth, answers)
    total = rows.total(counts)
    own = float(SMOOTH[metric](total[None] / len(run))[0][0])
    if units is None:
        without = np.concatenate([SMOOTH[metric]((total - part) / max(len(run) - 1, 1))[0] for part in rows.chunks()])
        parts = (len(run) - 1) * (own - without[inverse])
    else:
        sizes = np.bincount(units)
        sums = np.zeros((len(sizes), len(total)))
        for place, part in zip(rows.places(), rows.chunks(), strict=True):
            np.add.at(sums, units[place], part)
        left = np.maximum(len(run) - sizes, 1)[:, None]
        parts = (len(sizes) - 1) * (own - SMOOTH[metric]((total - sums) / left)[0])
    if len(parts) < 2:
        parts = np.full(len(parts), np.nan)
    return Parts(own, parts, len(parts) ** 2 * _pseudo(metric, run, total, own))


def parts_of_mean(values: FloatArray, units: IntArray | None = None) -> Parts:
    """Of a mean over rows, shape (n,)."""
    n, mean_value = len(values), float(values.mean())
    if units is None:
        parts = values - mean_value
    else:
        sizes, sums = np.bincount(units), np.bincount(units, weights=values)
        parts = (sums - sizes * mean_value) * len(sizes) / n
    return Parts(mean_value, parts if len(parts) > 1 else np.full(len(parts), np.nan), 0.0)


def _occurring(run: Predictions) -> Predictions:
    """With those labels alone that occur in the truth or an answer: no other label is a part of an F1."""
    from dataclasses import replace

    from harness.core.types import LabelSpace

    truth, answers, few = occurring(run.truth, run.answers, len(run.labels))
    labels = LabelSpace(run.labels.kind, tuple(map(str, range(few))))
    return replace(run, labels=labels, truth=truth, answers=answers, probabilities=None)


def _patterns(run: Predictions, units: IntArray | None) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    """Truth and answer of each kind of row, the kind of each row, and how many there are. With groups each row is a kind."""
    n = len(run)
    if units is not None or run.labels.kind is LabelKind.MULTILABEL:
        return run.truth, run.answers, np.arange(n), np.ones(n)
    codes = run.truth * (len(run.labels) + 1) + run.answers
    _, first, inverse, counts = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    return run.truth[first], run.answers[first], inverse, counts.astype(np.float64)


class _Rows(NamedTuple):
    """Features of rows, in portions: of many labels they would not fit into the memory at once."""

    metric: str
    run: Predictions
    truth: IntArray
    answers: IntArray

    def places(self) -> Iterator[slice]:
        step = max(1, _AT_ONCE // (3 * len(self.run.labels)))
        return (slice(start, start + step) for start in range(0, len(self.truth), step))

    def chunks(self) -> Iterator[FloatArray]:
        return (features(self.metric, self.run.labels, self.truth[at], self.answers[at]) for at in self.places())

    def total(self, counts: FloatArray) -> FloatArray:
        return np.asarray(sum(counts[at] @ part for at, part in zip(self.places(), self.chunks(), strict=True)))


def _pseudo(metric: str, run: Predictions, total: FloatArray, own: float) -> float:
    """The mean square of the change that one more row of a random true label makes, right in place of wrong. In samples of some
    ten rows large errors are often missing; without this the test takes equal models for different ones too often
    (benchmarks/type_one.py)."""
    if not np.isfinite(own):
        return 0.0
    k, n, smooth = len(run.labels), len(run), SMOOTH[metric]
    if run.labels.kind is LabelKind.MULTILABEL:
        often = run.truth.sum(axis=0)
        truth = np.eye(k, dtype=np.int64)[often > 0] if often.any() else np.eye(k, dtype=np.int64)
        wrong, weights = np.zeros_like(truth), often[often > 0] if often.any() else np.ones(k)
    else:
        often = np.bincount(run.truth, minlength=k)
        truth, wrong, weights = _wrong_answers(often)
    changes = _changes(metric, run, total, (truth, wrong), smooth, n)
    known = np.isfinite(changes)
    return float((changes[known] ** 2) @ weights[known] / weights.sum()) if known.any() else 0.0


def _wrong_answers(often: IntArray) -> tuple[IntArray, IntArray, FloatArray]:
    """True labels, wrong answers to them, and weights by the frequency of the true label."""
    occurs = np.flatnonzero(often)
    others = occurs if len(occurs) > 1 else np.arange(len(often))
    if len(others) > _FEW:
        return occurs, np.roll(occurs, 1), often[occurs].astype(np.float64)
    truth, wrong = (part.ravel() for part in np.meshgrid(occurs, others, indexing="ij"))
    differ = truth != wrong
    return truth[differ], wrong[differ], often[truth[differ]].astype(np.float64)


def _changes(
    metric: str, run: Predictions, total: FloatArray, rows: tuple[IntArray, IntArray], smooth: Smooth, n: int
) -> FloatArray:
    truth, wrong = rows
    right_of = features(metric, run.labels, truth, truth)
    wrong_of = features(metric, run.labels, truth, wrong)
    if smooth is mean:
        return np.asarray((right_of - wrong_of)[:, 0] / (n + 1))
    return np.asarray(smooth((total + right_of) / (n + 1))[0] - smooth((total + wrong_of) / (n + 1))[0])
