"""From which probability on a label is given: the highest micro-F1, by one threshold for all labels or one for each."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from harness.core.arrays import FloatArray
from harness.records.store import Store
from harness.running import plan as planning
from harness.running.plan import Plan
from harness.running.runner import run
from harness.running.thresholds import DEFAULT, each_threshold, labels_above, micro_f1, one_threshold, tuned_thresholds
from harness.running.training import ensure_trained, trained_key

LABELS = 3
GRID = np.array([0.0, 0.05, 0.15, 0.3, 0.45, 0.55, 0.7, 0.9, 0.97, 1.1])
"""A threshold between any two of the probabilities below, and one above and below all."""
P = st.sampled_from([0.0, 0.1, 0.2, 0.4, 0.5, 0.6, 0.8, 0.95, 1.0])
ROWS = st.lists(st.lists(st.tuples(P, st.booleans()), min_size=LABELS, max_size=LABELS), min_size=1, max_size=8)


def best(p: FloatArray, truth: np.ndarray, thresholds: itertools.product[tuple[float, ...]] | np.ndarray) -> float:
    return max(2 * (truth & (p >= t)).sum() / max(1, (p >= t).sum() + truth.sum()) for t in map(np.array, thresholds))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_no_thresholds_have_a_higher_micro_f1(rows: list[list[tuple[float, bool]]]) -> None:
    p = np.array([[cell[0] for cell in row] for row in rows])
    truth = np.array([[int(cell[1]) for cell in row] for row in rows])
    common = one_threshold(p, truth)
    assert micro_f1(p, truth, common) == pytest.approx(best(p, truth, GRID))
    each = each_threshold(p, truth, common)
    assert micro_f1(p, truth, each) == pytest.approx(best(p, truth, itertools.product(GRID, repeat=LABELS)))
    if truth.any():
        assert micro_f1(p, truth, each) == pytest.approx(f1_score(truth, p >= each, average="micro", zero_division=0))
    assert tuned_thresholds(p, truth) in ([common] * LABELS, each.tolist())


def test_a_threshold_lies_midway_and_of_equal_ones_nearest_to_a_half() -> None:
    p, truth = np.array([[0.9], [0.5], [0.4], [0.2]]), np.array([[1], [0], [0], [1]])
    assert one_threshold(p, truth) == pytest.approx(0.7)  # 1 of 2 and nothing else, F1 2/3; as good as all four
    assert one_threshold(p, np.zeros_like(truth)) == DEFAULT
    assert tuned_thresholds(p[:1], truth[:1]) == [0.45]  # a single row leaves none to be held out


def test_a_label_keeps_the_common_threshold_where_it_loses_nothing_by_it() -> None:
    p = np.array([[0.9, 0.30, 0.6], [0.8, 0.25, 0.6], [0.1, 0.05, 0.1], [0.1, 0.05, 0.1]])
    truth = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]])
    # The second has its rows above 0.05, no row has the third, and the first can do with what there is.
    assert each_threshold(p, truth, 0.5) == pytest.approx([0.5, 0.15, 0.8])
    assert each_threshold(p, truth, 0.7) == pytest.approx([0.7, 0.15, 0.7])


def test_between_neighbouring_numbers_and_above_one() -> None:
    high = np.nextafter(0.3, 1)
    assert one_threshold(np.array([[high], [0.3]]), np.array([[1], [0]])) == high
    p = np.array([[1.0, 0.6], [1.0, 0.2]])
    truth = np.array([[0, 1], [0, 0]])
    found = each_threshold(p, truth, one_threshold(p, truth))
    assert [labels_above(row, found.tolist()) for row in p.tolist()] == [(1,), ()]


def on_scales(high: list[float], rows: int, seed: int = 0) -> tuple[FloatArray, np.ndarray]:
    """Labels that two of three rows have, with a probability from half of `high` to `high`; the others have less than that."""
    chance = np.random.default_rng(seed)
    truth = (chance.random((rows, len(high))) < 2 / 3).astype(np.int64)
    return (chance.random(truth.shape) / 2 + truth / 2) * np.array(high), truth


def test_labels_on_scales_of_their_own_get_thresholds_of_their_own() -> None:
    p, truth = on_scales([1.0, 0.3, 0.05], 60)
    found = tuned_thresholds(p, truth)
    assert found == pytest.approx([0.5, 0.15, 0.025], rel=0.1)
    assert micro_f1(p, truth, np.array(found)) == 1


def test_what_does_not_help_on_rows_held_out_is_left() -> None:
    """Of calibrated probabilities on few rows, the best thresholds of these rows are not those of others."""
    chance = np.random.default_rng(1)
    p = chance.random((20, 8))
    truth = (chance.random(p.shape) < p).astype(np.int64)
    common = one_threshold(p, truth)
    assert micro_f1(p, truth, each_threshold(p, truth, common)) > micro_f1(p, truth, common)
    assert tuned_thresholds(p, truth) == [common] * 8


def test_constant_probabilities_give_the_labels_that_are_worth_it() -> None:
    """As of `majority`, which once gave all labels to every row: one rare label more costs more than it finds."""
    truth = np.zeros((100, 4), dtype=np.int64)
    for label, count in enumerate([60, 30, 4, 0]):
        truth[:count, label] = 1
    p = np.tile(truth.mean(axis=0), (100, 1))
    assert labels_above(p[0].tolist(), tuned_thresholds(p, truth)) == (0,)  # F1 0.618, and with the second 0.612
    truth[:50, 1] = 1
    p = np.tile(truth.mean(axis=0), (100, 1))
    assert labels_above(p[0].tolist(), tuned_thresholds(p, truth)) == (0, 1)


def test_labels_from_the_threshold_on() -> None:
    assert labels_above([0.5, 0.49, 0.9], [0.5, 0.5, 0.95]) == (0,)
    assert labels_above([0.1], [0.5]) == ()


TASK = """\
description: d
source: {files: {train: rows/train.jsonl, validation: rows/validation.jsonl, test: rows/test.jsonl}}
columns: {id: id, lang: lang}
labels: {kind: multilabel, names: [bad, fair, good]}
languages: [en, de]
"""


@pytest.mark.parametrize("given", [None, 0.3])
def test_a_multilabel_run_is_decided_by_the_thresholds_of_its_training(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch, given: float | None
) -> None:
    (project / "tasks" / "toy.yaml").write_text(TASK)
    monkeypatch.setattr(toy.ToyClassifier, "threshold", lambda self: given)
    toy.write_rows(project, "test", [toy.row("test", "en", n, says, 0) for n, says in enumerate("01201")])
    result = run(toy.plan(project, "toy-classifier"), store)
    thresholds = store.record(result.run_id).training.thresholds
    records = store.predictions(result.run_id)
    assert [tuple(record["label"]) for record in records] == [
        labels_above(record["probabilities"], thresholds) for record in records
    ]
    if given is not None:
        assert thresholds == [0.3] * 3
    else:
        assert thresholds != [0.5] * 3
        assert [record["label"] for record in records] == [[0], [1], [2], [0], [1]]


def multilabel(project: Path) -> None:
    (project / "tasks" / "toy.yaml").write_text(TASK)


def test_majority_gives_the_commonest_label(project: Path, store: Store) -> None:
    multilabel(project)
    for split, said in (("train", "0001122"), ("validation", "00012"), ("test", "012")):
        toy.write_rows(project, split, [toy.row(split, "en", n, says, int(says)) for n, says in enumerate(said)])
    result = run(toy.plan(project, "majority"), store)
    assert [record["label"] for record in store.predictions(result.run_id)] == [[0]] * 3


def tuning(plan: Plan) -> str | None:
    assert plan.identity.train is not None
    return plan.identity.train.thresholds


def test_only_a_run_with_tuned_thresholds_names_the_rule(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinal = toy.plan(project, "toy-classifier")
    assert set(ordinal.identity.as_json()["train"]) == {"version", "langs", "train_rows", "train_count", "validation_rows"}
    multilabel(project)
    assert tuning(toy.plan(project, "toy-classifier")) == "micro_f1"
    assert tuning(toy.plan(project, "toy-classifier", validation_limit=0)) is None
    monkeypatch.setattr(toy.ToyClassifier, "threshold", lambda self: 0.3)
    assert tuning(toy.plan(project, "toy-classifier")) is None


def test_another_rule_is_another_run_and_another_model(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    multilabel(project)
    with monkeypatch.context() as patch:
        patch.setattr(planning, "RULE", "macro_f1")
        before = toy.plan(project, "toy-classifier")
    ensure_trained(before, toy.quiet)
    after = toy.plan(project, "toy-classifier")
    assert before.run_id != after.run_id
    assert trained_key(before) != trained_key(after)
    ensure_trained(after, toy.quiet)
    assert toy.engine_of(after).fits == 1
