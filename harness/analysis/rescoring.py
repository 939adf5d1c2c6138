"""The intervals of runs that are recorded already, by today's rules. No value changes, and nothing is predicted again."""

from __future__ import annotations

from collections.abc import Collection

from harness.core.errors import DataError, RunError
from harness.core.record import Estimate, Metrics
from harness.core.types import Example
from harness.records.journal import prediction_from
from harness.records.store import Store
from harness.statistics.metrics import evaluate_predictions

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
    renewed = scored(store, run_id).values
    metrics = store.record(run_id).metrics
    changed: dict[str, Estimate] = {}
    for name in sorted(metrics.values.keys() & renewed.keys()):
        old, new = metrics.values[name], renewed[name]
        if not _same(old.value, new.value, ROUNDING if name in OF_PROBABILITIES else 1e-9):
            if name in OF_PROBABILITIES:
                continue
            raise RunError(
                f"The predictions of {run_id} give the {name} {new.value}, its metrics.json says {old.value}.",
                "One of the two files is not of this run: restore it, or `bench run --force`.",
            )
        if (old.low, old.high, old.method) != (new.low, new.high, new.method):
            changed[name] = new.model_copy(update={"value": old.value})
    if changed:
        store.replace_metrics(run_id, metrics.model_copy(update={"values": {**metrics.values, **changed}}))
    return list(changed)


def scored(store: Store, run_id: str, rows: Collection[str] | None = None) -> Metrics:
    """The metrics of a run from its predictions; `rows`: ids of some of its rows. Raises `RunError` for a damaged record."""
    try:
        identity = store.record(run_id).identity
        records = [record for record in store.predictions(run_id) if rows is None or record["id"] in rows]
        examples = [
            Example(record["id"], "", tuple(truth) if isinstance(truth := record["truth"], list) else truth, identity.lang)
            for record in records
        ]
        return evaluate_predictions(examples, [prediction_from(record) for record in records], identity.label_space)
    except (DataError, LookupError, TypeError, ValueError) as error:
        path = store.root / run_id / "predictions.jsonl"
        raise RunError(f"{path} can't be scored: {error}", "Delete that run's folder, or restore it.") from error


def _same(old: float | None, new: float | None, tolerance: float) -> bool:
    if old is None or new is None:
        return old is new
    return abs(old - new) <= tolerance
