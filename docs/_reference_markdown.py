"""The Markdown of docs/reference/: prose, cells and tables."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

NOTICE = "<!-- Made from the code by `make reference`: change the code, not this page. -->"
BAR = "&#124;"


def prose(text: str) -> str:
    """Text of a docstring with `<` escaped, except in code and indented listings."""
    if text.startswith("    "):
        return text
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"<(?=[\w/!])", "&lt;", part) for part in parts)


def cell(text: str) -> str:
    """One line; a bar inside code becomes HTML, since Markdown dialects differ on `\\|` there."""
    line = prose(" ".join(text.split()))
    line = re.sub(r"`([^`]*\|[^`]*)`", lambda code: f"<code>{html.escape(code[1]).replace('|', BAR)}</code>", line)
    return line.replace("|", BAR)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def joined(parts: Sequence[str]) -> str:
    return "\n\n".join(parts) + "\n"
