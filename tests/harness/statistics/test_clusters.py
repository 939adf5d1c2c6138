"""Rows in groups: variances against statsmodels, intervals against simulated samples, and what `metrics` makes of groups."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from harness.core.arrays import FloatArray, IntArray
from harness.core.record import Metrics
from harness.core.types import Example, LabelKind, LabelSpace, Prediction
from harness.statistics import clusters as clustering
from harness.statistics import intervals
from harness.statistics.metrics import evaluate_predictions

LABELS = LabelSpace(LabelKind.ORDINAL, ("low", "middle", "high"))


def grouped(seed: int, groups: int, size: int, effect: float) -> tuple[FloatArray, IntArray]:
    """A value per row, alike within a group, and the rows' groups."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(groups), size)
    return rng.normal(size=groups * size) + effect * rng.normal(size=groups)[clusters], clusters


def score(truth: IntArray, probabilities: FloatArray, groups: list[str | None]) -> Metrics:
    ids = [f"{i:05d}" for i in range(len(truth))]
    examples = [Example(name, "", int(label), "en", group) for name, label, group in zip(ids, truth, groups, strict=True)]
    predictions = [
        Prediction(name, int(row.argmax()), probabilities=tuple(row)) for name, row in zip(ids, probabilities, strict=True)
    ]
    return evaluate_predictions(examples, predictions, LABELS)


def run(seed: int, groups: int, size: int) -> tuple[IntArray, FloatArray, list[str | None]]:
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(groups), size)
    truth = rng.integers(0, 3, len(clusters))
    scores = rng.dirichlet(np.ones(3), len(clusters))
    scores[np.arange(len(truth)), truth] += 1 / (1 + np.exp(-2 * rng.normal(size=groups)[clusters]))
    return truth, scores / scores.sum(axis=1, keepdims=True), [f"film {group}" for group in clusters]


def test_the_variance_is_that_of_statsmodels() -> None:
    values, clusters = grouped(0, 30, 8, 1.0)
    fit = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    rows = values.var(ddof=1) / len(values)
    correction = (len(values) - 1) / (len(values) - 1)  # statsmodels' for one regressor: (n - 1) / (n - 1)
    assert clustering.design_effect(values - values.mean(), clusters) == pytest.approx(
        fit.bse[0] ** 2 * correction / rows, rel=1e-6
    )


def test_rows_that_are_copies_count_once() -> None:
    hits = np.random.default_rng(1).random(60) < 0.7
    copied, clusters = np.repeat(hits, 5), np.repeat(np.arange(60), 5)
    found, once = intervals.share(copied, clusters), intervals.share(hits)
    assert found.method == "cluster_wilson"
    assert found.value == once.value
    assert found.low == pytest.approx(once.low, abs=0.005)
    assert found.high == pytest.approx(once.high, abs=0.005)
    losses = np.random.default_rng(2).exponential(size=60)
    copies, alone = intervals.mean_of(np.repeat(losses, 5), clusters), intervals.mean_of(losses)
    assert (copies.low, copies.high) == pytest.approx((alone.low, alone.high), rel=1e-6)
    assert copies.method == "cluster_skewed_t"


def test_groups_of_one_row_are_independent_rows() -> None:
    truth, probabilities, _ = run(3, 120, 1)
    alone = score(truth, probabilities, [None] * 120).values
    single = score(truth, probabilities, [str(i) for i in range(120)]).values
    for name, number in alone.items():
        if number.low is not None and number.high is not None:
            width = number.high - number.low
            assert single[name].low == pytest.approx(number.low, abs=0.1 * width), name
            assert single[name].high == pytest.approx(number.high, abs=0.1 * width), name


def test_every_metric_with_an_interval_knows_groups() -> None:
    truth, probabilities, groups = run(4, 20, 15)
    metrics = score(truth, probabilities, groups)
    independent = score(truth, probabilities, [None] * len(truth))
    assert (metrics.groups, independent.groups) == (20, None)
    assert "groups" not in independent.as_json()
    for name, number in metrics.values.items():
        before = independent.values[name]
        assert number.value == before.value
        assert (number.method or "") == (f"cluster_{before.method}" if before.method else ""), name
    for name in ("accuracy", "macro_f1", "balanced_accuracy", "mae", "macro_mae", "qwk", "log_loss", "brier", "roc_auc"):
        wide, narrow = metrics.values[name], independent.values[name]
        assert wide.high - wide.low > 1.2 * (narrow.high - narrow.low), name  # type: ignore[operator]


def test_the_order_and_the_names_of_groups_change_nothing() -> None:
    truth, probabilities, groups = run(5, 12, 10)
    renamed: list[str | None] = [f"{(7 * int(str(group).split()[1])) % 12}" for group in groups]
    assert score(truth, probabilities, groups).values["accuracy"] == score(truth, probabilities, renamed).values["accuracy"]


def test_few_groups_give_no_interval_and_the_reason() -> None:
    truth, probabilities, groups = run(6, clustering.FEWEST_GROUPS - 1, 30)
    for name, number in score(truth, probabilities, groups).values.items():
        assert number.value is not None
        assert number.low is None, name
        assert name == "ece" or number.reason is not None


def test_a_row_without_a_group_leaves_all_rows_independent() -> None:
    truth, probabilities, groups = run(7, 12, 10)
    assert score(truth, probabilities, [None, *groups[1:]]).groups is None


@pytest.mark.slow
def test_coverage_of_rows_in_groups() -> None:
    """The true standard error is 2.1 times that of independent rows, whose interval holds the share in about 65%."""
    rng = np.random.default_rng(8)
    held, naive = [], []
    for _ in range(400):
        chance = rng.beta(4, 2, size=15)
        clusters = np.repeat(np.arange(15), 20)
        hits = rng.random(300) < chance[clusters]
        for found, estimate in ((held, intervals.share(hits, clusters)), (naive, intervals.share(hits))):
            found.append(estimate.low <= 4 / 6 <= estimate.high)  # type: ignore[operator]
    assert 0.92 <= np.mean(held) <= 0.985
    assert np.mean(naive) < 0.85
