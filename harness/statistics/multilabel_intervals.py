"""95% intervals of what a multilabel task counts: F1 and Hamming loss, as functions of how often each answer was given to each
set of labels.

A pattern is a true set and the set that was answered, two rows of 0s and 1s. Resampling n rows and counting their patterns
again is drawing the counts from one multinomial distribution, as with the cells of a confusion matrix.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.core.types import BoolArray, FloatArray, IntArray
from harness.statistics.intervals import PSEUDO_ROWS, Counts, MetricValue, Statistic, booted, mean_of_defined, ratio


def with_intervals(values: Mapping[str, float], truth: IntArray, answers: IntArray) -> dict[str, MetricValue]:
    """`values` of micro_f1, macro_f1 and hamming_loss with their intervals; 0/1 arrays of shape (n, k)."""
    k = truth.shape[1]
    patterns, counts = np.unique(np.hstack([truth, answers]), axis=0, return_counts=True)
    added, weights = _pseudo_patterns((truth + answers).sum(axis=0) > 0)
    every = np.concatenate([patterns, added])
    seen, said = every[:, :k], every[:, k:]
    statistics = {
        "micro_f1": f1(seen, said, micro=True),
        "macro_f1": f1(seen, said, micro=False),
        "hamming_loss": hamming(seen, said),
    }
    counts = np.concatenate([counts, np.zeros(len(added), dtype=np.int64)])
    pseudo = np.concatenate([np.zeros(len(patterns)), weights])
    return booted({name: (value, statistics[name]) for name, value in values.items()}, counts, pseudo)


def f1(truth: IntArray, answers: IntArray, *, micro: bool) -> Statistic:
    """Micro or macro F1 as a function of how often each of m patterns occurs: 0/1 arrays (m, k), counts (r, m)."""
    # as floats: whole numbers are multiplied many times slower
    hits_of, sizes_of = (truth & answers).astype(np.float64), (truth + answers).astype(np.float64)

    def statistic(counts: Counts) -> FloatArray:
        hits, sizes = counts @ hits_of, counts @ sizes_of
        if micro:
            return ratio(2 * hits.sum(axis=1), sizes.sum(axis=1))
        return mean_of_defined(ratio(2 * hits, sizes))

    return statistic


def hamming(truth: IntArray, answers: IntArray) -> Statistic:
    """Share of the labels that are wrong; arguments as for `f1`."""
    wrong = (truth != answers).mean(axis=1)
    return lambda counts: np.asarray(counts @ wrong / counts.sum(axis=1))


def _pseudo_patterns(occurs: BoolArray) -> tuple[IntArray, FloatArray]:
    """The counterpart of `pseudo_cells`: rows of one label each, half of them right, a quarter missing it, and a quarter
    naming it for nothing. Shapes (m, 2k) and (m,)."""
    k = len(occurs)
    labels = np.flatnonzero(occurs) if occurs.any() else np.arange(k)
    one, none = np.eye(k, dtype=np.int64)[labels], np.zeros((len(labels), k), dtype=np.int64)
    patterns = np.concatenate([np.hstack([one, one]), np.hstack([one, none]), np.hstack([none, one])])
    return patterns, np.repeat([PSEUDO_ROWS / 2, PSEUDO_ROWS / 4, PSEUDO_ROWS / 4], len(labels)) / len(labels)
