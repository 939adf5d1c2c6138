"""From examples and predictions to numbers.

A row without a parsed answer (status unparsed or failed) is wrong in every metric and never dropped:

| metric | such a row counts as |
|---|---|
| accuracy, off_by_one, binary_accuracy, subset_accuracy | wrong |
| F1s of a single-label task | a miss of its true label, and an answer of no label |
| balanced_accuracy | wrong, for its true label |
| mae, macro_mae | the most the row can err: max(y, k - 1 - y) |
| qwk, spearman, metrics of `evaluate` | the label farthest from the truth; a tie goes to the low end |
| qwk_parsed | left out; it is there only where some row has no answer |
| log_loss, brier | all probability on a wrong label (log_loss clips at the machine's epsilon: 36.04 a row) |
| roc_auc | ranked last for its true labels and first for all others |
| ece | a bin of its own with confidence 1 and accuracy 0 |
| F1s and hamming_loss of a multilabel task | the empty set; all labels where the truth is the empty set |

No answer is thereby never better than a *correct* answer, except in qwk, qwk_parsed and spearman (they measure association, and
moving one answer to the far end can raise them), and perhaps in a metric of `evaluate`. Than a
*wrong* answer it can be better in the F1s and hamming_loss, where that also costs the label it names. See parse_rate.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import numpy as np

from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.core.errors import DataError, UserError
from harness.core.record import Estimate, Metrics
from harness.core.types import Example, Label, LabelKind, LabelSpace, Prediction, Status
from harness.statistics import intervals
from harness.statistics.by_label import (
    OVER_LABELS,
    f1_intervals,
    few_rows_per_label,
    hamming_interval,
    label_mean,
    multilabel_f1_intervals,
)
from harness.statistics.clusters import group_count, numbered, too_few
from harness.statistics.estimates import finite, plain
from harness.statistics.extra_metrics import extra_metric
from harness.statistics.intervals import MANY, booted, share
from harness.statistics.row_means import distances, known_metrics
from harness.statistics.row_means import one_hot as one_hot_labels
from harness.statistics.temperature import unrounded

Values = dict[str, Estimate]
OfCounts = dict[str, tuple[float, intervals.Statistic]]
CalibrationBin = dict[str, float]

ECE_BINS = 15
SURE = float(np.finfo(np.float64).eps)
"""Where log_loss clips, as scikit-learn's does."""
LOWER_IS_BETTER = frozenset({"mae", "macro_mae", "log_loss", "brier", "ece", "hamming_loss"})
HEADLINES = {
    LabelKind.ORDINAL: ["accuracy", "macro_f1", "mae", "qwk"],
    LabelKind.NOMINAL: ["accuracy", "macro_f1"],
    LabelKind.MULTILABEL: ["micro_f1", "macro_f1", "subset_accuracy"],
}
"""The first one ranks, unless the task says otherwise (`rank_by`)."""
_SIGNED = frozenset({"qwk", "qwk_parsed", "spearman"})
_SHARES = frozenset(
    {
        *("accuracy", "balanced_accuracy", "binary_accuracy", "off_by_one", "parse_rate", "subset_accuracy", "hamming_loss"),
        *("macro_f1", "micro_f1", "weighted_f1", "roc_auc", "ece"),
    }
)


def range_of(metric: str, labels: int) -> tuple[float, float]:
    """The smallest and the largest value that a metric of a task with so many labels can have; infinite where neither is known
    (log loss, metrics of `evaluate`)."""
    if metric in _SHARES:
        return 0.0, 1.0
    if metric in _SIGNED:
        return -1.0, 1.0
    if metric in ("mae", "macro_mae"):
        return 0.0, labels - 1.0
    if metric in ("brier", "log_loss"):
        return 0.0, 2.0 if metric == "brier" else math.inf
    return -math.inf, math.inf


def rankable(kind: LabelKind) -> list[str]:
    """The metrics that a task may rank by: those that every run has, whether or not it has probabilities, and that can be
    tested."""
    return known_metrics(kind, probable=False)


def headline_of(kind: LabelKind, rank_by: str | None = None) -> list[str]:
    """The headline metrics, the one that ranks first. `rank_by`: None for the default of this kind of labels."""
    usual = HEADLINES[kind]
    return usual if rank_by is None else [rank_by, *(name for name in usual if name != rank_by)]


@dataclass(frozen=True)
class _Rows:
    """Examples and predictions as arrays, sorted by id. `truth` and `given`: label indices, k for no answer; of a multilabel
    task 0 or 1 for each label, shape (n, k). `probabilities`: shape (n, k), 1/k in rows without an answer; None unless all
    answered rows have them."""

    truth: IntArray
    given: IntArray
    answered: BoolArray
    probabilities: FloatArray | None
    clusters: IntArray | None
    statuses: Counter[Status]
    reasons: Counter[str]


class _Scores(TypedDict):
    """What the functions below fill in, before it becomes `Metrics`."""

    values: Values
    per_class: list[dict[str, Any]]
    confusion: NotRequired[list[list[int]]]
    calibration_bins: NotRequired[list[CalibrationBin]]


def evaluate_predictions(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    labels: LabelSpace,
    *,
    threshold: int | None = None,
    extra_metrics: Sequence[str] = (),
    rank_by: str | None = None,
) -> Metrics:
    """Score predictions against examples, paired by id; the order of the rows does not matter.

    `threshold` t adds binary_accuracy to an ordinal task: label index <= t against > t, 0 <= t < k - 1.
    `extra_metrics` are names or local folders of Hugging Face `evaluate` metrics: this runs their code. `rank_by`: the first
    headline metric, one of `rankable`.
    Probability metrics need probabilities in all answered rows. Raises `DataError` for ids that repeat or differ as
    sets, unknown labels, malformed probabilities; `UserError` for the threshold; `MissingExtra`, `RunError` for the extras.
    """
    if threshold is not None and not (labels.kind is LabelKind.ORDINAL and 0 <= threshold < len(labels) - 1):
        hint = f"Only an ordinal task has one; with {len(labels)} labels, from 0 to {len(labels) - 2}."
        raise UserError(f"The threshold {threshold} does not fit this {labels.kind} task.", hint)
    rows = _paired(examples, predictions, labels)
    clusters = rows.clusters
    scores: _Scores = {"values": {"parse_rate": share(rows.answered, clusters)}, "per_class": []}
    if labels.kind is LabelKind.MULTILABEL:
        references, answers = _score_multilabel(scores, rows, labels)
    else:
        references, answers = _score_single(scores, rows, labels, threshold)
    for name in extra_metrics:
        scores["values"].update(extra_metric(name, answers, references))
    support = [label["support"] for label in scores["per_class"]]
    scores["values"] = {name: with_reason(name, found, support, clusters) for name, found in scores["values"].items()}
    counts = {"n": len(rows.truth), **{str(status): rows.statuses[status] for status in Status}}
    if clusters is not None:
        counts["groups"] = group_count(clusters)
    return Metrics.model_validate(
        {**counts, "reasons": dict(sorted(rows.reasons.items())), "headline": headline_of(labels.kind, rank_by), **scores}
    )


def with_reason(name: str, estimate: Estimate, support: Sequence[int], clusters: IntArray | None) -> Estimate:
    """Without an interval that rows of too few groups, or too few rows per label (`support`), can't give; with the reason."""
    reason = too_few(clusters) or (few_rows_per_label(support) if name in OVER_LABELS else None)
    has_none = name == "ece" or range_of(name, 2)[0] == -math.inf  # nor would it have one of other rows
    if reason is None or estimate.value is None or (estimate.low is None and has_none):
        return estimate
    return Estimate(value=estimate.value, low=None, high=None, method=None, reason=reason)


def _paired(examples: Sequence[Example], predictions: Sequence[Prediction], labels: LabelSpace) -> _Rows:
    """Sorted by id, so that no number depends on the order of the rows, not even in its last bit."""
    if not examples:
        raise DataError("There are no rows to score.")
    k, several = len(labels), labels.kind is LabelKind.MULTILABEL
    if k < 2 and not several:
        raise DataError(f"A {labels.kind} task with {k} labels can't be scored.", "It needs at least two labels.")
    examples = sorted(examples, key=lambda example: example.id)
    for example in examples:
        _check_label(example.label, labels, "The example", example.id)
    ids: list[str] = []  # of the predictions, in their order, as are the lists below
    answers: list[Label | None] = []
    given = _Given(labels)
    statuses: Counter[Status] = Counter()
    reasons: Counter[str] = Counter()
    for prediction in predictions:
        ids.append(prediction.id)
        statuses[prediction.status] += 1
        if prediction.status is Status.OK:
            _check_label(prediction.label, labels, "The prediction", prediction.id)
            answers.append(prediction.label)
            given.add(prediction)
        else:
            reasons[prediction.reason or str(prediction.status)] += 1
            answers.append(None)
    order = np.argsort(_places(examples, ids))
    answered = np.array([answer is not None for answer in answers])
    probabilities = given.of_all(answered, ids)
    return _Rows(
        truth=label_array([example.label for example in examples], labels),
        given=label_array(answers, labels)[order],
        answered=answered[order],
        probabilities=None if probabilities is None else probabilities[order],
        clusters=numbered([example.group for example in examples]),
        statuses=statuses,
        reasons=reasons,
    )


def _places(examples: Sequence[Example], ids: Sequence[str]) -> IntArray:
    """The position of each prediction's row in `examples`, which are sorted by id."""
    known = [example.id for example in examples]
    place = dict(zip(known, range(len(known)), strict=True))
    if len(place) < len(known):
        raise _twice("examples", known)
    if len(set(ids)) < len(ids):
        raise _twice("predictions", ids)
    if len(ids) != len(place) or any(row_id not in place for row_id in ids):
        row = min(set(ids) ^ place.keys())
        side = "examples" if row not in place else "predictions"
        raise DataError(f"The {side} have no row {row!r}.", "Score predictions against the rows that they were made for.")
    return np.fromiter(map(place.__getitem__, ids), dtype=np.int64, count=len(ids))


def _twice(what: str, ids: Sequence[str]) -> DataError:
    row, count = Counter(ids).most_common(1)[0]
    return DataError(f"The {what} hold the id {row!r} {count} times.", "Each row needs an id of its own.")


class _Given:
    """The probabilities of the answered rows, put together as they come."""

    def __init__(self, labels: LabelSpace) -> None:
        self._k, self._one_sum = len(labels), labels.kind is not LabelKind.MULTILABEL
        self._flat, self._whole = array("d"), True

    def add(self, prediction: Prediction) -> None:
        """Raises `DataError` for another number of probabilities than of labels."""
        if prediction.probabilities is None:
            self._whole = False
        elif len(prediction.probabilities) != self._k:
            raise self._error(prediction.id, prediction.probabilities)
        else:
            self._flat.extend(prediction.probabilities)

    def of_all(self, answered: BoolArray, ids: Sequence[str]) -> FloatArray | None:
        """Shape (n, k), with 1/k in the rows without an answer; None unless all answered rows have probabilities. Raises
        `DataError`."""
        rows = np.frombuffer(self._flat, dtype=np.float64).reshape(-1, self._k)
        wrong = ~((rows >= 0) & (rows <= 1)).all(axis=1)  # NaN is neither
        if self._one_sum:
            wrong |= np.abs(rows.sum(axis=1) - 1) > 1e-3
        with_some = np.flatnonzero(answered)
        if self._whole and wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            raise self._error(ids[with_some[first]], tuple(rows[first].tolist()))
        if not self._whole or not len(with_some):
            return None
        found = np.full((len(ids), self._k), 1 / self._k)
        found[with_some] = rows
        return found

    def _error(self, row: str, given: tuple[float, ...]) -> DataError:
        wanted = f"{self._k} numbers from 0 to 1" + (" that sum to 1" if self._one_sum else "")
        return DataError(f"The prediction {row!r} has the probabilities {given}.", f"Expected {wanted}.")


def _check_label(label: Label | None, labels: LabelSpace, side: str, row: str) -> None:
    if type(label) is int and 0 <= label < len(labels) and labels.kind is not LabelKind.MULTILABEL:
        return
    parts = label if isinstance(label, tuple) else (label,)
    known = all(isinstance(i, int | np.integer) and 0 <= i < len(labels) for i in parts)
    if not known or isinstance(label, tuple) != (labels.kind is LabelKind.MULTILABEL):
        wanted = "a tuple of indices" if labels.kind is LabelKind.MULTILABEL else "an index"
        raise DataError(f"{side} {row!r} has the label {label!r}.", f"Expected {wanted} from 0 to {len(labels) - 1}.")


def _score_single(scores: _Scores, rows: _Rows, labels: LabelSpace, threshold: int | None) -> tuple[IntArray, IntArray]:
    """Fill in the scores; returns true labels and answers (with the farthest label for none), both of shape (n,)."""
    from sklearn.metrics import f1_score, precision_recall_fscore_support

    k = len(labels)
    truth, answers, clusters, probabilities = rows.truth, rows.given, rows.clusters, rows.probabilities
    f1_options: dict[str, Any] = {"labels": range(k), "zero_division": np.nan}  # "no answer" is no label to average
    scores["per_class"] = _per_class(labels, precision_recall_fscore_support(truth, answers, average=None, **f1_options))
    values = scores["values"]
    values["accuracy"] = share(truth == answers, clusters)
    f1s = {f"{average}_f1": f1_score(truth, answers, average=average, **f1_options) for average in ("macro", "weighted")}
    values.update(f1_intervals(f1s, truth, answers, k, clusters))
    recalls = [label["recall"] for label in scores["per_class"] if label["recall"] is not None]
    right = (truth == answers).astype(np.float64)
    values["balanced_accuracy"] = label_mean(float(np.mean(recalls)), truth, right, k, 1.0, clusters)
    filled = np.where(answers == k, intervals.farthest_labels(k)[truth], answers)
    ordinal = labels.kind is LabelKind.ORDINAL
    if ordinal or k <= MANY:
        cells = np.bincount(truth * (k + 1) + answers, minlength=k * (k + 1)).reshape(k, k + 1)
        scores["confusion"] = cells.tolist()
    if ordinal:
        values.update(_ordinal_shares(truth, answers, k, threshold, clusters))
        values.update(_ordinal(truth, answers, k, clusters))
    if probabilities is not None:
        probabilities /= probabilities.sum(axis=1, keepdims=True)  # what a rounded file lost
        values.update(_probability_metrics(truth, answers, probabilities, clusters))
        scores["calibration_bins"], values["ece"] = _calibration(truth, answers, probabilities)
    return truth, filled


def _ordinal_shares(truth: IntArray, answers: IntArray, k: int, threshold: int | None, clusters: IntArray | None) -> Values:
    answered = answers < k
    values = {"off_by_one": share(answered & (np.abs(truth - answers) <= 1), clusters)}
    if threshold is not None:
        values["binary_accuracy"] = share(answered & ((truth <= threshold) == (answers <= threshold)), clusters)
    return values


def _ordinal(truth: IntArray, answers: IntArray, k: int, clusters: IntArray | None) -> Values:
    """MAE, QWK, Spearman; macro-averaged MAE (Baccianella, Esuli and Sebastiani 2009); and QWK of the parsed rows, where some
    are not."""
    from scipy.stats import spearmanr
    from sklearn.metrics import mean_absolute_error

    filled = np.where(answers == k, intervals.farthest_labels(k)[truth], answers)
    rho = spearmanr(truth, filled).statistic if np.ptp(truth) and np.ptp(filled) else math.nan
    values = _booted(
        {
            "mae": (mean_absolute_error(truth, filled), intervals.mae),
            "qwk": (_kappa(truth, filled, k), intervals.qwk),
            "spearman": (rho, intervals.spearman),
        },
        *(truth, answers, k, clusters),
    )
    steps = distances(truth, answers, k)
    by_label = float(np.mean([steps[truth == label].mean() for label in np.unique(truth)]))
    values["macro_mae"] = label_mean(by_label, truth, steps, k, k - 1.0, clusters)
    parsed = np.flatnonzero(answers < k)
    if 0 < len(parsed) < len(truth):
        kept = None if clusters is None else np.unique(clusters[parsed], return_inverse=True)[1]
        kappa = _kappa(truth[parsed], answers[parsed], k)
        values |= _booted({"qwk_parsed": (kappa, intervals.qwk)}, truth[parsed], answers[parsed], k, kept)
    return values


def _booted(values: OfCounts, truth: IntArray, answers: IntArray, k: int, clusters: IntArray | None) -> Values:
    """With their bootstrap intervals."""
    cells = np.bincount(truth * (k + 1) + answers, minlength=k * (k + 1)).reshape(k, k + 1)
    by_group = intervals.cells_by_group(truth, answers, k, clusters)
    return booted(values, cells, intervals.pseudo_cells(cells), by_group=by_group)


def _kappa(truth: IntArray, answers: IntArray, k: int) -> float:
    from sklearn.metrics import cohen_kappa_score

    one_label = len(np.union1d(truth, answers)) == 1
    return math.nan if one_label else float(cohen_kappa_score(truth, answers, labels=range(k), weights="quadratic"))


def _probability_metrics(truth: IntArray, answers: IntArray, probabilities: FloatArray, clusters: IntArray | None) -> Values:
    """roc_auc (one-vs-rest, macro), log_loss, brier: squared distances summed over labels, 0 to 2 (Brier 1950)."""
    k = probabilities.shape[1]
    lost = answers == k
    one_hot = one_hot_labels(truth, k).astype(np.float64)
    worst = np.where(lost[:, None], one_hot_labels(intervals.farthest_labels(k)[truth], k), probabilities)
    given = np.where(lost, 0.0, unrounded(probabilities)[np.arange(len(truth)), truth])
    return {
        "roc_auc": intervals.roc_auc(one_hot, np.where(lost[:, None], 1 - one_hot, probabilities), clusters),
        "log_loss": intervals.mean_of(-np.log(np.clip(given, SURE, 1 - SURE)), clusters),
        "brier": intervals.mean_of(((worst - one_hot) ** 2).sum(axis=1), clusters),
    }


def _calibration(truth: IntArray, answers: IntArray, probabilities: FloatArray) -> tuple[list[CalibrationBin], Estimate]:
    """Expected calibration error on the answered label's confidence, 15 bins of equal width (Guo et al. 2017).

    A row without an answer adds the largest gap there is, 1. Inside the top bin it could *mend* a gap instead.
    """
    answered = np.flatnonzero(answers < probabilities.shape[1])
    confidence = probabilities[answered, answers[answered]]
    correct = truth[answered] == answers[answered]
    place = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    bins: list[CalibrationBin] = []
    for i in np.unique(place):
        inside = place == i
        means = {"confidence": float(confidence[inside].mean()), "accuracy": float(correct[inside].mean())}
        bins.append({"low": float(i / ECE_BINS), "high": float((i + 1) / ECE_BINS), "count": int(inside.sum()), **means})
    gaps = sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins)
    return bins, plain((gaps + len(truth) - len(answered)) / len(truth))


def _score_multilabel(scores: _Scores, rows: _Rows, labels: LabelSpace) -> tuple[IntArray, IntArray]:
    """Fill in the scores; returns true labels and answers as 0/1 arrays of shape (n, k)."""
    from sklearn.metrics import f1_score, hamming_loss, precision_recall_fscore_support

    k = len(labels)
    truth, answered, clusters, probabilities = rows.truth, rows.answered, rows.clusters, rows.probabilities
    wrong = np.repeat(truth.sum(axis=1, keepdims=True) == 0, k, axis=1)
    answers = np.where(answered[:, None], rows.given, wrong).astype(np.int64)
    # one column alone is a binary task to scikit-learn, which would average over its 0 and 1
    options: dict[str, Any] = {"labels": range(k) if k > 1 else [1], "zero_division": np.nan}
    scores["per_class"] = _per_class(labels, precision_recall_fscore_support(truth, answers, average=None, **options))
    f1s = {f"{average}_f1": f1_score(truth, answers, average=average, **options) for average in ("micro", "macro")}
    values = scores["values"]
    values.update(multilabel_f1_intervals(f1s, truth, answers, clusters))
    values["hamming_loss"] = hamming_interval(float(hamming_loss(truth, answers)), truth, answers, clusters)
    values["subset_accuracy"] = share(answered & (truth == answers).all(axis=1), clusters)
    if probabilities is not None:
        values["roc_auc"] = intervals.roc_auc(
            truth.astype(float), np.where(answered[:, None], probabilities, 1.0 - truth), clusters
        )
    return truth, answers


def label_array(found: Sequence[Label | None], labels: LabelSpace) -> IntArray:
    """Labels as numbers, shape (n,), None as the label k; of a multilabel task 0 or 1 for each label, shape (n, k)."""
    k = len(labels)
    if labels.kind is LabelKind.MULTILABEL:
        return np.array([_indicators(label, k) for label in found], dtype=np.int64).reshape(-1, k)
    return np.array([k if label is None else label for label in found], dtype=np.int64)


def _indicators(label: Label | None, k: int) -> list[int]:
    chosen = label if isinstance(label, tuple) else ()
    return [int(i in chosen) for i in range(k)]


def _per_class(labels: LabelSpace, scores: tuple[FloatArray, ...]) -> list[dict[str, Any]]:
    return [
        {"name": name, "precision": finite(p), "recall": finite(r), "f1": finite(f), "support": int(s)}
        for name, p, r, f, s in zip(labels.names, *scores, strict=True)
    ]
