"""What `bench init` makes of files that are not as they should be: something missing, doubled, nested or broken."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from tables import english, seen, written

from harness.core.errors import UserError
from harness.core.types import LabelKind
from harness.data.guess.columns import ColumnOverrides
from harness.data.guess.files import ReadOptions
from harness.data.guess.scale_ends import ends_of
from harness.data.guess.task_yaml import prompt_text


def lines(path: Path, key: str, cells: Sequence[Any], count: int = 120) -> Path:
    """JSON lines of a text and a cell, which go round."""
    rows = [{"text": english(row), key: cells[row % len(cells)]} for row in range(count)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def labelled(path: Path, header: Sequence[str], *makes: Callable[[int], Any], count: int = 120) -> Path:
    return written(path, header, [[english(row), *(make(row) for make in makes)] for row in range(count)])


def test_rows_without_labels_are_no_empty_lists(tmp_path: Path) -> None:
    found = seen(lines(tmp_path / "tags.jsonl", "tags", [None, ["art", "work"], ["work"], []]))
    assert (found.labels.rows, found.labels.missing) == ({"art": 30, "work": 60}, 30)
    assert sum(counts["en"] for counts in found.counted.rows.values()) == 90
    assert [note for note in found.labels.notes if "tags" in note] == [
        "30 rows have no label in 'tags' and are left out.",
        "30 rows have an empty list in 'tags', which is an answer too.",
    ]


def test_lists_are_seen_where_the_first_rows_have_none(tmp_path: Path) -> None:
    found = seen(lines(tmp_path / "tags.jsonl", "tags", [None] * 150 + [["art", "work"], ["work"]] * 25, 400))
    assert (found.labels.kind, found.labels.rows, found.labels.separator) == (
        LabelKind.MULTILABEL,
        {"art": 50, "work": 100},
        None,
    )


def test_labels_in_lists_are_read_as_a_run_reads_them(tmp_path: Path) -> None:
    found = seen(lines(tmp_path / "tags.jsonl", "tags", [["Food, Drinks", True], [1.0, "Toys"], [True]]))
    assert found.labels.rows == {"1": 40, "Food, Drinks": 40, "Toys": 40, "true": 80}
    with pytest.raises(UserError, match="'tags' holds lists"):
        seen(tmp_path / "tags.jsonl", kind=LabelKind.NOMINAL)


@pytest.mark.parametrize("name", ["label", "anything"])
def test_an_empty_column_is_no_label(tmp_path: Path, name: str) -> None:
    path = labelled(tmp_path / "rows.csv", ["text", name], lambda row: "")
    with pytest.raises(UserError, match=f"The column '{name}' is empty: no row has a label"):
        seen(path, chosen=ColumnOverrides(label=(name,)))


def test_the_gaps_of_a_scale_are_named_but_not_of_tens(tmp_path: Path) -> None:
    gap = seen(labelled(tmp_path / "gap.csv", ["text", "rating"], lambda row: [1, 2, 4, 5][row % 4]))
    assert any("No row has 3 in 'rating'" in note for note in gap.notes)
    tens = seen(labelled(tmp_path / "tens.csv", ["text", "rating"], lambda row: row % 6 * 10))
    assert not any("No row has" in note for note in tens.notes)


def test_numbers_of_classes_with_gaps_are_all_listed(tmp_path: Path) -> None:
    """Else the number would be read as the index of a name."""
    path = labelled(tmp_path / "rows.csv", ["text", "label"], lambda row: [1, 3, 7][row % 3])
    assert seen(path, kind=LabelKind.NOMINAL).labels.mapping == {"1": "1", "3": "3", "7": "7"}


def test_a_header_with_a_name_twice_is_no_row(tmp_path: Path) -> None:
    path = labelled(tmp_path / "rows.csv", ["text", "label", "x", "x"], lambda row: "ab"[row % 2], lambda _: 1, lambda _: 2)
    with pytest.raises(UserError, match="The first line names the column 'x' twice") as error:
        seen(path)
    assert "--no-header" in error.value.hint


def test_a_needed_column_without_a_name_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="The column of the text has no name"):
        seen(labelled(tmp_path / "rows.csv", ["", "label"], lambda row: "ab"[row % 2]))


def test_rows_that_stand_too_deep_are_said(tmp_path: Path) -> None:
    rows = [{"text": english(row), "label": "ab"[row % 2]} for row in range(60)]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"data": rows}), encoding="utf-8")
    with pytest.raises(UserError, match="the rows stand within 'data'"):
        seen(path)


def test_a_label_with_half_a_character_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The label 'a\\ud83d' holds half a character"):
        seen(lines(tmp_path / "rows.jsonl", "label", ["a\ud83d", "b"]))


def test_train_rows_of_one_label_teach_nothing(tmp_path: Path) -> None:
    path = labelled(
        tmp_path / "rows.csv", ["text", "topic", "split"], lambda row: "ab"[row % 2], lambda row: ["train", "test"][row % 2]
    )
    with pytest.raises(UserError, match="The train rows have only one label") as error:
        seen(path)
    assert "take the column 'split' out" in error.value.hint


@pytest.mark.parametrize("divided", [True, False])
def test_a_language_whose_train_rows_have_one_label_is_left_out(tmp_path: Path, divided: bool) -> None:
    def split(row: int) -> str:
        return ["train", "train", "train", "test"][row // 4 % 4] if divided else "somewhere"

    def topic(row: int) -> str:
        return "a" if row % 2 and (split(row) == "train" or not divided) else "ab"[row // 2 % 2]

    header = ["text", "topic", "lang", "split" if divided else "place"]
    found = seen(labelled(tmp_path / "rows.csv", header, topic, lambda row: ["en", "fr"][row % 2], split, count=240))
    assert list(found.languages.rows) == ["en"]
    assert any("fr" in note and "one label" in note for note in found.division.notes)


@pytest.mark.parametrize(
    ("name", "cells", "note"),
    [
        ("is_spam", ["True", "False"], "A language model can't know of what"),
        ("spam", ["yes", "no"], "A language model can't know of what"),
        ("sentiment", ["NA", "Negative", "Positive"], "40 rows say 'NA' in 'sentiment', which is taken for a label"),
        ("grade", ["A", "B", "C", "D"], "taken for classes. If they are a scale"),
        ("topic", ["A", "B", "C", "D"], None),
    ],
)
def test_labels_that_say_too_little(tmp_path: Path, name: str, cells: list[str], note: str | None) -> None:
    path = labelled(tmp_path / "rows.csv", ["text", name], lambda row: cells[row % len(cells)])
    notes = seen(path, chosen=ColumnOverrides(label=(name,))).labels.notes
    assert [note in said for said in notes if note is not None] == [True] * (note is not None), notes
    assert bool(notes) == (note is not None)


@pytest.mark.parametrize(("name", "most"), [("score", 30), ("target", 100)])
def test_a_quantity_is_no_scale(tmp_path: Path, name: str, most: int) -> None:
    def path(steps: int) -> Path:
        return labelled(tmp_path / "rows.csv", ["text", name], lambda row: row % steps + 5, count=steps * 3)

    assert len(seen(path(most)).labels.names) == most
    with pytest.raises(UserError, match=f"holds {most + 1} numbers from 5 to {most + 5}") as error:
        seen(path(most + 1))
    assert "--kind ordinal" in error.value.hint


def test_a_delimiter_that_nobody_thinks_of(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("text~label\n" + "".join(f'"{english(row)}, so"~{"ab"[row % 2]}\n' for row in range(60)), encoding="utf-8")
    with pytest.raises(UserError) as error:
        seen(path)
    assert "--delimiter CHAR" in error.value.hint
    assert seen(path, read_options=ReadOptions(delimiter="~")).labels.names == ["a", "b"]


def test_too_many_labels_for_the_rows(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too many for classes") as error:
        seen(labelled(tmp_path / "rows.csv", ["text", "label"], lambda row: f"c{row}", count=40))
    assert "give more of them" in error.value.hint


def test_a_label_that_is_a_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The label '9{40}\.\.\.' has 5,001 characters; at most 500 are a name"):
        seen(lines(tmp_path / "rows.jsonl", "label", ["9" * 5000 + "1", "9" * 5000 + "2"]))


@pytest.mark.parametrize(
    "metadata",
    [b"[" * 200_000, b"[1]", b'{"info": {"features": [1]}}', b'{"info": {"features": {"label": {"names": 5}}}}',
     b'{"info": {"features": {"label": {"names": [["a"], 2]}}}}', b"\xff"],
    ids=["deep", "a list", "features in a list", "a number", "lists", "no text"],
)  # fmt: skip
def test_metadata_that_is_not_as_it_should_be_is_left_out(tmp_path: Path, metadata: bytes) -> None:
    rows = pyarrow.table({"text": [english(row) for row in range(120)], "label": ["ab"[row % 2] for row in range(120)]})
    parquet.write_table(rows.replace_schema_metadata({"huggingface": metadata}), tmp_path / "rows.parquet")
    assert seen(tmp_path / "rows.parquet").labels.names == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "what", "said"),
    [
        ("stars", "stars", False),
        ("Počet hvězd", "stars", False),
        ("customerRating", "rating", False),
        ("toxicity", "toxicity", False),
        ("perceived difficulty", "difficulty", False),
        ("satisfaction_level", "satisfaction", False),
        ("severity", "severity", False),
        ("label", None, True),
        ("y", None, True),
        ("grade", None, True),
        ("priority", None, True),
    ],
)
def test_a_scale_of_bare_numbers_says_what_it_counts_or_asks(tmp_path: Path, name: str, what: str | None, said: bool) -> None:
    path = labelled(tmp_path / "rows.csv", ["text", name], lambda row: str(row % 5))
    found = seen(path, chosen=ColumnOverrides(label=(name,)), kind=LabelKind.ORDINAL)
    ends = ends_of(name)
    assert (None if ends is None else ends.what) == what
    assert any("--names" in note for note in found.notes) == said
    assert found.numbers
    prompt = prompt_text(found, "rows")
    assert ("lowest" in prompt) == said
    assert "0 of 4" not in prompt


@pytest.mark.parametrize(
    ("cells", "kind", "names", "mapping"),
    [
        (["0", "1", "2"], LabelKind.NOMINAL, ["bill", "crash", "other"], {}),
        (["1", "2", "3"], LabelKind.ORDINAL, ["bad", "ok", "good"], {}),
        (["3", "7", "12"], LabelKind.NOMINAL, ["a", "b", "c"], {"3": "a", "7": "b", "12": "c"}),
        (["B", "S", "T"], None, ["business", "sport", "technology"], {"B": "business", "S": "sport", "T": "technology"}),
        (["True", "False"], None, ["no spam", "spam"], {"False": "no spam", "True": "spam"}),
    ],
)
def test_names_for_labels(
    tmp_path: Path, cells: list[str], kind: LabelKind | None, names: list[str], mapping: dict[str, str]
) -> None:
    path = labelled(tmp_path / "rows.csv", ["text", "label"], lambda row: cells[row % len(cells)])
    found = seen(path, kind=kind, names=tuple(names))
    assert found.labels.names == names
    assert found.labels.mapping == mapping
    assert not any("bare numbers" in note or "--names" in note for note in found.notes)
    counts = [sum(cells[row % len(cells)] == cell for row in range(120)) for cell in sorted(cells, key=len)]
    assert list(found.labels.rows.values()) == counts


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c", "d"), ("a", "A", "b"), ("a", "", "b"), ("0", "1", "2")])
def test_names_that_do_not_fit(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = labelled(tmp_path / "rows.csv", ["text", "label"], lambda row: str(row % 3))
    with pytest.raises(UserError) as error:
        seen(path, kind=LabelKind.NOMINAL, names=names)
    assert "--names" in error.value.message
