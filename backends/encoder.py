"""Fine-tune a pre-trained encoder (BERT, DistilBERT, XLM-R ...) as a classifier with the transformers Trainer."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from backends._batches import by_length, padded
from backends._cut import tokens_left_out
from backends._encoder_models import read_model, read_tokenizer, share_coral_weights, with_lora
from backends._encoder_options import EncoderOptions
from backends._heads import Head, make_head
from backends._loading import check_vocabulary, count_parameters, read_config
from backends._torch import free, import_torch, out_of_memory_named, resolve_device, resolve_dtype
from backends._vocabulary import compact_vocabulary
from harness.core.engine import ROBERTAS, Classifier, Encoded, LabelledTexts, OnProgress, ValidationScorer
from harness.core.errors import DataError, UnknownName, UserError
from harness.core.progress_events import tell
from harness.core.types import FloatArray, LabelSpace

PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
# On a CPU so few that what the layers pass on stays in its caches.
BATCH_TOKENS = {"cpu": 1024, "cuda": 65536}

CHUNK = 2000
"""Texts that are tokenized at a time, where progress is shown: more than the runner ever asks for at once."""

Session = Callable[[dict[str, Any]], Any]
"""A model in another runtime: `input_ids`, `attention_mask` (and `token_type_ids`) to logits, shape (n, outputs)."""


class Encoder(Classifier):
    """Sequence classification head on `model`, trained end to end or through low-rank adapters."""

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
        predict, train = self.options.predict, self.options.train
        self._dtype = "float32" if predict.runtime != "torch" else resolve_dtype(self._torch, self._device, predict.dtype)
        self._precision: str = train.precision
        if train.precision == "auto":
            self._precision = PRECISIONS[resolve_dtype(self._torch, self._device, "auto")]
        self._refuse_what_the_device_lacks()
        self._head: Head | None = None
        self._tokenizer: Any = None
        self._model: Any = None  # predicts, in `dtype`
        self._trained: Any = None  # in fp32, until it is saved
        self._session: Session | None = None
        self._positions: int | None = None
        self._parameters: int | None = None

    def _refuse_what_the_device_lacks(self) -> None:
        if self._precision == "fp16" and self._device == "cpu":
            raise UserError("Training in fp16 needs a GPU.", "Use fp32 on a CPU (bf16 works, and is slow).")
        if self.options.predict.attention == "flash_attention_2":
            if self._device == "cpu":
                raise UserError("flash_attention_2 needs a GPU.", "Use attention auto, sdpa or eager on a CPU.")
            if self._dtype == "float32" or self._precision == "fp32":
                raise UserError(
                    "flash_attention_2 computes in half precision only.",
                    "Use bf16 or fp16 for `train.precision` and `predict`.",
                )

    def facts(self) -> dict[str, Any]:
        return {"device": self._device, "dtype": self._dtype, "precision": self._precision}

    def batch_size(self) -> int:
        return self.options.predict.batch_size

    def batch_tokens(self) -> int:
        on_cpu = self.options.predict.runtime == "onnx-int8"  # wherever the model was trained
        return self.options.predict.batch_tokens or BATCH_TOKENS["cpu" if on_cpu else self._device]

    def threshold(self) -> float | None:
        return self.options.threshold

    @classmethod
    def with_min_steps(cls, options: BaseModel, rows: int, steps: int) -> dict[str, Any]:
        assert isinstance(options, EncoderOptions)
        train = options.train
        epochs = math.ceil(steps / math.ceil(rows / (train.batch_size * train.accumulation)))
        return {"train.epochs": epochs} if epochs > train.epochs else {}

    def fit(
        self,
        train: LabelledTexts,
        validation: LabelledTexts,
        labels: LabelSpace,
        scorer: ValidationScorer,
        seed: int,
        scratch: Path,
        on_progress: OnProgress,
    ) -> dict[str, Any]:
        """Where torch.distributed is up, each of its processes takes part, and ends with the same model."""
        from transformers import set_seed

        from backends._trainer import EncoderTrainer, arguments

        processes = self._torch.distributed.get_world_size() if self._torch.distributed.is_initialized() else 1
        if len(train.texts) < processes:
            raise DataError(f"{len(train.texts)} training rows for {processes} process(es).", "Take more rows.")
        options = self.options.train
        self._head = make_head(self.options, labels, train.labels)
        chosen_by = self._chosen_by(validation, scorer)
        self._tokenizer = read_tokenizer(self._source)
        set_seed(seed)  # before the new head is drawn
        loaded = read_model(self._source, self._head.outputs, self.options.predict.attention)
        model = loaded.model
        check_vocabulary(self._tokenizer, model, self._source)
        if options.gradient_checkpointing and not model.supports_gradient_checkpointing:
            raise UserError(f"{type(model).__name__} can't do gradient checkpointing.", "Leave it out.")
        if options.lora is not None:
            model = with_lora(model, options.lora, loaded.new)
        if self._head.kind == "coral":
            share_coral_weights(model)
        trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        train_rows, validation_rows = self._fields(train.texts), self._fields(validation.texts)
        vocabulary = None
        if options.lora is None:
            ids = (row["input_ids"] for row in [*train_rows, *validation_rows])
            vocabulary = compact_vocabulary(model, self._tokenizer, ids)
        if vocabulary is not None:
            for row in [*train_rows, *validation_rows]:
                row["input_ids"] = vocabulary.compact(row["input_ids"])
        checked = self._validation(validation, validation_rows, scorer, chosen_by)
        args = arguments(options, scratch, seed, self._device, self._precision, checked)
        trainer = EncoderTrainer(
            model, self._tokenizer, self._head, _rows(train_rows, train), checked, options, args, on_progress
        )
        set_seed(seed + args.process_index)  # each process its own dropout masks
        with out_of_memory_named(self._torch):
            state = trainer.run()
        if vocabulary is not None:
            vocabulary.restore()
        self._keep(model if options.lora is None else model.merge_and_unload())
        return {
            **_course(state, checked and chosen_by),
            "train_rows": len(train.texts),
            "validation_rows": len(validation.texts),
            "trainable_parameters": trainable,
            "compacted_vocabulary": vocabulary and [len(vocabulary.kept), len(vocabulary.table)],
        }

    def _chosen_by(self, validation: LabelledTexts, scorer: ValidationScorer) -> str:
        """Raises `UserError` for a metric that the validation rows do not have."""
        asked = self.options.train.best_metric or scorer.main
        if validation.texts and asked not in (scorer.main, "loss"):
            assert self._head is not None
            evenly = np.full(self._head.classes, 0.5 if self._head.kind == "multilabel" else 1 / self._head.classes)
            known = scorer.metrics(np.tile(evenly, (len(validation.texts), 1)))
            if asked not in known:
                raise UnknownName("metric of this task", asked, [*known, "loss"])
        return asked

    def _validation(
        self, rows: LabelledTexts, encoded: list[dict[str, list[int]]], scorer: ValidationScorer, chosen_by: str
    ) -> Any:
        from backends._trainer import Validation

        if not encoded:
            return None
        batches = by_length(encoded, self.batch_size(), self.batch_tokens())
        lower = chosen_by == "loss" or chosen_by in scorer.lower_is_better
        return Validation(_rows(encoded, rows), batches, scorer.look, chosen_by, lower)

    def _fields(self, texts: Sequence[str]) -> list[dict[str, list[int]]]:
        if not texts:
            return []
        rows: list[dict[str, list[int]]] = []
        if len(texts) > CHUNK:
            tell("tokenize", 0, len(texts))
        for start in range(0, len(texts), CHUNK):
            part = list(texts[start : start + CHUNK])
            tokens = self._tokenizer(part, truncation=True, max_length=self._max_length(), return_attention_mask=False)
            rows += [{name: tokens[name][index] for name in tokens} for index in range(len(part))]
            if len(texts) > CHUNK:
                tell("tokenize", len(rows), len(texts))
        return rows

    def _max_length(self) -> int:
        """Not every tokenizer knows how many positions its model has."""
        if self._positions is None:
            config = read_config(self._source)
            most = getattr(config, "max_position_embeddings", None) or -1
            most = most if most > 0 else self.options.max_length  # XLNet has no limit, and says -1
            # The positions of RoBERTa and its kin begin after that of the padding.
            offset = config.pad_token_id + 1 if config.model_type in ROBERTAS else 0
            self._positions = min(self.options.max_length, int(self._tokenizer.model_max_length), most - offset)
        return self._positions

    def save(self, folder: Path) -> None:
        """After `fit` or `load`, in fp32 if it is after `fit`."""
        model = self._model if self._trained is None else self._trained
        model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
        self._trained = None

    def load(self, folder: Path, labels: LabelSpace) -> None:
        self._head = make_head(self.options, labels, None)
        self._tokenizer = read_tokenizer(folder)
        loaded = read_model(folder, None, self.options.predict.attention)
        check_vocabulary(self._tokenizer, loaded.model, folder)
        self._parameters = loaded.parameters
        self._model = loaded.model.to(self._device, getattr(self._torch, self._dtype)).eval()

    def _keep(self, model: Any) -> None:
        """What predicts is what `load` would make of the saved model; what is saved has lost nothing to its dtype."""
        model.zero_grad()
        for name in ("forward", "_original_forward"):  # accelerate's autocast, which a loaded model would not have
            model.__dict__.pop(name, None)
        self._parameters = count_parameters(model)
        self._model = model.eval()
        if self._dtype != "float32":
            self._trained = copy.deepcopy(model).cpu()
            self._model = self._model.to(getattr(self._torch, self._dtype))
        self._model.to(self._device)

    def optimize(self, folder: Path, validation: LabelledTexts, scorer: ValidationScorer) -> dict[str, Any] | None:
        predict = self.options.predict
        if predict.runtime == "torch":
            return None
        from backends import _onnx

        int8 = predict.runtime == "onnx-int8"
        if int8 and not validation.texts:
            raise UserError("onnx-int8 is accepted by its validation rows, and this task has none.", "Use runtime onnx.")
        rows = self.encode(validation.texts)

        def accuracy(session: Session) -> float:
            value = scorer.metrics(self._probabilities(rows, session))[scorer.main]
            return -value if scorer.main in scorer.lower_is_better else value

        self._session, record = _onnx.prepare(
            self._model.cpu(), folder, int8=int8, accuracy=accuracy, max_drop=predict.max_drop, device=self._device
        )
        self._model = None
        return dict(record)

    def _probabilities(self, rows: Sequence[Encoded], session: Session) -> FloatArray:
        assert self._head is not None
        logits = np.empty((len(rows), self._head.outputs))
        for batch in by_length([row.content for row in rows], self.batch_size(), self.batch_tokens()):
            logits[batch] = session(padded([rows[index].content for index in batch], self._tokenizer))
        return self._head.probabilities(logits)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        rows = self._fields(texts)
        cut = tokens_left_out(self._tokenizer, texts, rows, self._max_length())
        return [Encoded(len(row["input_ids"]), row, lost) for row, lost in zip(rows, cut, strict=True)]

    def predict(self, texts: Sequence[Encoded]) -> FloatArray:
        assert self._head is not None
        batch = padded([text.content for text in texts], self._tokenizer)
        with out_of_memory_named(self._torch):
            return self._head.probabilities((self._session or self._logits)(batch))

    def parameters(self) -> int | None:
        return self._parameters

    def _logits(self, batch: dict[str, Any]) -> Any:
        torch = self._torch
        with torch.inference_mode():
            inputs = {name: torch.from_numpy(values).to(self._device) for name, values in batch.items()}
            return self._model(**inputs).logits.double().cpu().numpy()

    def close(self) -> None:
        self._model = self._trained = self._session = None
        free(self._torch)


def _rows(encoded: list[dict[str, list[int]]], rows: LabelledTexts) -> Any:
    from backends._trainer import Rows

    return Rows(encoded, rows.labels)


def _course(state: Any, chosen_by: str | None) -> dict[str, Any]:
    from backends._trainer import evaluations, mean_loss

    return {
        "steps": state.global_step,
        "planned_steps": state.max_steps,
        "train_loss": mean_loss(state.log_history),
        "best": {chosen_by: state.best_metric, "step": state.best_global_step} if chosen_by else None,
        "evaluations": evaluations(state.log_history),
    }
