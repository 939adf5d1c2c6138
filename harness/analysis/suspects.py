"""Likely label errors: all rows of the runs, those first whose label the models find least probable.

Rows are ranked by self-confidence, the probability of the given label (Kuan and Mueller, "Model-agnostic label quality
scoring to detect real-world label errors", ICML workshop 2022). Of several models it is a weighted mean: a model counts the
more, the more probable it finds the given labels. How many labels may be wrong is counted as in confident learning
(Northcutt, Jiang, Chuang, JAIR 2021): a model is confident in a label where it gives it a higher probability than on average
to the rows that have this label. That needs no calibrated model.
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

NEIGHBOUR = 0.25
"""In an ordinal task with three labels or more, what the probability of a label next to the given one counts for the given one:
raters may rightly differ between four stars and five."""

_POWER = 3  # of a model's mean probability of the given labels, in its weight: a better model counts much more
_SMALLEST = 1e-6  # of the six decimals of a record


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row, its label, and the most probable other one.

    `score`, from 0 to 1: the probability of the given label by all `models` that have the row, a quarter of that of labels next
    to it included in an ordinal task (`NEIGHBOUR`). The lower, the more suspect. `votes` of the models are confident in the
    suggested label, `against` in the given one.
    """

    id: str
    given: int
    suggested: int
    score: float
    votes: int
    against: int
    models: int


@dataclass(frozen=True, slots=True)
class Shortlist:
    """`suspects`: all rows that one of `models` has, the most suspect first. `estimated`: in how many rows the models are
    confident in another label; in an ordinal task with three labels or more, in one two steps or more from the given one."""

    models: tuple[str, ...]
    suspects: list[Suspect]
    estimated: int


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
    """Of runs on rows of one task, language and split, that their models have not learned from. Left out are runs without
    probabilities, and a model that is not better than always the same answer.

    Raises `UserError` for a multilabel task and for runs that differ in a label of the same row.
    """
    if any(run.labels.kind is LabelKind.MULTILABEL for run in runs):
        raise UserError("Likely label errors are looked for where a row has one label.", "This task is multilabel.")
    runs = [run for run in runs if run.probabilities is not None]
    if not runs:
        return Shortlist((), [], 0)
    ids, truth = _rows(runs)
    voters = [voter for voter in _voters(runs, ids) if _knows(voter, truth)]
    if not voters:
        return Shortlist((), [], 0)
    graded = runs[0].labels.kind is LabelKind.ORDINAL and len(runs[0].labels) > 2
    together = _together(voters, truth)
    suspects = _ranked(voters, together, ids, truth, graded=graded)
    return Shortlist(tuple(voter.name for voter in voters), suspects, _estimated(together, truth, graded=graded))


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


def _together(voters: Sequence[_Voter], truth: IntArray) -> _Voter:
    """The weighted mean of the models that have a row."""
    every = np.arange(len(truth))
    own = [np.log(np.maximum(voter.probabilities[every, truth], _SMALLEST))[voter.has].mean() for voter in voters]
    weights = np.exp(_POWER * (np.array(own) - max(own)))
    has = np.stack([voter.has for voter in voters])
    total = np.maximum(weights @ has, np.finfo(float).tiny)
    mean = np.tensordot(weights, np.stack([voter.probabilities for voter in voters]), axes=1) / total[:, None]
    return _Voter("together", mean, np.asarray(has.any(axis=0)))


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


def _ranked(voters: Sequence[_Voter], together: _Voter, ids: list[str], truth: IntArray, *, graded: bool) -> list[Suspect]:
    steps = abs(np.arange(together.probabilities.shape[1]) - truth[:, None])
    others = np.where(steps == 0, -1.0, together.probabilities)
    suggested = others.argmax(axis=1)
    credit = (steps == 0) + (NEIGHBOUR * (steps == 1) if graded else 0.0)
    score = (credit * together.probabilities).sum(axis=1)
    sure = np.stack([_confident_in(voter, truth) for voter in voters])
    columns = (
        *(truth, suggested, score),
        *((sure == suggested).sum(axis=0), (sure == truth).sum(axis=0), np.sum([voter.has for voter in voters], axis=0)),
    )
    figures = zip(*(column.tolist() for column in columns), strict=True)
    found = [Suspect(name, *values) for name, values, has in zip(ids, figures, together.has, strict=True) if has]
    return sorted(found, key=lambda suspect: (suspect.score, suspect.id))


def _estimated(together: _Voter, truth: IntArray, *, graded: bool) -> int:
    """The confident joint off its diagonal, calibrated: of each given label, its rows times the share of confident rows that
    are confident in another one."""
    sure = _confident_in(together, truth)
    disputed = abs(sure - truth) > (1 if graded else 0)
    total = 0.0
    for label in np.unique(truth):
        rows = (truth == label) & together.has
        confident = rows & (sure >= 0)
        if confident.any():
            total += rows.sum() * disputed[confident].mean()
    return round(total)
