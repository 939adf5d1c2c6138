"""Numbers and lists as sentences and tables show them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.core.record import Estimate
from harness.records.entries import TITLES
from harness.statistics.row_means import SHARES


def title(metric: str) -> str:
    return TITLES.get(metric, metric if "/" in metric else metric.replace("_", " "))


def shown(value: Estimate) -> str:
    """`0.512 [0.468, 0.556]`; the interval only where there is one."""
    if value.value is None:
        return "n/a"
    return f"{value.value:.3f}{'' if value.low is None else f' [{value.low:.3f}, {value.high:.3f}]'}"


def missing_intervals(values: Mapping[str, Estimate]) -> list[tuple[str, list[str]]]:
    """Why metrics have no interval: each reason with the names of its metrics."""
    found: dict[str, list[str]] = {}
    for name in sorted(values):
        if (reason := values[name].reason) is not None:
            found.setdefault(reason, []).append(name)
    return list(found.items())


def number(value: Estimate) -> str:
    return "undefined" if value.value is None else f"{value.value:.3f}"


def whole(count: float) -> str:
    """`1,000`."""
    return f"{count:,.0f}"


def plural(count: int, one: str, many: str = "") -> str:
    """`1 row`, `1,000 rows`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def usd(amount: float) -> str:
    """Two significant digits at least, and never an exponent."""
    digits = 2 if amount == 0 else min(12, max(2, 1 - math.floor(math.log10(abs(amount)))))
    return f"${amount:,.{digits}f}"


def count(number: float) -> str:
    """Predictions, rounded to three digits."""
    return f"{float(f'{number:.3g}'):,.0f}"


def rounded(value: float, *, up: bool) -> str:
    """Three significant digits, rounded up or down, and never an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    scaled = round(value * 10**digits, 6)  # what floating point added is not to be rounded up
    return f"{(math.ceil(scaled) if up else math.floor(scaled)) / 10**digits:.{digits}f}"


def amount(metric: str, size: float) -> str:
    """`5.2 points` of a share, `0.052` of anything else; with more digits where it is small."""
    if metric in SHARES:
        return f"{100 * size:.{_digits(100 * size, 1)}f} points"
    return f"{size:.{_digits(size, 3)}f}"


def _digits(size: float, least: int) -> int:
    """Decimals that show two significant digits."""
    return max(least, min(6, 1 - math.floor(math.log10(abs(size))))) if size else least


def interval_text(metric: str, low: float, high: float) -> str:
    """`-1.2 to 4.5`, in points for a share; empty where there is no interval, or where it holds every difference of shares."""
    if math.isnan(low) or math.isnan(high) or (metric in SHARES and low <= -1 and high >= 1):
        return ""
    scale, least = (100, 1) if metric in SHARES else (1, 3)
    digits = _digits(scale * (high - low), least)
    return f"{scale * low + 0.0:.{digits}f} to {scale * high + 0.0:.{digits}f}"


def size_interval(low: float, high: float, digits: int = 3) -> str:
    """The interval of a size: smallest first, without its sign."""
    first, last = sorted((abs(low), abs(high)))
    return f"{first:.{digits}f} to {last:.{digits}f}"


def p_text(p: float) -> str:
    return "n/a" if math.isnan(p) else "< 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def p_equals(p: float) -> str:
    """`p = 0.012`, `p < 0.0001`."""
    text = p_text(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`; of one or more."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


FILTERS = (title, shown, number, whole, usd, count, size_interval, p_text, p_equals, listed)
