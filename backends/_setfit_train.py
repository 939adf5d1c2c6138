"""The first step of SetFit: a sentence encoder learns to tell pairs of one label from pairs of two.

What setfit's own Trainer does, with its pairs, its loss and its settings (a test compares the two); its Trainer takes
whichever device it finds, and would not leave a GPU alone where the options say cpu. Only `setfit.py` imports this.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from transformers import PrinterCallback, TrainerCallback

from backends._setfit_options import TrainOptions
from harness.core import library_logging
from harness.core.engine import OnProgress
from harness.core.progress_events import log_training


class _Trainer(SentenceTransformerTrainer):  # type: ignore[misc]
    def add_model_card_callback(self, *args: Any) -> None:
        """None: it would look at the rows for examples to show on a card that nobody writes."""


class _Course(TrainerCallback):  # type: ignore[misc]
    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._on_progress(state.global_step, state.max_steps, "")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        log_training(state.global_step, logs)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        losses = [entry["loss"] for entry in state.log_history[-3:] if "loss" in entry]
        self._on_progress(state.global_step, state.max_steps, f"loss {float(losses[-1]):.2f}" if losses else "")


def planned_steps(options: TrainOptions, rows: int) -> int:
    """Of the whole training of so many rows."""
    steps = options.epochs * math.ceil(2 * options.iterations * rows / options.batch_size)
    return steps if options.max_steps is None else min(steps, options.max_steps)


def contrast(
    body: Any,
    texts: Sequence[str],
    targets: Sequence[Any],
    multilabel: bool,
    options: TrainOptions,
    seed: int,
    device: str,
    scratch: Path,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Fine-tune `body`, a SentenceTransformer, in place. `targets`: class indices, or rows of 0/1 for a multilabel task."""
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

    steps = planned_steps(options, len(texts))
    pairs = _pairs(texts, targets, multilabel, options, steps)
    args = SentenceTransformerTrainingArguments(
        output_dir=str(scratch),
        max_steps=steps,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.lr,
        weight_decay=options.weight_decay,
        warmup_steps=options.warmup,
        logging_steps=10,
        logging_nan_inf_filter=False,  # a training that diverged is to show
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device == "cuda",
        seed=seed,
    )
    args.report_to = []  # the environment of Kubeflow adds itself even to "none"
    # Else a launcher's environment would say which.
    args.mixed_precision = "no"
    args._n_gpu = min(args.n_gpu, 1)
    trainer = _Trainer(
        model=body, args=args, train_dataset=pairs, loss=CosineSimilarityLoss(body), callbacks=[_Course(on_progress)]
    )
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
    # No more than the steps have use for.
    iterations = min(options.iterations, math.ceil(steps * options.batch_size / (2 * len(texts))))
    sampler = ContrastiveDataset(
        list(texts), list(targets), multilabel, num_iterations=iterations, max_pairs=2 * iterations * len(texts)
    )
    return Dataset.from_list(list(sampler))
