"""Rows to label, as a file holds them and as the task describes its text."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import DataError, UserError
from harness.core.types import NO_LABEL
from harness.data.unlabelled import rows_of_file
from harness.specs.tasks import TaskSpec, load_task

TASK = """\
description: d
source: {files: {train: t.csv, validation: t.csv, test: t.csv, csv: {delimiter: ";"}}}
columns: {text: [title, body], lang: tongue, lang_map: {english: en, german: de}}
labels: {kind: nominal, names: [a, b]}
languages: [en, de]
"""


@pytest.fixture
def task(tmp_path: Path) -> TaskSpec:
    path = tmp_path / "t.yaml"
    path.write_text(TASK)
    return load_task(path)


def written(folder: Path, text: str, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_of_the_task_are_joined_and_rows_of_other_languages_left_out(task: TaskSpec, tmp_path: Path) -> None:
    path = written(tmp_path, "n;title;body;tongue\n1;Good;A lid;english\n2;Gut;Ein Deckel;german\n3;;;english\n4;;B;english\n")
    found = rows_of_file(path, task, "en", [])
    assert [row and (row.text, row.lang, row.label) for row in found.examples] == [
        ("Good\nA lid", "en", NO_LABEL),
        None,
        ("B", "en", NO_LABEL),
    ]
    assert found.columns["n"] == ["1", "3", "4"]
    assert found.other_languages == 1
    assert len(found.with_text()) == 2


def test_another_dialect_and_another_column_are_read(task: TaskSpec, tmp_path: Path) -> None:
    path = written(tmp_path, "n,review\n1,good; really\n2,bad\n")
    found = rows_of_file(path, task, "de", ["review"])
    assert [row.text for row in found.with_text()] == ["good; really", "bad"]


def test_ids_depend_on_texts_and_not_on_places(task: TaskSpec, tmp_path: Path) -> None:
    one = rows_of_file(written(tmp_path, '{"x": "a"}\n{"x": "b"}\n{"x": "a"}\n', "1.jsonl"), task, "en", ["x"])
    other = rows_of_file(written(tmp_path, '{"x": "b"}\n{"x": "a"}\n{"x": "a"}\n', "2.jsonl"), task, "en", ["x"])
    assert {(row.id, row.text) for row in one.with_text()} == {(row.id, row.text) for row in other.with_text()}
    assert len({row.id for row in one.with_text()}) == 3


def test_what_is_wrong_with_a_file(task: TaskSpec, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        rows_of_file(tmp_path / "nothing.csv", task, "en", [])
    path = written(tmp_path, "title;body;tongue\nA;B;german\n")
    with pytest.raises(UserError, match="no column 'text'; its columns: title, body, tongue") as raised:
        rows_of_file(path, task, "en", ["text"])
    assert "--text" in raised.value.hint
    with pytest.raises(DataError, match="no rows in 'en'"):
        rows_of_file(path, task, "en", [])
    with pytest.raises(DataError, match="no row has a text"):
        rows_of_file(written(tmp_path, "title;body\n;\n;\n", "empty.csv"), task, "en", [])
