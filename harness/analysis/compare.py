"""Runs compared on the rows that all of them have: which is better, and is the difference significant?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from harness.core.arrays import BoolArray, IntArray
from harness.core.errors import UserError
from harness.core.predictions import Predictions
from harness.core.record import Estimate
from harness.core.types import LabelKind
from harness.records.entries import Entry, leak_line, read_entry, with_models
from harness.records.names import names_of
from harness.records.pairing import pairing_notes
from harness.records.predictions import read_predictions, shared_rows
from harness.records.store import Store
from harness.statistics import intervals, paired
from harness.statistics.contrast import comparable, difference_of, value_of
from harness.statistics.metrics import HEADLINES, LOWER_IS_BETTER
from harness.statistics.paired import LEVEL, Difference


@dataclass(frozen=True)
class Contestant:
    """A run as the comparison names it: a letter for tables, a name for sentences. `own_rows`: all that it was tested on."""

    letter: str
    name: str
    entry: Entry
    own_rows: int
    values: dict[str, Estimate]


@dataclass(frozen=True)
class Pair:
    """Two contestants by their places in `Comparison.runs`, and on how many rows which of them is right."""

    a: int
    b: int
    both_right: int
    only_a: int
    only_b: int
    neither_right: int


@dataclass(frozen=True)
class Verdict:
    """B - A of one pair in one metric; `p_holm` is adjusted over all pairs (of this metric), NaN where there is no p."""

    metric: str
    a: int
    b: int
    difference: Difference
    p_holm: float

    @property
    def better(self) -> int | None:
        """The place of the better run; None where the difference is not significant at 5%."""
        inside = self.difference.low <= 0 <= self.difference.high
        if inside or not self.p_holm <= LEVEL:
            return None
        return self.b if (self.difference.value > 0) != (self.metric in LOWER_IS_BETTER) else self.a


@dataclass(frozen=True)
class Comparison:
    """`predictions`: of each run on the shared rows, in the same order; `differing`: the places of the rows on which the
    answers differ, first those that some have right, in the order of the ids."""

    metrics: list[str]
    runs: list[Contestant]
    pairs: list[Pair]
    verdicts: list[Verdict]
    notes: list[str]
    predictions: list[Predictions]
    differing: IntArray

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


def compare(store: Store, run_ids: Sequence[str], metrics: Sequence[str] = ()) -> Comparison:
    """All pairs of at least two runs, in `metrics` (default: the headline ones, and log loss where all have probabilities).

    Raises `UserError` for a run that is named twice, a metric that can't be compared, runs of different tasks, languages,
    splits or data; `RunError` for a damaged record.
    """
    if len(run_ids) < 2:
        raise UserError("A comparison needs two runs.", "Name two or more: `bench list runs` shows them.")
    for name, count in Counter(run_ids).items():
        if count > 1:
            raise UserError(f"The run {name} is named {count} times.", "Name different runs.")
    entries = with_models([read_entry(store, name) for name in run_ids])
    whole = [read_predictions(store, name) for name in run_ids]
    shared = shared_rows(whole)
    chosen = _chosen(shared, list(dict.fromkeys(metrics)))
    names = names_of([[entry] for entry in entries], [entry.how for entry in entries])
    runs = [
        Contestant(_letter(place), name, entry, len(own), _values(chosen, entry, len(own), part))
        for place, (name, entry, own, part) in enumerate(zip(names, entries, whole, shared, strict=True))
    ]
    places = list(combinations(range(len(runs)), 2))
    verdicts = [verdict for metric in chosen for verdict in _verdicts(metric, shared, places)]
    pairs = [Pair(a, b, *_agreement(shared[a].correct, shared[b].correct)) for a, b in places]
    return Comparison(chosen, runs, pairs, verdicts, _notes(runs, shared, whole), shared, _differing(shared))


def _chosen(shared: Sequence[Predictions], asked: list[str]) -> list[str]:
    for metric in asked:
        for run in shared:
            if metric not in comparable(run):
                reason = "has no probabilities" if metric in ("log_loss", "brier") else "can't be compared in it"
                raise UserError(
                    f"There is no {metric} to compare: {run.run_id} {reason}.", f"Known: {', '.join(comparable(run))}."
                )
    usual = [*HEADLINES[shared[0].labels.kind], "log_loss"]
    return asked or [metric for metric in usual if all(metric in comparable(run) for run in shared)]


def _values(metrics: Sequence[str], entry: Entry, own_rows: int, run: Predictions) -> dict[str, Estimate]:
    """Of the shared rows: those of the record where they are all of its rows, else Wilson's interval or none."""
    if len(run) == own_rows:
        recorded = entry.record.metrics.values  # that of an earlier version may lack a metric
        return {metric: recorded.get(metric) or value_of(metric, run) for metric in metrics}
    return {metric: value_of(metric, run) for metric in metrics}


def _verdicts(metric: str, shared: Sequence[Predictions], places: Sequence[tuple[int, int]]) -> Iterator[Verdict]:
    level = LEVEL / len(places)  # what the smallest p must be below, by Holm
    found = [difference_of(metric, shared[a], shared[b], level) for a, b in places]
    defined = [place for place, difference in enumerate(found) if not math.isnan(difference.p)]
    adjusted = dict(zip(defined, paired.holm([found[place].p for place in defined]), strict=True))
    for place, (a, b) in enumerate(places):
        yield Verdict(metric, a, b, found[place], adjusted.get(place, math.nan))


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


def _support(run: Predictions) -> list[int]:
    """Rows of each label."""
    if run.labels.kind is LabelKind.MULTILABEL:
        return [int(count) for count in run.truth.sum(axis=0)]
    return [int(count) for count in run.confusion_matrix.sum(axis=1)]


def _notes(runs: Sequence[Contestant], shared: Sequence[Predictions], whole: Sequence[Predictions]) -> list[str]:
    """What limits the comparison; `shared` are the shared rows of `whole`."""
    n = len(shared[0])
    notes = [f"{run.name} was tested on {run.own_rows:,} rows; {n:,} of them are compared." for run in runs if run.own_rows > n]
    few = intervals.small(n, _support(shared[0]))
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
    alike = Counter(run.entry.configuration for run in runs)
    for configuration, count in alike.items():
        if count > 1:
            names = [run.letter for run in runs if run.entry.configuration == configuration]
            notes.append(f"{', '.join(names)} are one configuration under several seeds.")
    return notes
