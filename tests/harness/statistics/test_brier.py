"""The decomposition of the Brier score, and the calibration error by label."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk

from harness.core.arrays import FloatArray, IntArray
from harness.statistics.brier import brier_parts, classwise_error


def drawn(seed: int, n: int, k: int) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(k), n)
    return probabilities, np.array([rng.choice(k, p=row) for row in probabilities])


@pytest.mark.parametrize("k", [2, 5])
def test_the_parts_sum_to_scikit_learns_score(k: int) -> None:
    probabilities, truth = drawn(0, 300, k)
    parts = brier_parts(probabilities, truth, 15)
    score = sk.brier_score_loss(truth, probabilities, labels=range(k), scale_by_half=False)
    assert parts.reliability - parts.resolution + parts.uncertainty + parts.within == pytest.approx(score)
    rates = np.bincount(truth, minlength=k) / 300
    assert parts.uncertainty == pytest.approx(1 - (rates**2).sum())


def test_few_distinct_probabilities_leave_nothing_within_bins() -> None:
    """Murphy's decomposition of two forecasts, by hand: 0.8 is right in 3 of 4 rows, 0.4 in 1 of 2."""
    first = np.array([0.8] * 4 + [0.4] * 2)
    truth = np.array([0, 0, 0, 1, 0, 1])
    parts = brier_parts(np.stack([first, 1 - first], axis=1), truth, 10)
    assert parts.within == pytest.approx(0)
    assert parts.reliability == pytest.approx(2 * (4 * 0.05**2 + 2 * 0.1**2) / 6)
    assert parts.resolution == pytest.approx(2 * (4 * (3 / 4 - 4 / 6) ** 2 + 2 * (1 / 2 - 4 / 6) ** 2) / 6)


def test_a_constant_forecast_of_the_frequencies_is_reliable_and_resolves_nothing() -> None:
    truth = np.array([0, 0, 1, 2])
    parts = brier_parts(np.tile([0.5, 0.25, 0.25], (4, 1)), truth, 15)
    assert (parts.reliability, parts.resolution) == pytest.approx((0, 0))


def test_the_error_by_label_sees_what_the_answers_hide() -> None:
    """The answers are right as often as they say, but the labels that were not answered are given wrong shares."""
    probabilities = np.tile([0.6, 0.4, 0.0], (10, 1))
    truth = np.array([0] * 6 + [2] * 4)
    assert classwise_error(probabilities, truth, 15) == pytest.approx((0 + 0.4 + 0.4) / 3)
    assert classwise_error(np.eye(3)[truth], truth, 15) == 0


def test_the_error_by_label_is_its_definition() -> None:
    probabilities, truth = drawn(1, 200, 3)
    expected = 0.0
    for label in range(3):
        for low in np.arange(15) / 15:
            inside = (probabilities[:, label] > low) & (probabilities[:, label] <= low + 1 / 15)
            if inside.any():
                gap = probabilities[inside, label].mean() - (truth[inside] == label).mean()
                expected += inside.mean() * abs(gap) / 3
    assert classwise_error(probabilities, truth, 15) == pytest.approx(expected)
