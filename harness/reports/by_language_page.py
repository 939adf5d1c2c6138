"""Languages as columns, in Markdown."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote

from harness.analysis.ranks import RankedEntry
from harness.records.entries import TITLES
from harness.reports.by_language import Section
from harness.reports.markdown import Markup, escape, table
from harness.reports.pictures import FOLDER, file_name
from harness.reports.tables import Table
from harness.reports.words import NOBODY, apart, rank, shown, sizes_told, with_size
from harness.statistics.metrics import LOWER_IS_BETTER


def first_words(section: Section, column: int) -> str:
    """Who is first on the rows of a column, how many can't be told apart from it, and how large the models are."""
    found = section.tables[column]
    rows = f"**{escape(found.group[2])}**, {escape(found.size)}{' †' if found.few else ''}"
    if found.leader is None:
        return f"{rows}: {NOBODY}."
    made = next(line.how for line in section.lines if line.places.get(column) is found.places[0])
    title, value = escape(TITLES.get(found.metric, found.metric)), shown(found.first.record.metrics.values[found.metric])
    first = escape(f"{found.first.display_name} ({with_size(found.first, made)})")
    told = f"{rows}: {first} is first with {title} {value}{escape(apart(found.places))}."
    return f"{told} {escape(sizes_told(found.places))}".rstrip()


def section_lines(section: Section, drawn: Collection[str]) -> list[str]:
    """Languages as columns."""
    titles = ["backend", "how", *map(_column_title, section.tables)]
    rows = [
        [line.backend, line.how, *(_cell(line.places.get(column), section.metric) for column in range(len(section.tables)))]
        for line in section.lines
    ]
    better = "lower" if section.metric in LOWER_IS_BETTER else "higher"
    common = f"; all with {escape(section.common)}" if section.common else ""
    lines = [
        f"### {escape(_heading(section))}",
        "",
        f"By {escape(TITLES.get(section.metric, section.metric))} ({better} is better){common}.",
        "",
    ]
    lines += picture_lines(file_name(section.tables, "languages"), "Heat map: quality of each line by language", drawn)
    warnings = [f"- {escape(column.group[2])}: {escape(line)}" for column in section.tables for line in column.warnings]
    return [*lines, *table(titles, rows), "", *warnings, *([""] if warnings else [])]


def _heading(section: Section) -> str:
    sizes = [(column.group[2], column.first.record.n) for column in section.tables]
    if len(sizes) == 1:
        return f"{sizes[0][0]}: {section.tables[0].size}"
    outdated = " (outdated)" if section.outdated else ""
    if len({n for _, n in sizes}) == 1:
        return f"{' · '.join(lang for lang, _ in sizes)}: {sizes[0][1]:,} rows each{outdated}"
    return " · ".join(f"{lang}: {n:,} rows" for lang, n in sizes) + outdated


def _column_title(column: Table) -> str:
    when = f"<br>{escape(column.when)}" if column.when else ""
    return Markup(f"{escape(column.group[2])}{' †' if column.few else ''}<br>n = {column.first.record.n:,}{when}")


def _cell(place: RankedEntry | None, metric: str) -> str:
    """Rank, value and interval; the best rank in bold."""
    if place is None:
        return "–"
    entry, seeds = place.row.entry, len(place.row.runs)
    found = entry.record.metrics.values[metric]
    value = "n/a" if found.value is None else f"{found.value:.3f}"
    linked = f"[{value}]({record_path(entry.run_id)})"
    return Markup(
        f"{rank(place)}&nbsp;·&nbsp;{f'**{linked}**' if place.rank == 1 else linked}"
        + (f"&nbsp;×{seeds}" if seeds > 1 else "")
        + ("" if found.low is None else f"<br><sub>[{found.low:.3f},&nbsp;{found.high:.3f}]</sub>")
    )


def picture_lines(name: str, words: str, drawn: Collection[str]) -> list[str]:
    return [f"![{words}]({FOLDER}/{quote(name)})", ""] if name in drawn else []


def record_path(run_id: str) -> str:
    return f"runs/{quote(run_id)}/run.json"
