"""Labels that are merged, one-hot, or taken from the rows of a folder that the command names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import DataError
from harness.data.rows import fingerprint, label_index, load_examples, with_names
from harness.specs.tasks import TaskSpec, load_task

TASKS = Path(__file__).resolve().parents[3] / "tasks"
MERGED = "{kind: ordinal, names: [bad, fair, good], first: 1, merge: {low: [bad, fair], high: [good]}}"


def task_with(folder: Path, labels: str, languages: str = "[en]", columns: str = "{}") -> TaskSpec:
    path = folder / "mine.yaml"
    source = "{folder: rows}" if languages == "[en]" else '{folder: "rows/{lang}"}'
    path.write_text(
        f"description: d\nsource: {{files: {source}}}\nlabels: {labels}\nlanguages: {languages}\ncolumns: {columns}\n"
    )
    return load_task(path)


def write(folder: Path, labels: list[Any], split: str = "train", **more: Any) -> Path:
    """Rows with these labels; with `lang` they are canonical."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"id": f"{split}{n}", "text": f"t{n}", "label": label, **more} for n, label in enumerate(labels)]
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def labels_of(task: TaskSpec, data_dir: Path | None = None, split: str = "train", lang: str = "en") -> list[Any]:
    return [row.label for row in load_examples(task, lang=lang, split=split, data_dir=data_dir)]


# merge


def test_merged_labels_of_the_task_s_own_rows(tmp_path: Path) -> None:
    task = task_with(tmp_path, MERGED)
    write(tmp_path / "rows", [1, 2, 3, "bad", "good"])
    assert labels_of(task) == [0, 0, 1, 0, 1]


def test_merged_labels_of_canonical_rows(tmp_path: Path) -> None:
    """Indices count `names`, whatever `first` says; names are of either kind."""
    task = task_with(tmp_path, MERGED)
    data = write(tmp_path / "data", [0, 1, 2, "fair", "good", "low", "high"], lang="en")
    assert labels_of(task, data) == [0, 0, 1, 0, 1, 0, 1]
    write(tmp_path / "data", [3], lang="en")
    with pytest.raises(DataError, match="label 3"):
        labels_of(task, data)


def test_merge_goes_with_map(tmp_path: Path) -> None:
    labels = "{kind: nominal, names: [a, b, c], map: {x: a, y: 1, z: c}, merge: {ends: [a, c], b: [b]}}"
    assert label_index(task_with(tmp_path, labels).labels) == {"x": 0, "y": 1, "z": 0}


def test_merged_multilabel_rows_name_a_label_once(tmp_path: Path) -> None:
    task = task_with(tmp_path, "{kind: multilabel, names: [a, b, c], merge: {ends: [a, c], b: [b]}}")
    write(tmp_path / "rows", [["a", "c"], ["c", "b"], []])
    assert labels_of(task) == [(0,), (0, 1), ()]


def test_three_classes_are_the_same_rows_as_five() -> None:
    five, three = (load_task(TASKS / f"reviews_demo{end}.yaml") for end in ("", "_3"))
    rows = [load_examples(task, lang="ja", split="test") for task in (five, three)]
    assert [row.id for row in rows[0]] == [row.id for row in rows[1]]
    assert [(0, 0, 1, 2, 2)[row.label] for row in rows[0] if isinstance(row.label, int)] == [row.label for row in rows[1]]


# one-hot


def test_one_hot_rows_have_one_label_each() -> None:
    stars, one_hot = (load_task(TASKS / f"reviews_demo{end}.yaml") for end in ("", "_one_hot"))
    rows = [load_examples(task, lang="zh", split="train") for task in (stars, one_hot)]
    assert [(row.label,) for row in rows[0]] == [row.label for row in rows[1]]


def test_one_hot_rows_of_a_folder(tmp_path: Path) -> None:
    data = write(tmp_path, [0, 4, 2], lang="zh")
    assert labels_of(
        load_task(TASKS / "douban_one_hot.yaml"),
        write(write(data, [1], "validation", lang="zh"), [3], "test", lang="zh"),
        lang="zh",
    ) == [
        (0,),
        (4,),
        (2,),
    ]


# names from the rows


def columnar(folder: Path, labels: list[Any], split: str = "train") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}.json").write_text(json.dumps({"Text": [f"t{n}" for n in range(len(labels))], "Labels": labels}))


def test_names_are_those_of_every_language_that_has_a_folder(tmp_path: Path) -> None:
    task = load_task(TASKS / "choosing.yaml")
    columnar(tmp_path / "en", ["tea", "milk"])
    columnar(tmp_path / "ja", ["coffee"])
    columnar(tmp_path / "ja", ["tea", "milk"], "test")
    assert with_names(task, tmp_path).label_space.names == ("coffee", "milk", "tea")
    assert labels_of(task, tmp_path) == [2, 1]
    assert labels_of(task, tmp_path, "test", "ja") == [2, 1]
    assert labels_of(with_names(task, tmp_path), tmp_path) == [2, 1]


def test_several_names_a_row(tmp_path: Path) -> None:
    columnar(tmp_path / "fr", [["b", "a"], [], "c"])
    assert labels_of(load_task(TASKS / "deciding.yaml"), tmp_path, lang="fr") == [(0, 1), (), (2,)]


def test_numbers_of_canonical_rows_are_names_in_their_order(tmp_path: Path) -> None:
    task = task_with(tmp_path, "{kind: nominal}")
    data = write(tmp_path / "data", [10, 9, 2, 9], lang="en")
    assert with_names(task, data).label_space.names == ("2", "9", "10")
    assert labels_of(task, data) == [2, 1, 0, 1]
    write(data, [0], "test", lang="en")  # no index of a name
    with pytest.raises(DataError, match=r"(?s)label 0 .*Allowed: 2, 9, 10\. These are the labels of the train split"):
        labels_of(task, data, "test")
    assert labels_of(task, write(data, [2.0], "test", lang="en"), "test") == [0]


def test_numbers_and_words_are_sorted_as_words(tmp_path: Path) -> None:
    data = write(tmp_path / "data", [10, 9, "x"], lang="en")
    assert with_names(task_with(tmp_path, "{kind: nominal}"), data).label_space.names == ("10", "9", "x")


def test_a_number_in_the_task_s_own_columns_is_no_name(tmp_path: Path) -> None:
    task = task_with(tmp_path, "{kind: nominal}")
    for where in (None, tmp_path / "rows"):
        write(tmp_path / "rows", ["a", 1])
        with pytest.raises(DataError, match="row 2 is 1, not a name"):
            with_names(task, where)
    write(tmp_path / "rows", ["a", None], lang="en")
    with pytest.raises(DataError, match="row 2 is None, not a name"):
        with_names(task, tmp_path / "rows")


def test_one_file_holds_all_languages(tmp_path: Path) -> None:
    task = load_task(TASKS / "choosing.yaml")
    rows = [
        {"id": f"{lang}{n}", "text": "t", "label": n, "lang": lang}
        for lang, count in (("en", 1), ("de", 3))
        for n in range(count)
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert with_names(task, tmp_path).label_space.names == ("0", "1", "2")
    assert labels_of(task, tmp_path, lang="de") == [0, 1, 2]


def test_a_folder_that_is_not_there_leads_to_data(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_examples(load_task(TASKS / "choosing.yaml"), lang="en", split="test")
    assert "The task 'choosing' reads the folder" in caught.value.message
    assert "--data DIR" in caught.value.hint
    (tmp_path / "rows" / "de").mkdir(parents=True)
    with pytest.raises(DataError, match="has no train file"):
        with_names(task_with(tmp_path, "{kind: nominal}", "[en, de]"))


def test_the_fingerprints_of_the_bundled_rows_stay() -> None:
    """Records are found by them."""
    task = load_task(TASKS / "reviews_demo.yaml")
    assert fingerprint(load_examples(task, lang="en", split="test"))[:16] == "5da810bec643ce54"
