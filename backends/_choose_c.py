"""The strength of a logistic regression's penalty, chosen by cross-validation on the training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from backends._linear_head import fit_head, memberships
from harness.core.arrays import FloatArray
from harness.core.types import Label, LabelKind, LabelSpace

GRID = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Embeddings have length 1, so that values of tens are common, where features of unit variance take 1."""
DEFAULT = 10.0
"""Where the rows are too few for folds, and where the search begins."""
MOST_FOLDS = 5
COVERED = 0.9
"""Share of the rows that folds must hold: labels with fewer rows than folds have no part in the choice."""


@dataclass(frozen=True, slots=True)
class Choice:
    """`log_loss`: mean over held-out rows at `c`; `folds` and `log_loss` are None where the rows are too few for folds."""

    c: float
    c_from: Literal["cross-validation", "default"]
    folds: int | None = None
    log_loss: float | None = None

    def as_json(self) -> dict[str, object]:
        found = {"c": self.c, "c_from": self.c_from, "c_folds": self.folds, "c_log_loss": self.log_loss}
        return {name: value for name, value in found.items() if value is not None}


def choose_c(
    embeddings: FloatArray,
    labels: Sequence[Label],
    space: LabelSpace,
    seed: int,
    probabilities: FloatArray | None = None,
    groups: Sequence[str] | None = None,
) -> Choice:
    """The value of `GRID` with the least log loss on held-out folds. Log loss and not accuracy: it has no ties where rows are
    few, and judges the probabilities, which decisions, thresholds and cascades use.

    The folds are stratified by label; of a multilabel task they are random, and all labels get one value. The loss falls
    towards its one minimum from both sides, so that the search goes from `DEFAULT` to the neighbour with less loss, and on.
    `probabilities`: targets in place of the labels, also of the loss; see `fit_head`. `groups`: of the rows; no fold parts one,
    as rows of one group are alike and would be held out from their own kind.
    """
    folds, rows = _folds(labels, space, seed, groups)
    if not folds:
        return Choice(DEFAULT, "default")
    embeddings, labels = embeddings[rows], [labels[row] for row in rows]
    soft = None if probabilities is None else probabilities[rows]

    @cache
    def loss(index: int) -> float:
        if not 0 <= index < len(GRID):
            return np.inf
        return float(
            np.concatenate([_held_out_loss(embeddings, labels, space, GRID[index], seed, soft, *fold) for fold in folds]).mean()
        )

    best = GRID.index(DEFAULT)
    for step in (1, -1):
        while loss(best + step) < loss(best):
            best += step
    return Choice(GRID[best], "cross-validation", len(folds), loss(best))


def _folds(
    labels: Sequence[Label], space: LabelSpace, seed: int, groups: Sequence[str] | None
) -> tuple[list[tuple[Any, Any]], list[int]]:
    """Pairs of training and held-out indices into the second value: the rows that have a part. Empty where they are too few."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    options: dict[str, Any] = {"shuffle": True, "random_state": seed}
    if space.kind is LabelKind.MULTILABEL:
        rows, kinds = list(range(len(labels))), len(labels) // 2 if groups is None else len(set(groups))
        count = min(MOST_FOLDS, kinds)
        folds = KFold if groups is None else GroupKFold
        return (list(folds(count, **options).split(rows, groups=groups)) if count > 1 else []), rows
    counts = Counter(labels if groups is None else (label for label, _ in set(zip(labels, groups, strict=True))))
    for count in range(MOST_FOLDS, 1, -1):
        rows = [row for row, label in enumerate(labels) if counts[label] >= count]
        kept = [labels[row] for row in rows]
        if len(rows) >= COVERED * len(labels) and len(set(kept)) > 1:
            if groups is None:
                return list(StratifiedKFold(count, **options).split(rows, kept)), rows
            own = [groups[row] for row in rows]
            return list(StratifiedGroupKFold(count, **options).split(rows, kept, own)), rows
    return [], []


def _held_out_loss(
    embeddings: FloatArray,
    labels: Sequence[Label],
    space: LabelSpace,
    c: float,
    seed: int,
    soft: FloatArray | None,
    train: Any,
    held_out: Any,
) -> FloatArray:
    """-log p of what is true, of each held-out row (of a multilabel task: the mean over labels; of `soft` targets: over their
    probabilities)."""
    known = [labels[row] for row in train]
    head = fit_head(embeddings[train], known, space, c, seed, probabilities=None if soft is None else soft[train])
    p = np.clip(head.probabilities(embeddings[held_out]), np.finfo(float).tiny, 1)
    if soft is not None:
        return np.asarray(-(soft[held_out] * np.log(p)).sum(axis=1))
    truth = [labels[row] for row in held_out]
    if space.kind is LabelKind.MULTILABEL:
        wanted = memberships(truth, len(space))
        return np.asarray(-np.log(np.maximum(np.where(wanted == 1, p, 1 - p), np.finfo(float).tiny)).mean(axis=1))
    return np.asarray(-np.log(p[np.arange(len(truth)), truth]))
