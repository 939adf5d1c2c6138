"""Why a run's answers are of no use: one answer to everything, answers that can't be parsed, or no better than chance.

A finding is about one run, on all rows that it was tested on. It needs no other run, so it holds for old records too.

"Better than always answering one label" is tested by agreement beyond chance: how many more answers are right than if the same
answers were shuffled among the rows (the numerator of Cohen's kappa; for a multilabel task over all labels). For every constant
that is 0. Plain metrics are no such test: random answers beat a constant in macro-F1 and, depending on the label, in MAE, and a
useful model of a rare label may have no better accuracy than a constant. For an ordinal task the rank correlation counts too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from harness.core.arrays import FloatArray, IntArray
from harness.core.predictions import Predictions
from harness.core.types import LabelKind, LabelSpace
from harness.records.entries import Entry
from harness.records.predictions import read_predictions
from harness.records.store import Store
from harness.statistics.intervals import SMALL_N

CONSTANT = 0.99
"""The share of its answers that one label has."""
RARE = 0.1
"""Not constant where the other labels are rare too: with at least this share of the answers that they should have."""
UNPARSED = 0.5
"""The share of the rows that have no parsed answer."""
CRITICAL = 1.96
"""The agreement, less half an answer, in standard errors: the two-sided 5% level."""


class FindingKind(StrEnum):
    CONSTANT = "constant"
    UNPARSED = "unparsed"
    AT_CHANCE = "not_better_than_majority"


SHORT = {
    FindingKind.CONSTANT: "one answer",
    FindingKind.UNPARSED: "unparsed",
    FindingKind.AT_CHANCE: "at chance",
}
"""For a column of a table."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`message` follows the name of the model: `gives one answer, 'happy', to all 100 rows`."""

    kind: FindingKind
    message: str

    def as_json(self) -> dict[str, str]:
        return {"kind": str(self.kind), "message": self.message}


@dataclass(frozen=True, slots=True)
class _Summary:
    """`top`: the commonest answer, given `top_count` times, and true in `top_true` rows. `label`: the commonest true one, of
    `label_true` rows. `agreement`: pairs of value and standard error; each is 0 where answers do not depend on the rows."""

    n: int
    answered: int
    right: int
    top: str
    top_count: int
    top_true: int
    label: str
    label_true: int
    agreement: tuple[tuple[float, float], ...]


def finding_of(run: Predictions) -> Finding | None:
    """None for a run that did better than chance."""
    return _finding(_of_sets(run) if run.labels.kind is LabelKind.MULTILABEL else _of_matrix(run.confusion_matrix, run.labels))


def finding_of_entry(store: Store, entry: Entry) -> Finding | None:
    """On all rows of its run, also where the entry is about some of them. Raises `RunError`.

    Of a single-label run the confusion matrix is enough; of a multilabel one the predictions are read.
    """
    record = entry.record if entry.among is None else store.record(entry.run_id)
    if not record.metrics.confusion:
        return finding_of(read_predictions(store, entry.run_id))
    return _finding(_of_matrix(np.asarray(record.metrics.confusion, dtype=np.int64), record.identity.label_space))


def _finding(run: _Summary) -> Finding | None:
    lost = run.n - run.answered
    if lost >= UNPARSED * run.n:
        rows = f"any of the {run.n:,} rows" if lost == run.n else _share(lost, run.n)
        return Finding(FindingKind.UNPARSED, f"has no parsed answer in {rows}")
    if _is_constant(run):
        rows = f"{_share(run.top_count, run.answered)}{' that it answers' if lost else ''}"
        return Finding(FindingKind.CONSTANT, f"gives one answer, {run.top!r}, to {rows}")
    if any(value - 0.5 > CRITICAL * error > 0 for value, error in run.agreement):
        return None
    few = f"; {run.n} row{'s are' if run.n > 1 else ' is'} too few to tell" if run.n < SMALL_N else ""
    shares = f"{_ratio(run.right, run.n)} of {run.n:,} rows are right, against {_ratio(run.label_true, run.n)}{few}"
    return Finding(FindingKind.AT_CHANCE, f"is not shown to be better than always answering {run.label!r}: {shares}")


def _is_constant(run: _Summary) -> bool:
    if run.answered < 2 or run.top_count < CONSTANT * run.answered:
        return False
    others, wanted = run.answered - run.top_count, run.answered * (1 - run.top_true / run.n)
    return others == 0 or others < RARE * wanted


def _share(part: int, n: int) -> str:
    return f"all {n:,} rows" if part == n else f"{_ratio(part, n)} of the {n:,} rows"


def _ratio(part: int, n: int) -> str:
    """Never rounded up to all."""
    return f"{math.floor(1000 * part / n) / 10:.1f}%" if part < n else "100%"


def _of_matrix(matrix: IntArray, labels: LabelSpace) -> _Summary:
    k = len(labels)
    n, right = int(matrix.sum()), int(np.trace(matrix))
    truth, answers = matrix.sum(axis=1), matrix[:, :k].sum(axis=0)
    top, label = int(answers.argmax()), int(truth.argmax())
    # Shuffled answers: the variance of the hits is that of a sum over a random permutation (Hoeffding 1951).
    t, a = truth.astype(np.float64), answers.astype(np.float64)
    square = t @ a - (t @ a**2 + t**2 @ a) / n + (t @ a) ** 2 / n**2
    agreement = [(right - float(t @ a) / n, _error(float(square), n))]
    if labels.kind is LabelKind.ORDINAL:
        agreement.append(_of_order(matrix[:, :k].astype(np.float64)))
    return _Summary(
        n=n,
        answered=int(answers.sum()),
        right=right,
        top=labels.names[top],
        top_count=int(answers[top]),
        top_true=int(truth[top]),
        label=labels.names[label],
        label_true=int(truth[label]),
        agreement=tuple(agreement),
    )


def _of_order(matrix: FloatArray) -> tuple[float, float]:
    """The covariance of the places of truth and answer in the order of the labels, over the answered rows."""
    n, places = float(matrix.sum()), np.arange(len(matrix), dtype=np.float64)
    if n < 2:
        return 0.0, 0.0
    truth, answers = matrix.sum(axis=1), matrix.sum(axis=0)
    x, y = places - places @ truth / n, places - places @ answers / n
    return float(x @ matrix @ y), _error(float((x**2 @ truth) * (y**2 @ answers)), n)


def _error(square: float, n: float) -> float:
    """The standard error of a sum over a random permutation, whose doubly centred terms have this sum of squares."""
    return math.sqrt(max(square, 0.0) / (n - 1)) if n > 1 and square > 1e-9 else 0.0


def _of_sets(run: Predictions) -> _Summary:
    """Of a multilabel task an answer is a set of labels; agreement is counted label by label."""
    n = len(run)
    given = run.answers * run.answered[:, None]
    sets, counts = np.unique(run.truth, axis=0, return_counts=True)
    label, label_true = sets[counts.argmax()], int(counts.max())
    answered = run.answers[run.answered]
    top, top_count = label, 0
    if len(answered):
        sets, counts = np.unique(answered, axis=0, return_counts=True)
        top, top_count = sets[counts.argmax()], int(counts.max())
    t, a = (part - part.mean(axis=0) for part in (run.truth.astype(np.float64), given.astype(np.float64)))
    value, square = float((t * a).sum()), float(((t.T @ t) * (a.T @ a)).sum())
    return _Summary(
        n=n,
        answered=len(answered),
        right=int(run.correct.sum()),
        top=_named(run.labels, top),
        top_count=top_count,
        top_true=int((run.truth == top).all(axis=1).sum()),
        label=_named(run.labels, label),
        label_true=label_true,
        agreement=((value, _error(square, n)),),
    )


def _named(labels: LabelSpace, chosen: IntArray) -> str:
    return " + ".join(labels.names[i] for i in np.flatnonzero(chosen)) or "none"
