"""Fine-tune a pre-trained encoder (BERT, DistilBERT, XLM-R ...) as a classifier with the transformers Trainer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from backends._torch import Device, DType, free, import_torch, out_of_memory_named, resolve_device, resolve_dtype
from backends.base import Classifier, FloatArray, LabelledTexts, OnProgress
from harness.errors import UserError
from harness.types import LabelKind, LabelSpace


class EncoderOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: float = Field(3, gt=0, description="passes over train; early stopping may end sooner")
    learning_rate: float = Field(2e-5, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_share: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    train_batch_size: int = Field(16, ge=1)
    batch_size: int = Field(64, ge=1, description="rows a batch when predicting")
    max_length: int = Field(256, ge=8, description="tokens; longer texts are cut at the end")
    patience: int = Field(2, ge=1, description="evaluations without a better checkpoint before training stops")
    best_metric: Literal["accuracy", "macro_f1", "mae", "loss"] = Field(
        "accuracy", description="chooses the checkpoint, on validation rows"
    )
    device: Device = "auto"
    dtype: DType = Field("auto", description="of the prediction pass; training in bf16 needs a GPU")


class Encoder(Classifier):
    """Sequence classification head on `model`, trained end to end."""

    Options = EncoderOptions
    libraries = ("torch", "transformers", "accelerate", "safetensors")
    extra = "train"
    options: EncoderOptions

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        assert isinstance(model, Path)
        super().__init__(options, model)
        self._source = model
        self._torch = import_torch("train", "The encoder engine")
        self._device = resolve_device(self._torch, self.options.device)
        self._dtype = resolve_dtype(self._torch, self._device, self.options.dtype)
        self._model: Any = None
        self._tokenizer: Any = None

    def facts(self) -> dict[str, Any]:
        return {"device": self._device, "dtype": self._dtype}

    def batch_size(self) -> int:
        return self.options.batch_size

    def fit(
        self,
        train: LabelledTexts,
        validation: LabelledTexts,
        labels: LabelSpace,
        seed: int,
        scratch: Path,
        on_progress: OnProgress,
    ) -> dict[str, Any]:
        from transformers import AutoModelForSequenceClassification, PrinterCallback, Trainer, set_seed

        if labels.kind is LabelKind.MULTILABEL:
            raise UserError("The encoder engine trains one label per row so far.", "Choose a task that is not multilabel.")
        set_seed(seed)  # before the new head is drawn
        self._load_tokenizer(self._source)
        self._model = AutoModelForSequenceClassification.from_pretrained(
            self._source, num_labels=len(labels), dtype=self._torch.float32, use_safetensors=True, ignore_mismatched_sizes=True
        )
        trainer = Trainer(
            model=self._model,
            args=self._arguments(scratch, seed, bool(validation.texts)),
            train_dataset=self._encoded(train),
            eval_dataset=self._encoded(validation) if validation.texts else None,
            processing_class=self._tokenizer,
            compute_metrics=_metrics,
            callbacks=self._callbacks(on_progress, bool(validation.texts)),
        )
        trainer.remove_callback(PrinterCallback)
        with out_of_memory_named(self._torch):
            state = self._train(trainer, _last_checkpoint(scratch))
        self._ready(self._model)
        return {
            "steps": state.global_step,
            "planned_steps": state.max_steps,
            "train_rows": len(train.texts),
            "validation_rows": len(validation.texts),
            "train_loss": _mean_loss(state.log_history),
            "best": {self.options.best_metric: state.best_metric, "step": state.best_global_step} if validation.texts else None,
            "evaluations": [
                {key.removeprefix("eval_"): value for key, value in entry.items() if key in _LOGGED}
                for entry in state.log_history
                if "eval_loss" in entry
            ],
        }

    def _train(self, trainer: Any, checkpoint: Path | None) -> Any:
        """The state at the end of training; `self._model` then has the weights to keep."""
        from transformers import TrainerState

        if checkpoint is not None:
            state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            if state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]:
                # It had ended, and was killed before the model was kept; the Trainer would go on for one more epoch.
                self._load_model(checkpoint.with_name(Path(state.best_model_checkpoint or checkpoint).name))
                return state
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        return trainer.state

    def _arguments(self, scratch: Path, seed: int, evaluated: bool) -> Any:
        from transformers import TrainingArguments

        on_gpu = self._device == "cuda"
        return TrainingArguments(
            output_dir=str(scratch),
            num_train_epochs=self.options.epochs,
            learning_rate=self.options.learning_rate,
            weight_decay=self.options.weight_decay,
            warmup_steps=self.options.warmup_share,
            per_device_train_batch_size=self.options.train_batch_size,
            per_device_eval_batch_size=self.options.batch_size,
            # Rows of like length share a batch: about a third less padding, hence a third less time.
            train_sampling_strategy="group_by_length",
            eval_strategy="epoch" if evaluated else "no",
            save_strategy="epoch",
            save_total_limit=2,
            load_best_model_at_end=evaluated,
            metric_for_best_model=self.options.best_metric if evaluated else None,
            greater_is_better=self.options.best_metric not in ("loss", "mae") if evaluated else None,
            # Else an interrupted training would forget how long it has been without a better checkpoint.
            restore_callback_states_from_checkpoint=True,
            logging_steps=10,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=not on_gpu,
            bf16=on_gpu and self._dtype == "bfloat16",
            fp16=on_gpu and self._dtype == "float16",
            dataloader_pin_memory=on_gpu,
            seed=seed,
        )

    def _callbacks(self, on_progress: OnProgress, evaluated: bool) -> list[Any]:
        from transformers import EarlyStoppingCallback, TrainerCallback

        class Report(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                losses = [entry["loss"] for entry in state.log_history[-3:] if "loss" in entry]
                on_progress(state.global_step, state.max_steps, f"loss {float(losses[-1]):.2f}" if losses else "")

            def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                control.should_log = True  # so that a checkpoint holds the losses of all its steps

        return [Report(), *([EarlyStoppingCallback(self.options.patience)] if evaluated else [])]

    def _encoded(self, rows: LabelledTexts) -> list[dict[str, Any]]:
        tokens = self._tokenizer(list(rows.texts), truncation=True, max_length=self._max_length())
        keys = list(tokens.keys())
        return [{**{key: tokens[key][i] for key in keys}, "labels": label} for i, label in enumerate(rows.labels)]

    def _max_length(self) -> int:
        return min(self.options.max_length, int(self._tokenizer.model_max_length))

    def _load_tokenizer(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder)

    def save(self, folder: Path) -> None:
        self._model.float().save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
        self._ready(self._model)

    def load(self, folder: Path, labels: LabelSpace) -> None:
        self._load_tokenizer(folder)
        self._load_model(folder)
        self._ready(self._model)

    def _load_model(self, folder: Path) -> None:
        from transformers import AutoModelForSequenceClassification

        self._model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=self._torch.float32, use_safetensors=True
        )

    def _ready(self, model: Any) -> None:
        self._model = model.to(self._device, getattr(self._torch, self._dtype)).eval()

    def predict(self, texts: Sequence[str]) -> FloatArray:
        torch = self._torch
        with out_of_memory_named(torch), torch.inference_mode():
            tokens = self._tokenizer(
                list(texts), truncation=True, max_length=self._max_length(), padding=True, return_tensors="pt"
            ).to(self._device)
            logits = self._model(**tokens).logits
            return np.asarray(logits.double().softmax(-1).cpu().numpy())

    def close(self) -> None:
        self._model = None
        free(self._torch)


_LOGGED = ("epoch", "eval_loss", "eval_accuracy", "eval_macro_f1", "eval_mae")


def _last_checkpoint(scratch: Path) -> Path | None:
    """The newest checkpoint that is whole: a kill in the midst of saving leaves one without its last file."""
    for folder in sorted(scratch.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]), reverse=True):
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return folder
    return None


def _mean_loss(history: Sequence[dict[str, Any]]) -> float:
    """Mean over all steps, those before an interruption included; each entry is the mean since the one before."""
    logged = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    total = sum(loss * (step - before) for (before, _), (step, loss) in pairwise([(0, 0.0), *logged]))
    return float(total / logged[-1][0])


def _metrics(prediction: Any) -> dict[str, float]:
    """What can choose a checkpoint; logits of shape (n, k) against n label indices."""
    from sklearn.metrics import accuracy_score, f1_score

    chosen, truth = prediction.predictions.argmax(-1), prediction.label_ids
    return {
        "accuracy": float(accuracy_score(truth, chosen)),
        "macro_f1": float(f1_score(truth, chosen, average="macro", zero_division=0)),
        "mae": float(np.abs(chosen - truth).mean()),
    }
