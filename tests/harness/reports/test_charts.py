"""The charts: valid Vega-Lite, with and without rows; drawn, they hold what the rows say, and a name is only ever a name."""

from __future__ import annotations

import re
import socket
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from harness.core.errors import MissingExtra
from harness.reports import charts
from harness.reports.charts.theme import GROUND, GROUND_DARK, INK_TURNS, RAMP, RAMP_DARK
from harness.reports.heatmap import contrast, rgb_of

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

HOSTILE = """<script>alert(1)</script> a|b "c" 'd' $x$ {{ 7*7 }} \\" + alert(1) + ' + alert(2) // `${x}` datum.value %s &amp;"""
BOUNDS = {"value": 0.5, "low": 0.4, "high": 0.6}
ALONE: dict[str, float | None] = {"value": 0.3, "low": None, "high": None}
ROWS: dict[str, list[dict[str, Any]]] = {
    "quality": [
        {"name": "e5", "how": "h", "engine": "encoder", "x": 10.0, "front": True, "key": "1", **BOUNDS},
        {"name": "llm", "how": "h", "engine": "causal_lm", "x": 1.0, "front": False, "key": "2", **ALONE},
    ],
    "languages": [{"lang": "ja", "name": "e5", "text": "0.500", "shade": 0.4, **BOUNDS}],
    "transfer": [
        {"train": "en", "lang": "ja", "text": "0.500", "below": "[b]", "shade": 1.0, "trained": True, "best": True, **BOUNDS},
        {"train": "fr", "lang": "ja", "text": "failed", "below": "", "shade": None, "trained": False, "best": False},
    ],
    "prompts": [{"name": "llm", "prompt": "strict", "unparsed": 0.1, "seeds": 1, **BOUNDS}],
    "curve": [
        {"name": "e5", "kind": "trained", "labels": 8, **BOUNDS},
        {"name": "e5", "kind": "trained", "labels": 64, **BOUNDS},
        {"name": "e5", "kind": "seed", "labels": 8, "value": 0.4},
        {"name": "llm", "kind": "prompted", "labels": 0, **BOUNDS},
        {"name": "e5", "kind": "crossing", "labels": 20, "value": 0.5},
    ],
    "confusion": [{"truth": "good", "answer": "bad", "count": 7, "share": 0.7, "order_truth": 1, "order_answer": 0}],
    "reliability": [{"low": 0.2, "high": 0.3, "confidence": 0.25, "accuracy": 0.5, "count": 40}],
}
MAKE: dict[str, Callable[..., Any]] = {
    "quality": lambda rows, title="t": charts.quality(rows, title, title),
    "languages": lambda rows, title="t": charts.languages(rows, title),
    "transfer": lambda rows, title="t": charts.transfer(rows, title, title),
    "prompts": lambda rows, title="t": charts.prompts(rows, title),
    "curve": lambda rows, title="t": charts.curve(rows, title, title, title),
    "confusion": lambda rows, title="t": charts.confusion(rows),
    "reliability": lambda rows, title="t": charts.reliability(rows),
}
every = pytest.mark.parametrize("kind", list(MAKE))


def said_in(picture: bytes) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]


@every
def test_a_spec_without_rows_names_its_data_and_holds_none(kind: str) -> None:
    spec = MAKE[kind](None).to_dict()  # checks it against the schema of Vega-Lite
    assert spec["data"] == {"name": "rows"}
    assert spec["description"]
    assert "datasets" not in spec


@pytest.mark.slow
@every
def test_a_picture_is_the_same_each_time_and_needs_no_network(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    picture = charts.svg_of(MAKE[kind](ROWS[kind]))
    assert charts.svg_of(MAKE[kind](ROWS[kind])) == picture
    assert b"<image" not in picture
    assert b"href" not in picture.replace(b"xmlns:xlink", b"")


@pytest.mark.slow
@every
def test_a_picture_is_light_or_dark_as_the_page_around_it(kind: str) -> None:
    """Light without its rules, and with them as if it had been drawn for a dark page: in no other colour."""
    picture = charts.svg_of(MAKE[kind](ROWS[kind])).decode()
    light, rules = (
        re.sub("<style>.*</style>", "", picture),
        re.search(r"<style>@media \(prefers-color-scheme:dark\){(.*)}", picture),
    )
    assert rules
    paints = dict(re.findall(r"\.(d\d+){([^}]*)}", rules[1]))
    assert paints
    assert set(re.findall(r"\bd\d+\b", " ".join(re.findall('class="([^"]*)"', light)))) == set(paints)
    for dark, looks in ((False, light), (True, rules[1])):
        assert (GROUND_DARK if dark else GROUND) in looks
        assert charts.config(dark)["axis"]["labelColor"] in looks
        assert charts.config(not dark)["axis"]["labelColor"] not in looks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("quality", ["e5", "encoder", "causal_lm"]),
        ("languages", ["ja", "e5", "0.500"]),
        ("transfer", ["en", "fr", "ja", "0.500", "[b]", "failed", "tested on"]),
        ("prompts", ["llm", "strict"]),
        ("curve", ["e5", "llm", "8", "64"]),
        ("confusion", ["good", "bad", "7"]),
        ("reliability", ["confidence", "accuracy"]),
    ],
)
def test_a_picture_says_what_its_rows_say(kind: str, texts: list[str]) -> None:
    said = said_in(charts.svg_of(MAKE[kind](ROWS[kind])))
    assert [text for text in texts if text not in said] == []


@pytest.mark.slow
@every
def test_a_name_is_only_ever_a_name(kind: str) -> None:
    rows = [
        {key: HOSTILE if isinstance(field, str) and key not in ("kind", "key") else field for key, field in row.items()}
        for row in ROWS[kind]
    ]
    picture = charts.svg_of(MAKE[kind](rows, HOSTILE))
    assert b"<script" not in picture
    spec = MAKE[kind](rows).to_dict()
    assert "alert" not in str({**spec, "data": None, "datasets": None})
    words = [text for text in said_in(picture) if "alert" in text or "…" in text]
    assert kind == "reliability" or words
    assert all(HOSTILE.startswith(text.rstrip("…")) for text in words)


@pytest.mark.slow
def test_an_axis_title_of_any_words_is_shown_as_it_is() -> None:
    assert HOSTILE in said_in(charts.svg_of(charts.quality(ROWS["quality"], HOSTILE, "y")))


@pytest.mark.slow
def test_no_rows_no_intervals_no_price() -> None:
    for kind, make in MAKE.items():
        assert charts.svg_of(make([])), kind
    bare = [{**row, "low": None, "high": None} for row in ROWS["quality"]]
    assert "e5" in said_in(charts.svg_of(charts.quality(bare, "x", "y")))
    free = [{**row, "x": price} for row, price in zip(ROWS["quality"], (None, 0.0), strict=True)]
    assert "e5" not in said_in(charts.svg_of(charts.quality(free, "x", "y")))


@pytest.mark.slow
def test_a_range_over_seeds_does_not_look_like_an_interval() -> None:
    def rule(seeds: int) -> str:
        picture = charts.svg_of(charts.prompts([{**ROWS["prompts"][0], "seeds": seeds}], "t")).decode()
        (line,) = re.findall(r"<line[^>]*stroke-opacity[^>]*>|<line[^>]*opacity=\"0.6\"[^>]*>", picture)
        return "dashed" if 'stroke-dasharray="4,3"' in line else "whole"

    assert (rule(1), rule(3)) == ("whole", "dashed")


@pytest.mark.slow
def test_points_close_together_on_the_front_share_one_label() -> None:
    def front(*points: tuple[str, float, float]) -> list[str]:
        rows = [{**ROWS["quality"][0], "name": name, "x": x, "value": value} for name, x, value in points]
        said = said_in(charts.svg_of(charts.quality([*rows, {**ROWS["quality"][1], "x": 1.0, "value": 0.1}], "x", "y")))
        return [name for name, _, _ in points if name in said]

    assert front(("far", 10.0, 0.9), ("near", 1000.0, 0.5)) == ["far", "near"]
    assert front(("first", 990.0, 0.801), ("second", 1000.0, 0.8)) == ["first"]


def quality_of(*points: tuple[float, float], **more: Any) -> bytes:
    """A chart of these points: price and quality."""
    rows = [{**ROWS["quality"][0], **ALONE, "name": f"m{at}", "x": x, "value": value} for at, (x, value) in enumerate(points)]
    return charts.svg_of(charts.quality([{**row, **more} for row in rows], "x", "y"))


@pytest.mark.slow
@pytest.mark.parametrize(("least", "most"), [(0.000698, 0.000732), (40.6, 236.3), (2.0, 19.0), (0.1, 9000.0), (5.0, 5.0)])
def test_the_axis_of_prices_has_numbers(least: float, most: float) -> None:
    """Vega leaves out those far from a power of ten, which may be all of them."""
    said = said_in(quality_of((least, 0.3), (most, 0.5)))
    numbers = [text for text in said if re.fullmatch(r"[\d,.]+", text)]
    prices = [
        number for text in numbers if (number := float(text.replace(",", ""))) >= least * 0.5 and number not in (0.3, 0.5)
    ]
    assert len([number for number in prices if number <= most * 2]) >= (2 if least < most else 1), numbers


@pytest.mark.slow
def test_quality_begins_at_0_where_nothing_is_below() -> None:
    def place(value: float) -> float:
        """Of the lowest point, from above."""
        found = re.findall(
            r'role-mark layer_2_marks.*?transform="translate\([\d.]+,([\d.]+)\)"', quality_of((1, value), (9, 0.6)).decode()
        )
        return float(found[0])

    assert place(0.0) == 340
    assert place(-0.1) < 330
    assert place(0.3) < 330


@pytest.mark.slow
def test_points_of_one_name_on_the_front_are_told_apart() -> None:
    def front(*hows: str) -> list[str]:
        rows = [
            {**ROWS["quality"][0], **ALONE, "name": "m", "how": how, "x": 10.0**at, "value": 0.9 - 0.3 * at}
            for at, how in enumerate(hows)
        ]
        return [text for text in said_in(charts.svg_of(charts.quality(rows, "x", "y"))) if text.startswith("m")]

    assert set(front("trained on 9 en, a=1")) == {"m"}
    assert set(front("trained on 9 en, a=1", "trained on 9 en, a=2, onnx")) == {"m · a=1", "m · a=2, onnx"}
    assert set(front("trained on 9 en, a=1", "trained on 9 en", "trained on 7 en")) == {
        "m · on 9 en, a=1",
        "m · on 9 en",
        "m · on 7 en",
    }


@pytest.mark.slow
def test_long_names_on_the_front_are_cut_where_they_are_alike() -> None:
    def front(*names: str) -> set[str]:
        rows = [
            {**ROWS["quality"][0], **ALONE, "name": name, "x": 10.0**at, "value": 0.9 - 0.3 * at}
            for at, name in enumerate(names)
        ]
        return {text for text in said_in(charts.svg_of(charts.quality(rows, "x", "y"))) if "xlm" in text}

    family = "encoder:some-organisation/xlm-roberta"
    assert front(f"{family}-base", f"{family}-large") == {
        "…e-organisation/xlm-roberta-base",
        "…-organisation/xlm-roberta-large",
    }
    assert front("encoder:xlm-roberta", f"{family}-large") == {"encoder:xlm-roberta", "encoder:some-organisation/xlm-r…"}


@pytest.mark.parametrize(("ramp", "inks"), [(RAMP, (0, 1)), (RAMP_DARK, (1, 0))], ids=["light", "dark"])
def test_the_ink_on_a_cell_can_be_read(ramp: tuple[str, ...], inks: tuple[int, int]) -> None:
    steps = [rgb_of(step) for step in ramp]
    for number in range(301):
        share = number / 300
        place = min(int(share * 3), 2)
        part = share * 3 - place
        low, high = steps[place], steps[place + 1]
        fill = tuple(a + part * (b - a) for a, b in zip(low, high, strict=True))
        level = float(inks[share >= INK_TURNS])
        assert contrast((level,) * 3, (fill[0], fill[1], fill[2])) >= 4.5  # WCAG 2.1, AA


def test_without_the_libraries_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    chart = charts.confusion(ROWS["confusion"])
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MissingExtra, match="vl-convert"):
        charts.svg_of(chart)
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(MissingExtra, match="altair") as caught:
        charts.confusion(None)
    assert "[charts]" in caught.value.hint


@pytest.mark.slow
@pytest.mark.parametrize("bad", ["\x00", "\x1b[31m", "\b", "\x01", "\ufffe", "\uffff", "\ud800", "\u202e", "\x9b"], ids=ascii)
def test_a_character_that_xml_forbids_is_drawn_as_its_escape(bad: str) -> None:
    """The library ends the whole process on some of them."""
    row = {**ROWS["languages"][0], "lang": f"a{bad}", "name": f"b{bad}"}
    drawn = charts.svg_of(charts.languages([row], f"c{bad}")).decode()
    shown = "".join(ElementTree.fromstring(drawn).itertext())
    escaped = ascii(bad)[1:-1]
    assert all(f"{letter}{escaped}" in shown for letter in "abc")


@pytest.mark.parametrize("kind", ["quality", "languages", "transfer"])
def test_a_spec_may_get_its_rows_later(kind: str) -> None:
    rows: Any = charts.labelled(ROWS[kind]) if kind == "quality" else ROWS[kind]
    assert charts.with_rows(MAKE[kind](None).to_dict(), rows) == MAKE[kind](ROWS[kind]).to_dict()
