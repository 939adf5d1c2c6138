"""The intervals of runs that are recorded already, by today's rules. No value changes, and nothing is predicted again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from harness.core.errors import DataError, RunError
from harness.core.types import Example, LabelKind, LabelSpace
from harness.records.store import Store, prediction_from
from harness.statistics.metrics import Metrics, evaluate_predictions

ROUNDING = 1e-3
"""A record holds probabilities to six digits: a metric of them may differ so much from that of the run itself."""
OF_PROBABILITIES = frozenset({"log_loss", "brier", "ece", "roc_auc"})


def rescore(store: Store, run_id: str) -> list[str]:
    """Compute the intervals of a record anew from its predictions, and write them to its metrics.json; the names of the metrics
    whose interval is another one now.

    A metric keeps what it has where the record does not hold what it takes: those of `evaluate`, the threshold of
    binary_accuracy (a share, whose interval has not changed), and log loss where a probability was rounded to 0.
    Raises `RunError` for a record that is damaged, or whose predictions do not give its values.
    """
    renewed: dict[str, Any] = dict(scored(store, run_id)["values"])
    metrics = store.metrics(run_id)
    values = metrics["values"]
    changed = []
    for name in sorted(values.keys() & renewed.keys()):
        old, new = values[name], renewed[name]
        if not _same(old["value"], new["value"], ROUNDING if name in OF_PROBABILITIES else 1e-9):
            if name in OF_PROBABILITIES:
                continue
            raise RunError(
                f"The predictions of {run_id} give the {name} {new['value']}, its metrics.json says {old['value']}.",
                "One of the two files is not of this run: restore it, or `bench run --force`.",
            )
        interval = {key: new[key] for key in ("low", "high", "method")}
        if interval != {key: old[key] for key in interval}:
            changed.append(name)
            values[name] = {"value": old["value"], **interval}
    if changed:
        store.replace_metrics(run_id, metrics)
    return changed


def scored(store: Store, run_id: str, rows: Collection[str] | None = None) -> Metrics:
    """The metrics of a run from its predictions; `rows`: ids of some of its rows. Raises `RunError` for a damaged record."""
    try:
        identity = store.manifest(run_id)["identity"]
        records = [record for record in store.predictions(run_id) if rows is None or record["id"] in rows]
        labels = LabelSpace(LabelKind(identity["label_kind"]), tuple(identity["labels"]))
        examples = [
            Example(record["id"], "", tuple(truth) if isinstance(truth := record["truth"], list) else truth, identity["lang"])
            for record in records
        ]
        return evaluate_predictions(examples, [prediction_from(record) for record in records], labels)
    except (DataError, LookupError, TypeError, ValueError) as error:
        path = store.root / run_id / "predictions.jsonl"
        raise RunError(f"{path} can't be scored: {error}", "Delete that run's folder, or restore it.") from error


def _same(old: float | None, new: float | None, tolerance: float) -> bool:
    if old is None or new is None:
        return old is new
    return abs(old - new) <= tolerance
