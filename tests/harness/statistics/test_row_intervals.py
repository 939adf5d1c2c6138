"""Means over rows and ROC AUC: values against scikit-learn, intervals against other estimators and simulated samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, ttest_1samp
from sklearn.metrics import roc_auc_score

from harness.core.arrays import FloatArray
from harness.core.record import Estimate
from harness.statistics import intervals
from harness.statistics.clusters import variance_of_sum


def roc_auc_error(truth: FloatArray, found: FloatArray) -> float:
    return math.sqrt(variance_of_sum(intervals.roc_areas(truth, found)[1], None))


def ends(found: Estimate) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def test_a_mean_without_skewness_has_students_interval() -> None:
    values = np.concatenate([np.arange(20.0), 19 - np.arange(20.0)])
    student = ttest_1samp(values, 0).confidence_interval(0.95)
    assert ends(intervals.mean_of(values)) == pytest.approx((student.low, student.high))
    assert intervals.mean_of(values).method == "skewed_t"


def test_a_skewed_mean_reaches_further_to_the_side_of_its_tail() -> None:
    values = np.random.default_rng(0).exponential(size=60)
    low, high = ends(intervals.mean_of(values))
    assert high - values.mean() > 1.1 * (values.mean() - low)
    mirrored = ends(intervals.mean_of(-values))
    assert (-mirrored[1], -mirrored[0]) == pytest.approx((low, high))


def test_a_mean_of_many_rows_agrees_with_scipys_bca_bootstrap() -> None:
    values = np.random.default_rng(1).exponential(size=800)
    theirs = bootstrap((values,), np.mean, method="BCa", n_resamples=4000, rng=np.random.default_rng(0)).confidence_interval
    spread = theirs.high - theirs.low
    assert ends(intervals.mean_of(values)) == pytest.approx((theirs.low, theirs.high), abs=0.04 * spread)


def test_the_cubic_is_inverted() -> None:
    n, skewness = 50, 2.5
    g = skewness / math.sqrt(n)
    for y in (-2.0, 0.0, 1.5, 2.0):
        x = intervals._unskewed(y, skewness, n)
        assert x + g * x**2 / 3 + g**2 * x**3 / 27 + g / 6 == pytest.approx(y)


@pytest.mark.parametrize("values", [[0.3], [0.25, 0.25, 0.25], [0.1] * 10])
def test_rows_that_do_not_differ_have_no_interval(values: list[float]) -> None:
    found = intervals.mean_of(np.array(values))
    assert found.value == pytest.approx(values[0])
    assert found.low is found.high is found.method is None


@pytest.mark.slow
def test_coverage_of_a_skewed_mean() -> None:
    """Log losses of a good model; Student's interval holds the mean in 82% of such samples."""
    rng = np.random.default_rng(2)
    losses = np.exp(rng.normal(-3, 1.5, size=(1500, 50)))
    truth = math.exp(-3 + 1.5**2 / 2)
    held = [low <= truth <= high for low, high in (ends(intervals.mean_of(row)) for row in losses)]
    student = [ttest_1samp(row, 0).confidence_interval(0.95) for row in losses[:300]]
    assert np.mean(held) > 0.90
    assert np.mean([s.low <= truth <= s.high for s in student]) < 0.88


def scores(seed: int, n: int, k: int, *, tied: bool = False) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    truth[:k] = np.arange(k)  # each label once at least
    found = rng.random((n, k))
    found[np.arange(n), truth] += 0.4
    return np.eye(k)[truth], np.round(found, 1) if tied else found


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(4, 60), k=st.integers(2, 4), tied=st.booleans())
def test_roc_auc_is_that_of_scikit_learn(seed: int, n: int, k: int, tied: bool) -> None:
    truth, found = scores(seed, n, k, tied=tied)
    result = intervals.roc_auc(truth, found)
    expected = np.mean([roc_auc_score(truth[:, i], found[:, i]) for i in range(k)])
    assert result.value == pytest.approx(expected)
    low, high = ends(result)
    assert 0 <= low <= expected <= high <= 1
    assert low < high


def test_delongs_variance_by_its_definition() -> None:
    truth, found = scores(3, 40, 2, tied=True)
    positive, negative = found[truth[:, 1] == 1, 1], found[truth[:, 1] == 0, 1]
    wins = (positive[:, None] > negative[None, :]) + (positive[:, None] == negative[None, :]) / 2
    of_positive, of_negative = wins.mean(axis=1), wins.mean(axis=0)
    variance = of_positive.var() / len(positive) + of_negative.var() / len(negative)
    one = roc_auc_error(truth[:, 1:], found[:, 1:])
    assert one == pytest.approx(math.sqrt(variance * 40 / 39))


@pytest.mark.slow
def test_labels_are_about_the_same_rows() -> None:
    """Resampling rows sees the labels' areas vary together; so must the error of their mean."""
    truth, found = scores(4, 300, 3)
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, 300, 300) for _ in range(1000)]
    areas = [intervals.roc_auc(truth[rows], found[rows]).value for rows in drawn]
    assert roc_auc_error(truth, found) == pytest.approx(np.std(areas), rel=0.08)  # type: ignore[arg-type]


def test_ranking_without_an_error_is_no_proof() -> None:
    truth = np.eye(2)[[0, 0, 0, 0, 1, 1, 1, 1]]
    low, high = ends(intervals.roc_auc(truth, truth))
    assert high == 1
    assert 0.5 < low < 0.95


@pytest.mark.parametrize("label", [0, 1])
def test_roc_auc_needs_rows_on_both_sides(label: int) -> None:
    truth = np.eye(2)[[label] * 3]
    assert intervals.roc_auc(truth, truth).value is None
