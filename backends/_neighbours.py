"""The nearest training rows as a classifier, saved as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from backends._linear_head import memberships
from harness.core.arrays import FloatArray
from harness.core.types import Label, LabelSpace

FILE = "neighbours.safetensors"
LEAST_VOTE = 1e-9
"""Of a row whose cosine is 0 or less, so that votes never sum to 0."""


@dataclass(frozen=True)
class Neighbours:
    """`embeddings`: (rows, dimensions) in fp32 precision, `targets`: (rows, labels), 1 where a row has a label."""

    embeddings: FloatArray
    targets: FloatArray
    count: int

    @staticmethod
    def of(embeddings: FloatArray, labels: Sequence[Label], space: LabelSpace, count: int) -> Neighbours:
        sets = [label if isinstance(label, tuple) else (label,) for label in labels]
        return Neighbours(embeddings, memberships(sets, len(space)), count)

    @property
    def size(self) -> int:
        """Numbers that are kept."""
        return int(self.embeddings.size + self.targets.size)

    def probabilities(self, embeddings: FloatArray) -> FloatArray:
        """Shape (n, labels): of the `count` nearest rows the share with the label, each weighted by its cosine. NaN for an
        embedding that is no numbers."""
        found = np.full((len(embeddings), self.targets.shape[1]), np.nan)
        numbers = np.isfinite(embeddings).all(axis=1)
        if numbers.any():
            found[numbers] = self._regressor.predict(embeddings[numbers])
        return found

    @cached_property
    def _regressor(self) -> Any:
        """The mean of memberships is what KNeighborsClassifier calls a probability; this one takes several labels, too."""
        from sklearn.neighbors import KNeighborsRegressor

        count = min(self.count, len(self.embeddings))
        return KNeighborsRegressor(count, weights=_votes, metric="cosine", algorithm="brute").fit(self.embeddings, self.targets)

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        save_file({"embeddings": self.embeddings.astype(np.float32), "targets": self.targets.astype(np.uint8)}, folder / FILE)


def load_neighbours(folder: Path, count: int) -> Neighbours:
    from safetensors.numpy import load_file

    found = load_file(folder / FILE)
    return Neighbours(found["embeddings"].astype(np.float64), found["targets"].astype(np.float64), count)


def _votes(distances: FloatArray) -> FloatArray:
    return np.maximum(1 - distances, LEAST_VOTE)
