"""What `bench init` sees in folders: files of splits, and of languages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tables import SENTENCES, english, labelled, seen, written

from harness.core.errors import UserError
from harness.data.guess.columns import ColumnOverrides
from harness.data.guess.files import ReadOptions
from harness.data.guess.inspect_file import InitRequest, inspect_file
from harness.data.guess.task_yaml import task_yaml
from harness.data.rows import load_examples
from harness.specs.tasks import TaskSpec
from harness.specs.yamlspec import parse_yaml_spec


def test_a_folder_of_splits(tmp_path: Path) -> None:
    for name, start, count in (("train", 0, 100), ("reviews-dev", 100, 20), ("test", 120, 30)):
        rows = [[english(start + row), ["art", "work"][row % 2]] for row in range(count)]
        written(tmp_path / "mine" / f"{name}.csv", ["text", "label"], rows)
    found = seen(tmp_path / "mine")
    assert found.counted.rows == {"train": {"en": 100}, "validation": {"en": 20}, "test": {"en": 30}}


def test_a_folder_whose_test_file_has_no_labels(tmp_path: Path) -> None:
    written(
        tmp_path / "kaggle" / "train.csv", ["text", "label"], [[english(row), ["art", "work"][row % 2]] for row in range(100)]
    )
    written(tmp_path / "kaggle" / "test.csv", ["text"], [[english(row)] for row in range(50)])
    with pytest.raises(UserError, match="single column"):
        inspect_file(InitRequest(tmp_path / "kaggle" / "test.csv"))
    written(tmp_path / "kaggle" / "test.csv", ["id", "text"], [[row, english(row)] for row in range(50)])
    found = seen(tmp_path / "kaggle")
    assert found.division.stratified
    assert any("test.csv is left out" in note for note in found.notes)


@pytest.mark.parametrize(
    ("form", "header", "encoding", "way"),
    [
        ({"delimiter": ";"}, ["text", "label"], "utf-8", "fields divided by ';'"),
        ({}, ["text", "label"], "cp1252", "in cp1252"),
        ({}, None, "utf-8", "no header"),
    ],
)
def test_files_of_a_folder_that_are_written_in_different_ways(
    tmp_path: Path, form: dict[str, str], header: list[str] | None, encoding: str, way: str
) -> None:
    other = written(tmp_path / "mine" / "test.csv", header, labelled(100, 30, ", café"), encoding, **form)
    written(tmp_path / "mine" / "train.csv", ["text", "label"], labelled(0, 100, ", é"))
    with pytest.raises(UserError, match=r"test.csv is written in another way than train.csv") as error:
        seen(tmp_path / "mine")
    assert way in str(error.value)
    written(other, ["text", "label"], labelled(100, 30, ", café"))
    assert seen(tmp_path / "mine").counted.rows["test"] == {"en": 30}


def test_a_file_of_a_folder_that_can_not_be_read_at_all_is_named(tmp_path: Path) -> None:
    written(tmp_path / "mine" / "train.csv", ["text", "label"], labelled(0, 100))
    (tmp_path / "mine" / "test.csv").write_text("text,label\none,two,three,four\na\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"test\.csv"):
        seen(tmp_path / "mine")


def in_language(code: str, start: int, count: int) -> list[list[str]]:
    texts = [english(start + row) if code == "en" else f"{SENTENCES[code]} {start + row}" for row in range(count)]
    return [[text, ["art", "work"][row % 2]] for row, text in enumerate(texts)]


def by_language(
    folder: Path, path: str, codes: tuple[str, ...], splits: tuple[str, ...], spelled: dict[str, str] | None = None
) -> Path:
    for place, code in enumerate(codes):
        for number, split in enumerate(splits):
            rows = in_language(code, 100 * number, 40 - 10 * place)
            written(folder / path.format(lang=(spelled or {}).get(code, code), split=split), ["text", "label"], rows)
    return folder


@pytest.mark.parametrize(
    "path",
    [
        "{lang}/{split}.csv",
        "{split}/{lang}.csv",
        "reviews_{lang}.{split}.csv",
        "{split}-{lang}.csv",
        "{lang}/{lang}-{split}.csv",
    ],
)
def test_paths_tell_the_language(tmp_path: Path, path: str) -> None:
    found = seen(by_language(tmp_path / "mine", path, ("de", "en", "ja"), ("train", "dev", "test")))
    assert found.languages.rows == {"de": 120, "en": 90, "ja": 60}
    assert found.counted.rows["test"] == {"de": 40, "en": 30, "ja": 20}
    named = {split: file.relative_to(tmp_path / "mine").as_posix() for split, file in found.opened.files.items()}
    words = {"train": "train", "validation": "dev", "test": "test"}
    assert named == {split: path.replace("{split}", word) for split, word in words.items()}


@pytest.mark.parametrize(
    "spelled",
    [
        {"de": "German", "en": "english", "zh": "CHINESE"},
        {"de": "ger", "en": "eng", "zh": "zho"},
        {"de": "deu_Latn", "en": "eng_Latn", "zh": "zho_Hans"},
        {"de": "de-AT", "en": "en-US", "zh": "zh-Hant-TW"},
        {"de": "de_de", "en": "en", "zh": "zh_cn"},
        {"de": "DE", "en": "EN", "zh": "ZH"},
    ],
    ids=lambda spelled: spelled["zh"],
)
@pytest.mark.parametrize("path", ["{lang}/{split}.csv", "reviews_{lang}_{split}.csv", "{split}/{lang}.csv"])
def test_a_language_in_a_path_is_named_by_its_code(tmp_path: Path, path: str, spelled: dict[str, str]) -> None:
    found = seen(by_language(tmp_path / "mine", path, ("de", "en", "zh"), ("train", "dev", "test"), spelled))
    assert found.languages.rows == {"de": 120, "en": 90, "zh": 60}
    text = task_yaml(found, "mine", tmp_path / "tasks")
    task = parse_yaml_spec(text, tmp_path / "tasks" / "mine.yaml", TaskSpec, name="mine", folder=tmp_path / "tasks")
    assert task.languages == ["de", "en", "zh"]
    assert task.source.files is not None
    assert task.source.files.lang_map == {spelling: code for code, spelling in spelled.items() if code != spelling}
    (tmp_path / "tasks").mkdir()
    rows = load_examples(task, lang="de", split="test")
    assert {row.lang for row in rows} == {"de"}
    assert [row.text for row in rows] == [text for text, _ in in_language("de", 200, 40)]


def test_one_language_in_two_regions_stays_two(tmp_path: Path) -> None:
    folder = by_language(tmp_path / "mine", "{lang}.csv", ("en", "zh"), ("",), {"zh": "zh-CN", "en": "en-GB"})
    written(folder / "zh-TW.csv", ["text", "label"], in_language("zh", 100, 30))
    found = seen(folder)
    assert found.languages.rows == {"en": 40, "zh-CN": 30, "zh-TW": 30}
    assert "lang_map: {en-GB: en}  #" in task_yaml(found, "mine", tmp_path)
    (folder / "zh-TW.csv").unlink()
    assert seen(folder).languages.rows == {"en": 40, "zh": 30}


def test_a_region_that_all_languages_share_is_part_of_the_language(tmp_path: Path) -> None:
    folder = by_language(tmp_path / "mine", "{lang}.csv", ("en", "de"), ("",), {"en": "en-CH", "de": "de-CH"})
    assert seen(folder).opened.files == {"all": folder / "{lang}.csv"}


@pytest.mark.parametrize("names", [("it", "hr"), ("mar", "may"), ("polish", "thai"), ("is", "no")])
def test_names_of_languages_that_mean_something_else(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        for split in ("train", "test"):
            written(tmp_path / "mine" / name / f"{split}.csv", ["text", "label"], in_language("en", 0, 60))
    with pytest.raises(UserError, match=r"seem to name languages \(.*, .*\), but the texts look like en"):
        seen(tmp_path / "mine")


@pytest.mark.parametrize("names", [("main", "new"), ("old", "big"), ("or-no", "To"), ("data", "man")])
def test_other_names_of_folders_name_no_language(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        for split in ("train", "test"):
            written(tmp_path / "mine" / name / f"{split}.csv", ["text", "label"], in_language("en", 0, 60))
    with pytest.raises(UserError, match="look like test rows"):
        seen(tmp_path / "mine")


def test_a_file_of_each_language_is_divided_by_bench(tmp_path: Path) -> None:
    found = seen(by_language(tmp_path / "mine", "{lang}.csv", ("de", "en"), ("",)))
    assert found.opened.files == {"all": tmp_path / "mine" / "{lang}.csv"}
    assert found.division.stratified
    assert found.counted.rows["train"] == {"de": 26, "en": 19}


def test_words_that_are_languages_or_splits(tmp_path: Path) -> None:
    """`tr` is Turkish in a folder of languages, and means train rows beside `te`."""
    folder = by_language(tmp_path / "languages", "{split}/{lang}.csv", ("en", "ko"), ("train", "test"))
    for split in ("train", "test"):
        written(folder / split / "tr.csv", ["text", "label"], in_language("ko", 100, 60))
    found = seen(folder)
    assert found.languages.rows == {"tr": 120, "en": 80, "ko": 60}
    assert "language-texts" in [doubt.kind for doubt in found.doubts]
    found = seen(by_language(tmp_path / "splits", "{lang}/{split}.csv", ("en", "ko"), ("tr", "te")))
    assert found.counted.rows["test"] == {"en": 40, "ko": 30}


def test_files_that_are_left_alone_are_named(tmp_path: Path) -> None:
    folder = by_language(tmp_path / "mine", "{lang}/{split}.csv", ("de", "en"), ("train", "test"))
    written(folder / "de" / "notes.csv", ["a"], [["b"]])
    (folder / "README.md").write_text("No rows here.", encoding="utf-8")
    assert seen(folder).notes[0] == "Other files are left alone: de/notes.csv."
    written(folder / "train.csv", ["text", "label"], labelled(0, 100))
    written(folder / "old.csv", ["a"], [["b"]])
    assert seen(folder).notes[0] == "Other files are left alone: old.csv."


def test_languages_that_lack_a_split_are_left_out_and_splits_that_few_have(tmp_path: Path) -> None:
    folder = by_language(tmp_path / "mine", "{lang}/{split}.csv", ("de", "en", "ja"), ("train", "test"))
    (folder / "ja" / "test.csv").unlink()
    written(folder / "en" / "dev.csv", ["text", "label"], in_language("en", 900, 20))
    found = seen(folder)
    assert list(found.languages.rows) == ["de", "en"]
    assert "ja is left out: it lacks test rows that can be used." in found.notes
    written(folder / "ja" / "test.csv", ["id", "text"], [["1", SENTENCES["ja"]]])
    notes = seen(folder).notes
    assert any(note.startswith("ja/test.csv is left out: it lacks the column") for note in notes)
    assert "ja is left out: it lacks test rows that can be used." in notes


def test_one_language_in_a_name_is_no_choice_of_languages(tmp_path: Path) -> None:
    for split in ("train", "test"):
        written(tmp_path / "mine" / f"{split}_en.csv", ["text", "label"], labelled(0, 100))
        written(tmp_path / "mine" / "old" / f"{split}.csv", ["text", "label"], labelled(0, 100))
    assert seen(tmp_path / "mine").opened.langs is None


def test_what_the_paths_tell_no_column_tells(tmp_path: Path) -> None:
    """A column of splits in files of splits says nothing new, and may hold one value only."""
    folder = tmp_path / "mine"
    for code in ("de", "en"):
        for split in ("train", "test"):
            rows = [[*row, split, code] for row in in_language(code, 0, 60)]
            written(folder / code / f"{split}.csv", ["text", "label", "split", "lang"], rows)
    found = seen(folder)
    assert (found.roles.split, found.roles.lang, found.division.column) == (None, None, None)
    with pytest.raises(UserError, match="paths tell the language"):
        seen(folder, lang="lang")
    with pytest.raises(UserError, match="files tell which rows train"):
        seen(folder, chosen=ColumnOverrides((), (), None, None, "split"))


@pytest.mark.parametrize("read_options", [ReadOptions(sheet="a"), ReadOptions(delimiter=";"), ReadOptions(header=False)])
def test_formats_of_csv_are_refused_for_other_files(tmp_path: Path, read_options: ReadOptions) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in labelled(0, 60)), encoding="utf-8"
    )
    with pytest.raises(UserError, match="is said of"):
        seen(path, read_options=read_options)
