"""The leaderboard: a pure function of the run records, so the same records give the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from harness.records.entries import TITLES as TITLES
from harness.records.entries import Entry as Entry
from harness.records.entries import Group
from harness.records.entries import read_entries as read_entries
from harness.records.entries import read_entry as read_entry
from harness.records.store import Store
from harness.reports.ranks import Place, Row, fold_seeds, metric_test, ranked, read_correct, share_test
from harness.reports.spread import Spread, influences_of, spreads
from harness.statistics.intervals import small

if TYPE_CHECKING:
    from harness.specs.reported import Figure, Reported

OVER_SEEDS = " over seeds"
STATUSES = ("unparsed", "failed")


@dataclass(frozen=True)
class Table:
    """The runs on one set of rows, with their ranks, and what the prompts of their language models make of it."""

    group: Group
    places: tuple[Place, ...]
    spreads: tuple[Spread, ...]

    @property
    def first(self) -> Entry:
        return self.places[0].row.entry

    @property
    def metric(self) -> str:
        """What the rows are ranked by."""
        return str(self.first.metrics["headline"][0])

    @property
    def few(self) -> str | None:
        """Why these rows are few, if they are."""
        return small(self.first.metrics["n"], [label["support"] for label in self.first.metrics.get("per_class", [])])


def grouped(entries: Iterable[Entry]) -> list[tuple[Group, list[Entry]]]:
    """Groups by name, larger row sets first; within a group best first."""
    groups: dict[Group, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.group, []).append(entry)
    ordered = sorted(groups.items(), key=lambda item: (*item[0][:3], -item[1][0].metrics["n"], item[0][3]))
    return [(group, sorted(members, key=lambda entry: entry.order)) for group, members in ordered]


def read_tables(store: Store, entries: Sequence[Entry]) -> list[Table]:
    """Rank the runs of each group; reads the predictions wherever there is something to compare. Raises `RunError`."""
    groups = [(group, members, fold_seeds(members)) for group, members in grouped(entries)]
    compared = [members for _, members, rows in groups if len(rows) > 1 and _is_by_accuracy(members)]
    correct = read_correct(store, [entry for members in compared for entry in members])
    tables = []
    for group, members, rows in groups:
        if _is_by_accuracy(members):
            test, influences = share_test(correct), lambda entry: correct[entry.run_id] - correct[entry.run_id].mean()
        else:
            test, influences = metric_test(store, members[0].metrics["headline"][0]), influences_of(store)
        tables.append(Table(group, tuple(ranked(rows, test)), tuple(spreads(members, influences))))
    return tables


def _is_by_accuracy(members: Sequence[Entry]) -> bool:
    return bool(members[0].metrics["headline"][0] == "accuracy")


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


def columns(table: Table) -> list[str]:
    """Titles; seeds, unread and failed rows have a column only where there are any."""
    rows = [place.row for place in table.places]
    return [
        *("#", "backend", "how"),
        *(TITLES.get(name, name) for name in table.first.metrics["headline"]),
        *([f"{TITLES.get(table.metric, table.metric)}{OVER_SEEDS}"] if any(len(row.runs) > 1 for row in rows) else []),
        *(status for status in STATUSES if any(row.share(status) for row in rows)),
        *("rows/s", "run"),
    ]


def cells(titles: Sequence[str], place: Place) -> list[str]:
    """A line under `columns`, but for the run, which is told in other words on a page than on a terminal."""
    row, rate = place.row, place.row.entry.manifest["timing"]["rows_per_second"]
    return [
        str(place.rank),
        row.entry.backend,
        how(row),
        *(shown(row.entry.metrics["values"][name]) for name in row.entry.metrics["headline"]),
        *([_over_seeds(row)] if any(title.endswith(OVER_SEEDS) for title in titles) else []),
        *(part(row.share(status)) for status in STATUSES if status in titles),
        "n/a" if rate is None else f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}",
    ]


def how(row: Row) -> str:
    return row.entry.how if len(row.runs) == 1 else f"{row.entry.made}, {len(row.runs)} seeds"


def _over_seeds(row: Row) -> str:
    spread = row.spread(row.entry.metrics["headline"][0])
    return "–" if spread is None else f"{between(*spread)} ({len(row.runs)})"


LEGEND = """\
Made by `bench leaderboard` from the records in `results/runs/`, and from nothing else.

- Every table holds runs on the same rows, ranked by its first metric. Rows of one rank can't be told apart from its first row
  at the 5% level: paired on the same rows (McNemar's exact test; a paired bootstrap for metrics that are no shares), after
  Holm's correction. That is not "equally good": more rows might tell them apart. Nor does it pass on: two rows of one rank may
  differ from each other, and a row of a higher value may stand in a lower rank, if it errs on nearly the same rows as the best.
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


def markdown(tables: Sequence[Table], reported: Sequence[Reported] = ()) -> str:
    """The whole file; `reported` comes last, in tables of its own."""
    lines = ["# Leaderboard", "", LEGEND]
    current = ""
    for table in tables:
        task, split, lang, rows = table.group
        heading = f"{task} ({split})"
        if heading != current:
            current = heading
            lines += [f"## {escape(heading)}", ""]
        few = table.few
        lines += [f"### {escape(lang)}: {table.first.metrics['n']} rows{' †' if few else ''} (`{rows[:8]}`)", ""]
        lines += [f"† {escape(few)}", ""] if few else []
        titles = columns(table)
        ranked_rows = [[*map(escape, cells(titles, place)), _records(place.row)] for place in table.places]
        lines += [*_table(titles, ranked_rows), ""]
        if table.spreads:
            lines += [
                PROMPTS,
                *_table(spread_columns(table.metric), [list(map(escape, spread_cells(s))) for s in table.spreads]),
                "",
            ]
    if not current:
        lines += ["No runs yet.", ""]
    return "\n".join([*lines, *_reported_section(reported)])


def _records(row: Row) -> str:
    """Links; of several seeds each has one."""
    runs = sorted(row.runs, key=lambda run: run.seed)
    named = {run.run_id: "record" if len(runs) == 1 else f"seed {run.seed}" for run in runs}
    return ", ".join(f"[{name}](runs/{quote(run_id)}/run.json)" for run_id, name in named.items())


def spread_columns(metric: str) -> list[str]:
    over = f"{TITLES.get(metric, metric)} over prompts"
    return ["backend", "how", "prompts", "not read", over, "range", "by chance", "95% of the median"]


def spread_cells(spread: Spread) -> list[str]:
    """A line under `spread_columns`."""
    value = spread.middle.row.entry.metrics["values"][spread.metric]
    return [
        spread.backend,
        spread.how,
        ", ".join(prompt.name for prompt in spread.prompts),
        ", ".join(part(prompt.unread) for prompt in spread.prompts),
        between(spread.low, spread.middle.value, spread.high),
        f"{spread.range:.3f}{'*' if spread.beyond else ''}",
        f"{spread.expected:.3f}",
        "n/a" if value["low"] is None else f"[{value['low']:.3f}, {value['high']:.3f}]",
    ]


def sentence(tables: Sequence[Table]) -> str:
    """Who is first, or in how many tables somebody is."""
    if len(tables) == 1:
        (table,) = tables
        task, _, lang, _ = table.group
        value = shown(table.first.metrics["values"][table.metric])
        others = sum(place.rank == 1 for place in table.places) - 1
        many = len(table.places) - 1
        rest = f"; {others} of the {many} others can't be told apart from it at the 5% level" if many else ""
        return (
            f"On {table.first.metrics['n']:,} {lang} rows of {task}, {table.first.backend} ({how(table.places[0].row)}) is "
            f"first with {TITLES.get(table.metric, table.metric)} {value}{rest}."
        )
    several = [table for table in tables if len(table.places) > 1]
    if not several:
        return "No table has two rows to compare."
    alone = sum(not table.places[0].tied for table in several)
    return (
        f"Of {len(several)} tables with more than one row, {alone} have a first that all others can be told apart from at the "
        f"5% level; in the other {len(several) - alone} the first rank is shared."
    )


REPORTED = """\
## Reported by others, not measured here

Published figures, from the files in `results/reported/`: on other rows, by other code, and never ranked. In brackets, for
shares of a known number of rows: the 95% interval of Clopper and Pearson.
"""


def _reported_section(reported: Sequence[Reported]) -> list[str]:
    lines = [REPORTED] if reported else []
    titles = ["model", "task", "language", "trained or prompted", "rows", "metric", "reported", "note"]
    for source in reported:
        lines += [f"### {escape(source.name)}", "", f"Source: {escape(source.source)}.", ""]
        lines += [escape(source.note), ""] if source.note else []
        lines += [*_table(titles, [list(map(escape, _reported_cells(figure))) for figure in source.figures]), ""]
    return lines


def _reported_cells(figure: Figure) -> list[str]:
    n = "n unknown" if figure.n is None else f"n = {figure.n:,}"
    rows = n if figure.split == "test" else f"{figure.split}, {n}"
    metric = TITLES.get(figure.metric, figure.metric)
    return [figure.model, figure.task, figure.lang or "all", figure.train, rows, metric, figure.shown, figure.note]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_row(titles), "|" + "|".join(" --- " for _ in titles) + "|", *map(_row, rows)]


def _row(values: Iterable[str]) -> str:
    return "| " + " | ".join(values) + " |"


_ESCAPES = str.maketrans({char: f"&#{ord(char)};" for char in "&<>|`*\\"})


def escape(text: str) -> str:
    """A name from a file is text, not Markdown or HTML, and stays on its line."""
    return " ".join(text.split()).translate(_ESCAPES).replace("](", "]&#40;")  # a link; brackets alone are intervals
