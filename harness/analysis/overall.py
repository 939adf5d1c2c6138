"""Configurations over several tasks and languages: mean rank, mean gap, and tests over the datasets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, groupby

import numpy as np

from harness.analysis.choice import measured_rows
from harness.analysis.lines import Line, lines_of
from harness.analysis.ranking_metric import with_one_metric
from harness.analysis.ranks import Configuration, RankedEntry, fold_seeds
from harness.analysis.row_sets import RowSet, most_informative, row_sets
from harness.core.arrays import FloatArray, IntArray
from harness.core.errors import UnknownName, UserError
from harness.core.predictions import ObjectArray
from harness.records.entries import Entry
from harness.records.index import intact_index
from harness.records.store import Store
from harness.statistics.clusters import numbered_together
from harness.statistics.contrast import Measured
from harness.statistics.covariances import covariance
from harness.statistics.metrics import LOWER_IS_BETTER
from harness.statistics.over_datasets import (
    FEW,
    Posterior,
    Ranged,
    bayesian_signed_rank,
    friedman,
    mean_ranks,
    means_over,
    pairwise,
)

LISTED = 6
"""Names in a message."""
UNBOUNDED = ("mae", "log_loss")
"""Metrics whose differences have another unit than those of shares and coefficients."""


@dataclass(frozen=True)
class Dataset:
    """The rows of one task, language and split. `groups`: what the rows were sampled with, None where they are separate."""

    task: str
    lang: str
    split: str
    n: int
    metric: str
    groups: int | None

    @property
    def name(self) -> str:
        return f"{self.task} ({self.lang})"


@dataclass(frozen=True)
class Versus:
    """A configuration compared with another one over the datasets: Wilcoxon's p, and after Holm's correction over all pairs
    that are compared; and the probabilities of the Bayesian signed-rank test."""

    p: float
    p_holm: float
    posterior: Posterior


@dataclass(frozen=True)
class Standing:
    """A configuration over the datasets. `values`: of each dataset, the mean over its seeds; `runs`: of each dataset. `gap`: as
    in `MeansOver`. `versus`: None with few datasets, and for the one that the others are compared with."""

    name: str
    values: list[float]
    runs: list[list[str]]
    rank: Ranged
    gap: Ranged
    versus: Versus | None


@dataclass(frozen=True)
class Overall:
    """`standings`: best mean rank first. `reference`: what gaps are from; None for the best of each dataset. `compared_with`:
    the one of `Versus`. `shares_groups`: datasets have groups in common (parallel sentences). `friedman`: p of "all alike",
    None with few datasets or two configurations. `left_out`: datasets that not all of the configurations have, with how many
    do; `incomplete`: configurations with runs on two datasets or more, but not on all, and on how many."""

    datasets: list[Dataset]
    standings: list[Standing]
    reference: str | None
    compared_with: str | None
    rope: float
    few: bool
    shares_groups: bool
    friedman: float | None
    left_out: dict[str, int]
    incomplete: dict[str, int]


def overall(
    store: Store,
    tasks: Collection[str] = (),
    langs: Collection[str] = (),
    split: str = "test",
    metric: str | None = None,
    reference: str | None = None,
    rope: float = 0.01,
) -> Overall:
    """Of the runs on the rows on which a model would be chosen for each task and language (`most_informative`), the largest
    table without gaps: the datasets times the configurations that have runs on all of them. `tasks` and `langs` narrow it down;
    `metric` defaults to the first headline metric of each dataset. `reference`: a name, or a part that only one name has.

    Raises `UserError` where no two configurations share two datasets, or for metrics of different units.
    """
    sets = _sets(store, tasks, langs, split)
    folded = [fold_seeds(rows.entries) for rows in sets]
    lines = lines_of([[RankedEntry(None, row, False) for row in rows] for rows in folded], {}) if len(sets) > 1 else []
    kept, columns = _largest_table([set(line.places) for line in lines])
    if len(kept) < 2 or len(columns) < 2:
        raise UserError(
            "No two configurations have runs on the same two datasets (task and language).",
            "Run the same backends, with the same settings, on each: `bench run --task A,B --backend X,Y`.",
        )
    chosen, used = [lines[place] for place in kept], [sets[column] for column in columns]
    names = [f"{line.backend} ({line.how})" for line in chosen]
    place = None if reference is None else _place(names, reference)
    rows = [[line.places[column].row for line in chosen] for column in columns]
    table = _table(store, used, rows, metric)
    few = len(used) < FEW
    order = table.best_first()
    other = order[0] if place is None else place
    versus = {} if few else _versus(table.values, other, rope, all_pairs=place is None)
    return Overall(
        datasets=table.datasets,
        standings=_standings(names, rows, table, place, versus, order),
        reference=None if place is None else names[place],
        compared_with=None if few else names[other],
        rope=rope,
        few=few,
        shares_groups=table.shares_groups,
        friedman=friedman(table.values) if not few and len(names) > 2 else None,
        left_out={
            f"{one.group[0]} ({one.group[2]})": sum(column in line.places for line in chosen)
            for column, one in enumerate(sets)
            if column not in columns
        },
        incomplete=_incomplete(lines, kept, columns),
    )


def _sets(store: Store, tasks: Collection[str], langs: Collection[str], split: str) -> list[RowSet]:
    """One set of rows for each task and language."""
    index = intact_index(store)
    known = {row.task for row in index.rows}, {row.lang for row in index.rows}
    for what, asked, there in zip(("task with runs", "language"), (tasks, langs), known, strict=True):
        for name in asked:
            if name not in there:
                raise UnknownName(what, name, there)
    wanted = [
        place
        for place, row in enumerate(index.rows)
        if row.split == split and (not tasks or row.task in tasks) and (not langs or row.lang in langs)
    ]
    fitting = [one for one in row_sets(index.entries(wanted)) if not one.outdated]
    chosen = [most_informative(store, list(same)) for _, same in groupby(fitting, key=lambda one: one.group[:3])]
    return [replace(one, entries=tuple(with_one_metric(store, one.entries))) for one in chosen]


def _largest_table(columns_of: Sequence[set[int]]) -> tuple[list[int], list[int]]:
    """The lines and columns of a table without gaps. Preferred is one that tests over datasets can be made of (3 lines and
    `FEW` columns), then the one of most differences, (lines - 1) x (columns - 1), then of most columns. Tried are the columns
    that two lines have in common: a table of the columns that more lines share is among these, or smaller."""
    best: tuple[tuple[bool, int, int], list[int], list[int]] = ((False, 0, 0), [], [])
    tried = {frozenset(a & b) for a, b in combinations(columns_of, 2)}
    for columns in sorted(tried, key=sorted):
        lines = [place for place, own in enumerate(columns_of) if columns <= own]
        can_be_tested = len(lines) > 2 and len(columns) >= FEW
        rank = can_be_tested, (len(lines) - 1) * (len(columns) - 1), len(columns)
        if rank > best[0] and len(columns) > 1:
            best = rank, lines, sorted(columns)
    return best[1], best[2]


def _place(names: Sequence[str], part: str) -> int:
    found = [place for place, name in enumerate(names) if name == part] or [
        place for place, name in enumerate(names) if part in name
    ]
    if len(found) != 1:
        what = "none of the compared configurations" if not found else f"{len(found)} of the compared configurations"
        shown = [names[place] for place in found or range(len(names))][:LISTED]
        raise UserError(f"--reference {part!r} names {what}.", f"Name one, for example: {'; '.join(shown)}.")
    return found[0]


@dataclass(frozen=True)
class _Table:
    """`figures` of each dataset; `units`: the numbers of their units, which datasets of one task may share."""

    datasets: list[Dataset]
    figures: list[Measured]
    units: list[IntArray]

    @cached_property
    def signs(self) -> list[float]:
        return [-1.0 if dataset.metric in LOWER_IS_BETTER else 1.0 for dataset in self.datasets]

    @cached_property
    def values(self) -> FloatArray:
        """Shape (datasets, configurations); larger is better."""
        return np.stack([sign * found.values for sign, found in zip(self.signs, self.figures, strict=True)])

    @cached_property
    def errors(self) -> FloatArray:
        """Covariance of the values of rows and seeds, in the order of `values`."""
        of_rows = covariance([sign * one.parts for sign, one in zip(self.signs, self.figures, strict=True)], self.units)
        return np.asarray(of_rows + np.diag(np.concatenate([found.of_seeds for found in self.figures])))

    @property
    def shares_groups(self) -> bool:
        return any(len(np.intersect1d(a, b)) > 0 for a, b in combinations(self.units, 2))

    def best_first(self) -> list[int]:
        """The places of the configurations by mean rank; of equal ones by the mean value."""
        ranks, means = mean_ranks(self.values), self.values.mean(axis=0)
        return sorted(range(len(ranks)), key=lambda k: (ranks[k], -means[k], k))


def _table(store: Store, sets: Sequence[RowSet], rows: Sequence[Sequence[Configuration]], metric: str | None) -> _Table:
    datasets: list[Dataset] = []
    figures: list[Measured] = []
    units: list[ObjectArray | int] = []
    for one, own in zip(sets, rows, strict=True):
        first: Entry = own[0].entry
        name = metric or first.record.metrics.headline[0]
        found = measured_rows(store, own, name)
        dataset = f"{one.group[0]} ({one.group[2]})"
        if found is None:
            raise UserError(f"{dataset} has no {name} that can be compared.", "Name another one: --metric NAME.")
        own_units = found.units
        if not isinstance(own_units, int):  # groups of another task are others, whatever their names
            own_units = np.array([f"{one.group[0]} {group}" for group in own_units], dtype=object)
        units.append(own_units)
        count = None if found.sizes is None else len(found.sizes)
        datasets.append(Dataset(one.group[0], one.group[2], one.group[1], found.n, name, count))
        figures.append(found)
    metrics = {dataset.metric for dataset in datasets}
    if len(metrics) > 1 and metrics & set(UNBOUNDED):
        raise UserError(
            f"The datasets are ranked by metrics of different units: {', '.join(sorted(metrics))}.",
            "Name one that all of them have: --metric NAME.",
        )
    return _Table(datasets, figures, numbered_together(units))


def _standings(
    names: Sequence[str],
    rows: Sequence[Sequence[Configuration]],
    table: _Table,
    reference: int | None,
    versus: Mapping[int, Versus],
    order: Sequence[int],
) -> list[Standing]:
    means = means_over(table.values, table.errors, reference)
    return [
        Standing(
            name=names[k],
            values=[float(found.values[k]) for found in table.figures],
            runs=[[run.run_id for run in own[k].runs] for own in rows],
            rank=means.ranks[k],
            gap=means.gaps[k],
            versus=versus.get(k),
        )
        for k in order
    ]


def _versus(values: FloatArray, other: int, rope: float, *, all_pairs: bool) -> Mapping[int, Versus]:
    """Each against the other. Where that is the best one of the same values, Holm's correction is over all pairs."""
    k = values.shape[1]
    pairs = list(combinations(range(k), 2)) if all_pairs else [(place, other) for place in range(k) if place != other]
    tested = {frozenset(pair): found for pair, found in zip(pairs, pairwise(values, pairs), strict=True)}
    return {
        place: Versus(*tested[frozenset((place, other))], bayesian_signed_rank(values[:, place] - values[:, other], rope))
        for place in range(k)
        if place != other
    }


def _incomplete(lines: Sequence[Line], kept: Collection[int], columns: Collection[int]) -> dict[str, int]:
    found = {}
    for place, line in enumerate(lines):
        count = len(set(line.places) & set(columns))
        if place not in kept and count > 1:
            found[f"{line.backend} ({line.how})"] = count
    return found
