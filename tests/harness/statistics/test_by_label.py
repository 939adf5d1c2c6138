"""Means over labels: values against scikit-learn, intervals against resampled rows and simulated samples, and the rule."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy.stats import binom

from harness.core.arrays import FloatArray, IntArray
from harness.core.record import Estimate, Metrics
from harness.core.types import Example, LabelKind, LabelSpace, Prediction
from harness.statistics import by_label
from harness.statistics.by_label import f1_intervals, few_rows_per_label, label_mean
from harness.statistics.metrics import evaluate_predictions


def drawn(seed: int, k: int, n: int, right: float, balance: FloatArray | None = None) -> tuple[IntArray, IntArray]:
    """Truth and answers, shape (n,); a wrong answer is any label or none."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(k, size=n, p=balance)
    return truth, np.where(rng.random(n) < right, truth, rng.integers(0, k + 1, n))


def score(kind: LabelKind, k: int, truth: IntArray, answers: IntArray) -> Metrics:
    examples = [Example(f"{i:05d}", "", int(label), "en") for i, label in enumerate(truth)]
    predictions = [Prediction(f"{i:05d}", int(label)) for i, label in enumerate(answers)]
    return evaluate_predictions(examples, predictions, LabelSpace(kind, tuple(f"L{i}" for i in range(k))))


def ends(found: Estimate) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def test_values_are_those_of_scikit_learn() -> None:
    truth, answers = drawn(0, 5, 200, 0.6)
    answers = np.where(answers == 5, 0, answers)
    values = score(LabelKind.ORDINAL, 5, truth, answers).values
    assert values["balanced_accuracy"].value == pytest.approx(sk.balanced_accuracy_score(truth, answers))
    by_hand = [sk.mean_absolute_error(truth[truth == label], answers[truth == label]) for label in range(5)]
    assert values["macro_mae"].value == pytest.approx(np.mean(by_hand))


def test_intervals_agree_with_resampled_rows() -> None:
    truth, answers = drawn(1, 4, 1500, 0.7)
    k, rng = 4, np.random.default_rng(0)
    values = {f"{name}_f1": sk.f1_score(truth, answers, labels=range(k), average=name) for name in ("macro", "weighted")}
    found = f1_intervals(values, truth, answers, k)
    scores = np.abs(truth - np.minimum(answers, 3)).astype(float)
    found["mean"] = label_mean(float(np.mean([scores[truth == i].mean() for i in range(k)])), truth, scores, k, 3.0)
    again: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(400):
        rows = rng.integers(0, len(truth), len(truth))
        t, a, s = truth[rows], answers[rows], scores[rows]
        f1 = sk.f1_score(t, a, labels=range(k), average=None)
        again["macro_f1"].append(f1.mean())
        again["weighted_f1"].append((f1 * np.bincount(t, minlength=k)).sum() / len(t))
        again["mean"].append(float(np.mean([s[t == i].mean() for i in range(k)])))
    for name, estimate in found.items():
        low, high = ends(estimate)
        assert estimate.method == "label_delta"
        assert (high - low) / (2 * 1.96) == pytest.approx(np.std(again[name]), rel=0.12), name


def test_the_bias_is_that_of_the_binomial_distribution() -> None:
    n, rate = 3, 0.6
    chances = binom.pmf(range(n + 1), n, rate)
    f1 = np.array([0, 2 * (1 / 3) / (4 / 3), 2 * (2 / 3) / (5 / 3), 1])
    bias, slope = by_label._bias_and_slope(np.array([3.0]), np.array([rate]))
    mean = float(chances @ f1)
    assert bias[0] == pytest.approx(mean - 2 * rate / (1 + rate))
    spread = float(chances @ f1**2) - mean**2
    assert slope[0] ** 2 * rate * (1 - rate) / n == pytest.approx(spread)


@pytest.mark.slow
@pytest.mark.parametrize(("k", "n"), [(20, 200), (77, 1000), (151, 2000)])
def test_coverage_with_many_labels(k: int, n: int) -> None:
    """The bootstrap holds the truth in 60 to 90% of such samples."""
    rng = np.random.default_rng(k)
    right = rng.beta(6, 2, size=k)
    wrong = np.stack([rng.choice(np.delete(np.arange(k), label), 3, replace=False) for label in range(k)])
    shares = np.zeros((k, k))
    np.put_along_axis(shares, wrong, ((1 - right) / 3)[:, None].repeat(3, axis=1), axis=1)
    shares[np.arange(k), np.arange(k)] = right
    true = float((2 * right / (1 + shares.sum(axis=0))).mean())
    held = []
    for _ in range(200):
        truth, answers = np.divmod(rng.choice(k * k, size=n, p=shares.ravel() / k), k)
        f1s = {"macro_f1": float(sk.f1_score(truth, answers, labels=range(k), average="macro", zero_division=np.nan))}
        low, high = ends(f1_intervals(f1s, truth, answers, k)["macro_f1"])
        held.append(low <= true <= high)
    assert 0.90 <= np.mean(held) <= 0.99


@pytest.mark.parametrize(
    ("support", "enough"),
    [
        ([4] * 5, True),
        ([3] * 5, False),
        ([190, 5, 3, 1, 1], True),
        ([40, 10, 0], True),
        ([9] * 77, False),
        ([10] * 77, True),
        ([13] * 71 + [0] * 6, True),
        ([20] * 60 + [0] * 17, False),
    ],
)
def test_the_rule(support: list[int], enough: bool) -> None:
    assert (few_rows_per_label(support) is None) == enough


def test_too_few_rows_per_label_give_no_interval_and_the_reason() -> None:
    values = score(LabelKind.NOMINAL, 77, *(np.arange(200) % 77, np.arange(200) % 76)).values
    for name in ("macro_f1", "balanced_accuracy"):
        assert values[name].value is not None
        assert values[name].low is values[name].high is values[name].method is None
        assert values[name].reason == few_rows_per_label(np.bincount(np.arange(200) % 77).tolist())
    for name in ("accuracy", "weighted_f1"):
        assert values[name].low is not None
        assert values[name].reason is None
        assert "reason" not in values[name].as_json()


@pytest.mark.parametrize("k", [2, 5])
def test_rows_that_are_all_right_do_not_prove_that_all_are(k: int) -> None:
    truth = np.arange(10 * k) % k
    for found in (f1_intervals({"macro_f1": 1.0}, truth, truth, k)["macro_f1"], label_mean(1.0, truth, np.ones(10 * k), k)):
        low, high = ends(found)
        assert high == 1
        assert 0.5 < low < 0.99
