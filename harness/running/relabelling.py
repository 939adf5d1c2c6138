"""Train on the labels of a labelling in place of those of the task: `--labels-from`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.arrays import FloatArray
from harness.core.errors import UserError
from harness.core.labelling import LabellingRecord
from harness.core.options import RunOptions
from harness.core.record import LabelledBy, LabelsFrom
from harness.core.types import Calibration, Example, LabelKind, LabelSpace, Status, text_digest
from harness.records.journal import prediction_from
from harness.records.labellings import read_labelling


@dataclass(frozen=True, slots=True)
class Labelled:
    """`probabilities`: targets of the training, shape (rows, labels), with --soft-labels."""

    identity: LabelsFrom
    facts: LabelledBy
    probabilities: FloatArray | None


def check_no_validation(request: RunOptions) -> None:
    """Labels that people gave would choose the checkpoint of a model that is said to need none. Raises `UserError`."""
    if request.validation_limit != 0:
        raise UserError(
            "--labels-from: the labels of the validation rows are those of the task.",
            "Add --validation-limit 0: the training then uses no validation rows.",
        )


def relabelled(train: Sequence[Example], folder: Path, labels: LabelSpace, *, soft: bool) -> tuple[list[Example], Labelled]:
    """The training rows with the labels that the labelling gave their texts; rows without one are left out.

    Raises `UserError` for a labelling that does not fit, `DamagedRecord` for a damaged one.
    """
    if not (folder / "labelling.json").exists():
        raise UserError(
            f"--labels-from {folder}: there is no labelling in this folder.", "Name one, or repeat its `bench label`."
        )
    record, lines = read_labelling(folder)
    _check_labels(record, labels)
    by_text = {line["text"]: line for line in lines}
    _check_covered(record, train, by_text)
    kept = [(row, by_text[text_digest(row.text)]) for row in train]
    kept = [(row, line) for row, line in kept if line["status"] == Status.OK]
    if not kept:
        raise UserError(
            f"The labelling {record.run_id} has no label for any of {len(train):,} training rows.", "Use another one."
        )
    given = [(row, prediction_from(line)) for row, line in kept]
    rows = [replace(row, label=prediction.label) for row, prediction in given if prediction.label is not None]
    identity, prompt = record.identity, record.identity.prompt
    optional: dict[str, Any] = {} if prompt is None else {"prompt": prompt.name, "decoding": prompt.decoding}
    if prompt is not None and prompt.calibration is not Calibration.NONE:
        optional["calibration"] = prompt.calibration
    source = LabelsFrom(
        labelling=record.run_id,
        sha256=record.labels_sha256,
        backend=identity.backend.name,
        model=identity.backend.model,
        **(optional | ({"soft": True} if soft else {})),
    )
    probabilities = _probabilities(record, [line for _, line in kept], labels) if soft else None
    return rows, Labelled(source, record.facts(len(train), len(train) - len(rows)), probabilities)


def _check_labels(record: LabellingRecord, labels: LabelSpace) -> None:
    there = record.identity.label_space
    if there != labels:
        raise UserError(
            f"The labelling {record.run_id} has the {there.kind} labels {', '.join(there.names[:6])}, and the task the "
            f"{labels.kind} labels {', '.join(labels.names[:6])}.",
            "Label the training rows with this task: bench label --task NAME --split train",
        )


def _check_covered(record: LabellingRecord, train: Sequence[Example], by_text: Mapping[str, Any]) -> None:
    missing = sum(text_digest(row.text) not in by_text for row in train)
    if missing:
        raise UserError(
            f"{missing:,} of {len(train):,} training rows are not in the labelling {record.run_id}.",
            "Label the whole train split of the task, in each language: bench label --task NAME --lang CODE --split train",
        )


def _probabilities(record: LabellingRecord, lines: Sequence[Mapping[str, Any]], labels: LabelSpace) -> FloatArray:
    """Shape (rows, labels); rows sum to 1, which the rounded file does not hold."""
    if labels.kind is LabelKind.MULTILABEL:
        raise UserError("--soft-labels is for one label per row; the task is multilabel.", "Leave it out.")
    if not record.probabilities:
        raise UserError(
            f"The labelling {record.run_id} has no probabilities.", "Label with --decoding score, or leave out --soft-labels."
        )
    found = np.array([line["probabilities"] for line in lines], dtype=np.float64)
    return np.asarray(found / found.sum(axis=1, keepdims=True))
