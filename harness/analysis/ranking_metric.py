"""The metric that ranks runs on the same rows: the first of `Metrics.headline`.

It is the task's (`rank_by`) when a run was made. Where the task changed it since, the runs on one set of rows have different
ones: then that of the newest run counts for all of them, and what a record lacks is computed from its predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.analysis.rescoring import scored
from harness.core.errors import RunError
from harness.records.entries import Entry
from harness.records.store import Store


def ranking_metric(entries: Sequence[Entry]) -> str:
    """Of runs of one task: that of the newest one; of several that ended together the last by its id."""
    newest = max(entries, key=lambda entry: (entry.record.finished or "", entry.run_id))
    return newest.record.metrics.headline[0]


def with_one_metric(store: Store, entries: Sequence[Entry]) -> list[Entry]:
    """The runs on the same rows, all with the headline metrics of the newest one. Raises `RunError` for a record whose
    predictions can't be scored, or do not have such a metric."""
    if len({entry.record.metrics.headline[0] for entry in entries}) <= 1:
        return list(entries)
    first = ranking_metric(entries)
    wanted = next(entry.record.metrics.headline for entry in entries if entry.record.metrics.headline[0] == first)
    return [_with_headline(store, entry, wanted) for entry in entries]


def _with_headline(store: Store, entry: Entry, wanted: list[str]) -> Entry:
    metrics = entry.record.metrics
    values = metrics.values
    if not values.keys() >= set(wanted):
        values = {**scored(store, entry.run_id).values, **values}
    if lacking := sorted(set(wanted) - values.keys()):
        raise RunError(
            f"The run {entry.run_id} has no {lacking[0]}, by which newer runs on its rows are ranked.",
            "Delete that run's folder, or repeat it: `bench run --force`.",
        )
    changed = metrics.model_copy(update={"headline": wanted, "values": values})
    return replace(entry, record=entry.record.model_copy(update={"metrics": changed}))
