"""What there is to choose from: recorded runs on the same rows, with their quality, price and latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.analysis.findings import Finding, finding_of_entry
from harness.analysis.nested import most_informative
from harness.analysis.ranks import Configuration, fold_seeds
from harness.analysis.row_sets import RowSet, is_given, row_sets
from harness.analysis.rows_today import of_today
from harness.core.errors import UnknownName, UserError
from harness.records.entries import Entry, Group, read_entries
from harness.records.names import names_of
from harness.records.store import Store
from harness.statistics.intervals import MetricValue

if TYPE_CHECKING:
    from harness.records.latency import LatencyRecord
    from harness.specs.catalog import Catalog
    from harness.specs.prices import Prices

QUALITY = {"multilabel": ("micro_f1", "subset_accuracy")}
SINGLE = ("macro_f1", "accuracy")
"""Names of the F1 and of the accuracy that a task is judged by."""


@dataclass(frozen=True)
class Candidate:
    """A configuration; its figures are those of its run in the middle, where there are several seeds.

    `inference`: US dollars per 1,000 rows; `training`: US dollars once; both None where a price is missing, with `unpriced`
    saying why. `labels`: how many people had to give. `p50_ms`, `p95_ms`: latency of a row by itself, None where `bench analyze latency`
    did not measure it, or not on enough texts: `timed` is their number and what it was limited to, None without a record.
    `finding`: why it is not recommended, on all rows that it was tested on.
    """

    name: str
    row: Configuration
    f1: MetricValue
    accuracy: MetricValue
    inference: float | None
    training: float | None
    labels: int
    unpriced: str
    under_load: bool
    p50_ms: float | None
    p95_ms: float | None
    timed: tuple[int, int] | None = None
    finding: Finding | None = None

    @property
    def entry(self) -> Entry:
        return self.row.entry

    def cost(self, predictions: float, label_usd: float) -> float | None:
        """US dollars per 1,000 rows, with training and labels shared among all predictions."""
        if self.inference is None or self.training is None:
            return None
        return self.inference + (self.training + self.labels * label_usd) / predictions * 1000


@dataclass(frozen=True)
class CandidatePool:
    """The candidates on one set of rows. `hardware`: what all time is priced at, None for the machine of each record.

    `left_out`: the runs of the same task and language on other rows. `when`: the time of the last run on these rows, where
    there are others. `outdated`: the task's own files hold other rows or labels now.
    """

    group: Group
    n: int
    f1: str
    accuracy: str
    candidates: list[Candidate]
    left_out: tuple[RowSet, ...] = ()
    hardware: str | None = None
    when: str = ""
    outdated: bool = False

    @property
    def task(self) -> str:
        return self.group[0]

    @property
    def lang(self) -> str:
        return self.group[2]

    @property
    def offered(self) -> list[Candidate]:
        """What may be the answer: those that do better than chance."""
        return [candidate for candidate in self.candidates if candidate.finding is None]

    @property
    def refused(self) -> list[Candidate]:
        """The best first, of models that do no better than chance in any way; `majority` is meant to, and not named."""
        able = {candidate.entry.display_name for candidate in self.offered}
        named = (c for c in self.candidates if c.finding is not None and not c.entry.is_blind)
        found = [c for c in named if c.entry.display_name not in able]
        return sorted(found, key=lambda c: -(c.f1["value"] or 0.0))


def pool_of(
    store: Store,
    task: str,
    lang: str,
    split: str,
    prices: Prices,
    latencies: Sequence[LatencyRecord],
    hardware: str | None = None,
    catalog: Catalog | None = None,
) -> CandidatePool:
    """The rows as in `most_informative`, of those that are not outdated. `hardware` as in `cost_of`; `catalog` to look what the
    task's own files hold today, where these are small.

    Raises `UserError` without runs, `UnknownName` for `task` and `hardware`.
    """
    chosen, others = _chosen(store, _sets_of(store, task, lang, split), catalog)
    group, members = chosen.group, chosen.entries
    f1, accuracy = QUALITY.get(members[0].manifest["identity"]["label_kind"], SINGLE)
    rows = fold_seeds(members)
    names = names_of([row.runs for row in rows], [row.entry.made for row in rows])
    candidates = [
        _candidate(store, name, row, (f1, accuracy), prices, latencies, hardware) for name, row in zip(names, rows, strict=True)
    ]
    return CandidatePool(group, chosen.n, f1, accuracy, candidates, others, hardware, chosen.when, chosen.outdated)


def _sets_of(store: Store, task: str, lang: str, split: str) -> list[RowSet]:
    every = read_entries(store)
    entries = [entry for entry in every if entry.group[:3] == (task, split, lang)]
    if entries:
        return row_sets(entries)
    tasks = {entry.group[0] for entry in every}
    if tasks and task not in tasks:
        raise UnknownName("task with runs", task, tasks)
    known = sorted({f"{entry.group[0]} ({entry.group[2]}, {entry.group[1]})" for entry in every if entry.group[0] == task})
    raise UserError(
        f"There are no runs of the task {task!r} in {lang!r} on its {split} rows.",
        f"There are some of: {', '.join(known)}." if known else "Begin with `bench run`, or name the folder: --results DIR.",
    )


def _chosen(store: Store, sets: Sequence[RowSet], catalog: Catalog | None) -> tuple[RowSet, tuple[RowSet, ...]]:
    """The set to choose from, and those of which it has no run. What the task's files hold today is surer than what was run
    last, but says nothing of rows that came by `--data`."""
    chosen = most_informative(store, [one for one in sets if not one.outdated])
    own = [one for one in sets if not is_given(one.entries[0])]
    found = None if catalog is None or is_given(chosen.entries[0]) else of_today(catalog, own)
    if found is not None:
        there = {one.group for one in found}
        sets = [one if is_given(one.entries[0]) else replace(one, outdated=one.group not in there) for one in sets]
        today = [one for one in sets if one.group in there]
        chosen = most_informative(store, today) if today else replace(chosen, outdated=True)
    used = {entry.run_id for entry in chosen.entries}
    return chosen, tuple(one for one in sets if used.isdisjoint(entry.run_id for entry in one.entries))


def _candidate(
    store: Store,
    name: str,
    row: Configuration,
    quality: tuple[str, str],
    prices: Prices,
    latencies: Sequence[LatencyRecord],
    hardware: str | None,
) -> Candidate:
    from harness.analysis.pricing import cost_of, missing_price
    from harness.records.latency import latency_of

    manifest, values = row.entry.manifest, row.entry.metrics["values"]
    cost, latency = cost_of(manifest, prices, 1000.0, 0.0, hardware), latency_of(row.entry.record, latencies)
    return Candidate(
        name=name,
        row=row,
        f1=values[quality[0]],
        accuracy=values[quality[1]],
        inference=None if cost is None else cost.inference,
        training=None if cost is None else cost.training,  # of 1,000 predictions: all of it
        labels=0 if cost is None else cost.labels,
        unpriced=missing_price(manifest, prices) if cost is None else "",
        under_load=cost is not None and cost.under_load,
        p50_ms=None if latency is None else latency.p50_ms,
        p95_ms=None if latency is None else latency.p95_ms,
        timed=None if latency is None else (latency.n, latency.settings.limit or latency.n),
        finding=finding_of_entry(store, row.entry),
    )
