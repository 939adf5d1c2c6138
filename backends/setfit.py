"""SetFit, a classifier for few labels: a sentence encoder learns from pairs of texts, logistic regression from its embeddings.

Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts", arXiv:2209.11055, with the pairs of the setfit library.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from backends._batches import by_length, padded
from backends._control_tokens import read_as_text
from backends._cut import tokens_left_out
from backends._linear_head import LinearHead, fit_head, load_head, memberships
from backends._loading import META, check_vocabulary, count_parameters, first_line, load_model, read_config, read_tokenizer
from backends._setfit_options import SetFitOptions
from backends._torch import free, import_torch, out_of_memory_named, resolve_device, resolve_dtype
from backends.encoder import BATCH_TOKENS
from harness.core.engine import Classifier, Encoded, LabelledTexts, OnProgress, ValidationScorer
from harness.core.errors import BenchError, DataError, RunError, UserError
from harness.core.types import FloatArray, LabelKind, LabelSpace

MOST_ROWS = 5000
"""The library chooses among all pairs of rows, and lists them first: n^2 / 2, of 5000 rows half a GiB."""


class SetFit(Classifier):
    """Validation rows choose nothing here but a multilabel task's thresholds: there is one model, the last."""

    Options = SetFitOptions
    libraries = ("torch", "transformers", "accelerate", "datasets", "sentence_transformers", "setfit", "safetensors")
    extra = "setfit"
    options: SetFitOptions

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        assert isinstance(model, Path)
        super().__init__(options, model)
        self._source = model
        self._torch = import_torch("setfit", "The setfit engine")
        self._device = resolve_device(self._torch, self.options.device)
        self._dtype: str = resolve_dtype(self._torch, self._device, self.options.predict.dtype)
        self._body: Any = None  # a SentenceTransformer; embeds, in `dtype`
        self._trained: Any = None  # in fp32, until it is saved; None where `_body` is in fp32
        self._head: LinearHead | None = None

    def facts(self) -> dict[str, Any]:
        return {"device": self._device, "dtype": self._dtype}

    def batch_size(self) -> int:
        return self.options.predict.batch_size

    def batch_tokens(self) -> int:
        return self.options.predict.batch_tokens or BATCH_TOKENS[self._device]

    def threshold(self) -> float | None:
        return self.options.threshold

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
        """A training that was killed begins anew."""
        from transformers import set_seed

        from backends._setfit_train import contrast

        if self._torch.distributed.is_initialized() and self._torch.distributed.get_world_size() > 1:
            raise UserError("SetFit trains in one process.", "Start this run without a launcher.")
        self._refuse_what_teaches_nothing(train, labels)
        multilabel = labels.kind is LabelKind.MULTILABEL
        targets = memberships(train.labels, len(labels)).astype(int).tolist() if multilabel else train.labels
        set_seed(seed)
        body = self._read(self._source)
        with out_of_memory_named(self._torch):
            report = contrast(
                body, train.texts, targets, multilabel, self.options.train, seed, self._device, scratch, on_progress
            )
            self._keep(body)
            embeddings = self._embeddings(self.encode(train.texts))
        if not np.isfinite(embeddings).all():
            raise RunError("The training diverged.", "Lower `train.lr`.")
        self._head = fit_head(embeddings, train.labels, labels, self.options.train.c, seed)
        return {**report, "train_rows": len(train.texts)}

    def _refuse_what_teaches_nothing(self, train: LabelledTexts, labels: LabelSpace) -> None:
        rows = len(train.texts)
        if rows > MOST_ROWS:
            raise UserError(
                f"SetFit is for few labels, at most {MOST_ROWS} here; these are {rows}.",
                "Take fewer with --train-limit, or fine-tune an encoder.",
            )
        if labels.kind is not LabelKind.MULTILABEL:
            if self.options.threshold is not None:
                raise UserError("`threshold` is for multilabel tasks; this one has one label a row.", "Leave it out.")
            if len(set(train.labels)) < 2:
                raise DataError("All train rows are of a single class: there is nothing to learn.", "Take more rows.")
            return
        found = memberships(train.labels, len(labels))
        if not found.any() or (found @ found.T).all():
            raise DataError(
                "SetFit learns from rows that share a label and rows that don't; these train rows have only one sort of pair.",
                "Take more rows.",
            )

    def _read(self, folder: Path) -> Any:
        """In fp32; a plain encoder gets mean pooling. Raises `UserError` for what is no encoder."""
        from sentence_transformers import SentenceTransformer

        read_config(folder)
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
        body.max_seq_length = min(self.options.max_length, body.max_seq_length or self.options.max_length)
        return body

    def _keep(self, body: Any) -> None:
        """What predicts is what `load` would make of the saved model; what is saved has lost nothing to its dtype."""
        body.zero_grad()
        self._body = body.eval()
        if self._dtype != "float32":
            self._trained = copy.deepcopy(body).cpu()
        self._body.to(self._device, getattr(self._torch, self._dtype))

    def save(self, folder: Path) -> None:
        """After `fit` or `load`, in fp32 if it is after `fit`."""
        assert self._head is not None
        body = self._body if self._trained is None else self._trained
        body.save_pretrained(str(folder), create_model_card=False)
        self._head.save(folder)
        self._trained = None

    def load(self, folder: Path, labels: LabelSpace) -> None:
        self._head = load_head(folder, labels)
        self._body = self._read(folder).eval().to(self._device, getattr(self._torch, self._dtype))

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        if not texts:
            return []
        tokens = self._body.tokenizer(
            list(texts), truncation=True, max_length=self._body.max_seq_length, return_attention_mask=False
        )
        rows = [{name: tokens[name][index] for name in tokens} for index in range(len(texts))]
        cut = tokens_left_out(self._body.tokenizer, texts, rows, self._body.max_seq_length)
        return [Encoded(len(row["input_ids"]), row, lost) for row, lost in zip(rows, cut, strict=True)]

    def predict(self, texts: Sequence[Encoded]) -> FloatArray:
        assert self._head is not None
        with out_of_memory_named(self._torch):
            return self._head.probabilities(self._embedded([text.content for text in texts]))

    def _embeddings(self, texts: Sequence[Encoded]) -> FloatArray:
        """Shape (len(texts), dimensions)."""
        rows = [text.content for text in texts]
        parts = by_length(rows, self.batch_size(), self.batch_tokens())
        found = np.concatenate([self._embedded([rows[index] for index in part]) for part in parts])
        return np.asarray(found[np.argsort([index for part in parts for index in part])])

    def _embedded(self, rows: list[Any]) -> FloatArray:
        """One batch."""
        batch = padded(rows, self._body.tokenizer)
        with self._torch.inference_mode():
            inputs = {name: self._torch.from_numpy(values).to(self._device) for name, values in batch.items()}
            return np.asarray(self._body(inputs)["sentence_embedding"].double().cpu().numpy())

    def parameters(self) -> int | None:
        if self._body is None or self._head is None:
            return None
        return count_parameters(self._body) + self._head.weights.size + self._head.biases.size

    def close(self) -> None:
        self._body = self._trained = None
        free(self._torch)


def _check_layers(body: Any, folder: Path) -> None:
    """sentence-transformers does not say what transformers has not found: it is asked again, without reading a weight."""
    listed = folder / "modules.json"
    parts = [entry["path"] for entry in json.loads(listed.read_text(encoding="utf-8"))] if listed.is_file() else [""]
    encoders = 0
    for part, layer in zip(parts, body, strict=False):  # a plain encoder gets a second layer, for the pooling
        inside = folder / part
        if not inside.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{folder}: its modules.json names a folder outside of it: {part}.", "Choose another checkpoint.")
        model = getattr(layer, "auto_model", None)
        if model is not None:
            encoders += 1
            tokenizer = read_tokenizer(inside, "pad_token")
            load_model(type(model), inside, new_head=True, **META)  # a pooler, which embeddings do without
            check_vocabulary(tokenizer, model, inside)
    if not encoders:
        raise UserError(f"{folder}: none of its layers is a transformer.", "Choose the checkpoint of an encoder.")
