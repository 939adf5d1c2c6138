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
from collections import Counter
from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np

from harness.core.arrays import FloatArray, IntArray
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

Pairs = list[tuple[Example, Prediction]]
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
    pairs = _pair(examples, predictions, labels)
    clusters = numbered([example.group for example, _ in pairs])
    statuses = Counter(p.status for _, p in pairs)
    parsed = np.array([p.status is Status.OK for _, p in pairs])
    scores: _Scores = {"values": {"parse_rate": share(parsed, clusters)}, "per_class": []}
    if labels.kind is LabelKind.MULTILABEL:
        references, answers = _score_multilabel(scores, pairs, labels, clusters)
    else:
        references, answers = _score_single(scores, pairs, labels, threshold, clusters)
    for name in extra_metrics:
        scores["values"].update(extra_metric(name, answers, references))
    support = [label["support"] for label in scores["per_class"]]
    scores["values"] = {name: with_reason(name, found, support, clusters) for name, found in scores["values"].items()}
    reasons = Counter(p.reason or str(p.status) for _, p in pairs if p.status is not Status.OK)
    counts = {"n": len(pairs), **{str(status): statuses[status] for status in Status}}
    if clusters is not None:
        counts["groups"] = group_count(clusters)
    return Metrics.model_validate(
        {**counts, "reasons": dict(sorted(reasons.items())), "headline": headline_of(labels.kind, rank_by), **scores}
    )


def with_reason(name: str, estimate: Estimate, support: Sequence[int], clusters: IntArray | None) -> Estimate:
    """Without an interval that rows of too few groups, or too few rows per label (`support`), can't give; with the reason."""
    reason = too_few(clusters) or (few_rows_per_label(support) if name in OVER_LABELS else None)
    has_none = name == "ece" or range_of(name, 2)[0] == -math.inf  # nor would it have one of other rows
    if reason is None or estimate.value is None or (estimate.low is None and has_none):
        return estimate
    return Estimate(value=estimate.value, low=None, high=None, method=None, reason=reason)


def _pair(examples: Sequence[Example], predictions: Sequence[Prediction], labels: LabelSpace) -> Pairs:
    """Sorted by id, so that no number depends on the order of the rows, not even in its last bit."""
    if not examples:
        raise DataError("There are no rows to score.")
    if len(labels) < 2 and labels.kind is not LabelKind.MULTILABEL:
        raise DataError(f"A {labels.kind} task with {len(labels)} labels can't be scored.", "It needs at least two labels.")
    for what, ids in (("examples", [e.id for e in examples]), ("predictions", [p.id for p in predictions])):
        row, count = Counter(ids).most_common(1)[0] if ids else ("", 0)
        if count > 1:
            raise DataError(f"The {what} hold the id {row!r} {count} times.", "Each row needs an id of its own.")
    by_id = {p.id: p for p in predictions}
    for row in sorted({e.id for e in examples} ^ by_id.keys())[:1]:
        side = "examples" if row in by_id else "predictions"
        raise DataError(f"The {side} have no row {row!r}.", "Score predictions against the rows that they were made for.")
    pairs = [(e, by_id[e.id]) for e in sorted(examples, key=lambda e: e.id)]
    for example, prediction in pairs:
        _check_label(example.label, labels, f"The example {example.id!r}")
        if prediction.status is Status.OK:
            _check_label(prediction.label, labels, f"The prediction {prediction.id!r}")
    return pairs


def _check_label(label: Label | None, labels: LabelSpace, where: str) -> None:
    parts = label if isinstance(label, tuple) else (label,)
    known = all(isinstance(i, int | np.integer) and 0 <= i < len(labels) for i in parts)
    if not known or isinstance(label, tuple) != (labels.kind is LabelKind.MULTILABEL):
        wanted = "a tuple of indices" if labels.kind is LabelKind.MULTILABEL else "an index"
        raise DataError(f"{where} has the label {label!r}.", f"Expected {wanted} from 0 to {len(labels) - 1}.")


def _score_single(
    scores: _Scores, pairs: Pairs, labels: LabelSpace, threshold: int | None, clusters: IntArray | None
) -> tuple[IntArray, IntArray]:
    """Fill in the scores; returns true labels and answers (with the farthest label for none), both of shape (n,)."""
    from sklearn.metrics import f1_score, precision_recall_fscore_support

    k = len(labels)
    truth = np.array([e.label for e, _ in pairs], dtype=np.int64)
    # k, one past the labels, stands for "no answer"
    answers = np.array([p.label if p.status is Status.OK else k for _, p in pairs], dtype=np.int64)
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
    probabilities = _probabilities(pairs, labels)
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


def _probabilities(pairs: Pairs, labels: LabelSpace) -> FloatArray | None:
    """Shape (n, k), with 1/k in the rows without an answer; None unless all answered rows have probabilities."""
    answered = [p for _, p in pairs if p.status is Status.OK]
    if not answered or any(p.probabilities is None for p in answered):
        return None
    k, one_sum = len(labels), labels.kind is not LabelKind.MULTILABEL
    for p in answered:
        given = p.probabilities or ()
        fit = len(given) == k and all(0 <= x <= 1 for x in given)  # NaN does not
        if not fit or (one_sum and abs(sum(given) - 1) > 1e-3):
            wanted = f"{k} numbers from 0 to 1" + (" that sum to 1" if one_sum else "")
            raise DataError(f"The prediction {p.id!r} has the probabilities {given}.", f"Expected {wanted}.")
    return np.array([p.probabilities if p.status is Status.OK else (1 / k,) * k for _, p in pairs], dtype=np.float64)


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


def _score_multilabel(
    scores: _Scores, pairs: Pairs, labels: LabelSpace, clusters: IntArray | None
) -> tuple[IntArray, IntArray]:
    """Fill in the scores; returns true labels and answers as 0/1 arrays of shape (n, k)."""
    from sklearn.metrics import f1_score, hamming_loss, precision_recall_fscore_support

    k = len(labels)
    truth = np.array([_indicators(e.label, k) for e, _ in pairs], dtype=np.int64)
    answered = np.array([p.status is Status.OK for _, p in pairs])
    given = np.array([_indicators(p.label if p.status is Status.OK else None, k) for _, p in pairs], dtype=np.int64)
    wrong = np.repeat(truth.sum(axis=1, keepdims=True) == 0, k, axis=1)
    answers = np.where(answered[:, None], given, wrong).astype(np.int64)
    # one column alone is a binary task to scikit-learn, which would average over its 0 and 1
    options: dict[str, Any] = {"labels": range(k) if k > 1 else [1], "zero_division": np.nan}
    scores["per_class"] = _per_class(labels, precision_recall_fscore_support(truth, answers, average=None, **options))
    f1s = {f"{average}_f1": f1_score(truth, answers, average=average, **options) for average in ("micro", "macro")}
    values = scores["values"]
    values.update(multilabel_f1_intervals(f1s, truth, answers, clusters))
    values["hamming_loss"] = hamming_interval(float(hamming_loss(truth, answers)), truth, answers, clusters)
    values["subset_accuracy"] = share(answered & (truth == answers).all(axis=1), clusters)
    probabilities = _probabilities(pairs, labels)
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
