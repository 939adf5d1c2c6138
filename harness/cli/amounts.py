"""Bytes, ages, counts and lists: as people write and read them."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size(count: int) -> str:
    """Bytes."""
    power = next((power for power in range(len(_UNITS) - 1, 0, -1) if count >= 1024**power), 0)
    return f"{count / 1024**power:.1f} {_UNITS[power]}" if power else f"{count} B"


def ago(moment: float) -> str:
    """`moment` in seconds since the epoch."""
    hours = int((time.time() - moment) // 3600)
    if hours < 1:
        return "just now"
    return f"{number(hours, 'hour')} ago" if hours < 48 else f"{hours // 24} days ago"


def number(count: int, one: str, many: str = "") -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def some(names: Sequence[str], most: int) -> str:
    """`a, b and 3 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def seconds_in(text: str, option: str) -> float:
    """Of `12h`, `30d` or `8w`; raises `UserError`."""
    from harness.core.errors import UserError

    found = re.fullmatch(r"(\d+)([hdw])", text.strip())
    if found is None:
        raise UserError(f"{option} {text!r} is no age.", "Write hours, days or weeks: 12h, 30d or 8w.")
    return float(found[1]) * _SECONDS[found[2]]


def bytes_in(text: str, option: str) -> int:
    """Of `500MB`, `20G` or `1.5GiB`, all of them powers of 1,024; raises `UserError`."""
    from harness.core.errors import UserError

    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:I?B)?", text.strip().upper())
    if found is None:
        raise UserError(f"{option} {text!r} is no size.", "Write 500MB or 20GB.")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2] or " "))
