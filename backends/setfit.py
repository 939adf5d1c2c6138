"""SetFit, a classifier for few labels: a sentence encoder learns from pairs of texts, logistic regression from its embeddings.

Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts", arXiv:2209.11055, with the pairs of the setfit library.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from backends._encoder_options import Strict, TextEncoderOptions
from backends._heads import check_threshold
from backends._linear_head import LinearHead, check_classes, fit_head, load_head, memberships
from backends._sentence_encoder import SentenceEncoder
from backends._torch import out_of_memory_named
from harness.core import library_logging
from harness.core.engine import LabelledTexts, TrainingJob
from harness.core.errors import DataError, RunError, UserError
from harness.core.types import LabelKind, LabelSpace

MOST_ROWS = 5000
"""The library lists all pairs of rows before it chooses among them: n^2 / 2, half a GiB of 5000 rows."""


class TrainOptions(Strict):
    """The defaults are those of the setfit library and the paper."""

    iterations: int = Field(20, ge=1, description="per training row: pairs of one label, and as many of two")
    epochs: int = Field(1, ge=1, description="passes over the pairs")
    max_steps: int | None = Field(None, ge=1, description="maximum batches of pairs; default: no maximum")
    batch_size: int = Field(16, ge=1, description="pairs per step")
    lr: float = Field(2e-5, gt=0, description="peak learning rate of the encoder, reached after the warm-up")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW; not for biases and norms")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises; then it falls")
    c: float = Field(1.0, gt=0, description="of the logistic regression: inverse strength of the L2 penalty")


class SetFitOptions(TextEncoderOptions):
    train: TrainOptions = Field(TrainOptions.model_validate({}), description="how encoder and head are trained")


class SetFit(SentenceEncoder):
    """Validation rows only tune a multilabel task's thresholds: there is one model, the last."""

    Options = SetFitOptions
    libraries = ("torch", "transformers", "accelerate", "datasets", "sentence_transformers", "setfit", "safetensors")
    extra = "setfit"
    options: SetFitOptions

    def fit(self, job: TrainingJob) -> dict[str, int | float]:
        """A training that was killed begins again."""
        from transformers import set_seed

        self._check_one_process("SetFit")
        train = job.train
        check_threshold(self.options.threshold, job.labels)
        _check_rows(train, job.labels)
        multilabel = job.labels.kind is LabelKind.MULTILABEL
        targets = memberships(train.labels, len(job.labels)).astype(int).tolist() if multilabel else train.labels
        set_seed(job.seed)
        body = self._read(self._source)
        with out_of_memory_named(self._torch):
            report = contrast(body, targets, multilabel, self.options.train, self._device, job)
            self._keep(body)
            embeddings = self._outputs_of([text.content for text in self.encode(train.texts)], self._launch)
        if not np.isfinite(embeddings).all():
            raise RunError("The training diverged.", "Lower `train.lr`.")
        self._set_head(fit_head(embeddings, train.labels, job.labels, self.options.train.c, job.seed))
        return {**report, "train_rows": len(train.texts)}

    def save(self, folder: Path) -> None:
        """After `fit` or `load`, in fp32 if it is after `fit`."""
        assert isinstance(self._head, LinearHead)
        body = self._model if self._trained is None else self._trained
        body.save_pretrained(str(folder), create_model_card=False)
        self._head.save(folder)
        self._trained = None

    def load(self, folder: Path, labels: LabelSpace) -> None:
        self._use(self._read(folder))
        self._set_head(load_head(folder, labels))


def _check_rows(train: LabelledTexts, labels: LabelSpace) -> None:
    """Raise `UserError` for rows that SetFit learns nothing from."""
    rows = len(train.texts)
    if rows > MOST_ROWS:
        raise UserError(
            f"SetFit is for few labels, at most {MOST_ROWS} here; these are {rows}.",
            "Take fewer with --train-limit, or fine-tune an encoder.",
        )
    if labels.kind is not LabelKind.MULTILABEL:
        check_classes(train.labels)
        return
    found = memberships(train.labels, len(labels))
    if not found.any() or (found @ found.T).all():
        raise DataError(
            "SetFit learns from rows that share a label and rows that don't; these train rows have only one sort of pair.",
            "Take more rows.",
        )


def planned_steps(options: TrainOptions, rows: int) -> int:
    """Of the whole training of so many rows."""
    steps = options.epochs * math.ceil(2 * options.iterations * rows / options.batch_size)
    return steps if options.max_steps is None else min(steps, options.max_steps)


def contrast(
    body: Any, targets: Sequence[Any], multilabel: bool, options: TrainOptions, device: str, job: TrainingJob
) -> dict[str, int | float]:
    """Fine-tune `body`, a SentenceTransformer, in place. `targets`: class indices, or rows of 0/1 for a multilabel task.

    With the pairs, the loss and the settings of setfit's own Trainer (a test compares the two), which takes any device that
    it finds, even where the options say cpu.
    """
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
    from transformers import PrinterCallback

    from backends._trainer import Progress, training_arguments

    class PairTrainer(SentenceTransformerTrainer):  # type: ignore[misc]
        def add_model_card_callback(self, *args: Any) -> None:
            """Adds none: it would search the rows for examples, for a card that is never written."""

    steps = planned_steps(options, len(job.train.texts))
    pairs = _pairs(job.train.texts, targets, multilabel, options, steps)
    args = training_arguments(
        SentenceTransformerTrainingArguments,
        job.scratch,
        job.seed,
        device,
        "fp32",
        max_steps=steps,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.lr,
        weight_decay=options.weight_decay,
        warmup_steps=options.warmup,
        save_strategy="no",
        eval_strategy="no",
    )
    loss, callbacks = CosineSimilarityLoss(body), [Progress(job.on_progress)]
    trainer = PairTrainer(model=body, args=args, train_dataset=pairs, loss=loss, callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    found = trainer.train()
    return {"steps": found.global_step, "pairs": len(pairs), "train_loss": float(found.training_loss)}


def _pairs(texts: Sequence[str], targets: Sequence[Any], multilabel: bool, options: TrainOptions, steps: int) -> Any:
    """A data set of `sentence_1`, `sentence_2` and `label`: 1 for two rows that share a label, 0 for others, half of each."""
    from datasets import Dataset

    with warnings.catch_warnings():  # setfit changes the filters of the whole process when it is imported
        from setfit import logging
        from setfit.sampler import ContrastiveDataset

    if not library_logging.loud():
        logging.set_verbosity_error()
    # No more than the steps use.
    iterations = min(options.iterations, math.ceil(steps * options.batch_size / (2 * len(texts))))
    sampler = ContrastiveDataset(
        list(texts), list(targets), multilabel, num_iterations=iterations, max_pairs=2 * iterations * len(texts)
    )
    return Dataset.from_list(list(sampler))
