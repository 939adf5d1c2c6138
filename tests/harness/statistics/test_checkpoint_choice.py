"""Which checkpoint is kept: ties and near-ties against plain loops, scikit-learn and a bootstrap."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score

from harness.core.arrays import FloatArray, IntArray
from harness.core.engine import Evaluated, Standing
from harness.core.types import LabelKind, LabelSpace
from harness.statistics.checkpoint_choice import COMPANIONS, CheckpointChoice, companion_of, ranked_probability_score

STARS = LabelSpace(LabelKind.ORDINAL, ("1", "2", "3", "4", "5"))
TAGS = LabelSpace(LabelKind.MULTILABEL, ("a", "b", "c"))


def argmax(probabilities: FloatArray) -> IntArray:
    return np.asarray(probabilities.argmax(axis=1))


def half(probabilities: FloatArray) -> IntArray:
    return np.asarray(probabilities >= 0.5).astype(np.int64)


def answering(answers: IntArray, sure: float = 0.6) -> FloatArray:
    """Probabilities of five stars whose likeliest is `answers`."""
    return np.full((len(answers), 5), (1 - sure) / 4) + np.eye(5)[answers] * (sure - (1 - sure) / 4)


def kept(choice: CheckpointChoice, metric: str, evaluations: list[tuple[FloatArray, dict[str, float]]]) -> list[int]:
    """After each evaluation the number of the one that is kept; what is remembered goes through JSON, as in a checkpoint."""
    standing: Standing = {}
    found: list[int] = []
    for number, (probabilities, metrics) in enumerate(evaluations):
        lower = metric in COMPANIONS or metric == "mae"
        replaced, standing = choice(json.loads(json.dumps(standing)), Evaluated(metric, metrics, probabilities, lower))
        found.append(number if replaced else found[-1])
    return found


def scored(truth: IntArray, probabilities: FloatArray, **others: float) -> tuple[FloatArray, dict[str, float]]:
    answers = argmax(probabilities)
    values = {
        "accuracy": accuracy_score(truth, answers),
        "qwk": cohen_kappa_score(truth, answers, labels=range(5), weights="quadratic"),
        "mae": float(np.abs(truth - answers).mean()),
        "rps": ranked_probability_score(probabilities, truth),
        "loss": float(-np.log(probabilities[np.arange(len(truth)), truth]).mean()),
    }
    return probabilities, {**values, **others}


def test_the_ranked_probability_score_is_the_sum_over_thresholds() -> None:
    rng = np.random.default_rng(0)
    p, truth = rng.dirichlet(np.ones(5), 40), rng.integers(0, 5, 40)
    plain = [sum((sum(row[: t + 1]) - float(label <= t)) ** 2 for t in range(4)) for row, label in zip(p, truth, strict=True)]
    assert ranked_probability_score(p, truth) == pytest.approx(np.mean(plain))
    assert ranked_probability_score(np.eye(5), np.arange(5)) == 0
    assert ranked_probability_score(np.eye(5)[[0]], np.array([4])) == 4


def test_of_constants_that_tie_the_one_that_has_begun_to_learn_is_kept() -> None:
    truth = np.tile(np.arange(5), 20)
    constants = [answering(np.full(100, 2), sure) for sure in (0.4, 0.35, 0.3)]
    evaluations = [scored(truth, one) for one in constants]
    assert {metrics["accuracy"] for _, metrics in evaluations} == {0.2}
    for metric in ("accuracy", "qwk", "mae"):
        assert kept(CheckpointChoice(STARS, truth, argmax), metric, evaluations) == [0, 1, 2]


def test_near_ties_go_to_the_companion_and_clear_differences_to_the_metric() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 5, 200)
    wrong = (truth + 1) % 5

    def right_in(rows: int, rps: float) -> tuple[FloatArray, dict[str, float]]:
        return scored(truth, answering(np.where(np.arange(200) < rows, truth, wrong)), rps=rps)

    choice = CheckpointChoice(STARS, truth, argmax)
    # A row more is within a standard error: sqrt(1) / 200; four rows more are two of them.
    assert kept(choice, "accuracy", [right_in(100, 0.5), right_in(101, 0.6)]) == [0, 0]
    assert kept(choice, "accuracy", [right_in(100, 0.5), right_in(104, 0.6)]) == [0, 1]
    assert kept(choice, "accuracy", [right_in(100, 0.5), right_in(99, 0.4)]) == [0, 1]
    assert kept(choice, "accuracy", [right_in(100, 0.5), right_in(96, 0.4)]) == [0, 0]
    # Near-ties are with the best one, not with the one before: small steps do not lead far down.
    down = [right_in(100 - number, 0.5 - number / 100) for number in range(20)]
    assert kept(choice, "accuracy", down)[-1] == 1


def test_a_lower_value_of_mae_is_better() -> None:
    truth = np.tile(np.arange(5), 40)
    near, far = answering(np.minimum(truth + 1, 4)), answering(4 - truth)
    choice = CheckpointChoice(STARS, truth, argmax)
    assert kept(choice, "mae", [scored(truth, far, rps=0.1), scored(truth, near, rps=0.9)]) == [0, 1]
    assert kept(choice, "mae", [scored(truth, near, rps=0.9), scored(truth, far, rps=0.1)]) == [0, 0]


@pytest.mark.parametrize("metric", sorted(COMPANIONS))
def test_a_smooth_metric_decides_alone(metric: str) -> None:
    truth = np.zeros(10, dtype=np.int64)
    values = [1.0, 0.9, 0.95, 0.9, 0.8999]
    evaluations = [(answering(truth), {metric: value}) for value in values]
    assert kept(CheckpointChoice(STARS, truth, argmax), metric, evaluations) == [0, 1, 1, 1, 4]
    assert companion_of(metric, LabelKind.ORDINAL) is None


def test_the_companion_is_the_loss_where_labels_have_no_order() -> None:
    assert [companion_of("accuracy", kind) for kind in LabelKind] == [
        "rps" if kind is LabelKind.ORDINAL else "loss" for kind in LabelKind
    ]


def _value(metric: str, truth: IntArray, answers: IntArray) -> float:
    known: dict[str, Any] = {
        "accuracy": lambda: accuracy_score(truth, answers),
        "macro_f1": lambda: f1_score(truth, answers, average="macro"),
        "micro_f1": lambda: f1_score(truth, answers, average="micro"),
        "qwk": lambda: cohen_kappa_score(truth, answers, weights="quadratic"),
        "off_by_one": lambda: (np.abs(truth - answers) <= 1).mean(),
        "subset_accuracy": lambda: (truth == answers).all(axis=1).mean(),
    }
    return float(known[metric]())


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "qwk", "off_by_one", "subset_accuracy", "micro_f1"])
def test_the_standard_error_is_that_of_a_paired_bootstrap(metric: str) -> None:
    rng = np.random.default_rng(2)
    many = metric in ("subset_accuracy", "micro_f1")
    shape = (400, 3) if many else (400,)
    truth = rng.integers(0, 2 if many else 5, shape)
    ours, theirs = (
        np.where(rng.random(shape) < share, truth, rng.integers(0, 2 if many else 5, shape)) for share in (0.5, 0.6)
    )
    choice = CheckpointChoice(TAGS if many else STARS, truth, half if many else argmax)
    drawn = []
    for _ in range(400):
        rows = rng.integers(0, 400, 400)
        drawn.append(_value(metric, truth[rows], ours[rows]) - _value(metric, truth[rows], theirs[rows]))
    assert choice.standard_error(metric, ours, theirs) == pytest.approx(np.std(drawn), rel=0.15)


def test_rows_of_a_group_err_together() -> None:
    rng = np.random.default_rng(3)
    truth = np.repeat(rng.integers(0, 5, 40), 5)
    right = np.repeat(rng.random(40) < 0.5, 5)
    ours, theirs = np.where(right, truth, (truth + 1) % 5), (truth + 1) % 5
    apart = CheckpointChoice(STARS, truth, argmax)
    together = CheckpointChoice(STARS, truth, argmax, [str(number // 5) for number in range(200)])
    assert together.standard_error("accuracy", ours, theirs) == pytest.approx(
        np.sqrt(5) * apart.standard_error("accuracy", ours, theirs)
    )
    assert apart.standard_error("roc_auc", ours, theirs) == 0
