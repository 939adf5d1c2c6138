"""What the page shows of one run beside its line: confusion, labels, calibration, training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from harness.core.predictions import Predictions
from harness.core.types import LabelKind
from harness.records.entries import Entry
from harness.records.predictions import predictions_of
from harness.records.store import Store

DENSE = 40
"""Labels up to which a confusion matrix is written in full: nobody can read a larger one."""
MISTAKES = 20
"""Of more labels: the most frequent pairs of a true label and a wrong answer, so many at most, as many as the page lists."""
EVALUATIONS = 2000
"""Of all runs together; but `LEAST` of each."""
LEAST = 5


def shortened(value: Any) -> Any:
    """Six significant digits of a number, also inside lists and mappings; None for what strict JSON has no word for."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: shortened(part) for key, part in value.items()}
    return [shortened(part) for part in value] if isinstance(value, list | tuple) else value


def evaluations_of(entry: Entry) -> list[dict[str, Any]]:
    """What the validation rows said during training, in its order; empty where nobody asked them."""
    return (entry.manifest.get("training") or {}).get("evaluations") or []


def details(store: Store, entry: Entry, most: int) -> dict[str, Any]:
    """See the module; `most` evaluations. Raises `RunError` for predictions of a multilabel run that can't be read."""
    evaluations = evaluations_of(entry)
    best = ((entry.manifest.get("training") or {}).get("best") or {}).get("step")
    kept = thinned(evaluations, most, best)
    return {
        "record": f"runs/{quote(entry.run_id)}/run.json",
        **_confusion(store, entry),
        "per_class": [
            [label["name"], *(shortened(label[key]) for key in ("precision", "recall", "f1", "support"))]
            for label in entry.metrics.get("per_class", [])
        ],
        "bins": [
            [shortened(found[key]) for key in ("low", "high", "confidence", "accuracy", "count")]
            for found in entry.metrics.get("calibration_bins", [])
        ]
        or None,
        "evaluations": shortened(kept) or None,
        "evaluations_of": len(evaluations) if len(kept) < len(evaluations) else None,
        "best_step": best,
        "settings": dict(entry.manifest.get("settings") or {}),
    }


def thinned(evaluations: Sequence[dict[str, Any]], limit: int, best: int | None) -> list[dict[str, Any]]:
    """At most `limit` of them, evenly spaced, the first and the last among them; and the one of the step `best`."""
    if len(evaluations) <= limit:
        return list(evaluations)
    places = {int(place) for place in np.linspace(0, len(evaluations) - 1, limit).round()}
    chosen = {place for place, found in enumerate(evaluations) if best is not None and found.get("step") == best}
    return [evaluations[place] for place in sorted(places | chosen)]


def _confusion(store: Store, entry: Entry) -> dict[str, Any]:
    """`mistakes`: [true label, answer, rows], in place of a matrix that is too large; `mistakes_left_out`: rows of the rest."""
    found = entry.metrics.get("confusion")
    if entry.manifest["identity"]["label_kind"] == LabelKind.MULTILABEL:
        return {"confusion": by_label(predictions_of(store, entry)), "mistakes": None, "mistakes_left_out": 0}
    if found is None or len(found) <= DENSE:
        return {"confusion": found, "mistakes": None, "mistakes_left_out": 0}
    wrong = [[i, j, count] for i, row in enumerate(found) for j, count in enumerate(row) if count and i != j]
    wrong.sort(key=lambda cell: (-cell[2], *cell))
    left_out = sum(count for _, _, count in wrong[MISTAKES:])
    return {"confusion": None, "mistakes": wrong[:MISTAKES], "mistakes_left_out": left_out}


def by_label(run: Predictions) -> list[list[list[int]]]:
    """[[tn, fp], [fn, tp]] of each label of a multilabel run; a row without an answer counts as it does in the metrics."""
    return [
        [[int(((truth == t) & (answer == a)).sum()) for a in (0, 1)] for t in (0, 1)]
        for truth, answer in zip(run.truth.T, run.answers.T, strict=True)
    ]
