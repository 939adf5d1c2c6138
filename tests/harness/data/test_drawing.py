"""Rows without an id column: their ids, and the splits that are drawn of them, follow the texts and not the places."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import DataError
from harness.core.types import text_digest
from harness.data.drawing import first_rows, frozen_text
from harness.data.rows import load_examples
from harness.specs.tasks import SPLITS, Split, TaskSpec, load_task

Rows = list[dict[str, Any]]
LABELS = "labels: {kind: nominal, names: [bad, good, odd]}\n"
STRATIFIED = "source: {files: {all: all.jsonl}}\nsplits: {stratified: {}}\n"


def task_of(folder: Path, rows: Rows, source: str = STRATIFIED, file: str = "all.jsonl", labels: str = LABELS) -> TaskSpec:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = folder / "mine.yaml"
    path.write_text(f"description: d\n{source}{labels}languages: [en]\n", encoding="utf-8")
    return load_task(path)


def many(count: int, start: int = 0) -> Rows:
    return [{"text": f"note number {n}", "label": n % 10 // 5 if n % 40 else 2} for n in range(start, start + count)]


def splits_of(task: TaskSpec) -> dict[Split, set[tuple[str, str]]]:
    return {split: {(row.id, row.text) for row in load_examples(task, lang="en", split=split)} for split in SPLITS}


def test_an_id_is_made_of_the_text_and_shows_nothing_of_it(tmp_path: Path) -> None:
    task = task_of(tmp_path, [{"text": "a secret", "label": 0}, {"text": "half \ud83d", "label": 1}],
                   "source: {files: {train: all.jsonl}}\n")  # fmt: skip
    rows = load_examples(task, lang="en", split="train")
    assert [row.id for row in rows] == [f"train-{text_digest(row.text)}" for row in rows]
    assert all(len(row.id) == len("train-") + 16 for row in rows)


def test_a_text_that_stands_several_times_is_counted_by_label_and_not_by_place(tmp_path: Path) -> None:
    rows = [{"text": "ok", "label": label} for label in (1, 0, 1)] + [{"text": "no", "label": 0}]
    source = "source: {files: {train: all.jsonl}}\n"
    found = {(row.id, row.label) for row in load_examples(task_of(tmp_path, rows, source), lang="en", split="train")}
    ok = f"train-{text_digest('ok')}"
    assert found == {(ok, 0), (f"{ok}-2", 1), (f"{ok}-3", 1), (f"train-{text_digest('no')}", 0)}
    again = load_examples(task_of(tmp_path / "b", rows[::-1], source), lang="en", split="train")
    assert {(row.id, row.label) for row in again} == found


def test_sets_of_labels_are_counted_in_order_too(tmp_path: Path) -> None:
    rows = [{"text": "ok", "label": labels} for labels in (["bad", "odd"], [], ["bad"])]
    labels = LABELS.replace("nominal", "multilabel")
    task = task_of(tmp_path, rows, "source: {files: {train: all.jsonl}}\n", labels=labels)
    found = {
        row.label: row.id.removeprefix(f"train-{text_digest('ok')}") for row in load_examples(task, lang="en", split="train")
    }
    assert found == {(): "", (0,): "-2", (0, 2): "-3"}


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_order_of_the_file_changes_nothing(tmp_path: Path, shuffled: bool) -> None:
    rows = many(200) + many(20)
    moved = sorted(rows, key=lambda row: (row["label"], row["text"]))
    if shuffled:
        random.Random(1).shuffle(moved)
    assert splits_of(task_of(tmp_path / "a", rows)) == splits_of(task_of(tmp_path / "b", moved))


@pytest.mark.parametrize("where", ["top", "bottom"])
def test_rows_that_are_added_move_only_rows_at_the_border(tmp_path: Path, where: str) -> None:
    rows, new = many(300), many(6, start=1000)
    before = splits_of(task_of(tmp_path / "a", rows))
    after = splits_of(task_of(tmp_path / "b", new + rows if where == "top" else rows + new))
    assert len(before["test"]) == 60
    assert len(before["test"] & after["test"]) >= 57
    assert not before["train"] & after["test"]
    assert len(before["validation"] & after["validation"]) >= 44
    assert len(before["train"] - after["train"]) <= 3


def test_the_splits_have_the_same_shares_of_labels(tmp_path: Path) -> None:
    task = task_of(tmp_path, [{"text": f"t{n}", "label": 0 if n % 10 < 7 else 1} for n in range(1000)])
    counts = {split: Counter(row.label for row in load_examples(task, lang="en", split=split)) for split in SPLITS}
    assert {split: counts[split].total() for split in SPLITS} == {"train": 640, "validation": 160, "test": 200}
    for split in SPLITS:
        assert abs(counts[split][0] - 0.7 * counts[split].total()) <= 1


def test_labels_of_one_row_are_not_all_drawn_nor_left_out(tmp_path: Path) -> None:
    """Sets of labels are often rare: with 60 that stand once, about a fifth test."""
    names = [f"l{n}" for n in range(60)]
    labels = f"labels: {{kind: nominal, names: {json.dumps(names)}}}\n"
    rows = [{"text": f"t{n}", "label": name} for n, name in enumerate(names)] + [
        {"text": f"u{n}", "label": "l0"} for n in range(60)
    ]
    tested = load_examples(task_of(tmp_path, rows, labels=labels), lang="en", split="test")
    assert len(tested) == 24
    assert 5 <= sum(row.label != 0 for row in tested) <= 19


def test_the_validation_share_and_samples_hardly_move(tmp_path: Path) -> None:
    source = (
        "source: {files: {train: all.jsonl, test: all.jsonl}}\nsplits: {validation_share: 0.1}\nsample: {test: {count: 50}}\n"
    )
    before, after = (
        splits_of(task_of(tmp_path / n, rows, source)) for n, rows in (("a", many(200)), ("b", many(4, 999) + many(200)))
    )
    assert not before["train"] & before["validation"]
    assert len(before["train"]) == 180
    assert len(before["validation"] & after["validation"]) >= 18
    assert len(before["test"] & after["test"]) >= 47


@pytest.mark.parametrize("own", [True, False])
def test_the_validation_share_of_a_data_folder_without_validation_rows(tmp_path: Path, own: bool) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = many(200)
    for name, part in {"train": rows[:150], "test": rows[150:], **({"validation": rows[:7]} if own else {})}.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)), encoding="utf-8")
    task = task_of(tmp_path, rows, "source: {files: {all: all.jsonl}}\nsplits: {validation_share: 0.2}\n")
    found = {split: load_examples(task, lang="en", split=split, data_dir=folder) for split in SPLITS}
    assert [len(found[split]) for split in ("train", "validation", "test")] == ([150, 7, 50] if own else [120, 30, 50])
    assert own or not {row.id for row in found["train"]} & {row.id for row in found["validation"]}


def test_the_rows_of_a_limit_stay_when_the_file_grows(tmp_path: Path) -> None:
    source = "source: {files: {test: all.jsonl}}\n"
    before, after = (
        {row.text for row in first_rows(load_examples(task_of(tmp_path / n, rows, source), lang="en", split="test"), 50)}
        for n, rows in (("a", many(200)), ("b", many(10, 999) + many(200)))
    )
    assert len(before & after) >= 45


def test_equal_texts_in_two_splits_have_two_ids(tmp_path: Path) -> None:
    rows = [{"text": "ok", "label": 0, "part": part} for part in ("train", "dev", "test")]
    source = "source: {files: {all: all.jsonl}}\nsplits: {validation: dev}\ncolumns: {split: part}\n"
    task = task_of(tmp_path, rows, source)
    found = [load_examples(task, lang="en", split=split)[0].id for split in SPLITS]
    assert found == [f"{split}-{text_digest('ok')}" for split in SPLITS]


def test_rows_with_an_id_column_keep_their_ids_and_their_splits(tmp_path: Path) -> None:
    """The draw of earlier versions: records of such tasks are on these rows."""
    rows = [{"id": f"r{n:03}", **row} for n, row in enumerate(many(50))]
    task = task_of(tmp_path, rows, STRATIFIED + "columns: {id: id}\n")
    tested = [row.id for row in load_examples(task, lang="en", split="test")]
    assert tested == ["r037", "r015", "r031", "r001", "r028", "r025", "r014", "r020", "r033", "r017"]


# frozen test rows


FROZEN = STRATIFIED.replace("{}", "{test_ids: ids.json}")


def frozen(folder: Path, rows: Rows) -> set[tuple[str, str]]:
    """Writes down the test rows that are drawn; the same as `bench init --freeze-test`."""
    tested = load_examples(task_of(folder, rows), lang="en", split="test")
    (folder / "ids.json").write_text(frozen_text({"en": sorted(row.id for row in tested)}))
    return {(row.id, row.text) for row in tested}


def test_frozen_rows_stay_whatever_is_added(tmp_path: Path) -> None:
    tested = frozen(tmp_path, many(100))
    same = splits_of(task_of(tmp_path, many(100), FROZEN))
    assert same["test"] == tested
    grown = splits_of(task_of(tmp_path, many(400, start=900) + many(100), FROZEN))
    assert grown["test"] == tested
    assert {split: len(rows) for split, rows in grown.items()} == {"train": 400, "validation": 80, "test": 20}
    assert not grown["test"] & (grown["train"] | grown["validation"])


def test_a_frozen_row_that_is_gone_is_an_error(tmp_path: Path) -> None:
    """Its text was corrected, say: it must not become a train row in silence."""
    tested = sorted(text for _, text in frozen(tmp_path, many(100)))
    rows = [{**row, "text": row["text"] + "!"} if row["text"] in tested[:2] else row for row in many(100)]
    with pytest.raises(DataError, match=r"2 of the 20 rows of `test_ids` are gone or have other texts, first 'all-"):
        load_examples(task_of(tmp_path, rows, FROZEN), lang="en", split="train")


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{}", '{"de": []}', '{"en": 3}', '{"en": ["a", "a"]}', '{"en": [1]}', "[" * 9999]
)
def test_a_file_of_test_ids_that_is_none_is_named(tmp_path: Path, content: str | None) -> None:
    task = task_of(tmp_path, many(100), FROZEN)
    if content is not None:
        (tmp_path / "ids.json").write_text(content)
    with pytest.raises(DataError, match=r"ids\.json"):
        load_examples(task, lang="en", split="test")


def test_other_data_have_no_frozen_rows(tmp_path: Path) -> None:
    frozen(tmp_path, many(100))
    task = task_of(tmp_path, many(100), FROZEN)
    task_of(tmp_path / "other", many(50, start=500), file="train.jsonl")
    assert len(load_examples(task, lang="en", split="test", data_dir=tmp_path / "other")) == 10
