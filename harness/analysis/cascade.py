"""Two models in a row: the first answers where it is sure enough, the second all other rows. From stored predictions alone.

A threshold that was chosen on test rows would promise too much. It is chosen on the two models' validation runs where there are
both; without them only the whole trade-off is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.calibration import at_coverage, confidence
from harness.analysis.related_runs import matching_validation_run, validation_command
from harness.core.errors import UserError
from harness.core.predictions import Predictions
from harness.records.entries import Entry, read_entry, with_models
from harness.records.pairing import pairing_notes
from harness.records.predictions import read_predictions, shared_rows
from harness.records.store import Store
from harness.statistics import intervals
from harness.statistics.contrast import difference_of, value_of
from harness.statistics.intervals import MetricValue
from harness.statistics.metrics import HEADLINES, LOWER_IS_BETTER
from harness.statistics.paired import LEVEL, Difference
from harness.statistics.row_means import SHARES

if TYPE_CHECKING:
    from harness.analysis.pricing import Cost
    from harness.specs.prices import Prices

SHARES_OF_FIRST = tuple(tenth / 10 for tenth in range(9, 0, -1))
_CANDIDATES = 100
_BOOTED = {"macro_f1": intervals.macro_f1, "mae": intervals.mae, "qwk": intervals.qwk}
METRICS = ("accuracy", *_BOOTED)


@dataclass(frozen=True, slots=True)
class Point:
    """What comes of one threshold: the first model answers where its confidence is at least `threshold` (0: everywhere;
    infinite: nowhere). `share`: of the rows that the first one answers. `cost`: US dollars per 1,000 rows, None where a price
    is missing. `seconds` a row, one row after the other; None where a run has no timing."""

    threshold: float
    share: float
    values: dict[str, MetricValue]
    cost: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold that was settled without the test rows. `tuned_on`: validation rows that settled it, None where the user
    did; `tuned_value`: the metric there. The differences are cascade - first and cascade - second, on test rows."""

    point: Point
    tuned_on: int | None
    tuned_value: float | None
    to_first: Difference
    to_second: Difference
    better: bool
    p: float


@dataclass(frozen=True)
class Cascade:
    """`points`: from the first model alone to the second alone. `missing`: the models whose validation runs
    are, and without which no threshold was chosen. `notes`: on rows that look the same in both runs, and are not."""

    first: Entry
    second: Entry
    rows: int
    metric: str
    metrics: list[str]
    points: list[Point]
    choice: Choice | None
    missing: list[Entry]
    notes: list[str]

    @property
    def commands(self) -> list[str]:
        """What makes the validation runs that are missing."""
        return [validation_command(entry.manifest) for entry in self.missing]


@dataclass(frozen=True)
class _Rates:
    """What a row costs in either model; `costs` None without prices."""

    costs: tuple[Cost, Cost] | None
    seconds: tuple[float, float] | None
    same_labels: bool

    def cost(self, threshold: float, share: float) -> float | None:
        """Both models must be trained and labelled for, but labels that both learnt from are paid once; alone each is alone."""
        if self.costs is None:
            return None
        first, second = self.costs
        if threshold in (0.0, math.inf):
            return first.total if threshold == 0 else second.total
        labels = max(first.labelling, second.labelling) if self.same_labels else first.labelling + second.labelling
        return first.inference + (1 - share) * second.inference + first.training + second.training + labels

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
    from harness.analysis.pricing import cost_of

    if first == second:
        raise UserError(f"Both runs are {first}.", "A cascade is of two: a quick one first, a better one second.")
    entries = with_models([read_entry(store, first), read_entry(store, second)])
    whole = [read_predictions(store, first), read_predictions(store, second)]
    a, b = shared_rows(whole)
    stated = confidence(a)
    known = [name for name in HEADLINES[a.labels.kind] if name in METRICS]
    if metric not in known:
        raise UserError(
            f"--metric {metric}: a cascade of this task can't be judged by that.", f"Choose from {', '.join(known)}."
        )
    costs = [cost_of(entry.manifest, prices, predictions, labelling, hardware) for entry in entries]
    rates = _rates(entries, costs)
    tenths = [at_coverage(stated, a.correct, share).threshold for share in SHARES_OF_FIRST]
    grid = sorted({0.0, *tenths, math.inf, *([] if threshold is None else [threshold])})
    points = [_point(a, b, limit, known, rates) for limit in grid]
    twins = matching_validation_run(store, first), matching_validation_run(store, second)
    missing: list[Entry] = []
    choice = None
    if threshold is not None:
        choice = _choice(a, b, points[grid.index(threshold)], metric, None)
    elif twins[0] is not None and twins[1] is not None and a.identity.split != "validation":
        held_out = shared_rows([read_predictions(store, twins[0]), read_predictions(store, twins[1])])
        limit, value = tuned(held_out[0], held_out[1], metric)
        choice = _choice(a, b, _point(a, b, limit, known, rates), metric, (len(held_out[0]), value))
    else:
        missing = [entry for entry, twin in zip(entries, twins, strict=True) if twin is None]
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
    """The threshold with the best value on these rows, and that value; of equally good ones that which asks the second least.

    Tried are at most _CANDIDATES confidences that occur, at equal distances in rank, besides none and all.
    """
    occurring = np.unique(confidence(first))
    places = np.linspace(0, len(occurring) - 1, min(_CANDIDATES, len(occurring))).round().astype(int)
    limits = [0.0, *occurring[places].tolist(), math.inf]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    values = [value_of(metric, combined(first, second, limit))["value"] for limit in limits]
    scores = [-math.inf if value is None else sign * value for value in values]
    best = int(np.argmax(scores))  # the first of equals
    value = values[best]
    return limits[best], math.nan if value is None else value


def _rates(entries: Sequence[Entry], costs: Sequence[Cost | None]) -> _Rates:
    first, second = costs
    pace = [entry.manifest["timing"]["rows_per_second"] for entry in entries]
    rows = [_training_rows(entry.manifest) for entry in entries]
    return _Rates(
        None if first is None or second is None else (first, second),
        None if not all(pace) else (1 / pace[0], 1 / pace[1]),
        rows[0] is not None and rows[0] == rows[1],
    )


def _training_rows(manifest: Mapping[str, Any]) -> str | None:
    train = manifest["identity"]["train"]
    return None if train is None else str(train["train_rows"])


def _point(first: Predictions, second: Predictions, threshold: float, metrics: Sequence[str], rates: _Rates) -> Point:
    both = combined(first, second, threshold)
    share = float((confidence(first) >= threshold).mean())
    values = {name: value_of(name, both) for name in metrics}
    pseudo = intervals.pseudo_cells(both.cells)
    whole = {name: (_number(values[name]), _BOOTED[name]) for name in metrics if name not in SHARES}
    return Point(
        threshold,
        share,
        {**values, **intervals.booted(whole, both.cells, pseudo)},
        rates.cost(threshold, share),
        rates.time(threshold, share),
    )


def _number(value: MetricValue) -> float:
    return math.nan if value["value"] is None else value["value"]


def _choice(first: Predictions, second: Predictions, point: Point, metric: str, tuning: tuple[int, float] | None) -> Choice:
    """It is better than both where it is better than each at 5%; as both must hold, that needs no correction (Berger 1982)."""
    both = combined(first, second, point.threshold)
    differences = [difference_of(metric, alone, both) for alone in (first, second)]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    p = max(found.p for found in differences)
    better = all(sign * found.value > 0 and found.p <= LEVEL for found in differences)
    rows, value = (None, None) if tuning is None else tuning
    return Choice(point, rows, value, differences[0], differences[1], better, p)
