"""Make text from files, records and servers safe to show."""

from __future__ import annotations

import re
from typing import Any

from harness.core.places import with_urls

# Control characters but tab and newline, line and paragraph separators, marks of writing direction, halves of surrogate pairs,
# U+FFFE and U+FFFF: they could move the cursor, set colours or reorder a line, or are invalid in UTF-8 or XML.
UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def plain(text: str) -> str:
    """Safe for a terminal, a page and a picture: unsafe characters become escapes such as `\\x1b`. A file in the copy of a URL
    is named by its URL."""
    return UNSAFE.sub(lambda found: ascii(found[0])[1:-1], with_urls(text))


def encodable(text: str) -> str:
    """With half a surrogate pair, which UTF-8 can't hold, as its escape."""
    return text.encode(errors="backslashreplace").decode()


def all_plain(value: Any) -> Any:
    """JSON with every string in it made plain, including keys."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(key): all_plain(inner) for key, inner in value.items()}
    return [all_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
