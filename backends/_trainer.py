"""The transformers Trainer with our batches, losses, evaluation and SAM. Only `encoder.py` imports this, when it trains."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments

from backends._batches import Row, TrainBatches, padded
from backends._encoder_options import TrainOptions
from backends._heads import Head
from backends._sam import perturbed
from harness.core.distributed import alike
from harness.core.durable import DIGESTS, damage_of, seal, set_aside
from harness.core.engine import OnProgress
from harness.core.errors import RunError
from harness.core.progress_events import log_training
from harness.core.types import FloatArray, Label

log = logging.getLogger("bench")


@dataclass(frozen=True, slots=True)
class Rows:
    encoded: Sequence[Row]
    labels: Sequence[Label]


@dataclass(frozen=True, slots=True)
class Validation:
    """`metrics`: what probabilities of the rows, in their order, are worth. `chosen_by`: one of its names, or `loss`."""

    rows: Rows
    batches: Sequence[Sequence[int]]
    metrics: Callable[[FloatArray], dict[str, float]]
    chosen_by: str
    lower_is_better: bool


class EncoderTrainer(Trainer):  # type: ignore[misc]
    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        head: Head,
        train: Rows,
        validation: Validation | None,
        options: TrainOptions,
        args: TrainingArguments,
        on_progress: OnProgress,
    ) -> None:
        self._tokenizer, self._head, self._validation, self._options = tokenizer, head, validation, options
        self._batches = TrainBatches(
            [len(row["input_ids"]) for row in train.encoded],
            options.batch_size,
            args.seed,
            args.process_index,
            args.world_size,
        )
        targets = [head.target(label) for label in train.labels]
        self._course = _Course(self._batches, on_progress, None if validation is None else validation.chosen_by)
        super().__init__(
            model=model,
            args=args,
            train_dataset=list(zip(train.encoded, targets, strict=True)),
            eval_dataset=[] if validation is None else list(validation.rows.encoded),
            processing_class=tokenizer,
            compute_loss_func=self._loss,
            callbacks=[
                self._course,
                *([EarlyStoppingCallback(options.patience)] if validation is not None else []),
            ],
        )
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> DataLoader[Any]:
        # Not prepared by accelerate: the batches are those of this process already.
        return DataLoader(
            self.train_dataset,
            batch_sampler=self._batches,
            collate_fn=self._collate,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _collate(self, rows: Sequence[tuple[Row, int | list[float]]]) -> dict[str, Any]:
        batch = padded([row for row, _ in rows], self._tokenizer)
        return {
            **{name: torch.from_numpy(values) for name, values in batch.items()},
            "labels": torch.tensor([t for _, t in rows]),
        }

    def _loss(self, outputs: Any, labels: Any, num_items_in_batch: Any) -> Any:
        """`num_items_in_batch` counts the targets of all batches and processes of a step, so that each counts the same."""
        return self._head.loss(outputs["logits"], labels) / num_items_in_batch

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        rho = self._options.radius()
        if rho is None:
            return super().training_step(model, inputs, num_items_in_batch)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        earlier = [parameter.grad for parameter in trained]  # of this step's batches before
        for parameter in trained:
            parameter.grad = None
        # Both passes draw the same dropout masks, or they would look at two functions. Each process goes by its own gradient.
        devices = [self.args.device.index or 0] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self.accelerator.no_sync(model):
            loss = super().training_step(model, inputs, num_items_in_batch)
        with perturbed(trained, rho, adaptive=self._options.optimizer == "asam"):
            for parameter, gradient in zip(trained, earlier, strict=True):
                parameter.grad = gradient
            super().training_step(model, inputs, num_items_in_batch)
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Called by the Trainer. Its own evaluation would visit the rows in an order of its own and name its own metrics."""
        assert self._validation is not None
        logits = self._validation_logits(self._validation)
        if not np.isfinite(logits).all():
            raise alike(RunError(f"The training diverged at step {self.state.global_step}.", "Lower its learning rate."))
        targets = torch.tensor([self._head.target(label) for label in self._validation.rows.labels])
        loss = float(self._head.loss(torch.from_numpy(logits), targets)) / int((targets != -100).sum())
        metrics = {**self._validation.metrics(self._head.probabilities(logits)), "loss": loss}
        if self._validation.chosen_by not in metrics:
            raise alike(RunError(f"The validation rows have no {self._validation.chosen_by}.", "Choose another `best_metric`."))
        metrics = {f"eval_{name}": value for name, value in metrics.items()}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _validation_logits(self, validation: Validation) -> FloatArray:
        """Shape (rows, outputs), in the rows' order; each process computes a part and gets the whole."""
        self.model.eval()
        logits = np.empty((len(validation.rows.labels), self._head.outputs))
        ours = validation.batches[self.args.process_index :: self.args.world_size]
        parts = []
        for number, batch in enumerate(ours):
            self._course.validating(self.state, number, len(ours))
            parts.append((batch, self._logits([validation.rows.encoded[index] for index in batch])))
        gathered: list[Any] = [parts]
        if self.args.world_size > 1:
            gathered = [None] * self.args.world_size
            torch.distributed.all_gather_object(gathered, parts)
        for batch, values in (pair for part in gathered for pair in part):
            logits[batch] = values
        return logits

    def _logits(self, rows: Sequence[Row]) -> FloatArray:
        inputs = {name: torch.from_numpy(v).to(self.args.device) for name, v in padded(rows, self._tokenizer).items()}
        with torch.no_grad():
            return np.asarray(self.model(**inputs).logits.double().cpu().numpy())

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.world_size > 1:
            torch.distributed.barrier()  # the state of every process is in it
        if self.args.should_save:
            seal(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")

    def _load_best_model(self) -> None:
        problem = damage_of(Path(self.state.best_model_checkpoint))
        if problem:
            raise RunError(f"The best checkpoint of the training {problem}.", "The same command trains from an earlier one.")
        super()._load_best_model()

    def run(self) -> TrainerState:
        """Train, from the last checkpoint if there is one; `self.model` then has the weights to keep."""
        checkpoint = _last_checkpoint(Path(self.args.output_dir))
        if checkpoint is not None:
            state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            if state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]:
                # It had ended, and was killed before the model was kept; the Trainer would go on for one more epoch.
                self._load_from_checkpoint(str(checkpoint.with_name(Path(state.best_model_checkpoint or checkpoint).name)))
                return state
        self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        return self.state


class _Course(TrainerCallback):  # type: ignore[misc]
    """Tells how far it is, and sees to it that the last step is evaluated and saved whatever `evaluate_every` says."""

    def __init__(self, batches: TrainBatches, on_progress: OnProgress, chosen_by: str | None) -> None:
        self._batches, self._on_progress, self._chosen_by = batches, on_progress, chosen_by
        self._worth = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._tell(state)  # from here on its speed counts

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._batches.epoch = int(state.epoch)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if state.is_world_process_zero:
            log_training(state.global_step, logs)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        if self._chosen_by is not None:
            self._worth = f"{self._chosen_by} {metrics[f'eval_{self._chosen_by}']:.3f} at step {state.global_step}"
        self._tell(state)

    def _tell(self, state: Any) -> None:
        self._on_progress(state.global_step, state.max_steps, ", ".join(filter(None, [_loss(state), self._worth])))

    def validating(self, state: Any, done: int, total: int) -> None:
        self._on_progress(state.global_step, state.max_steps, f"validating, batch {done} of {total}")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._tell(state)
        if args.save_strategy == "steps" and state.global_step == state.max_steps:
            control.should_save, control.should_evaluate = True, args.eval_strategy != "no"
        if control.should_save:
            control.should_log = True  # so that a checkpoint holds the losses of all its steps

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_log = True


def arguments(
    options: TrainOptions, scratch: Path, seed: int, device: str, precision: str, validation: Validation | None
) -> TrainingArguments:
    evaluated = validation is not None
    every = "epoch" if options.evaluate_every is None else "steps"
    on_gpu = device == "cuda"
    args = TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=options.epochs,
        learning_rate=options.lr,
        weight_decay=options.weight_decay,
        warmup_steps=options.warmup,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(options.schedule, options.schedule),
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.accumulation,
        gradient_checkpointing=options.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if options.gradient_checkpointing else None,
        eval_strategy=every if evaluated else "no",
        eval_steps=options.evaluate_every,
        save_strategy=every,
        save_steps=options.evaluate_every or 1,
        save_total_limit=2,
        load_best_model_at_end=evaluated,
        metric_for_best_model=validation.chosen_by if validation else None,
        greater_is_better=not validation.lower_is_better if validation else None,
        # Else an interrupted training would forget how long it has been without a better checkpoint.
        restore_callback_states_from_checkpoint=True,
        logging_steps=10,
        logging_nan_inf_filter=False,  # a training that diverged is to show
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=not on_gpu,
        ddp_backend="gloo" if torch.distributed.is_initialized() and not on_gpu else None,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        dataloader_pin_memory=on_gpu,
        seed=seed,
    )
    args.report_to = []  # the environment of Kubeflow adds itself even to "none"
    # Else a launcher's environment would say which, whatever the record names.
    args.mixed_precision = "no" if precision == "fp32" else precision
    # More devices than one are for more processes; the Trainer would use them all from one, in another way.
    args._n_gpu = min(args.n_gpu, 1)
    return args


def _loss(state: TrainerState) -> str:
    """The last loss that was logged, in words; empty before there is one."""
    losses = [entry["loss"] for entry in state.log_history[-3:] if "loss" in entry]
    return f"loss {float(losses[-1]):.2f}" if losses else ""


def _last_checkpoint(scratch: Path) -> Path | None:
    """The newest checkpoint that is whole, and so is the best one before it. A damaged one is set aside.

    A kill in the midst of saving leaves one without its digests, which are written last.
    """
    found = [folder for folder in scratch.glob("checkpoint-*") if folder.name.removeprefix("checkpoint-").isdigit()]
    for folder in sorted(found, key=lambda folder: int(folder.name.split("-")[1]), reverse=True):
        problem = damage_of(folder)
        if problem:
            log.warning("The checkpoint %s %s. It was set aside as %s.", folder, problem, set_aside(folder).name)
        elif (folder / DIGESTS).is_file():
            best = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))["best_model_checkpoint"]
            if best is None or ((scratch / Path(best).name).is_dir() and not damage_of(scratch / Path(best).name)):
                return folder
    return None


def mean_loss(history: Sequence[dict[str, Any]]) -> float:
    """Mean over all steps, those before an interruption included; each entry is the mean since the one before."""
    logged = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    total = sum(loss * (step - before) for (before, _), (step, loss) in pairwise([(0, 0.0), *logged]))
    return float(total / logged[-1][0])


def evaluations(history: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Of each look at the validation rows: epoch, step, loss and the metrics."""
    return [
        {key.removeprefix("eval_"): value for key, value in entry.items() if key in ("epoch", "step") or key[:5] == "eval_"}
        for entry in history
        if "eval_loss" in entry
    ]
