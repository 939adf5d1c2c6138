"""Bytes, ages, counts and lists, as people read them."""

from __future__ import annotations

import time
from collections.abc import Sequence

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
