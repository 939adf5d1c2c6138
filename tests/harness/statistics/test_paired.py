"""Tests of shares against statsmodels, enumeration and simulation; gradients against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_oracle
from statsmodels.stats.multitest import multipletests

from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.statistics import row_means
from harness.statistics.paired import (
    detectable_share,
    holm,
    mcnemar,
    share_difference,
    share_interval,
    sign_test,
    sign_tests,
)
from harness.statistics.row_means import Smooth

K = 3
Rows = tuple[IntArray, IntArray, IntArray]


def hits(both: int, only_a: int, only_b: int, neither: int) -> tuple[BoolArray, BoolArray]:
    counts = (both, only_a, only_b, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def rows(seed: int, n: int, right_a: float = 0.6, right_b: float = 0.6, k: int = K) -> Rows:
    """Truth and two answers, shape (n,); a wrong answer is any label or none (k)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    a, b = (np.where(rng.random(n) < right, truth, rng.integers(0, k + 1, n)) for right in (right_a, right_b))
    return truth, a, b


def features(metric: str, truth: IntArray, answers: IntArray, k: int = K) -> FloatArray:
    if metric == "qwk":
        return row_means.qwk_features(truth, answers, k)
    if metric == "balanced_accuracy":
        return row_means.label_features(truth, (truth == answers).astype(np.float64), k)
    return row_means.f1_features(row_means.one_hot(truth, k), row_means.one_hot(answers, k))


SMOOTH: dict[str, Smooth] = {
    "macro_f1": row_means.macro_f1,
    "weighted_f1": row_means.weighted_f1,
    "micro_f1": row_means.micro_f1,
    "qwk": row_means.qwk,
    "balanced_accuracy": row_means.label_mean,
}


@pytest.mark.parametrize("table", [(5, 3, 9, 2), (0, 1, 0, 0), (10, 0, 6, 4), (100, 40, 40, 20), (3, 120, 171, 6)])
def test_mcnemar_is_statsmodels(table: tuple[int, int, int, int]) -> None:
    both, only_a, only_b, neither = table
    expected = mcnemar_oracle([[both, only_a], [only_b, neither]], exact=True).pvalue
    assert mcnemar(*hits(*table)) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_the_same_answers_is_one() -> None:
    assert mcnemar(*hits(4, 0, 0, 3)) == 1.0
    assert share_difference(*hits(4, 0, 0, 3)).value == 0.0


@pytest.mark.slow
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None, max_examples=30)
def test_holm_is_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_many_sign_tests_are_mcnemars(pairs: list[tuple[bool, bool]]) -> None:
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    found = sign_tests(np.array([(a & ~b).sum()]), np.array([(b & ~a).sum()]))
    assert found[0] == pytest.approx(mcnemar(a, b), rel=1e-12)


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []


@pytest.mark.slow
def test_the_interval_of_a_share_excludes_zero_exactly_where_p_is_small() -> None:
    n = 11
    for discordant in range(n + 1):
        for only_b in range(discordant + 1):
            only_a = discordant - only_b
            low, high = share_interval(only_a, only_b, n)
            assert low - 1e-6 <= (only_b - only_a) / n <= high + 1e-6
            assert (sign_test(only_a, only_b) <= 0.05) == (not low <= 0 <= high), (only_a, only_b)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 10])
def test_the_interval_of_a_share_covers_at_least_95_percent_by_enumeration(n: int) -> None:
    seen = [(only_b, m) for m in range(n + 1) for only_b in range(m + 1)]
    limits = {(only_b, m): share_interval(m - only_b, only_b, n) for only_b, m in seen}
    for discordant in (0.02, 0.1, 0.3, 0.7, 1.0):
        for right in (0.5, 0.7, 0.9, 1.0):  # of the discordant rows, those that only B has right
            true = discordant * (2 * right - 1)
            covered = sum(
                binom.pmf(m, n, discordant) * binom.pmf(only_b, m, right)
                for (only_b, m), (low, high) in limits.items()
                if low - 1e-6 <= true <= high + 1e-6
            )
            assert covered >= 0.95


def test_the_interval_of_a_share_is_the_normal_one_for_many_rows() -> None:
    found = share_difference(*hits(700_000, 90_000, 110_000, 100_000))
    reach = 1.96 * math.sqrt(0.2 - 0.02**2) / 1000
    assert (found.low, found.high) == pytest.approx((0.02 - reach, 0.02 + reach), abs=1e-5)


def test_a_share_at_the_edge() -> None:
    one = share_difference(*hits(0, 0, 1, 0))
    assert (one.value, one.p, one.high) == (1.0, 1.0, 1.0)
    assert one.low < -0.9  # one row says next to nothing
    all_of_them = share_difference(*hits(0, 30, 0, 0))
    assert all_of_them.value == all_of_them.low == -1.0
    assert -1 < all_of_them.high < -0.7
    none = share_difference(*hits(30, 0, 0, 0))
    assert none.low == pytest.approx(-none.high)
    assert 0 < none.high < 0.15  # 3.7 / n, Clopper and Pearson's limit for no discordant row


def test_detectable_share_is_that_of_connor_for_many_rows() -> None:
    n, share = 100_000, 0.2
    found = detectable_share(n, int(n * share))
    needed = (norm.isf(0.025) * math.sqrt(share) + norm.isf(0.2) * math.sqrt(share - found**2)) ** 2 / found**2
    assert needed == pytest.approx(n, rel=0.02)  # the exact test needs a few rows more
    assert detectable_share(n, int(n * share), level=0.05 / 6) > 1.2 * found


@pytest.mark.slow
@pytest.mark.parametrize(("n", "discordant"), [(40, 12), (40, 0), (300, 60)])
def test_detectable_share_is_found_in_four_of_five_samples(n: int, discordant: int) -> None:
    size = detectable_share(n, discordant)
    differ = max(discordant / n, size)
    drawn = np.random.default_rng(1).multinomial(n, [(differ - size) / 2, (differ + size) / 2, 1 - differ], 20_000)
    p = {(a, b): sign_test(int(a), int(b)) for a, b in np.unique(drawn[:, :2], axis=0)}
    assert np.mean([p[a, b] <= 0.05 for a, b in drawn[:, :2]]) == pytest.approx(0.8, abs=0.012)


def test_five_rows_can_show_nothing() -> None:
    assert math.isnan(detectable_share(5, 3))  # all five one-sided: p = 0.0625
    assert 0.9 < detectable_share(6, 3) < 1


@pytest.mark.parametrize("metric", list(SMOOTH))
def test_gradients_are_finite_differences(metric: str) -> None:
    truth, a, _ = rows(7, 60)
    means = features(metric, truth, a).mean(axis=0)
    steps = 1e-6 * np.eye(len(means))
    up, down = (SMOOTH[metric](means + sign * steps)[0] for sign in (1, -1))
    assert SMOOTH[metric](means[None])[1][0] == pytest.approx((up - down) / 2e-6, abs=1e-5)


def test_a_label_that_nobody_names_is_no_part_of_macro_f1() -> None:
    truth, a = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    narrow, wide = (row_means.macro_f1(features("macro_f1", truth, a, k).mean(axis=0)[None]) for k in (2, 4))
    assert narrow[0] == pytest.approx(wide[0])
    assert np.isfinite(wide[1]).all()
