"""Ranks, gaps and tests over datasets, against scipy, closed forms and plain simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import f, friedmanchisquare, wilcoxon

from harness.statistics.over_datasets import (
    FEW,
    bayesian_signed_rank,
    friedman,
    mean_ranks,
    means_over,
    pairwise,
    signed_rank,
)

VALUES = np.array([[0.8, 0.7, 0.6], [0.7, 0.75, 0.5], [0.9, 0.8, 0.85], [0.6, 0.5, 0.5], [0.5, 0.45, 0.3], [0.7, 0.6, 0.65]])
"""Six datasets, three configurations."""


def test_mean_ranks_and_ties() -> None:
    assert mean_ranks(VALUES) == pytest.approx([7 / 6, (2 + 1 + 3 + 2.5 + 2 + 3) / 6, (3 + 3 + 2 + 2.5 + 3 + 2) / 6])


def test_friedman_as_iman_and_davenport_have_it() -> None:
    square = friedmanchisquare(*VALUES.T).statistic
    assert friedman(VALUES) == pytest.approx(f.sf(5 * square / (6 * 2 - square), 2, 10))
    assert friedman(np.ones((6, 3))) == 1.0
    assert friedman(np.arange(18.0).reshape(6, 3)) == 0.0  # the same order in all of them


def test_pairs_are_wilcoxons_with_holm() -> None:
    found = pairwise(VALUES, [(0, 1), (0, 2), (1, 2)])
    assert [p for p, _ in found] == pytest.approx(
        [wilcoxon(np.round(VALUES[:, a] - VALUES[:, b], 12), zero_method="zsplit").pvalue for a, b in ((0, 1), (0, 2), (1, 2))]
    )
    assert found[1][1] == pytest.approx(3 * found[1][0])
    assert signed_rank(np.zeros(5)) == 1.0


def plain_posterior(differences: list[float], rope: float, draws: int) -> list[float]:
    """Benavoli et al. 2017: Dirichlet weights of a pseudo-observation at 0 and of the differences; loops, as in the formula."""
    rng = np.random.default_rng(5)
    z = [0.0, *differences]
    counts = [0, 0, 0]
    for _ in range(draws):
        w = rng.dirichlet([0.5] + [1.0] * len(differences))
        shares = [0.0, 0.0, 0.0]
        for i, a in enumerate(z):
            for j, b in enumerate(z):
                shares[0 if (a + b) / 2 < -rope else 2 if (a + b) / 2 > rope else 1] += w[i] * w[j]
        counts[int(np.argmax(shares))] += 1
    return [count / draws for count in counts]


@pytest.mark.slow
def test_the_bayesian_signed_rank_test() -> None:
    differences = [0.03, -0.02, 0.015, 0.004, -0.006, 0.022]
    found = bayesian_signed_rank(np.array(differences), 0.01)
    assert [found.worse, found.equal, found.better] == pytest.approx(plain_posterior(differences, 0.01, 2000), abs=0.04)


def test_a_region_of_practical_equivalence() -> None:
    small = np.array([0.004, -0.003, 0.002, 0.005, -0.001])
    assert bayesian_signed_rank(small, 0.01).equal == 1.0
    assert bayesian_signed_rank(small + 0.1, 0.01).better > 0.99
    mirrored = bayesian_signed_rank(-small - 0.1, 0.01)
    assert mirrored.worse > 0.99
    sure = bayesian_signed_rank(small, 0.0)
    assert sure.equal == 0.0
    assert sure.better > sure.worse


def test_with_few_datasets_the_intervals_are_of_their_rows() -> None:
    """The gap from a reference is linear: its interval is that of a normal mean of differences."""
    values = VALUES[: FEW - 1, :2]
    error = 0.01
    found = means_over(values, np.eye(values.size) * error**2, 0)
    gap = (values[:, 1] - values[:, 0]).mean()
    reach = 1.96 * error * np.sqrt(2 / len(values))
    assert (found.gaps[0].value, found.gaps[1].value) == pytest.approx((0, gap))
    assert (found.gaps[1].low, found.gaps[1].high) == pytest.approx((gap - reach, gap + reach), abs=0.05 * reach)
    none = means_over(values, np.zeros((values.size,) * 2), 0)
    assert none.gaps[1].low == none.gaps[1].high == pytest.approx(gap)


def test_languages_with_the_same_sentences_are_no_independent_evidence() -> None:
    """Errors of the two configurations' difference that are equal in all datasets do not average out."""
    values = np.full((4, 2), 0.5)
    of_one = np.array([[1.0, 0.0], [0.0, 1.0]]) * 0.01**2
    together = means_over(values, np.kron(np.ones((4, 4)), of_one), 0).gaps[1]
    apart = means_over(values, np.kron(np.eye(4), of_one), 0).gaps[1]
    assert together.high - together.low == pytest.approx(2 * (apart.high - apart.low), rel=0.05)


def test_gaps_to_the_best_are_never_above_it() -> None:
    found = means_over(VALUES, np.eye(VALUES.size) * 0.02**2, None)
    assert found.gaps[0].value == pytest.approx((VALUES[:, 0] - VALUES.max(axis=1)).mean())
    assert all(gap.low <= gap.value <= gap.high <= 0 for gap in found.gaps)
    assert all(1 <= rank.low <= rank.value <= rank.high <= 3 for rank in found.ranks)


@pytest.mark.slow
def test_intervals_over_datasets_hold_the_mean_of_the_population() -> None:
    rng, hits = np.random.default_rng(0), 0
    for seed in range(200):
        values = np.array([0.7, 0.72, 0.71]) + rng.normal(0, np.hypot(0.03, 0.005), (8, 3))
        gap = means_over(values, np.eye(24) * 0.005**2, 0, replicates=500, seed=seed).gaps[1]
        hits += gap.low <= 0.02 <= gap.high
    assert 0.90 <= hits / 200 <= 0.995
