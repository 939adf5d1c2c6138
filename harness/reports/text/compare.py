"""What a comparison found, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.analysis.compare import Comparison, Verdict
from harness.records.entries import TITLES
from harness.statistics.intervals import MetricValue
from harness.statistics.metrics import LOWER_IS_BETTER
from harness.statistics.row_means import SHARES

TESTS = {
    "mcnemar": "exact McNemar",
    "permutation": "permutation test",
    "bootstrap": "paired bootstrap",
    "normal": "normal approximation",
}


def sentence(comparison: Comparison) -> str:
    """The first metric in full; of the others, what differs from it."""
    return _of_two(comparison) if len(comparison.runs) == 2 else _of_several(comparison)


def title(metric: str) -> str:
    return TITLES.get(metric, metric.replace("_", " "))


def amount(metric: str, size: float) -> str:
    """`5.2 points` of a share, `0.052` of anything else; with more digits where it is small."""
    if metric in SHARES:
        return f"{100 * size:.{_digits(100 * size, 1)}f} points"
    return f"{size:.{_digits(size, 3)}f}"


def _digits(size: float, least: int) -> int:
    """Decimals that show two figures of what is small."""
    return max(least, min(6, 1 - math.floor(math.log10(abs(size))))) if size else least


def p_text(p: float) -> str:
    return "n/a" if math.isnan(p) else "< 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def interval_text(metric: str, low: float, high: float) -> str:
    """`-1.2 to 4.5`, in points for a share; empty where there is no interval."""
    if math.isnan(low) or math.isnan(high):
        return ""
    scale, least = (100, 1) if metric in SHARES else (1, 3)
    digits = _digits(scale * (high - low), least)
    return f"{scale * low + 0.0:.{digits}f} to {scale * high + 0.0:.{digits}f}"


def _of_two(comparison: Comparison) -> str:
    metric = comparison.metrics[0]
    (verdict,) = comparison.of(metric)
    difference, begin = verdict.difference, f"On the {_rows(comparison.n)} that both have, "
    ahead, behind = _order(verdict)
    names = [run.name for run in comparison.runs]
    if math.isnan(difference.value):
        said = f"{names[0]} and {names[1]} can't be compared in {title(metric)}, which is not defined for both"
        return f"{begin}{said}{_elsewhere(comparison, None)}."
    if difference.value == 0:
        same = "give the same answers" if not len(comparison.differing) else f"have the same {title(metric)}"
        said = f"{names[0]} and {names[1]} {same}"
    else:
        by = f"{amount(metric, abs(difference.value))} {'less' if metric in LOWER_IS_BETTER else 'more'}"
        if verdict.better is None:
            said = f"{names[0]} and {names[1]} can't be told apart in {title(metric)}: {names[ahead]} has {by}"
        else:
            said = f"{names[ahead]} is better than {names[behind]} in {title(metric)}: it has {by}"
    sign = -1 if difference.value < 0 else 1
    low, high = sorted((sign * difference.low, sign * difference.high))
    interval = interval_text(metric, low, high)
    test = f"{TESTS[difference.method]} p {_equals(difference.p)}"
    inside = f"95% interval {interval}; {test}" if interval else test
    return f"{begin}{said} ({inside}){_elsewhere(comparison, verdict.better)}{_missed(metric, [verdict])}."


def _of_several(comparison: Comparison) -> str:
    metric = comparison.metrics[0]
    begin = f"On the {_rows(comparison.n)} that all {len(comparison.runs)} have, "
    values = [_sortable(metric, run.values[metric]) for run in comparison.runs]
    top = values.index(min(values))
    if math.isinf(values[top]):
        return f"{begin}{title(metric)} is defined for none of them."
    against = [verdict for verdict in comparison.of(metric) if top in (verdict.a, verdict.b)]
    beaten = [_name(comparison, v.a + v.b - top) for v in against if v.better == top]
    level = [_name(comparison, v.a + v.b - top) for v in against if v.better != top]
    best = "lowest" if metric in LOWER_IS_BETTER else "highest"
    value = comparison.runs[top].values[metric]["value"]
    parts = [
        *([f"it is better than {listed(beaten)}"] if beaten else []),
        *([f"can't be told apart from {listed(level)}"] if level else []),
    ]
    said = f"{_name(comparison, top)} has the {best} {title(metric)}, {value:.3f}: {' and '.join(parts)}"
    pairs = f" (at 5%, by Holm over {len(comparison.pairs)} pairs)"
    return f"{begin}{said}{pairs}{_missed(metric, against)}."


def _rows(n: int) -> str:
    return f"{n:,} row{'s' if n > 1 else ''}"


def _order(verdict: Verdict) -> tuple[int, int]:
    """Who is ahead in the sample, and who is behind."""
    up = (verdict.difference.value > 0) != (verdict.metric in LOWER_IS_BETTER)
    return (verdict.b, verdict.a) if up else (verdict.a, verdict.b)


def _missed(metric: str, verdicts: Sequence[Verdict]) -> str:
    sizes = [v.difference.detectable for v in verdicts if not math.isnan(v.difference.detectable)]
    if not sizes:
        return "; with so few rows that differ, no difference would be found reliably"
    least = f"a true difference in {title(metric)} below {amount(metric, max(sizes))}"
    return f"; with so many rows, {least} is missed in more than one sample of five"


def _elsewhere(comparison: Comparison, better: int | None) -> str:
    """The metrics after the first, for two runs."""
    groups: dict[int | None, list[str]] = {}
    for metric in comparison.metrics[1:]:
        (verdict,) = comparison.of(metric)
        groups.setdefault(verdict.better, []).append(title(metric))
    parts = []
    for winner, titles in sorted(groups.items(), key=lambda group: group[0] != better):
        if winner is None:
            parts.append(f"in {listed(titles)} they can't be told apart")
        else:
            parts.append(f"in {listed(titles)} {_name(comparison, winner)} is better{' too' if winner == better else ''}")
    return "".join(f"; {part}" for part in parts)


def _sortable(metric: str, value: MetricValue) -> float:
    number = value["value"]
    return math.inf if number is None else number if metric in LOWER_IS_BETTER else -number


def _name(comparison: Comparison, run: int) -> str:
    return comparison.runs[run].name


def listed(names: Sequence[str]) -> str:
    """`a, b and c`; of one or more."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _equals(p: float) -> str:
    text = p_text(p)
    return text if text.startswith("<") else f"= {text}"
