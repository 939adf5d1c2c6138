"""A closer look at a run: the worst errors first, and texts and answers where they are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import toy

from harness.core.errors import DataError
from harness.records.inspection import answers, texts, worst_errors
from harness.records.store import Store
from harness.running.runner import EngineSlot, run
from harness.specs.catalog import Catalog


def record(name: str, truth: Any, label: Any, *probabilities: float) -> dict[str, Any]:
    given = {"probabilities": list(probabilities)} if probabilities else {}
    return {"id": name, "truth": truth, "label": label, "status": "unparsed" if label is None else "ok", **given}


def ids(records: list[dict[str, Any]], kind: str, count: int = 9) -> list[str]:
    return [found["id"] for found in worst_errors(records, kind, count)]


RECORDS = [
    record("right", 1, 1, 0.1, 0.8, 0.1),
    record("near-sure", 0, 1, 0.0, 1.0, 0.0),
    record("far-unsure", 0, 2, 0.3, 0.3, 0.4),
    record("far-sure", 2, 0, 0.9, 0.1, 0.0),
    record("none-b", 0, None),
    record("none-a", 2, None),
    record("near-unsure", 2, 1, 0.3, 0.4, 0.3),
]


def test_ordinal_errors_without_an_answer_then_by_distance_then_by_confidence() -> None:
    expected = ["none-a", "none-b", "far-sure", "far-unsure", "near-sure", "near-unsure"]
    assert ids(RECORDS, "ordinal") == expected
    assert ids(RECORDS[::-1], "ordinal") == expected
    assert ids(RECORDS, "ordinal", 3) == expected[:3]
    assert ids(RECORDS, "ordinal", 0) == []


def test_nominal_errors_are_equally_far() -> None:
    assert ids(RECORDS, "nominal") == ["none-a", "none-b", "near-sure", "far-sure", "far-unsure", "near-unsure"]


def test_multilabel_errors_by_the_number_of_wrong_labels() -> None:
    records = [record("one", [0], [0, 1]), record("three", [0, 1], [2]), record("right", [2], [2]), record("two", [], [0, 1])]
    assert ids(records, "multilabel") == ["three", "two", "one"]


def test_errors_without_probabilities_come_by_id_and_records_stay_as_they_are() -> None:
    records = [record("b", 0, 1), record("a", 0, 1)]
    found = worst_errors(records, "ordinal", 9)
    found[0]["text"] = "added"
    assert [row["id"] for row in found] == ["a", "b"]
    assert "text" not in records[1]


def test_texts_where_the_data_is_at_hand(project: Path) -> None:
    plan = toy.plan(project, lang="de")
    seen = {row.id for row in plan.rows}
    found = texts(plan.identity, seen, Catalog(project), None)
    assert found == {row.id: row.text for row in plan.rows}
    other = toy.plan(project).identity
    assert texts(plan.identity.on_rows(other.rows), seen, Catalog(project), None) == {}  # the data changed since


@pytest.mark.parametrize(
    "identity",
    [
        {"task": "gone", "lang": "en", "split": "test"},
        {"task": "toy", "lang": "ja", "split": "test"},
        {"task": "toy", "lang": "en", "split": "other"},
    ],
)
def test_no_texts_where_it_is_not(project: Path, identity: dict[str, str]) -> None:
    run = toy.plan(project).identity.model_copy(update={**identity, "rows": ""})
    assert texts(run, {"test-en-1"}, Catalog(project), None) == {}


def test_a_look_at_a_run_downloads_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(*args: object, **options: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("harness.records.inspection.load_examples", reached)
    identity = toy.plan(project).identity.model_copy(update={"task": "amazon_reviews_multi", "rows": ""})
    assert texts(identity, {"en_1"}, Catalog(project), None) == {}


def test_no_texts_after_the_files_are_gone_but_from_a_folder_of_them(project: Path, tmp_path: Path) -> None:
    plan = toy.plan(project)
    seen = {row.id for row in plan.rows}
    rows = (project / "tasks" / "rows").rename(tmp_path / "rows")
    assert texts(plan.identity, seen, Catalog(project), None) == {}
    assert len(texts(plan.identity, seen, Catalog(project), rows)) == 11
    for ids, folder in ((seen, tmp_path / "nowhere"), ({"test-en-1"}, rows)):
        with pytest.raises(DataError):
            texts(plan.identity, ids, Catalog(project), folder)


def test_answers_of_a_run_on_this_machine(project: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    plan = toy.plan(project)
    assert answers(store.answers_file(plan.run_id)) == {}
    run(plan, store, EngineSlot(), toy.quiet)
    found = answers(store.answers_file(plan.run_id))
    assert len(found) == 11
    assert (found["test-en-0"], found["test-en-3"], found["test-en-5"]) == (f"0\n{toy.SECRET}", toy.SECRET, "")


def test_a_torn_line_of_answers_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id":"a","answer":"x"}\n{"id":"b","ans', encoding="utf-8")
    assert answers(path) == {"a": "x"}
