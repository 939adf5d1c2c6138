"""The result of `bench analyze cost` in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.pricing import PARTS, Cost
from harness.records.entries import Entry
from harness.reports.text.formats import listed, usd

NAMED = 6
"""Backends that the sentence names."""


def sentence(priced: Sequence[tuple[Entry, Cost | None]], predictions: float) -> str:
    """What the runs of each backend cost, cheapest first, and the largest part of the first and the last of these."""
    found = sorted(((entry, cost) for entry, cost in priced if cost is not None), key=lambda pair: pair[1].total)
    if not found:
        return "None of these runs has a price."
    several = len({(entry.group[0], entry.group[2]) for entry, _ in found}) > 1
    by_name: dict[str, list[Cost]] = {}
    for entry, cost in found:
        name = f"{entry.display_name} ({entry.group[0]} {entry.group[2]})" if several else entry.display_name
        by_name.setdefault(name, []).append(cost)
    named = list(by_name.items())[:NAMED]
    amounts = [f"{name} {'' if n else 'costs '}{_range(costs)}" for n, (name, costs) in enumerate(named)]
    more = " (the others are in the table)" if len(by_name) > len(named) else ""
    parts = dict.fromkeys(_largest_part(name, costs[end]) for (name, costs), end in ((named[0], 0), (named[-1], -1)))
    return f"For {predictions:,.0f} predictions {listed(amounts)}{more}; {' and '.join(parts)}."


def _range(costs: Sequence[Cost]) -> str:
    if len(costs) == 1:
        return f"{usd(costs[0].usd)} in all"
    return f"{usd(costs[0].usd)} to {usd(costs[-1].usd)} in all ({len(costs)} runs)"


def _largest_part(name: str, cost: Cost) -> str:
    if not cost.total:
        return f"{name} costs nothing at these prices"
    part = max(PARTS, key=lambda part: float(getattr(cost, part)))
    return f"{part} is {getattr(cost, part) / cost.total:.0%} of the {usd(cost.usd)} of {name}"
