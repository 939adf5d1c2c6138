"""Sets of rows that runs were tested on: which are current, and which to choose a model on.

A task's file may have been corrected since it was tested first. And `--limit 200` takes the first of the rows that
`--limit 1000` takes: a run on more rows is scored again on the fewer, so that a slow model need not be run on all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.findings import finding_of_entry
from harness.analysis.rescoring import scored
from harness.core.errors import BenchError, UserError
from harness.core.types import Example, LabelSpace
from harness.data.drawing import first_rows
from harness.records.entries import Entry, Group
from harness.records.predictions import read_predictions, shared_rows
from harness.records.store import Store
from harness.statistics.intervals import SMALL_N

if TYPE_CHECKING:
    from harness.specs.catalog import Catalog
    from harness.specs.tasks import TaskSpec

LARGEST = 10_000_000
"""Bytes of a task's files (all splits of a language) that are read without being asked for: about a second."""
DAY, MINUTE, SECOND = len("2026-11-23"), len("2026-11-23T14:05"), len("2026-11-23T14:05:59")

Model = tuple[bool, str, str | None]
"""Whether it was prompted, its backend and its model."""


@dataclass(frozen=True)
class RowSet:
    """The runs on the same rows with the same labels.

    `newest`: when the last of them ended (ISO 8601), "" where no record says it. `when`: as much of it as distinguishes the
    sets of one size of one task, split and language; "" where there is only one set. `outdated`: later runs that asked for the
    same rows got others, or the task has other labels now; never where no time is known.
    """

    group: Group
    entries: tuple[Entry, ...]
    newest: str
    when: str
    outdated: bool

    @property
    def n(self) -> int:
        return self.entries[0].record.n

    @property
    def labels(self) -> LabelSpace:
        return self.entries[0].record.identity.label_space

    @property
    def has_own_rows(self) -> bool:
        """Whether the rows came from `--data`, so that the task's own files say nothing of them."""
        return self.entries[0].record.has_own_rows


def row_sets(entries: Iterable[Entry]) -> list[RowSet]:
    """By task, split and language; within these today's sets first, then the larger ones, then the newer ones."""
    groups: dict[Group, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.group, []).append(entry)
    found = []
    for _, same in groupby(sorted(groups), key=lambda group: group[:3]):
        sets = [RowSet(group, tuple(groups[group]), _newest(groups[group]), "", False) for group in same]
        old, length = _outdated(sets), _length(sets)
        if len(sets) > 1:
            sets = [replace(one, when=one.newest[:length].replace("T", " "), outdated=one.group in old) for one in sets]
        newest_first = sorted(sets, key=lambda one: (one.newest, one.group), reverse=True)
        found += sorted(newest_first, key=lambda one: (one.outdated, -one.n if not one.outdated else 0))
    return found


def _newest(members: Iterable[Entry]) -> str:
    return max(entry.record.finished or "" for entry in members)


def _outdated(sets: Sequence[RowSet]) -> Collection[Group]:
    """A set is outdated where a newer one asked for as many rows, or has other labels, and where it is older than another set
    that is outdated (it was read from the same file). Rows of `--data` and of the task itself say nothing of each other."""
    ordered = sorted(sets, key=lambda one: (one.newest, one.group), reverse=True)
    asked, old, gone = set[tuple[bool, int | None]](), set[Group](), set[bool]()
    for one in ordered:
        own = {(entry.record.has_own_rows, _asked(entry)) for entry in one.entries}
        origins = {has_own_rows for has_own_rows, _ in own}
        if one.newest and (one.labels != ordered[0].labels or asked & own or origins <= gone):
            old.add(one.group)
            gone |= origins
        else:
            asked |= own
    return old


def _asked(entry: Entry) -> int | None:
    """How many rows the run asked for; None for all of them, also where it asked for more than there are."""
    limit = entry.record.options.limit
    return limit if limit is not None and entry.record.n >= limit else None


def _length(sets: Sequence[RowSet]) -> int:
    """The day, unless two sets of one size are of one day; then the minute, or the second."""
    return next((end for end in (DAY, MINUTE) if len({(one.n, one.newest[:end]) for one in sets}) == len(sets)), SECOND)


@dataclass(frozen=True)
class _Choice:
    """A set of rows, and the runs on more rows that have all of them, each with the ids that the rows have there."""

    rows: RowSet
    others: tuple[tuple[Entry, frozenset[str]], ...]
    rank: tuple[Any, ...]


def most_informative(store: Store, sets: Sequence[RowSet]) -> RowSet:
    """The rows to choose a model on, with the runs on more rows scored on them; `sets`: of one task, split and language.

    Only models that are better than chance count. Preferred is the set that both a trained and a prompted one have, then one
    of at least 100 rows, then that of most models, then that of most rows, then the newest.
    """
    if len(sets) == 1:
        return sets[0]
    models = {entry.run_id: _model(store, entry) for rows in sets for entry in rows.entries}
    chosen = max((_choice(store, rows, sets, models) for rows in sets), key=lambda choice: choice.rank)
    found = list(chosen.rows.entries)
    there = {(entry.configuration, entry.seed) for entry in found}
    for entry, ids in chosen.others:
        identity = entry.record.identity.on_rows(found[0].record.identity.rows)
        if (identity.configuration, entry.seed) not in there:  # the same run on both sets has figures of its own
            there.add((identity.configuration, entry.seed))
            found.append(entry.among_rows_of(found[0], scored(store, entry.run_id, ids)))
    return replace(chosen.rows, entries=tuple(found))


def _model(store: Store, entry: Entry) -> Model | None:
    """None for what is not better than chance."""
    if finding_of_entry(store, entry) is not None:
        return None
    return entry.record.identity.prompt is not None, entry.backend, entry.record.identity.backend.model


def _choice(store: Store, rows: RowSet, sets: Sequence[RowSet], models: Mapping[str, Model | None]) -> _Choice:
    others = [(entry, ids) for other in sets if (ids := _held(store, other, rows)) for entry in other.entries]
    known = {model for entry in (*rows.entries, *(entry for entry, _ in others)) if (model := models[entry.run_id]) is not None}
    kinds = {is_prompted for is_prompted, _, _ in known}
    rank = len(kinds), rows.n >= SMALL_N, len(known), rows.n, len(rows.entries), rows.newest, rows.group
    return _Choice(rows, tuple(others), rank)


def _held(store: Store, larger: RowSet, smaller: RowSet) -> frozenset[str] | None:
    """The ids in the larger set of all rows of the smaller one; None where it lacks one, or the two are of other origin."""
    if larger.n <= smaller.n or larger.labels != smaller.labels or larger.has_own_rows != smaller.has_own_rows:
        return None
    try:
        shared = shared_rows([read_predictions(store, rows.entries[0].run_id) for rows in (larger, smaller)])
    except UserError:  # no row in common, or other labels
        return None
    return frozenset(shared[0].ids.tolist()) if len(shared[0]) == smaller.n else None


def of_today(catalog: Catalog, sets: Sequence[RowSet]) -> list[RowSet] | None:
    """Those of the sets (of one task, split and language) whose rows and labels the task's own files hold today.

    None where that takes more than a moment: rows of the hub, large files, files or a task that are not there.
    """
    if not sets:
        return None
    task, split, lang, _ = sets[0].group
    found = rows_at_hand(catalog, task, lang, split)
    if found is None:
        return None
    space, rows = found
    return [one for one in sets if one.labels == space and on_these_rows(one.entries[:1], rows)]


def rows_at_hand(catalog: Catalog, name: str, lang: str, split: str) -> tuple[LabelSpace, list[Example]] | None:
    """The task's own rows and labels, where these can be read in a moment."""
    from harness.data.rows import load_examples, with_names

    try:
        task = catalog.task(name)
        if task.source.hub is not None or sum(path.stat().st_size for path in _files(task, lang)) > LARGEST:
            return None
        task = with_names(task)
        return task.label_space, load_examples(task, lang=lang, split=split)
    except (BenchError, OSError):
        return None


def _files(task: TaskSpec, lang: str) -> Iterator[Path]:
    """The files of a user's own task; nothing for data that come with bench, which are small."""
    files = task.source.files
    if files is None:
        return
    for named in (files.train, files.validation, files.test, files.all, files.folder):
        if named is not None:
            path = task.folder / files.in_language(named, lang)
            yield from path.iterdir() if path.is_dir() else [path]


def on_these_rows(entries: Sequence[Entry], rows: Sequence[Example]) -> list[Entry]:
    """The runs on exactly these rows, or on the first so many of them."""
    from harness.data.rows import fingerprint

    limits = {entry.record.options.limit for entry in entries}
    known = {
        limit: {fingerprint(first_rows(rows, limit, stratify=by_label)) for by_label in ((False, True) if limit else (False,))}
        for limit in limits
    }
    return [entry for entry in entries if entry.record.identity.rows in known[entry.record.options.limit]]
