"""The value of a chosen configuration, against the bootstrap bias correction as published, by resampled rows."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.arrays import FloatArray
from harness.statistics.choice import corrected, interval, weighted
from harness.statistics.influence import covariance, influences, mean_with_interval, units_of
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


def test_a_covariance_is_that_of_means_of_groups() -> None:
    """Each group's rows equal: as if there were as many rows as groups. And two languages with the same sentences."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 2))
    values -= values.mean(axis=0)
    repeated = np.repeat(values, 4, axis=0)
    (units,) = units_of([np.repeat(np.arange(50), 4).astype(object)], [200])
    expected = np.cov(values.T) / 50
    assert covariance([repeated], [units]) == pytest.approx(expected)
    shared = units_of([np.arange(50).astype(object)] * 2, [50, 50])
    assert covariance([values[:, :1], values[:, 1:]], shared) == pytest.approx(expected)
    apart = units_of([None, None], [50, 50])
    assert covariance([values[:, :1], values[:, 1:]], apart) == pytest.approx(np.diag(np.diag(expected)))


def test_the_mean_over_languages_counts_parallel_sentences_once() -> None:
    from scipy.stats import t

    rng = np.random.default_rng(0)
    common = rng.normal(size=80)
    parts = [common + 0.1 * rng.normal(size=80) for _ in range(3)]
    parts = [part - part.mean() for part in parts]
    sentences = np.arange(80).astype(object)
    value, low, high = mean_with_interval([0.1, 0.2, 0.3], parts, [sentences] * 3)
    error = np.mean(parts, axis=0).std(ddof=1) / np.sqrt(80)
    assert value == pytest.approx(0.2)
    assert (high - value, value - low) == pytest.approx((t.ppf(0.975, 79) * error,) * 2)
    separate = mean_with_interval([0.1, 0.2, 0.3], parts, [None] * 3)
    assert high - value > 1.5 * (separate[2] - value)


def test_an_interval_of_a_share_stays_inside() -> None:
    low, high = interval(0.98, 0.014, is_share=True)
    assert 0.9 < low < 0.98 < high < 1
    assert interval(0.5, 0.1, is_share=False) == pytest.approx((0.5 - 0.196, 0.5 + 0.196), abs=1e-3)


def test_influences_add_up_to_the_change_of_the_metric() -> None:
    """A row's influence is what its removal takes away, times n (the jackknife)."""
    from chances import identity_of

    from harness.core.predictions import Predictions
    from harness.core.types import LabelKind, LabelSpace

    rng = np.random.default_rng(0)
    truth, n = rng.integers(0, 3, 300), 300
    given = np.where(rng.random(n) < 0.7, truth, rng.integers(0, 3, n))
    labels = LabelSpace(LabelKind.ORDINAL, ("a", "b", "c"))
    run = Predictions("r", identity_of(), labels, np.arange(n).astype(object), truth, given, np.ones(n, dtype=bool), None)
    for metric in ("accuracy", "macro_f1", "qwk", "mae"):
        whole = influences(run, metric)
        without = influences(run.take(np.arange(1, n)), metric)
        assert whole is not None
        assert without is not None
        assert whole[1].mean() == pytest.approx(0, abs=1e-12)
        assert (whole[0] - without[0]) * (n - 1) == pytest.approx(whole[1][0], abs=0.02)
    assert influences(run, "log_loss") is None
