"""Languages as columns call them, and as the texts look: how `bench init` reads and doubts them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tables import seen, written

from harness.core.errors import Unanswered, UserError
from harness.core.types import LabelKind
from harness.data.guess.columns import ColumnOverrides
from harness.data.guess.inspect_file import Found
from harness.data.guess.language import known_code, looks_of
from harness.data.guess.task_yaml import task_yaml
from harness.data.rows import load_examples
from harness.specs.tasks import TaskSpec
from harness.specs.yamlspec import parse_yaml_spec

pytestmark = pytest.mark.slow  # test_guess has the commonest ones

WORDS = {
    "en": "the box came late but works well and nobody answered my letter about this old chair",
    "fi": "matka oli kaiken kaikkiaan hirveän huono mutta palvelu mielestäni todella hyvä ja ruoka tänään iloinen",
    "es": "la comida de hoy estaba muy rica pero el servicio fue lento aunque la habitación era pequeña",
    "pt": "a comida de hoje estava muito boa mas o serviço foi lento embora o quarto não fosse pequeno",
    "de": "der stuhl ist nach zwei wochen kaputt gegangen und niemand hat auf meinen brief geantwortet",
    "sv": "stolen gick sönder efter två veckor och ingen svarade på mitt brev trots att jag skrev igen",
    "da": "stolen gik i stykker efter to uger og ingen svarede på mit brev selvom jeg skrev igen",
    "id": "barangnya datang terlambat tetapi masih bagus dan penjual tidak pernah membalas pesan saya",
}


def text(code: str, row: int, words: int = 9) -> str:
    known = WORDS[code].split()
    return " ".join(known[(row * 7 + step * (1 + row % 3)) % len(known)] for step in range(words)) + f" {row}"


def table(tmp_path: Path, langs: list[str], lang: dict[str, Any] | None = None, count: int = 240, words: int = 9) -> Path:
    """Texts that go round in `langs`; `lang`: a column, whose cells go round too."""
    header = ["text", *(lang or {}), "topic"]
    rows = [
        [
            text(langs[row % len(langs)], row, words),
            *(cells[row % len(cells)] for cells in (lang or {}).values()),
            "abc"[row % 7 % 3],
        ]
        for row in range(count)
    ]
    return written(tmp_path / "rows.csv", header, rows)


def doubted(found: Found) -> list[str]:
    return [doubt.text for doubt in found.doubts if doubt.kind == "language-texts"]


@pytest.mark.parametrize(
    ("langs", "said", "doubt"),
    [
        (["fi"] * 3 + ["es"] * 2, "fi", "es 40%"),
        (["fi"] * 9 + ["es"], "fi", "es 10%"),
        (["fi"] * 19 + ["en"], "fi", "en 5%"),
        (["es"] * 3 + ["pt"] * 2, "es", "pt"),
        (["sv"] * 3 + ["da"] * 2, "sv", "da"),
        (["es"], "fi", "es 100%"),
        *[([code], code, None) for code in WORDS],
    ],
)
def test_a_code_is_held_against_the_texts(tmp_path: Path, langs: list[str], said: str, doubt: str | None) -> None:
    found = doubted(seen(table(tmp_path, langs), lang=said))
    assert [doubt in text for text in found if doubt is not None] == ([] if doubt is None else [True])
    assert len(found) == (doubt is not None)


@pytest.mark.parametrize("words", [1, 2, 3, 5])
@pytest.mark.parametrize("code", ["en", "fi", "es", "de", "id"])
def test_short_texts_are_no_doubt(tmp_path: Path, code: str, words: int) -> None:
    """The detector mistakes one word most of the time; that says nothing against the language."""
    path = table(tmp_path, [code], words=words)
    assert doubted(seen(path, lang=code)) == []
    assert seen(path).languages.codes == [code]


def test_short_texts_all_together_are_one(tmp_path: Path) -> None:
    assert len(doubted(seen(table(tmp_path, ["en"], words=3), lang="fr"))) == 1


def test_languages_that_are_detected_are_held_against_the_texts_too(tmp_path: Path) -> None:
    found = seen(table(tmp_path, ["fi"] * 9 + ["es"]))
    assert (found.languages.codes, ["es 10%" in text for text in doubted(found)]) == (["fi"], [True])
    mixed = seen(table(tmp_path, ["fi"] * 3 + ["es"] * 2))
    assert (mixed.languages.codes, "language-mix" in [doubt.kind for doubt in mixed.doubts]) == (["mul"], True)


def test_each_language_of_a_column_is_held_against_its_texts(tmp_path: Path) -> None:
    langs = ["fi", "fi", "es", "en", "es", "en"]
    found = seen(table(tmp_path, ["fi", "fi", "es", "es", "es", "en"], {"lang": langs}))
    assert sorted(found.languages.codes) == ["en", "es", "fi"]
    assert [("says en" in text, "es 50%" in text) for text in doubted(found)] == [(True, True)]


def test_every_row_of_a_period_in_another_language_is_seen() -> None:
    texts = [text("es" if row % 10 == 0 else "fi", row) for row in range(4000)]
    looks = looks_of(texts)
    assert looks is not None
    assert 0.05 < looks.others("fi")["es"] / looks.total < 0.16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "code"),
    [
        *[("suomi", "fi"), ("Espanja", "es"), ("deutsch", "de"), ("Englisch", "en"), ("日本語", "ja"), ("Español", "es")],
        *[("Finnish", "fi"), ("FI-fi", "fi"), ("fi_FI.UTF-8", "fi"), ("fin", "fi"), ("eng_Latn", "en"), ("anglais", "en")],
        *[("język angielski", "en"), ("Bahasa Inggris", "en"), ("русский язык", "ru"), ("ไทย", "th"), ("ภาษาไทย", "th")],
        *[("İngilizce", "en"), ("ingilizce", "en"), ("Chinese (Simplified)", "zh"), ("中文", "zh"), ("英語", "en")],
        *[("tiếng Anh", "en"), ("الإنجليزية", "en"), ("अंग्रेज़ी", "en"), ("한국어", "ko"), ("espanol", "es")],
        *[("Tedesco", "de"), ("němčina", "de"), ("ruotsi", "sv"), ("norsk bokmål", "no"), ("nynorsk", "no"), ("iw", "he")],
        *[("lang1", None), ("us", None), ("other", None), ("Python", None), ("unknown", None), ("1", None), ("foo", None)],
    ],
)  # fmt: skip
def test_a_language_by_its_name_in_any_language(cell: str, code: str | None) -> None:
    assert known_code(cell) == code


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kieli", "language", "Sprache", "言語", "text_lang"])
def test_a_column_in_its_own_words(tmp_path: Path, name: str) -> None:
    path = table(tmp_path, ["fi", "es"], {name: ["suomi", "espanja"]})
    found = seen(path)
    assert (found.languages.rows, found.languages.mapping) == ({"fi": 120, "es": 120}, {"suomi": "fi", "espanja": "es"})
    assert "language-names" in [doubt.kind for doubt in found.doubts]
    task = tmp_path / "tasks" / "rows.yaml"
    spec = parse_yaml_spec(task_yaml(found, "rows", task.parent), task, TaskSpec, name="rows", folder=task.parent)
    assert spec.columns.lang_map == {"suomi": "fi", "espanja": "es"}
    assert {row.lang for row in load_examples(spec, lang="es", split="test")} == {"es"}


@pytest.mark.slow
@pytest.mark.parametrize("cells", [["lang1", "lang2"], ["0", "1"], ["US", "MX"], ["A, first", "B=second"]])
def test_cells_that_name_no_language_are_asked_about_with_what_the_texts_look_like(tmp_path: Path, cells: list[str]) -> None:
    path = table(tmp_path, ["fi", "es"], {"lang": cells})
    with pytest.raises(Unanswered) as error:
        seen(path)
    mapping = dict(zip(cells, ["fi", "es"], strict=True))
    assert error.value.answers["--lang-map"] == ",".join(f"{cell}={code}" for cell, code in mapping.items())
    found = seen(path, lang="lang", lang_map=mapping)
    assert (found.languages.rows, found.languages.mapping) == ({"fi": 120, "es": 120}, mapping)
    assert seen(path, lang="en").languages.codes == ["en"]


@pytest.mark.slow
@pytest.mark.parametrize("cells", [["python", "rust"], ["US", "GB"], ["python", "java", "rust"]])
def test_a_column_of_something_else_leads_to_the_one_language_of_the_texts(tmp_path: Path, cells: list[str]) -> None:
    with pytest.raises(Unanswered) as error:
        seen(table(tmp_path, ["en"], {"language": cells}))
    assert {option: said for option, said in error.value.answers.items() if option.startswith("--lang")} == {"--lang": "en"}


def test_the_language_may_be_what_is_to_be_told(tmp_path: Path) -> None:
    rows = [[text(["en", "fi"][row % 2], row), ["English", "Finnish"][row % 2]] for row in range(120)]
    path = written(tmp_path / "rows.csv", ["text", "language"], rows)
    with pytest.raises(Unanswered) as error:
        seen(path)
    assert (error.value.answers["--label"], error.value.answers["--lang"]) == ("language", "mul")
    found = seen(path, chosen=ColumnOverrides(label=("language",)), lang="mul")
    assert (found.labels.names, found.languages.column) == (["English", "Finnish"], None)


@pytest.mark.slow
def test_a_few_cells_that_name_no_language_are_left_out_and_said(tmp_path: Path) -> None:
    found = seen(table(tmp_path, ["fi"], {"lang": ["fi"] * 19 + ["other"]}))
    assert found.languages.rows == {"fi": 228}
    said = [doubt.text for doubt in found.doubts if doubt.kind == "language-left-out"]
    assert ["'other'" in text and "--lang-map" in text for text in said] == [True]


@pytest.mark.slow
def test_a_map_goes_before_what_a_cell_seems_to_say(tmp_path: Path) -> None:
    found = seen(table(tmp_path, ["es", "en"], {"lang": ["se", "en"]}), lang_map={"se": "es"})
    assert found.languages.mapping == {"se": "es"}


@pytest.mark.slow
def test_a_map_without_a_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--lang-map"):
        seen(table(tmp_path, ["en"]), lang_map={"suomi": "fi"})


@pytest.mark.slow
def test_a_name_may_be_given_for_a_code(tmp_path: Path) -> None:
    assert seen(table(tmp_path, ["fi"]), lang="suomi").languages.codes == ["fi"]


@pytest.mark.slow
def test_names_of_languages_are_loaded_only_where_needed() -> None:
    code = "import sys, harness.cli; from harness.data.guess.language import known_code as k; k('en'); k('German'); k('fin');"
    out = subprocess.run(
        [sys.executable, "-c", code + "print('babel' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize(
    "names", [("フィンランド語", "スペイン語"), ("ภาษาฟินแลนด์", "ภาษาสเปน"), ("芬兰语", "西班牙语"), ("핀란드어", "스페인어")]
)
def test_names_in_scripts_without_spaces_are_no_running_text(tmp_path: Path, names: tuple[str, str]) -> None:
    languages = seen(table(tmp_path, ["fi", "es"], {"lang": list(names)}), kind=LabelKind.NOMINAL).languages
    assert (languages.column, languages.mapping) == ("lang", dict(zip(names, ("fi", "es"), strict=True)))
