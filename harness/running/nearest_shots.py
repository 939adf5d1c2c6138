"""Few-shot examples that are chosen for each text: the training rows whose frozen embeddings are most like it.

Such examples beat random ones (Liu et al. 2022, What Makes Good In-Context Examples for GPT-3?). Only training rows are
candidates. A row with the very text that is to be classified is none, as its label would be the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.core.arrays import FloatArray
from harness.core.engine import Embedder, Engine
from harness.core.errors import DataError, UserError
from harness.core.record import BackendIdentity
from harness.core.types import Example, LabelSpace, ShotsBy
from harness.parsing.rendering import has_label

ROWS_AT_ONCE = 64
"""Texts whose similarities to all candidates are in memory together."""


@dataclass
class NearestShots:
    """Chooses `count` examples for each text: in all, or of each class. The most similar one stands last, next to the text.

    `encoder`: what `engine` is, for the run's identity."""

    by: ShotsBy
    count: int
    pool: list[Example]
    labels: LabelSpace
    engine: Engine
    encoder: BackendIdentity
    _vectors: FloatArray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.engine, Embedder):
            raise UserError(
                "The prompt's `shots_encoder` is no encoder of texts.",
                "Name a backend of the engine `embedding`, such as embed-e5.",
            )
        few = min(map(len, self._classes)) if self.by is ShotsBy.NEAREST_PER_CLASS else len(self.pool)
        if few < self.count:
            where = "a class of the training rows has" if self.by is ShotsBy.NEAREST_PER_CLASS else "there are"
            raise DataError(
                f"The prompt needs {self.count} few-shot examples, and {where} {few}.",
                "Lower 'shots', or take more training rows.",
            )

    @property
    def examples(self) -> int:
        """In one prompt."""
        return self.count * (len(self.labels) if self.by is ShotsBy.NEAREST_PER_CLASS else 1)

    def of(self, texts: Sequence[str]) -> list[list[Example]]:
        """The examples for each text, the most similar last."""
        assert isinstance(self.engine, Embedder)
        if self._vectors is None:
            self._vectors = self.engine.embed([row.text for row in self.pool], _unwatched, kept=True)
        found: list[list[Example]] = []
        for start in range(0, len(texts), ROWS_AT_ONCE):
            part = texts[start : start + ROWS_AT_ONCE]
            # Test texts are never taken from a cache: a row must not look cheaper because of an earlier run.
            likeness = self.engine.embed(part, _unwatched, kept=False) @ self._vectors.T
            found += [self._chosen(text, row) for text, row in zip(part, likeness, strict=True)]
        return found

    def _chosen(self, text: str, likeness: FloatArray) -> list[Example]:
        """`likeness` to each row of the pool, shape (pool,). Equally similar rows are taken by their place in the pool."""
        order = [int(index) for index in np.argsort(-likeness, kind="stable") if self.pool[index].text != text]
        if self.by is ShotsBy.NEAREST:
            return [self.pool[index] for index in reversed(order[: self.count])]
        place = {index: rank for rank, index in enumerate(order)}
        taken: set[int] = set()
        for members in self._classes:
            left = sorted((index for index in members if index in place and index not in taken), key=place.__getitem__)
            taken.update(left[: self.count])
        return [self.pool[index] for index in sorted(taken, key=place.__getitem__, reverse=True)]

    @cached_property
    def _classes(self) -> list[list[int]]:
        """The rows of each class, by their index in the pool."""
        return [[n for n, row in enumerate(self.pool) if has_label(row, label)] for label in range(len(self.labels))]


def _unwatched(done: int, total: int, note: str) -> None:
    """The progress of a run counts its rows, not the texts of its examples."""
