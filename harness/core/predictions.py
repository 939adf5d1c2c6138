"""The predictions of a run as arrays: what analyses compute with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.core.record import Identity
from harness.core.types import LabelSpace

ObjectArray = NDArray[np.object_]


@dataclass(frozen=True)
class Predictions:
    """Rows sorted by id. `texts`: digests of their texts, as bytes, None in a record of an earlier version. `groups`: digests
    of what the rows were sampled with, None for a task without groups. For a multilabel task `truth` and `answers` hold 0 or 1
    for each label, shape (n, k).

    `answers` of a row without a parsed answer: k; for a multilabel task a wrong set (see `metrics`). `probabilities`, shape
    (n, k): None unless every answered row has them; a row without an answer holds 1/k.
    """

    run_id: str
    identity: Identity
    labels: LabelSpace
    ids: ObjectArray
    truth: IntArray
    answers: IntArray
    answered: BoolArray
    probabilities: FloatArray | None
    texts: NDArray[np.generic] | None = None
    groups: ObjectArray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def correct(self) -> BoolArray:
        """Shape (n,): parsed, and right; of a multilabel task exactly the right set."""
        same = self.truth == self.answers
        return np.asarray(self.answered & (same.all(axis=1) if same.ndim == 2 else same))

    @cached_property
    def confusion_matrix(self) -> IntArray:
        """Of a single-label task, shape (k, k + 1); the last column: no parsed answer."""
        k = len(self.labels)
        return np.bincount(self.truth * (k + 1) + self.answers, minlength=k * (k + 1)).reshape(k, k + 1)

    @cached_property
    def support(self) -> list[int]:
        """Rows of each label."""
        counts = self.truth.sum(axis=0) if self.truth.ndim == 2 else np.bincount(self.truth, minlength=len(self.labels))
        return [int(count) for count in counts]

    def take(self, index: IntArray) -> Predictions:
        """Only the rows at these positions, in this order."""
        found = self.probabilities
        return replace(
            self,
            ids=self.ids[index],
            truth=self.truth[index],
            answers=self.answers[index],
            answered=self.answered[index],
            probabilities=None if found is None else found[index],
            texts=None if self.texts is None else self.texts[index],
            groups=None if self.groups is None else self.groups[index],
        )
