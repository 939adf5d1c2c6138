"""The mean difference over languages, with separate and with shared groups of rows."""

from __future__ import annotations

import numpy as np
import pytest
from chances import identity_of
from scipy.stats import t

from harness.core.predictions import Predictions
from harness.core.types import LabelKind, LabelSpace
from harness.statistics.contrast import difference_of
from harness.statistics.over_languages import mean_difference_over, mean_with_interval
from harness.statistics.paired import mean_of_differences


def pair(groups: bool) -> list[Predictions]:
    rng, n = np.random.default_rng(0), 200
    truth, labels = rng.integers(0, 2, n), LabelSpace(LabelKind.NOMINAL, ("no", "yes"))
    ids = np.arange(n).astype(object)
    own = np.array([f"s{i}" for i in range(n)], dtype=object) if groups else None
    answers = [np.where(rng.random(n) < share, truth, 1 - truth) for share in (0.6, 0.8)]
    every = np.ones(n, dtype=bool)
    return [Predictions("r", identity_of(), labels, ids, truth, given, every, None, None, own) for given in answers]


def test_separate_rows_are_combined_as_before() -> None:
    pairs = [pair(False), pair(False)]
    expected = mean_of_differences([difference_of("accuracy", a, b) for a, b in pairs])
    assert mean_difference_over(pairs, "accuracy") == pytest.approx(expected)


def test_the_same_sentences_twice_are_one_piece_of_evidence() -> None:
    a, b = pair(True)
    value, low, high = mean_difference_over([(a, b), (a, b)], "accuracy")
    differences = b.correct.astype(float) - a.correct.astype(float)
    assert value == pytest.approx(differences.mean())
    assert (high - low) / 2 == pytest.approx(1.972 * differences.std(ddof=1) / np.sqrt(200), rel=0.01)
    separate = mean_difference_over([pair(False)] * 2, "accuracy")
    assert high - low > 1.3 * (separate[2] - separate[1])


def test_the_mean_over_languages_counts_parallel_sentences_once() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(size=80)
    parts = [common + 0.1 * rng.normal(size=80) for _ in range(3)]
    parts = [part - part.mean() for part in parts]
    value, low, high = mean_with_interval([0.1, 0.2, 0.3], parts, [np.arange(80).astype(object)] * 3)
    error = np.mean(parts, axis=0).std(ddof=1) / np.sqrt(80)
    assert value == pytest.approx(0.2)
    assert (high - value, value - low) == pytest.approx((t.ppf(0.975, 79) * error,) * 2)
    separate = mean_with_interval([0.1, 0.2, 0.3], parts, [80] * 3)
    assert high - value > 1.5 * (separate[2] - value)
