"""Paired tests against statsmodels, SciPy, enumeration and simulation; gradients against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, bootstrap, norm, permutation_test
from sklearn.metrics import cohen_kappa_score, f1_score, recall_score
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_oracle
from statsmodels.stats.multitest import multipletests

from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.statistics import paired, row_means
from harness.statistics.paired import (
    Patterns,
    counted_difference,
    detectable_share,
    holm,
    mcnemar,
    mean_difference,
    share_difference,
    share_interval,
    sign_test,
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


def by_rows(metric: str, data: Rows, level: float = 0.05, pseudo: float = 0.0, **options: int) -> paired.Difference:
    """Each row a pattern; `pseudo` rows in which only A is right, and as many in which only B is."""
    truth, a, b = data
    seen = Patterns(features(metric, truth, a), features(metric, truth, b), np.ones(len(truth)))
    right, wrong = (features(metric, np.arange(K), (np.arange(K) + step) % K) for step in (0, 1))
    added = Patterns(np.vstack([right, wrong]), np.vstack([wrong, right]), np.full(2 * K, pseudo / K))
    return counted_difference(SMOOTH[metric], seen, added, level, **options)


SMOOTH: dict[str, Smooth] = {
    "macro_f1": row_means.macro_f1,
    "weighted_f1": row_means.weighted_f1,
    "micro_f1": row_means.micro_f1,
    "qwk": row_means.qwk,
    "balanced_accuracy": row_means.label_mean,
}


def sklearn_value(metric: str, truth: IntArray, answers: IntArray) -> float:
    if metric == "qwk":
        given = row_means.filled(truth, answers, K)
        return float(cohen_kappa_score(truth, given, labels=range(K), weights="quadratic"))
    if metric == "balanced_accuracy":
        return float(recall_score(truth, answers, average="macro", labels=range(K), zero_division=np.nan))
    average = metric.removesuffix("_f1")
    return float(f1_score(truth, answers, average=average, labels=range(K), zero_division=np.nan))


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


def test_means_are_permuted_as_scipy_does_it() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.gamma(0.5, 1.0, 11), rng.gamma(2.0, 0.5, 11)
    oracle = permutation_test((a, b), lambda x, y: np.mean(y) - np.mean(x), permutation_type="samples", n_resamples=np.inf)
    assert mean_difference(a, b).value == pytest.approx(oracle.statistic)
    assert mean_difference(a, b).p == pytest.approx(oracle.pvalue, abs=0.015)


@pytest.mark.filterwarnings("ignore:.*only one label in common")  # then both are undefined
@pytest.mark.parametrize("metric", list(SMOOTH))
@given(seed=st.integers(0, 10_000), n=st.integers(2, 40))
@settings(max_examples=8, deadline=None)
def test_values_are_those_of_scikit_learn(metric: str, seed: int, n: int) -> None:
    truth, a, b = rows(seed, n)
    found = by_rows(metric, (truth, a, b), replicates=99).value
    expected = sklearn_value(metric, truth, b) - sklearn_value(metric, truth, a)
    assert found == pytest.approx(expected, nan_ok=True, abs=1e-12)


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


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["macro_f1", "qwk"])
def test_the_interval_is_near_scipys_paired_bootstrap(metric: str) -> None:
    truth, a, b = rows(11, 400, 0.7, 0.6)
    each = [features(metric, truth, answers) for answers in (a, b)]

    def difference(drawn: IntArray) -> float:
        first, second = (part[drawn.astype(int)].mean(axis=0)[None] for part in each)
        return float(SMOOTH[metric](second)[0][0] - SMOOTH[metric](first)[0][0])

    oracle = bootstrap((np.arange(400),), difference, vectorized=False, n_resamples=1500, method="BCa", rng=1)
    low, high = oracle.confidence_interval
    found = by_rows(metric, (truth, a, b))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.12 * (high - low))
    assert found.detectable == pytest.approx(oracle.standard_error * (1.96 + 0.84), rel=0.06)


@pytest.mark.slow
def test_a_few_large_errors_are_not_taken_for_surer_than_they_are() -> None:
    """A errs by one step in 30% of 50 rows, B anyhow in 6%: the same QWK."""
    found: dict[float, list[float]] = {0.0: [], 1.0: []}
    for seed in range(120):
        rng = np.random.default_rng(seed)
        truth, k, n = rng.integers(0, 5, 50), 5, 50
        step = np.where(truth == 0, 1, np.where(truth == k - 1, -1, rng.choice([-1, 1], n)))
        a = np.where(rng.random(n) < 0.3, truth + step, truth)
        b = np.where(rng.random(n) < 0.06, (truth + rng.integers(1, k, n)) % k, truth)
        seen = Patterns(*(row_means.qwk_features(truth, answers, k) for answers in (a, b)), np.ones(n))
        ends = np.array([0, 1, 2, 3, 4] * 4), np.array([(i + s) % 5 for s in range(1, 5) for i in range(5)])
        good, bad = row_means.qwk_features(ends[0], ends[0], k), row_means.qwk_features(*ends, k)
        for extra, p in found.items():
            pseudo = Patterns(np.vstack([good, bad]), np.vstack([bad, good]), np.full(40, extra / 20))
            p.append(counted_difference(row_means.qwk, seen, pseudo, replicates=199, seed=seed).p)
    assert np.mean(np.array(found[1.0]) <= 0.05) < 0.1
    assert np.mean(np.array(found[0.0]) <= 0.05) > 0.12  # what it is there for


def merged(metric: str, data: Rows) -> paired.Difference:
    """Rows of one pattern together."""
    patterns, counts = np.unique(np.stack(data, axis=1), axis=0, return_counts=True)
    truth, a, b = patterns.T
    seen = Patterns(features(metric, truth, a), features(metric, truth, b), counts.astype(np.float64))
    none = np.zeros((0, seen.a.shape[1]))
    return counted_difference(SMOOTH[metric], seen, Patterns(none, none, np.zeros(0)))


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["macro_f1", "qwk"])
def test_patterns_are_rows_taken_together(metric: str) -> None:
    data = rows(13, 150, 0.7, 0.62)
    one, other = by_rows(metric, data), merged(metric, data)
    assert one.value == pytest.approx(other.value)
    assert one.p == pytest.approx(other.p, abs=0.02)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.01)
    assert by_rows("qwk", data, seed=1) != by_rows("qwk", data, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["macro_f1", "qwk", "mae"])
def test_the_interval_excludes_zero_exactly_where_p_is_small(metric: str) -> None:
    seen = set()
    for seed in range(40):
        truth, a, b = data = rows(seed, 60, 0.75, 0.55)
        distances = [row_means.distances(truth, answers, K) for answers in (a, b)]
        found = mean_difference(distances[0], distances[1]) if metric == "mae" else merged(metric, data)
        assert (found.p <= 0.05) == (not found.low <= 0 <= found.high)
        seen.add(found.p <= 0.05)
    assert seen == {True, False}


def test_b_minus_a_turns_round_with_them() -> None:
    truth, a, b = rows(3, 80, 0.7, 0.5)
    there, back = by_rows("macro_f1", (truth, a, b)), by_rows("macro_f1", (truth, b, a))
    assert there.value == pytest.approx(-back.value)
    assert there.value < 0
    assert (there.low, there.p) == pytest.approx((-back.high, back.p), abs=0.015)
    losses = np.array([1.0, 2.0, 3.0]), np.array([1.5, 2.25, 5.0])
    assert mean_difference(*losses).value == pytest.approx(2.75 / 3)


def test_the_same_answers_cannot_be_told_apart() -> None:
    truth, a, _ = rows(1, 30)
    found = by_rows("qwk", (truth, a, a), pseudo=1.0)
    assert (found.value, found.p) == (0.0, 1.0)
    assert found.low < 0 < found.high  # 30 rows do not prove that they always agree
    same = mean_difference(a / 1.0, a / 1.0)
    assert (same.value, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_what_is_undefined_has_no_p() -> None:
    one_label = np.zeros(5, dtype=np.int64)
    found = by_rows("qwk", (one_label, one_label, one_label))
    assert all(math.isnan(x) for x in (found.value, found.low, found.high, found.p))


def test_one_row_tells_nothing() -> None:
    found = mean_difference(np.array([0.1]), np.array([2.3]))
    assert found.p == 1.0
    assert math.isnan(found.low)
    assert by_rows("macro_f1", (np.array([0]), np.array([0]), np.array([1])), pseudo=1.0).p > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: by_rows("macro_f1", rows(4, 300, 0.7, 0.62)), lambda: mean_difference(*LOSSES)])
def test_the_normal_distribution_stands_in_where_exchanges_would_take_too_long(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], paired.Difference]
) -> None:
    exchanged = make()
    monkeypatch.setattr(paired, "_WORK", 0)
    normal = make()
    assert normal.method == "normal" != exchanged.method
    assert normal.p == pytest.approx(exchanged.p, abs=0.01)
    assert (normal.low, normal.high, normal.detectable) == pytest.approx(
        (exchanged.low, exchanged.high, exchanged.detectable), rel=0.06
    )


@pytest.mark.parametrize("work", [0, 10**9])
def test_no_interval_goes_beyond_what_the_metric_can_be(monkeypatch: pytest.MonkeyPatch, work: int) -> None:
    """One model is nearly always right, the other nearly always wrong, on a handful of rows."""
    truth = np.array([0, 0, 0, 1, 1, 2])
    monkeypatch.setattr(paired, "_WORK", work)
    found = by_rows("macro_f1", (truth, np.array([1, 1, 0, 2, 2, 0]), truth), pseudo=1.0)
    assert found.method == ("bootstrap" if work else "normal")
    assert found.high == 1.0


LOSSES = (np.random.default_rng(0).gamma(1.0, 1.0, 300), np.random.default_rng(1).gamma(1.0, 1.2, 300))


@pytest.mark.slow
def test_portions_and_their_number_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = merged("qwk", rows(8, 100)), mean_difference(*LOSSES)
    monkeypatch.setattr(paired, "_AT_ONCE", 1_000)
    assert (merged("qwk", rows(8, 100)), mean_difference(*LOSSES)) == whole


def test_a_stricter_level_gets_more_exchanges_and_needs_a_larger_difference() -> None:
    truth, a, b = rows(9, 100, 0.7, 0.6)
    usual, strict = (
        mean_difference(row_means.distances(truth, a, K), row_means.distances(truth, b, K), level)
        for level in (0.05, 0.05 / 400)
    )
    assert strict.detectable > 1.3 * usual.detectable
    assert (strict.low, strict.high) == pytest.approx((usual.low, usual.high), abs=0.01)
    far = mean_difference(np.zeros(100), np.linspace(1, 2, 100), 0.05 / 400)
    assert far.p <= 0.05 / 400


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["macro_f1", "qwk"])
def test_equally_good_runs_are_told_apart_in_one_of_twenty(metric: str) -> None:
    found = [by_rows(metric, rows(seed, 80), pseudo=1.0, replicates=199, seed=seed).p <= 0.05 for seed in range(300)]
    assert 0.01 <= np.mean(found) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
