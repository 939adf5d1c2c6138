"""Markdown as GitHub reads it: text that stays text, and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.core.plain import plain

_ESCAPES = str.maketrans({char: f"&#{ord(char)};" for char in "&<>|`*\\$~"})


class Markup(str):
    """Markdown that is ready: links, emphasis. Whoever makes it has escaped the names in it."""

    __slots__ = ()


def escape(text: str) -> str:
    """A name from a file is text, not Markdown or HTML, and stays on its line."""
    line = plain(" ".join(text.split())).translate(_ESCAPES).replace("](", "]&#40;")  # a link; brackets alone are intervals
    return re.sub(r"(?<!\w)_|_(?!\w)", "&#95;", line)  # within a word it is no emphasis


def link(text: str, target: str) -> Markup:
    """`target` is ready for an address: quoted, or made of our own words."""
    named = escape(text).replace("[", "&#91;").replace("]", "&#93;")
    return Markup(f"[{named}]({target})")


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table. What is no `Markup` is text, and is escaped."""
    return [row(titles), "|" + " --- |" * len(titles), *map(row, rows)]


def row(cells: Iterable[str]) -> str:
    """A line of a table."""
    return "| " + " | ".join(cell if isinstance(cell, Markup) else escape(cell) for cell in cells) + " |"
