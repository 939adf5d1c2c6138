"""Covariances of means of parts against NumPy's, over sets that share units and over sets that do not."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.predictions import Predictions
from harness.core.types import LabelKind, LabelSpace
from harness.statistics.clusters import numbered_together
from harness.statistics.contrast import measured
from harness.statistics.covariances import covariance, root


def test_sets_that_share_units_are_dependent() -> None:
    values = np.random.default_rng(0).normal(size=(50, 2))
    values -= values.mean(axis=0)
    names = np.arange(50).astype(object)
    expected = np.cov(values.T) / 50
    columns = [values[:, :1], values[:, 1:]]
    assert covariance([values], numbered_together([50])) == pytest.approx(expected)
    assert covariance(columns, numbered_together([names, names])) == pytest.approx(expected)
    assert covariance(columns, numbered_together([50, 50])) == pytest.approx(np.diag(np.diag(expected)))
    order = np.random.default_rng(1).permutation(50)
    assert covariance([columns[0], columns[1][order]], numbered_together([names, names[order]])) == pytest.approx(expected)


def test_a_root_of_a_singular_covariance() -> None:
    singular = np.ones((3, 3))
    assert root(singular) @ root(singular).T == pytest.approx(singular)


def test_configurations_have_the_error_of_their_rows_and_seeds() -> None:
    """Seeds that differ from row to row by chance alone: the variance of a mean over seeds is in the values of the seeds and in
    the rows, and must count once."""
    rng, n, seeds, found = np.random.default_rng(3), 200, 3, []
    labels = LabelSpace(LabelKind.NOMINAL, ("no", "yes"))
    truth = np.zeros(n, dtype=np.int64)
    means = []
    for _ in range(300):
        hard = rng.random(n)
        answers = [(rng.random(n) * 0.5 + hard * 0.5 > 0.6).astype(np.int64) for _ in range(seeds)]
        ids, there = np.arange(n).astype(object), np.ones(n, dtype=bool)
        runs = [Predictions("", {}, labels, ids, truth, one, there, None) for one in answers]  # type: ignore[arg-type]
        one = measured("accuracy", [runs])
        means.append(one.values[0])
        found.append(one.covariance[0, 0])
    # More than the truth where seeds are close by chance (`score_of`), but far from counting it twice (1.5 times the truth).
    assert 0.95 * np.var(means) < np.mean(found) < 1.3 * np.var(means)
