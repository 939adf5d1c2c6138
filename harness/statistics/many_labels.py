"""Bootstrap intervals of F1 where there are many labels: the cost grows with the rows, not with the square of the labels.

The statistics and what is drawn are those of `intervals.booted` with `intervals.pseudo_cells`. Only the cells of the confusion
matrix that hold rows are drawn, and only their margins are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from scipy import sparse

from harness.core.types import FloatArray, IntArray
from harness.statistics.intervals import PSEUDO_ROWS, REPLICATES, MetricValue, bias_corrected, bounded, mean_of_defined, ratio

MANY = 100
"""With more labels than this, a bootstrap of the whole confusion matrix takes minutes (2,000 labels: 81 s)."""

_NUMBERS_AT_ONCE = 4_000_000
Margins = tuple[FloatArray, FloatArray, FloatArray]
"""Rows that are right, rows by true label, rows by answer: each of shape (r, labels)."""


def booted_f1(
    truth: IntArray, answers: IntArray, k: int, values: Mapping[str, float], replicates: int = REPLICATES
) -> dict[str, MetricValue]:
    """The bootstrap intervals of `values`, macro_f1 and weighted_f1 of the labels 0 to k - 1; the answer k is none. k >= 2."""
    truth, answers, labels = occurring(truth, answers, k)
    drawn = [_f1s(margins) for margins in _draws(truth, answers, labels, replicates)]
    own = _f1s(_expected(truth, answers, labels))
    return {
        name: bounded(
            value, bias_corrected(np.concatenate([part[name] for part in drawn]), float(own[name][0])), "bc_bootstrap"
        )
        for name, value in values.items()
    }


def occurring(truth: IntArray, answers: IntArray, k: int) -> tuple[IntArray, IntArray, int]:
    """Truth and answers with numbers for those labels alone that occur in one of them, and how many these are.

    At least two labels are kept, so that there is always another one to err to.
    """
    seen = np.union1d(truth, answers[answers < k])
    if len(seen) < 2:
        seen = np.union1d(seen, np.array([0, 1]))[:2]
    number = np.full(k + 1, len(seen), dtype=np.int64)
    number[seen] = np.arange(len(seen))
    return number[truth], number[answers], len(seen)


def _draws(truth: IntArray, answers: IntArray, k: int, replicates: int) -> Iterator[Margins]:
    """As many rows as there are, drawn from the rows and from one right and one wrong pseudo-row (`intervals.pseudo_cells`)."""
    rng = np.random.default_rng(0)
    n = len(truth)
    cells, counts = np.unique(np.stack([truth, answers]), axis=1, return_counts=True)
    of_cells = _margin_matrices(cells[0], cells[1], k)
    step = max(1, _NUMBERS_AT_ONCE // max(cells.shape[1], 3 * k))
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        pseudo = rng.binomial(n, PSEUDO_ROWS / (n + PSEUDO_ROWS), size=size)
        drawn = rng.multinomial(n - pseudo, counts / n).astype(np.float64)
        hits, true, named = (np.asarray((matrix.T @ drawn.T).T) for matrix in of_cells)
        at = np.repeat(np.arange(size), pseudo)
        label = rng.integers(k, size=len(at))
        right = rng.random(len(at)) < 0.5
        other = (label + rng.integers(1, k, size=len(at))) % k
        np.add.at(hits, (at[right], label[right]), 1)
        np.add.at(true, (at, label), 1)
        np.add.at(named, (at, np.where(right, label, other)), 1)
        yield hits, true, named


def _margin_matrices(truth: IntArray, answers: IntArray, k: int) -> list[sparse.csr_array]:
    """What turns counts of cells into counts of hits, of true labels and of answers; each of shape (cells, k)."""
    here = np.arange(len(truth))
    right, answered = truth == answers, answers < k
    return [
        sparse.csr_array((np.ones(int(chosen.sum())), (here[chosen], label[chosen])), shape=(len(truth), k))
        for chosen, label in ((right, truth), (np.ones(len(truth), dtype=bool), truth), (answered, answers))
    ]


def _expected(truth: IntArray, answers: IntArray, k: int) -> Margins:
    """What the draws have on average, but for a factor."""
    share = PSEUDO_ROWS / 2 / k
    hits, true, named = (
        np.bincount(part, minlength=k + 1)[None, :k].astype(np.float64) for part in (truth[truth == answers], truth, answers)
    )
    return hits + share, true + 2 * share, named + 2 * share


def _f1s(margins: Margins) -> dict[str, FloatArray]:
    hits, true, named = margins
    f1 = ratio(2 * hits, true + named)
    weighted = (np.nan_to_num(f1) * true).sum(axis=1) / true.sum(axis=1)
    return {"macro_f1": mean_of_defined(f1), "weighted_f1": np.asarray(weighted)}
