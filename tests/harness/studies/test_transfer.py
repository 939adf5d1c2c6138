"""Trained on × tested on: the grid from records, its page and its picture."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

import boards
import pytest

from harness.core.errors import MissingExtra, UserError
from harness.core.record import RunRecord
from harness.reports.heatmap import RAMP, colour, contrast, hex_of, ink_on, svg
from harness.reports.transfer_page import markdown
from harness.studies.transfer import Cell, Grid, Row, make_grid, row_of

EN, FR, FR_BY_EN = Row(("en",), ("en",)), Row(("fr",), ("fr",)), Row(("fr",), ("en",))
BOTH = Row(("en", "fr"), ("en", "fr"))


def record(row: Row, lang: str, value: float | None, seed: int = 0, metric: str = "accuracy", **changes: Any) -> RunRecord:
    train = {**boards.TRAIN, "langs": list(row.train)}
    if not row.own:
        train["validation_langs"] = list(row.validation)
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    metrics = {
        "n": 50 if lang == "en" else 40,
        "headline": [metric],
        "values": {metric: {"value": value, "low": low, "high": high, "method": "wilson"}},
    }
    made = boards.entry(changes.pop("name", "mine"), metrics=metrics, train=train, lang=lang, seed=seed)
    return boards.renamed(boards.with_changes(made, **changes), f"{row.label}.{lang}.{seed}").record


def grid(*records: RunRecord, rows: tuple[Row, ...] = (EN, FR), metric: str = "accuracy") -> Grid:
    return make_grid(records, metric, rows)


SQUARE = [record(EN, "en", 0.6), record(EN, "fr", 0.4), record(FR, "en", 0.5), record(FR, "fr", 0.7)]


def test_a_cell_is_a_run_with_its_interval() -> None:
    found = grid(*SQUARE)
    assert (found.task, found.backend, found.seeds, found.langs) == ("toy", "mine", (0,), ("en", "fr"))
    assert found.cells[EN, "fr"] == Cell(0.4, pytest.approx(0.3), pytest.approx(0.5), ("en.fr.0",))
    assert found.texts(EN, "fr") == ("0.400", "[0.300, 0.500]")
    assert found.counts == {"en": 50, "fr": 40}


def test_several_seeds_are_a_mean_and_a_range() -> None:
    found = grid(record(EN, "en", 0.7, 2), record(EN, "en", 0.4, 1), record(EN, "en", 0.5, 0), rows=(EN,))
    cell = found.cells[EN, "en"]
    assert cell.value == pytest.approx(1.6 / 3)
    assert (cell.low, cell.high, cell.runs) == (0.4, 0.7, ("en.en.0", "en.en.1", "en.en.2"))
    assert found.texts(EN, "en") == ("0.533", "0.400–0.700")


def test_a_run_that_failed_is_missing_and_not_hidden() -> None:
    found = grid(*SQUARE[:3], record(EN, "en", 0.8, 1))
    assert found.texts(FR, "fr") == ("failed", "")
    assert found.texts(EN, "en") == ("0.700", "0.600–0.800")
    assert found.texts(EN, "fr") == ("0.400", "[0.300, 0.500] (1 of 2 seeds)")


def test_an_undefined_metric_is_never_the_best() -> None:
    found = grid(record(EN, "en", None, metric="qwk"), record(FR, "en", -0.5, metric="qwk"), metric="qwk")
    assert found.texts(EN, "en") == ("n/a", "")
    assert found.best == {(FR, "en")}
    assert (EN, "en") not in found.shares()


def test_best_of_each_column_and_equal_ones_together() -> None:
    assert grid(*SQUARE).best == {(EN, "en"), (FR, "fr")}
    level = grid(record(EN, "en", 0.5), record(FR, "en", 0.5))
    assert level.best == {(EN, "en"), (FR, "en")}
    assert set(level.shares().values()) == {0.5}
    errors = [record(EN, "en", 0.6, metric="mae"), record(FR, "en", 0.9, metric="mae")]
    assert grid(*errors, metric="mae").best == {(EN, "en")}


def test_the_better_the_darker() -> None:
    assert grid(*SQUARE).shares()[FR, "fr"] == 1
    assert grid(*SQUARE).shares()[EN, "fr"] == 0
    errors = [record(EN, "en", 0.6, metric="mae"), record(FR, "en", 0.9, metric="mae")]
    assert grid(*errors, metric="mae").shares() == {(EN, "en"): 1, (FR, "en"): 0}


def test_the_validation_languages_stand_in_the_identity_where_they_differ() -> None:
    assert [row_of(record(row, "en", 0.5).identity) for row in (EN, FR_BY_EN, BOTH)] == [EN, FR_BY_EN, BOTH]
    assert [row.label for row in (EN, FR_BY_EN, BOTH)] == ["en", "fr (en)", "en+fr"]


def test_a_metric_that_the_runs_do_not_have() -> None:
    with pytest.raises(UserError, match="no metric 'qwk'") as caught:
        grid(*SQUARE, metric="qwk")
    assert "accuracy" in caught.value.hint


def cells_of(page: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]


def test_the_page_says_what_selected_each_checkpoint_and_marks_diagonal_and_best() -> None:
    records = [
        *SQUARE,
        record(FR_BY_EN, "en", 0.3),
        record(FR_BY_EN, "fr", 0.2),
        record(BOTH, "en", 0.1),
        record(BOTH, "fr", 0.1),
    ]
    page = markdown(grid(*records, rows=(EN, FR, FR_BY_EN, BOTH)), "toy.svg")
    header, rule, *rows = cells_of(page)
    assert header == ["trained on", "validated on", "en (n = 50)", "fr (n = 40)"]
    assert len(rule) == len(header)
    assert rows == [
        ["en", "own", "**0.600 [0.500, 0.700]** ◆", "0.400 [0.300, 0.500]"],
        ["fr", "own", "0.500 [0.400, 0.600]", "**0.700 [0.600, 0.800]** ◆"],
        ["fr", "en", "0.300 [0.200, 0.400]", "0.200 [0.100, 0.300] ◆"],
        ["en+fr", "own", "0.100 [0.000, 0.200] ◆", "0.100 [0.000, 0.200] ◆"],
    ]
    assert "](toy.svg)" in page
    assert "(seed 0)" in page


def test_the_page_names_seeds_settings_and_direction() -> None:
    settings = {"train.lr": 3e-5, "note": "a|b"}
    one, other = (record(EN, "en", value, seed, "mae", settings=settings) for value, seed in ((0.4, 3), (0.6, 5)))
    page = markdown(grid(one, other, rows=(EN,), metric="mae"), None)
    assert "train.lr=3e-05, note=a&#124;b" in page
    assert "2 seeds (3, 5)" in page
    assert "![" not in page
    assert "MAE" in page.splitlines()[0]


def test_the_ramp_grows_darker_and_its_text_is_readable() -> None:
    steps = [colour(step / 200) for step in range(201)]
    against_white = [contrast((1, 1, 1), step) for step in steps]
    assert against_white == sorted(against_white)
    assert against_white[-1] > 10 * against_white[0]
    assert min(contrast(ink_on(step), step) for step in steps) >= 4.5  # WCAG 2.1, AA
    assert [colour(0), colour(-1)] == [RAMP[0], RAMP[0]]
    assert [colour(1), colour(2)] == [pytest.approx(RAMP[-1])] * 2
    assert hex_of((0, 0.5, 1)) == "#0080ff"
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)


def said_in(picture: bytes) -> list[str]:
    """What is written in it."""
    return ["".join(text.itertext()) for text in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.slow
def test_the_picture_is_the_same_each_time_and_holds_every_cell() -> None:
    pytest.importorskip("vl_convert")
    found = grid(*SQUARE, record(FR_BY_EN, "en", 0.33), rows=(EN, FR, FR_BY_EN))
    picture = svg(found)
    assert svg(found) == picture
    assert b"<image" not in picture
    said = said_in(picture)
    for text in ("0.600", "[0.500, 0.700]", "0.330", "failed", "fr (en)", "tested on", "fr (n = 40)"):
        assert text in said
    assert "mine · toy · accuracy (higher is better)" in said
    for share in (0.0, 1.0):
        red, green, blue = (round(255 * part) for part in colour(share))
        assert f"rgb({red}, {green}, {blue})".encode() in picture
    notes = [" ".join(said_in(svg(made))) for made in (found, grid(*SQUARE))]
    assert ["in parentheses: whose validation rows" in note for note in notes] == [True, False]


@pytest.mark.slow
def test_a_row_without_a_value_keeps_its_place() -> None:
    pytest.importorskip("vl_convert")
    records = [record(EN, "en", None), record(EN, "fr", None), *SQUARE[2:]]
    said = said_in(svg(grid(*records)))
    assert said.index("en") < said.index("fr")
    assert said.count("n/a") == 2


@pytest.mark.slow
def test_a_picture_of_one_value_and_of_none() -> None:
    pytest.importorskip("vl_convert")
    assert "0.600" in said_in(svg(grid(record(EN, "en", 0.6), rows=(EN,))))
    assert "n/a" in said_in(svg(grid(record(EN, "en", None), rows=(EN,))))


@pytest.mark.slow
def test_a_name_with_signs_of_mathematics_is_drawn_as_it_is() -> None:
    pytest.importorskip("vl_convert")
    drawn = svg(grid(record(EN, "en", 0.6, name="my$odel_$x"), rows=(EN,)))
    assert "my$odel_$x · toy · accuracy (higher is better)" in said_in(drawn)


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(MissingExtra, match="altair") as caught:
        svg(grid(*SQUARE))
    assert "[charts]" in caught.value.hint
