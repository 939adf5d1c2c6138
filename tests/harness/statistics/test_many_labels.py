"""Scores and tests of F1 with many labels, where there is no confusion matrix."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.arrays import IntArray
from harness.core.predictions import Predictions
from harness.core.types import Example, LabelKind, LabelSpace, Prediction
from harness.statistics import contrast
from harness.statistics.intervals import MANY, occurring
from harness.statistics.metrics import evaluate_predictions


def rows(k: int, n: int, right: float, seed: int = 0) -> tuple[IntArray, IntArray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n)
    answers = np.where(rng.random(n) < right, truth, rng.integers(k + 1, size=n))
    return truth.astype(np.int64), answers.astype(np.int64)


def test_labels_that_occur() -> None:
    truth, answers, k = occurring(np.array([7, 7, 900]), np.array([7, 1000, 3]), 1000)
    assert (truth.tolist(), answers.tolist(), k) == ([1, 1, 2], [1, 3, 0], 3)
    assert occurring(np.array([5]), np.array([5]), 10)[2] == 2, "there is always another label to err to"


def test_ten_thousand_labels_are_scored() -> None:
    """The matrix alone would take 800 MB, and its bootstrap hours."""
    labels = LabelSpace(LabelKind.NOMINAL, tuple(f"L{i}" for i in range(10_000)))
    truth, answers = rows(10_000, 200, 0.6)
    examples = [Example(str(i), "", int(label), "en") for i, label in enumerate(truth)]
    predictions = [Prediction(str(i), int(min(label, 9_999))) for i, label in enumerate(answers)]
    metrics = evaluate_predictions(examples, predictions, labels)
    assert metrics.values["macro_f1"].reason is not None
    value = metrics.values["weighted_f1"]
    assert value.low < value.value < value.high  # type: ignore[operator]
    assert metrics.confusion is None


def columns(k: int, truth: IntArray, answers: IntArray) -> Predictions:
    labels = LabelSpace(LabelKind.NOMINAL, tuple(f"L{i}" for i in range(k)))
    ids = np.array([str(i) for i in range(len(truth))], dtype=np.object_)
    return Predictions("run", {}, labels, ids, truth, answers, answers < k, None)


def pair(k: int, n: int) -> tuple[Predictions, Predictions]:
    """One that is right in 7 of 10 rows and one in 5 of 10, with the same truth."""
    truth, ours = rows(k, n, 0.7)
    theirs = np.where(np.random.default_rng(1).random(n) < 0.5, truth, rows(k, n, 0.0, seed=2)[1])
    return columns(k, truth, ours), columns(k, truth, theirs.astype(np.int64))


@pytest.mark.slow
def test_two_runs_of_two_thousand_labels_are_compared() -> None:
    a, b = pair(20 * MANY, 2000)
    found = contrast.difference_of("weighted_f1", a, b)
    assert found.low < found.value < found.high
