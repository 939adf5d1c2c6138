"""File names made of names from data: tasks, languages, backends, metrics. They hold on every file system."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable

LONGEST = 200
"""Bytes in UTF-8. File systems allow 255: endings come on top, such as `.replaced.partial` and those of temporary files."""

_RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9¹²³]", re.IGNORECASE)
"""Windows takes these for devices, whatever follows after a dot."""


def file_stem(parts: Iterable[object], between: str = "-") -> str:
    """The parts as the beginning of a file name. Only letters, digits, `_` and `-` of them are kept.

    Of one longer than `LONGEST` the longest parts are cut: see `own_stem`, unless a digest follows.
    """
    words = [re.sub(r"[^\w-]+", "-", str(part)) for part in parts]
    stem, most = between.join(words), LONGEST
    while len(stem.encode()) > LONGEST and most > 1:
        most -= 1
        stem = between.join(cut(word, most) for word in words)
    first, dot, rest = cut(stem).partition(".")
    return f"{first}_{dot}{rest}" if _RESERVED.fullmatch(first) else first + dot + rest


def own_stem(parts: Iterable[object]) -> str:
    """As `file_stem`; with a digest where a part is changed, or some file system takes its letters for others (`Zh`, `zh`)."""
    names = [str(part) for part in parts]
    stem = file_stem(names)
    if stem == "-".join(names) and re.fullmatch(r"[a-z0-9_-]+", stem):
        return stem
    return f"{stem}-{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:8]}"


def cut(text: str, most: int = LONGEST) -> str:
    """To so many bytes in UTF-8."""
    return text.encode(errors="ignore")[:most].decode(errors="ignore")
