"""Runs on more rows beside runs on fewer of them: `--limit 200` takes the first of the rows that `--limit 1000` takes.

What was run on more rows is scored again on the fewer, from its predictions, so that a slow model need not be run on all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.analysis.findings import finding_of_entry
from harness.analysis.rescoring import scored
from harness.analysis.row_sets import RowSet, is_given, labels_of
from harness.core.errors import UserError
from harness.core.record import Identity
from harness.records.entries import Entry
from harness.records.predictions import read_predictions, shared_rows
from harness.records.store import Store
from harness.statistics.intervals import SMALL_N

Model = tuple[bool, str, str]
"""Whether it was prompted, its backend and its model."""


@dataclass(frozen=True)
class _Choice:
    """A set of rows, and the runs on more rows that have all of them, each with the ids that the rows have there."""

    rows: RowSet
    others: tuple[tuple[Entry, frozenset[str]], ...]
    rank: tuple[Any, ...]


def most_informative(store: Store, sets: Sequence[RowSet]) -> RowSet:
    """The rows to choose a model on, with the runs on more rows scored on them; `sets`: of one task, split and language.

    Only models that do better than chance count (those without a finding). Of the sets: that which both a trained and a
    prompted one have, then one of at least 100 rows, then that of most models, then that of most rows, then the newest.
    """
    if len(sets) == 1:
        return sets[0]
    models = {entry.run_id: _model(store, entry) for rows in sets for entry in rows.entries}
    chosen = max((_choice(store, rows, sets, models) for rows in sets), key=lambda choice: choice.rank)
    base, first = chosen.rows, chosen.rows.entries[0]
    found, there = list(base.entries), {_run(entry.record.identity) for entry in base.entries}
    for entry, ids in chosen.others:
        identity = entry.record.identity.on_rows(first.record.identity.rows)
        if _run(identity) not in there:  # the same, run on both: it has figures of its own
            there.add(_run(identity))
            metrics = scored(store, entry.run_id, ids)
            record = entry.record.model_copy(update={"identity": identity, "metrics": metrics})
            found.append(Entry(record, among=first.run_id, tested_on=entry.record.n, by_model=entry.by_model))
    return replace(base, entries=tuple(found))


def _model(store: Store, entry: Entry) -> Model | None:
    """None for what does no better than chance."""
    if finding_of_entry(store, entry) is not None:
        return None
    identity = entry.manifest["identity"]
    return bool(identity["prompt"]), entry.backend, str(identity["backend"].get("model"))


def _choice(store: Store, rows: RowSet, sets: Sequence[RowSet], models: Mapping[str, Model | None]) -> _Choice:
    others = [(entry, ids) for other in sets if (ids := _held(store, other, rows)) for entry in other.entries]
    known = {model for entry in (*rows.entries, *(entry for entry, _ in others)) if (model := models[entry.run_id]) is not None}
    kinds = {is_prompted for is_prompted, _, _ in known}
    rank = len(kinds), rows.n >= SMALL_N, len(known), rows.n, len(rows.entries), rows.newest, rows.group
    return _Choice(rows, tuple(others), rank)


def _held(store: Store, larger: RowSet, smaller: RowSet) -> frozenset[str] | None:
    """The ids in the larger set of all rows of the smaller one; None where it lacks one, or the two are of other origin."""
    one, other = larger.entries[0], smaller.entries[0]
    if larger.n <= smaller.n or labels_of(one) != labels_of(other) or is_given(one) != is_given(other):
        return None
    try:
        shared = shared_rows([read_predictions(store, entry.run_id) for entry in (one, other)])
    except UserError:  # no row in common, or other labels
        return None
    return frozenset(shared[0].ids.tolist()) if len(shared[0]) == smaller.n else None


def _run(identity: Identity) -> tuple[str, int]:
    return identity.configuration, identity.seed
