"""Multilabel intervals against resampled rows and simulated samples."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, hamming_loss

from harness.core.arrays import IntArray
from harness.core.record import Estimate
from harness.statistics.by_label import hamming_interval, multilabel_f1_intervals

NAMES = ("micro_f1", "macro_f1", "hamming_loss")


def values_of(truth: IntArray, answers: IntArray) -> dict[str, float]:
    f1s = {f"{name}_f1": float(f1_score(truth, answers, average=name, zero_division=np.nan)) for name in ("micro", "macro")}
    return {**f1s, "hamming_loss": float(hamming_loss(truth, answers))}


def intervals_of(truth: IntArray, answers: IntArray) -> dict[str, Estimate]:
    values = values_of(truth, answers)
    loss = values.pop("hamming_loss")
    return {**multilabel_f1_intervals(values, truth, answers), "hamming_loss": hamming_interval(loss, truth, answers)}


def test_intervals_agree_with_resampled_rows() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (1000, 4))
    answers = np.where(rng.random((1000, 4)) < 0.8, truth, 1 - truth)
    found = intervals_of(truth, answers)
    again = [values_of(truth[rows], answers[rows]) for rows in rng.integers(0, 1000, (200, 1000))]
    for name in NAMES:
        assert found[name].method == "label_delta"
        width = found[name].high - found[name].low  # type: ignore[operator]
        assert width / (2 * 1.96) == pytest.approx(np.std([values[name] for values in again]), rel=0.2)


def test_rows_that_are_all_right_do_not_prove_that_all_are() -> None:
    truth = np.eye(3, dtype=np.int64)[np.arange(30) % 3]
    found = intervals_of(truth, truth)
    for name in ("micro_f1", "macro_f1"):
        assert found[name].high == 1
        assert 0.5 < found[name].low < 0.98  # type: ignore[operator]
    assert found["hamming_loss"].low == 0
    assert 0 < found["hamming_loss"].high < 0.4  # type: ignore[operator]


def test_nothing_asked_and_nothing_answered() -> None:
    nothing = np.zeros((4, 2), dtype=np.int64)
    found = multilabel_f1_intervals({"micro_f1": float("nan")}, nothing, nothing)["micro_f1"]
    assert found.value is found.low is None
    loss = hamming_interval(0.0, nothing, nothing)
    assert loss.value == 0
    assert loss.high > 0  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("n", [50, 200])
def test_coverage(n: int) -> None:
    """Rare labels, and rows that are wrong in several of them at once."""
    frequency = np.geomspace(0.4, 0.05, 8)

    def draw(rng: np.random.Generator, rows: int) -> tuple[IntArray, IntArray]:
        hard = rng.random((rows, 1)) < 0.3
        truth = (rng.random((rows, 8)) < frequency).astype(np.int64)
        chance = np.where(truth == 1, np.where(hard, 0.4, 0.85), np.where(hard, 0.06, 0.01))
        return truth, (rng.random((rows, 8)) < chance).astype(np.int64)

    true = values_of(*draw(np.random.default_rng(1), 200_000))
    rng = np.random.default_rng(2)
    held = []
    for _ in range(200):
        found = intervals_of(*draw(rng, n))
        held.append([found[name].low <= true[name] <= found[name].high for name in NAMES])  # type: ignore[operator]
    for name, rate in zip(NAMES, np.mean(held, axis=0), strict=True):
        assert rate >= 0.90, name
