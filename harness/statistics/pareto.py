"""The Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.core.arrays import FloatArray


def pareto_front(points: Sequence[Sequence[float]] | FloatArray) -> list[bool]:
    """Of points of shape (n, d), where higher is better in each dimension: those that no other one matches in all of them and
    beats in one."""
    values = np.asarray(points, dtype=float)
    return [not bool(((values >= own).all(axis=1) & (values > own).any(axis=1)).any()) for own in values]
