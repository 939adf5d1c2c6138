"""Ranks: what is not significantly different from the best shares its rank.

Within a group (runs on the same rows) every configuration is compared with the best one, paired, on the first headline metric:
accuracy by McNemar's exact test, others by the studentised paired bootstrap of `paired`. Those with p above 5% after Holm's
correction share the best one's rank; the best of the others begins the next rank, and so on. Ranks are counted as in sports:
1, 1, 1, 4. What is not better than chance (see `findings`) comes last and has no rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis.findings import Finding
from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.core.errors import RunError
from harness.records.entries import Entry
from harness.records.predictions import predictions_of, read_tables
from harness.records.store import Store
from harness.statistics.metrics import LOWER_IS_BETTER
from harness.statistics.paired import LEVEL, holm

Test = Callable[[Entry, Sequence[Entry]], Sequence[float]]
"""p of "no difference" between the first and each of the others."""


@dataclass(frozen=True)
class Configuration:
    """The runs that differ in their seeds only, best first."""

    runs: tuple[Entry, ...]

    @property
    def entry(self) -> Entry:
        """The median run; of an even number the worse of the two in the middle, so that all figures are of one run."""
        return self.runs[len(self.runs) // 2]

    @property
    def seeds(self) -> list[int]:
        return sorted(run.seed for run in self.runs)

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


@dataclass(frozen=True)
class RankedEntry:
    """`rank` is None where there is a finding. `tied`: it shares the rank."""

    rank: int | None
    row: Configuration
    tied: bool
    finding: Finding | None = None


def fold_seeds(members: Sequence[Entry]) -> list[Configuration]:
    """Best first. Runs of one configuration *and* one seed differ in something else, and are kept separate."""
    configurations: dict[str, list[Entry]] = {}
    for entry in sorted(members, key=lambda entry: entry.order):
        configurations.setdefault(entry.configuration, []).append(entry)
    rows = []
    for runs in configurations.values():
        together = len({run.seed for run in runs}) == len(runs)
        rows += [Configuration(tuple(runs))] if together else [Configuration((run,)) for run in runs]
    return sorted(rows, key=lambda row: row.entry.order)


def ranked(
    rows: Sequence[Configuration], test: Test, findings: Mapping[str, Finding | None] | None = None
) -> list[RankedEntry]:
    """In the order of their ranks; `rows` come best first. `findings`: by the key of an entry.

    Ties are not transitive: an entry may share the best one's rank while one with a higher value, whose errors are the best
    one's, does not. Entries without a value share the last rank.
    """
    metric = rows[0].entry.record.metrics.headline[0] if rows else ""
    named = [(row, (findings or {}).get(row.entry.key)) for row in rows]
    places: list[RankedEntry] = []
    rest = [row for row, found in named if found is None]
    many = len(rest)
    while rest:
        best, others = rest[0], rest[1:]
        if _value(best, metric) is None:
            differs = [False] * len(others)
        else:
            known = [row for row in others if _value(row, metric) is not None]
            adjusted = holm(test(best.entry, [row.entry for row in known])) if known else []
            differs = [p <= LEVEL for p in adjusted] + [True] * (len(others) - len(known))
        tied = [best, *(row for row, is_worse in zip(others, differs, strict=True) if not is_worse)]
        places += [RankedEntry(many - len(rest) + 1, row, len(tied) > 1) for row in tied]
        rest = [row for row, is_worse in zip(others, differs, strict=True) if is_worse]
    return places + [RankedEntry(None, row, False, found) for row, found in named if found is not None]


def _value(row: Configuration, metric: str) -> float | None:
    return row.entry.record.metrics.values[metric].value


def share_test(correct: Mapping[str, BoolArray]) -> Test:
    """McNemar's exact test; `correct` by the key of the entry, the same rows in the same order."""

    def test(best: Entry, others: Sequence[Entry]) -> Sequence[float]:
        right, theirs = correct[best.key], np.stack([correct[entry.key] for entry in others])
        return [float(p) for p in exact_p((right & ~theirs).sum(axis=1), (theirs & ~right).sum(axis=1))]

    return test


def exact_p(only_a: IntArray, only_b: IntArray) -> FloatArray:
    """`paired.sign_test` of many pairs at once, shape (m,), without the second that importing scipy.stats takes."""
    from scipy.special import bdtr

    discordant = only_a + only_b
    return np.asarray(np.minimum(1.0, 2 * bdtr(np.minimum(only_a, only_b), discordant, 0.5)))


def metric_test(store: Store, metric: str) -> Test:
    """The studentised permutation test of `paired`, for metrics other than the accuracy."""
    from harness.records.predictions import shared_rows
    from harness.statistics.contrast import difference_of

    def test(best: Entry, others: Sequence[Entry]) -> Sequence[float]:
        first = predictions_of(store, best)
        pairs = (shared_rows([first, predictions_of(store, entry)]) for entry in others)
        found = (difference_of(metric, a, b).p for a, b in pairs)
        return [1.0 if math.isnan(p) else p for p in found]  # NaN: no difference that could be tested

    return test


def read_correct(store: Store, entries: Sequence[Entry]) -> dict[str, BoolArray]:
    """Which rows each entry has right, by its key; shape (n,), rows of a group in the same order. For single-label tasks.

    Raises `RunError` for a record that is damaged, or does not hold the rows that it names.
    """
    import pyarrow as pa

    schema = pa.schema({"id": pa.string(), "truth": pa.int64(), "label": pa.int64()})  # the label is null where none was parsed
    whole = [entry for entry in entries if entry.among is None]
    paths = [store.root / entry.run_id / "predictions.jsonl" for entry in whole]
    ids_of: dict[str, pa.Array] = {}  # by the digest of rows and labels
    found = {}
    for entry, path, table in zip(whole, paths, read_tables(paths, schema), strict=True):
        ids = table["id"].combine_chunks()
        correct = np.asarray(numbers(table["label"], missing=-1) == numbers(table["truth"], missing=-2))
        if len(ids) != entry.record.metrics.n:
            raise not_its_rows(path)
        expected = ids_of.setdefault(entry.group[3], ids)
        if not ids.equals(expected):  # the same rows in another order
            correct = correct[_order(ids.to_pylist(), expected.to_pylist(), path)]
        found[entry.key] = correct
    for entry in entries:
        if entry.among is not None:
            run, path = predictions_of(store, entry), store.root / entry.run_id / "predictions.jsonl"
            found[entry.key] = run.correct[_order(run.ids.tolist(), ids_of[entry.group[3]].to_pylist(), path)]
    return found


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
