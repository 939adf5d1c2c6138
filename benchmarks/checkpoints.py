"""Which checkpoint of a short training two rules keep, and what it is worth on rows that chose nothing.

    python benchmarks/checkpoints.py --task sst5 --lang en --data DIR --backend minilm --predictions FOLDER

For each seed, draws a few training rows, trains the backend on them, and keeps the predictions of every checkpoint on rows of
the validation split in FOLDER (a second call finds them there). Test rows take no part. These rows are divided at random, again and
again: a few of them choose the checkpoint, the others tell its worth. `first best` is the rule of earlier versions: the
highest value of the metric, and of equal ones the earliest. Both rules stop a training by the same patience.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from harness.core.engine import Classifier, LabelledTexts, TrainingJob, ValidationScorer
from harness.core.options import RunOptions
from harness.core.types import Example
from harness.running.plan import make_plan
from harness.specs.catalog import Catalog

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Course:
    """One training. `probabilities`: shape (checkpoints, rows, labels); `truth`: shape (rows,)."""

    seed: int
    probabilities: Floats
    truth: Ints


def trained(request: RunOptions, catalog: Catalog, pool: int) -> Course:
    """Train to the end, and predict `pool` validation rows with every checkpoint."""
    plan = make_plan(request.changed(validation_limit=pool), catalog)
    assert plan.training is not None
    assert isinstance(plan.engine, Classifier)
    found: list[Floats] = []

    def metrics(probabilities: Floats) -> dict[str, float]:
        found.append(np.asarray(probabilities, dtype=np.float64))
        return {"accuracy": float(len(found))}  # each is better than the one before: nothing stops the training

    def texts(rows: Sequence[Example]) -> LabelledTexts:
        return LabelledTexts([row.text for row in rows], [row.label for row in rows])

    scorer = ValidationScorer(metrics, "accuracy", frozenset())
    train, validation = texts(plan.training.train), texts(plan.training.validation)
    with TemporaryDirectory() as scratch:
        job = TrainingJob(
            train, validation, plan.task.label_space, scorer, request.seed, Path(scratch), lambda done, total, note: None
        )
        plan.engine.fit(job)
    plan.engine.close()
    return Course(request.seed, np.stack(found), np.array(validation.labels, dtype=np.int64))
