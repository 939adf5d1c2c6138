"""How a language model learns to answer: the transformers Trainer, with the loss on the tokens of the answers alone.

Imported only when a training starts, since it imports torch and transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import EarlyStoppingCallback, PrinterCallback, TrainingArguments

from backends._batches import TrainBatches
from backends._encoder_options import CourseOptions
from backends._trainer import EncoderProgress, ResumableTrainer
from harness.core.distributed import alike
from harness.core.engine import OnProgress
from harness.core.errors import RunError

IGNORED = -100
"""Marks a target that does not count; the Trainer knows it too."""


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """`ids` of a whole chat; the answer begins at `start`, and its end token is the last one."""

    ids: Sequence[int]
    start: int


class ChatTrainer(ResumableTrainer):
    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        pad: int,
        train: Sequence[AnsweredRow],
        validation: Sequence[AnsweredRow],
        options: CourseOptions,
        args: TrainingArguments,
        on_progress: OnProgress,
        on_evaluation: Callable[[dict[str, float]], None],
        takes_positions: bool,
    ) -> None:
        self._pad, self._takes_positions, self._on_evaluation = pad, takes_positions, on_evaluation
        self._batches = TrainBatches(
            [len(row.ids) for row in train], options.batch_size, args.seed, args.process_index, args.world_size
        )
        self._progress = EncoderProgress(on_progress, self._batches, "loss" if validation else None)
        # Of similar length, as in training; each with as many rows.
        self._validation = sorted(validation, key=lambda row: -len(row.ids))
        super().__init__(
            model=model,
            args=args,
            train_dataset=list(train),
            eval_dataset=list(validation),
            processing_class=tokenizer,
            compute_loss_func=self._loss,
            callbacks=[self._progress, *([EarlyStoppingCallback(options.patience)] if validation else [])],
        )
        # The targets stand where their logits do, and the loss is computed here: see `_collate`.
        self.model_accepts_loss_kwargs = self._loss_shifts_labels = False
        self.remove_callback(PrinterCallback)

    def _collate(self, rows: Sequence[AnsweredRow]) -> dict[str, Any]:
        """Padded at the beginning, so that all answers stand at the end: only there logits are computed, `logits_to_keep` of
        each row. The one at each place is for the token behind it."""
        width, kept = max(len(row.ids) for row in rows), max(len(row.ids) - row.start for row in rows)
        ids = torch.full((len(rows), width), self._pad)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        labels = torch.full((len(rows), kept + 1), IGNORED)
        for index, row in enumerate(rows):
            ids[index, width - len(row.ids) :] = torch.tensor(row.ids)
            mask[index, width - len(row.ids) :] = 1
            answer = row.ids[row.start :]
            labels[index, kept - len(answer) : kept] = torch.tensor(answer)
        positions = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)} if self._takes_positions else {}
        return {"input_ids": ids, "attention_mask": mask, **positions, "logits_to_keep": kept + 1, "labels": labels}

    def _loss(self, outputs: Any, labels: Any, num_items_in_batch: Any) -> Any:
        """`num_items_in_batch` counts the tokens of all answers of a step, in all its batches and processes."""
        return _sum_of_losses(outputs["logits"], labels) / num_items_in_batch

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The mean loss of the tokens of the validation answers."""
        self.model.eval()
        size = self.args.per_device_train_batch_size
        batches = [self._validation[start : start + size] for start in range(0, len(self._validation), size)]
        ours = batches[self.args.process_index :: self.args.world_size]
        total = torch.zeros(2, dtype=torch.float64)
        for number, rows in enumerate(ours):
            self._progress.validating(self.state, number, len(ours))
            batch = self._collate(rows)
            labels = batch.pop("labels")
            inputs = {name: value.to(self.args.device) if name != "logits_to_keep" else value for name, value in batch.items()}
            with torch.no_grad():
                loss = _sum_of_losses(self.model(**inputs).logits, labels.to(self.args.device))
            total += torch.tensor([float(loss), float((labels != IGNORED).sum())], dtype=torch.float64)
        if self.args.world_size > 1:
            parts: list[Any] = [None] * self.args.world_size
            torch.distributed.all_gather_object(parts, total)
            total = sum(parts[1:], parts[0])
        found = {"loss": float(total[0] / total[1])}
        if not torch.isfinite(total).all():
            raise alike(RunError(f"The training diverged at step {self.state.global_step}.", "Lower its learning rate."))
        self._on_evaluation(found)
        metrics = {"eval_loss": found["loss"]}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def _sum_of_losses(logits: Any, labels: Any) -> Any:
    return cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
