"""Fine-tune a pre-trained encoder (BERT, DistilBERT, XLM-R ...) as a classifier with the transformers Trainer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from backends._batches import Row, by_length, padded
from backends._control_tokens import read_as_text
from backends._encoder_options import Attention, EncoderOptions, LoraOptions
from backends._heads import Head, make_head, tie_coral
from backends._loading import Loaded, check_vocabulary, count_parameters, load_model, positions, read_config, read_tokenizer
from backends._long_texts import Pieces, mean_by_text, pieces_of
from backends._text_encoder import BATCH_TOKENS, Batch, Compute, TextEncoder
from backends._torch import out_of_memory_named, resolve_dtype
from harness.core.arrays import FloatArray
from harness.core.engine import Encoded, LabelledTexts, TrainingJob, ValidationScorer
from harness.core.errors import DataError, MissingExtra, UnknownName, UserError
from harness.core.types import LabelSpace

if TYPE_CHECKING:
    from backends._trainer import Validation

PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


class Encoder(TextEncoder):
    """Sequence classification head on `model`, trained end to end or through low-rank adapters."""

    Options = EncoderOptions
    libraries = ("torch", "transformers", "accelerate", "safetensors")
    extra = "train"
    options: EncoderOptions
    _head: Head | None = None

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        super().__init__(options, model)
        self._precision: str = self.options.train.precision
        if self._precision == "auto":
            self._precision = PRECISIONS[resolve_dtype(self._torch, self._device, "auto")]
        if self.options.predict.runtime != "torch":
            self._dtype = "float32"
        self._check_device()
        self._session: Compute | None = None
        self._positions: int | None = None

    def _check_device(self) -> None:
        if self._precision == "fp16" and self._device == "cpu":
            raise UserError("Training in fp16 needs a GPU.", "Use fp32 on a CPU (bf16 works, and is slow).")
        if self.options.predict.attention == "flash_attention_2":
            if self._device == "cpu":
                raise UserError("flash_attention_2 needs a GPU.", "Use attention auto, sdpa or eager on a CPU.")
            if find_spec("flash_attn") is None:  # transformers would run code of a hub repository in its place
                raise UserError("flash_attention_2 needs the package flash-attn.", "Install it, or use attention auto.")
            if self._dtype == "float32" or self._precision == "fp32":
                raise UserError(
                    "flash_attention_2 computes only in half precision.",
                    "Use bf16 or fp16 for `train.precision` and `predict`.",
                )

    def facts(self) -> dict[str, str]:
        return {**super().facts(), "precision": self._precision}

    def batch_tokens(self) -> int:
        if self.options.predict.runtime == "onnx-int8":  # on the CPU, wherever the model was trained
            return self.options.predict.batch_tokens or BATCH_TOKENS["cpu"]
        return super().batch_tokens()

    @classmethod
    def with_min_steps(cls, options: BaseModel, rows: int, steps: int) -> dict[str, Any]:
        assert isinstance(options, EncoderOptions)
        train = options.train
        epochs = math.ceil(steps / math.ceil(rows / (train.batch_size * train.accumulation)))
        return {"train.epochs": epochs} if epochs > train.epochs else {}

    @classmethod
    def soft_labels_problem(cls, options: BaseModel) -> str:
        assert isinstance(options, EncoderOptions)
        if options.head not in ("softmax", "one_hot"):
            return f"has the head {options.head}, which is trained on labels only (softmax and one_hot can)"
        return "" if options.train.class_weights == "none" else "has class_weights, which need labels"

    def fit(self, job: TrainingJob) -> dict[str, Any]:
        """Where torch.distributed is up, each of its processes takes part, and ends with the same model."""
        from transformers import set_seed

        from backends._trainer import EncoderTrainer, compact_vocabulary, encoder_arguments, training_log

        processes = self._torch.distributed.get_world_size() if self._torch.distributed.is_initialized() else 1
        if len(job.train.texts) < processes:
            raise DataError(f"{len(job.train.texts)} training rows for {processes} process(es).", "Take more rows.")
        options = self.options.train
        self._head = make_head(self.options, job.labels, job.train.labels)
        chosen_by = self._chosen_by(job)
        set_seed(job.seed)  # before the new head is initialized
        model = self._model_to_train()
        trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        train, validation = self._pieces(job.train.texts), self._pieces(job.validation.texts)
        rows = [dict(row) for pieces in (*train, *validation) for row in pieces.rows]
        ids = (row["input_ids"] for row in rows)
        vocabulary = compact_vocabulary(model, self._tokenizer, ids) if options.lora is None else None
        if vocabulary is not None:
            for row in rows:
                row["input_ids"] = vocabulary.compact(row["input_ids"])
        # Each window of a text is a row of the training, with the label of the text.
        targets = [target for target, pieces in zip(self._targets(job), train, strict=True) for _ in pieces.rows]
        checked = self._validation(job, rows[len(targets) :], [len(pieces.rows) for pieces in validation], chosen_by)
        args = encoder_arguments(options, job.scratch, job.seed, self._device, self._precision, checked)
        read = list(zip(rows[: len(targets)], targets, strict=True))
        trainer = EncoderTrainer(model, self._tokenizer, self._head, read, checked, options, args, job.on_progress)
        set_seed(job.seed + args.process_index)  # each process its own dropout masks
        with out_of_memory_named(self._torch):
            state = trainer.run()
        if vocabulary is not None:
            vocabulary.restore()
        self._keep(model if options.lora is None else model.merge_and_unload())
        return {
            **training_log(state, chosen_by if checked else None),
            "train_rows": len(job.train.texts),
            "validation_rows": len(job.validation.texts),
            **({"train_windows": len(targets)} if self.options.long_texts == "windows" else {}),
            "trainable_parameters": trainable,
            "compacted_vocabulary": vocabulary and [len(vocabulary.kept), len(vocabulary.table)],
        }

    def _targets(self, job: TrainingJob) -> list[int | list[float]]:
        """What the loss compares the outputs of each training text with."""
        assert self._head is not None
        if job.train.probabilities is None:
            return [self._head.target(label) for label in job.train.labels]
        found: list[int | list[float]] = job.train.probabilities.tolist()
        return found

    def _model_to_train(self) -> Any:
        assert self._head is not None
        options = self.options.train
        self._tokenizer = _read_tokenizer(self._source)
        loaded = _read_model(self._source, self._head.outputs, self.options.predict.attention)
        model = loaded.model
        check_vocabulary(self._tokenizer, model, self._source)
        if options.gradient_checkpointing and not model.supports_gradient_checkpointing:
            raise UserError(f"{type(model).__name__} does not support gradient checkpointing.", "Leave it out.")
        if options.lora is not None:
            model = with_lora(model, options.lora, loaded.new)
        if self._head.kind == "coral":
            share_coral_weights(model)
        return model

    def _chosen_by(self, job: TrainingJob) -> str:
        """Raises `UserError` for a metric that the validation rows do not have."""
        asked = self.options.train.best_metric or job.scorer.main
        if job.validation.texts and asked not in (job.scorer.main, "loss"):
            assert self._head is not None
            uniform = np.full(self._head.classes, 0.5 if self._head.kind == "multilabel" else 1 / self._head.classes)
            known = job.scorer.metrics(np.tile(uniform, (len(job.validation.texts), 1)))
            if asked not in known:
                raise UnknownName("metric of this task", asked, [*known, "loss"])
        return asked

    def _validation(
        self, job: TrainingJob, encoded: Sequence[Row], windows: Sequence[int], chosen_by: str
    ) -> Validation | None:
        """`encoded`: the rows of all texts; `windows`: how many each text has."""
        from backends._trainer import Validation

        if not encoded:
            return None
        batches = by_length(encoded, self.batch_size(), self.batch_tokens())
        lower = chosen_by == "loss" or chosen_by in job.scorer.lower_is_better
        return Validation(encoded, windows, job.validation.labels, batches, job.scorer.evaluate, chosen_by, lower)

    def _pieces(self, texts: Sequence[str]) -> list[Pieces]:
        return pieces_of(self._tokenizer, texts, self._fields(texts), self._max_length(), self.options)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """`content`: the rows of a text. `tokens`: as if each had as many as the longest, so that the rows of several texts,
        padded, are no more than the sum."""
        return [
            Encoded(len(pieces.rows) * max(len(row["input_ids"]) for row in pieces.rows), pieces.rows, pieces.left_out)
            for pieces in self._pieces(texts)
        ]

    def predict(self, texts: Sequence[Encoded]) -> FloatArray:
        rows = [row for text in texts for row in text.content]
        with out_of_memory_named(self._torch):
            if len(rows) == len(texts):  # the batch that the runner made
                return self._probabilities(self._outputs(padded(rows, self._tokenizer)))
            return self._mean_probabilities(texts, self._outputs)

    def _mean_probabilities(self, texts: Sequence[Encoded], compute: Compute) -> FloatArray:
        """Of any number of texts, in their order, shape (len(texts), labels): the mean over the rows of each."""
        outputs = self._outputs_of_rows([row for text in texts for row in text.content], compute)
        return mean_by_text(self._probabilities(outputs), [len(text.content) for text in texts])

    def _max_length(self) -> int:
        """Not every tokenizer knows how many positions its model has."""
        if self._positions is None:
            asked = self.options.max_length
            most = positions(read_config(self._source)) or asked
            self._positions = min(asked, int(self._tokenizer.model_max_length), most)
        return self._positions

    def _keep(self, model: Any) -> None:
        for name in ("forward", "_original_forward"):  # accelerate's autocast, which a loaded model does not have
            model.__dict__.pop(name, None)
        self.parameters = count_parameters(model)
        super()._keep(model)

    def save(self, folder: Path) -> None:
        """After `fit` or `load`, in fp32 if it is after `fit`."""
        model = self._model if self._trained is None else self._trained
        model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
        self._trained = None

    def load(self, folder: Path, labels: LabelSpace) -> None:
        self._head = make_head(self.options, labels, None)
        self._tokenizer = _read_tokenizer(folder)
        loaded = _read_model(folder, None, self.options.predict.attention)
        check_vocabulary(self._tokenizer, loaded.model, folder)
        self.parameters = loaded.parameters
        self._use(loaded.model)

    def optimize(self, folder: Path, validation: LabelledTexts, scorer: ValidationScorer) -> Mapping[str, object] | None:
        predict = self.options.predict
        if predict.runtime == "torch":
            return None
        from backends import _onnx

        int8 = predict.runtime == "onnx-int8"
        if int8 and not validation.texts:
            raise UserError("onnx-int8 is tested on validation rows, and this task has none.", "Use runtime onnx.")
        rows = self.encode(validation.texts)

        def accuracy(session: Compute) -> float:
            value = scorer.metrics(self._mean_probabilities(rows, session))[scorer.main]
            return -value if scorer.main in scorer.lower_is_better else value

        self._session, record = _onnx.prepare(
            self._model.cpu(), folder, int8=int8, accuracy=accuracy, max_drop=predict.max_drop, device=self._device
        )
        self._model = None
        return record

    def _outputs(self, batch: Batch) -> NDArray[Any]:
        if self._session is not None:
            return self._session(batch)
        with self._torch.inference_mode():
            return np.asarray(self._model(**self._on_device(batch)).logits.double().cpu().numpy())

    def close(self) -> None:
        self._session = None
        super().close()


def _read_tokenizer(folder: Path) -> Any:
    """A tokenizer that can pad, and reads a control token in a text as characters."""
    tokenizer = read_tokenizer(folder, "pad_token")
    read_as_text(tokenizer)
    return tokenizer


def _read_model(folder: Path, outputs: int | None, attention: Attention) -> Loaded:
    """The model in fp32. With `outputs` its head may be new, and is if its size differs; without, no weight may be new."""
    import torch
    from transformers import AutoModelForSequenceClassification

    kwargs: dict[str, Any] = {} if outputs is None else {"num_labels": outputs}
    if attention != "auto":
        kwargs["attn_implementation"] = attention
    return load_model(AutoModelForSequenceClassification, folder, new_head=outputs is not None, dtype=torch.float32, **kwargs)


def share_coral_weights(model: Any) -> None:
    """See `tie_coral`. The head is the last trained linear layer outside the base model."""
    import torch

    inner = set(model.base_model.modules()) if not hasattr(model, "peft_config") else set()
    heads = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear)
        and module not in inner
        and module.weight.requires_grad
        and module.out_features == model.config.num_labels
    ]
    if not heads or heads[-1].bias is None:
        raise UserError(f"{type(model).__name__}: CORAL needs a head with biases.", "Use corn or softmax.")
    tie_coral(heads[-1])


def with_lora(model: Any, options: LoraOptions, new: set[str]) -> Any:
    """A PEFT model around `model`: adapters on its linear layers; its head and the modules in `new` are trained as a whole."""
    import torch
    from transformers.pytorch_utils import Conv1D

    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError as error:
        raise MissingExtra("peft", "train", "LoRA") from error
    base = model.base_model
    whole = {name for name, module in model.named_children() if module is not base and any(True for _ in module.parameters())}
    whole |= {name for name in new if not any(name == top or name.startswith(f"{top}.") for top in whole)}
    adapted = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and not any(name == top or name.startswith(f"{top}.") for top in whole)
    ]
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=adapted,
        modules_to_save=sorted(whole),
    )
    return get_peft_model(model, config)
