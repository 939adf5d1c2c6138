"""Intervals against scikit-learn, statsmodels and the sampling distribution itself."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, f1_score, hamming_loss, mean_absolute_error
from statsmodels.stats.proportion import proportion_confint

from harness import intervals
from harness.intervals import FloatArray, IntArray


def random_cells(seed: int, k: int, n: int) -> IntArray:
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, rng.dirichlet(np.ones(k * (k + 1)))).reshape(k, k + 1).astype(np.int64)


def rows_of(cells: IntArray) -> tuple[IntArray, IntArray]:
    """Truth and answers, shape (n,); the answer k stands for none."""
    truth, answers = np.indices(cells.shape)
    return np.repeat(truth.ravel(), cells.ravel()), np.repeat(answers.ravel(), cells.ravel())


def accuracy(cells: IntArray) -> FloatArray:
    return np.asarray(np.trace(cells, axis1=1, axis2=2) / cells.sum(axis=(1, 2)))


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 10), (10, 10), (7, 10), (123, 1000), (999_999, 1_000_000)])
def test_wilson_is_statsmodels(successes: int, n: int) -> None:
    assert intervals.wilson(successes, n) == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(2, 1), (-1, 3)])
def test_wilson_refuses_what_is_no_share(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=r"k|n"):
        intervals.wilson(successes, n)


@given(seed=st.integers(0, 10_000), k=st.integers(2, 6), n=st.integers(1, 60))
def test_statistics_are_those_of_scikit_learn(seed: int, k: int, n: int) -> None:
    cells = random_cells(seed, k, n)
    truth, answers = rows_of(cells)
    worst = np.array([0 if y >= k - 1 - y else k - 1 for y in truth])
    filled = np.where(answers == k, worst, answers)
    stacked = np.stack([random_cells(seed + 1, k, n), cells])  # a second matrix, so that mixed-up axes show
    f1 = {"labels": range(k), "zero_division": np.nan}
    assert intervals.macro_f1(stacked)[1] == pytest.approx(f1_score(truth, answers, average="macro", **f1))
    assert intervals.weighted_f1(stacked)[1] == pytest.approx(f1_score(truth, answers, average="weighted", **f1))
    assert intervals.mae(stacked)[1] == pytest.approx(mean_absolute_error(truth, filled))
    kappa = intervals.qwk(stacked)[1]
    if len(np.union1d(truth, filled)) == 1:
        assert math.isnan(kappa)
    else:
        assert kappa == pytest.approx(cohen_kappa_score(truth, filled, labels=range(k), weights="quadratic"))


@given(seed=st.integers(0, 10_000), k=st.integers(2, 5), n=st.integers(1, 40))
def test_multilabel_statistics_are_those_of_scikit_learn(seed: int, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    truth, answers = rng.integers(0, 2, (2, n, k))
    times = rng.integers(1, 4, n)
    twice = np.stack([times[::-1], times])
    rows = np.repeat(truth, times, axis=0), np.repeat(answers, times, axis=0)
    f1 = {"labels": range(k), "zero_division": np.nan}
    for average in ("micro", "macro"):
        ours = intervals.multilabel_f1(truth, answers, micro=average == "micro")(twice)[1]
        assert ours == pytest.approx(f1_score(*rows, average=average, **f1), nan_ok=True)
    assert intervals.hamming(truth, answers)(twice)[1] == pytest.approx(hamming_loss(*rows))


@pytest.mark.parametrize(("k", "expected"), [(2, [1, 0]), (3, [2, 0, 0]), (4, [3, 3, 0, 0]), (5, [4, 4, 0, 0, 0])])
def test_farthest_label_and_its_tie(k: int, expected: list[int]) -> None:
    assert intervals.farthest_labels(k).tolist() == expected


def test_bootstrap_agrees_with_resampling_rows() -> None:
    cells = random_cells(3, 4, 150)
    truth, answers = rows_of(cells)
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 150, (2000, 150))
    by_rows = np.zeros((2000, 4, 5), dtype=np.int64)
    np.add.at(by_rows, (np.arange(2000)[:, None], truth[drawn], answers[drawn]), 1)
    expected = np.quantile(intervals.macro_f1(by_rows), (0.025, 0.975))
    assert intervals.bootstrap_cells(cells, intervals.macro_f1) == pytest.approx(expected, abs=0.01)


def test_bootstrap_covers_what_the_normal_theory_covers() -> None:
    cells = np.array([[400, 100, 0], [100, 400, 0]])
    spread = 1.96 * math.sqrt(0.8 * 0.2 / 1000)
    assert intervals.bootstrap_cells(cells, accuracy) == pytest.approx((0.8 - spread, 0.8 + spread), abs=0.003)


def test_bootstrap_repeats_itself_and_its_seed_matters() -> None:
    cells = random_cells(5, 3, 200)
    first = intervals.bootstrap_cells(cells, intervals.qwk)
    assert intervals.bootstrap_cells(cells, intervals.qwk) == first
    assert intervals.bootstrap_cells(cells, intervals.qwk, seed=1) != first


def test_bootstrap_does_not_depend_on_how_many_replicates_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = random_cells(6, 3, 100)
    whole = intervals.bootstrap_cells(cells, intervals.mae, replicates=101)
    monkeypatch.setattr(intervals, "_COUNTS_AT_ONCE", 10 * cells.size)
    assert intervals.bootstrap_cells(cells, intervals.mae, replicates=101) == whole


def test_bootstrap_leaves_out_undefined_replicates() -> None:
    # two rows: half of the replicates hold one label only, where kappa is undefined; in the others it is 1
    assert intervals.bootstrap_cells(np.array([[1, 0, 0], [0, 1, 0]]), intervals.qwk) == (1.0, 1.0)
    assert all(math.isnan(x) for x in intervals.bootstrap_cells(np.array([[5, 0, 0], [0, 0, 0]]), intervals.qwk))


def test_a_million_rows_cost_what_a_hundred_cost() -> None:
    def seconds(n: int) -> float:
        start = time.perf_counter()
        intervals.bootstrap_cells(random_cells(7, 5, n), intervals.macro_f1)
        return time.perf_counter() - start

    seconds(100)
    assert min(seconds(1_000_000) for _ in range(3)) < 20 * min(seconds(100) for _ in range(3)) + 0.1


def test_share_booted_and_plain_speak_strict_json() -> None:
    assert intervals.plain(math.inf) == {"value": None, "low": None, "high": None, "method": None}
    assert intervals.booted(math.nan, np.array([[1, 0]]), accuracy)["method"] is None
    assert intervals.share(np.array([True, False]))["value"] == 0.5
