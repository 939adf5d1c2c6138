"""Multilabel statistics against scikit-learn, and their intervals against resampled rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, hamming_loss

from harness.core.arrays import IntArray
from harness.statistics import intervals

NAMES = ("micro_f1", "macro_f1", "hamming_loss")


def values_of(truth: IntArray, answers: IntArray) -> dict[str, float]:
    ones = np.ones((1, len(truth)))
    statistics = intervals.pattern_f1(truth, answers, micro=True), intervals.pattern_f1(truth, answers, micro=False)
    found = [*(f(ones) for f in statistics), intervals.pattern_hamming(truth, answers)(ones)]
    return {name: float(value[0]) for name, value in zip(NAMES, found, strict=True)}


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(2, 5), n=st.integers(1, 40))
def test_statistics_are_those_of_scikit_learn(seed: int, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    truth, answers = rng.integers(0, 2, (2, n, k))
    times = rng.integers(1, 4, n)
    twice = np.stack([times[::-1], times])
    rows = np.repeat(truth, times, axis=0), np.repeat(answers, times, axis=0)
    f1 = {"labels": range(k), "zero_division": np.nan}
    for average in ("micro", "macro"):
        ours = intervals.pattern_f1(truth, answers, micro=average == "micro")(twice)[1]
        assert ours == pytest.approx(f1_score(*rows, average=average, **f1), nan_ok=True)
    assert intervals.pattern_hamming(truth, answers)(twice)[1] == pytest.approx(hamming_loss(*rows))


def test_intervals_agree_with_resampled_rows() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (1000, 4))
    answers = np.where(rng.random((1000, 4)) < 0.8, truth, 1 - truth)
    found = intervals.multilabel_intervals(values_of(truth, answers), truth, answers)
    drawn = [rng.integers(0, 1000, 1000) for _ in range(1000)]
    again = [values_of(truth[rows], answers[rows]) for rows in drawn]
    for name in NAMES:
        expected = np.quantile([values[name] for values in again], (0.025, 0.975))
        assert (found[name].low, found[name].high) == pytest.approx(tuple(expected), abs=0.004)


def test_rows_that_are_all_right_do_not_prove_that_all_are() -> None:
    truth = np.eye(3, dtype=np.int64)[[0, 1, 2, 0, 1, 2]]
    found = intervals.multilabel_intervals(values_of(truth, truth), truth, truth)
    for name in ("micro_f1", "macro_f1"):
        assert found[name].high == 1
        assert 0.3 < found[name].low < 0.95  # type: ignore[operator]
    assert found["hamming_loss"].low == 0
    assert 0 < found["hamming_loss"].high < 0.4  # type: ignore[operator]


def test_nothing_asked_and_nothing_answered() -> None:
    nothing = np.zeros((4, 2), dtype=np.int64)
    found = intervals.multilabel_intervals(values_of(nothing, nothing), nothing, nothing)
    assert found["micro_f1"].value is found["micro_f1"].low is None
    assert found["hamming_loss"].value == 0
    assert found["hamming_loss"].high > 0  # type: ignore[operator]


def test_a_label_that_occurs_nowhere_gets_no_pseudo_rows() -> None:
    patterns, weights = intervals._pseudo_patterns(np.array([True, False]))
    assert patterns.tolist() == [[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert weights.tolist() == [1, 0.5, 0.5]
    assert math.isclose(intervals._pseudo_patterns(np.array([True, True]))[1].sum(), 2)
