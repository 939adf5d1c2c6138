"""Text stays text in Markdown."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.reports.markdown import Markup, escape, link, table


@settings(deadline=None)
@given(st.text())
def test_an_escaped_text_is_one_plain_line(text: str) -> None:
    escaped = escape(text)
    assert len(escaped.splitlines()) <= 1
    assert not set("<>|`*\\$~") & set(escaped)
    assert "](" not in escaped


def test_plain_names_are_left_alone() -> None:
    assert escape("bert-base_uncased · 0.5 [0.4, 0.6], 星 é") == "bert-base_uncased · 0.5 [0.4, 0.6], 星 é"


def test_no_emphasis_no_formula() -> None:
    assert escape("_a_b_") == "&#95;a_b&#95;"
    assert escape("$x$ ~~y~~") == "&#36;x&#36; &#126;&#126;y&#126;&#126;"


def test_a_table_escapes_all_but_what_is_ready() -> None:
    lines = table(["a|b", "c"], [["<i>", Markup("**x**")], ["", "*y*"]])
    assert lines == ["| a&#124;b | c |", "| --- | --- |", "| &#60;i&#62; | **x** |", "|  | &#42;y&#42; |"]


def test_a_link_holds_any_name() -> None:
    assert link("a] [b](c", "#there") == "[a&#93; &#91;b&#93;&#40;c](#there)"


def test_an_escaped_name_steers_nothing() -> None:
    assert escape("\x1b[1mZ\u202eh\x00\ud800\uffff") == "&#92;x1b[1mZ&#92;u202eh&#92;x00&#92;ud800&#92;uffff"
