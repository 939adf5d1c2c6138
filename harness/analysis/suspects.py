"""Likely label errors: several models are confident, and agree, that the label is another one.

A model is confident in a label where it gives it a higher probability than on average to the rows that have this label: the
thresholds of confident learning (Northcutt, Jiang, Chuang, JAIR 2021). They need no calibrated model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.core.errors import UserError
from harness.core.predictions import Predictions
from harness.core.record import Identity
from harness.core.types import LabelKind

AGREE = 2
"""Models that must agree: a single one may be wrong."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row, its label, and another one that `votes` of the `models` that have the row prefer (`against`: its own).

    `strength`, from 0 to 1: by how much the suggested label is more probable than the given one, on average over these models.
    """

    id: str
    given: int
    suggested: int
    votes: int
    against: int
    models: int
    strength: float


@dataclass(frozen=True, slots=True)
class Shortlist:
    """`suspects`, strongest first, among `rows` rows that at least two of `models` have.

    `neighbours` counts those left out because an ordinal task has three labels or more and the suggested one is next to the
    given one: raters may rightly differ between four stars and five.
    """

    rows: int
    models: tuple[str, ...]
    suspects: list[Suspect]
    neighbours: int


@dataclass(frozen=True, slots=True)
class _Voter:
    """One model: its probabilities, shape (n, k), and which of the n rows it has (the others hold zeros)."""

    name: str
    probabilities: FloatArray
    has: BoolArray


def model_of(identity: Identity) -> str:
    """All that was made from one checkpoint is one model, however it was trained or prompted."""
    return identity.backend.model or identity.backend.name


def shortlist(runs: Sequence[Predictions]) -> Shortlist:
    """Of runs on rows of one task, language and split. Left out are those without probabilities, and a model that is not better
    than always the same answer.

    Raises `UserError` for a multilabel task and for runs that differ in a label of the same row.
    """
    if any(run.labels.kind is LabelKind.MULTILABEL for run in runs):
        raise UserError("Likely label errors are looked for where a row has one label.", "This task is multilabel.")
    runs = [run for run in runs if run.probabilities is not None]
    if not runs:
        return Shortlist(0, (), [], 0)
    ids, truth = _rows(runs)
    voters = [voter for voter in _voters(runs, ids) if _knows(voter, truth)]
    names = tuple(voter.name for voter in voters)
    if len(voters) < AGREE:
        return Shortlist(0, names, [], 0)
    found = _suspects(voters, ids, truth)
    ordered = runs[0].labels.kind is LabelKind.ORDINAL and len(runs[0].labels) > 2
    far = [suspect for suspect in found if not ordered or abs(suspect.given - suspect.suggested) > 1]
    rows = int((np.sum([voter.has for voter in voters], axis=0) >= AGREE).sum())
    return Shortlist(rows, names, far, len(found) - len(far))


def _rows(runs: Sequence[Predictions]) -> tuple[list[str], IntArray]:
    """All ids that a run has, sorted, and their labels."""
    labels: dict[str, int] = {}
    for run in runs:
        for row, label in zip(run.ids.tolist(), run.truth.tolist(), strict=True):
            if labels.setdefault(row, label) != label:
                raise UserError(f"The runs differ in the label of the row {row!r}.", "Name runs on the same data: --run.")
    ids = sorted(labels)
    return ids, np.array([labels[row] for row in ids])


def _voters(runs: Sequence[Predictions], ids: list[str]) -> list[_Voter]:
    """Of each model the run with the most right answers: others may have been trained on few rows, or prompted badly."""
    best: dict[str, Predictions] = {}
    for run in sorted(runs, key=lambda run: (-np.count_nonzero(run.correct), run.run_id)):
        best.setdefault(model_of(run.identity), run)
    place = {row: index for index, row in enumerate(ids)}
    voters = []
    for name, run in sorted(best.items()):
        at = [place[row] for row in run.ids.tolist()]
        shares, has = np.zeros((len(ids), len(run.labels))), np.zeros(len(ids), dtype=bool)
        shares[at], has[at] = np.asarray(run.probabilities), True
        voters.append(_Voter(name, shares, has))
    return voters


def _knows(voter: _Voter, truth: IntArray) -> bool:
    """Whether it is right more often than always the commonest label."""
    own = truth[voter.has]
    right = np.count_nonzero(voter.probabilities[voter.has].argmax(axis=1) == own)
    return bool(right > np.bincount(own).max())


def _confident_in(voter: _Voter, truth: IntArray) -> IntArray:
    """The label that the model is confident in, for each row; -1 where there is none."""
    k = voter.probabilities.shape[1]
    threshold = np.full(k, np.inf)
    for label in range(k):
        rows = voter.has & (truth == label)
        if rows.any():
            threshold[label] = voter.probabilities[rows, label].mean()
    sure = (voter.probabilities >= threshold) & voter.has[:, None]
    return np.where(sure.any(axis=1), np.where(sure, voter.probabilities, -1.0).argmax(axis=1), -1)


def _suspects(voters: Sequence[_Voter], ids: list[str], truth: IntArray) -> list[Suspect]:
    n, k = len(ids), voters[0].probabilities.shape[1]
    votes = np.zeros((n, k), dtype=np.int64)
    for voter in voters:
        sure = _confident_in(voter, truth)
        rows = np.flatnonzero(sure >= 0)
        votes[rows, sure[rows]] += 1
    models = np.sum([voter.has for voter in voters], axis=0)
    mean = np.sum([voter.probabilities for voter in voters], axis=0) / np.maximum(models, 1)[:, None]
    every = np.arange(n)
    own = votes[every, truth]
    others = votes + mean / 2  # of labels with as many votes the more probable one
    others[every, truth] = -1.0
    suggested = others.argmax(axis=1)
    given = votes[every, suggested]
    strength = mean[every, suggested] - mean[every, truth]
    chosen = np.flatnonzero((given >= AGREE) & (given > own) & (strength > 0))
    figures = zip(*(part[chosen].tolist() for part in (truth, suggested, given, own, models, strength)), strict=True)
    found = [Suspect(ids[row], *values) for row, values in zip(chosen, figures, strict=True)]
    return sorted(found, key=lambda suspect: (-suspect.strength, suspect.id))
