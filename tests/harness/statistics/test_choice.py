"""The value of a chosen configuration, against the bootstrap bias correction as published, by resampled rows."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.arrays import FloatArray
from harness.statistics.choice import corrected, interval, weighted
from harness.statistics.covariances import covariance
from harness.statistics.intervals import wilson


def answers(n: int, true: FloatArray, seed: int) -> FloatArray:
    """1 where a model is right, shape (n, k); in half of the rows all draw one number."""
    rng = np.random.default_rng(seed)
    drawn = np.where(rng.random((n, 1)) < 0.5, rng.random((n, 1)), rng.random((n, len(true))))
    return np.asarray(drawn < true, dtype=np.float64)


def plain(correct: FloatArray, replicates: int) -> float:
    """Choose on resampled rows, score on those left out; the mean."""
    n, scores = len(correct), []
    rng = np.random.default_rng(7)
    for _ in range(replicates):
        drawn = rng.integers(0, n, n)
        left = np.setdiff1d(np.arange(n), drawn)
        scores.append(correct[left, np.argmax(correct[drawn].mean(axis=0))].mean())
    return float(np.mean(scores))


@pytest.mark.slow
@pytest.mark.parametrize("true", [np.full(8, 0.7), np.linspace(0.6, 0.75, 8)])
def test_it_is_what_resampled_rows_and_those_left_out_give(true: FloatArray) -> None:
    correct = answers(300, true, 1)
    values = correct.mean(axis=0)
    found = corrected(values, covariance([correct - values], [np.arange(300)]), int(values.argmax()), is_share=True)
    assert found.value == pytest.approx(plain(correct, 3000), abs=0.002)
    assert found.low < found.value < values.max()


def test_one_configuration_is_not_corrected() -> None:
    correct = answers(200, np.array([0.8]), 0)
    value = float(correct.mean())
    found = corrected(np.array([value]), covariance([correct - value], [np.arange(200)]), 0, is_share=True)
    assert found.value == pytest.approx(value, abs=1e-3)
    assert (found.low, found.high) == pytest.approx(wilson(int(correct.sum()), 200), abs=2e-3)
    assert found.again == 1.0


@pytest.mark.slow
def test_seeds_are_part_of_the_optimism() -> None:
    """Ten configurations that differ by their seeds alone: the best of ten normal numbers is 1.54 too high."""
    drawn = np.random.default_rng(3).normal(0.5, 0.02, (400, 10))
    errors = [corrected(row, np.diag(np.full(10, 0.02**2)), int(row.argmax()), replicates=500).value - 0.5 for row in drawn]
    assert drawn.max(axis=1).mean() - 0.5 == pytest.approx(1.54 * 0.02, abs=0.002)
    assert np.mean(errors) == pytest.approx(0, abs=0.002)


def test_the_choice_may_be_by_another_figure() -> None:
    pick = weighted(np.array([1.0, 3.0]), lower_is_better=False)
    assert pick(np.array([[0.9, 0.2], [0.9, 0.4]])).tolist() == [0, 1]
    assert weighted(np.ones(2), lower_is_better=True)(np.array([[0.9, 0.2]])).tolist() == [1]


def test_an_interval_of_a_share_stays_inside() -> None:
    low, high = interval(0.98, 0.014, is_share=True)
    assert 0.9 < low < 0.98 < high < 1
    assert interval(0.5, 0.1, is_share=False) == pytest.approx((0.5 - 0.196, 0.5 + 0.196), abs=1e-3)
