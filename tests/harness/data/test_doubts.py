"""Which doubts `bench init` has of its guesses, by kind; and that what it writes is read as it was counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import english, seen, written

from harness.core.errors import UserError
from harness.core.types import LabelKind
from harness.data.guess.inspect_file import Found
from harness.data.guess.task_yaml import task_yaml
from harness.data.label_table import label_table
from harness.data.rows import load_examples
from harness.parsing.signs import is_blank, one_edit_apart, skeleton, spelling_key
from harness.specs.tasks import SPLITS, TaskSpec
from harness.specs.yamlspec import parse_yaml_spec

Cell = Callable[[int], Any]


def kinds(found: Found) -> set[str]:
    return {doubt.kind for doubt in found.doubts}


def split_of(row: int) -> str:
    return ["train", "train", "train", "validation", "test"][row // 2 % 5]


def table(tmp_path: Path, label: Cell | Sequence[Any], text: Cell = english, count: int = 200, **more: Cell) -> Path:
    """A CSV of texts and labels, with further columns; each of them a function of the row's number."""
    make = label if callable(label) else lambda row: label[row % len(label)]
    rows = [[text(row), make(row), *(one(row) for one in more.values())] for row in range(count)]
    return written(tmp_path / "notes.csv", ["text", "label", *more], rows)


def jsonl(path: Path, labels: Sequence[Any], count: int = 120) -> Path:
    rows = [{"text": english(row), "tags": labels[row % len(labels)]} for row in range(count)]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def read_back(found: Found, tmp_path: Path) -> dict[str, int]:
    """Label -> rows, over all splits, as a run reads them with the task that init writes."""
    path = tmp_path / "task.yaml"
    spec = parse_yaml_spec(task_yaml(found, "task", tmp_path), path, TaskSpec, name="task", folder=tmp_path)
    names = spec.label_space.names
    counts = dict.fromkeys(names, 0)
    for lang in spec.languages:
        for split in SPLITS:
            for row in load_examples(spec, lang=lang, split=split):
                for place in row.label if isinstance(row.label, tuple) else (row.label,):
                    counts[names[place]] += 1
    return counts


def by_split(**cells: Sequence[Any]) -> Cell:
    """A label by the split of its row."""
    return lambda row: cells[split_of(row)][row % len(cells[split_of(row)])]


ART = ("art", "work")
DOUBTED: list[tuple[str, Cell | Sequence[Any], dict[str, Any], str, list[str]]] = [
    # what, label of a row, further columns or options, kind of the doubt, labels
    ("test rows say -1", by_split(train=(0, 1), validation=(0, 1), test=("-1",)), {"split": split_of}, "hidden-labels",
     ["0", "1"]),
    ("test rows say ?", by_split(train=ART, validation=ART, test=("?",)), {"split": split_of}, "hidden-labels",
     [*ART]),
    ("test rows say UNK", by_split(train=ART, validation=ART, test=("UNK",)), {"split": split_of}, "validation-is-test",
     [*ART]),
    ("test rows are empty", by_split(train=ART, validation=ART, test=("",)), {"split": split_of}, "validation-is-test",
     [*ART]),
    ("hidden in a part", by_split(train=ART, validation=ART, test=("art", "hidden")), {"split": split_of}, "hidden-labels",
     [*ART]),
    ("no train row", by_split(train=ART, validation=ART, test=("art", "food")), {"split": split_of}, "unseen-test-labels",
     ["art", "food", "work"]),
    ("no validation label", by_split(train=ART, validation=("food",), test=ART), {"split": split_of},
     "unseen-validation-labels", ["art", "food", "work"]),
    ("other words", by_split(train=("neg", "pos"), validation=("neg", "pos"), test=("Negative", "Positive")),
     {"split": split_of}, "unseen-test-labels", ["Negative", "Positive", "neg", "pos"]),
    ("no test row", by_split(train=("art", "work", "food"), validation=ART, test=ART), {"split": split_of}, "untested-labels",
     ["art", "food", "work"]),
    ("one class", by_split(train=ART, validation=ART, test=("art",)), {"split": split_of}, "one-class-split", [*ART]),
    ("an unknown split", ART, {"split": lambda row: "unused" if row % 5 == 0 else split_of(row)}, "split-word", [*ART]),
    ("a split by another name", ART, {"part": lambda row: "extra" if row % 9 == 0 else split_of(row)}, "split-word", [*ART]),
    ("folds", ART, {"split": lambda row: row // 2 % 5}, "split-unused", [*ART]),
    ("empty cells of the split", ART, {"split": lambda row: "" if row % 5 == 0 else split_of(row)}, "split-word", [*ART]),
    ("a flag of the test", ART, {"is_test": lambda row: row // 2 % 2}, "split-unused", [*ART]),
    ("train and others", ART, {"part": lambda row: ["train", "other"][row // 2 % 2]}, "split-unused", [*ART]),
    ("a number outside", by_split(train=(0, 1), validation=(0, 1), test=(99,)), {"split": split_of}, "hidden-labels",
     ["0", "1"]),
    ("in words", by_split(train=ART, validation=ART, test=("unknown label",)), {"split": split_of}, "hidden-labels", [*ART]),
    ("one dominates", lambda row: "work" if row % 40 == 0 else "art", {}, "imbalance", [*ART]),
    ("few rows", lambda row: "food" if row < 4 else ART[row % 2], {}, "rare-labels", ["art", "food", "work"]),
    ("a placeholder", ["art", "work", "NA"], {}, "placeholder", ["NA", "art", "work"]),
    ("zero width", ["red", "red\u200b", "blue"], {}, "spelling", ["blue", "red"]),
    ("mark in front", ["red", "\ufeffred", "blue"], {}, "spelling", ["blue", "red"]),
    ("hyphens", ["non-toxic", "non\u2011toxic", "toxic"], {}, "spelling", ["non-toxic", "toxic"]),
    ("a minus", ["non-toxic", "non\u2212toxic", "toxic"], {}, "spelling", ["non-toxic", "toxic"]),
    ("apostrophes", ["don't know", "don\u2019t know", "sure"], {}, "spelling", ["don't know", "sure"]),
    ("composition", ["café", "cafe\u0301", "bar"], {}, "spelling", ["bar", "café"]),
    ("full width", ["red", "ｒｅｄ", "blue"], {}, "spelling", ["blue", "red"]),
    ("the dotted i", ["iyi", "İyi", "kötü"], {}, "spelling", ["iyi", "kötü"]),
    ("the dotless i", ["hayır", "HAYIR", "evet"], {}, "spelling", ["evet", "hayır"]),
    ("points", ["1", "1.0", "0"], {}, "spelling", ["0", "1"]),
    ("a full stop", ["green", "green.", "blue"], {}, "alike-labels", ["blue", "green", "green."]),
    ("Cyrillic", ["cat", "сат", "dog"], {}, "alike-labels", ["cat", "dog", "сат"]),
    ("Arabic and Persian ya", ["علي", "علی", "حسن"], {}, "alike-labels", ["حسن", "علي", "علی"]),
    ("spaces", ["very  good", "very good", "so so"], {}, "spelling", ["so so", "very good"]),
    ("a typo", ["happy", "hapy", "positive", "positve"], {}, "alike-labels", ["happy", "hapy", "positive", "positve"]),
    ("plural", ["bug", "bugs", "question"], {}, "alike-labels", ["bug", "bugs", "question"]),
    ("abbreviated", ["neg", "negative", "pos"], {}, "alike-labels", ["neg", "negative", "pos"]),
    ("slashes", ["late / broken", "late", "broken", "cheap / late"], {}, "separator",
     ["broken", "cheap / late", "late", "late / broken"]),
    ("one cell of two", ["a/b", "a", "b"], {}, "separator", ["a", "a/b", "b"]),
    ("underscores", ["joy_anger", "joy", "anger"], {}, "separator", ["anger", "joy", "joy_anger"]),
    ("tabs", ["joy\tanger", "joy", "anger"], {}, "separator", ["anger", "joy", "joy anger"]),
    ("plus", ["late+broken", "late", "broken", "cheap+late"], {}, "separator", ["broken", "cheap+late", "late", "late+broken"]),
    ("ampersand", ["art & work", "art", "work", "work & art"], {}, "separator", ["art", "art & work", "work", "work & art"]),
    ("and", ["art and work", "art", "work", "work and art"], {}, "separator",
     ["art", "art and work", "work", "work and art"]),
    ("CJK", ["红、蓝", "红", "蓝", "绿、红"], {}, "separator", ["红", "红、蓝", "绿、红", "蓝"]),
    ("a hierarchy", ["home > bed", "home > bath", "sport > ball"], {}, "separator",
     ["home > bath", "home > bed", "sport > ball"]),
    ("new lines", ["late\nbroken", "late", "broken", "cheap\nlate", "cheap"], {}, "separator", ["broken", "cheap", "late"]),
    ("commas in names", ["Home, Kitchen", "Home, Garden", "Books", "Garden, Kitchen"], {}, "separator",
     ["Books", "Garden", "Home", "Kitchen"]),
]  # fmt: skip


@pytest.mark.parametrize(("label", "more", "kind", "names"), [case[1:] for case in DOUBTED], ids=[case[0] for case in DOUBTED])
def test_doubted_and_read_as_counted(
    tmp_path: Path, label: Cell | Sequence[Any], more: dict[str, Cell], kind: str, names: list[str]
) -> None:
    found = seen(table(tmp_path, label, **more), lang="en")
    assert kind in kinds(found)
    assert sorted(found.labels.names) == sorted(names)
    assert read_back(found, tmp_path) == found.labels.rows


NOT_DOUBTED: list[tuple[str, Sequence[Any], str]] = [
    ("other words", ["art", "work", "food"], "alike-labels"),
    ("a letter in front", ["moral", "amoral"], "alike-labels"),
    ("signs that tell apart", ["C", "C++", "C#"], "alike-labels"),
    ("classes with numbers", ["class 1", "class 2", "class 11"], "alike-labels"),
    ("two letters of Chinese", ["好评", "差评", "中评"], "alike-labels"),
    ("voiced kana", ["かき", "がき"], "alike-labels"),
    ("fractions", ["4/5", "3/5", "2/5"], "separator"),
    ("a slash in one name", ["n/a-", "art", "work"], "separator"),
    ("and within names", ["arts and crafts", "food and drink", "work"], "separator"),
    ("words", ["very good", "very bad", "so so"], "separator"),
]


@pytest.mark.parametrize(("label", "kind"), [case[1:] for case in NOT_DOUBTED], ids=[case[0] for case in NOT_DOUBTED])
def test_not_doubted(tmp_path: Path, label: Sequence[Any], kind: str) -> None:
    assert kind not in kinds(seen(table(tmp_path, label), lang="en"))


def test_an_even_table_has_no_doubts_of_it(tmp_path: Path) -> None:
    found = seen(table(tmp_path, ART, count=1200, split=split_of), lang="en")
    assert kinds(found) <= {"columns"}


@pytest.mark.parametrize(
    ("cells", "separator", "names"),
    [
        (["late / broken", "late", "broken"], "/", ["broken", "late"]),
        (["late and broken", "late", "cheap"], " and ", ["broken", "cheap", "late"]),
        (["红、蓝", "红", "绿"], "、", ["红", "绿", "蓝"]),
    ],
)
def test_a_named_separator_splits(tmp_path: Path, cells: list[str], separator: str, names: list[str]) -> None:
    found = seen(table(tmp_path, cells), lang="en", separator=separator)
    assert (found.labels.kind, sorted(found.labels.names)) == (LabelKind.MULTILABEL, sorted(names))
    assert read_back(found, tmp_path) == found.labels.rows


def test_a_separator_that_no_cell_has_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, ["late / broken", "late", "broken"])
    for said in ({"separator": "|"}, {"separator": "/", "kind": LabelKind.NOMINAL}, {"missing": ("late / ",)}):
        with pytest.raises(UserError):
            seen(path, lang="en", **said)


def test_names_with_commas_stay_whole_if_the_user_says_so(tmp_path: Path) -> None:
    cells = ["Home, Kitchen", "Home, Garden", "Books", "Garden, Kitchen"]
    found = seen(table(tmp_path, cells), lang="en", kind=LabelKind.NOMINAL)
    assert (found.labels.names, "separator" in kinds(found)) == (sorted(cells), False)


def test_what_the_user_says_means_no_label(tmp_path: Path) -> None:
    found = seen(table(tmp_path, ["art", "work", "NA", "?"]), lang="en", missing=("NA", "?"))
    assert (found.labels.rows, found.labels.missing) == ({"art": 50, "work": 50}, 100)
    assert "placeholder" not in kinds(found)
    assert read_back(found, tmp_path) == {"art": 50, "work": 50}


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ([["art"], ["work"]], "nominal"),
        ([["art"], ["work", "art"]], "multilabel"),
        ([["art"], ["work"], []], "multilabel"),
        (["['art']", "['work']"], "nominal"),
        (['["art"]', '["work"]'], "nominal"),
        (["{'art'}", "{'work'}"], "nominal"),
        (["('art',)", "('work',)"], "nominal"),
    ],
)
def test_lists_of_one_label(tmp_path: Path, labels: list[Any], kind: str) -> None:
    found = seen(jsonl(tmp_path / "tags.jsonl", labels), lang="en")
    assert (found.labels.kind, found.labels.names) == (kind, ["art", "work"])
    assert ("lists-of-one" in kinds(found)) is (kind == "nominal")
    assert read_back(found, tmp_path) == found.labels.rows
    wished = seen(jsonl(tmp_path / "tags.jsonl", labels), lang="en", kind=LabelKind.MULTILABEL)
    assert wished.labels.kind is LabelKind.MULTILABEL
    assert read_back(wished, tmp_path) == wished.labels.rows


def test_names_of_numbers_leave_the_others_without_a_label(tmp_path: Path) -> None:
    path = table(tmp_path, [0, 1, -1], name=lambda row: ["art", "work", ""][row % 3])
    found = seen(path, lang="en")
    assert (found.labels.names, found.labels.absent) == (["art", "work"], ("-1",))
    assert read_back(found, tmp_path) == found.labels.rows


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        (lambda row: ["art", "work", "food"][row // 2 % (2 if row % 2 else 3)], "language-labels"),
        (
            lambda row: "food" if _german_food(row) else ["art", "work", "food"][row // 2 % (2 if row % 2 else 3)],
            "language-test-labels",
        ),
    ],
)
def test_a_language_that_lacks_a_label(tmp_path: Path, label: Cell, kind: str) -> None:
    columns = {"lang": lambda row: ["en", "de"][row % 2], "split": lambda row: split_of(row // 2)}
    found = seen(table(tmp_path, label, count=600, **columns))
    assert kinds(found) & {"language-labels", "language-test-labels"} == {kind}
    assert read_back(found, tmp_path) == found.labels.rows


def _german_food(row: int) -> bool:
    """German rows, with a label that only their train rows have."""
    return row % 2 == 1 and row % 3 == 0 and split_of(row // 2) == "train"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (lambda row: f"{english(row)}, so it is {ART[row % 2]}", "leak"),
        (lambda row: f"doc_{row:05}", "texts-like-ids"),
        (lambda row: "\u200b" if row % 10 == 0 else english(row), "no-text"),
    ],
)
def test_doubts_of_texts(tmp_path: Path, text: Cell, kind: str) -> None:
    found = seen(table(tmp_path, ART, text), lang="en")
    assert kind in kinds(found)
    assert read_back(found, tmp_path) == found.labels.rows
    assert "leak" not in kinds(seen(table(tmp_path, ART), lang="en"))


def test_labels_are_counted_in_the_rows_that_are_used(tmp_path: Path) -> None:
    rows = [["" if row % 20 == 0 else english(row), "" if row % 17 == 0 else ART[row % 2]] for row in range(240)]
    found = seen(written(tmp_path / "notes.csv", ["text", "label"], rows), lang="en")
    used = sum(bool(text and label) for text, label in rows)
    assert sum(found.labels.rows.values()) == used == sum(counts["en"] for counts in found.counted.rows.values())
    assert read_back(found, tmp_path) == found.labels.rows


def test_a_column_with_train_rows_only_divides_nothing(tmp_path: Path) -> None:
    found = seen(table(tmp_path, ART, split=lambda row: "unused" if row % 5 == 0 else "train"), lang="en")
    assert found.division.stratified
    assert kinds(found) & {"split-word", "split-unused"} == {"split-unused"}
    assert read_back(found, tmp_path) == found.labels.rows == {"art": 100, "work": 100}


def test_a_label_of_rows_that_are_left_out_is_no_answer(tmp_path: Path) -> None:
    found = seen(table(tmp_path, lambda row: "food" if row % 5 == 0 else ART[row % 2], split=_unused), lang="en")
    assert found.labels.names == ["art", "work"]
    assert read_back(found, tmp_path) == found.labels.rows


def _unused(row: int) -> str:
    return "unused" if row % 5 == 0 else split_of(row)


def test_a_table_counts_labels_splits_and_languages() -> None:
    rows = [([0], "train", "en"), ([1], "test", "de"), ([0, 1], "test", "en")]
    counted = label_table(rows, ["a", "b"], ["train", "test"], ["en", "de"])
    assert counted.counts.tolist() == [[[1, 0], [1, 0]], [[0, 0], [1, 1]]]
    assert counted.rows.tolist() == [[1, 0], [1, 1]]
    assert (counted.unseen("test"), counted.unseen("train", "test"), counted.unseen("validation")) == ({"b": 2}, {}, {})
    assert np.array_equal(counted.of_split("validation"), np.zeros((2, 2)))


@pytest.mark.parametrize("text", ["", " ", "\u200b", "\ufeff\u2060 \u00ad", "\u3164", "\u2800"])
def test_blank(text: str) -> None:
    assert is_blank(text)
    assert not is_blank(f"{text}a")


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("positive", "positve", True),
        ("positive", "postiive", True),
        ("positive", "positivex", True),
        ("positive", "positive", False),
        ("moral", "amoral", False),
        ("positive", "negative", False),
    ],
)
def test_one_edit(one: str, other: str, apart: bool) -> None:
    assert one_edit_apart(one, other) is apart is one_edit_apart(other, one)


def test_keys_and_skeletons() -> None:
    assert spelling_key("İYİ") == spelling_key("iyi")
    assert spelling_key("-1.0") == spelling_key("-1")
    assert spelling_key("1.5") != spelling_key("15")
    assert skeleton("Рositive!") == skeleton("positive")
    assert skeleton("A+") != skeleton("A")
