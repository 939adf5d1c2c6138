"""One labelling: a run on rows without true labels, which ends in labels in place of metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.labelling import LabellingRecord, RowsOf
from harness.core.progress_events import OnProgress
from harness.core.types import Prediction, Status
from harness.records.journal import labelled_record, prediction_from, row_tokens
from harness.records.labellings import Labellings, finished_labelling, read_labelling
from harness.running.plan import Plan
from harness.running.runner import EngineSlot, Predicted, circumstances, cut_texts, predict_rows, told
from harness.running.training import trained_folder
from harness.specs.costs import Budget


@dataclass(frozen=True)
class Labelling:
    """`lines`: of the file of labels, in the order of the plan's rows. `computed`: False if a finished one was found."""

    folder: Path
    record: LabellingRecord
    lines: list[dict[str, Any]]
    computed: bool

    def predictions(self) -> list[Prediction]:
        return [prediction_from(line) for line in self.lines]


def _check_trained(plan: Plan) -> None:
    """Raise `UserError` for a backend that trains, if its model is not in the cache: a labelling trains nothing."""
    if plan.training is not None and not (trained_folder(plan) / "model").is_dir():
        command = plan.options.changed(split="test", limit=None).command()
        raise UserError(f"{plan.backend.name} is trained, and there is no model of it yet.", f"Train it: {command}")


def label_rows(
    plan: Plan,
    labellings: Labellings,
    rows_of: RowsOf,
    on_progress: OnProgress = lambda phase, done, total, note: None,
    *,
    force: bool = False,
    budget: Budget | None = None,
    gate: bool = True,
) -> Labelling:
    """Label the rows of a plan, unless that was done before. A killed labelling continues where it stopped.

    `plan`: made with `unlabelled` rows. Raises as `harness.running.runner.run` does, `UserError` for a backend that trains and
    has no model yet, and `DamagedRecord`.
    """
    assert not plan.has_truth
    name, folder = plan.run_id, labellings.folder(plan.run_id)
    earlier = plan.earlier_run_id
    for there in [folder, *([labellings.folder(earlier)] if earlier else [])]:
        if not force and finished_labelling(there):
            return Labelling(there, *read_labelling(there), computed=False)
    _check_trained(plan)
    with labellings.journal(name) as journal, closing(EngineSlot()) as slot:
        if not force and finished_labelling(folder):  # another process finished it meanwhile
            return Labelling(folder, *read_labelling(folder), computed=False)
        done = predict_rows(plan, journal, slot, on_progress, force=force, budget=budget, gate=gate)
        tokens = row_tokens(done.entries)
        counted = plan.identity.counts_tokens
        lines = [
            labelled_record(row, prediction, tokens.get(row.id, (0, 0)) if counted else None)
            for row, prediction in zip(done.plan.rows, done.predictions, strict=True)
        ]
        folder = labellings.finish(_record(done, rows_of), lines)
    return Labelling(folder, *read_labelling(folder), computed=True)


def _record(done: Predicted, rows_of: RowsOf) -> LabellingRecord:
    plan, predictions = done.plan, done.predictions
    statuses = Counter(prediction.status for prediction in predictions)
    labelled = [prediction for prediction in predictions if prediction.status is Status.OK]
    return LabellingRecord(
        rows_of=rows_of,
        n=len(predictions),
        ok=statuses[Status.OK],
        unparsed=statuses[Status.UNPARSED],
        failed=statuses[Status.FAILED],
        reasons=dict(Counter(p.reason or "no reason" for p in predictions if p.status is not Status.OK)),
        labels=_counted(labelled, plan.task.label_space.names),
        probabilities=bool(labelled) and all(prediction.probabilities is not None for prediction in labelled),
        train_rows=None if plan.training is None else len(plan.training.train),
        **told(done, cut_texts(done), circumstances(done, plan.rows)),
    )


def _counted(labelled: Sequence[Prediction], names: Sequence[str]) -> dict[str, int]:
    """Rows with each label, in the order of the labels."""
    counts: Counter[int] = Counter()
    for prediction in labelled:
        assert prediction.label is not None
        counts.update(prediction.label if isinstance(prediction.label, tuple) else (prediction.label,))
    return {name: counts[place] for place, name in enumerate(names)}
