"""Intervals against scikit-learn, statsmodels and the sampling distribution itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, spearmanr
from sklearn.metrics import cohen_kappa_score, mean_absolute_error
from statsmodels.stats.proportion import proportion_confint

from harness.core.arrays import FloatArray, IntArray
from harness.core.record import Estimate
from harness.statistics import intervals
from harness.statistics.intervals import Statistic, pseudo_cells


def bootstrap_cells(
    cells: IntArray, statistic: Statistic, pseudo: FloatArray | None = None, replicates: int = intervals.REPLICATES
) -> tuple[float, float]:
    return intervals._bootstrap(cells, [statistic], np.zeros(cells.shape) if pseudo is None else pseudo, replicates, None)[0]


def random_cells(seed: int, k: int, n: int) -> IntArray:
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, rng.dirichlet(np.ones(k * (k + 1)))).reshape(k, k + 1).astype(np.int64)


def rows_of(cells: IntArray) -> tuple[IntArray, IntArray]:
    """Truth and answers, shape (n,); the answer k stands for none."""
    truth, answers = np.indices(cells.shape)
    return np.repeat(truth.ravel(), cells.ravel()), np.repeat(answers.ravel(), cells.ravel())


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 10), (10, 10), (7, 10), (123, 1000), (999_999, 1_000_000)])
def test_wilson_is_statsmodels(successes: int, n: int) -> None:
    assert intervals.wilson(successes, n) == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(2, 1), (-1, 3)])
def test_wilson_refuses_what_is_no_share(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=r"k|n"):
        intervals.wilson(successes, n)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(2, 6), n=st.integers(1, 60))
def test_statistics_are_those_of_scikit_learn(seed: int, k: int, n: int) -> None:
    cells = random_cells(seed, k, n)
    truth, answers = rows_of(cells)
    worst = np.array([0 if y >= k - 1 - y else k - 1 for y in truth])
    filled = np.where(answers == k, worst, answers)
    stacked = np.stack([random_cells(seed + 1, k, n), cells])  # a second matrix, so that mixed-up axes show
    assert intervals.mae(stacked)[1] == pytest.approx(mean_absolute_error(truth, filled))
    rank = intervals.spearman(stacked)[1]
    if np.ptp(truth) and np.ptp(filled):
        assert rank == pytest.approx(spearmanr(truth, filled).statistic, abs=1e-9)
    else:
        assert math.isnan(rank)
    kappa = intervals.qwk(stacked)[1]
    if len(np.union1d(truth, filled)) == 1:
        assert math.isnan(kappa)
    else:
        assert kappa == pytest.approx(cohen_kappa_score(truth, filled, labels=range(k), weights="quadratic"))


@pytest.mark.parametrize(("k", "expected"), [(2, [1, 0]), (3, [2, 0, 0]), (4, [3, 3, 0, 0]), (5, [4, 4, 0, 0, 0])])
def test_farthest_label_and_its_tie(k: int, expected: list[int]) -> None:
    assert intervals.farthest_labels(k).tolist() == expected


def test_draws_are_those_of_one_multinomial_of_cells_and_pseudo_rows() -> None:
    """How many rows come of the pseudo-rows is drawn first; together it is the same distribution."""
    cells = np.array([[30, 4, 0], [0, 10, 2]])
    pseudo = pseudo_cells(cells)
    drawn = np.concatenate(list(intervals._draws(cells, pseudo, 40_000))).reshape(40_000, -1)
    shares = ((cells + pseudo) / (cells + pseudo).sum()).ravel()
    assert (drawn.sum(axis=1) == 46).all()
    assert drawn.mean(axis=0) == pytest.approx(46 * shares, abs=0.06)
    expected = 46 * (np.diag(shares) - np.outer(shares, shares))
    assert np.cov(drawn.T) == pytest.approx(expected, abs=0.25)
    assert not drawn[:, 2].any()  # neither seen nor added


@pytest.mark.slow
def test_bootstrap_agrees_with_that_of_scipy_where_n_is_large() -> None:
    """Theirs draws rows; of 4,500 rows two pseudo-rows and the bias say little."""
    cells = np.array([[700, 200, 100], [150, 1200, 150], [50, 400, 1050]])
    cells = np.hstack([cells, np.zeros((3, 1), dtype=np.int64)])
    truth, answers = rows_of(cells)
    theirs = bootstrap(
        (truth, answers),
        lambda y, p: intervals.qwk(np.bincount(4 * y + p, minlength=12).reshape(1, 3, 4))[0],
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    ours = bootstrap_cells(cells, intervals.qwk, pseudo_cells(cells))
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.002)


def test_bootstrap_covers_what_the_normal_theory_covers() -> None:
    cells = np.array([[400, 100, 0], [100, 400, 0]])
    spread = 1.96 * math.sqrt(0.8 * 0.2 / 1000)
    assert bootstrap_cells(cells, intervals.mae) == pytest.approx((0.2 - spread, 0.2 + spread), abs=0.003)


def test_bootstrap_repeats_itself() -> None:
    cells = random_cells(5, 3, 200)
    assert bootstrap_cells(cells, intervals.qwk) == bootstrap_cells(cells, intervals.qwk)


def test_bootstrap_does_not_depend_on_how_many_replicates_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = random_cells(6, 3, 100)
    whole = bootstrap_cells(cells, intervals.mae, replicates=101)
    monkeypatch.setattr(intervals, "_COUNTS_AT_ONCE", 10 * cells.size)
    assert bootstrap_cells(cells, intervals.mae, replicates=101) == whole


def test_bootstrap_leaves_out_undefined_replicates() -> None:
    # two rows: half of the replicates hold one label only, where kappa is undefined; in the others it is 1
    assert bootstrap_cells(np.array([[1, 0, 0], [0, 1, 0]]), intervals.qwk) == (1.0, 1.0)
    assert all(math.isnan(x) for x in bootstrap_cells(np.array([[5, 0, 0], [0, 0, 0]]), intervals.qwk))


def test_pseudo_rows_by_hand() -> None:
    cells = np.array([[5, 0, 0, 0], [0, 0, 0, 0], [1, 0, 3, 2]])  # the label in the middle occurs nowhere
    each = intervals.PSEUDO_ROWS / 4
    assert pseudo_cells(cells) == pytest.approx(np.array([[each, 0, each, 0], [0, 0, 0, 0], [each, 0, each, 0]]))
    one = pseudo_cells(np.array([[0, 0, 0, 0], [0, 7, 0, 0], [0, 0, 0, 0]]))  # errors have nowhere else to go
    assert one == pytest.approx(np.array([[0, 0, 0, 0], [each, 2 * each, each, 0], [0, 0, 0, 0]]))
    answered_only = pseudo_cells(np.array([[0, 4, 0], [0, 0, 0]]))
    assert answered_only == pytest.approx(np.array([[each, each, 0], [each, each, 0]]))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(2, 6), n=st.integers(1, 80))
def test_an_interval_holds_its_value_and_has_a_width(seed: int, k: int, n: int) -> None:
    cells = random_cells(seed, k, n)
    functions = {"mae": intervals.mae, "qwk": intervals.qwk, "spearman": intervals.spearman}
    values = {name: (float(f(cells[None])[0]), f) for name, f in functions.items()}
    for name, found in intervals.booted(values, cells, pseudo_cells(cells), replicates=200).items():
        value, low, high = found.value, found.low, found.high
        if value is None or low is None:
            # a few rows may show no association whichever of them are drawn
            assert name in ("qwk", "spearman")
            assert value is None or n < 8
            assert low is high is found.method is None
        else:
            assert high is not None
            assert low <= value <= high
            assert low < high
            assert found.method == "bc_bootstrap"
            ends = (0, k - 1) if name == "mae" else (-1, 1)
            assert ends[0] - 1e-12 <= low <= high <= ends[1] + 1e-12


@pytest.mark.parametrize("n", [1, 5, 100])
def test_rows_that_are_all_right_do_not_prove_that_all_are(n: int) -> None:
    cells = np.zeros((5, 6), dtype=np.int64)
    cells[np.arange(5), np.arange(5)] = n
    mae = bootstrap_cells(cells, intervals.mae, pseudo_cells(cells))
    rule_of_three = 3 / (5 * n)  # the share of errors that 5 n rows without one leave possible
    assert mae[0] == 0
    assert rule_of_three / 2 < mae[1] < 8 * rule_of_three


@pytest.mark.slow
def test_coverage_of_a_small_sample() -> None:
    """The published table in little: 200 samples of 80 rows of ten labels."""
    shares = np.full((10, 11), 0.4 / 90)
    shares[:, 10] = 0
    shares[np.arange(10), np.arange(10)] = 0.06
    truth = float(intervals.qwk(shares[None])[0])
    rng = np.random.default_rng(0)
    held = []
    for drawn in rng.multinomial(80, shares.ravel(), size=200):
        cells = drawn.reshape(10, 11)
        low, high = bootstrap_cells(cells, intervals.qwk, pseudo_cells(cells), replicates=300)
        held.append(low <= truth <= high)
    assert np.mean(held) > 0.9


def test_a_million_rows_draw_as_many_numbers_as_a_hundred() -> None:
    """What is drawn has the size of the matrix; time itself decides nothing here."""
    for n in (100, 1_000_000):
        cells = random_cells(7, 5, n)
        sizes = [part.nbytes for part in intervals._draws(cells, pseudo_cells(cells), 500)]
        assert sizes == [500 * 30 * 8]


def test_share_booted_and_plain_speak_strict_json() -> None:
    nothing = Estimate(value=None, low=None, high=None)
    assert intervals.plain(math.inf) == nothing
    cells = np.array([[1, 0, 0], [0, 0, 0]])
    found = intervals.booted({"qwk": (math.nan, intervals.qwk)}, cells, pseudo_cells(cells))
    assert found == {"qwk": nothing}
    assert intervals.share(np.array([True, False])).value == 0.5


def test_booted_gives_each_statistic_what_it_has_alone() -> None:
    cells = random_cells(8, 4, 90)
    alone = bootstrap_cells(cells, intervals.qwk, pseudo_cells(cells))
    functions = {"mae": intervals.mae, "qwk": intervals.qwk}
    values = {name: (float(f(cells[None])[0]), f) for name, f in functions.items()}
    together = intervals.booted(values, cells, pseudo_cells(cells))["qwk"]
    assert (together.low, together.high) == alone


@pytest.mark.parametrize(
    ("n", "support", "said"),
    [
        (500, [100] * 5, None),
        (500, [], None),
        (99, [50, 49], "only 99 rows"),
        (1, [1], "only 1 row"),
        (500, [491, 9], "only 9 rows of one label"),
        (500, [499, 1, 0], "only 1 row of one label"),
        (500, [490, 10, 0], None),
    ],
)
def test_small(n: int, support: list[int], said: str | None) -> None:
    assert intervals.small(n, support) == said


@pytest.mark.parametrize(
    ("groups", "said"), [(None, None), (10, None), (9, "only 9 groups of rows"), (1, "only 1 group of rows")]
)
def test_few_groups(groups: int | None, said: str | None) -> None:
    assert intervals.small(500, [100] * 5, groups) == said
