"""How numbers and rows are worded wherever people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.reports.ranks import Row


def shown(metric: Mapping[str, Any]) -> str:
    """`0.512 [0.468, 0.556]`; the interval only where there is one."""
    value, low, high = metric["value"], metric["low"], metric["high"]
    if value is None:
        return "n/a"
    return f"{value:.3f}" if low is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def between(low: float, median: float, high: float) -> str:
    """`0.512 – 0.530 – 0.551`: lowest, median and highest."""
    return f"{low:.3f} – {median:.3f} – {high:.3f}"


def part(share: float) -> str:
    """A share of rows that is not there reads differently from one that rounds to 0."""
    return "–" if share == 0 else "<0.1%" if share < 0.001 else f"{share:.1%}"


def how(row: Row) -> str:
    return row.entry.how if len(row.runs) == 1 else f"{row.entry.made}, {len(row.runs)} seeds"
