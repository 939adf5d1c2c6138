"""Names, labels and messages from files, records and servers as text that does nothing but be read."""

from __future__ import annotations

import re
from typing import Any

# What moves the cursor, sets colours, reorders a line, or has no place in UTF-8 or XML: control characters but tab and newline,
# line and paragraph separators, marks of writing direction, halves of surrogate pairs, U+FFFE and U+FFFF.
UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def plain(text: str) -> str:
    """Safe for a terminal, a page and a picture: what would steer them is shown as an escape such as `\\x1b`."""
    return UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def encodable(text: str) -> str:
    """With the escape of half a surrogate pair in its place: JSON may hold one, UTF-8 has none. All else stays."""
    return text.encode(errors="backslashreplace").decode()


def all_plain(value: Any) -> Any:
    """JSON with every string in it made plain, keys included."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(key): all_plain(inner) for key, inner in value.items()}
    return [all_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
