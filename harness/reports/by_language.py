"""Languages side by side: each configuration in each language, from tables of one language each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.analysis.lines import Key, Line, common_settings, key_of, lines_of
from harness.core.json_files import canonical_json
from harness.reports.tables import Table
from harness.statistics.metrics import LOWER_IS_BETTER


@dataclass(frozen=True)
class Section:
    """Tables of different languages with shared lines; `common`: the settings of all lines."""

    tables: tuple[Table, ...]
    common: str
    lines: tuple[Line, ...]

    @property
    def metric(self) -> str:
        return self.tables[0].metric

    @property
    def outdated(self) -> bool:
        return self.tables[0].outdated

    def best(self) -> list[float | None]:
        """The best value of each column; None if there is no value."""
        columns = [[line.value(column, self.metric) for line in self.lines] for column in range(len(self.tables))]
        top = min if self.metric in LOWER_IS_BETTER else max
        return [top((value for value in values if value is not None), default=None) for values in columns]


def sections(tables: Sequence[Table]) -> list[Section]:
    """Sections of one task and split. A section has each language once and one label space, so that no column mixes sets of
    rows.

    A table joins the section that has most of its lines, else one with the same number of rows. Outdated sections come last,
    and those with most languages first.
    """
    groups: list[list[Table]] = []
    keys: list[set[Key]] = []
    for table in tables:
        own = {key_of(place.row.entry, per_language=True) for place in table.places}
        fits = [
            (len(own & keys[number]), members[0].first.record.metrics.n == table.first.record.metrics.n, -number)
            for number, members in enumerate(groups)
            if table.group[2] not in {member.group[2] for member in members} and _are_comparable(members[0], table)
        ]
        shared, same_n, place = max(fits, default=(0, False, 0))
        if shared or same_n:
            groups[-place].append(table)  # of equal ones the first
            keys[-place] |= own
        else:
            groups.append([table])
            keys.append(own)
    return sorted(map(_section, groups), key=lambda section: (section.outdated, -len(section.tables)))


def _are_comparable(one: Table, other: Table) -> bool:
    """A figure of three labels says nothing beside one of five."""
    return (
        one.metric == other.metric
        and one.first.record.identity.label_space == other.first.record.identity.label_space
        and one.outdated == other.outdated
    )


def _section(tables: Sequence[Table]) -> Section:
    columns = [table.places for table in tables]
    common = common_settings(place.row.entry for places in columns for place in places)
    found = lines_of(columns, common)
    section = Section(tuple(tables), ", ".join(_setting(*item) for item in common.items()), tuple(found))
    best = section.best()
    return replace(section, lines=tuple(sorted(found, key=lambda line: _order(line, section.metric, best))))


def _order(line: Line, metric: str, best: Sequence[float | None]) -> tuple[float, int, str, str]:
    """By the mean distance from the best value of each column; of equal ones, more columns first."""
    pairs = [(line.value(column, metric), best[column]) for column in line.places]
    gaps = [abs(value - top) for value, top in pairs if value is not None and top is not None]
    mean = round(math.fsum(gaps) / len(gaps), 12) if gaps else math.inf
    return mean, -len(gaps), line.backend, line.how


def _setting(name: str, value: Any) -> str:
    return name if value == {} else f"{name}={value if isinstance(value, str) else canonical_json(value)}"
