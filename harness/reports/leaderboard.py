"""The leaderboard: a pure function of the run records, so the same records give the same bytes."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from harness.analysis.ranks import Configuration
from harness.records.entries import TITLES
from harness.reports.by_language import sections
from harness.reports.by_language_page import first_words, picture_lines, record_path, section_lines
from harness.reports.markdown import Markup, details, escape, link
from harness.reports.markdown import table as table_of
from harness.reports.pictures import file_name
from harness.reports.reported_page import ANCHOR, reported_section
from harness.reports.reported_page import TITLE as REPORTED_TITLE
from harness.reports.tables import Table, columns, lines_of, spread_cells, spread_columns
from harness.reports.words import NOBODY, apart, hows, shown, sizes_told, with_size

if TYPE_CHECKING:
    from harness.specs.reported import Reported

SHORT_LEGEND = """\
Made by `bench leaderboard` from the records in `results/runs/`, and from nothing else. A cell is the rank on the column's rows,
the value (it leads to the record of the run) and its 95% interval. `2=`: the rank is shared, as these rows can't be told apart
at the 5% level; that is not "equally good". ‡: no rank, as it is not shown to be better than chance. ×3: the middle one of
three seeds. †: few rows. [More](#how-to-read-this)
"""
LEGEND = """\
- Every column, and every full table, holds runs on the same rows. Rows of one rank can't be told apart from its first row at
  the 5% level: paired on the same rows (McNemar's exact test; a paired bootstrap for metrics that are no shares), after Holm's
  correction. More rows might tell them apart. Nor does it pass on: two rows of one rank may differ from each other, and a row
  of a higher value may stand in a lower rank, if it errs on nearly the same rows as the best.
- ‡ stands in the place of a rank. `one answer`: it gave one answer to all rows, or to 99% of them. `unparsed`: half of its
  answers or more could not be parsed. `at chance`: it is not shown to be better than always answering one label, as its answers
  agree with the true labels no more often than chance would have it. A finding is about all rows that a run was tested on.
- Where some models were run on fewer rows than others (`--limit`), one table per language holds all that were run on these
  rows or on more: `of` says how many rows such a run has, and its figures here are of the rows of the table.
- The lines of a table of several languages stand in the order of their mean distance from the best value of each column, over
  the languages that they have; –: no run. `of its own language`: a model for each language; a line that names a language is one
  model for all of them, so that a run may stand in both. Different sets of rows of one language are never in one column, nor
  different labels side by side. Where a language has several, each says when the last run on it was. `outdated`: later runs
  that asked for the same rows got others, as the data was changed, or the task has other labels by now.
- In brackets: the 95% interval of the sampling of rows. `over seeds`: lowest – median – highest value over the runs of one
  configuration, and their number; all else in such a row is of the run in the middle. These are two uncertainties, and neither
  holds the other: ranks know only of the rows.
- An answer that could not be read (`unparsed`) and a row without any answer (`failed`) count as wrong in every metric (for MAE:
  as the largest possible error). Lower is better for MAE, higher for the rest. QWK: quadratic weighted kappa.
- †: few rows, in all or of one label. Intervals are wide there, and tests miss differences that matter.
- `rows/s` is inference alone, on the machine and at the load that the run's record names; compare it within one machine only.
"""
PROMPTS = """\
The same models over their prompts, best first: `not read` is the share of each one's answers that could not be read. Then the
lowest – median – highest value. `by chance`: the range that the sampling of rows (and of exemplars, where there are several
seeds) alone would give if all prompts were equally good; * where the range is larger than that at the 5% level.
"""


def left_out(names: Sequence[str]) -> str:
    """A sentence on the runs whose records are damaged; empty without any."""
    records = "1 damaged record is" if len(names) == 1 else f"{len(names)} damaged records are"
    return f"{records} left out: {', '.join(names)}." if names else ""


def markdown(tables: Sequence[Table], reported: Sequence[Reported] = (), drawn: Collection[str] = (), note: str = "") -> str:
    """The whole file; `reported` comes last, in tables of its own, and then `note`. `drawn`: the pictures that stand in charts/
    beside it."""
    by_task = groupby(tables, key=lambda table: table.group[:2])
    tasks = [(f"{task} ({split})", sections(list(members))) for (task, split), members in by_task]
    lines = ["# Leaderboard", "", SHORT_LEGEND]
    lines += [] if tasks else ["No runs yet.", ""]
    for number, (title, found) in enumerate(tasks, 1):
        lines.append(f"- {link(title, f'#task-{number}')}")
        lines += [f"    - {first_words(section, column)}" for section in found for column in range(len(section.tables))]
    lines += [f"- {link(REPORTED_TITLE, f'#{ANCHOR}')}"] if reported else []
    lines += [""] if tasks or reported else []
    for number, (title, found) in enumerate(tasks, 1):
        lines += [f'## <a id="task-{number}"></a>{escape(title)}', ""]
        for section in found:
            lines += section_lines(section, drawn)
            for table in section.tables:
                lines += _full(table, drawn)
    lines += ["## How to read this", "", LEGEND]
    return "\n".join([*lines, *reported_section(reported), *([escape(note), ""] if note else [])])


def _full(table: Table, drawn: Collection[str]) -> list[str]:
    """All metrics of a set of rows, folded away."""
    _, _, lang, rows = table.group
    few = table.few
    told = f"<b>{escape(lang)}</b>: {escape(table.size)}{' †' if few else ''}"
    summary = Markup(f"{told} (<code>{escape(rows[:8])}</code>), all metrics")
    titles = columns(table)
    lines = [f"† {escape(few)}", ""] if few else []
    lines += picture_lines(file_name([table], "speed"), "Quality against rows per second", drawn)
    lines += picture_lines(file_name([table], "cost"), "Quality against cost", drawn)
    cells = zip(lines_of(titles, table.places), table.places, strict=True)
    lines += [*table_of(titles, [[*map(_unbroken, line), _records(place.row)] for line, place in cells]), ""]
    if table.spreads:
        lines += [PROMPTS, *table_of(spread_columns(table.metric), map(spread_cells, table.spreads)), ""]
    return details(summary, lines)


def _records(row: Configuration) -> Markup:
    """Links; of several seeds each has one."""
    if len(row.runs) == 1:
        return Markup(f"[record]({record_path(row.entry.run_id)})")
    runs = sorted(row.runs, key=lambda run: run.seed)
    return Markup(f"seeds {', '.join(f'[{run.seed}]({record_path(run.run_id)})' for run in runs)}")


def _unbroken(cell: str) -> Markup:
    """As text, with both ends of an interval on one line."""
    return Markup(re.sub(r"(\[-?\d[\d.]*,) (-?\d[\d.]*\])", r"\1&nbsp;\2", escape(cell)))


def sentence(tables: Sequence[Table]) -> str:
    """Who is first, or in how many tables somebody is."""
    several = [table for table in tables if len(table.places) > 1 and table.leader is not None]
    if not tables:
        return "No runs yet. Begin with `bench run`, or name the folder of the records: --results DIR."
    if len(tables) == 1:
        return _first(tables[0])
    chance = sum(table.leader is None for table in tables)
    beside = f" In {chance} {'table' if chance == 1 else 'tables'} {NOBODY}." if chance else ""
    if not several:
        return f"No table has two rows to compare.{beside}" if chance < len(tables) else f"In all tables {NOBODY}."
    if len(several) == 1:
        return f"One of the {len(tables)} tables has rows to compare. {_first(several[0])}{beside}"
    alone, many = sum(not table.places[0].tied for table in several), len(several)
    found = "each" if alone == many else "none" if not alone else str(alone)
    rest = "" if alone in (0, many) else f"; in the other{f' {many - alone}' if many - alone > 1 else ''} its rank is shared"
    where = f"{found} of the {many} tables with more than one row{rest}"
    return f"The first can be told apart from all others at the 5% level in {where}.{beside}"


def _first(table: Table) -> str:
    task, _, lang, _ = table.group
    if table.leader is None:
        return f"On {table.first.record.n:,} {lang} rows of {task}, {NOBODY}."
    first = with_size(table.first, hows([place.row for place in table.places])[0])
    told = (
        f"On {table.first.record.n:,} {lang} rows of {task}, {table.first.display_name} ({first}) is first "
        f"with {TITLES.get(table.metric, table.metric)} {shown(table.first.record.metrics.values[table.metric])}"
        f"{apart(table.places, ' at the 5% level')}."
    )
    return f"{told} {sizes_told(table.places)}".rstrip()
