"""Cascades: the first model answers where it is confident enough, the second all other rows. From stored predictions.

A threshold chosen on test rows would be too optimistic. It is chosen on the validation runs of both models; without them only
the whole trade-off is shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.calibration import at_coverage, confidence
from harness.analysis.pricing import Cost, cost_of, tuning_labels
from harness.analysis.related_runs import command_on, matching_validation_run
from harness.core.errors import UserError
from harness.core.predictions import Predictions
from harness.core.record import Estimate
from harness.records.entries import Entry, read_entry, with_models
from harness.records.pairing import pairing_notes
from harness.records.predictions import read_predictions, shared_rows
from harness.records.store import Store
from harness.statistics import intervals
from harness.statistics.by_label import f1_intervals
from harness.statistics.clusters import numbered
from harness.statistics.contrast import difference_of, value_of
from harness.statistics.families import LEVEL
from harness.statistics.metrics import HEADLINES, LOWER_IS_BETTER, with_reason
from harness.statistics.paired import Difference

if TYPE_CHECKING:
    from harness.specs.prices import Prices

SHARES_OF_FIRST = tuple(tenth / 10 for tenth in range(9, 0, -1))
_CANDIDATES = 100
_BOOTED = {"mae": intervals.mae, "qwk": intervals.qwk}
METRICS = ("accuracy", "macro_f1", *_BOOTED)


@dataclass(frozen=True, slots=True)
class Point:
    """One threshold: the first model answers where its confidence is at least `threshold` (0: always; infinite: never).
    `share`: of rows that the first one answers. `cost`: US dollars per 1,000 rows, None where a price is missing. `seconds`:
    per row, one row after the other; None where a run has no timing."""

    threshold: float
    share: float
    values: dict[str, Estimate]
    cost: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold chosen without the test rows. `tuned_on`: validation rows that it was chosen on, None where the user chose
    it; `tuned_value`: the metric there. `labels`: of these rows, those whose labels no training used; the cost of the point
    includes them. The differences are cascade - first and cascade - second, on test rows."""

    point: Point
    tuned_on: int | None
    tuned_value: float | None
    labels: int
    to_first: Difference
    to_second: Difference
    better: bool
    p: float


@dataclass(frozen=True)
class Cascade:
    """`points`: from the first model alone to the second alone. `missing`: the models whose validation runs are missing, so
    that no threshold was chosen. `notes`: on rows that look the same in both runs, and are not."""

    first: Entry
    second: Entry
    n: int
    metric: str
    metrics: list[str]
    points: list[Point]
    choice: Choice | None
    missing: list[Entry]
    notes: list[str]

    @property
    def commands(self) -> list[str]:
        """They make the missing validation runs."""
        return [command_on(entry.record, "validation") for entry in self.missing]


@dataclass(frozen=True)
class _Rates:
    """What a row costs in both models; `costs` is None without prices. `label`: a label, in US dollars per 1,000 rows."""

    costs: tuple[Cost, Cost] | None
    seconds: tuple[float, float] | None
    same_labels: bool
    label: float

    def cost(self, threshold: float, share: float, tuned: int = 0) -> float | None:
        """A cascade needs both trainings, but labels that both were trained on are paid once. `tuned`: labels that chose the
        threshold, whichever it is."""
        if self.costs is None:
            return None
        first, second = self.costs
        spent = tuned * self.label
        if threshold in (0.0, math.inf):
            return spent + (first.total if threshold == 0 else second.total)
        labels = max(first.labelling, second.labelling) if self.same_labels else first.labelling + second.labelling
        return first.inference + (1 - share) * second.inference + first.training + second.training + labels + spent

    def time(self, threshold: float, share: float) -> float | None:
        if self.seconds is None:
            return None
        first, second = self.seconds
        return second if threshold == math.inf else first + (1 - share) * second


def cascade_of(
    store: Store,
    first: str,
    second: str,
    prices: Prices,
    *,
    threshold: float | None = None,
    metric: str = "accuracy",
    predictions: float = 1e6,
    labelling: float = 0.0,
    hardware: str | None = None,
) -> Cascade:
    """`threshold`: the user's own, from 0 to 1; else it is chosen on validation runs. `metric`: what it is chosen by.
    `hardware` as in `pricing.cost_of`.

    Raises `UserError` where the first run has no probabilities, for one run named twice, for runs of different tasks,
    languages, splits or labels, and for a metric that the task does not have.
    """
    if first == second:
        raise UserError(f"Both runs are {first}.", "Name two runs: a fast one first, a better one second.")
    entries = with_models([read_entry(store, first), read_entry(store, second)])
    whole = [read_predictions(store, first), read_predictions(store, second)]
    a, b = shared_rows(whole)
    stated = confidence(a)
    known = [name for name in HEADLINES[a.labels.kind] if name in METRICS]
    if metric not in known:
        raise UserError(f"--metric {metric}: not available for a cascade of this task.", f"Choose from {', '.join(known)}.")
    costs = [cost_of(entry, prices, predictions, labelling, hardware) for entry in entries]
    rates = _rates(entries, costs, labelling / predictions * 1000)
    tenths = [at_coverage(stated, a.correct, share).threshold for share in SHARES_OF_FIRST]
    grid = sorted({0.0, *tenths, math.inf, *([] if threshold is None else [threshold])})
    points = [_point(a, b, limit, known, rates) for limit in grid]
    held_out = [matching_validation_run(store, name) for name in (first, second)]
    missing: list[Entry] = []
    choice = None
    if threshold is not None:
        choice = _choice(a, b, points[grid.index(threshold)], metric, None)
    elif None not in held_out and a.identity.split != "validation":
        tuning = shared_rows([read_predictions(store, name) for name in held_out if name is not None])
        limit, value = tuned(tuning[0], tuning[1], metric)
        used = _Tuning(len(tuning[0]), value, tuning_labels([entry.record for entry in entries], len(tuning[0])))
        choice = _choice(a, b, _point(a, b, limit, known, rates, used.labels), metric, used)
    else:
        missing = [entry for entry, name in zip(entries, held_out, strict=True) if name is None]
    return Cascade(entries[0], entries[1], len(a), metric, known, points, choice, missing, pairing_notes(whole, len(a)))


def combined(first: Predictions, second: Predictions, threshold: float) -> Predictions:
    """The answers of the cascade, on rows that are the same in both; it has no probabilities of its own."""
    own = confidence(first) >= threshold
    return replace(
        first,
        run_id=f"{first.run_id} then {second.run_id}",
        answers=np.where(own, first.answers, second.answers),
        answered=np.where(own, first.answered, second.answered),
        probabilities=None,
    )


def tuned(first: Predictions, second: Predictions, metric: str) -> tuple[float, float]:
    """The threshold with the best value on these rows, and that value; of equal ones that which needs the second model least.

    Tried are at most _CANDIDATES confidences that occur, at equal distances in rank, and always and never.
    """
    occurring = np.unique(confidence(first))
    places = np.linspace(0, len(occurring) - 1, min(_CANDIDATES, len(occurring))).round().astype(int)
    limits = [0.0, *occurring[places].tolist(), math.inf]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    values = [value_of(metric, combined(first, second, limit)).value for limit in limits]
    scores = [-math.inf if value is None else sign * value for value in values]
    best = int(np.argmax(scores))  # the first of equals
    value = values[best]
    return limits[best], math.nan if value is None else value


@dataclass(frozen=True)
class _Tuning:
    """The validation rows, the metric on them, and how many labels they cost."""

    rows: int
    value: float
    labels: int


def _rates(entries: Sequence[Entry], costs: Sequence[Cost | None], label: float) -> _Rates:
    first, second = costs
    speed = [entry.record.timing.rows_per_second for entry in entries]
    trains = [entry.record.identity.train for entry in entries]
    return _Rates(
        None if first is None or second is None else (first, second),
        None if not speed[0] or not speed[1] else (1 / speed[0], 1 / speed[1]),
        trains[0] is not None and trains[1] is not None and trains[0].train_rows == trains[1].train_rows,
        label,
    )


def _point(
    first: Predictions, second: Predictions, threshold: float, metrics: Sequence[str], rates: _Rates, tuned: int = 0
) -> Point:
    both = combined(first, second, threshold)
    share = float((confidence(first) >= threshold).mean())
    values = {name: value_of(name, both) for name in metrics}
    whole = {name: (_number(values[name]), _BOOTED[name]) for name in metrics if name in _BOOTED}
    clusters = numbered(both.groups)
    by_group = intervals.cells_by_group(both.truth, both.answers, len(both.labels), clusters)
    counts = both.confusion_matrix
    values |= intervals.booted(whole, counts, intervals.pseudo_cells(counts), by_group=by_group)
    if "macro_f1" in metrics:
        own = {"macro_f1": _number(values["macro_f1"])}
        values |= f1_intervals(own, both.truth, both.answers, len(both.labels), clusters)
    return Point(
        threshold,
        share,
        {name: with_reason(name, found, counts.sum(axis=1), clusters) for name, found in values.items()},
        rates.cost(threshold, share, tuned),
        rates.time(threshold, share),
    )


def _number(value: Estimate) -> float:
    return math.nan if value.value is None else value.value


def _choice(first: Predictions, second: Predictions, point: Point, metric: str, tuning: _Tuning | None) -> Choice:
    """Better than both is better than each at 5%; as both must hold, no correction is needed (Berger 1982)."""
    both = combined(first, second, point.threshold)
    differences = [difference_of(metric, alone, both) for alone in (first, second)]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    p = max(found.p for found in differences)
    better = all(sign * found.value > 0 and found.p <= LEVEL for found in differences)
    rows, value, labels = (None, None, 0) if tuning is None else (tuning.rows, tuning.value, tuning.labels)
    return Choice(point, rows, value, labels, differences[0], differences[1], better, p)
