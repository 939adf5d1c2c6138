"""What there is to choose from: recorded runs on the same rows, with their quality, cost and latency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.analysis.findings import Finding, finding_of_entry
from harness.analysis.pricing import cost_of, missing_price
from harness.analysis.ranking_metric import with_one_metric
from harness.analysis.ranks import Configuration, fold_seeds
from harness.analysis.row_sets import RowSet, most_informative, of_today, row_sets
from harness.core.errors import UnknownName, UserError
from harness.core.record import Estimate
from harness.core.types import LabelKind
from harness.records.entries import Entry, Group
from harness.records.index import intact_index
from harness.records.latency import LatencyRecord, latency_of
from harness.records.names import names_of
from harness.records.store import Store
from harness.statistics.metrics import LOWER_IS_BETTER

if TYPE_CHECKING:
    from harness.specs.catalog import Catalog
    from harness.specs.prices import Prices


@dataclass(frozen=True)
class Candidate:
    """A configuration. F1 and accuracy are means over its seeds; costs and latencies are those of the run in the middle.

    `inference`: US dollars per 1,000 rows; `training`: US dollars once; both None where a price is missing, and then `unpriced`
    says why. `quality`: the value of `metric`, which ranks on the leaderboard too. `labels`: how many people had to give.
    `p50_ms`, `p95_ms`: latency of single rows, None where `bench analyze
    latency` did not measure it, or on too few texts: `timed` is their number and its limit, None without a record.
    `finding`: why it is not recommended, on all rows that it was tested on.
    """

    name: str
    row: Configuration
    metric: str
    quality: Estimate
    f1: Estimate
    accuracy: Estimate
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

    @property
    def goodness(self) -> float | None:
        """The quality, negative where a lower value of the metric is better; None where it is undefined."""
        value = self.quality.value
        return -value if value is not None and self.metric in LOWER_IS_BETTER else value

    @property
    def worst_first(self) -> float:
        """A key to sort by: the larger the better, and lowest where the quality is undefined."""
        return -math.inf if self.goodness is None else self.goodness

    @property
    def is_prompted(self) -> bool:
        return self.entry.record.identity.prompt is not None

    def cost(self, predictions: float, label_usd: float) -> float | None:
        """US dollars per 1,000 rows, with training and labels shared among all predictions."""
        if self.inference is None or self.training is None:
            return None
        return self.inference + (self.training + self.labels * label_usd) / predictions * 1000


@dataclass(frozen=True)
class CandidatePool:
    """The candidates on one set of rows. `metric`: the name of the one that ranks, here as on the leaderboard. `f1`,
    `accuracy`: the names of those that have limits of their own. `hardware`: what all time is priced at, None for
    the machine of each record.

    `left_out`: the runs of the same task and language on other rows. `when`: the time of the last run on these rows, where
    there are others. `outdated`: the task's own files hold other rows or labels now.
    """

    group: Group
    n: int
    metric: str
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
    def split(self) -> str:
        return self.group[1]

    @property
    def lang(self) -> str:
        return self.group[2]

    @property
    def offered(self) -> list[Candidate]:
        """What may be recommended: those that are better than chance."""
        return [candidate for candidate in self.candidates if candidate.finding is None]

    @property
    def refused(self) -> list[Candidate]:
        """The best first, of models that are in no way better than chance; `majority` is meant to, and not named."""
        able = {candidate.entry.display_name for candidate in self.offered}
        named = (c for c in self.candidates if c.finding is not None and not c.entry.is_blind)
        found = [c for c in named if c.entry.display_name not in able]
        return sorted(found, key=lambda c: -c.worst_first)


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
    """The rows as in `most_informative`, of those that are not outdated. `hardware` as in `cost_of`; `catalog` to see what the
    task's own files hold today, where these are small.

    Raises `UserError` without runs, `UnknownName` for `task` and `hardware`.
    """
    chosen, others = _chosen(store, _sets_of(store, task, lang, split), catalog)
    multilabel = chosen.labels.kind is LabelKind.MULTILABEL
    f1, accuracy = ("micro_f1", "subset_accuracy") if multilabel else ("macro_f1", "accuracy")
    entries = with_one_metric(store, chosen.entries)
    metric, rows = entries[0].record.metrics.headline[0], fold_seeds(entries)
    candidates = []
    for name, row in zip(names_of([row.runs for row in rows], [row.entry.config_label for row in rows]), rows, strict=True):
        record = row.entry.record
        cost, latency = cost_of(row.entry, prices, 1000.0, 0.0, hardware), latency_of(record, latencies)
        candidates.append(
            Candidate(
                name=name,
                row=row,
                metric=metric,
                quality=row.estimate(metric),
                f1=row.estimate(f1),
                accuracy=row.estimate(accuracy),
                inference=None if cost is None else cost.inference,
                training=None if cost is None else cost.training,  # of 1,000 predictions: all of it
                labels=0 if cost is None else cost.labels,
                unpriced=missing_price(record, prices) if cost is None else "",
                under_load=cost is not None and cost.under_load,
                p50_ms=None if latency is None else latency.p50_ms,
                p95_ms=None if latency is None else latency.p95_ms,
                timed=None if latency is None else (latency.n, latency.settings.limit or latency.n),
                finding=finding_of_entry(store, row.entry),
            )
        )
    return CandidatePool(
        chosen.group, chosen.n, metric, f1, accuracy, candidates, others, hardware, chosen.when, chosen.outdated
    )


def _sets_of(store: Store, task: str, lang: str, split: str) -> list[RowSet]:
    index = intact_index(store)
    entries = index.entries(
        place for place, row in enumerate(index.rows) if (row.task, row.split, row.lang) == (task, split, lang)
    )
    if entries:
        return row_sets(entries)
    tasks = {row.task for row in index.rows}
    if tasks and task not in tasks:
        raise UnknownName("task with runs", task, tasks)
    known = sorted({f"{row.task} ({row.lang}, {row.split})" for row in index.rows if row.task == task})
    raise UserError(
        f"There are no runs of the task {task!r} in {lang!r} on its {split} rows.",
        f"There are runs of: {', '.join(known)}." if known else "Start with `bench run`, or name the folder: --results DIR.",
    )


def _chosen(store: Store, sets: Sequence[RowSet], catalog: Catalog | None) -> tuple[RowSet, tuple[RowSet, ...]]:
    """The set to choose from, and those of which it has no run. What the task's files hold today is more certain than what was
    run last, but says nothing of rows from `--data`."""
    chosen = most_informative(store, [one for one in sets if not one.outdated])
    own = [one for one in sets if not one.has_own_rows]
    found = None if catalog is None or chosen.has_own_rows else of_today(catalog, own)
    if found is not None:
        there = {one.group for one in found}
        sets = [one if one.has_own_rows else replace(one, outdated=one.group not in there) for one in sets]
        today = [one for one in sets if one.group in there]
        chosen = most_informative(store, today) if today else replace(chosen, outdated=True)
    used = {entry.run_id for entry in chosen.entries}
    return chosen, tuple(one for one in sets if used.isdisjoint(entry.run_id for entry in one.entries))
