"""Predictions as columns: the same numbers as the metrics, and only rows that are the same are paired."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boards import entry, write_json

from harness.core.errors import RunError, UserError
from harness.core.json_files import canonical_json
from harness.core.predictions import Predictions
from harness.core.types import Example, LabelKind, LabelSpace, Prediction, Status
from harness.records.journal import prediction_record
from harness.records.pairing import pairing_notes
from harness.records.predictions import read_predictions, shared_rows
from harness.records.store import Store
from harness.statistics.metrics import evaluate_predictions

ORDINAL = LabelSpace(LabelKind.ORDINAL, ("bad", "fair", "good"))
MULTILABEL = LabelSpace(LabelKind.MULTILABEL, ("a", "b", "c"))


def write_run(
    root: Path, name: str, rows: list[tuple[Example, Prediction]], labels: LabelSpace, changes: dict[str, Any] | None = None
) -> str:
    identity = {
        **entry("llm").record.identity.as_json(),
        "labels": list(labels.names),
        "label_kind": labels.kind,
        **(changes or {}),
    }
    metrics = evaluate_predictions([example for example, _ in rows], [prediction for _, prediction in rows], labels)
    folder = root / name
    folder.mkdir(parents=True)
    write_json(folder / "run.json", {"identity": identity})
    write_json(folder / "metrics.json", metrics.as_json())
    lines = "".join(canonical_json(prediction_record(example, prediction)) + "\n" for example, prediction in rows)
    (folder / "predictions.jsonl").write_text(lines, encoding="utf-8")
    return name


def single(ids: str, *, probable: bool = True) -> list[tuple[Example, Prediction]]:
    """Rows of an ordinal task: truth and answer go round, each fifth row is unparsed and each seventh failed."""
    rows = []
    for number, row in enumerate(ids):
        example = Example(row, f"the text of {row!r}", number % 3, "en")
        p = np.array([1.0, 1.0, 1.0]) + np.eye(3)[number * 2 % 3]
        if number % 5 == 4 or number % 7 == 6:
            status = Status.UNPARSED if number % 5 == 4 else Status.FAILED
            rows.append((example, Prediction(row, None, status, "word")))
        else:
            rows.append((example, Prediction(row, number * 2 % 3, probabilities=tuple(p / p.sum()) if probable else None)))
    return rows


def test_columns_are_what_the_metrics_are_made_of(tmp_path: Path) -> None:
    rows = single("hgfedcbaäz字k")
    columns = read_predictions(Store(tmp_path), write_run(tmp_path, "one", rows, ORDINAL))
    metrics = evaluate_predictions([e for e, _ in rows], [p for _, p in rows], ORDINAL)
    assert columns.ids.tolist() == sorted("hgfedcbaäz字k")
    assert columns.confusion_matrix.tolist() == metrics.confusion
    assert columns.correct.mean() == metrics.values["accuracy"].value
    assert columns.probabilities is not None
    by_id = {p.id: p for _, p in rows}
    for row, given, answered in zip(columns.ids, columns.probabilities, columns.answered, strict=True):
        expected = by_id[row].probabilities or (1 / 3,) * 3
        assert given == pytest.approx(expected, abs=1e-5)
        assert answered == (by_id[row].status is Status.OK)
    assert columns.probabilities.sum(axis=1) == pytest.approx(1)


def test_probabilities_are_all_or_none(tmp_path: Path) -> None:
    rows = single("abcd")
    rows[0] = (rows[0][0], Prediction("a", 1))
    assert read_predictions(Store(tmp_path), write_run(tmp_path, "one", rows, ORDINAL)).probabilities is None
    none = read_predictions(Store(tmp_path), write_run(tmp_path, "none", single("abcd", probable=False), ORDINAL))
    assert none.probabilities is None


def test_sets_of_labels(tmp_path: Path) -> None:
    def row(name: str, truth: tuple[int, ...], answer: tuple[int, ...] | None) -> tuple[Example, Prediction]:
        status = Status.OK if answer is not None else Status.FAILED
        return Example(name, "t", truth, "en"), Prediction(name, answer, status, probabilities=None)

    rows = [row("d", (), None), row("c", (0, 2), None), row("b", (1,), (1,)), row("a", (0, 1), (1, 2)), row("e", (), ())]
    columns = read_predictions(Store(tmp_path), write_run(tmp_path, "one", rows, MULTILABEL))
    metrics = evaluate_predictions([e for e, _ in rows], [p for _, p in rows], MULTILABEL)
    assert columns.truth.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert columns.answers.tolist() == [[0, 1, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert columns.correct.mean() == metrics.values["subset_accuracy"].value


def test_an_id_that_only_python_reads(tmp_path: Path) -> None:
    rows = single("abc")
    rows[1] = (Example("b\ud800", "t", 1, "en"), Prediction("b\ud800", 1))
    name = write_run(tmp_path, "one", rows, ORDINAL)
    columns = read_predictions(Store(tmp_path), name)
    assert len(columns) == 3
    assert columns.correct.tolist() == [True, True, False]


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    name = write_run(tmp_path, "one", single("abc"), ORDINAL)
    with (tmp_path / name / "predictions.jsonl").open("a") as file:
        file.write('{"id": "x", "tru')
    with pytest.raises(RunError, match=r"one/predictions\.jsonl"):
        read_predictions(Store(tmp_path), name)
    (tmp_path / name / "predictions.jsonl").unlink()
    with pytest.raises(RunError, match=r"one/predictions\.jsonl"):
        read_predictions(Store(tmp_path), name)


def test_only_shared_rows_are_paired(tmp_path: Path) -> None:
    rows = single("abcdef")
    store = Store(tmp_path)
    runs = [
        read_predictions(store, write_run(tmp_path, "ends", rows[3:], ORDINAL)),
        read_predictions(store, write_run(tmp_path, "all", rows[::-1], ORDINAL)),
        read_predictions(store, write_run(tmp_path, "starts", rows[:5], ORDINAL)),
    ]
    paired = shared_rows(runs)
    assert [run.run_id for run in paired] == ["ends", "all", "starts"]
    assert [run.ids.tolist() for run in paired] == [["d", "e"]] * 3
    assert paired[0].truth.tolist() == paired[1].truth.tolist() == [0, 1]
    assert paired[1].answered.tolist() == [True, False]
    whole = shared_rows([runs[1], runs[1]])
    assert len(whole[0]) == 6


@pytest.mark.parametrize("change", [{"task": "other"}, {"lang": "de"}, {"split": "validation"}, {"labels": ["x", "y", "z"]}])
def test_runs_that_answer_other_questions_are_not_paired(tmp_path: Path, change: dict[str, Any]) -> None:
    store = Store(tmp_path)
    one = read_predictions(store, write_run(tmp_path, "one", single("abc"), ORDINAL))
    two = read_predictions(store, write_run(tmp_path, "two", single("abc"), ORDINAL, change))
    with pytest.raises(UserError, match=next(iter(change))):
        shared_rows([one, two])


Row = tuple[str, str, int]
"""Id, text and true label."""


def run_on(root: Path, name: str, rows: list[Row], *, old: bool = False, fingerprint: str = "") -> Predictions:
    """A run that is right in every row; `old`: without digests of texts, as earlier versions wrote it."""
    told = [(Example(row_id, text, label, "en"), Prediction(row_id, label)) for row_id, text, label in rows]
    write_run(root, name, told, ORDINAL, {"rows": fingerprint or name})
    if old:
        path = root / name / "predictions.jsonl"
        records = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({k: v for k, v in r.items() if k != "text"}) + "\n" for r in records))
    return read_predictions(Store(root), name)


def paired(*runs: Predictions) -> list[tuple[str, ...]]:
    return list(zip(*(run.ids.tolist() for run in shared_rows(runs)), strict=True))


FIVE: list[Row] = [(f"test-{n}", f"text {n}", n % 2) for n in range(5)]


def test_rows_whose_numbers_moved_are_paired_by_their_texts(tmp_path: Path) -> None:
    """Two rows on top, and ids that are row numbers."""
    first = run_on(tmp_path, "first", FIVE)
    grown = run_on(tmp_path, "grown", [(f"test-{n}", text, n % 2) for n, text in enumerate(["x", "y"] + [r[1] for r in FIVE])])
    assert paired(first, grown) == [(f"test-{n}", f"test-{n + 2}") for n in range(5)]
    assert pairing_notes([first, grown], 5) == []


def test_a_row_with_another_text_is_left_out_and_counted(tmp_path: Path) -> None:
    first = run_on(tmp_path, "first", FIVE)
    second = run_on(tmp_path, "second", [("test-0", "mended", 0), *FIVE[1:]])
    assert paired(first, second) == [(f"test-{n}",) * 2 for n in range(1, 5)]
    assert pairing_notes([first, second], 4) == ["1 row has the same id and another text: left out."]


def test_a_row_with_another_label_is_left_out_and_counted(tmp_path: Path) -> None:
    first = run_on(tmp_path, "first", FIVE)
    second = run_on(tmp_path, "second", [("test-0", "text 0", 2), ("test-1", "text 1", 2), *FIVE[2:]])
    assert [run.truth.tolist() for run in shared_rows([first, second])] == [[0, 1, 0]] * 2
    assert pairing_notes([first, second], 3) == ["2 rows have the same text and another true label: left out."]


def test_a_row_that_one_of_three_runs_lacks_is_no_contradiction(tmp_path: Path) -> None:
    runs = [run_on(tmp_path, "first", FIVE), run_on(tmp_path, "second", FIVE), run_on(tmp_path, "short", FIVE[:3])]
    assert pairing_notes(runs, 3) == []
    runs[1] = run_on(tmp_path, "mended", [*FIVE[:4], ("test-4", "text 4", 1)])
    assert pairing_notes(runs, 3) == ["1 row has the same text and another true label: left out."]


def test_where_no_text_is_the_same_that_is_said(tmp_path: Path) -> None:
    first = run_on(tmp_path, "first", FIVE)
    with pytest.raises(UserError, match=r"no row in common\. 5 rows have the same id and another text\."):
        shared_rows([first, run_on(tmp_path, "second", [(row_id, "new " + text, label) for row_id, text, label in FIVE])])
    with pytest.raises(UserError, match=r"no row in common\.\n"):
        shared_rows([first, run_on(tmp_path, "third", [("a", "other", 0)])])


def test_a_text_that_stands_twice_is_paired_once_each(tmp_path: Path) -> None:
    """By the id where it is the same, too; else with a row of the same label."""
    first = run_on(tmp_path, "first", [("a", "ok", 0), ("b", "ok", 1), ("c", "ok", 1), ("d", "ok", 1)])
    second = run_on(tmp_path, "second", [("d", "ok", 1), ("x", "ok", 1), ("y", "ok", 0)])
    assert paired(first, second) == [("a", "y"), ("b", "x"), ("d", "d")]
    third = run_on(tmp_path, "third", [("x", "ok", 1)])
    assert paired(first, second, third) == [("b", "d", "x")]


def test_sets_of_labels_are_paired(tmp_path: Path) -> None:
    def run(name: str, rows: list[tuple[str, tuple[int, ...]]]) -> Predictions:
        told = [(Example(row_id, "t", truth, "en"), Prediction(row_id, truth)) for row_id, truth in rows]
        return read_predictions(Store(tmp_path), write_run(tmp_path, name, told, MULTILABEL))

    assert paired(run("one", [("a", (0, 2)), ("b", ())]), run("two", [("b", ()), ("c", (0, 2)), ("d", (1,))])) == [
        ("a", "c"),
        ("b", "b"),
    ]


def test_records_of_an_earlier_version_are_paired_by_ids_and_that_is_said(tmp_path: Path) -> None:
    first, new = run_on(tmp_path, "first", FIVE, old=True), run_on(tmp_path, "new", FIVE[1:])
    assert first.texts is None
    assert paired(first, new) == [(f"test-{n}",) * 2 for n in range(1, 5)]
    (note,) = pairing_notes([first, new], 4)
    assert note.startswith("first: a record of an earlier version, without digests of texts. Rows are paired by ids alone")
    same = [run_on(tmp_path, f"same {n}", FIVE, old=True, fingerprint="f") for n in range(2)]
    assert pairing_notes(same, 5) == []
    moved = run_on(tmp_path, "moved", [(row_id, text, 2) for row_id, text, _ in FIVE[:1]] + FIVE[1:], old=True)
    with pytest.raises(UserError, match="differ in 1 true labels, first in that of 'test-0'"):
        shared_rows([first, moved])
    made = run_on(tmp_path, "made", [("test-00112233", "text 0", 0)])
    with pytest.raises(UserError, match="no row in common") as caught:
        shared_rows([first, made])
    assert "earlier version (first) rows without an id column were numbered" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 3}, "a label is not one of the 3 labels"),
        ({"label": -1}, "a label is not one of the 3 labels"),
        ({"truth": 9}, "a truth is not one of the 3 labels"),
        ({"truth": None}, "no true label"),
        ({"label": None}, "an answered row has no label"),
        ({"id": "b"}, "an id occurs twice"),
        ({"status": "banana"}, "an unknown status"),
        ({"probabilities": [0.0, 0.0, 0.0]}, "do not sum to 1"),
        ({"probabilities": [0.5, 0.5]}, "damaged|can't be read"),
    ],
)
def test_what_no_run_writes_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    name = write_run(tmp_path, "one", single("abcd"), ORDINAL)
    path = tmp_path / name / "predictions.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), **change}), *rest]) + "\n")
    with pytest.raises(RunError, match=message):
        read_predictions(Store(tmp_path), name)


def test_a_small_probability_keeps_its_digits() -> None:
    line = prediction_record(Example("a", "text", 0, "en"), Prediction("a", 0, probabilities=(0.9999999, 1.23456789e-8)))
    assert line["probabilities"] == [1.0, 1.23457e-08]
