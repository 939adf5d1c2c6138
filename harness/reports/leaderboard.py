"""The leaderboard: a pure function of the run records. Its text: leaderboard.md.j2."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import BaseModel

from harness.analysis.lines import Line
from harness.analysis.ranks import Configuration, RankedEntry
from harness.records.weights import weights_told
from harness.reports.by_language import Section, sections
from harness.reports.markdown import Markup, escape
from harness.reports.pictures import FOLDER, file_name
from harness.reports.tables import WEIGHTS, Table, columns, leak_mark, lines_of, spread_cells, spread_columns
from harness.reports.templates import render
from harness.reports.text.formats import shown, title
from harness.reports.words import NOBODY, ONE_SEED, hows, is_alone, rank, sizes_told, standing, with_size

if TYPE_CHECKING:
    from harness.specs.reported import Figure, Reported


def left_out(names: Sequence[str]) -> str:
    """A sentence on the runs whose records are damaged; empty without any."""
    records = "1 damaged record is" if len(names) == 1 else f"{len(names)} damaged records are"
    return f"{records} left out: {', '.join(names)}." if names else ""


class TaskText(BaseModel):
    """What LEADERBOARD.md says of one task and split. `firsts`: the first entry of each table, a line each."""

    title: str
    firsts: list[str]
    body: str


def task_text(tables: Sequence[Table], drawn: Collection[str] = ()) -> TaskText:
    """Of the tables of one task and split. `drawn`: the pictures in charts/."""
    found = sections(tables)
    return TaskText(
        title=f"{tables[0].group[0]} ({tables[0].group[1]})",
        firsts=[_first_of_column(section, column) for section in found for column in range(len(section.tables))],
        body=render("leaderboard_task.md.j2", FILTERS, sections=found, drawn=drawn, folder=FOLDER),
    )


def markdown(tasks: Sequence[TaskText], reported: Sequence[Reported] = (), note: str = "") -> str:
    """The file; `reported` has separate tables at the end, before `note`."""
    return render("leaderboard.md.j2", {"reported_cells": reported_cells}, tasks=tasks, reported=reported, note=note)


def _first_of_column(section: Section, column: int) -> str:
    """The first entry on the rows of a column, its ties, and the sizes of the models."""
    found = section.tables[column]
    rows = f"**{escape(found.group[2])}**, {escape(found.size)}{' †' if found.few else ''}"
    if found.leader is None:
        return f"{rows}: {NOBODY}."
    made = next(line.how for line in section.lines if line.places.get(column) is found.places[0])
    return f"{rows}: {escape(_first_is(found, made))} {escape(sizes_told(found.places))}".rstrip()


def _first_is(table: Table, how: str) -> str:
    first, metric = table.first, table.metric
    value = f"{title(metric)} {shown(table.places[0].row.estimate(metric))}"
    run = "this run of " if table.places[0].row.is_single else ""
    return f"{run}{first.display_name} ({with_size(first, how)}) is first with {value}{standing(table.places)}."


def _section_titles(section: Section) -> list[str]:
    return ["backend", "how", *([WEIGHTS] if _has_weights(section) else []), *map(_column_title, section.tables)]


def _has_weights(section: Section) -> bool:
    return any(map(_weights, section.lines))


def _weights(line: Line) -> str:
    """The same in all columns: a line has one model."""
    return weights_told(next(iter(line.places.values())).row.entry.record)


def _section_lines(section: Section) -> list[list[str]]:
    columns, weights = range(len(section.tables)), _has_weights(section)
    return [
        [
            line.backend,
            line.how,
            *([_weights(line) or "–"] if weights else []),
            *(_cell(line.places.get(column), section.metric) for column in columns),
        ]
        for line in section.lines
    ]


def _heading(section: Section) -> str:
    sizes = [(column.group[2], column.first.record.metrics.n) for column in section.tables]
    if len(sizes) == 1:
        return f"{sizes[0][0]}: {section.tables[0].size}"
    outdated = " (outdated)" if section.outdated else ""
    if len({n for _, n in sizes}) == 1:
        return f"{' · '.join(lang for lang, _ in sizes)}: {sizes[0][1]:,} rows each{outdated}"
    return " · ".join(f"{lang}: {n:,} rows" for lang, n in sizes) + outdated


def _column_title(column: Table) -> str:
    when = f"<br>{escape(column.when)}" if column.when else ""
    return Markup(f"{escape(column.group[2])}{' †' if column.few else ''}<br>n = {column.first.record.metrics.n:,}{when}")


def _cell(place: RankedEntry | None, metric: str) -> str:
    """Rank, value and interval; the best rank in bold."""
    if place is None:
        return "–"
    entry, seeds = place.row.entry, len(place.row.runs)
    found = place.row.estimate(metric)
    value = "n/a" if found.value is None else f"{found.value:.3f}"
    linked = f"[{value}]({record_path(entry.run_id)})"
    return Markup(
        f"{rank(place)}&nbsp;·&nbsp;{f'**{linked}**' if place.rank == 1 else linked}"
        + (f"&nbsp;×{seeds}" if seeds > 1 else f"&nbsp;{ONE_SEED}" if place.row.is_single and found.value is not None else "")
        + leak_mark(place.row).replace(" ", "&nbsp;")
        + ("" if found.low is None else f"<br><sub>[{found.low:.3f},&nbsp;{found.high:.3f}]</sub>")
    )


def _full_lines(table: Table) -> list[list[str]]:
    cells = zip(lines_of(columns(table), table.places), table.places, strict=True)
    return [[*map(_unbroken, line), _records(place.row)] for line, place in cells]


def _records(row: Configuration) -> Markup:
    """A link for each seed."""
    runs = sorted(row.every, key=lambda run: run.seed)
    if len(runs) == 1:
        return Markup(f"[record]({record_path(row.entry.run_id)})")
    return Markup(f"seeds {', '.join(f'[{run.seed}]({record_path(run.run_id)})' for run in runs)}")


def _unbroken(cell: str) -> Markup:
    """Escaped, with both ends of an interval on one line."""
    return Markup(re.sub(r"(\[-?\d[\d.]*,) (-?\d[\d.]*\])", r"\1&nbsp;\2", escape(cell)))


def reported_cells(figure: Figure) -> list[str]:
    n = "n unknown" if figure.n is None else f"n = {figure.n:,}"
    rows = n if figure.split == "test" else f"{figure.split}, {n}"
    metric = title(figure.metric)
    return [figure.model, figure.task, figure.lang or "all", figure.train, rows, metric, figure.shown, figure.note]


def record_path(run_id: str) -> str:
    return f"runs/{quote(run_id)}/run.json"


def _spread_lines(table: Table) -> list[list[str]]:
    return list(map(spread_cells, table.spreads))


def _spread_titles(table: Table) -> list[str]:
    return spread_columns(table.metric)


FILTERS: dict[str, Callable[..., Any]] = {
    "file_name": file_name,
    "full_lines": _full_lines,
    "full_titles": columns,
    "heading": _heading,
    "lines": _section_lines,
    "spread_lines": _spread_lines,
    "spread_titles": _spread_titles,
    "titles": _section_titles,
}
"""Of the template of a task."""

FEW_TABLES = 8
"""As many answers are read one by one."""


class Summary(BaseModel):
    """Of a table. `entries`: how many; `is_led`: whether its first entry is better than chance, and `is_alone`: significantly
    better than all others; `first`: on the first entry, in words."""

    entries: int
    is_led: bool
    is_alone: bool
    first: str


def summary(table: Table) -> Summary:
    is_led = table.leader is not None
    return Summary(entries=len(table.places), is_led=is_led, is_alone=is_alone(table.places), first=_first(table))


def sentence(tables: Sequence[Summary]) -> str:
    """The first entry of each table, a line each; of many tables, in how many it is significantly better than all others."""
    several = [table for table in tables if table.entries > 1 and table.is_led]
    if not tables:
        return "No runs yet. Begin with `bench run`, or name the folder of the records: --results DIR."
    if len(tables) == 1:
        return tables[0].first
    chance = sum(not table.is_led for table in tables)
    beside = f" In {chance} {'table' if chance == 1 else 'tables'} {NOBODY}." if chance else ""
    if not several:
        return f"No table has two entries to compare.{beside}" if chance < len(tables) else f"In all tables {NOBODY}."
    if len(several) <= FEW_TABLES:
        return "\n".join([*(table.first for table in several), *([beside.strip()] if beside else [])])
    alone, many = sum(table.is_alone for table in several), len(several)
    found = "each" if alone == many else "none" if not alone else str(alone)
    rest = "" if alone in (0, many) else f"; in the other{f' {many - alone}' if many - alone > 1 else ''} it is tied"
    where = f"{found} of the {many} tables with more than one entry{rest}"
    return f"The first entry is significantly better than all others (5% level) in {where}.{beside}"


def _first(table: Table) -> str:
    task, _, lang, _ = table.group
    rows = f"On {table.first.record.metrics.n:,} {lang} rows of {task}, "
    if table.leader is None:
        return f"{rows}{NOBODY}."
    how = hows([place.row for place in table.places])[0]
    return f"{rows}{_first_is(table, how)} {sizes_told(table.places)}".rstrip()
