"""Frozen embeddings: a sentence encoder reads each text once and is not trained; logistic regression, or the nearest training
rows, make labels of its embeddings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from backends._batches import Batch
from backends._choose_c import choose_c
from backends._embedding_cache import Embedded, EmbeddingCache
from backends._encoder_options import TextEncoderOptions
from backends._heads import check_threshold
from backends._linear_head import EXACT, LinearHead, check_classes, fit_head, load_head
from backends._neighbours import Neighbours, load_neighbours
from backends._sentence_encoder import SentenceEncoder
from backends._torch import out_of_memory_named
from harness.core.arrays import FloatArray
from harness.core.cache_folder import cache_dir
from harness.core.engine import Embedder, Encoded, OnProgress, Pending, TrainingJob
from harness.core.errors import RunError, UserError
from harness.core.record import CACHED_SECONDS
from harness.core.types import LabelSpace

NEIGHBOURS = 10
"""The default number: a record holds it whatever the head is."""


class EmbeddingOptions(TextEncoderOptions):
    prefix: str = Field("", description="put before every text, as some models were trained: `query: ` for E5")
    head: Literal["logistic", "knn"] = Field(
        "logistic", description="logistic: regression on the embeddings; knn: votes of the nearest training rows"
    )
    c: float | None = Field(
        None,
        gt=0,
        description="logistic: inverse strength of the L2 penalty; default: chosen by cross-validation on the training rows",
    )
    neighbours: int = Field(NEIGHBOURS, ge=1, description="knn: rows that vote, each as much as its cosine similarity")

    @model_validator(mode="after")
    def _head_has_the_option(self) -> Self:
        if self.c is not None and self.head == "knn":
            raise ValueError("c is of the logistic regression; the head is knn")
        if self.neighbours != NEIGHBOURS and self.head != "knn":
            raise ValueError(f"neighbours is of knn; the head is {self.head}")
        return self


class Embedding(SentenceEncoder, Embedder):
    """Validation rows only tune a multilabel task's thresholds. A trained model is kept without its encoder, which is that of
    the backend: `load` reads it from there."""

    Options = EmbeddingOptions
    libraries = ("torch", "transformers", "sentence_transformers", "safetensors")
    extra = "train"
    options: EmbeddingOptions

    @classmethod
    def soft_labels_problem(cls, options: BaseModel) -> str:
        assert isinstance(options, EmbeddingOptions)
        return "lets neighbours vote by their labels" if options.head == "knn" else ""

    def fit(self, job: TrainingJob) -> dict[str, object]:
        self._check_one_process("The engine embedding")
        if not (self._source / "config.json").is_file():
            raise UserError("The engine embedding can't go on from an earlier training: its encoder is never trained.")
        check_threshold(self.options.threshold, job.labels)
        check_classes(job.train.labels, job.train.probabilities)
        self._use(self._read(self._source))
        with out_of_memory_named(self._torch):
            embeddings, report = self._embedded(job.train.texts, job.on_progress)
        return {**report, **self._fit_head(embeddings, job), "train_rows": len(job.train.texts)}

    def embed(self, texts: Sequence[str], on_progress: OnProgress, *, kept: bool) -> FloatArray:
        if self._model is None:
            self._use(self._read(self._source))
        with out_of_memory_named(self._torch):
            if kept:
                return self._embedded(texts, on_progress)[0]
            found = self._computed(list(dict.fromkeys(texts)), on_progress)
        return np.array([found[text].vector for text in texts], dtype=np.float64)

    def _fit_head(self, embeddings: FloatArray, job: TrainingJob) -> dict[str, object]:
        """Returns what the record keeps of it."""
        if self.options.head == "knn":
            self._set_head(Neighbours.of(embeddings, job.train.labels, job.labels, self.options.neighbours))
            return {}
        if self.options.c is not None:
            c, report = self.options.c, {"c": self.options.c, "c_from": "option"}
        else:
            chosen = choose_c(embeddings, job.train.labels, job.labels, job.seed, job.train.probabilities, job.train.groups)
            c, report = chosen.c, chosen.as_json()
        soft = job.train.probabilities
        self._set_head(fit_head(embeddings, job.train.labels, job.labels, c, job.seed, EXACT, soft))
        return report

    def _embedded(self, texts: Sequence[str], on_progress: OnProgress) -> tuple[FloatArray, dict[str, object]]:
        """The embeddings of the texts, in their order, shape (len(texts), dimensions), and what the record keeps of it. A text
        that comes twice is read once; one that an earlier training embedded is not read at all."""
        cache = EmbeddingCache(cache_dir(), self._source, self._settings())
        distinct = list(dict.fromkeys(texts))
        found = cache.read(distinct)
        report: dict[str, object] = {"embedded_from_cache": len(found)}
        if found:
            report[CACHED_SECONDS] = round(sum(one.seconds for one in found.values()), 3)
        new = [text for text in distinct if text not in found]
        if new:
            computed = self._computed(new, on_progress)
            cache.write(computed)
            found |= computed
        return np.array([found[text].vector for text in texts], dtype=np.float64), report

    def _computed(self, texts: Sequence[str], on_progress: OnProgress) -> dict[str, Embedded]:
        """Raises `RunError` for embeddings that are no numbers."""
        done, started = 0, time.perf_counter()

        def launch(batch: Batch) -> Pending[NDArray[Any]]:
            pending = self._launch(batch)

            def read() -> NDArray[Any]:
                nonlocal done
                found = pending()
                done += len(found)
                on_progress(done, len(texts), "texts embedded")
                return found

            return read

        rows = self.encode(texts)
        vectors = self._outputs_of([row.content for row in rows], launch).astype(np.float32)
        if not np.isfinite(vectors).all():
            hint = "Its weights are damaged." if self._dtype == "float32" else "Set `predict.dtype` to float32."
            raise RunError("The encoder computes embeddings that are no numbers.", hint)
        each = (time.perf_counter() - started) / max(1, sum(row.tokens for row in rows))
        return {text: Embedded(vector, each * row.tokens) for text, vector, row in zip(texts, vectors, rows, strict=True)}

    def _settings(self) -> dict[str, object]:
        """What an embedding depends on, beside checkpoint and text."""
        libraries = {name: version(name) for name in ("torch", "transformers", "sentence-transformers")}
        settings = {"prefix": self.options.prefix, "max_length": self._max_length(), **self.facts()}
        return {**settings, **libraries}

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        return super().encode([self.options.prefix + text for text in texts])

    def _launch(self, batch: Batch) -> Pending[NDArray[Any]]:
        """Of length 1. Rounded to fp32, as they are kept: a head that was saved reads the same numbers."""
        pending = super()._launch(batch)

        def read() -> NDArray[Any]:
            found = pending()
            lengths = np.linalg.norm(found, axis=1, keepdims=True)
            rounded = (found / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
            return np.asarray(rounded, dtype=np.float64)

        return read

    def save(self, folder: Path) -> None:
        assert isinstance(self._head, LinearHead | Neighbours)
        self._head.save(folder)

    def load(self, folder: Path, labels: LabelSpace) -> None:
        self._use(self._read(self._source))
        knn = self.options.head == "knn"
        self._set_head(load_neighbours(folder, self.options.neighbours) if knn else load_head(folder, labels))
