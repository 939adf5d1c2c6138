"""Configurations side by side in several languages: the sections of LEADERBOARD.md, as data."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from harness.reports.by_language import Section, sections
from harness.reports.tables import Table


def by_language(keyed: Mapping[str, Table]) -> list[dict[str, Any]]:
    """The sections of two languages and more, in the order of the Markdown, as are their lines. `keyed`: tables by key.

    `runs` of a line: the run in the middle of its place in each of the section's tables, or None.
    """
    found = []
    keys = {table.group: key for key, table in keyed.items()}
    for _, several in groupby(keyed.values(), key=lambda table: table.group[:2]):
        found += [_section(section, keys) for section in sections(list(several)) if len(section.tables) > 1]
    return found


def _section(section: Section, keys: Mapping[Any, str]) -> dict[str, Any]:
    return {
        "tables": [keys[table.group] for table in section.tables],
        "common": section.common,
        "metric": section.metric,
        "lines": [
            {
                "backend": line.backend,
                "how": line.how,
                "runs": [
                    line.places[column].row.entry.key if column in line.places else None
                    for column in range(len(section.tables))
                ],
            }
            for line in section.lines
        ],
    }
