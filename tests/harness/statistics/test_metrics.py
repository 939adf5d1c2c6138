"""Metrics against scikit-learn and scipy, and the rule that no answer is a wrong answer."""

from __future__ import annotations

import json
import math
import random
import sys
import types
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import DataError, MissingExtra, RunError, UserError
from harness.core.record import ClassScores, Estimate, Metrics
from harness.core.types import Example, Label, LabelKind, LabelSpace, Prediction, Status
from harness.statistics.metrics import evaluate_predictions

LOWER_IS_BETTER = {"mae", "macro_mae", "log_loss", "brier", "ece", "hamming_loss"}
F1S = {"macro_f1", "weighted_f1", "micro_f1"}
ASSOCIATION = {"qwk", "qwk_parsed", "spearman"}


def space(kind: str, k: int) -> LabelSpace:
    return LabelSpace(LabelKind(kind), tuple(f"label {i}" for i in range(k)))


def rows(truth: Sequence[Label]) -> list[Example]:
    return [Example(f"row-{i}", "a text", label, "en") for i, label in enumerate(truth)]


def said(answers: Sequence[Label | None], probabilities: Sequence[Sequence[float]] | None = None) -> list[Prediction]:
    """None = no answer (unparsed)."""
    return [
        Prediction(f"row-{i}", None, Status.UNPARSED, "no label found")
        if answer is None
        else Prediction(f"row-{i}", answer, probabilities=None if probabilities is None else tuple(probabilities[i]))
        for i, answer in enumerate(answers)
    ]


def score(kind: str, k: int, truth: Sequence[Label], answers: Sequence[Label | None], **options: Any) -> Metrics:
    probabilities = options.pop("probabilities", None)
    metrics = evaluate_predictions(rows(truth), said(answers, probabilities), space(kind, k), **options)
    json.dumps(metrics.as_json(), allow_nan=False)  # every test is a test of strict JSON
    return metrics


def value(metrics: Metrics, name: str) -> float | None:
    return metrics.values[name].value


def random_run(seed: int, k: int, n: int) -> tuple[list[int], list[int], list[list[float]]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    probabilities = rng.dirichlet(np.ones(k), n)
    probabilities[np.arange(n), truth] += 0.3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return truth.tolist(), probabilities.argmax(axis=1).tolist(), probabilities.tolist()


# against the oracles


@pytest.mark.parametrize(("seed", "k"), [(0, 2), (1, 3), (2, 5)])
def test_single_label_metrics_are_those_of_the_libraries(seed: int, k: int) -> None:
    truth, answers, probabilities = random_run(seed, k, 200)
    metrics = score("ordinal", k, truth, answers, probabilities=probabilities, threshold=0)
    y, p, q = np.array(truth), np.array(answers), np.array(probabilities)
    auc = sk.roc_auc_score(y, q[:, 1] if k == 2 else q, multi_class="ovr")
    expected = {
        "parse_rate": 1.0,
        "accuracy": sk.accuracy_score(y, p),
        "macro_f1": sk.f1_score(y, p, average="macro"),
        "weighted_f1": sk.f1_score(y, p, average="weighted"),
        "balanced_accuracy": sk.balanced_accuracy_score(y, p),
        "macro_mae": np.mean([sk.mean_absolute_error(y[y == i], p[y == i]) for i in range(k)]),
        "mae": sk.mean_absolute_error(y, p),
        "off_by_one": np.mean(abs(y - p) <= 1),
        "binary_accuracy": sk.accuracy_score(y > 0, p > 0),
        "qwk": sk.cohen_kappa_score(y, p, weights="quadratic"),
        "spearman": scipy.stats.spearmanr(y, p).statistic,
        "roc_auc": auc,
        "log_loss": sk.log_loss(y, q),
        "brier": sk.brier_score_loss(y, q, labels=range(k), scale_by_half=False),
        "ece": expected_calibration_error(truth, answers, probabilities),
    }
    assert {name: v.value for name, v in metrics.values.items()} == pytest.approx(expected)
    precision, recall, f1, support = sk.precision_recall_fscore_support(y, p)
    assert [c.precision for c in metrics.per_class] == pytest.approx(precision)
    assert [c.recall for c in metrics.per_class] == pytest.approx(recall)
    assert [c.f1 for c in metrics.per_class] == pytest.approx(f1)
    assert [c.support for c in metrics.per_class] == support.tolist()
    assert np.array(metrics.confusion)[:, :k].tolist() == sk.confusion_matrix(y, p).tolist()
    for name, number in metrics.values.items():
        low, middle, high = number.low, number.value, number.high
        assert (low is None) == (high is None) == (number.method is None), name
        if low is not None and middle is not None and high is not None:
            assert low <= middle <= high, name


def expected_calibration_error(truth: list[int], answers: list[int], probabilities: list[list[float]]) -> float:
    """Guo et al. 2017, equation 3, row by row."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for y, p, q in zip(truth, answers, probabilities, strict=True):
        bins.setdefault(math.ceil(q[p] * 15), []).append((q[p], y == p))
    return sum(abs(sum(hit - sure for sure, hit in rows)) for rows in bins.values()) / len(truth)


def test_multilabel_metrics_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (80, 4))
    q = np.clip(0.5 * y + 0.6 * rng.random((80, 4)), 0, 1)
    p = (q > 0.5).astype(int)
    truth, answers = ([tuple(np.flatnonzero(row).tolist()) for row in a] for a in (y, p))
    metrics = score("multilabel", 4, truth, answers, probabilities=q.tolist())
    expected = {
        "parse_rate": 1.0,
        "micro_f1": sk.f1_score(y, p, average="micro"),
        "macro_f1": sk.f1_score(y, p, average="macro"),
        "subset_accuracy": sk.accuracy_score(y, p),
        "hamming_loss": sk.hamming_loss(y, p),
        "roc_auc": sk.roc_auc_score(y, q, average="macro"),
    }
    assert {name: v.value for name, v in metrics.values.items()} == pytest.approx(expected)
    assert [c.f1 for c in metrics.per_class] == pytest.approx(sk.f1_score(y, p, average=None))
    assert metrics.confusion is None


def test_what_each_kind_shows() -> None:
    assert score("ordinal", 3, [0, 1], [0, 1]).headline == ["accuracy", "macro_f1", "mae", "qwk"]
    assert score("nominal", 3, [0, 1], [0, 1]).headline == ["accuracy", "macro_f1"]
    assert score("multilabel", 3, [(0,)], [(0,)]).headline == ["micro_f1", "macro_f1", "subset_accuracy"]
    assert set(score("nominal", 3, [0, 1], [0, 1]).values) == {
        *("parse_rate", "accuracy", "macro_f1", "weighted_f1", "balanced_accuracy")
    }
    ordinal = score("ordinal", 3, [0, 1], [0, 1]).values
    assert "binary_accuracy" not in ordinal
    assert ordinal["accuracy"].method == ordinal["off_by_one"].method == "wilson"
    assert ordinal["mae"].method == "bc_bootstrap"


def test_every_metric_but_ece_has_an_interval() -> None:
    truth, answers, probabilities = random_run(5, 4, 60)
    values = score("ordinal", 4, truth, answers, probabilities=probabilities, threshold=1).values
    methods = {name: number.method for name, number in values.items()}
    shares = ("parse_rate", "accuracy", "off_by_one", "binary_accuracy")
    counted = ("mae", "qwk", "spearman")
    by_label = ("macro_f1", "weighted_f1", "balanced_accuracy", "macro_mae")
    assert methods == {
        **dict.fromkeys(shares, "wilson"),
        **dict.fromkeys(counted, "bc_bootstrap"),
        **dict.fromkeys(by_label, "label_delta"),
        "log_loss": "skewed_t",
        "brier": "skewed_t",
        "roc_auc": "delong",
        "ece": None,
    }
    sets = [(0, 1), (1,), (), (0, 2), (2,)]
    several = score("multilabel", 3, sets, sets[::-1], probabilities=[[0.5, 0.2, 0.1 * i] for i in range(5)]).values
    assert {name: number.method for name, number in several.items()} == {
        "parse_rate": "wilson",
        "subset_accuracy": "wilson",
        **dict.fromkeys(("micro_f1", "hamming_loss"), "label_delta"),
        "macro_f1": None,  # of 5 rows and 3 labels
        "roc_auc": "delong",
    }


def test_what_is_all_right_still_has_an_interval() -> None:
    values = score("ordinal", 3, [0, 1, 2, 2] * 3, [0, 1, 2, 2] * 3).values
    for name, number in values.items():
        assert number.low < number.high, name  # type: ignore[operator]
    assert values["mae"].low == 0
    assert values["macro_f1"].high == values["qwk"].high == 1


def test_a_share_has_wilsons_interval() -> None:
    accuracy = score("nominal", 2, [0, 1, 1, 0], [0, 1, 1, 1]).values["accuracy"]
    low, high = scipy.stats.binomtest(3, 4).proportion_ci(method="wilson")
    assert (accuracy.value, accuracy.method) == (0.75, "wilson")
    assert (accuracy.low, accuracy.high) == pytest.approx((low, high))


# no answer is a wrong answer


def test_rows_without_an_answer_are_counted_with_their_reasons() -> None:
    predictions = [
        Prediction("row-0", 0),
        Prediction("row-1", None, Status.UNPARSED, "two labels"),
        Prediction("row-2", None, Status.FAILED, "timeout"),
        Prediction("row-3", None, Status.FAILED),
    ]
    metrics = evaluate_predictions(rows([0, 1, 1, 2]), predictions, space("ordinal", 3))
    assert (metrics.n, metrics.ok, metrics.unparsed, metrics.failed) == (4, 1, 1, 2)
    assert metrics.reasons == {"failed": 1, "timeout": 1, "two labels": 1}
    assert value(metrics, "parse_rate") == value(metrics, "accuracy") == 0.25
    assert metrics.confusion == [[1, 0, 0, 0], [0, 0, 0, 2], [0, 0, 0, 1]]


def test_each_metric_of_a_row_without_an_answer() -> None:
    truth, probabilities = [0, 1, 2, 1], [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.1, 0.9], [0.2, 0.6, 0.2]]
    metrics = score("ordinal", 3, truth, [0, 1, 2, None], probabilities=probabilities, threshold=1)
    filled = [0, 1, 2, 0]  # the tie between 0 and 2 goes to the low end
    assert value(metrics, "accuracy") == value(metrics, "off_by_one") == value(metrics, "binary_accuracy") == 0.75
    assert [c.f1 for c in metrics.per_class] == pytest.approx([1, 2 / 3, 1])
    assert [c.precision for c in metrics.per_class] == [1, 1, 1]
    assert value(metrics, "macro_f1") == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert value(metrics, "weighted_f1") == pytest.approx((1 + 2 * 2 / 3 + 1) / 4)
    assert value(metrics, "mae") == 0.25
    assert value(metrics, "qwk") == pytest.approx(sk.cohen_kappa_score(truth, filled, weights="quadratic"))
    assert value(metrics, "spearman") == pytest.approx(scipy.stats.spearmanr(truth, filled).statistic)
    worst = [*probabilities[:3], [1.0, 0.0, 0.0]]
    assert value(metrics, "log_loss") == pytest.approx(sk.log_loss(truth, worst))
    assert value(metrics, "log_loss") == pytest.approx((-math.log(0.7) - math.log(0.8) - math.log(0.9) + 36.0437) / 4, rel=1e-5)
    assert value(metrics, "brier") == pytest.approx((0.14 + 0.06 + 0.02 + 2) / 4)
    assert value(metrics, "ece") == pytest.approx((0.3 + 0.2 + 0.1 + 1) / 4)
    # label 0: (.7) against (.1, 0, 1) · label 1: (.8, 0) against (.2, .1) · label 2: (.9) against (.1, .1, 1)
    assert value(metrics, "roc_auc") == pytest.approx((2 / 3 + 2 / 4 + 2 / 3) / 3)
    assert sum(b.count for b in metrics.calibration_bins or []) == 3


def test_mae_of_no_answer_is_the_worst_that_the_row_allows() -> None:
    assert value(score("ordinal", 5, [0, 1, 2, 3, 4], [None] * 5), "mae") == (4 + 3 + 2 + 3 + 4) / 5
    assert value(score("ordinal", 2, [0, 1], [None] * 2), "off_by_one") == 0


def test_multilabel_without_an_answer() -> None:
    metrics = score("multilabel", 3, [(0, 1), (), (2,)], [None, None, (2,)])
    assert value(metrics, "subset_accuracy") == pytest.approx(1 / 3)
    assert value(metrics, "micro_f1") == pytest.approx(2 * 1 / (2 * 1 + 3 + 2))  # the empty truth: all three are wrong
    assert value(metrics, "hamming_loss") == pytest.approx((2 + 3) / 9)
    assert [c.f1 for c in metrics.per_class] == pytest.approx([0, 0, 2 / 3])


def test_multilabel_without_an_answer_ranks_last_for_its_labels() -> None:
    probabilities = [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]
    metrics = score("multilabel", 2, [(0,), (1,), (0,)], [(0,), (1,), None], probabilities=probabilities)
    assert value(metrics, "roc_auc") == pytest.approx((1 / 2 + 1 / 2) / 2)


def compared(before: Metrics, after: Metrics, name: str) -> float:
    """How much `after` is better; undefined or left out is no better."""
    old, new = value(before, name), value(after, name) if name in after.values else None
    if old is None or new is None:
        return 0.0
    return old - new if name in LOWER_IS_BETTER else new - old


@st.composite
def runs(draw: st.DrawFn) -> tuple[int, list[int], list[int | None], list[list[float]], int]:
    """k, truth, answers, probabilities and the index of a row that has an answer."""
    k, n = draw(st.integers(2, 5)), draw(st.integers(1, 12))
    truth = draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n))
    answers = draw(st.lists(st.none() | st.integers(0, k - 1), min_size=n, max_size=n))
    weights = draw(st.lists(st.lists(st.integers(0, 9), min_size=k, max_size=k), min_size=n, max_size=n))
    probabilities = [[(w + 0.01) / (sum(row) + 0.01 * k) for w in row] for row in weights]
    chosen = draw(st.integers(0, n - 1))
    answers[chosen] = draw(st.integers(0, k - 1))
    return k, truth, answers, probabilities, chosen


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(runs())
def test_no_answer_is_never_better_than_an_answer(run: tuple[int, list[int], list[int | None], list[list[float]], int]) -> None:
    k, truth, answers, probabilities, chosen = run
    lost = [None if i == chosen else answer for i, answer in enumerate(answers)]
    options = {"probabilities": probabilities, "threshold": 0}
    before, after = score("ordinal", k, truth, answers, **options), score("ordinal", k, truth, lost, **options)
    names = set(before.values) - ASSOCIATION
    if answers[chosen] != truth[chosen]:
        names -= F1S  # a wrong answer also costs the label that it names: see the module's docstring
    for name in names:
        assert compared(before, after, name) <= 1e-9, name


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(runs())
def test_association_takes_no_answer_for_the_farthest_label(
    run: tuple[int, list[int], list[int | None], list[list[float]], int],
) -> None:
    k, truth, answers, _, _ = run
    far = [answer if answer is not None else (0 if y >= k - 1 - y else k - 1) for y, answer in zip(truth, answers, strict=True)]
    lost, filled = score("ordinal", k, truth, answers), score("ordinal", k, truth, far)
    for name in ("qwk", "spearman", "mae"):
        assert value(lost, name) == pytest.approx(value(filled, name))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_answer_is_never_better_than_a_correct_set(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 4))
    sets = st.sets(st.integers(0, k - 1)).map(lambda s: tuple(sorted(s)))
    truth = data.draw(st.lists(sets, min_size=1, max_size=8))
    answers = data.draw(st.lists(st.none() | sets, min_size=len(truth), max_size=len(truth)))
    probabilities = [[(7 * i + 3 * j) % 11 / 11 for j in range(k)] for i in range(len(truth))]
    answers[0] = truth[0]
    before = score("multilabel", k, truth, answers, probabilities=probabilities)
    after = score("multilabel", k, truth, [None, *answers[1:]], probabilities=probabilities)
    for name in before.values:
        assert compared(before, after, name) <= 1e-9, name


def test_where_no_answer_can_be_better_as_the_docstring_says() -> None:
    f1 = [value(score("nominal", 3, [0, 1, 2], [0, 0, answer]), "macro_f1") for answer in (0, None)]
    assert f1[1] > f1[0]  # type: ignore[operator]
    qwk = [value(score("ordinal", 5, [3, 4, 4, 4, 4], [answer, 4, 4, 4, 4]), "qwk") for answer in (4, None)]
    assert qwk[0] == 0
    assert qwk[1] > 0.4  # type: ignore[operator]
    hamming = [value(score("multilabel", 3, [(0,)], [answer]), "hamming_loss") for answer in ((1, 2), None)]
    assert hamming[1] < hamming[0]  # type: ignore[operator]


def test_qwk_of_parsed_rows_does_not_punish_the_others() -> None:
    truth = [0, 1, 2, 3, 4] * 20
    answers: list[int | None] = [None if i % 5 == 0 else label for i, label in enumerate(truth[::-1])][::-1]
    metrics = score("ordinal", 5, truth, answers)
    assert value(metrics, "qwk_parsed") == 1
    assert value(metrics, "qwk") < 0.6  # type: ignore[operator]
    kept = [i for i, answer in enumerate(answers) if answer is not None]
    noisy = [answer if answer is None else min(4, answer + i % 2) for i, answer in enumerate(answers)]
    expected = sk.cohen_kappa_score([truth[i] for i in kept], [noisy[i] for i in kept], weights="quadratic", labels=range(5))
    found = score("ordinal", 5, truth, noisy).values["qwk_parsed"]
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high  # type: ignore[operator]
    assert "qwk_parsed" not in score("ordinal", 5, truth, truth).values
    assert "qwk_parsed" not in score("ordinal", 5, truth, [None] * 100).values


def test_a_probability_that_was_rounded_to_zero_costs_what_it_may_have_been() -> None:
    metrics = score("nominal", 2, [0, 0], [0, 1], probabilities=[[1, 0], [0, 1]])
    assert value(metrics, "log_loss") == pytest.approx(-math.log(5e-7) / 2)
    small = score("nominal", 2, [0, 0], [0, 1], probabilities=[[1, 0], [1e-9, 1]])
    assert value(small, "log_loss") == pytest.approx(-math.log(1e-9) / 2)


# the edges


def test_all_unparsed() -> None:
    metrics = score("ordinal", 5, [0, 1, 2, 3, 4], [None] * 5, threshold=2)
    for name in ("accuracy", "macro_f1", "weighted_f1", "off_by_one", "binary_accuracy"):
        assert value(metrics, name) == 0
    assert metrics.ok == 0
    assert "log_loss" not in metrics.values
    assert {c.precision for c in metrics.per_class} == {None}
    assert value(score("multilabel", 2, [(0,), ()], [None, None]), "micro_f1") == 0


@pytest.mark.parametrize("answer", [0, 1, None])
def test_one_row(answer: int | None) -> None:
    metrics = score("ordinal", 3, [0], [answer], probabilities=[[0.5, 0.3, 0.2]])
    accuracy = metrics.values["accuracy"]
    assert accuracy.value == (answer == 0)
    assert accuracy.high - accuracy.low > 0.75  # type: ignore[operator]
    assert value(metrics, "spearman") is None
    assert "roc_auc" not in metrics.values or value(metrics, "roc_auc") is None


def test_one_class_in_truth_and_answers() -> None:
    metrics = score("ordinal", 3, [1, 1, 1], [1, 1, 1], probabilities=[[0, 1, 0]] * 3)
    assert [value(metrics, name) for name in ("accuracy", "macro_f1", "mae")] == [1, 1, 0]
    assert [value(metrics, name) for name in ("qwk", "spearman", "roc_auc")] == [None] * 3
    assert metrics.values["qwk"] == Estimate(value=None, low=None, high=None, method=None)
    assert metrics.per_class[0] == ClassScores(name="label 0", precision=None, recall=None, f1=None, support=0)
    assert value(metrics, "log_loss") == pytest.approx(0, abs=1e-12)


def test_a_class_without_rows() -> None:
    truth, answers = [0, 0, 2, 2], [0, 1, 2, 2]
    metrics = score("nominal", 4, truth, answers, probabilities=np.eye(4)[answers].tolist())
    assert value(metrics, "macro_f1") == pytest.approx(sk.f1_score(truth, answers, average="macro", zero_division=0))
    assert [c.f1 for c in metrics.per_class] == pytest.approx([2 / 3, 0, 1, None])
    assert value(metrics, "roc_auc") is None
    assert np.shape(metrics.confusion) == (4, 5)


def test_multilabel_with_one_label_and_with_empty_sets() -> None:
    metrics = score("multilabel", 1, [(0,), ()], [(0,), ()], probabilities=[[0.9], [0.2]])
    assert [value(metrics, name) for name in ("micro_f1", "macro_f1", "subset_accuracy", "roc_auc")] == [1, 1, 1, 1]
    half = score("multilabel", 1, [(0,), ()], [(0,), (0,)])  # the label's own scores, not those of its absence
    assert half.per_class == [ClassScores(name="label 0", precision=0.5, recall=1, f1=2 / 3, support=1)]
    assert value(half, "macro_f1") == value(half, "micro_f1") == pytest.approx(2 / 3)
    nothing = score("multilabel", 2, [(), ()], [(), ()])
    assert [value(nothing, name) for name in ("micro_f1", "macro_f1", "subset_accuracy")] == [None, None, 1]


def test_probability_metrics_need_all_answered_rows() -> None:
    examples, labels = rows([0, 1, 1]), space("nominal", 2)
    first, second, third = said([0, 1, 1], [[0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    assert "brier" not in evaluate_predictions(examples, [first, second, replace(third, probabilities=None)], labels).values
    # whatever a row without an answer carries is no answer, not even when it is malformed
    lost = replace(third, label=None, status=Status.UNPARSED, probabilities=(math.nan,))
    without = evaluate_predictions(examples, [first, second, replace(lost, probabilities=None)], labels)
    assert evaluate_predictions(examples, [first, second, lost], labels).values == without.values
    assert value(without, "brier") == pytest.approx((0.08 + 0.18 + 2) / 3)


def test_probabilities_of_a_rounded_file_are_normalised() -> None:
    metrics = score("nominal", 3, [0, 1], [0, 1], probabilities=[[0.3334, 0.3334, 0.3334], [0.2, 0.6, 0.2]])
    assert value(metrics, "log_loss") == pytest.approx((math.log(3) - math.log(0.6)) / 2)


def test_the_order_of_the_rows_does_not_matter() -> None:
    truth, answers, probabilities = random_run(4, 5, 60)
    answers[3] = answers[10] = None  # type: ignore[call-overload]
    examples, predictions, labels = rows(truth), said(answers, probabilities), space("ordinal", 5)
    expected = evaluate_predictions(examples, predictions, labels, threshold=2).model_dump_json()
    shuffle = random.Random(0).shuffle
    shuffle(examples)
    shuffle(predictions)
    assert evaluate_predictions(examples, predictions, labels, threshold=2).model_dump_json() == expected


# what is refused


def test_ids_must_be_the_same_and_once_each() -> None:
    examples, predictions, labels = rows([0, 1, 0]), said([0, 1, 0]), space("nominal", 2)
    with pytest.raises(DataError, match="predictions have no row 'row-2'"):
        evaluate_predictions(examples, predictions[:2], labels)
    with pytest.raises(DataError, match="examples have no row 'row-2'"):
        evaluate_predictions(examples[:2], predictions, labels)
    with pytest.raises(DataError, match="predictions hold the id 'row-0' 2 times"):
        evaluate_predictions(examples, [*predictions, predictions[0]], labels)
    with pytest.raises(DataError, match="examples hold the id 'row-1' 2 times"):
        evaluate_predictions([*examples, examples[1]], predictions, labels)
    with pytest.raises(DataError, match="predictions have no row"):
        evaluate_predictions(examples, [], labels)
    with pytest.raises(DataError, match="no rows"):
        evaluate_predictions([], [], labels)


@pytest.mark.parametrize(
    ("kind", "k", "truth", "answer", "probabilities"),
    [
        ("nominal", 2, 2, 0, None),
        ("nominal", 2, -1, 0, None),
        ("nominal", 2, 0, 2, None),
        ("nominal", 2, 0, (0,), None),
        ("nominal", 1, 0, 0, None),
        ("multilabel", 2, (0,), 0, None),
        ("multilabel", 2, (0,), (0, 2), None),
        ("nominal", 2, 0, 0, [1.0]),
        ("nominal", 2, 0, 0, [0.6, 0.6]),
        ("nominal", 2, 0, 0, [math.nan, 1.0]),
        ("nominal", 2, 0, 0, [-0.5, 1.5]),
        ("multilabel", 2, (0,), (0,), [0.5, 1.5]),
    ],
)
def test_labels_and_probabilities_must_fit(
    kind: str, k: int, truth: Label, answer: Label, probabilities: list[float] | None
) -> None:
    with pytest.raises(DataError):
        score(kind, k, [truth], [answer], probabilities=None if probabilities is None else [probabilities])


def test_an_ok_prediction_needs_a_label() -> None:
    with pytest.raises(DataError, match="'row-0' has the label None"):
        evaluate_predictions(rows([0]), [Prediction("row-0", None)], space("nominal", 2))


@pytest.mark.parametrize(("kind", "threshold"), [("ordinal", 4), ("ordinal", -1), ("nominal", 1)])
def test_the_threshold_must_split_an_ordinal_scale(kind: str, threshold: int) -> None:
    with pytest.raises(UserError, match="threshold"):
        score(kind, 5, [0, 1], [0, 1], threshold=threshold)


# metrics of `evaluate`

METRIC = """
import datasets
import evaluate


class Tiny(evaluate.Metric):
    def _info(self):
        number = datasets.Value("int64")
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="",
            features=datasets.Features({"predictions": number, "references": number}),
        )

    def _compute(self, predictions, references):
        distances = [abs(p - r) for p, r in zip(predictions, references)]
        return {"worst": max(distances), "mean": sum(distances) / len(distances), "note": "text", "odd": float("nan")}
"""


@pytest.mark.slow
def test_a_local_metric_folder(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "tiny.py").write_text(METRIC)
    metrics = score("ordinal", 5, [1, 2, 3], [1, 1, None], extra_metrics=[str(folder)])
    extra = {name: v.value for name, v in metrics.values.items() if name.startswith("evaluate/")}
    assert extra == {"evaluate/tiny/worst": 3, "evaluate/tiny/mean": pytest.approx(4 / 3), "evaluate/tiny/odd": None}


def test_without_evaluate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "evaluate", None)
    with pytest.raises(MissingExtra, match="'accuracy' needs the library 'evaluate'"):
        score("nominal", 2, [0, 1], [0, 1], extra_metrics=["accuracy"])


def test_a_metric_that_can_not_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, **options: Any) -> None:
        raise ConnectionError("no route to the hub")

    monkeypatch.setitem(sys.modules, "evaluate", types.SimpleNamespace(load=load))
    with pytest.raises(RunError, match="'bleu' of evaluate gave no result: ConnectionError: no route") as caught:
        score("nominal", 2, [0, 1], [0, 1], extra_metrics=["bleu"])
    assert "local metric folder" in caught.value.hint
