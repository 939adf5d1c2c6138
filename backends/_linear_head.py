"""Logistic regression, the head of SetFit and of tfidf, saved as numbers so that no pickle is ever loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.arrays import FloatArray, IntArray
from harness.core.errors import DataError
from harness.core.types import Label, LabelKind, LabelSpace

FILE = "head.safetensors"


@dataclass(frozen=True, slots=True)
class LinearHead:
    """`weights`: (labels, dimensions), `biases`: (labels,). A label without training rows has the bias -inf: probability 0."""

    weights: FloatArray
    biases: FloatArray
    multilabel: bool

    @property
    def size(self) -> int:
        """Numbers that are kept."""
        return int(self.weights.size + self.biases.size)

    def probabilities(self, embeddings: FloatArray) -> FloatArray:
        """Shape (n, labels); rows sum to 1 except for a multilabel task. `embeddings`: (n, dimensions)."""
        from scipy.special import expit, softmax

        logits = embeddings @ self.weights.T + self.biases
        return np.asarray(expit(logits) if self.multilabel else softmax(logits, axis=1))

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        save_file({"weights": self.weights, "biases": self.biases}, folder / FILE)


def load_head(folder: Path, labels: LabelSpace) -> LinearHead:
    from safetensors.numpy import load_file

    found = load_file(folder / FILE)
    return LinearHead(found["weights"], found["biases"], labels.kind is LabelKind.MULTILABEL)


def check_classes(labels: Sequence[Label], probabilities: FloatArray | None = None) -> None:
    """Raise `DataError` where there are not two classes (in a multilabel task: sets of labels). With `probabilities` as targets
    each row teaches several."""
    if len(set(labels)) < 2 and probabilities is None:
        raise DataError("All training rows have a single class: there is nothing to learn.", "Use more training rows.")


TOLERANCE = 1e-4
"""Of the gradient, at which the solver stops: scikit-learn's default."""
EXACT = 1e-8
"""So small that embeddings which differ in their last digits give probabilities that do likewise (within 1e-5)."""


def fit_head(
    embeddings: FloatArray,
    labels: Sequence[Label],
    space: LabelSpace,
    c: float,
    seed: int,
    tolerance: float = TOLERANCE,
    probabilities: FloatArray | None = None,
) -> LinearHead:
    """`c`: the inverse strength of the L2 penalty. Single-label tasks need two classes (see `check_classes`).

    `probabilities`: targets in place of the labels of a single-label task, shape (n, labels).
    """
    regression = _regression(c, seed, tolerance)
    weights = np.zeros((len(space), embeddings.shape[1]))
    biases = np.full(len(space), -np.inf)
    if space.kind is LabelKind.MULTILABEL:
        for k, targets in enumerate(memberships(labels, len(space)).T):
            if targets.all():
                biases[k] = np.inf
            elif targets.any():
                found = regression.fit(embeddings, targets)
                weights[k], biases[k] = found.coef_[0], found.intercept_[0]
        return LinearHead(weights, biases, multilabel=True)
    if probabilities is None:
        found = regression.fit(embeddings, np.asarray(labels))
    else:
        rows, classes, shares = weighted_copies(probabilities)
        found = regression.fit(embeddings[rows], classes, sample_weight=shares)
    # Of two classes scikit-learn keeps one vector, the log-odds of the second: those of the first are zero.
    biases[found.classes_] = 0.0
    trained = found.classes_ if len(found.classes_) > 2 else found.classes_[1:]
    weights[trained], biases[trained] = found.coef_, found.intercept_
    return LinearHead(weights, biases, multilabel=False)


def weighted_copies(probabilities: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    """A row for each class that has a probability: index of the row, class, and the probability as its weight. The log loss of
    the copies is the cross-entropy with the probabilities."""
    rows, classes = np.nonzero(probabilities)
    return rows, classes, probabilities[rows, classes]


def memberships(labels: Sequence[Label], count: int) -> FloatArray:
    """A multilabel task's labels as zeros and ones, shape (n, count)."""
    found = np.zeros((len(labels), count))
    for row, label in enumerate(labels):
        assert isinstance(label, tuple)
        found[row, list(label)] = 1
    return found


def _regression(c: float, seed: int, tolerance: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, max_iter=10_000 if tolerance < TOLERANCE else 1000, tol=tolerance, random_state=seed)
