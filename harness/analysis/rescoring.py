"""The intervals of finished runs, computed again by today's rules, and metrics that are new. No value changes, and nothing is
predicted again."""

from __future__ import annotations

from collections.abc import Collection

from harness.core.errors import DataError, RunError
from harness.core.record import Estimate, Metrics
from harness.core.types import Example
from harness.records.journal import prediction_from
from harness.records.store import Store
from harness.statistics.metrics import evaluate_predictions, rankable

ROUNDING = 1e-3
"""A record holds probabilities to six digits: a metric of them may differ so much from that of the run itself."""
OF_PROBABILITIES = frozenset({"log_loss", "brier", "ece", "roc_auc"})


def rescore(store: Store, run_id: str) -> list[str]:
    """Compute the intervals of a record again from its predictions, and the metrics that it lacks, and write them to its
    metrics.json; returns the names of the metrics that are new or whose interval changed.

    A metric keeps its interval where the record does not hold what it takes: those of `evaluate`, binary_accuracy (its
    threshold is not recorded), and log loss where a probability was rounded to 0.
    Raises `RunError` for a record that is damaged, or whose predictions do not give its values.
    """
    old = store.record(run_id).metrics
    found = scored(store, run_id)
    new = found.values
    changed = {name: new[name] for name in new.keys() - old.values.keys() if new[name].value is not None}
    for name in sorted(old.values.keys() & new.keys()):
        before, after = old.values[name], new[name]
        if not _same(before.value, after.value, ROUNDING if name in OF_PROBABILITIES else 1e-9):
            if name in OF_PROBABILITIES:
                continue
            raise RunError(
                f"The predictions of {run_id} give the {name} {after.value}, its metrics.json says {before.value}.",
                "One of the two files is not of this run: restore it, or `bench run --force`.",
            )
        if _interval(before) != _interval(after):
            changed[name] = after.model_copy(update={"value": before.value})
    if changed:
        groups = {} if found.groups is None else {"groups": found.groups}
        store.replace_metrics(run_id, old.model_copy(update={**groups, "values": {**old.values, **changed}}))
    return sorted(changed)


def scored(store: Store, run_id: str, rows: Collection[str] | None = None) -> Metrics:
    """The metrics of a run from its predictions; `rows`: ids of some of its rows. Raises `RunError` for a damaged record."""
    try:
        record = store.record(run_id)
        identity, first = record.identity, record.metrics.headline[0]
        lines = [line for line in store.predictions(run_id) if rows is None or line["id"] in rows]
        examples = [
            Example(
                line["id"],
                "",
                tuple(truth) if isinstance(truth := line["truth"], list) else truth,
                identity.lang,
                line.get("group"),
            )
            for line in lines
        ]
        predictions = [prediction_from(line) for line in lines]
        ranks = first if first in rankable(identity.label_kind) else None
        return evaluate_predictions(examples, predictions, identity.label_space, rank_by=ranks)
    except (DataError, LookupError, TypeError, ValueError) as error:
        path = store.root / run_id / "predictions.jsonl"
        raise RunError(f"{path} can't be scored: {error}", "Delete that run's folder, or restore it.") from error


def _interval(estimate: Estimate) -> tuple[float | None, float | None, str | None, str | None]:
    return estimate.low, estimate.high, estimate.method, estimate.reason


def _same(old: float | None, new: float | None, tolerance: float) -> bool:
    if old is None or new is None:
        return old is new
    return abs(old - new) <= tolerance
