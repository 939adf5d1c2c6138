"""The penalty of a logistic regression is what scikit-learn's search finds, and a stated default where rows are too few."""

from __future__ import annotations

import numpy as np
import pytest
from encoder_toy import STARS, TOPICS

from backends._choose_c import DEFAULT, GRID, choose_c
from harness.core.arrays import FloatArray


def noisy(per_label: int, labels: int = 3, seed: int = 0) -> tuple[FloatArray, list[int]]:
    draw = np.random.default_rng(seed)
    truth = [label for label in range(labels) for _ in range(per_label)]
    found = draw.normal(size=(len(truth), 12)) + 1.5 * np.eye(12)[truth]
    return found / np.linalg.norm(found, axis=1, keepdims=True), truth


@pytest.mark.parametrize(
    ("per_label", "folds"), [pytest.param(20, 5, marks=pytest.mark.slow), pytest.param(4, 4, marks=pytest.mark.slow), (2, 2)]
)
def test_the_penalty_is_that_of_scikit_learns_search(per_label: int, folds: int) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    embeddings, truth = noisy(per_label)
    search = GridSearchCV(
        LogisticRegression(max_iter=1000),
        {"C": list(GRID)},
        scoring="neg_log_loss",
        cv=StratifiedKFold(folds, shuffle=True, random_state=3),
    ).fit(embeddings, truth)
    found = choose_c(embeddings, truth, STARS, 3)
    assert (found.c, found.c_from, found.folds) == (search.best_params_["C"], "cross-validation", folds)


def test_a_rare_label_has_no_part_in_the_choice() -> None:
    embeddings, truth = noisy(20, 2)
    rare = np.concatenate([embeddings, np.eye(12)[-1:]]), [*truth, 2]
    assert choose_c(*rare, STARS, 0) == choose_c(embeddings, truth, STARS, 0)


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2], [0] * 9 + [1]])
def test_too_few_rows_for_folds_take_the_default(labels: list[int]) -> None:
    found = choose_c(np.eye(12)[: len(labels)], labels, STARS, 0)
    assert (found.c, found.c_from, found.folds) == (DEFAULT, "default", None)


def test_a_multilabel_task_gets_one_value_for_all_labels() -> None:
    embeddings, truth = noisy(8)
    found = choose_c(embeddings, [(label,) if label else (1, 2) for label in truth], TOPICS, 0)
    assert (found.c in GRID, found.c_from, found.folds) == (True, "cross-validation", 5)
    assert choose_c(embeddings[:3], [(0,), (1,), ()], TOPICS, 0).c_from == "default"


@pytest.mark.slow
def test_soft_labels_are_the_targets_of_the_choice_too() -> None:
    """Certain ones choose as labels do; of ones that the texts say nothing about a strong penalty learns least."""
    embeddings, truth = noisy(8)
    certain = np.eye(3)[truth]
    assert choose_c(embeddings, truth, STARS, 0, certain).c == choose_c(embeddings, truth, STARS, 0).c
    noise = certain[np.random.default_rng(1).permutation(len(truth))]
    assert choose_c(embeddings, truth, STARS, 0, noise).c < choose_c(embeddings, truth, STARS, 0).c


def test_folds_part_no_group() -> None:
    """Groups of three equal rows whose labels are drawn by lot: a fold that parts them would ask for the weakest penalty."""
    rng = np.random.default_rng(0)
    once = rng.normal(size=(60, 30))
    embeddings = np.repeat(once / np.linalg.norm(once, axis=1, keepdims=True), 3, axis=0)
    truth = np.repeat(rng.integers(0, 3, 60), 3).tolist()
    groups = [f"g{row // 3}" for row in range(180)]
    assert choose_c(embeddings, truth, STARS, 0, groups=groups).c < choose_c(embeddings, truth, STARS, 0).c
    topics = [(label,) for label in truth]
    assert choose_c(embeddings, topics, TOPICS, 0, groups=groups).c < choose_c(embeddings, topics, TOPICS, 0).c
