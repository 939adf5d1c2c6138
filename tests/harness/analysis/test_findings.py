"""What a run's answers say against it: by hand, by simulation, and for every kind of labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from boards import NAMES, record
from chances import identity_of
from numpy.typing import NDArray

from harness.analysis.findings import FindingKind, finding_of, finding_of_entry
from harness.core.predictions import Predictions
from harness.core.types import Label, LabelKind, LabelSpace
from harness.records.entries import read_entry
from harness.records.predictions import read_predictions
from harness.records.store import Store

CONSTANT, UNPARSED, AT_CHANCE = FindingKind.CONSTANT, FindingKind.UNPARSED, FindingKind.AT_CHANCE


def run(truth: Sequence[int], answers: Sequence[int | None], kind: LabelKind = LabelKind.NOMINAL, k: int = 3) -> Predictions:
    labels = LabelSpace(kind, tuple(f"label-{i}" for i in range(k)))
    given = np.array([k if answer is None else answer for answer in answers])
    ids = np.array([f"{i}" for i in range(len(truth))], dtype=object)
    return Predictions("run", identity_of(), labels, ids, np.array(truth), given, given < k, None)


def kind_of(columns: Predictions) -> FindingKind | None:
    found = finding_of(columns)
    return None if found is None else found.kind


TRUTH = [0] * 350 + [1] * 150


def test_one_answer_to_all_rows() -> None:
    found = finding_of(run(TRUTH, [0] * 500))
    assert found is not None
    assert (found.kind, found.message) == (CONSTANT, "gives one answer, 'label-0', to all 500 rows")


@pytest.mark.parametrize(("others", "finding"), [(1, CONSTANT), (5, CONSTANT), (30, None)])
def test_nearly_one_answer_though_each_other_one_is_right(others: int, finding: FindingKind | None) -> None:
    """Ten right answers beside 490 equal ones are better than chance, and still one answer."""
    assert kind_of(run(TRUTH, [0] * (500 - others) + [1] * others)) is finding


def test_the_share_is_of_the_answered_rows_and_never_rounded_up_to_all() -> None:
    found = finding_of(run(TRUTH, [None] * 100 + [0] * 399 + [1]))
    assert found is not None
    assert found.message == "gives one answer, 'label-0', to 99.7% of the 400 rows that it answers"
    found = finding_of(run([0] * 5000 + [1] * 5000, [0] * 9999 + [1]))
    assert found is not None
    assert "99.9% of the 10,000 rows" in found.message


def test_a_rare_label_that_is_found_is_not_one_answer() -> None:
    """One row in 200 is rare: a model that finds them answers alike in 99.5% of the rows, and rightly."""
    rare = [0] * 995 + [1] * 5
    assert kind_of(run(rare, rare)) is None
    assert kind_of(run(rare, [0] * 997 + [1] * 3)) is None
    assert kind_of(run(rare, [0] * 1000)) is CONSTANT


def test_one_unparsed_answer_after_the_other() -> None:
    found = finding_of(run(TRUTH, [None] * 500))
    assert found is not None
    assert (found.kind, found.message) == (UNPARSED, "has no parsed answer in any of the 500 rows")
    assert kind_of(run(TRUTH, [None] * 250 + TRUTH[250:])) is UNPARSED
    assert kind_of(run(TRUTH, [None] * 249 + TRUTH[249:])) is None


def test_answers_at_random_are_at_chance_and_weak_ones_are_not() -> None:
    """Answers at random have a far better macro-F1 than a constant; that is no reason to call them better."""
    rng = np.random.default_rng(0)
    found = finding_of(run(TRUTH, rng.permutation(TRUTH).tolist()))
    assert found is not None
    assert found.kind is AT_CHANCE
    assert found.message.startswith("is not shown to be better than always answering 'label-0': ")
    assert found.message.endswith("% of 500 rows are right, against 70.0%")
    weak = [
        label if keep else other
        for label, keep, other in zip(TRUTH, rng.random(500) < 0.3, rng.permutation(TRUTH), strict=True)
    ]
    assert kind_of(run(TRUTH, weak)) is None


def test_less_accurate_than_the_commonest_label_and_useful_all_the_same() -> None:
    """Half of a rare label found, and more false alarms: less accuracy than a constant, and more than chance."""
    truth = [0] * 450 + [1] * 50
    answers = [0] * 410 + [1] * 40 + [1] * 25 + [0] * 25
    columns = run(truth, answers)
    assert columns.correct.mean() < 0.9
    assert kind_of(columns) is None


def test_few_rows_are_said_to_be_too_few() -> None:
    truth = [i % 2 for i in range(40)]
    found = finding_of(run(truth, [*truth[:23], *(1 - label for label in truth[23:])]))
    assert found is not None
    assert found.message == (
        "is not shown to be better than always answering 'label-0': 57.5% of 40 rows are right, against 50.0%; "
        "40 rows are too few to tell"
    )
    assert kind_of(run(truth, [*truth[:32], *(1 - label for label in truth[32:])])) is None
    assert kind_of(run([0], [0])) is AT_CHANCE
    assert kind_of(run([0, 1], [0, 1])) is AT_CHANCE


def test_of_an_ordinal_task_the_order_counts_too() -> None:
    """Never the true label, always near it: worse than a constant in accuracy, better in QWK."""
    truth = [i % 5 for i in range(300)]
    near = [label + 1 if label < 4 else 3 for label in truth]
    assert kind_of(run(truth, near, LabelKind.ORDINAL, k=5)) is None
    assert kind_of(run(truth, near, LabelKind.NOMINAL, k=5)) is AT_CHANCE
    assert kind_of(run(truth, [4 - label for label in truth], LabelKind.ORDINAL, k=5)) is AT_CHANCE  # the wrong way round


@pytest.mark.slow
@pytest.mark.parametrize("kind", [LabelKind.NOMINAL, LabelKind.ORDINAL])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.95, 0.05), (0.2, 0.2, 0.2, 0.2, 0.2), (0.7, 0.2, 0.1)])
@pytest.mark.parametrize("n", [20, 100, 400])
def test_guesses_are_rarely_taken_for_more(kind: LabelKind, shares: tuple[float, ...], n: int) -> None:
    rng = np.random.default_rng(n)
    k, times = len(shares), 400
    drawn = rng.choice(k, p=shares, size=(times, 2, n))
    passed = sum(finding_of(run(truth.tolist(), answers.tolist(), kind, k)) is None for truth, answers in drawn)
    assert passed / times <= 0.07  # two looks at 2.5% each, and what 400 samples may be off


def many(store: Store, truth: Sequence[Label], answers: Sequence[Label | None]) -> Predictions:
    return read_predictions(store, record(store, "m", answers, truth, kind=LabelKind.MULTILABEL))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


SETS: list[Label] = [(), (0,), (0, 2), (0,)]


def test_the_same_set_of_labels_for_all_rows(store: Store) -> None:
    found = finding_of(many(store, SETS * 50, [(0, 2)] * 200))
    assert found is not None
    assert (found.kind, found.message) == (CONSTANT, f"gives one answer, '{NAMES[0]} + {NAMES[2]}', to all 200 rows")


def test_no_label_at_all_is_one_answer_too(store: Store) -> None:
    found = finding_of(many(store, SETS * 50, [()] * 200))
    assert found is not None
    assert found.message == "gives one answer, 'none', to all 200 rows"


@pytest.mark.parametrize("right", [True, False])
def test_sets_of_labels_at_chance(store: Store, right: bool) -> None:
    rng: NDArray[np.int64] = np.random.default_rng(1).permutation(200)
    truth = SETS * 50
    found = finding_of(many(store, truth, truth if right else [truth[i] for i in rng]))
    assert (found and found.kind) == (None if right else AT_CHANCE)


def test_a_record_says_it_without_its_predictions(store: Store) -> None:
    name = record(store, "m", [1] * 120, [i % 3 for i in range(120)])
    entry = read_entry(store, name)
    (store.root / name / "predictions.jsonl").unlink()
    found = finding_of_entry(store, entry)
    assert found is not None
    assert found.as_json() == {"kind": "constant", "message": f"gives one answer, {NAMES[1]!r}, to all 120 rows"}


def test_the_predictions_of_sets_of_labels_are_read(store: Store) -> None:
    name = record(store, "m", [(1,)] * 120, [(i % 3,) for i in range(120)], kind=LabelKind.MULTILABEL)
    found = finding_of_entry(store, read_entry(store, name))
    assert found is not None
    assert found.kind is CONSTANT
