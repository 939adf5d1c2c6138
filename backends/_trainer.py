"""How an encoder is trained: the transformers Trainer with our batches, losses and evaluation, SAM, and a small vocabulary.

Imported only when a training starts, since it imports torch and transformers.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from backends._batches import Row, TrainBatches, padded
from backends._encoder_options import CourseOptions, TrainOptions
from backends._heads import IGNORED, Head
from backends._long_texts import mean_by_text
from harness.core.arrays import FloatArray
from harness.core.distributed import alike
from harness.core.durable import DIGESTS, damage_of, seal, set_aside
from harness.core.engine import Evaluated, OnProgress, Standing
from harness.core.errors import RunError
from harness.core.progress_events import log_training
from harness.core.types import Label

log = logging.getLogger("bench")

ETA = 0.01
"""ASAM adds it to |w|, so that a weight of zero can move too."""

LARGEST_PAD_ID = 1000
"""All ids up to the pad id are kept; a vocabulary whose pad id is at its end (GPT-2) would be kept whole."""


@dataclass(frozen=True, slots=True)
class Validation:
    """`metrics` scores probabilities of the texts, in their order, each the mean over the text's rows. `encoded`: the rows of
    all texts; `windows`: how many each text has. `batches` of `encoded`. `chosen_by`: a name that `metrics` has, or `loss`."""

    encoded: Sequence[Row]
    windows: Sequence[int]
    labels: Sequence[Label]
    batches: Sequence[Sequence[int]]
    metrics: Callable[[FloatArray], dict[str, float]]
    chosen_by: str
    lower_is_better: bool
    choose: Callable[[Standing, Evaluated], tuple[bool, Standing]]


class Patience(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Remembers the choice of a checkpoint, and ends the training where no evaluation changed it for a while. Checkpoints hold
    both, so that a resumed training goes on as if it had not been interrupted."""

    def __init__(self, patience: int) -> None:
        self.patience, self.waited = patience, 0
        self.standing: Standing = {}

    def see(self, standing: Standing, *, replaced: bool) -> None:
        self.standing, self.waited = standing, 0 if replaced else self.waited + 1

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = control.should_training_stop or self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        return {"args": {"patience": self.patience}, "attributes": {"waited": self.waited, "standing": self.standing}}


class ResumableTrainer(Trainer):  # type: ignore[misc]
    """The Trainer with batches of similar length, and checkpoints that survive a kill. A subclass sets `_batches` first."""

    _batches: TrainBatches

    def _collate(self, rows: Sequence[Any]) -> dict[str, Any]:
        raise NotImplementedError

    def get_train_dataloader(self) -> DataLoader[Any]:
        # Not prepared by accelerate: the batches are those of this process already.
        pin = self.args.dataloader_pin_memory
        return DataLoader(self.train_dataset, batch_sampler=self._batches, collate_fn=self._collate, pin_memory=pin)

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
                # It was killed after its end, before the model was kept; the Trainer would go on for one more epoch.
                self._load_from_checkpoint(str(checkpoint.with_name(Path(state.best_model_checkpoint or checkpoint).name)))
                return state
        self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        return self.state


class EncoderTrainer(ResumableTrainer):
    _replaced = False  # whether the last evaluation's checkpoint is to be kept in place of the one before

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        head: Head,
        train: Sequence[tuple[Row, int | list[float]]],
        validation: Validation | None,
        options: TrainOptions,
        args: TrainingArguments,
        on_progress: OnProgress,
    ) -> None:
        self._tokenizer, self._head, self._validation, self._options = tokenizer, head, validation, options
        lengths = [len(row["input_ids"]) for row, _ in train]
        self._batches = TrainBatches(lengths, options.batch_size, args.seed, args.process_index, args.world_size)
        self._progress = EncoderProgress(on_progress, self._batches, None if validation is None else validation.chosen_by)
        super().__init__(
            model=model,
            args=args,
            train_dataset=list(train),
            eval_dataset=[] if validation is None else list(validation.encoded),
            processing_class=tokenizer,
            compute_loss_func=self._loss,
            callbacks=[self._progress, *([Patience(options.patience)] if validation is not None else [])],
        )
        self.remove_callback(PrinterCallback)

    def _collate(self, rows: Sequence[tuple[Row, int | list[float]]]) -> dict[str, Any]:
        batch = padded([row for row, _ in rows], self._tokenizer)
        labels = torch.tensor([target for _, target in rows])
        return {**{name: torch.from_numpy(values) for name, values in batch.items()}, "labels": labels}

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
        # Both passes draw the same dropout masks, or they would be of two functions. Each process uses its own gradient.
        devices = [self.args.device.index or 0] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self.accelerator.no_sync(model):
            loss = super().training_step(model, inputs, num_items_in_batch)
        with perturbed(trained, rho, adaptive=self._options.optimizer == "asam"):
            for parameter, gradient in zip(trained, earlier, strict=True):
                parameter.grad = gradient
            super().training_step(model, inputs, num_items_in_batch)
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Called by the Trainer, whose own evaluation has another order of rows and other names of metrics."""
        assert self._validation is not None
        logits = self._validation_logits(self._validation)
        if not np.isfinite(logits).all():
            raise alike(RunError(f"The training diverged at step {self.state.global_step}.", "Lower its learning rate."))
        counted = zip(self._validation.labels, self._validation.windows, strict=True)
        targets = torch.tensor([self._head.target(label) for label, windows in counted for _ in range(windows)])
        loss = float(self._head.loss(torch.from_numpy(logits), targets)) / int((targets != IGNORED).sum())
        probabilities = mean_by_text(self._head.probabilities(logits), self._validation.windows)
        metrics = {**self._validation.metrics(probabilities), "loss": loss}
        if self._validation.chosen_by not in metrics:
            raise alike(
                RunError(f"{self._validation.chosen_by} is undefined on the validation rows.", "Choose another `best_metric`.")
            )
        found = Evaluated(self._validation.chosen_by, metrics, probabilities, self._validation.lower_is_better)
        patience = next(one for one in self.callback_handler.callbacks if isinstance(one, Patience))
        self._replaced, standing = self._validation.choose(patience.standing, found)
        patience.see(standing, replaced=self._replaced)
        metrics = {f"eval_{name}": value for name, value in metrics.items()}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Called by the Trainer after an evaluation: whether its checkpoint is to be kept."""
        assert self._validation is not None
        if self._replaced:
            self.state.best_metric = metrics[f"eval_{self._validation.chosen_by}"]
            self.state.best_global_step = self.state.global_step
        return self._replaced

    def _validation_logits(self, validation: Validation) -> FloatArray:
        """Shape (rows, outputs), in the rows' order; each process computes a part and gets the whole."""
        self.model.eval()
        logits = np.empty((len(validation.encoded), self._head.outputs))
        ours = validation.batches[self.args.process_index :: self.args.world_size]
        parts = []
        for number, batch in enumerate(ours):
            self._progress.validating(self.state, number, len(ours))
            parts.append((batch, self._logits([validation.encoded[index] for index in batch])))
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


class Progress(TrainerCallback):  # type: ignore[misc]
    """Reports the steps, with the last loss."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress

    def report(self, state: Any, note: str = "") -> None:
        self._on_progress(state.global_step, state.max_steps, note or self.note(state))

    def note(self, state: Any) -> str:
        losses = [entry["loss"] for entry in state.log_history[-3:] if "loss" in entry]
        return f"loss {float(losses[-1]):.2f}" if losses else ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.report(state)  # its speed counts from here on

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if state.is_world_process_zero:
            log_training(state.global_step, logs)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.report(state)


class EncoderProgress(Progress):
    """Also evaluates and saves at the last step, whatever `evaluate_every` says."""

    def __init__(self, on_progress: OnProgress, batches: TrainBatches, chosen_by: str | None) -> None:
        super().__init__(on_progress)
        self._batches, self._chosen_by = batches, chosen_by
        self._last_evaluation = ""

    def note(self, state: Any) -> str:
        return ", ".join(filter(None, [super().note(state), self._last_evaluation]))

    def validating(self, state: Any, done: int, total: int) -> None:
        self.report(state, f"validating, batch {done} of {total}")

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._batches.epoch = int(state.epoch)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_log = True

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        value = metrics[f"eval_{self._chosen_by}"]
        self._last_evaluation = f"{self._chosen_by} {value:.3f} at step {state.global_step}"
        self.report(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_step_end(args, state, control)
        if args.save_strategy == "steps" and state.global_step == state.max_steps:
            control.should_save, control.should_evaluate = True, args.eval_strategy != "no"
        if control.should_save:
            control.should_log = True  # so that a checkpoint holds the losses of all its steps


def training_arguments(kind: Any, scratch: Path, seed: int, device: str, precision: str, **settings: Any) -> Any:
    """What all trainings have in common, as an instance of `kind` (`TrainingArguments`)."""
    args = kind(
        output_dir=str(scratch),
        logging_steps=10,
        logging_nan_inf_filter=False,  # show a training that diverged
        report_to="none",
        disable_tqdm=True,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device == "cuda",
        seed=seed,
        **settings,
    )
    args.report_to = []  # Kubeflow's environment variables add a reporter even to "none"
    # Otherwise a launcher's environment decides, whatever the record says.
    args.mixed_precision = "no" if precision == "fp32" else precision
    # Several devices are for several processes; the Trainer would use them all from one, in another way.
    args._n_gpu = min(args.n_gpu, 1)
    return args


def course_arguments(
    options: CourseOptions,
    epochs: float,
    scratch: Path,
    seed: int,
    device: str,
    precision: str,
    chosen_by: str | None,
    *,
    lower: bool,
) -> TrainingArguments:
    """`chosen_by`: the metric that selects the checkpoint, None without validation rows; `lower` is better."""
    evaluated = chosen_by is not None
    every = "epoch" if options.evaluate_every is None else "steps"
    return training_arguments(
        TrainingArguments,
        scratch,
        seed,
        device,
        precision,
        num_train_epochs=epochs,
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
        metric_for_best_model=chosen_by,
        greater_is_better=not lower if evaluated else None,
        # Otherwise a resumed training forgets how many evaluations brought no improvement.
        restore_callback_states_from_checkpoint=True,
        remove_unused_columns=False,
        ddp_backend="gloo" if torch.distributed.is_initialized() and device == "cpu" else None,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
    )


def _last_checkpoint(scratch: Path) -> Path | None:
    """The newest checkpoint that is whole, and so is the best one before it. A damaged one is set aside.

    A kill while a checkpoint is saved leaves one without digests, which are written last.
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


def training_log(state: Any, chosen_by: str | None) -> dict[str, object]:
    """What a record keeps of a training. `best`: the selected checkpoint's metric and step."""
    return {
        "steps": state.global_step,
        "planned_steps": state.max_steps,
        "train_loss": mean_loss(state.log_history),
        "best": {chosen_by: state.best_metric, "step": state.best_global_step} if chosen_by else None,
        "evaluations": [
            {key.removeprefix("eval_"): value for key, value in entry.items() if key in ("epoch", "step") or key[:5] == "eval_"}
            for entry in state.log_history
            if "eval_loss" in entry
        ],
    }


def mean_loss(history: Sequence[dict[str, Any]]) -> float:
    """Mean over all steps, those before an interruption included; each entry is the mean since the one before."""
    logged = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    total = sum(loss * (step - before) for (before, _), (step, loss) in pairwise([(0, 0.0), *logged]))
    return float(total / logged[-1][0])


# --- sharpness-aware minimization: the gradient is taken where the loss is highest nearby ------------------------------


@contextmanager
def perturbed(parameters: Sequence[Any], rho: float, *, adaptive: bool) -> Iterator[None]:
    """Within: the parameters are moved by e, computed from their gradients on entry. After: exactly what they were.

    SAM (Foret et al. 2020, arXiv:2010.01412): e = rho g / |g|. Adaptive SAM (Kwon et al. 2021, arXiv:2102.11600):
    e = rho T^2 g / |T g| with T = |w| + 0.01, element by element. A factor on all gradients (loss scaling, say) cancels
    out. Gradients that are zero or not finite move nothing.
    """
    moved = [parameter for parameter in parameters if parameter.grad is not None]
    # A copy: subtracting e again would round differently.
    before = [parameter.detach().clone() for parameter in moved]
    _move(moved, rho, adaptive)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(moved, before, strict=True):
                parameter.copy_(value)


@torch.no_grad()
def _move(parameters: Sequence[Any], rho: float, adaptive: bool) -> None:
    scales = [parameter.abs() + ETA if adaptive else torch.ones_like(parameter) for parameter in parameters]
    norms = [torch.linalg.vector_norm(p.grad * scale) for p, scale in zip(parameters, scales, strict=True)]
    norm = torch.linalg.vector_norm(torch.stack(norms))
    if not torch.isfinite(norm) or norm == 0:
        return
    for parameter, scale in zip(parameters, scales, strict=True):
        parameter.addcmul_(parameter.grad / norm, scale.square(), value=rho)


# --- a small vocabulary: the embedding holds only the tokens that occur -------------------------------------------------


@dataclass(frozen=True)
class CompactVocabulary:
    """The same result for less work. Of the 250,000 rows of a multilingual embedding, a few per cent occur in the training.
    The gradient of the others is always zero, and so are Adam's moments: each step only multiplies them by
    1 - lr * weight_decay. So they are set aside, and get all of that decay at the end.

    `kept`: ids of the full vocabulary in the order of the small one, whose last row is a witness and no token. `table`: the
    full embedding, as it was. `witness`: the last row when training began.
    """

    embedding: Any
    kept: NDArray[np.int64]
    table: Any
    witness: Any

    def compact(self, ids: Sequence[int]) -> list[int]:
        """Ids of the small vocabulary."""
        return [int(index) for index in np.searchsorted(self.kept, np.asarray(ids, dtype=np.int64))]

    @torch.no_grad()
    def restore(self) -> None:
        """Put the full table back into the model: trained rows as they are, the others after their decay.

        The witness shows that decay: it went through the same optimizer, checkpoints and skipped steps as any row that
        never occurs. Its elements have mantissas of all sizes, so that their mean ratio is free of the rounding of one.
        """
        trained = self.embedding.weight.detach()
        decay = float((trained[-1].double().cpu() / self.witness.double()).mean())
        full = self.table * decay
        full[torch.from_numpy(self.kept)] = trained[:-1].to(full)
        _put(self.embedding, full.to(trained))


def compact_vocabulary(model: Any, tokenizer: Any, rows: Iterable[Sequence[int]]) -> CompactVocabulary | None:
    """Shrink `model`'s embedding to the tokens of `rows`; None where that is impossible or saves nothing.

    Also kept: all ids up to the pad id, which some models compute with (RoBERTa's positions count what is not pad), and all
    special tokens.
    """
    embedding = model.get_input_embeddings()
    pad = max(tokenizer.pad_token_id, getattr(model.config, "pad_token_id", None) or 0)
    if not _is_plain(model, embedding) or pad > LARGEST_PAD_ID:
        return None
    occurring = {token for row in rows for token in row}
    kept = np.array(sorted(occurring | set(range(pad + 1)) | set(tokenizer.all_special_ids)), dtype=np.int64)
    if kept[-1] >= embedding.num_embeddings or len(kept) + 1 >= embedding.num_embeddings:
        return None
    table = embedding.weight.detach().clone()
    witness = torch.linspace(1, 2, embedding.embedding_dim + 1)[:-1].to(table)
    _put(embedding, torch.cat([table[torch.from_numpy(kept)], witness[None]]))
    return CompactVocabulary(embedding, kept, table, witness)


def _is_plain(model: Any, embedding: Any) -> bool:
    """Whether the table is not shared, and indexed only by token id."""
    if type(embedding) is not torch.nn.Embedding or embedding.max_norm is not None:
        return False
    users = sum(parameter is embedding.weight for _, parameter in model.named_parameters(remove_duplicate=False))
    shared = users > 1 or getattr(model.config, "is_encoder_decoder", False)
    return not shared and embedding.num_embeddings == model.config.vocab_size and bool(embedding.weight.requires_grad)


def _put(embedding: Any, table: Any) -> None:
    embedding.weight = torch.nn.Parameter(table.contiguous())
    embedding.num_embeddings = len(table)
