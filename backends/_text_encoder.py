"""What the engines share that train an encoder with torch: tokenization, batches, and the copy of the model that predicts."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import BaseModel

from backends._batches import AHEAD, Batch, Launch, Row, outputs_of, padded, tokens_left_out
from backends._encoder_options import TextEncoderOptions
from backends._heads import Head
from backends._linear_head import LinearHead
from backends._neighbours import Neighbours
from backends._packed_weights import pack
from backends._torch import free, lazy_torch, out_of_memory_named, read_later, resolve_device, resolve_dtype, sent
from harness.core.arrays import FloatArray
from harness.core.engine import Classifier, Encoded, Pending
from harness.core.progress_events import tell

CHUNK = 2000
"""Texts that are tokenized between two progress events: more than the runner ever asks for at once."""


class TextEncoder(Classifier):
    options: TextEncoderOptions
    _head: Head | LinearHead | Neighbours | None = None

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        assert isinstance(model, Path)
        super().__init__(options, model)
        self._source = model
        self._torch = lazy_torch(self.extra, f"The engine {type(self).__module__.rpartition('.')[2]}")
        self._device = resolve_device(self.options.device)
        self._dtype: str = resolve_dtype(self._device, self.options.predict.dtype)
        self._tokenizer: Any = None
        self._model: Any = None  # predicts, in `dtype`
        self._trained: Any = None  # in fp32, until it is saved; None where `_model` is in fp32

    def facts(self) -> dict[str, str]:
        return {"device": self._device, "dtype": self._dtype}

    def batch_size(self) -> int:
        return self.options.predict.rows_on(self._device)

    def batch_tokens(self) -> int:
        return self.options.predict.tokens_on(self._device)

    def ahead(self) -> int:
        return AHEAD[self._device]

    def threshold(self) -> float | None:
        return self.options.threshold

    @abstractmethod
    def _max_length(self) -> int:
        """Tokens of a text that the model reads."""

    @abstractmethod
    def _forward(self, inputs: dict[str, Any]) -> Any:
        """What the head reads, as a tensor of shape (n, outputs). `inputs`: tensors on the device."""

    def _launch(self, batch: Batch) -> Pending[NDArray[Any]]:
        """Of a device that computes by itself, begun and not waited for."""
        with self._torch.inference_mode():
            return read_later(self._torch, self._forward(sent(self._torch, batch, self._device)).double())

    def _fields(self, texts: Sequence[str]) -> list[dict[str, list[int]]]:
        """The tokenizer's fields of each text, cut to the maximum length."""
        rows: list[dict[str, list[int]]] = []
        for start in range(0, len(texts), CHUNK):
            if len(texts) > CHUNK:
                tell("tokenize", start, len(texts))
            part = list(texts[start : start + CHUNK])
            tokens = self._tokenizer(part, truncation=True, max_length=self._max_length(), return_attention_mask=False)
            rows += [{name: tokens[name][index] for name in tokens} for index in range(len(part))]
        if len(texts) > CHUNK:
            tell("tokenize", len(texts), len(texts))
        return rows

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        rows = self._fields(texts)
        cut = tokens_left_out(self._tokenizer, texts, rows, self._max_length()) if rows else []
        return [Encoded(len(row["input_ids"]), row, lost) for row, lost in zip(rows, cut, strict=True)]

    def predict(self, texts: Sequence[Encoded]) -> FloatArray:
        return self.launch(texts)()

    def launch(self, texts: Sequence[Encoded]) -> Pending[FloatArray]:
        with out_of_memory_named(self._torch):
            pending = self._launch(padded([text.content for text in texts], self._tokenizer))

        def read() -> FloatArray:
            with out_of_memory_named(self._torch):
                return self._probabilities(pending())

        return read

    def _probabilities(self, outputs: NDArray[Any]) -> FloatArray:
        assert self._head is not None
        return self._head.probabilities(outputs)

    def _outputs_of(self, rows: Sequence[Row], launch: Launch) -> FloatArray:
        """In batches of similar length; in the order of `rows`, shape (len(rows), outputs)."""
        return outputs_of(rows, self.batch_size(), self.batch_tokens(), self._tokenizer, launch, self.ahead())

    def _keep(self, model: Any) -> None:
        """After training: predict as `load` would with the saved model, and save the fp32 weights."""
        model.zero_grad()
        self._model = model.eval()
        if self._dtype != "float32":
            self._trained = copy.deepcopy(model).cpu()
        self._use(model)

    def _use(self, model: Any) -> None:
        self._model = cast_weights(model.eval().to(self._device), getattr(self._torch, self._dtype))
        if self._device == "cpu" and self._computes_in_torch():
            pack(self._torch, self._model)

    def _computes_in_torch(self) -> bool:
        """Whether the model that `_use` gets is what predicts."""
        return True

    def close(self) -> None:
        self._model = self._trained = None
        free(self._torch)


def cast_weights(model: Any, dtype: Any) -> Any:
    """Weights in `dtype`, except for packed ones. Not the buffers: the frequencies of rotary positions, rounded to bfloat16,
    would give far tokens other positions. transformers leaves them in fp32 too."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    return model
