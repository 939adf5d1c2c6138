"""Configurations compared on the rows that all of them have: which is better, and is the difference significant?

A named run stands for its configuration: all recorded runs that differ from it in their seeds only. Their mean is compared.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations

import numpy as np

from harness.analysis.ranking_metric import ranking_metric, with_one_metric
from harness.analysis.ranks import Configuration, folded
from harness.core.arrays import BoolArray, IntArray
from harness.core.errors import DamagedRecord, UserError
from harness.core.predictions import Predictions
from harness.core.record import Estimate
from harness.core.types import LabelKind
from harness.records.entries import TITLES, Entry, leak_line, read_entry, warn_of, with_models
from harness.records.names import names_of
from harness.records.pairing import pairing_notes
from harness.records.predictions import read_predictions, shared_rows
from harness.records.store import Store
from harness.statistics import intervals
from harness.statistics.contrast import comparable, difference_at, differences_of, groups_of, not_tested, value_of
from harness.statistics.families import LEVEL
from harness.statistics.metrics import LOWER_IS_BETTER, headline_of, range_of
from harness.statistics.paired import Difference
from harness.statistics.seeds import over_seeds


class Outcome(StrEnum):
    """Of a pair: the interval excludes 0, it lies within the region of practical equivalence, or neither is known."""

    DIFFERENT = "different"
    EQUIVALENT = "practically equal"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Contestant:
    """A configuration as the comparison names it: a letter for tables, a name for sentences. `entry`: the run that was named;
    `own_rows`: all that it was tested on."""

    letter: str
    name: str
    entry: Entry
    row: Configuration
    own_rows: int
    values: dict[str, Estimate]


@dataclass(frozen=True)
class Pair:
    """Two contestants by their places in `Comparison.runs`, and on how many rows which of the two named runs is right."""

    a: int
    b: int
    both_right: int
    only_a: int
    only_b: int
    neither_right: int


@dataclass(frozen=True)
class Verdict:
    """B - A of one pair in one metric. The interval of `difference` is simultaneous for all pairs of this metric, and agrees
    with `p_adjusted`; `difference.p` is of the pair alone. NaN where undefined. `rope`: half the width of the region of
    practical equivalence, None where none was asked for. `not_tested`: why there is neither p nor interval."""

    metric: str
    a: int
    b: int
    difference: Difference
    p_adjusted: float
    rope: float | None = None
    not_tested: str | None = None

    @property
    def better(self) -> int | None:
        """The place of the better configuration; None where the difference is not significant at 5%."""
        if not self.p_adjusted <= LEVEL:
            return None
        return self.b if (self.difference.value > 0) != (self.metric in LOWER_IS_BETTER) else self.a

    @property
    def outcome(self) -> Outcome:
        """A difference that is significant and within the region counts as practically equal."""
        if self.rope is not None and -self.rope <= self.difference.low and self.difference.high <= self.rope:
            return Outcome.EQUIVALENT
        return Outcome.UNDECIDED if self.better is None else Outcome.DIFFERENT


@dataclass(frozen=True)
class Comparison:
    """`predictions`: of each named run on the shared rows, in the same order; `differing`: the places of the rows on which
    their answers differ, first those that some have right, in the order of the ids. `groups`: of rows, None for rows without
    groups."""

    metrics: list[str]
    runs: list[Contestant]
    pairs: list[Pair]
    verdicts: list[Verdict]
    notes: list[str]
    predictions: list[Predictions]
    differing: IntArray
    groups: int | None = None
    rope: float | None = None

    @property
    def n(self) -> int:
        return len(self.predictions[0])

    def of(self, metric: str) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.metric == metric]

    def answer(self, run: int, row: int) -> str:
        """A run's answer to a row: names of labels, or `no answer`."""
        own = self.predictions[run]
        return _label(own, own.answers[row]) if own.answered[row] else "no answer"

    def truth(self, row: int) -> str:
        return _label(self.predictions[0], self.predictions[0].truth[row])


def compare(
    store: Store, run_ids: Sequence[str], metrics: Sequence[str] = (), *, runs_only: bool = False, rope: float | None = None
) -> Comparison:
    """All pairs of at least two configurations, in `metrics` (default: the headline ones, and log loss where all have
    probabilities). `runs_only`: the named runs alone. `rope`: differences up to this count as practically equal.

    Raises `UserError` for a run that is named twice, two seeds of one configuration, a metric that can't be compared, runs of
    different tasks, languages, splits or data; `RunError` for a damaged record.
    """
    _check(run_ids, rope)
    entries = with_models([read_entry(store, name) for name in run_ids])
    rows = [Configuration((entry,)) if runs_only else configuration_of(store, entry) for entry in entries]
    _check_seeds(entries, rows)
    every = [_named_first(entry, row) for entry, row in zip(entries, rows, strict=True)]
    whole = [[read_predictions(store, run.run_id) for run in runs] for runs in every]
    found = iter(shared_rows([run for runs in whole for run in runs]))
    seeds = [[next(found) for _ in runs] for runs in whole]
    ranks = ranking_metric([run for row in rows for run in row.every])
    shared, named = [runs[0] for runs in seeds], [runs[0] for runs in whole]
    chosen = _chosen([run for runs in seeds for run in runs], list(dict.fromkeys(metrics)), ranks)
    told = [entry.how if len(row.runs) == 1 else entry.config_label for entry, row in zip(entries, rows, strict=True)]
    runs = [
        Contestant(_letter(place), name, entry, row, len(own), _values(chosen, row, every[place], seeds[place], len(own)))
        for place, (name, entry, row, own) in enumerate(
            zip(names_of([row.runs for row in rows], told), entries, rows, named, strict=True)
        )
    ]
    verdicts = [verdict for metric in chosen for verdict in _verdicts(metric, seeds, rope)]
    pairs = [Pair(a, b, *_agreement(shared[a].correct, shared[b].correct)) for a, b in combinations(range(len(runs)), 2)]
    group_names = groups_of([run for group in seeds for run in group])
    groups = None if group_names is None else len(set(group_names.tolist()))
    notes = _notes(runs, shared, named, groups)
    reasons = {metric: reason for metric in chosen if (reason := not_tested(metric, shared[0])) is not None}
    notes += [f"{TITLES.get(metric, metric)} is not tested: {reason}." for metric, reason in reasons.items()]
    return Comparison(chosen, runs, pairs, verdicts, notes, shared, _differing(shared), groups, rope)


def _check(run_ids: Sequence[str], rope: float | None) -> None:
    if len(run_ids) < 2:
        raise UserError("A comparison needs two runs.", "Name two or more: `bench list runs` shows them.")
    for name, count in Counter(run_ids).items():
        if count > 1:
            raise UserError(f"The run {name} is named {count} times.", "Name different runs.")
    if rope is not None and not (math.isfinite(rope) and rope > 0):
        raise UserError(f"--rope {rope:g} is not above 0.", "Name the largest difference that does not matter: --rope 0.01.")


def _check_seeds(entries: Sequence[Entry], rows: Sequence[Configuration]) -> None:
    """Two named runs of one configuration can only be compared as runs."""
    owner: dict[str, Entry] = {}
    for entry, row in zip(entries, rows, strict=True):
        for run in row.every:
            first = owner.setdefault(run.run_id, entry)
            if first is not entry:
                raise UserError(
                    f"{first.run_id} and {entry.run_id} are one configuration under two seeds.",
                    "Name one of them, or compare single runs: --runs-only.",
                )


def _named_first(named: Entry, row: Configuration) -> list[Entry]:
    """The runs that are compared; of runs with the same predictions the named one."""
    return [named] if row.same else [named, *(run for run in row.runs if run.run_id != named.run_id)]


def configuration_of(store: Store, entry: Entry) -> Configuration:
    """The configuration of a run: all intact runs in the store that differ from it in their seeds only."""
    stem = _stem(entry.run_id)
    names = [name for name in store.ids() if name != entry.run_id and _stem(name) == stem]  # so few records have to be read
    others = [found for name in names if (found := _intact(store, name)) and found.configuration == entry.configuration]
    runs = with_one_metric(store, with_models([entry, *others]))
    alone = len({run.seed for run in runs}) < len(runs)  # one seed twice: they differ in something else
    members = [replace(run, by_model=entry.by_model) for run in ([entry] if alone else sorted(runs, key=lambda run: run.order))]
    return folded(members)


def _intact(store: Store, name: str) -> Entry | None:
    try:
        return read_entry(store, name)
    except DamagedRecord as error:
        warn_of(error)
        return None


def _stem(run_id: str) -> str:
    """The id without its seed and digits: the same for the seeds of a configuration."""
    return run_id.rpartition(".")[0].rpartition(".s")[0]


def _chosen(shared: Sequence[Predictions], asked: list[str], ranks: str) -> list[str]:
    """`ranks`: the metric that ranks these runs on a leaderboard, which comes first."""
    for metric in asked:
        for run in shared:
            if metric not in comparable(run):
                reason = "has no probabilities" if metric in ("log_loss", "brier") else "can't be compared in it"
                raise UserError(
                    f"There is no {metric} to compare: {run.run_id} {reason}.", f"Known: {', '.join(comparable(run))}."
                )
    usual = [*headline_of(shared[0].labels.kind, ranks), "log_loss"]
    return asked or [metric for metric in usual if all(metric in comparable(run) for run in shared)]


def _values(
    metrics: Sequence[str], row: Configuration, runs: Sequence[Entry], shared: Sequence[Predictions], own_rows: int
) -> dict[str, Estimate]:
    """Of the shared rows: those of the records where they are all of their rows, else Wilson's interval or none."""
    found = {}
    for metric in metrics:
        ours = []
        for run, part in zip(runs, shared, strict=True):
            recorded = run.record.metrics.values.get(metric) if len(part) == own_rows else None  # an old record may lack it
            ours.append(recorded or value_of(metric, part))
        found[metric] = ours[0] if len(row.runs) == 1 else over_seeds(ours, range_of(metric, len(shared[0].labels)))
    return found


def _verdicts(metric: str, seeds: Sequence[Sequence[Predictions]], rope: float | None) -> Iterator[Verdict]:
    family, reason = differences_of(metric, seeds), not_tested(metric, seeds[0][0])
    for place in range(len(family)):
        a, b = int(family.a[place]), int(family.b[place])
        yield Verdict(metric, a, b, difference_at(family, place), float(family.p_adjusted[place]), rope, reason)


def _agreement(a: BoolArray, b: BoolArray) -> tuple[int, int, int, int]:
    return int((a & b).sum()), int((a & ~b).sum()), int((b & ~a).sum()), int((~a & ~b).sum())


def _differing(shared: Sequence[Predictions]) -> IntArray:
    first = shared[0]
    other = np.zeros(len(first), dtype=bool)
    decided = np.zeros(len(first), dtype=bool)
    for run in shared[1:]:
        other |= (run.answers != first.answers).reshape(len(first), -1).any(axis=1) | (run.answered != first.answered)
        decided |= run.correct != first.correct
    return np.concatenate([np.flatnonzero(decided), np.flatnonzero(other & ~decided)])


def _label(shared: Predictions, label: IntArray) -> str:
    names = shared.labels.names
    if shared.labels.kind is LabelKind.MULTILABEL:
        return " + ".join(names[i] for i in np.flatnonzero(label)) or "none"
    return names[int(label)]


def _letter(place: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    return (_letter(place // 26 - 1) if place >= 26 else "") + chr(ord("A") + place % 26)


def _notes(
    runs: Sequence[Contestant], shared: Sequence[Predictions], whole: Sequence[Predictions], groups: int | None
) -> list[str]:
    """What limits the comparison; `shared` are the shared rows of `whole`."""
    n = len(shared[0])
    notes = [f"{run.name} was tested on {run.own_rows:,} rows; {n:,} of them are compared." for run in runs if run.own_rows > n]
    few = intervals.small(n, shared[0].support, groups)
    if few:
        notes.append(f"There are {few}: only large differences can be found.")
    notes += pairing_notes(whole, n)
    notes += [f"{run.name}: {line}." for run in runs if (line := leak_line([run.entry.record])) is not None]
    silent = [(run, int((~part.answered).sum())) for run, part in zip(runs, shared, strict=True)]
    notes += [
        f"{run.name} has no parsed answer in {lost:,} row{'s' if lost > 1 else ''}; these count as wrong."
        for run, lost in silent
        if lost
    ]
    names = [f"{run.letter} ({len(run.row.runs)})" for run in runs if len(run.row.runs) > 1]
    if names:
        notes.append(f"Values are means over seeds: {', '.join(names)}. Counts and rows are those of the named runs.")
    single = [run.letter for run in runs if run.row.is_single]
    if single:
        notes.append(
            f"{', '.join(single)}: one seed, so what is said holds for {'this run' if len(single) == 1 else 'these runs'}, "
            "and another seed may differ."
        )
    alike = Counter(run.entry.configuration for run in runs)
    for configuration, count in alike.items():
        if count > 1:
            names = [run.letter for run in runs if run.entry.configuration == configuration]
            notes.append(f"{', '.join(names)} are one configuration under several seeds.")
    return notes
