"""What the engines share that read a sentence encoder: the checkpoint's layers and their checks, and the embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backends._control_tokens import read_as_text
from backends._linear_head import LinearHead
from backends._loading import (
    META,
    check_vocabulary,
    count_parameters,
    first_line,
    load_model,
    positions,
    read_config,
    read_tokenizer,
)
from backends._neighbours import Neighbours
from backends._text_encoder import TextEncoder
from harness.core.errors import BenchError, UserError


class SentenceEncoder(TextEncoder):
    def _check_one_process(self, name: str) -> None:
        if self._torch.distributed.is_initialized() and self._torch.distributed.get_world_size() > 1:
            raise UserError(f"{name} trains in one process.", "Start this run without a launcher.")

    def _read(self, folder: Path) -> Any:
        """In fp32; a plain encoder gets mean pooling. Raises `UserError` for a checkpoint of another kind."""
        read_config(folder)
        from sentence_transformers import SentenceTransformer

        try:
            body = SentenceTransformer(
                str(folder),
                device=self._device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={
                    "dtype": self._torch.float32,
                    "use_safetensors": True,
                    "ignore_mismatched_sizes": True,  # they are refused below, by name
                },
            )
        except BenchError:
            raise
        except Exception as error:  # its layers, transformers and safetensors each raise errors of their own
            raise UserError(
                f"{folder}: can't be read as a sentence encoder: {first_line(error)}",
                "Choose the checkpoint of an encoder, with its tokenizer and weights in safetensors.",
            ) from error
        read_as_text(body.tokenizer)
        _check_layers(body, folder)
        # sentence-transformers counts the positions of a RoBERTa that no text has.
        most = [body.max_seq_length, *(positions(layer.auto_model.config) for layer in body if hasattr(layer, "auto_model"))]
        body.max_seq_length = min([self.options.max_length, *filter(None, most)])
        self._tokenizer = body.tokenizer
        return body

    def _set_head(self, head: LinearHead | Neighbours) -> None:
        self._head = head
        self.parameters = count_parameters(self._model) + head.size

    def _max_length(self) -> int:
        return int(self._model.max_seq_length)

    def _forward(self, inputs: dict[str, Any]) -> Any:
        return self._model(inputs)["sentence_embedding"]


def _check_layers(body: Any, folder: Path) -> None:
    """sentence-transformers does not report the weights that transformers has not found: load again, without reading any."""
    listed = folder / "modules.json"
    parts = [entry["path"] for entry in json.loads(listed.read_text(encoding="utf-8"))] if listed.is_file() else [""]
    encoders = 0
    for part, layer in zip(parts, body, strict=False):  # a plain encoder gets a second layer, for the pooling
        inside = folder / part
        if not inside.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{folder}: its modules.json names a folder outside it: {part}.", "Choose another checkpoint.")
        model = getattr(layer, "auto_model", None)
        if model is not None:
            encoders += 1
            tokenizer = read_tokenizer(inside, "pad_token")
            load_model(type(model), inside, new_head=True, **META)  # a pooler, which embeddings do without
            check_vocabulary(tokenizer, model, inside)
    if not encoders:
        raise UserError(f"{folder}: none of its layers is a transformer.", "Choose the checkpoint of an encoder.")
