"""File names made of names from data (tasks, languages, backends, metrics), valid on every file system."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable

LONGEST = 200
"""Bytes in UTF-8. File systems allow 255; suffixes such as `.replaced.partial` are added."""

_RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9¹²³]", re.IGNORECASE)
"""Device names on Windows, whatever follows after a dot."""


def file_stem(parts: Iterable[object], between: str = "-") -> str:
    """The parts as the beginning of a file name; only letters, digits, `_` and `-` are kept. If it is longer than `LONGEST`,
    the longest parts are cut: use `own_stem`, unless a digest follows."""
    words = [re.sub(r"[^\w-]+", "-", str(part)) for part in parts]
    stem, most = between.join(words), LONGEST
    while len(stem.encode()) > LONGEST and most > 1:
        most -= 1
        stem = between.join(cut(word, most) for word in words)
    first, dot, rest = cut(stem).partition(".")
    return f"{first}_{dot}{rest}" if _RESERVED.fullmatch(first) else first + dot + rest


def own_stem(parts: Iterable[object]) -> str:
    """As `file_stem`; with a digest if a part was changed, or if a file system might confuse it with another (`Zh`, `zh`)."""
    names = [str(part) for part in parts]
    stem = file_stem(names)
    if stem == "-".join(names) and re.fullmatch(r"[a-z0-9_-]+", stem):
        return stem
    return f"{stem}-{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:8]}"


def cut(text: str, most: int = LONGEST) -> str:
    """To so many bytes in UTF-8."""
    return text.encode(errors="ignore")[:most].decode(errors="ignore")
