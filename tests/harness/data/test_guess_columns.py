"""Titles beside a text, columns that count rows, and languages that are held against the texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tables import english, seen, written

from harness.data.guess.inspect_file import Found

FINNISH = "Ruoka oli tänään todella hyvää ja palvelu oli mielestäni ystävällistä, tulemme varmasti uudestaan"
SPANISH = "La comida de hoy estaba muy buena y el servicio fue amable, volveremos seguramente con la familia"
SWEDISH = "Maten var mycket god idag och servicen var vänlig, vi kommer säkert tillbaka med hela familjen"
DANISH = "Maden var meget god i dag og betjeningen var venlig, vi kommer helt sikkert tilbage med familien"
TITLES = ["Love it so much", "Never again", "Poor", "OK", "Great value"]


def table(path: Path, columns: dict[str, list[Any]]) -> Path:
    return written(path, list(columns), list(zip(*columns.values(), strict=True)))


def kinds(found: Found) -> list[str]:
    return [doubt.kind for doubt in found.doubts]


def reviews(**more: list[Any]) -> dict[str, list[Any]]:
    return {**more, "content": [english(row) for row in range(80)], "stars": [row % 5 + 1 for row in range(80)]}


@pytest.mark.parametrize("name", ["title", "Title", "headline", "review_title", "summary", "titre"])
def test_a_title_that_repeats_is_part_of_the_text(tmp_path: Path, name: str) -> None:
    found = seen(table(tmp_path / "mine.csv", reviews(**{name: [TITLES[row % 5] for row in range(80)]})))
    assert found.roles.text == (name, "content")
    assert "--text content" in " ".join(found.notes)


def test_a_title_after_its_text_is_put_before_it(tmp_path: Path) -> None:
    columns = reviews() | {"title": [TITLES[row % 5] for row in range(80)]}
    assert seen(table(tmp_path / "mine.csv", columns)).roles.text == ("title", "content")


@pytest.mark.parametrize(("name", "values"), [("title", ["Mr", "Ms", "Dr"]), ("subject", ["physics lesson", "maths lesson"])])
def test_what_is_no_title_is_said(tmp_path: Path, name: str, values: list[str]) -> None:
    found = seen(table(tmp_path / "mine.csv", reviews(**{name: [values[row % len(values)] for row in range(80)]})))
    assert found.roles.text == ("content",)
    assert f"--text {name},content" in " ".join(found.notes)


@pytest.mark.parametrize("start", [0, 1, 1000])
def test_a_column_that_counts_the_rows_is_no_id(tmp_path: Path, start: int) -> None:
    found = seen(table(tmp_path / "mine.csv", reviews(id=list(range(start, start + 80)))))
    assert found.roles.id is None
    assert "row-numbers" in kinds(found)


def test_other_numbers_are_an_id(tmp_path: Path) -> None:
    found = seen(table(tmp_path / "mine.csv", reviews(id=[7 * row + 3 for row in range(80)])))
    assert found.roles.id == "id"
    assert "row-numbers" not in kinds(found)


def mixed(first: str, second: str, share: float) -> dict[str, list[Any]]:
    texts = [f"{second if row < share * 100 else first} {row}" for row in range(100)]
    return {"text": texts, "label": ["art", "work"] * 50}


@pytest.mark.parametrize(
    ("first", "second", "share", "lang", "said"),
    [
        (FINNISH, SPANISH, 0.4, "fi", "es"),
        (FINNISH, SPANISH, 0.1, "fi", "es"),
        (FINNISH, SPANISH, 0.1, None, "es"),
        (FINNISH, SPANISH, 0.01, "fi", None),
        (SWEDISH, DANISH, 0.3, "sv", None),  # neighbours, which a detector takes for one another
        (FINNISH, SPANISH, 0.9, "fi", "es"),
    ],
)
def test_texts_in_another_language_are_said(
    tmp_path: Path, first: str, second: str, share: float, lang: str | None, said: str | None
) -> None:
    found = seen(table(tmp_path / "mine.csv", mixed(first, second, share)), lang=lang)
    about = [doubt.text for doubt in found.doubts if doubt.kind == "language"]
    assert bool(about) == (said is not None)
    assert said is None or f"{said} " in f"{about[0]} "


def test_texts_of_another_language_under_a_code_of_a_column(tmp_path: Path) -> None:
    columns = mixed(FINNISH, SPANISH, 0.2) | {"lang": ["fi"] * 100}
    swedish = {"text": [f"{SWEDISH} {row}" for row in range(40)], "label": ["art", "work"] * 20, "lang": ["sv"] * 40}
    columns = {name: [*values, *swedish[name]] for name, values in columns.items()}
    found = seen(table(tmp_path / "mine.csv", columns))
    (about,) = [doubt.text for doubt in found.doubts if doubt.kind == "language"]
    assert "fi" in about
    assert "es 20%" in about
