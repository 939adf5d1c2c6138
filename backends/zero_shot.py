"""Classify by the names or descriptions of the labels, without training and without a prompt: models of natural language
inference (Yin et al. 2019, arXiv:1909.00161), and GLiClass (Stepanov et al. 2025, arXiv:2508.07662)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator

from backends._batches import AHEAD, Batch, Row, outputs_of
from backends._control_tokens import any_of, broken, control_tokens, read_as_text
from backends._encoder_options import PredictOptions, Strict
from backends._loading import check_vocabulary, first_line, load_model, positions, read_config, read_tokenizer
from backends._torch import Device, free, lazy_torch, out_of_memory_named, read_later, resolve_device, resolve_dtype, sent
from harness.core.arrays import FloatArray, finite_log
from harness.core.engine import Encoded, Pending, Scores, ZeroShot
from harness.core.errors import MissingExtra, UserError
from harness.core.json_files import read_json
from harness.core.types import LabelKind, LabelSpace

GLICLASS = "GLiClass"
"""The model_type of its checkpoints."""
LEAST_ROOM = 8
"""Tokens of a text that must fit beside the labels."""


class ZeroShotOptions(Strict):
    hypothesis: str = Field(
        "This example is {}.",
        description="models of natural language inference: the sentence that a text entails or not; {} is the label",
    )
    label_text: Literal["description", "name"] = Field(
        "description", description="what stands for a label: its description, where the task has one, or its name"
    )
    max_length: int = Field(512, ge=16, description="tokens of a text and its labels; longer texts are cut at the end")
    threshold: float = Field(
        0.5, gt=0, lt=1, description="multilabel tasks: the probability from which a label is given; it is never tuned"
    )
    device: Device = Field("auto", description="`auto`: a GPU where there is one")
    predict: PredictOptions = Field(PredictOptions.model_validate({}), description="how the model predicts")

    @field_validator("hypothesis")
    @classmethod
    def _one_place(cls, value: str) -> str:
        if value.count("{}") != 1 or re.search(r"[{}]", value.replace("{}", "")):
            raise ValueError("it needs one {} where the label is to stand, and no other braces")
        return value


class ZeroShotClassifier(ZeroShot):
    """Reads what kind of model a checkpoint is from its config.json."""

    Options = ZeroShotOptions
    libraries = ("torch", "transformers", "safetensors")
    extra = "train"
    options: ZeroShotOptions

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        assert isinstance(model, Path)
        super().__init__(options, model)
        self._source = model
        self._torch = lazy_torch(self.extra, "The engine zero_shot")
        self._device = resolve_device(self.options.device)
        self._dtype = resolve_dtype(self._device, self.options.predict.dtype)
        self._reader: Reader | None = None

    def facts(self) -> dict[str, str]:
        return {"device": self._device, "dtype": self._dtype}

    def threshold(self) -> float:
        return self.options.threshold

    def batch_size(self) -> int:
        return self.options.predict.rows_on(self._device)

    def batch_tokens(self) -> int:
        return self.options.predict.tokens_on(self._device)

    def load(self, labels: LabelSpace) -> None:
        kind = read_kind(self._source)
        reader = GLiClassReader if kind == GLICLASS else InferenceReader
        with out_of_memory_named(self._torch):
            self._reader = reader(self._source, labels, self.options, self._torch, self._device, self._dtype)
        self.parameters = self._reader.parameters

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        assert self._reader is not None, "load() comes first"
        return self._reader.encode(texts)

    def score(self, texts: Sequence[Encoded]) -> list[Scores]:
        assert self._reader is not None, "load() comes first"
        with out_of_memory_named(self._torch), self._torch.inference_mode():
            probabilities = self._reader.probabilities(texts)
        return [
            Scores(finite_log(row) if np.isfinite(row).all() else None, text.tokens, error=_error(row))
            for text, row in zip(texts, probabilities, strict=True)
        ]

    def close(self) -> None:
        self._reader = None
        free(self._torch)


def _error(row: FloatArray) -> str | None:
    return None if np.isfinite(row).all() else "not_a_number"


def read_kind(folder: Path) -> str | None:
    try:
        kind = read_json(folder / "config.json").get("model_type")
    except (OSError, ValueError):
        return None  # `read_config` says what is wrong
    return kind if isinstance(kind, str) else None


class Reader(ABC):
    """A loaded model, for one set of labels."""

    parameters: int | None = None

    def __init__(self, labels: LabelSpace, options: ZeroShotOptions) -> None:
        self.several = labels.kind is LabelKind.MULTILABEL
        self.shown = [
            described if described and options.label_text == "description" else name for name, described in labels.described()
        ]
        if len(set(self.shown)) < len(self.shown):
            twice = next(text for text in self.shown if self.shown.count(text) > 1)
            raise UserError(
                f"Two labels have the same text: {twice!r}.", "Change `descriptions`, or use --set label_text=name."
            )

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[Encoded]: ...

    @abstractmethod
    def probabilities(self, texts: Sequence[Encoded]) -> FloatArray:
        """Shape (len(texts), len(labels))."""


class InferenceReader(Reader):
    """Asks for each label whether the text entails a sentence with it.

    One label a text: a softmax over the labels' logits of entailment. Several: for each label a softmax over its logits of
    entailment and of contradiction (of the rest, for a model with two classes). So does the pipeline of transformers.
    """

    def __init__(self, folder: Path, labels: LabelSpace, options: ZeroShotOptions, torch: Any, device: str, dtype: str) -> None:
        from transformers import AutoModelForSequenceClassification

        super().__init__(labels, options)
        self._torch, self._device, self._options = torch, device, options
        config = read_config(folder)
        self._entailed, self._opposite = inference_classes(config, folder)
        self._tokenizer = read_tokenizer(folder, "pad_token")
        read_as_text(self._tokenizer)
        loaded = load_model(AutoModelForSequenceClassification, folder, dtype=getattr(torch, dtype))
        check_vocabulary(self._tokenizer, loaded.model, folder)
        self.parameters, self._model = loaded.parameters, loaded.model.eval().to(device)
        most = min(options.max_length, int(self._tokenizer.model_max_length), positions(config) or options.max_length)
        self._max_length = most
        self._hypotheses = [options.hypothesis.replace("{}", text) for text in self.shown]
        pairs = self._tokenizer([""] * len(self.shown), self._hypotheses, verbose=False)["input_ids"]
        self._taken = list(map(len, pairs))
        _check_room(max(self._taken), most)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """`content`: one row for each label. `tokens`: as if all rows were as long as the longest, as in a padded batch."""
        alone = self._tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        return [self._encoded(text, len(ids)) for text, ids in zip(texts, alone, strict=True)]

    def _encoded(self, text: str, length: int) -> Encoded:
        pairs = self._tokenizer(
            [text] * len(self._hypotheses),
            self._hypotheses,
            truncation="only_first",
            max_length=self._max_length,
            return_attention_mask=False,
        )
        rows = [{name: pairs[name][index] for name in pairs} for index in range(len(self._hypotheses))]
        cut = max(0, length - (self._max_length - max(self._taken)))
        return Encoded(len(rows) * max(len(row["input_ids"]) for row in rows), rows, cut)

    def probabilities(self, texts: Sequence[Encoded]) -> FloatArray:
        rows = [row for text in texts for row in text.content]
        logits = self._logits(rows).reshape(len(texts), len(self.shown), -1)
        entailed = logits[:, :, self._entailed]
        if self.several:
            return np.asarray(1 / (1 + np.exp(logits[:, :, self._opposite] - entailed)), dtype=np.float64)
        odds = np.exp(entailed - entailed.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True), dtype=np.float64)

    def _logits(self, rows: Sequence[Row]) -> FloatArray:
        """In the order of `rows`, shape (len(rows), classes)."""
        predict = self._options.predict
        size, tokens = predict.rows_on(self._device), predict.tokens_on(self._device)
        return outputs_of(rows, size, tokens, self._tokenizer, self._launch, AHEAD[self._device])

    def _launch(self, batch: Batch) -> Pending[NDArray[Any]]:
        return read_later(self._torch, self._model(**sent(self._torch, batch, self._device)).logits.double())


def inference_classes(config: Any, folder: Path) -> tuple[int, int]:
    """The classes of entailment, and of its opposite. Raises `UserError` where the checkpoint names no such classes."""
    names: Mapping[int, str] = {int(index): str(name).lower() for index, name in (config.id2label or {}).items()}
    entailed = [index for index, name in names.items() if name.startswith("entail")]
    opposite = [index for index, name in names.items() if name.startswith(("contra", "not_entail", "not entail", "non-entail"))]
    if len(entailed) != 1 or len(opposite) != 1:
        raise UserError(
            f"{folder} is no model of natural language inference: its classes are {', '.join(names.values()) or 'not named'}.",
            "Choose one with the classes entailment and contradiction (or not_entailment), or a GLiClass model.",
        )
    return entailed[0], opposite[0]


def _check_room(taken: int, most: int) -> None:
    if most - taken < LEAST_ROOM:
        raise UserError(
            f"The labels take {taken} of the {most} tokens that the model reads, so that no text fits beside them.",
            "Shorten `descriptions`, use --set label_text=name, raise `max_length`, or choose another model.",
        )


class GLiClassReader(Reader):
    """Reads all labels and the text together in one pass."""

    def __init__(self, folder: Path, labels: LabelSpace, options: ZeroShotOptions, torch: Any, device: str, dtype: str) -> None:
        super().__init__(labels, options)
        if find_spec("gliclass") is None:
            raise MissingExtra("gliclass", "gliclass", "A GLiClass model")
        from gliclass import GLiClassModel, GLiClassModelConfig, ZeroShotClassificationPipeline
        from transformers import AutoConfig

        AutoConfig.register(GLICLASS, GLiClassModelConfig, exist_ok=True)

        _check_parts(folder)
        self._tokenizer = read_tokenizer(folder, "pad_token")
        self._control = any_of(control_tokens(self._tokenizer))
        self.shown = [self._control.sub(broken, text) for text in self.shown]
        loaded = load_model(GLiClassModel, folder, dtype=getattr(torch, dtype))
        self.parameters = loaded.parameters
        try:
            self._pipeline = ZeroShotClassificationPipeline(
                loaded.model,
                self._tokenizer,
                max_classes=len(labels),
                max_length=options.max_length,
                classification_type="multi-label" if self.several else "single-label",
                device=torch.device(device),
                progress_bar=False,
            )
        except NotImplementedError as error:
            raise UserError(f"{folder}: this kind of GLiClass model is not supported: {first_line(error)}") from error
        listed = "".join(f"<<LABEL>>{text}" for text in self.shown) + "<<SEP>>"
        self._taken = len(self._tokenizer(listed)["input_ids"])
        self._most = options.max_length
        _check_room(self._taken, self._most)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """`content`: the text, cut so that the labels, which may stand behind it, are not."""
        plain = [self._control.sub(broken, text) for text in texts]
        tokens = self._tokenizer(plain, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [self._cut(text, offsets) for text, offsets in zip(plain, tokens["offset_mapping"], strict=True)]

    def _cut(self, text: str, offsets: Sequence[tuple[int, int]]) -> Encoded:
        room = self._most - self._taken
        if len(offsets) <= room:
            return Encoded(len(offsets) + self._taken, text)
        return Encoded(self._most, text[: offsets[room - 1][1]], len(offsets) - room)

    def probabilities(self, texts: Sequence[Encoded]) -> FloatArray:
        found = self._pipeline([text.content for text in texts], self.shown, batch_size=len(texts), return_hierarchical=True)
        return np.array([[row[label] for label in self.shown] for row in found], dtype=np.float64)


def _check_parts(folder: Path) -> None:
    """GLiClass would fetch the config of an encoder that transformers does not know, and run its code."""
    from transformers import CONFIG_MAPPING

    config = read_json(folder / "config.json")
    for part in ("encoder_config", "label_model_config"):
        kind = (config.get(part) or {}).get("model_type", "deberta-v2")
        if kind not in CONFIG_MAPPING:
            raise UserError(
                f"{folder}: its {part} names the model_type {kind!r}, which transformers does not know.",
                "Choose another checkpoint, or install a newer version of transformers.",
            )
