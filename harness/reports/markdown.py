"""Markdown for GitHub: escaped text, links, tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.core.plain import plain

_ESCAPES = str.maketrans({char: f"&#{ord(char)};" for char in "&<>|`*\\$~"})


class Markup(str):
    """Markdown such as links and emphasis; the names in it are already escaped."""

    __slots__ = ()


def escape(text: str) -> str:
    """Text as Markdown on one line."""
    line = plain(" ".join(text.split())).translate(_ESCAPES).replace("](", "]&#40;")  # a link; brackets alone are intervals
    return re.sub(r"(?<!\w)_|_(?!\w)", "&#95;", line)  # inside a word it is no emphasis


def link(text: str, target: str) -> Markup:
    """`target`: already quoted for a URL."""
    named = escape(text).replace("[", "&#91;").replace("]", "&#93;")
    return Markup(f"[{named}]({target})")


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table. Cells that are not `Markup` are escaped."""
    return [row(titles), "|" + " --- |" * len(titles), *map(row, rows)]


def row(cells: Iterable[str]) -> str:
    """A line of a table."""
    return "| " + " | ".join(cell if isinstance(cell, Markup) else escape(cell) for cell in cells) + " |"
