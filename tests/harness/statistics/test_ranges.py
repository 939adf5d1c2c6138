"""What bounds intervals: the range of a metric, groups of rows, samples without a difference, rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from chances import NAMES, identity_of
from scipy.stats import binomtest

from harness.core.predictions import Predictions
from harness.core.record import Estimate
from harness.core.types import Example, LabelKind, LabelSpace, Prediction
from harness.statistics.contrast import share_differences, value_of
from harness.statistics.families import LEVEL, Score, all_pairs
from harness.statistics.metrics import evaluate_predictions, range_of
from harness.statistics.seeds import over_seeds


def scored(kind: LabelKind, *, opposite: bool) -> dict[str, float]:
    """All metrics of a model that is always right, or as far off as can be."""
    labels = LabelSpace(kind, NAMES)
    many = kind is LabelKind.MULTILABEL
    truth = [(0,), (1, 2), (0, 2)] * 4 if many else [0, 2] * 6
    given = [tuple({0, 1, 2} - set(label)) if many else 2 - label for label in truth] if opposite else truth  # type: ignore[arg-type, operator]
    examples = [Example(f"{i:02}", "", label, "en") for i, label in enumerate(truth)]  # type: ignore[arg-type]
    chances = [tuple(float(j in (label if many else (label,))) for j in range(3)) for label in given]  # type: ignore[operator]
    said = [Prediction(e.id, label, probabilities=p) for e, label, p in zip(examples, given, chances, strict=True)]  # type: ignore[arg-type]
    found = evaluate_predictions(examples, said, labels, threshold=0 if kind is LabelKind.ORDINAL else None)
    return {name: one.value for name, one in found.values.items() if one.value is not None}


@pytest.mark.parametrize("kind", list(LabelKind))
@pytest.mark.parametrize("opposite", [False, True])
def test_each_metric_has_a_range_that_holds_its_extremes(kind: LabelKind, opposite: bool) -> None:
    for name, value in scored(kind, opposite=opposite).items():
        low, high = range_of(name, 3)
        assert math.isfinite(low), name
        assert low - 1e-9 <= value <= high + 1e-9, name


def test_the_interval_over_seeds_ends_with_the_range() -> None:
    runs = [Estimate(value=value, low=value - 0.1, high=min(1, value + 0.05)) for value in (0.98, 0.7, 0.99)]
    found = over_seeds(runs, range_of("accuracy", 3))
    free = over_seeds(runs)
    assert free.high is not None
    assert free.high > 1
    assert (found.low, found.high, found.value) == (free.low, 1.0, free.value)


def run_of(right: np.ndarray, groups: np.ndarray | None = None) -> Predictions:
    n = len(right)
    return Predictions(
        run_id="r",
        identity=identity_of(),
        labels=LabelSpace(LabelKind.NOMINAL, NAMES),
        ids=np.array([f"{i:03}" for i in range(n)], dtype=object),
        truth=np.zeros(n, dtype=np.int64),
        answers=np.where(right, 0, 1),
        answered=np.ones(n, dtype=bool),
        probabilities=None,
        groups=groups,
    )


def test_a_share_of_rows_in_groups_has_the_interval_of_the_record() -> None:
    groups = np.repeat([f"g{i:02}" for i in range(12)], 5).astype(object)
    right = np.repeat(np.arange(12) % 3 > 0, 5)
    found = value_of("accuracy", run_of(right, groups))
    examples = [Example(f"{i:03}", "", 0, "en", group) for i, group in enumerate(groups)]
    said = [Prediction(e.id, int(not hit)) for e, hit in zip(examples, right, strict=True)]
    assert found == evaluate_predictions(examples, said, LabelSpace(LabelKind.NOMINAL, NAMES)).values["accuracy"]
    few = value_of("accuracy", run_of(right[:20], groups[:20]))
    assert few.low is None
    assert few.reason is not None


@pytest.mark.parametrize("in_groups", [False, True])
def test_a_sample_without_a_difference_leaves_room_for_one(in_groups: bool) -> None:
    """The interval of 0 differing rows of n is that of Clopper and Pearson, at the level of one of three pairs."""
    rng = np.random.default_rng(0)
    a, b = (rng.random(60) < chance for chance in (0.6, 0.95))
    units = np.repeat(np.arange(20), 3) if in_groups else None
    found = share_differences([[a], [a], [b]], units, replicates=999)
    n = 20 if in_groups else 60
    high = binomtest(0, n).proportion_ci(1 - LEVEL / 3).high
    assert (found.low[0], found.high[0]) == pytest.approx((-high, high))
    assert found.p_adjusted[0] == 1
    assert found.high[0] < found.high[1] - found.low[1]


def test_an_interval_that_ends_at_0_does_not_exclude_it_by_rounding() -> None:
    """Two groups: p is 0.5, and the interval reaches from 0 to twice the difference."""
    rng = np.random.default_rng(1)
    for _ in range(30):
        parts = rng.integers(-5, 6, 2) / 7
        a, b = Score(0.0, np.zeros(2)), Score(float(parts.mean()), parts - parts.mean())
        found = all_pairs([a, b], span=1.0, replicates=199)
        excludes = (found.low > 0) | (found.high < 0)
        assert not (excludes & (found.p_adjusted > LEVEL)).any()


def test_seeds_that_are_close_by_chance_do_not_make_an_interval_narrower_than_the_rows_do() -> None:
    """Three seeds each, which differ in many rows and have the same accuracy: the variance is that of the mean over seeds."""
    rng = np.random.default_rng(0)
    base = np.arange(300) < 120
    a, b = [rng.permutation(base) for _ in range(3)], [rng.permutation(~base) for _ in range(3)]
    found = share_differences([a, b], replicates=999)
    difference = np.mean(b, axis=0) - np.mean(a, axis=0)
    error = float(difference.std(ddof=1)) / math.sqrt(300)
    assert found.high[0] - found.low[0] >= 2 * 1.9 * error
