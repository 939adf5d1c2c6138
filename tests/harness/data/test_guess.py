"""What `bench init` sees in files of all sorts: made here, as people have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tables import SENTENCES, english, seen, written

from harness.core.errors import DataError, Unanswered, UserError
from harness.core.types import LabelKind
from harness.data.guess.columns import ColumnOverrides
from harness.data.guess.encodings import encoding_named
from harness.data.guess.files import ReadOptions
from harness.data.guess.task_yaml import first_number


def table(tmp_path: Path, columns: dict[str, Any], count: int = 120) -> Path:
    """A CSV whose columns are functions of the row's number, or lists to go round in."""
    rows = [[make(row) if callable(make) else make[row % len(make)] for make in columns.values()] for row in range(count)]
    return written(tmp_path / "reviews.csv", list(columns), rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["rating", "stars", "sentiment", "category", "polarity", "target", "label", "Customer Rating", "y"]
)
def test_the_label_is_known_by_its_name_beside_columns_with_few_values(tmp_path: Path, name: str) -> None:
    values = ["1", "2", "3", "4", "5"]
    columns = {"votes": [0, 1, 2], "user": ["ann", "bob", "cy"], name: values, "review": english, "year": [2019, 2020]}
    found = seen(table(tmp_path, columns), kind=LabelKind.ORDINAL)
    assert (found.roles.label, found.roles.text) == ((name,), ("review",))
    assert "votes" in found.roles.unused


@pytest.mark.slow
def test_stars_are_a_scale_and_are_called_so(tmp_path: Path) -> None:
    found = seen(table(tmp_path, {"stars": [5, 1, 2, 3, 4], "review": english}))
    assert found.labels.kind is LabelKind.ORDINAL
    assert found.labels.names == ["1 star", "2 stars", "3 stars", "4 stars", "5 stars"]
    assert (found.labels.first, found.labels.mapping) == (1, {})


@pytest.mark.parametrize(
    ("cells", "names", "kind"),
    [
        (["neutral", "positive", "negative"], ["negative", "neutral", "positive"], "ordinal"),
        (["差评", "好评", "中评"], ["差评", "中评", "好评"], "ordinal"),
        (["5 stars", "1 star", "3 stars"], ["1 star", "3 stars", "5 stars"], "ordinal"),
        (["★★★☆☆", "★★★★★", "★☆☆☆☆"], ["★☆☆☆☆", "★★★☆☆", "★★★★★"], "ordinal"),
        (["9-10", "1-2", "3-4"], ["1-2", "3-4", "9-10"], "ordinal"),
        (["high", "low", "medium"], ["low", "medium", "high"], "ordinal"),
        (["positive", "negative"], ["negative", "positive"], "nominal"),
        (["sports", "travel", "health"], ["health", "sports", "travel"], "nominal"),
        (["class 1", "class 2", "class 3"], ["class 1", "class 2", "class 3"], "nominal"),
        (["no", "yes"], ["no", "yes"], "nominal"),
    ],
)
def test_words_are_a_scale_only_where_they_have_an_order(tmp_path: Path, cells: list[str], names: list[str], kind: str) -> None:
    found = seen(table(tmp_path, {"label": cells, "text": english}))
    assert (found.labels.names, found.labels.kind) == (names, kind)


def test_bare_numbers_of_a_label_column_are_asked_about(tmp_path: Path) -> None:
    path = table(tmp_path, {"label": [0, 1, 2, 3, 4], "text": english})
    with pytest.raises(UserError, match="0 to 4 in 'label' may be a scale") as error:
        seen(path)
    assert "--kind ordinal" in error.value.hint
    assert seen(path, kind=LabelKind.ORDINAL).labels.names[0] == "0 of 4"
    classes = seen(path, kind=LabelKind.NOMINAL)
    assert classes.labels.names == ["0", "1", "2", "3", "4"]
    assert any("bare numbers" in note for note in classes.notes)


def test_the_names_of_numbers_stand_in_another_column(tmp_path: Path) -> None:
    names = ["very negative", "negative", "neutral", "positive", "very positive"]
    found = seen(table(tmp_path, {"label": [0, 1, 2, 3, 4], "label_text": names, "text": english}))
    assert (found.roles.label, found.roles.names) == (("label",), "label_text")
    assert (found.labels.names, found.labels.kind, found.labels.mapping) == (names, LabelKind.ORDINAL, {})
    topics = seen(table(tmp_path, {"label": [0, 1, 2], "label_text": ["travel", "art", "work"], "text": english}))
    assert (topics.labels.names, topics.labels.kind) == (["travel", "art", "work"], LabelKind.NOMINAL)


def test_several_columns_that_could_be_the_label_are_asked_about(tmp_path: Path) -> None:
    columns = {"category": ["toys", "books", "food"], "emotion": ["joy", "fear", "love", "anger"], "review": english}
    with pytest.raises(UserError, match=r"category \(3 values: books, food, toys\); emotion") as error:
        seen(table(tmp_path, columns))
    assert "--label" in error.value.hint
    assert seen(tmp_path / "reviews.csv", chosen=ColumnOverrides(label=("emotion",))).labels.names == [
        "anger",
        "fear",
        "joy",
        "love",
    ]


def test_a_title_is_joined_to_its_text_and_two_texts_are_asked_about(tmp_path: Path) -> None:
    title = table(tmp_path, {"title": lambda row: f"my chair {row} broke", "body": english, "stars": [1, 2, 3, 4, 5]})
    found = seen(title)
    assert found.roles.text == ("title", "body")
    assert any("--text body" in note for note in found.notes)
    pair = table(tmp_path, {"premise": english, "hypothesis": lambda row: english(row + 500), "label": ["yes", "no", "maybe"]})
    with pytest.raises(Unanswered) as error:
        seen(pair)
    assert error.value.answers["--text"] == "premise,hypothesis"


def test_ids_dates_and_names_are_no_labels(tmp_path: Path) -> None:
    columns = {
        "id": lambda row: f"r{row}",
        "date": ["2020-01-02", "2020-01-03"],
        "username": ["ann", "bob"],
        "helpful_votes": [0, 1, 5],
        "text": english,
        "topic": ["art", "work"],
    }
    found = seen(table(tmp_path, columns))
    assert (found.roles.id, found.roles.label) == ("id", ("topic",))
    assert set(found.roles.unused) == {"date", "username", "helpful_votes"}


def test_an_id_that_stands_twice_is_none(tmp_path: Path) -> None:
    assert seen(table(tmp_path, {"id": [1, 2, 3], "text": english, "topic": ["art", "work"]})).roles.id is None


def test_columns_of_0_and_1_are_labels_of_one_task(tmp_path: Path) -> None:
    columns = {"text": english, "unclear": ["True", "False"], "joy": [1, 0, 0], "anger": [0, 1, 0], "fear": [0, 0, 0, 1]}
    found = seen(table(tmp_path, columns))
    assert (found.labels.kind, found.labels.names) == (LabelKind.MULTILABEL, ["joy", "anger", "fear"])
    assert found.labels.rows == {"joy": 40, "anger": 40, "fear": 30}


@pytest.mark.parametrize("form", ["{}|{}", "{};{}", "['{}', '{}']", '["{}", "{}"]'])
def test_several_labels_in_one_cell(tmp_path: Path, form: str) -> None:
    pairs = [("joy", "love"), ("joy", "fear"), ("love", "fear")]
    cells = [form.format(*pair) for pair in pairs] + ([] if "[" in form else ["joy"])
    found = seen(table(tmp_path, {"text": english, "emotions": cells}))
    assert (found.labels.kind, found.labels.names) == (LabelKind.MULTILABEL, ["fear", "joy", "love"])


def test_a_name_with_a_comma_is_one_label(tmp_path: Path) -> None:
    found = seen(table(tmp_path, {"text": english, "category": ["Food, Drinks", "Home, Garden", "Toys"]}))
    assert (found.labels.kind, found.labels.names) == (LabelKind.NOMINAL, ["Food, Drinks", "Home, Garden", "Toys"])


def test_languages_as_a_column_says(tmp_path: Path) -> None:
    texts = [english(0), SENTENCES["de"], SENTENCES["ja"]]
    columns = {
        "text": lambda row: f"{texts[row % 3]} {row}",
        "language": ["English", "de_DE", "jpn_Jpan"],
        "stars": [1, 2, 3, 4, 5, 1, 2],
    }
    found = seen(table(tmp_path, columns, 210))
    assert found.languages.rows == {"en": 70, "de": 70, "ja": 70}
    assert found.languages.mapping == {"English": "en", "de_DE": "de", "jpn_Jpan": "ja"}
    constant = seen(table(tmp_path, {"text": english, "lang": ["en"], "topic": ["art", "work"]}))
    assert (constant.languages.codes, constant.languages.column, constant.languages.mapping) == (["en"], "lang", {})


def test_a_language_with_few_rows_is_left_out(tmp_path: Path) -> None:
    columns = {"text": english, "lang": lambda row: "fr" if row < 5 else "en", "topic": ["art", "work"]}
    found = seen(table(tmp_path, columns))
    assert found.languages.codes == ["en"]
    assert any("fr (5)" in note for note in found.notes)


@pytest.mark.parametrize("code", list(SENTENCES))
def test_the_language_is_seen_in_the_texts(tmp_path: Path, code: str) -> None:
    found = seen(table(tmp_path, {"text": lambda row: f"{SENTENCES[code]} {row}", "topic": ["art", "work"]}))
    assert found.languages.codes == [code]


def test_mixed_texts_without_a_column_are_said_to_be_mixed(tmp_path: Path) -> None:
    texts = [SENTENCES["de"], SENTENCES["ja"]]
    path = table(tmp_path, {"text": lambda row: f"{texts[row % 2]} {row}", "topic": ["art", "work", "food"]})
    found = seen(path)
    assert found.languages.codes == ["mul"]
    assert any("--lang COLUMN" in note for note in found.notes)
    assert seen(path, lang="de").languages.codes == ["de"]


def test_a_wrong_language_column_is_doubted(tmp_path: Path) -> None:
    found = seen(table(tmp_path, {"text": lambda row: f"{SENTENCES['de']} {row}", "lang": ["fr"], "topic": ["art", "work"]}))
    assert "language-texts" in [doubt.kind for doubt in found.doubts]


def test_excel_in_german(tmp_path: Path) -> None:
    rows = [[f"{english(row)}; schön", ["gut", "schlecht", "mittelmäßig"][row % 3]] for row in range(60)]
    found = seen(written(tmp_path / "umfrage.csv", ["Text", "Bewertung"], rows, "utf-8-sig", delimiter=";"), lang="de")
    assert (found.opened.csv.delimiter, found.roles.text) == (";", ("Text",))
    assert found.labels.names == ["schlecht", "mittelmäßig", "gut"]


def test_an_old_encoding_is_read_and_said(tmp_path: Path) -> None:
    rows = [[f"{english(row)} café", ["négatif", "positif"][row % 2]] for row in range(60)]
    found = seen(written(tmp_path / "avis.csv", ["texte", "label"], rows, "cp1252"), lang="fr")
    assert found.opened.csv.encoding == "cp1252"
    assert found.labels.names == ["négatif", "positif"]
    assert any("cp1252" in note for note in found.notes)


def test_an_encoding_that_can_not_be_told_is_asked_for(tmp_path: Path) -> None:
    rows = [[f"{SENTENCES['zh']}{row}", ["好评", "差评"][row % 2]] for row in range(60)]
    path = written(tmp_path / "comments.csv", ["comment", "label"], rows, "gb18030")
    with pytest.raises(DataError, match="not in UTF-8") as error:
        seen(path)
    assert "--encoding" in error.value.hint
    assert seen(path, read_options=ReadOptions(encoding="gb18030"), lang="zh").labels.names == ["差评", "好评"]


def test_a_file_without_a_header(tmp_path: Path) -> None:
    rows = [[english(row), ["sports", "travel"][row % 2]] for row in range(60)]
    found = seen(written(tmp_path / "bare.csv", None, rows))
    assert found.opened.csv.header == ["column_1", "column_2"]
    assert (found.roles.text, found.total) == (("column_1",), 60)
    assert any("--header" in note for note in found.notes)


def test_backslashes_before_quotes(tmp_path: Path) -> None:
    lines = ["text,label"] + [f'"{english(row)}, \\"really\\", yes",{["art", "work"][row % 2]}' for row in range(60)]
    path = tmp_path / "escaped.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    found = seen(path)
    assert (found.opened.csv.escape, found.total) == ("\\", 60)


def test_quotes_that_enclose_nothing(tmp_path: Path) -> None:
    lines = ["text\tlabel"] + [f'"{english(row)} said" he\t{["art", "work"][row % 2]}' for row in range(60)]
    path = tmp_path / "loose.tsv"
    path.write_text("\n".join(lines), encoding="utf-8")
    found = seen(path)
    assert (found.opened.csv.quoted, found.total) == (False, 60)


def test_a_long_file_whose_sample_ends_within_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.guess.files.SAMPLE", 1000)
    for size in range(1000, 1060, 7):  # wherever the cut is
        monkeypatch.setattr("harness.data.guess.files.SAMPLE", size)
        found = seen(table(tmp_path, {"text": lambda row: f'{english(row)}, "so"\nit is', "topic": ["art", "work"]}))
        assert (found.opened.csv.quoted, found.total) == (True, 120)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty"),
        ("text\nnothing else\n", "single column"),
        ("text,label\n", "no rows"),
        ("a,b\nx y z,1,2\n", "3 fields"),
    ],
)
def test_files_that_are_no_data(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "poor.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=problem):
        seen(path)


def test_a_column_without_text_or_label_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No column looks like running text"):
        seen(table(tmp_path, {"a": [1, 2], "b": [3, 4, 5]}))
    with pytest.raises(UserError, match="No column looks like a label"):
        seen(table(tmp_path, {"text": english, "user": lambda row: f"u{row}"}))
    with pytest.raises(UserError, match="there is no such column"):
        seen(tmp_path / "reviews.csv", chosen=ColumnOverrides(label=("stars",)))


def test_a_column_of_splits(tmp_path: Path) -> None:
    columns = {"text": english, "topic": ["art", "work", "food"], "split": ["train", "train", "train", "dev", "test"]}
    found = seen(table(tmp_path, columns, 200))
    assert found.division.source == {"train": "train", "validation": "dev", "test": "test"}
    assert found.counted.rows == {"train": {"en": 120}, "validation": {"en": 40}, "test": {"en": 40}}


def test_without_validation_rows_some_train_rows_are_set_aside(tmp_path: Path) -> None:
    columns = {"text": english, "topic": ["art", "work", "food"], "split": ["train", "train", "train", "test"]}
    found = seen(table(tmp_path, columns, 200))
    assert found.division.validation_share == 0.1
    assert found.counted.rows == {"train": {"en": 135}, "validation": {"en": 15}, "test": {"en": 50}}


def test_a_test_split_without_labels_is_replaced(tmp_path: Path) -> None:
    splits = ["train", "train", "val", "test"]
    columns = {"text": english, "split": splits, "topic": lambda row: "" if row % 4 == 3 else ["art", "work", "food"][row % 3]}
    found = seen(table(tmp_path, columns, 200))
    assert found.division.source == {"train": "train", "test": "val"}
    assert found.counted.rows["test"] == {"en": 50}


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_other_kinds_of_files(tmp_path: Path, suffix: str) -> None:
    rows = [{"text": english(row), "labels": [[0, 2], [1], [0, 1]][row % 3], "n": 1.0 * (row % 2)} for row in range(90)]
    path = tmp_path / f"rows.{suffix}"
    if suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif suffix == "json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    found = seen(path)
    assert (found.labels.kind, found.labels.rows) == (LabelKind.MULTILABEL, {"0": 60, "1": 60, "2": 30})


def test_names_that_the_datasets_library_wrote(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = pyarrow.Table.from_pylist([{"text": english(row), "label": row % 3} for row in range(90)])
    features = {"info": {"features": {"label": {"names": ["World", "Sports", "Business"], "_type": "ClassLabel"}}}}
    parquet.write_table(rows.replace_schema_metadata({"huggingface": json.dumps(features)}), tmp_path / "news.parquet")
    assert seen(tmp_path / "news.parquet").labels.names == ["World", "Sports", "Business"]


def test_what_is_counted(tmp_path: Path) -> None:
    texts = [english(row) for row in range(100)] + [english(0), english(1).upper() + " ", "", " "]
    labels = ["art", "work"] * 50 + ["work", "work", "art", "art"]
    found = seen(written(tmp_path / "rows.csv", ["text", "label"], list(zip(texts, labels, strict=True))))
    assert (found.counted.without_text, found.counted.duplicates, found.counted.conflicting) == (2, 2, 1)
    assert sum(sum(counts.values()) for counts in found.counted.rows.values()) == 102


def test_spellings_of_a_label_are_joined_and_missing_ones_left_out(tmp_path: Path) -> None:
    found = seen(table(tmp_path, {"text": english, "label": ["Positive", "positive ", "Positive", "negative", "neutral", ""]}))
    assert found.labels.rows == {"negative": 20, "neutral": 20, "Positive": 60}
    assert (found.labels.mapping["positive "], found.labels.missing) == ("Positive", 20)


def test_rare_labels_are_named(tmp_path: Path) -> None:
    found = seen(table(tmp_path, {"text": english, "topic": lambda row: "odd" if row == 3 else ["art", "work"][row % 2]}))
    assert any("odd (1)" in note for note in found.notes)


@pytest.mark.parametrize(
    "cells", [["1.0", "2.0", "3.0", "4.0", "5.0"], ["1", "2", "4", "5"], ["0.5", "1", "1.5"], ["-1", "0", "1"]]
)
def test_numbers_of_a_scale_with_gaps_or_points(tmp_path: Path, cells: list[str]) -> None:
    found = seen(table(tmp_path, {"text": english, "rating": cells}))
    assert found.labels.kind is LabelKind.ORDINAL
    assert len(found.labels.names) == len(cells)
    assert found.labels.first in (1, -1) or set(found.labels.mapping) == set(cells) or found.labels.mapping == {}


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (["1 of 5", "2 of 5", "3 of 5"], 1),
        (["-1 of 1", "0 of 1", "1 of 1"], -1),
        (["one star", "two stars", "three stars"], 1),
        (["★☆☆", "★★☆", "★★★"], 1),
        (["negative", "neutral", "positive"], 0),
        (["1 of 5", "3 of 5", "4 of 5", "5 of 5"], None),
        (["1 of 2", "1.5 of 2", "2 of 2"], None),
        (["0.5 of 2.5", "1.5 of 2.5", "2.5 of 2.5"], None),
        (["none", "1", "2"], None),
    ],
)
def test_an_answer_by_number_means_what_the_names_say(names: list[str], first: int | None) -> None:
    assert first_number(names) == first


def test_steps_that_no_row_has_are_named(tmp_path: Path) -> None:
    found = seen(table(tmp_path, {"rating": [1, 3, 4, 5], "text": english}))
    assert any("No row has 2 in 'rating'" in note for note in found.notes)
    whole = seen(table(tmp_path, {"rating": [1, 2, 3, 4, 5], "text": english}))
    assert not any("No row has" in note for note in whole.notes)


@pytest.mark.parametrize("cells", [[1, 2, 3, 4, 5], list(range(1, 11)), list(range(-3, 4))])
def test_numbers_are_a_scale_only_where_the_name_of_the_column_says_so(tmp_path: Path, cells: list[int]) -> None:
    with pytest.raises(UserError, match="may be a scale") as error:
        seen(table(tmp_path, {"category": cells, "text": english}))
    assert "--kind" in error.value.hint
    assert seen(table(tmp_path, {"my_rating": cells, "text": english})).labels.kind is LabelKind.ORDINAL


def test_numbers_with_a_zero_before_them_are_codes(tmp_path: Path) -> None:
    codes = ["01", "02", "03", "04", "05"]
    assert seen(table(tmp_path, {"category": codes, "text": english})).labels.kind is LabelKind.NOMINAL
    with pytest.raises(UserError, match="--kind ordinal"):
        seen(table(tmp_path, {"rating": codes, "text": english}))


@pytest.mark.parametrize("name", ["base64", "zlib", "rot13", "klingon", "utf-8\0"])
def test_what_encodes_no_text_is_no_encoding(name: str) -> None:
    with pytest.raises(UserError, match="--encoding"):
        encoding_named(name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "ascii"])
def test_a_wrong_encoding_is_said(tmp_path: Path, encoding: str) -> None:
    rows = [[f"{english(row)} café", ["art", "work"][row % 2]] for row in range(60)]
    path = written(tmp_path / "avis.csv", ["text", "label"], rows, "cp1252")
    with pytest.raises(UserError, match=f"not in {encoding}") as error:
        seen(path, read_options=ReadOptions(encoding=encoding))
    assert "--encoding" in error.value.hint


def test_a_column_called_label_is_the_label_whatever_it_holds(tmp_path: Path) -> None:
    many = seen(table(tmp_path, {"text": english, "label": lambda row: f"class {row % 50}"}))
    assert len(many.labels.names) == 50
    with pytest.raises(UserError, match="only one label: art"):
        seen(table(tmp_path, {"text": english, "label": ["art"]}))
    with pytest.raises(UserError, match="120 values in 120 rows"):
        seen(table(tmp_path, {"text": english, "label": lambda row: f"class {row}"}))
    beside = seen(table(tmp_path, {"text": english, "label": ["art"], "topic": ["art", "work"]}))
    assert (beside.roles.label, beside.roles.others) == (("topic",), ("label",))


def test_a_column_called_text_is_the_text_whatever_it_holds(tmp_path: Path) -> None:
    assert seen(table(tmp_path, {"text": ["good", "bad", "fine"], "label": ["art", "work"]})).roles.text == ("text",)


def test_a_language_that_the_user_names_is_doubted_too(tmp_path: Path) -> None:
    path = table(tmp_path, {"text": english, "topic": ["art", "work", "food"]})
    kinds = {lang: [doubt.kind for doubt in seen(path, lang=lang).doubts] for lang in ("fr", "lng", "en", "mul")}
    assert {lang: [kind for kind in found if kind.startswith("language")] for lang, found in kinds.items()} == {
        "fr": ["language-texts"],
        "lng": ["language-unknown"],
        "en": [],
        "mul": [],
    }


@pytest.mark.parametrize(("count", "few"), [(12, True), (495, True), (500, False)])
def test_few_test_rows_are_said(tmp_path: Path, count: int, few: bool) -> None:
    found = seen(table(tmp_path, {"text": english, "topic": ["art", "work", "food"]}, count), lang="en")
    assert any(f"Few test rows: {round(count * 0.2)}." in note for note in found.notes) is few


def test_a_column_is_named_for_one_purpose(tmp_path: Path) -> None:
    path = table(tmp_path, {"text": english, "topic": ["art", "work", "food"]})
    with pytest.raises(UserError, match="that is the column of --text"):
        seen(path, chosen=ColumnOverrides(text=("text",), label=("text",)))
