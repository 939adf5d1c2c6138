"""The tables of the leaderboard: the runs on the same rows with their ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from harness.analysis.findings import SHORT, Finding, finding_of_entry
from harness.analysis.ranking_metric import with_one_metric
from harness.analysis.ranks import (
    Configuration,
    Hits,
    RankedEntry,
    better_of,
    fold_seeds,
    metric_family,
    ranked,
    read_correct,
    share_family,
)
from harness.analysis.row_sets import RowSet, most_informative, row_sets
from harness.analysis.spread import Spread, parts_in, share_parts, spreads
from harness.core.arrays import BoolArray
from harness.core.record import MANY_CUT, Cut
from harness.records.entries import LEAK, TITLES, Entry, Group, gate_lines, leak_line
from harness.records.names import told_apart
from harness.records.store import Store
from harness.records.weights import weights_told
from harness.reports.text.formats import shown
from harness.reports.words import ONE_SEED, between, hows, part, rank
from harness.statistics.intervals import small

OVER_SEEDS = " over seeds"
TRUNCATED, OF, FINDING, WEIGHTS = "truncated", "of", "finding", "weights"
STATUSES = ("unparsed", "failed")


@dataclass(frozen=True)
class Table:
    """The runs on one set of rows, with their ranks and the spread over prompts.

    `when` and `outdated`: as in `RowSet`. `main`: of this task, split and language, the rows on which to choose a model.
    """

    group: Group
    places: tuple[RankedEntry, ...]
    spreads: tuple[Spread, ...]
    when: str = ""
    outdated: bool = False
    main: bool = True

    @property
    def first(self) -> Entry:
        return self.places[0].row.entry

    @property
    def leader(self) -> RankedEntry | None:
        """The first entry, if it is better than chance."""
        return None if self.places[0].rank is None else self.places[0]

    @property
    def metric(self) -> str:
        """The metric of the ranks."""
        return self.first.record.metrics.headline[0]

    @property
    def size(self) -> str:
        """`500 rows (last run 2026-11-23)`; the day only if the language has several sets of rows."""
        rows = f"{self.first.record.metrics.n:,} rows"
        return f"{rows} ({'outdated; ' if self.outdated else ''}last run {self.when})" if self.when else rows

    @property
    def few(self) -> str | None:
        """A warning if these rows are few."""
        metrics = self.first.record.metrics
        return small(metrics.n, [label.support for label in metrics.per_class], metrics.groups)

    @property
    def truncates(self) -> bool:
        """Whether some entry read more than 1% of its texts only in part; then each entry shows its share."""
        return any(cut is not None and cut.share > MANY_CUT for cut in (place.row.entry.record.cut for place in self.places))

    @property
    def warnings(self) -> list[str]:
        """How many rows leak, then warned and failed sanity gates of its runs, in the order of the ranks."""
        runs = [
            (run, place.finding is not None)
            for place in self.places
            for run in sorted(place.row.every, key=lambda run: run.seed)
        ]
        names = told_apart([[run] for run, _ in runs], [run.how for run, _ in runs])
        leak = leak_line(run.record for run, _ in runs)
        return ([] if leak is None else [leak]) + [
            f"{run.display_name} ({how}): {line}"
            for (run, has_finding), how in zip(runs, names, strict=True)
            for line in gate_lines(run.record.gates, has_finding=has_finding)
        ]


def grouped(entries: Iterable[Entry]) -> list[RowSet]:
    """As `row_sets`; within a set best first."""
    return [replace(rows, entries=tuple(sorted(rows.entries, key=lambda entry: entry.order))) for rows in row_sets(entries)]


def read_tables(store: Store, entries: Sequence[Entry]) -> list[Table]:
    """Rank the runs of each group; reads the predictions of groups with several entries. Raises `RunError`."""
    sets, main = _with_main(store, [_by_one_metric(store, found) for found in grouped(entries)])
    groups = [(found, found.entries, fold_seeds(found.entries)) for found in sets]
    compared = [members for _, members, rows in groups if len(rows) > 1 and _is_by_accuracy(members)]
    correct = read_correct(store, [entry for members in compared for entry in members])
    tables = []
    for found, members, rows in groups:
        by_accuracy = _is_by_accuracy(members)
        prompts = tuple(spreads(members, share_parts(correct) if by_accuracy else parts_in(store)))
        findings = {row.entry.key: finding_of_entry(store, row.entry) for row in rows}
        places = tuple(ranked(rows, _better(store, rows, findings, correct if by_accuracy else None), findings))
        tables.append(Table(found.group, places, prompts, found.when, found.outdated, found.group in main))
    return tables


def _by_one_metric(store: Store, found: RowSet) -> RowSet:
    """Best first, by the metric that ranks all of them."""
    entries = with_one_metric(store, found.entries)
    return replace(found, entries=tuple(sorted(entries, key=lambda entry: entry.order)))


def _better(
    store: Store, rows: Sequence[Configuration], findings: Mapping[str, Finding | None], correct: Hits | None
) -> BoolArray:
    """Which configuration is significantly better than which, by places in `rows`, among those without a finding. `correct`:
    for tables by accuracy."""
    places = [place for place, row in enumerate(rows) if findings[row.entry.key] is None]
    better = np.zeros((len(rows), len(rows)), dtype=bool)
    able, metric = [rows[place] for place in places], rows[0].entry.record.metrics.headline[0]
    if len(able) > 1:
        family = metric_family(store, able, metric) if correct is None else share_family(able, correct)
        better[np.ix_(places, places)] = better_of(family, len(able), metric)
    return better


def _with_main(store: Store, sets: Sequence[RowSet]) -> tuple[list[RowSet], set[Group]]:
    """The sets, where the main one of each task, split and language includes the runs on more rows; and the main groups."""
    main = {}
    for _, same in groupby((one for one in sets if not one.outdated), key=lambda one: one.group[:3]):
        found = _by_one_metric(store, most_informative(store, list(same)))
        main[found.group] = found
    return [main.get(one.group, one) for one in sets], set(main)


def _is_by_accuracy(members: Sequence[Entry]) -> bool:
    return members[0].record.metrics.headline[0] == "accuracy"


def columns(table: Table) -> list[str]:
    """Titles; weights, seeds, unparsed and failed rows, and truncated texts, have a column only if there are any."""
    rows = [place.row for place in table.places]
    return [
        *("#", "backend", "how"),
        *([WEIGHTS] if any(weights_told(row.entry.record) for row in rows) else []),
        *(TITLES.get(name, name) for name in table.first.record.metrics.headline),
        *([f"{TITLES.get(table.metric, table.metric)}{OVER_SEEDS}"] if any(len(row.runs) > 1 for row in rows) else []),
        *(status for status in STATUSES if any(row.share(status) for row in rows)),
        *([TRUNCATED] if table.truncates else []),
        *([OF] if any(place.row.entry.tested_on for place in table.places) else []),
        *([FINDING] if any(place.finding for place in table.places) else []),
        *("rows/s", "run"),
    ]


def lines_of(titles: Sequence[str], places: Sequence[RankedEntry]) -> list[list[str]]:
    """The rows under `columns`, without the run, which differs between page and terminal."""
    return [_cells(titles, place, words) for place, words in zip(places, hows([place.row for place in places]), strict=True)]


def _cells(titles: Sequence[str], place: RankedEntry, words: str) -> list[str]:
    row, rate = place.row, place.row.entry.record.timing.rows_per_second
    return [
        rank(place),
        row.entry.display_name,
        words + leak_mark(row),
        *([weights_told(row.entry.record) or "–"] if WEIGHTS in titles else []),
        *(_value(row, name) for name in row.entry.record.metrics.headline),
        *([_over_seeds(row)] if any(title.endswith(OVER_SEEDS) for title in titles) else []),
        *(part(row.share(status)) for status in STATUSES if status in titles),
        *([_truncated(row.entry.record.cut)] if TRUNCATED in titles else []),
        *([f"{row.entry.tested_on:,} rows" if row.entry.tested_on else "–"] if OF in titles else []),
        *([SHORT[place.finding.kind] if place.finding else "–"] if FINDING in titles else []),
        "n/a" if rate is None else f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}",
    ]


def _value(row: Configuration, metric: str) -> str:
    """With a sign where it is the value of one run alone."""
    found = row.estimate(metric)
    return f"{shown(found)}{f' {ONE_SEED}' if row.is_single and found.value is not None else ''}"


def leak_mark(row: Configuration) -> str:
    """` §`, if rows leak in some run of the configuration."""
    return "" if leak_line(run.record for run in row.every) is None else f" {LEAK}"


def _truncated(cut: Cut | None) -> str:
    """`12.0% (3.1% of tokens)`"""
    return "–" if cut is None or not cut.texts else f"{part(cut.share)} ({part(cut.tokens_lost_share)} of tokens)"


def _over_seeds(row: Configuration) -> str:
    spread = row.spread(row.entry.record.metrics.headline[0])
    return "–" if spread is None else f"{between(*spread)} ({len(row.runs)})"


def spread_columns(metric: str) -> list[str]:
    over = f"{TITLES.get(metric, metric)} over prompts"
    return ["backend", "how", "prompts", "unparsed", over, "range", "by chance", "95% of the median"]


def spread_cells(spread: Spread) -> list[str]:
    """A row under `spread_columns`."""
    value = spread.middle.row.entry.record.metrics.values[spread.metric]
    return [
        spread.backend,
        spread.how,
        ", ".join(prompt.name for prompt in spread.prompts),
        ", ".join(part(prompt.unparsed) for prompt in spread.prompts),
        between(spread.low, spread.middle.value, spread.high),
        f"{spread.range:.3f}{'*' if spread.beyond else ''}",
        f"{spread.expected:.3f}",
        "n/a" if value.low is None else f"[{value.low:.3f}, {value.high:.3f}]",
    ]
