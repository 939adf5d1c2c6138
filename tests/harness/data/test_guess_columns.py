"""Which columns `bench init` takes for text, title, label and id, in the words of many languages; and what it asks."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from tables import english, seen, written

from harness.core.errors import Unanswered, UserError
from harness.core.types import LabelKind
from harness.data.guess.cells import Column
from harness.data.guess.columns import ColumnOverrides
from harness.data.guess.inspect_file import Found
from harness.data.guess.words import LABEL, LANG, RATED, SPLIT, TEXT, TITLES

pytestmark = pytest.mark.slow  # test_guess has the commonest ones

FEW_TITLES = ["Great value", "Poor", "Never again", "It broke", "Would buy it twice"]


def table(tmp_path: Path, columns: dict[str, Any], count: int = 120) -> Path:
    rows = [[make(row) if callable(make) else make[row % len(make)] for make in columns.values()] for row in range(count)]
    return written(tmp_path / "reviews.csv", list(columns), rows)


def kinds(found: Found) -> list[str]:
    return [doubt.kind for doubt in found.doubts]


def other(row: int) -> str:
    return english(row + 500)


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"title": FEW_TITLES, "content": english, "stars": [1, 2, 3]}, ("title", "content")),
        ({"stars": [1, 2, 3], "content": english, "title": FEW_TITLES}, ("title", "content")),
        ({"content": english, "Headline": FEW_TITLES, "stars": [1, 2, 3]}, ("Headline", "content")),
        ({"summary": FEW_TITLES, "reviewText": english, "overall": [1, 2]}, ("summary", "reviewText")),
        ({"review_title": FEW_TITLES, "review_body": english, "stars": [1, 2]}, ("review_title", "review_body")),
        ({"Betreff": FEW_TITLES, "Nachricht": english, "Thema": ["a", "b"]}, ("Betreff", "Nachricht")),
        ({"Nadpis": FEW_TITLES, "Recenze": english, "Hodnocení": [1, 2, 3]}, ("Nadpis", "Recenze")),
        ({"タイトル": FEW_TITLES, "本文": english, "評価": [1, 2, 3]}, ("タイトル", "本文")),
        ({"title": FEW_TITLES, "subtitle": lambda row: f"part {row} of it", "body": english, "label": ["a", "b"]},
         ("title", "subtitle", "body")),
        ({"title": lambda row: "" if row % 2 else FEW_TITLES[row % 5], "body": english, "label": ["a", "b", "c"]},
         ("title", "body")),
    ],
)  # fmt: skip
def test_a_title_is_part_of_the_text_also_where_it_repeats(
    tmp_path: Path, columns: dict[str, Any], text: tuple[str, ...]
) -> None:
    found = seen(table(tmp_path, columns), kind=None if "stars" in columns else LabelKind.NOMINAL)
    assert found.roles.text == text
    assert "title-joined" in kinds(found)


@pytest.mark.parametrize(
    ("title", "beside", "doubt"),
    [
        ({"product_title": FEW_TITLES}, {}, "title-left"),
        ({"title": FEW_TITLES}, {"product_id": [f"p{n}" for n in range(5)]}, "title-left"),
        ({"movie title": FEW_TITLES}, {}, "title-left"),
        ({"title": ["Mr", "Ms", "Dr"]}, {}, "title-left"),
        ({"subject": ["physics lesson", "maths lesson"]}, {}, "title-left"),
    ],
)
def test_the_name_of_a_thing_is_no_title(tmp_path: Path, title: dict[str, Any], beside: dict[str, Any], doubt: str) -> None:
    found = seen(table(tmp_path, {**title, **beside, "review": english, "stars": [1, 2, 3]}))
    assert found.roles.text == ("review",)
    assert doubt in kinds(found)


@pytest.mark.parametrize("name", ["subject", "title"])
def test_what_is_all_that_may_be_the_label_is_no_title(tmp_path: Path, name: str) -> None:
    found = seen(table(tmp_path, {name: ["Maths", "Physics", "Art"], "text": english}))
    assert (found.roles.text, found.roles.label) == (("text",), (name,))
    words = seen(table(tmp_path, {name: FEW_TITLES, "text": english}))
    assert (words.roles.text, words.roles.label) == (("text",), (name,))


def test_a_title_that_is_all_the_text_there_is(tmp_path: Path) -> None:
    assert seen(table(tmp_path, {"headline": english, "category": ["art", "work"]})).roles.text == ("headline",)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("premise", "hypothesis"), ("sentence1", "sentence2"), ("text_a", "text_b"), ("question1", "question2"),
        ("question", "answer"), ("pros", "cons"), ("Frage", "Antwort"), ("достоинства", "недостатки"), ("claim", "evidence"),
        ("Sentence 1", "Sentence 2"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("repeats", [False, True])
def test_texts_that_belong_together_are_asked_about(tmp_path: Path, one: str, two: str, repeats: bool) -> None:
    first = [english(row) for row in range(8)] if repeats else english
    path = table(tmp_path, {one: first, two: other, "label": ["yes", "no", "maybe"]})
    with pytest.raises(Unanswered) as error:
        seen(path)
    assert error.value.answers["--text"] == f"{one},{two}"
    found = seen(path, chosen=ColumnOverrides(text=(one, two)))
    assert found.roles.text == (one, two)
    assert "text-left" not in kinds(seen(path, chosen=ColumnOverrides(text=(two,))))


@pytest.mark.parametrize("left", [("pros", "cons"), ("advice to management",), ("reply",)])
def test_running_text_that_is_not_used_is_said(tmp_path: Path, left: tuple[str, ...]) -> None:
    columns = {"review": english, **{name: [other(row) for row in range(6)] for name in left}, "stars": [1, 2, 3]}
    found = seen(table(tmp_path, columns))
    assert found.roles.text == ("review",)
    said = [doubt.text for doubt in found.doubts if doubt.kind == "text-left"]
    assert [all(name in text for name in left) for text in said] == [True]


RATINGS = """
Počet_hvězd Antal_stjärnor Liczba_gwiazdek عدد_النجوم Tähdet Sao คะแนน Ocjena 별점 Оценка Βαθμολογία Puan Betyg Note Hodnotenie
Értékelés Notă Beoordeling Vurdering Valoración Avaliação Punteggio Évaluation Kundenbewertung Bintang रेटिंग রেটিং דירוג امتیاز
评分 評価 星级评分 総合評価 평점 Hinnang Vērtējums Įvertinimas Valoració Einkunn Рейтинг Число_звёзд Зірки Yıldız_sayısı Nyota
Pocet_hvezd Number_of_Stars ΑΣΤΕΡΙΑ stars_count
""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", RATINGS)
def test_stars_are_known_in_many_languages(name: str, tmp_path: Path) -> None:
    shown = name.replace("_", " ")
    columns = {"id": lambda row: f"k{row}", "shop": ["north", "south"], shown: [3, 1, 5, 2, 4], "text": english}
    found = seen(table(tmp_path, columns, 60), lang="en")
    assert (found.roles.label, found.labels.kind) == ((shown,), LabelKind.ORDINAL)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (TEXT[0], "Text texto testo tekst teksti metin текст κείμενο النص טקסט टेक्स्ट ข้อความ văn_bản teks 文本 本文 텍스트"),
        (TITLES, "Titel titre título titolo otsikko nadpis tytuł заголовок başlık العنوان शीर्षक tiêu_đề judul 标题 件名"),
        (LABEL[0], "Klasse étiquette etiqueta etichetta etykieta метка etiket التسمية लेबल ป้ายกำกับ nhãn 标签 ラベル 라벨"),
        (LABEL[1], "Kategorie catégorie categoría emoção luokka emocja категория duygu الفئة भावना cảm_xúc 情感 感情 감정"),
        (LANG, "Sprache langue idioma lingua taal språk kieli jazyk język язык γλώσσα dil اللغة שפה भाषा ภาษา 语言 言語 언어"),
        (SPLIT, "split Teilmenge partición podział 划分 分割 분할"),
        (RATED, "Sterne Étoiles étoile ESTRELLAS hvězdy"),
    ],
)  # fmt: skip
def test_words_of_columns(names: frozenset[str], words: str) -> None:
    columns = [Column(word, []) for word in words.split()]
    assert [column.name for column in columns if not column.speaks_of(names)] == []


@pytest.mark.parametrize("name", ["operating", "generation", "underscored", "texture", "notebook", "restart", "starting"])
def test_words_that_hold_another_by_chance(name: str) -> None:
    assert not any(Column(name, []).speaks_of(names) for names in (TEXT[0], TITLES, LABEL[0], LABEL[1], LANG, RATED))


def asked(path: Path, **said: Any) -> Unanswered:
    with pytest.raises(Unanswered) as error:
        seen(path, **said)
    return error.value


def test_a_number_of_something_may_be_a_scale(tmp_path: Path) -> None:
    """In a language that is not known, by elimination, the wrong one would be taken in silence."""
    path = table(tmp_path, {"text": english, "počet xyz": [1, 2, 3, 4, 5], "pobočka": ["sever", "jih"]})
    assert asked(path).answers["--label"] == "počet xyz"
    votes = table(tmp_path, {"text": english, "helpful votes": [1, 2, 3, 4, 5], "pobočka": ["sever", "jih"]})
    assert seen(votes).roles.label == ("pobočka",)


UNKNOWN = {"aaa": ["x", "y", "z"], "bbb": [1, 2, 3, 4, 5], "ccc": english, "ddd": other}


def test_all_is_asked_in_one_go_with_a_command_that_works(tmp_path: Path) -> None:
    path = table(tmp_path, UNKNOWN)
    error = asked(path, said=("--name", "mine"))
    assert error.answers == {
        "--text": "ccc,ddd", "--label": "bbb", "--kind": "ordinal", "--lang": "en",
    }  # fmt: skip
    command = shlex.split(error.hint.splitlines()[-1].partition(": ")[2])
    assert command[:5] == ["bench", "init", str(path), "--name", "mine"]
    assert dict(zip(command[5::2], command[6::2], strict=True)) == error.answers
    chosen = ColumnOverrides(text=("ccc", "ddd"), label=("bbb",))
    assert seen(path, chosen=chosen, kind=LabelKind.ORDINAL, lang="en").labels.kind is LabelKind.ORDINAL


def test_only_what_is_open_is_asked(tmp_path: Path) -> None:
    path = table(tmp_path, UNKNOWN)
    error = asked(path, chosen=ColumnOverrides(text=("ccc",)), lang="en")
    assert error.message.count("\n") == 1  # label and kind
    assert error.answers["--text"] == "ccc"
    kind = asked(path, chosen=ColumnOverrides(text=("ccc",), label=("bbb",)), lang="en")
    assert "\n" not in kind.message
    assert seen(path, chosen=ColumnOverrides(text=("ccc",), label=("aaa",)), lang="en").labels.names == ["x", "y", "z"]


def test_the_columns_are_listed_without_a_text_of_a_row(tmp_path: Path) -> None:
    error = asked(table(tmp_path, UNKNOWN))
    assert all(f"{name}: " in error.hint for name in UNKNOWN)
    assert english(3) not in str(error)


@pytest.mark.parametrize("name", ["id", "Unnamed: 0", "index", "idx", "row_id", "key"])
@pytest.mark.parametrize("start", [0, 1, 1000])
def test_a_count_of_rows_is_no_id(tmp_path: Path, name: str, start: int) -> None:
    columns = {name: lambda row: row + start, "text": english, "topic": ["art", "work"]}
    found = seen(table(tmp_path, columns))
    assert found.roles.id is None
    assert ("row-numbers" in kinds(found)) is (name not in ("Unnamed: 0", "index"))
    said = seen(tmp_path / "reviews.csv", chosen=ColumnOverrides(id=name))
    assert (said.roles.id, "row-numbers" in kinds(said)) == (name, True)


@pytest.mark.parametrize("make", [lambda row: 7 * row, lambda row: f"r{row}", lambda row: 1000 + (row * 7) % 120])
def test_ids_of_the_rows_are_kept(tmp_path: Path, make: Any) -> None:
    found = seen(table(tmp_path, {"id": make, "text": english, "topic": ["art", "work"]}))
    assert (found.roles.id, "row-numbers" in kinds(found)) == ("id", False)


def test_numbers_from_0_on_in_any_order_count_rows_too(tmp_path: Path) -> None:
    found = seen(table(tmp_path, {"id": lambda row: (row * 7) % 120, "text": english, "topic": ["art", "work"]}))
    assert (found.roles.id, "row-numbers" in kinds(found)) == (None, True)


def test_another_column_of_ids_is_taken(tmp_path: Path) -> None:
    columns = {"id": lambda row: row, "review_id": lambda row: f"r{row}", "text": english, "topic": ["art", "work"]}
    assert seen(table(tmp_path, columns)).roles.id == "review_id"


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__", "level_0"])
@pytest.mark.parametrize("cells", [lambda row: row, [1, 2, 3, 4, 5], ["a", "b"], [""]])
def test_a_column_without_a_name_of_its_own_is_in_nobodys_way(tmp_path: Path, name: str, cells: Any) -> None:
    found = seen(table(tmp_path, {name: cells, "what they wrote": english, "group": ["art", "work", "food"]}))
    assert (found.roles.text, found.roles.label, found.roles.id) == (("what they wrote",), ("group",), None)


def test_a_needed_column_without_a_name_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no name"):
        seen(table(tmp_path, {"": english, "label": ["art", "work"]}))
