"""The populations whose intervals are tried: confusion matrices as shares, models that give probabilities, rows in groups, and
sets of labels."""

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


@dataclass(frozen=True)
class Grouped:
    """Five labels, rows in `groups` of about `size` rows. A group has its own skill (standard deviation `effect`) and its own
    frequencies of the labels, so that its rows are alike; `effect` 0: independent rows."""

    groups: int
    size: int
    effect: float
    labels: int = 5

    @property
    def name(self) -> str:
        return f"{self.groups} groups of {self.size}, effect {self.effect:g}"

    def draw(self, rng: np.random.Generator, groups: int) -> tuple[IntArray, FloatArray, IntArray]:
        """Truth, shape (n,), probabilities, shape (n, k), and the number of each row's group."""
        from scipy.special import softmax

        k = self.labels
        clusters = np.repeat(np.arange(groups), np.maximum(1, rng.poisson(self.size, size=groups)))
        n = len(clusters)
        balance = rng.dirichlet(np.full(k, 2 / self.effect if self.effect else 1e6), size=groups)
        truth = (balance[clusters].cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
        scores = rng.normal(size=(n, k))
        scores[np.arange(n), truth] += 1.2 + self.effect * rng.normal(size=groups)[clusters]
        return truth, np.asarray(softmax(scores, axis=1)), clusters


@dataclass(frozen=True)
class Sets:
    """Each label is true in its `frequency` of the rows. A true label is found in a share `found`, a false one named in a share
    `named`, both more rarely in rows that are hard."""

    name: str
    frequency: Sequence[float]
    found: float
    named: float

    def draw(self, rng: np.random.Generator, n: int) -> tuple[IntArray, IntArray]:
        """Truth and answers, 0 or 1, both of shape (n, k)."""
        hard = 2 / (1 + np.exp(rng.normal(size=(n, 1))))
        truth = (rng.random((n, len(self.frequency))) < np.array(self.frequency)).astype(np.int64)
        chance = np.where(truth == 1, self.found * np.clip(1 / hard, 0.3, 1 / self.found), 1 - (1 - self.named) ** hard)
        return truth, (rng.random(truth.shape) < chance).astype(np.int64)


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


def _many(name: str, balance: FloatArray, right: FloatArray) -> Design:
    """Wrong answers go to three other labels."""
    k = len(balance)
    rng = np.random.default_rng(k)
    shares = np.zeros((k, k + 1))
    for label, hits in enumerate(right):
        shares[label, rng.choice(np.delete(np.arange(k), label), 3, replace=False)] = (1 - hits) / 3
        shares[label, label] = hits
    return Design(name, shares * (balance / balance.sum())[:, None])


def _of_many(k: int) -> tuple[Design, ...]:
    """`right` differs between the labels."""
    rng, places = np.random.default_rng(k), np.arange(k)
    alike, tail, zipf = np.ones(k), np.exp(-np.log(20) * places / k), 1 / (1 + places)
    usual, worse = rng.beta(6, 2, size=k), np.linspace(0.9, 0.4, k)
    return (
        _many(f"{k} labels, 75% right", alike, usual),
        _many(f"{k} labels, 40% right", alike, rng.beta(4, 6, size=k)),
        _many(f"{k} labels, 93% right", alike, rng.beta(28, 2, size=k)),
        _many(f"{k} labels 20:1, 75% right", tail, usual),
        _many(f"{k} labels 20:1, rare ones worse", tail, worse),
        _many(f"{k} labels 1:1/2:...:1/{k}, rare ones worse", zipf, worse),
    )


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
MANY_LABELS = tuple(design for k in (5, 20, 77, 151) for design in _of_many(k))
GROUPED = (
    Grouped(10, 20, 0.6),
    Grouped(20, 25, 0.6),
    Grouped(50, 10, 0.0),
    Grouped(50, 10, 0.8),
    Grouped(100, 20, 0.6),
    Grouped(100, 20, 1.0),
)
SETS = (
    Sets("28 labels, 30% to 1% of rows", np.geomspace(0.3, 0.01, 28).tolist(), 0.6, 0.01),
    Sets("10 labels, 50% to 3% of rows", np.geomspace(0.5, 0.03, 10).tolist(), 0.7, 0.03),
    Sets("6 labels, 30% of rows", [0.3] * 6, 0.8, 0.05),
    Sets("6 labels, nearly perfect", [0.3] * 6, 0.97, 0.01),
)
