"""Cells that a task's YAML says how to read: languages by other names, a column of splits, several labels, CSV of all sorts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.core.errors import DataError, SpecError
from harness.data.rows import load_examples
from harness.specs.tasks import TaskSpec, load_task

BASE: dict[str, Any] = {
    "description": "d",
    "source": {"files": {"all": "rows.csv"}},
    "labels": {"kind": "nominal", "names": ["a", "b"]},
    "languages": ["en"],
}


def task(folder: Path, rows: str, encoding: str = "utf-8", **changed: Any) -> TaskSpec:
    (folder / "rows.csv").write_bytes(rows.encode(encoding))
    (folder / "t.yaml").write_text(yaml.safe_dump({**BASE, **changed}), encoding="utf-8")
    return load_task(folder / "t.yaml")


def read(spec: TaskSpec, split: str = "test", lang: str = "en") -> list[tuple[str, Any]]:
    return [(row.text, row.label) for row in load_examples(spec, lang=lang, split=split)]


def test_a_column_of_splits_and_languages_by_other_names(tmp_path: Path) -> None:
    rows = "text,label,lang,split\none,a,English,train\ntwo,b,English,held\ndrei,b,de_DE,held\n"
    columns = {"lang": "lang", "lang_map": {"English": "en", "de_DE": "de"}, "split": "split"}
    spec = task(tmp_path, rows, columns=columns, splits={"test": "held"}, languages=["en", "de"])
    assert read(spec) == [("two", 1)]
    assert read(spec, lang="de") == [("drei", 1)]
    assert read(spec, "train") == [("one", 0)]
    with pytest.raises(DataError, match="no row has 'validation' in the column 'split'; found there: held, train"):
        read(spec, "validation")


def test_validation_rows_are_set_aside(tmp_path: Path) -> None:
    rows = "text,label,split\n" + "".join(f"t{row},{'ab'[row % 2]},{'train' if row < 40 else 'test'}\n" for row in range(50))
    spec = task(tmp_path, rows, columns={"split": "split"}, splits={"validation_share": 0.25})
    parts = {split: {text for text, _ in read(spec, split)} for split in ("train", "validation", "test")}
    assert [len(parts[split]) for split in parts] == [30, 10, 10]
    assert len(set.union(*parts.values())) == 50
    assert sum(label for _, label in read(spec, "validation")) == 5  # as many of each label as in train


def test_too_few_rows_to_set_some_aside_are_refused_with_a_way_out(tmp_path: Path) -> None:
    spec = task(
        tmp_path, "text,label,split\none,a,train\ntwo,b,train\n", columns={"split": "split"}, splits={"validation_share": 0.1}
    )
    with pytest.raises(DataError, match="2 train rows are too few") as caught:
        read(spec, "train")
    assert caught.value.hint


def test_several_labels_in_a_cell_or_in_columns(tmp_path: Path) -> None:
    labels = {"kind": "multilabel", "names": ["a", "b"]}
    rows = "text,label,split\none,a|b,test\ntwo,,test\nthree,\"['b']\",test\n"
    spec = task(tmp_path, rows, columns={"split": "split"}, labels={**labels, "separator": "|"})
    assert read(spec) == [("one", (0, 1)), ("two", ()), ("three", (1,))]
    rows = "text,x,y,split\none,1,1,test\ntwo,0,0.0,test\nthree,false,True,test\n"
    spec = task(tmp_path, rows, columns={"label": ["x", "y"], "split": "split"}, labels=labels)
    assert read(spec) == [("one", (0, 1)), ("two", ()), ("three", (1,))]
    spec = task(tmp_path, rows.replace("1,1", "1,2"), columns={"label": ["x", "y"], "split": "split"}, labels=labels)
    with pytest.raises(DataError, match="'y' holds '2', which is neither 0 nor 1"):
        read(spec)


def test_rows_without_a_label_are_left_out_where_the_task_says_so(tmp_path: Path) -> None:
    rows = "text,label,split\none,a,test\ntwo, ,test\n"
    assert read(task(tmp_path, rows, columns={"split": "split"}, drop_empty_label=True)) == [("one", 0)]
    with pytest.raises(DataError, match="is none of"):
        read(task(tmp_path, rows, columns={"split": "split"}))


def test_how_a_csv_is_written(tmp_path: Path) -> None:
    form = {"delimiter": ";", "encoding": "cp1252", "escape": "\\", "header": ["text", "label", "split"]}
    source = {"files": {"all": "rows.csv", "csv": form}}
    spec = task(tmp_path, '"caf\\"é; oui";a;test\n', "cp1252", source=source, columns={"split": "split"})
    assert read(spec) == [('caf"é; oui', 0)]
    source = {"files": {"all": "rows.csv", "csv": {"quoted": False}}}
    assert read(task(tmp_path, 'text,label,split\n"no" end,a,test\n', source=source, columns={"split": "split"})) == [
        ('"no" end', 0)
    ]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"columns": {"lang_map": {"x": "en"}}}, "lang_map"),
        ({"columns": {"split": "split"}, "splits": {"stratified": {}}}, "columns.split"),
        ({"columns": {"label": ["x", "y"]}}, "several columns of labels"),
        ({"labels": {"kind": "nominal", "names": ["a", "b"], "separator": "|"}}, "separator"),
        ({"labels": {"kind": "multilabel", "separator": "|"}}, "needs `names`"),
        ({"source": {"files": {"all": "rows.csv", "csv": {"encoding": "utf-99"}}}}, "not a text encoding"),
        ({"splits": {"stratified": {}, "validation_share": 0.1}}, "not both"),
    ],
)
def test_what_can_not_be_meant_is_refused(tmp_path: Path, changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        task(tmp_path, "", **changed)
