"""What is wrong with a task's rows: counted against rows that were written to be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import toy
from chances import entry_of
from test_suspects import TRUTH, columns, sure

from harness.analysis.audit import cleaned, conflicts, label_counts, overlaps, read_splits, without_text
from harness.analysis.row_sets import on_these_rows
from harness.core.errors import DataError
from harness.core.types import Example
from harness.data.drawing import first_rows
from harness.data.rows import fingerprint
from harness.records.entries import Entry
from harness.specs.catalog import Catalog
from harness.specs.tasks import TaskSpec


def example(name: str, text: str, label: Any = 0) -> Example:
    return Example(name, text, label, "en")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return toy.write_project(tmp_path)


def task_of(project: Path) -> TaskSpec:
    return Catalog(project).task("toy")


def row(name: str, text: str, lang: str = "en") -> dict[str, Any]:
    return {"id": name, "text": text, "label": 0, "lang": lang}


def test_duplicates_within_and_across_splits() -> None:
    splits: Any = {
        "train": [example("t1", "A fine thing"), example("t2", "it broke at once", 1), example("t3", "IT BROKE at once", 1)],
        "validation": [example("v1", "nothing like it")],
        "test": [example("x2", "a fine  thing", 2), example("x1", "it broke at once!", 1), example("x3", "new")],
    }
    found = {(pair.of, pair.among): pair for pair in overlaps(splits)}
    assert list(found)[-3:] == [("test", "train"), ("test", "validation"), ("validation", "train")]
    with_train = found["test", "train"]
    assert (with_train.rows, with_train.exact, with_train.near, with_train.other_label) == (3, 1, 1, 1)
    assert with_train.ids == ["x1", "x2"]
    itself = found["train", "train"]
    assert (itself.exact, itself.near, itself.ids) == (2, 0, ["t2", "t3"])
    assert found["test", "test"].ids == found["validation", "train"].ids == []
    assert [(pair.of, pair.among) for pair in overlaps({"test": splits["test"]})] == [("test", "test")]


def test_one_text_with_several_labels_bounds_what_can_be_right() -> None:
    test = [example("a", "ok", 0), example("b", "OK", 1), example("c", "ok", 1), example("d", "fine", 2), example("e", "no", 0)]
    found = conflicts({"train": [example("t", "fine", 1), example("u", "same", 1)], "test": test})
    assert (found.texts, found.rows) == (2, 5)
    assert found.by_split == {"train": 1, "test": 4}
    assert found.ceiling == {"train": 1.0, "test": pytest.approx(4 / 5)}  # one of the three `ok` can't be right
    assert found.ids == ["a", "b", "c", "d", "t"]


def test_sets_of_labels_conflict_where_they_differ() -> None:
    rows = [example("a", "x", (0, 1)), example("b", "x", (0,)), example("c", "y", ()), example("d", "y", ())]
    found = conflicts({"test": rows})
    assert (found.texts, found.ceiling["test"]) == (1, 0.75)
    assert label_counts({"test": rows}, ["p", "q"]) == {"p": {"test": 2}, "q": {"test": 1}}


def test_no_conflicts() -> None:
    found = conflicts({"test": [example("a", "x", 1), example("b", "X", 1), example("c", "y", 0)]})
    assert (found.texts, found.rows, found.ceiling["test"], found.ids) == (0, 0, 1.0, [])


def test_labels_are_counted_by_split() -> None:
    splits: Any = {"train": [example("a", "x", 1), example("b", "y", 1)], "test": [example("c", "z", 0)]}
    assert label_counts(splits, ["no", "yes", "maybe"]) == {
        "no": {"train": 0, "test": 1},
        "yes": {"train": 2, "test": 0},
        "maybe": {"train": 0, "test": 0},
    }


def test_rows_without_text_are_counted_and_left_out(project: Path) -> None:
    toy.write_rows(project, "train", [row("a", "x"), row("b", " \t"), row("c", ""), row("d", "", "de"), row("e", "y", "de")])
    splits, missing = read_splits(task_of(project), "en", None)
    assert ([found.id for found in splits["train"]], missing) == (["a"], {})
    assert without_text(task_of(project), "en", None) == 2
    assert without_text(task_of(project), "de", None) == 1


@pytest.mark.parametrize(
    ("columns", "rows", "expected"),
    [
        ("{text: [title, body], id: id}", [{"title": "", "body": None}, {"title": "x", "body": ""}], 1),
        ("{text: title, id: name, lang_from_id: true}", [{"name": "en_1", "title": ""}, {"name": "de_2", "title": ""}], 1),
    ],
)
def test_whatever_the_columns_are_called(project: Path, columns: str, rows: list[dict[str, Any]], expected: int) -> None:
    text = toy.TASK.replace("{id: id, lang: lang}", columns).replace(
        "[en, de]", "[en, de]" if "lang_from" in columns else "[en]"
    )
    (project / "tasks" / "toy.yaml").write_text(text)
    full = [{"id": str(number), "label": 0, **given} for number, given in enumerate(rows)]
    toy.write_rows(project, "test", full)
    assert without_text(task_of(project), "en", None, ["test"]) == expected


def test_in_one_file_for_all_splits_a_row_is_counted_once(project: Path) -> None:
    text = toy.TASK.replace(
        "train: rows/train.jsonl, validation: rows/validation.jsonl, test: rows/test.jsonl", "all: rows/all.jsonl"
    )
    (project / "tasks" / "toy.yaml").write_text(text + "splits: {stratified: {seed: 1}}\n")
    toy.write_rows(project, "all", [row(str(number), "" if number < 3 else f"text {number}") for number in range(30)])
    assert without_text(task_of(project), "en", None) == 3
    splits, _ = read_splits(task_of(project), "en", None)
    assert sum(map(len, splits.values())) == 27


def test_a_split_that_is_not_there(project: Path) -> None:
    (project / "tasks" / "rows" / "validation.jsonl").unlink()
    splits, missing = read_splits(task_of(project), "en", None)
    assert list(splits) == ["train", "test"]
    assert "validation.jsonl" in missing["validation"]
    assert without_text(task_of(project), "en", None, splits) == 0
    for split in ("train", "test"):
        (project / "tasks" / "rows" / f"{split}.jsonl").unlink()
    with pytest.raises(DataError):
        read_splits(task_of(project), "en", None)


def entry(name: str, rows: Sequence[Example], limit: int | None) -> Entry:
    return entry_of({"identity": {"rows": fingerprint(rows)}, "limit": limit}, name)


def test_runs_on_these_rows_and_no_others() -> None:
    rows = [example(str(number), f"text {number}") for number in range(20)]
    changed = [*rows[:-1], example("19", "text 19.")]
    all_of_them, ten = entry("all", rows, None), entry("ten", first_rows(rows, 10), 10)
    assert on_these_rows([all_of_them, ten, entry("changed", changed, None), entry("odd", rows[:10], 10)], rows) == [
        all_of_them,
        ten,
    ]


def test_what_is_right_without_duplicates() -> None:
    truth = TRUTH
    good = columns("good", truth, sure([*truth[:29], 0]))  # wrong in the last row
    bad = columns("bad", truth, sure([(label + 1) % 3 if row < 10 else label for row, label in enumerate(truth)]))
    found = cleaned([("bad", bad), ("good", good)], ["r000", "r001", "not among them"])
    assert [(one.run, one.backend, one.n) for one in found] == [("run.good", "good", 28), ("run.bad", "bad", 28)]
    assert found[0].value.value == pytest.approx(29 / 30)
    assert found[0].without.value == pytest.approx(27 / 28)
    assert found[1].without.value == pytest.approx(20 / 28)
    one = [("good", good)]
    assert cleaned(one, []) == cleaned(one, ["elsewhere"]) == cleaned(one, good.ids.tolist()) == []
