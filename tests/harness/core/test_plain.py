"""Names from data are shown as text that steers nothing, and no two characters are shown alike by that."""

from __future__ import annotations

import unicodedata
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.plain import all_plain, encodable, plain

STEERING = [
    *map(chr, (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000))),
    *"\u061c\u200e\u200f\u2028\u2029\ufffe\uffff",
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\rb\bc\x00", "a\\rb\\x08c\\x00"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202egnp.exe\u2069", "\\u202egnp.exe\\u2069"),
        ("half \ud83d", "half \\ud83d"),
        ("\uffff", "\\uffff"),
        ("tab\tand\nline, 日本語, עברית, 👩‍👧 é", "tab\tand\nline, 日本語, עברית, 👩‍👧 é"),
    ],
)
def test_what_would_steer_is_an_escape_and_all_else_stays(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_every_control_character_is_shown() -> None:
    assert [char for char in STEERING if plain(char) == char] == ["\t", "\n"]


@given(st.text(st.characters()))
def test_plain_text_has_no_control_character_and_fits_xml_and_utf8(text: str) -> None:
    shown = plain(text)
    assert all(unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") for char in shown if char not in "\t\n")
    assert plain(shown) == shown
    element = ElementTree.Element("a")
    element.text = shown
    assert ElementTree.fromstring(ElementTree.tostring(element, encoding="utf-8")).text == (shown or None)


def test_all_strings_of_a_json_value() -> None:
    value = {"a\x00": ["\x1b", 1, None, {"b": ("\u202e", 2.5, True)}]}
    assert all_plain(value) == {"a\\x00": ["\\x1b", 1, None, {"b": ["\\u202e", 2.5, True]}]}


def test_only_half_a_surrogate_pair_can_not_be_encoded() -> None:
    assert encodable("\x1b\u202e\x00 é") == "\x1b\u202e\x00 é"
    assert encodable("a\ud800") == "a\\ud800"
