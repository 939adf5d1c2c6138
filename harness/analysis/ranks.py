"""Configurations and their ranks: a rank is 1 + the number of configurations that are significantly better.

Within a group (runs on the same rows) all pairs of configurations are compared, paired, in the first headline metric, by the
joint test of `statistics.families`: with a probability of 95% no pair of equally good configurations is found different in the
whole table. What is not better than chance (see `findings`) takes no part, comes last and has no rank.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.analysis.findings import Finding
from harness.core.arrays import BoolArray, IntArray
from harness.core.errors import RunError
from harness.core.predictions import Predictions
from harness.core.record import Estimate
from harness.records.entries import Entry
from harness.records.predictions import predictions_of, read_tables, shared_rows
from harness.records.store import PREDICTIONS, Store
from harness.statistics.clusters import numbered
from harness.statistics.contrast import differences_of, share_differences
from harness.statistics.families import LEVEL, Family
from harness.statistics.metrics import LOWER_IS_BETTER, range_of
from harness.statistics.seeds import over_seeds


@dataclass(frozen=True)
class Configuration:
    """The runs that differ in their seeds only, best first. `same`: runs under further seeds that gave the same predictions as
    the one run in `runs`, so that the seed changes nothing."""

    runs: tuple[Entry, ...]
    same: tuple[Entry, ...] = ()

    @property
    def entry(self) -> Entry:
        """The run in the middle, of an even number the worse one: its costs, speeds and sizes stand for all."""
        return self.runs[len(self.runs) // 2]

    @property
    def every(self) -> tuple[Entry, ...]:
        return (*self.runs, *self.same)

    @property
    def seeds(self) -> list[int]:
        return sorted(run.seed for run in self.runs)

    @cached_property
    def is_single(self) -> bool:
        """Whether it was trained, or its few-shot examples or answers were drawn, under one seed alone: then nothing is known
        of other seeds."""
        return len(self.runs) == 1 and not self.same and has_seeds(self.entry)

    def estimate(self, metric: str) -> Estimate:
        """The mean over the seeds with the interval for rows and seeds; of one run that of its record. Without a value where a
        run lacks one."""
        if metric not in self._estimates:
            self._estimates[metric] = self._estimate(metric)
        return self._estimates[metric]

    @cached_property
    def _estimates(self) -> dict[str, Estimate]:
        return {}

    def _estimate(self, metric: str) -> Estimate:
        found = [run.record.metrics.values.get(metric) for run in self.runs]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            return Estimate(value=None, low=None, high=None)
        if len(known) == 1:
            return known[0]
        return over_seeds(known, range_of(metric, len(self.entry.record.identity.labels)))

    @property
    def order(self) -> tuple[float, str]:
        """Best first by the mean of the first headline metric, then by id."""
        metric = self.entry.record.metrics.headline[0]
        values = [run.record.metrics.values[metric].value for run in self.runs]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return float("inf"), self.entry.run_id
        mean = sum(known) / len(known)
        return (mean if metric in LOWER_IS_BETTER else -mean), self.entry.run_id

    def spread(self, metric: str) -> tuple[float, float, float] | None:
        """Lowest, median (as of `entry`) and highest value over the seeds; None for one run, or where a value is undefined."""
        found = [run.record.metrics.values.get(metric) for run in self.runs]
        values = [one.value for one in found if one is not None and one.value is not None]
        if len(values) < max(2, len(found)):
            return None
        best_first = sorted(values, reverse=metric not in LOWER_IS_BETTER)
        return min(values), best_first[len(values) // 2], max(values)

    def share(self, status: str) -> float:
        """Share of the rows of all seeds that are `unparsed` or `failed`."""
        metrics = [run.record.metrics for run in self.runs]
        return float(sum(getattr(one, status) for one in metrics) / sum(one.n for one in metrics))


def has_seeds(entry: Entry) -> bool:
    """Whether another seed could give other predictions. A prompted model that was not trained answers alike under all seeds,
    unless the seed drew its examples or its answers; so does a baseline on the same training rows."""
    identity = entry.record.identity
    train, prompt, options = identity.train, identity.prompt, identity.backend.options
    if train is not None:
        return train.drawn or identity.backend.engine != "baseline"
    return bool(options.get("temperature")) or (prompt is not None and bool(prompt.shots))


@dataclass(frozen=True)
class RankedEntry:
    """`rank` is None where there is a finding. `tied`: it shares the rank. `behind`: the first one is significantly better."""

    rank: int | None
    row: Configuration
    tied: bool
    finding: Finding | None = None
    behind: bool = False


def fold_seeds(members: Sequence[Entry]) -> list[Configuration]:
    """Best first. Runs of one configuration *and* one seed differ in something else, and are kept separate."""
    configurations: dict[str, list[Entry]] = {}
    for entry in sorted(members, key=lambda entry: entry.order):
        configurations.setdefault(entry.configuration, []).append(entry)
    rows = []
    for runs in configurations.values():
        together = len({run.seed for run in runs}) == len(runs)
        rows += [folded(runs)] if together else [Configuration((run,)) for run in runs]
    return sorted(rows, key=lambda row: row.order)


def folded(runs: Sequence[Entry]) -> Configuration:
    """The runs of one configuration, best first; one of them where all gave the same predictions."""
    if len(runs) > 1 and all(_same_predictions(runs[0], run) for run in runs[1:]):
        first, *same = sorted(runs, key=lambda run: run.seed)
        return Configuration((first,), tuple(same))
    return Configuration(tuple(runs))


def _same_predictions(a: Entry, b: Entry) -> bool:
    """By the digests of the files; records of earlier versions have none, and are compared by all their metrics."""
    ours, theirs = ((entry.record.digests or {}).get(PREDICTIONS) for entry in (a, b))
    if ours is not None and theirs is not None:
        return bool(ours == theirs)
    return a.record.metrics == b.record.metrics


def ranked(
    rows: Sequence[Configuration], better: BoolArray, findings: Mapping[str, Finding | None] | None = None
) -> list[RankedEntry]:
    """In the order of their ranks; `rows` come best first. `better`: whether the configuration of this line is significantly
    better than that of this column, by places in `rows`. `findings`: by the key of an entry.

    Ties are not transitive: of two configurations with one rank, one may be significantly better than the other's equals.
    Configurations without a value share the last rank.
    """
    named = [(place, row, (findings or {}).get(row.entry.key)) for place, row in enumerate(rows)]
    able = [(place, row) for place, row, found in named if found is None]
    valued = [place for place, row in able if row.order[0] < float("inf")]
    ranks = {place: 1 + int(better[valued, place].sum()) if place in valued else 1 + len(valued) for place, _ in able}
    first = able[0][0] if able else 0
    shared = Counter(ranks.values())
    found = [
        RankedEntry(ranks[place], row, shared[ranks[place]] > 1, behind=bool(better[first, place]) or place not in valued)
        for place, row in sorted(able, key=lambda item: ranks[item[0]])
    ]
    return found + [RankedEntry(None, row, False, reason) for _, row, reason in named if reason is not None]


def better_of(family: Family, many: int, metric: str) -> BoolArray:
    """Which of `many` configurations is significantly better than which, shape (many, many); `family`: all their pairs."""
    better = np.zeros((many, many), dtype=bool)
    significant = family.p_adjusted <= LEVEL  # False for NaN
    b_wins = (family.value < 0) if metric in LOWER_IS_BETTER else (family.value > 0)
    better[family.b, family.a] = significant & b_wins
    better[family.a, family.b] = significant & ~b_wins
    return better


class Hits(NamedTuple):
    """Which rows each entry has right, by its key, shape (n,): rows of a group in the same order. The numbers of the rows'
    groups (of films, of authors), by the digest of rows and labels; None where the rows have no groups."""

    correct: dict[str, BoolArray]
    units: dict[str, IntArray | None]


def share_family(rows: Sequence[Configuration], hits: Hits) -> Family:
    """All pairs of these configurations in accuracy."""
    right = [[hits.correct[run.key] for run in row.runs] for row in rows]
    return share_differences(right, hits.units[rows[0].entry.group[3]])


def metric_family(store: Store, rows: Sequence[Configuration], metric: str) -> Family:
    """All pairs of these configurations in any metric."""
    return differences_of(metric, seeds_of(store, rows))


def seeds_of(store: Store, rows: Sequence[Configuration]) -> list[list[Predictions]]:
    """The runs of each configuration on the rows that all have. Raises as `predictions_of` and `shared_rows` do."""
    runs = iter(shared_rows([predictions_of(store, run) for row in rows for run in row.runs]))
    return [[next(runs) for _ in row.runs] for row in rows]


def read_correct(store: Store, entries: Sequence[Entry]) -> Hits:
    """Which rows each entry has right. For single-label tasks.

    Raises `RunError` for a record that is damaged, or does not hold the rows that it names.
    """
    import pyarrow as pa

    schema = pa.schema({"id": pa.string(), "truth": pa.int64(), "label": pa.int64(), "group": pa.string()})
    whole = [entry for entry in entries if entry.among is None]
    paths = [store.root / entry.run_id / PREDICTIONS for entry in whole]
    ids_of: dict[str, pa.Array] = {}  # by the digest of rows and labels
    found, units = {}, dict[str, IntArray | None]()
    for entry, path, table in zip(whole, paths, read_tables(paths, schema), strict=True):
        ids, group = table["id"].combine_chunks(), entry.group[3]
        # the label is null where none was parsed
        correct = np.asarray(numbers(table["label"], missing=-1) == numbers(table["truth"], missing=-2))
        if len(ids) != entry.record.metrics.n:
            raise not_its_rows(path)
        expected = ids_of.setdefault(group, ids)
        order = None if ids.equals(expected) else _order(ids.to_pylist(), expected.to_pylist(), path)
        found[entry.key] = correct if order is None else correct[order]
        if units.setdefault(group, None) is None and not table["group"].null_count:
            own = numbered(table["group"].to_pylist())
            units[group] = own if own is None or order is None else own[order]
    for entry in entries:
        if entry.among is not None:
            run, path = predictions_of(store, entry), store.root / entry.run_id / PREDICTIONS
            found[entry.key] = run.correct[_order(run.ids.tolist(), ids_of[entry.group[3]].to_pylist(), path)]
    return Hits(found, units)


def _order(ids: Sequence[str], expected: Sequence[str], path: Path) -> list[int]:
    """The places of the expected ids."""
    places = {name: place for place, name in enumerate(ids)}
    order = [places.get(name, -1) for name in expected]
    if len(places) != len(order) or -1 in order:
        raise not_its_rows(path)
    return order


def not_its_rows(path: Path) -> RunError:
    return RunError(f"{path} does not hold the rows that the run was tested on.", "Repeat it: `bench run --force`.")


def numbers(column: Any, missing: int) -> IntArray:
    """An int64 column of pyarrow, shape (n,). Its own `to_numpy` imports pandas, which takes longer than all the rest."""
    array = column.combine_chunks()
    valid, values = array.buffers()
    inside = slice(array.offset, array.offset + len(array))
    found = np.frombuffer(values, dtype=np.int64)[inside]
    if valid is None:
        return found
    bits = np.unpackbits(np.frombuffer(valid, dtype=np.uint8), bitorder="little")[inside]
    return np.where(bits, found, missing)
