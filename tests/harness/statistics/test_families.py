"""The joint test of all pairs against SciPy, scikit-learn, enumeration and simulation."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import bootstrap, norm, permutation_test, t
from sklearn.metrics import cohen_kappa_score, f1_score

from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.core.predictions import Predictions
from harness.core.types import LabelKind, LabelSpace
from harness.statistics import families
from harness.statistics.contrast import difference_of, differences_of, score_of, share_differences
from harness.statistics.families import Family, Score, all_pairs, moderated
from harness.statistics.jackknife import parts_of, parts_of_mean
from harness.statistics.paired import mcnemar
from harness.statistics.row_means import known_metrics

K = 5
ORDINAL = LabelSpace(LabelKind.ORDINAL, tuple("12345"))


def run(truth: IntArray, answers: IntArray, groups: IntArray | None = None, k: int = K) -> Predictions:
    labels = LabelSpace(LabelKind.NOMINAL, tuple(map(str, range(k)))) if k > K else ORDINAL
    names = None if groups is None else groups.astype(str).astype(object)
    ids, there = np.arange(len(truth)).astype(object), answers < k
    return Predictions("", {}, labels, ids, truth, answers, there, None, None, names)  # type: ignore[arg-type]


def runs(seed: int, n: int, *rights: float, k: int = K, groups: IntArray | None = None) -> list[Predictions]:
    """Models that are right in these shares of n rows; a wrong answer is any label or none."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    return [run(truth, np.where(rng.random(n) < p, truth, rng.integers(0, k + 1, n)), groups, k) for p in rights]


def of(parts: list[FloatArray], **options: float) -> Family:
    return all_pairs([score_of([parts_of_mean(one)]) for one in parts], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", ["macro_f1", "weighted_f1", "qwk", "mae", "accuracy"])
def test_parts_are_those_of_leaving_each_row_out(metric: str) -> None:
    (one,) = runs(1, 30, 0.6)

    def value(rows: BoolArray) -> float:
        truth, answers = one.truth[rows], one.answers[rows]
        given = np.where(answers == K, np.where(truth >= 2, 0, K - 1), answers)
        if metric == "qwk":
            return float(cohen_kappa_score(truth, given, labels=range(K), weights="quadratic"))
        if metric == "mae":
            return float(np.abs(truth - given).mean())
        if metric == "accuracy":
            return float((truth == answers).mean())
        return float(f1_score(truth, answers, average=metric.removesuffix("_f1"), labels=range(K), zero_division=np.nan))

    whole = np.ones(30, dtype=bool)
    left_out = [value(np.arange(30) != row) for row in range(30)]
    found = parts_of(metric, one)
    assert found.value == pytest.approx(value(whole))
    assert found.parts == pytest.approx([29 * (value(whole) - other) for other in left_out])


def test_a_group_is_left_out_as_a_whole() -> None:
    groups = np.repeat(np.arange(6), [1, 9, 4, 6, 7, 3])
    (one,) = runs(2, 30, 0.6, groups=groups)
    whole = parts_of("macro_f1", one)
    found = parts_of("macro_f1", one, groups)
    for group in range(6):
        rest = parts_of("macro_f1", one.take(np.flatnonzero(groups != group)))
        assert found.parts[group] == pytest.approx(5 * (whole.value - rest.value))
    assert parts_of_mean(np.arange(30.0), groups).parts.sum() == pytest.approx(0)


def test_means_are_permuted_as_scipy_does_it() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.gamma(0.5, 1.0, 11), rng.gamma(2.0, 0.5, 11)
    oracle = permutation_test((a, b), lambda x, y: np.mean(y) - np.mean(x), permutation_type="samples", n_resamples=np.inf)
    found = of([a, b])
    assert found.value[0] == pytest.approx(oracle.statistic)
    assert found.p[0] == pytest.approx(oracle.pvalue, abs=0.02)


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_the_sign_flip_of_hits_is_mcnemars_test(seed: int) -> None:
    a, b = (one.correct for one in runs(seed, 60, 0.7, 0.5))
    assert of([a.astype(float), b.astype(float)]).p[0] == pytest.approx(mcnemar(a, b), abs=0.02)
    assert share_differences([[a], [b]]).method == "mcnemar"


def test_groups_are_flipped_as_a_whole() -> None:
    """Each row four times, in one group: the same p as once."""
    a, b = (one.correct.astype(float) for one in runs(8, 40, 0.7, 0.5))
    groups = np.repeat(np.arange(40), 4)
    scores = [score_of([parts_of_mean(np.repeat(one, 4), groups)]) for one in (a, b)]
    four, once = all_pairs(scores, np.full(40, 4.0)), of([a, b])
    assert (four.p[0], four.low[0], four.high[0]) == pytest.approx((once.p[0], once.low[0], once.high[0]), abs=1e-9)
    assert of([np.repeat(a, 4), np.repeat(b, 4)]).p[0] < 0.2 * four.p[0]


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["macro_f1", "qwk"])
def test_the_interval_is_near_scipys_paired_bootstrap(metric: str) -> None:
    a, b = runs(11, 400, 0.7, 0.6)

    def difference(drawn: IntArray) -> float:
        return parts_of(metric, b.take(drawn.astype(int))).value - parts_of(metric, a.take(drawn.astype(int))).value

    oracle = bootstrap((np.arange(400),), difference, vectorized=False, n_resamples=999, method="BCa", rng=1)
    low, high = oracle.confidence_interval
    found = difference_of(metric, a, b)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.12 * (high - low))
    assert found.detectable == pytest.approx(oracle.standard_error * (1.96 + 0.84), rel=0.08)


def test_seeds_that_outweigh_the_rows_make_welchs_interval() -> None:
    rng = np.random.default_rng(0)
    n = 1_000_000  # rows that say all: only the seeds are left
    values = np.array([0.70, 0.74, 0.69, 0.75, 0.72]), np.array([0.66])
    parts = np.tile([1e-9, -1e-9], n // 2)
    deterministic = Score(float(values[1][0]), parts[::-1].copy())
    seeded = Score(float(values[0].mean()), parts, seeds=float(values[0].var(ddof=1)) / 5, freedom=4)
    found = all_pairs([seeded, deterministic], replicates=4_999, seed=int(rng.integers(9)))
    error = values[0].std(ddof=1) / math.sqrt(5)
    difference = values[1][0] - values[0].mean()
    assert found.p[0] == pytest.approx(2 * t.sf(abs(difference) / error, 4), abs=0.012)
    assert (found.high[0] - found.low[0]) / 2 == pytest.approx(float(t.isf(0.025, 4)) * error, rel=0.08)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "mae", "qwk"])
def test_intervals_exclude_zero_exactly_where_the_adjusted_p_is_small(metric: str) -> None:
    outcomes = set()
    for seed in range(6):
        groups = np.random.default_rng(seed).integers(0, 25, 120) if seed % 2 else None
        six = runs(seed, 120, 0.85, 0.5, 0.5, 0.52, 0.5, 0.48, groups=groups)
        found = differences_of(metric, [six[:1], six[1:3], six[3:]], replicates=499)
        significant = found.p_adjusted <= 0.05
        assert (significant == ((found.low > 0) | (found.high < 0))).all()
        assert (found.p <= found.p_adjusted).all()
        outcomes |= set(significant.tolist())
    assert outcomes == {True, False}


def test_the_order_of_configurations_changes_nothing() -> None:
    made = [[one] for one in runs(5, 80, 0.7, 0.6, 0.5, 0.4)]
    there, back = differences_of("macro_f1", made), differences_of("macro_f1", made[::-1])
    places = {(3 - b, 3 - a): place for place, (a, b) in enumerate(combinations(range(4), 2))}
    turned = [places[pair] for pair in combinations(range(4), 2)]
    assert there.p_adjusted.tolist() == back.p_adjusted[turned].tolist()
    assert there.low == pytest.approx(-back.high[turned])


def test_the_same_answers_cannot_be_told_apart() -> None:
    (one,) = runs(1, 30, 0.6)
    found = differences_of("qwk", [[one], [one]])
    assert (found.value[0], found.p[0]) == (0.0, 1.0)
    assert found.low[0] < 0 < found.high[0]  # 30 rows do not prove that they always agree
    same = of([np.arange(5.0), np.arange(5.0)])
    assert (same.value[0], same.low[0], same.high[0], same.p[0]) == (0.0, 0.0, 0.0, 1.0)


def test_what_is_undefined_has_no_p_and_leaves_the_others_alone() -> None:
    one_label = run(np.zeros(8, dtype=np.int64), np.zeros(8, dtype=np.int64))
    found = difference_of("qwk", one_label, one_label)
    assert all(math.isnan(x) for x in (found.value, found.low, found.high, found.p))
    scores = [score_of([parts_of_mean(np.arange(9.0) * i)]) for i in (1, 2)]
    mixed = all_pairs([*scores, Score(math.nan, np.zeros(9))])
    assert np.isfinite(mixed.p).tolist() == [True, False, False]
    assert math.isnan(of([np.array([0.1]), np.array([2.3])]).p[0])  # one row tells nothing


def test_no_interval_goes_beyond_what_the_metric_can_be() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    found = difference_of("weighted_f1", run(truth, np.array([1, 1, 0, 2, 2, 0])), run(truth, truth))
    assert found.high == 1.0
    assert -1.0 <= found.low < found.value


def test_many_rows_have_a_normal_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.gamma(1.0, 1.0, 300), rng.gamma(1.0, 1.2, 300)
    flipped = of([a, b])
    monkeypatch.setattr(families, "_SIGNS", 0)
    normal = of([a, b])
    assert (flipped.method, normal.method) == ("sign_flip", "normal")
    assert normal.p[0] == pytest.approx(flipped.p[0], abs=0.02)
    z = (b - a).mean() / math.sqrt(((b - a) ** 2).mean() / 300)
    assert normal.p[0] == pytest.approx(2 * norm.sf(abs(z)), abs=0.02)


def test_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [[one] for one in runs(8, 100, 0.7, 0.6, 0.6)]
    whole = differences_of("accuracy", made)
    monkeypatch.setattr(families, "_AT_ONCE", 3_000)
    assert differences_of("accuracy", made).p_adjusted == pytest.approx(whole.p_adjusted, abs=0.02)


def test_variances_of_few_seeds_are_averaged_and_never_become_smaller() -> None:
    variance, freedom = np.array([1.0, 2.0, 6.0, 0.0, 1.0, 0.0]), np.array([2, 2, 2, 2, 2, 0])
    found, given = moderated(variance, freedom)
    assert found == pytest.approx([(4 * 2 + 2) / 6, (4 * 2 + 2 * 2) / 6, 6.0, 8 / 6, 10 / 6, 0.0])
    assert given.tolist() == [6, 6, 6, 6, 6, 0]
    few, unchanged = moderated(variance[:4], freedom[:4])
    assert (few.tolist(), unchanged.tolist()) == (variance[:4].tolist(), freedom[:4].tolist())


@pytest.mark.slow
@pytest.mark.parametrize(("k", "n"), [(5, 80), (77, 200), (151, 200)])
def test_equally_good_models_differ_in_one_sample_of_twenty(k: int, n: int) -> None:
    found = [difference_of("macro_f1", *runs(seed, n, 0.7, 0.7, k=k), replicates=199).p <= 0.05 for seed in range(250)]
    assert np.mean(found) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 250)


@pytest.mark.slow
def test_ten_equal_models_with_three_seeds_each_have_one_rank_in_nineteen_tables_of_twenty() -> None:
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        common = rng.random(300)
        right = [
            [np.where(rng.random(300) < 0.5, common, rng.random(300)) < 0.7 + 0.02 * rng.standard_normal() for _ in range(3)]
            for _ in range(10)
        ]
        found.append(share_differences(right, replicates=499).p_adjusted.min() <= 0.05)
    assert np.mean(found) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)


def test_every_known_metric_is_compared() -> None:
    a, b = runs(3, 40, 0.7, 0.6)
    for metric in known_metrics(LabelKind.ORDINAL, probable=False):
        assert 0 < difference_of(metric, a, b, replicates=99).p <= 1
