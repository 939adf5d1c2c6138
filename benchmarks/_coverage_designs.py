"""The populations whose intervals are tried: confusion matrices as shares, and models that give probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Design:
    """`shares`, shape (k, k + 1), sum to 1; the last column are rows without a parsed answer."""

    name: str
    shares: FloatArray


@dataclass(frozen=True)
class Scorer:
    """Truth drawn by `balance`; scores are normal, higher by `skill` for the true label; their softmax, sharpened by
    `sharpness`, are the probabilities."""

    name: str
    balance: Sequence[float]
    skill: float
    sharpness: float

    def draw(self, rng: np.random.Generator, n: int) -> tuple[IntArray, FloatArray]:
        """Truth, shape (n,), and probabilities, shape (n, k)."""
        from scipy.special import softmax

        k = len(self.balance)
        truth = rng.choice(k, size=n, p=np.array(self.balance) / np.sum(self.balance))
        scores = rng.normal(size=(n, k))
        scores[np.arange(n), truth] += self.skill
        return truth, np.asarray(softmax(self.sharpness * scores, axis=1))


def _design(
    name: str, balance: Sequence[float], right: float | Sequence[float], unread: float = 0.0, near: bool = True
) -> Design:
    """`right` of each label's rows are right and `unread` without an answer. Wrong answers go to the neighbours on the scale
    (e times as many as one step further), or evenly to all."""
    k = len(balance)
    index = np.arange(k)
    distance = np.abs(index[:, None] - index[None, :])
    wrong = np.where(distance == 0, 0.0, np.exp(-1.0 * distance) if near else 1.0)
    wrong /= wrong.sum(axis=1, keepdims=True)
    hits = np.broadcast_to(np.asarray(right, dtype=np.float64), (k,))
    shares = np.zeros((k, k + 1))
    shares[:, :k] = wrong * (1 - hits - unread)[:, None]
    shares[index, index] = hits
    shares[:, k] = unread
    return Design(name, shares * (np.array(balance) / np.sum(balance))[:, None])


def _constant(k: int) -> Design:
    shares = np.zeros((k, k + 1))
    shares[:, 0] = 1 / k
    return Design(f"{k} labels, always the same answer", shares)


FIVE, TWENTY = [1] * 5, [1] * 20
DESIGNS = (
    _design("2 labels, 80% right", [1, 1], 0.8),
    _design("2 labels 9:1, 95% and 60% right", [9, 1], [0.95, 0.6]),
    _design("3 labels, 70% right", [1, 1, 1], 0.7),
    _design("3 labels 16:3:1, 95% right", [16, 3, 1], 0.95),
    _design("5 labels, 30% right", FIVE, 0.3),
    _design("5 labels, 50% right", FIVE, 0.5),
    _design("5 labels, 50% right, errors anywhere", FIVE, 0.5, near=False),
    _design("5 labels, 55% right, 10% unparsed", FIVE, 0.55, unread=0.1),
    _design("5 labels, 90% right", FIVE, 0.9),
    _design("5 labels, 99% right", FIVE, 0.99),
    _design("5 labels 50:25:12:8:5, 60% right", [50, 25, 12, 8, 5], 0.6),
    _design("5 labels 70:15:10:4:1, 90% to 30% right", [70, 15, 10, 4, 1], [0.9, 0.5, 0.4, 0.3, 0.3]),
    _constant(5),
    _design("20 labels, 60% right", TWENTY, 0.6, near=False),
    _design("20 labels 1:1/2:...:1/20, 70% right", [1 / i for i in range(1, 21)], 0.7, near=False),
)
SCORERS = (
    Scorer("2 labels", [1, 1], 1.5, 1),
    Scorer("2 labels 9:1", [9, 1], 1.5, 1),
    Scorer("5 labels", FIVE, 1.2, 1),
    Scorer("5 labels, too sure of itself", FIVE, 1.2, 4),
    Scorer("5 labels, nearly perfect", FIVE, 4, 3),
    Scorer("5 labels 50:20:15:10:5", [50, 20, 15, 10, 5], 1.2, 1),
    Scorer("5 labels, knows nothing", FIVE, 0, 1),
)
