"""Which checkpoint of a training to keep, by its predictions on validation rows.

The metric that ranks is a step function of the answers: with few rows many checkpoints tie, or differ by less than chance. So
its smooth companion decides among near-ties: of the checkpoints that are at most one standard error below the best one, the
one whose companion is lowest is kept. This is the one-standard-error rule of Breiman et al. (1984, Classification and
Regression Trees, 3.4.3), with the error of the paired difference, as all checkpoints predict the same rows.

| metric | companion |
|---|---|
| any, of ordinal labels | `rps`, the ranked probability score (Epstein 1969; Gneiting and Raftery 2007, 4.2) |
| any other | `loss`, the loss of the training on the validation rows |
| `loss`, `rps`, `log_loss`, `brier` | none: they are smooth, and differ between any two checkpoints |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.core.arrays import FloatArray, IntArray
from harness.core.engine import Evaluated, Standing, best_value
from harness.core.types import LabelKind, LabelSpace
from harness.statistics.row_means import SHARES, SMOOTH, features, mean

NEAR = 1.0
"""Standard errors of the paired difference within which two checkpoints tie."""
ROUNDING = 1e-9
COMPANIONS = frozenset({"loss", "rps", "log_loss", "brier"})
"""Smooth functions of the probabilities, all of them better when lower."""


def companion_of(metric: str, kind: LabelKind) -> str | None:
    """None for a metric that needs none."""
    if metric in COMPANIONS:
        return None
    return "rps" if kind is LabelKind.ORDINAL else "loss"


def ranked_probability_score(probabilities: FloatArray, truth: IntArray) -> float:
    """Mean over the rows of the squared distances between the cumulative probabilities and those of the true label, summed over
    the k - 1 thresholds (Epstein 1969): 0 for certain and right, k - 1 for certain and as far off as can be. Shapes: (n, k) and
    (n,)."""
    below = np.asarray(probabilities)[:, :-1].cumsum(axis=1)
    reached = np.arange(below.shape[1]) >= truth[:, None]
    return float(((below - reached) ** 2).sum(axis=1).mean())


@dataclass(frozen=True)
class CheckpointChoice:
    """Called with what it returned at the evaluation before, and the evaluation; see `ValidationScorer.choose`.

    `truth`: of the validation rows, shape (n,), of a multilabel task 0 or 1, shape (n, k). `answers`: probabilities -> answers
    of the same shape. `groups`: what the rows were sampled with, shape (n,), where that is known: such rows err together.
    """

    labels: LabelSpace
    truth: IntArray
    answers: Callable[[FloatArray], IntArray]
    groups: Sequence[str] | None = None

    def __call__(self, before: Standing, found: Evaluated) -> tuple[bool, Standing]:
        companion = companion_of(found.metric, self.labels.kind)
        if companion is None:
            return best_value(before, found)
        new = {
            "value": found.signed,
            "companion": found.metrics[companion],
            "answers": self.answers(found.probabilities).tolist(),
        }
        if not before:
            return True, {"peak": new, "kept": new}
        kept, peak = before["kept"], before["peak"]
        if new["value"] > peak["value"]:
            peak = new
        if self._trails(found.metric, new, peak):
            replaced = False
        else:
            replaced = self._trails(found.metric, kept, peak) or new["companion"] < kept["companion"]
        return replaced, {"peak": peak, "kept": new if replaced else kept}

    def _trails(self, metric: str, one: Standing, peak: Standing) -> bool:
        """Whether it is below the best one by more than chance may make it."""
        gap = float(peak["value"] - one["value"])
        error = self.standard_error(metric, np.array(one["answers"]), np.array(peak["answers"]))
        return gap > NEAR * error + ROUNDING

    def standard_error(self, metric: str, one: IntArray, other: IntArray) -> float:
        """Of the difference of two checkpoints in a metric if they were equally good, from their answers; 0 if it is unknown.

        The delta method; of the accuracy it is the root of the number of rows where only one is right, over n, as in McNemar's
        test: a checkpoint that is right in one row more is within one standard error."""
        if (ours := self._parts(metric, one)) is None or (theirs := self._parts(metric, other)) is None:
            return 0.0
        apart = theirs - ours
        if self.groups is not None:
            _, group = np.unique(np.asarray(self.groups), return_inverse=True)
            apart = np.bincount(group, weights=apart).astype(np.float64)
        found = math.sqrt(float((apart**2).sum())) / len(self.truth)
        return found if math.isfinite(found) else 0.0

    def _parts(self, metric: str, answers: IntArray) -> FloatArray | None:
        """The part of each row in the metric, to first order, shape (n,): their mean is its value. None for a metric without
        such a form."""
        if metric in SHARES:
            rows, of = self._hits(metric, answers)[:, None].astype(np.float64), mean
        elif metric in SMOOTH:
            rows, of = features(metric, self.labels, self.truth, answers), SMOOTH[metric]
        else:
            return None
        means = rows.mean(axis=0)
        values, gradients = of(means[None, :])
        return np.asarray(values[0] + (rows - means) @ gradients[0])

    def _hits(self, metric: str, answers: IntArray) -> Any:
        if metric == "off_by_one":
            return np.abs(self.truth - answers) <= 1
        same = self.truth == answers
        return same.all(axis=1) if same.ndim == 2 else same
