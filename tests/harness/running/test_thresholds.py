"""One threshold for each label of a multilabel task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.records.store import Store
from harness.running.runner import run
from harness.running.thresholds import labels_above, tuned_thresholds


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.35, 0.5, 0.62, 0.8, 0.95]), st.booleans()), min_size=1, max_size=12))
def test_no_threshold_has_a_higher_f1(rows: list[tuple[float, bool]]) -> None:
    p, truth = np.array([[row[0]] for row in rows]), np.array([[int(row[1])] for row in rows])
    [found] = tuned_thresholds(p, truth)
    if not truth.any():
        assert found == 0.5
        return

    def f1(threshold: float) -> float:
        given = p[:, 0] >= threshold
        return float(2 * (given & (truth[:, 0] == 1)).sum() / (given.sum() + truth.sum()))

    grid = np.linspace(0.001, 0.999, 400)
    assert f1(found) >= max(map(f1, grid)) - 1e-12


def test_of_equal_ones_the_nearest_to_a_half() -> None:
    p, truth = np.array([[0.9], [0.5], [0.4], [0.2]]), np.array([[1], [0], [0], [1]])
    assert tuned_thresholds(p, truth) == pytest.approx([0.7])  # 1 of 2 and nothing else, F1 2/3; as good as all four


def test_each_label_has_its_own() -> None:
    p = np.array([[0.9, 0.1, 0.4], [0.8, 0.3, 0.4], [0.2, 0.05, 0.4]])
    truth = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert tuned_thresholds(p, truth) == pytest.approx([0.85, 0.2, 0.5])


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
    thresholds = store.manifest(result.run_id)["training"]["thresholds"]
    records = store.predictions(result.run_id)
    assert [tuple(record["label"]) for record in records] == [
        labels_above(record["probabilities"], thresholds) for record in records
    ]
    if given is not None:
        assert thresholds == [0.3] * 3
    else:
        assert thresholds != [0.5] * 3
        assert [record["label"] for record in records] == [[0], [1], [2], [0], [1]]
