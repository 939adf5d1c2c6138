"""What the page shows of one run beside its entry: confusion matrix, labels, calibration, training, settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from harness.core.predictions import Predictions
from harness.core.types import LabelKind
from harness.records.entries import Entry
from harness.records.predictions import predictions_of
from harness.records.store import Store
from harness.reports.leaderboard import record_path
from harness.reports.page.model import RunDetails

DENSE = 40
"""Labels up to which a confusion matrix is written in full: nobody can read a larger one."""
MISTAKES = 20
"""Of more labels: the number of most frequent pairs of a true label and a wrong answer."""
EVALUATIONS = 2000
"""Of all runs together; but `LEAST` of each."""
LEAST = 5


def evaluations_of(entry: Entry) -> Sequence[Mapping[str, float | None]]:
    """Metrics on the validation rows during training, in its order; empty without any."""
    training = entry.record.training
    return [] if training is None else training.evaluations


def details(store: Store, entry: Entry, answers: str | None, most: int) -> RunDetails:
    """See the module; `most` evaluations. Raises `RunError` for predictions of a multilabel run that can't be read."""
    metrics, training = entry.record.metrics, entry.record.training
    evaluations = evaluations_of(entry)
    best = training.best.get("step") if training is not None and training.best else None
    kept = thinned(evaluations, most, best)
    mistakes, left_out = _mistakes(metrics.confusion or []) if len(metrics.confusion or []) > DENSE else (None, 0)
    is_multilabel = entry.record.identity.label_kind == LabelKind.MULTILABEL
    confusion = by_label(predictions_of(store, entry)) if is_multilabel else None if mistakes is not None else metrics.confusion
    return RunDetails(
        record=record_path(entry.run_id),
        answers=answers,
        confusion=confusion,
        mistakes=mistakes,
        mistakes_left_out=left_out,
        per_class=[(label.name, label.precision, label.recall, label.f1, label.support) for label in metrics.per_class],
        bins=[(bin.low, bin.high, bin.confidence, bin.accuracy, bin.count) for bin in metrics.calibration_bins or []] or None,
        evaluations=[dict(one) for one in kept] or None,
        evaluations_of=len(evaluations) if len(kept) < len(evaluations) else None,
        best_step=None if best is None else int(best),
        settings=list(_flat("", entry.record.options.settings)),
    )


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """`train.lr`, `0.1`: settings within settings by their whole names."""
    if isinstance(value, Mapping) and (value or not name):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}".removeprefix("."), inner)
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def thinned(
    evaluations: Sequence[Mapping[str, float | None]], limit: int, best: float | None
) -> list[Mapping[str, float | None]]:
    """At most `limit` of them, evenly spaced, the first and the last among them; and the one of the step `best`."""
    if len(evaluations) <= limit:
        return list(evaluations)
    places = {int(place) for place in np.linspace(0, len(evaluations) - 1, limit).round()}
    chosen = {place for place, found in enumerate(evaluations) if best is not None and found.get("step") == best}
    return [evaluations[place] for place in sorted(places | chosen)]


def _mistakes(confusion: Sequence[Sequence[int]]) -> tuple[list[tuple[int, int, int]], int]:
    """The most frequent (true label, answer, rows), in place of a matrix that is too large; and the rows of the rest."""
    wrong = [(i, j, count) for i, row in enumerate(confusion) for j, count in enumerate(row) if count and i != j]
    wrong.sort(key=lambda cell: (-cell[2], *cell))
    return wrong[:MISTAKES], sum(count for _, _, count in wrong[MISTAKES:])


def by_label(run: Predictions) -> list[list[list[int]]]:
    """[[tn, fp], [fn, tp]] of each label of a multilabel run; a row without an answer counts as it does in the metrics."""
    return [
        [[int(((truth == t) & (answer == a)).sum()) for a in (0, 1)] for t in (0, 1)]
        for truth, answer in zip(run.truth.T, run.answers.T, strict=True)
    ]
