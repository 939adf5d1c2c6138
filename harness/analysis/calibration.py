"""How well a model's confidence fits its accuracy: reliability table, calibration error and its bias, accuracy by confidence.

Confidence is the probability of the answer given. A row without a parsed answer has none: it is outside the bins, adds 1 to the
mean in the calibration error (as in `metrics`), and comes last where rows are ordered by confidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from harness.analysis.pricing import tuning_labels
from harness.analysis.related_runs import chose_checkpoint, command_on, matching_validation_run
from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.core.errors import UserError
from harness.core.predictions import ObjectArray, Predictions
from harness.core.record import Estimate, RunRecord
from harness.core.types import Decision, LabelKind
from harness.records.entries import Entry, read_entry
from harness.records.predictions import read_predictions
from harness.records.store import Store
from harness.running.calibration import decide
from harness.statistics.brier import BrierParts, brier_parts, classwise_error
from harness.statistics.clusters import degrees, numbered, quantile, variance_of_sum
from harness.statistics.intervals import farthest_labels, share
from harness.statistics.metrics import ECE_BINS, with_reason
from harness.statistics.temperature import Temperature, fit_temperature, negative_log_likelihood, scaled

COVERAGES = tuple(tenth / 10 for tenth in range(10, 0, -1))
_REPLICATES = 2000
_FINENESS = 1000


@dataclass(frozen=True, slots=True)
class Bin:
    """Answered rows with low < confidence <= high; the first bin also holds 0."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """ECE and its bias at this n.

    `calibrated`: the ECE that a perfectly calibrated model with these confidences would show on average, `calibrated_high` at
    most in 95% of samples; `p`: the share of such samples with an ECE at least as large as this one. `debiased`: the ECE less
    its estimated bias, at least 0.
    """

    value: float
    calibrated: float
    calibrated_high: float
    p: float
    debiased: float


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over all rows. `classwise_ece`: of each label's own probability, not of the answer's alone. `log_loss` in nats,
    with `temperature.SMALLEST` for probabilities of 0; `brier` from 0 to 2, with its decomposition."""

    ece: CalibrationError
    classwise_ece: float
    log_loss: float
    brier: float
    brier_parts: BrierParts


@dataclass(frozen=True, slots=True)
class Coverage:
    """The rows with a confidence of at least `threshold`: the smallest such set with at least `wanted` of all rows."""

    wanted: float
    threshold: float
    rows: int
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Scaling:
    """A temperature fitted on the `rows` of the validation run `run`, and its effect on the test rows.

    `saved`: how much log loss falls, with its 95% interval (paired rows, normal approximation). `decision`: how labels are
    taken from the scaled probabilities, too: `changed` differ, `accuracy` is that of all rows. `labels`: of `rows`, those
    whose labels no training used. `seen`: the validation rows also chose the model's checkpoint, so it may be more confident
    on them.
    """

    temperature: Temperature
    run: str
    rows: int
    scores: Scores
    saved: Estimate
    decision: Decision
    changed: int
    accuracy: float
    seen: bool
    labels: int


@dataclass(frozen=True)
class Reliability:
    """Of one run. `gap`: mean confidence less accuracy over the answered rows, with its 95% interval; above 0: overconfident.

    `scaling` is None where the store has no run of the same model on validation rows; `command` makes one.
    """

    entry: Entry
    n: int
    answered: int
    confidence: float
    gap: Estimate
    bins: list[Bin]
    scores: Scores
    coverage: list[Coverage]
    aurc: float
    best_aurc: float
    error: float
    scaling: Scaling | None
    command: str


def reliability_of(store: Store, run_id: str, bins: int = ECE_BINS) -> Reliability:
    """Raises `UserError` for a multilabel task, and where the run has no probabilities."""
    run = with_confidence(read_predictions(store, run_id))
    entry = read_entry(store, run_id)
    stated, correct, answered = confidence(run), run.correct, run.answered
    return Reliability(
        entry=entry,
        n=len(run),
        answered=int(answered.sum()),
        confidence=float(stated[answered].mean()),
        gap=mean_interval(stated[answered] - correct[answered], _clusters(run, answered)),
        bins=bins_of(stated[answered], correct[answered], bins, None if run.groups is None else run.groups[answered]),
        scores=scores_of(run, bins),
        coverage=[at_coverage(stated, correct, wanted, run.groups) for wanted in COVERAGES],
        aurc=aurc(stated, correct),
        best_aurc=aurc(correct.astype(float), correct),
        error=1 - int(correct.sum()) / len(run),
        scaling=_scaling(store, run, entry.record, bins),
        command=command_on(entry.record, "validation"),
    )


def with_confidence(run: Predictions) -> Predictions:
    """The run itself. Raises `UserError` where its rows have no confidence."""
    if run.labels.kind is LabelKind.MULTILABEL:
        raise UserError(
            f"{run.run_id} is of a multilabel task: its answers are sets of labels, which have no probability.",
            "Name a run of an ordinal or nominal task.",
        )
    if run.probabilities is None:
        raise UserError(
            f"{run.run_id} has no probabilities, so its answers have no confidence.",
            "A language model gives them with `bench run ... --decoding score`; a trained backend always does.",
        )
    return run


def confidence(run: Predictions) -> FloatArray:
    """Probability of each row's answer, shape (n,); 0 where there is none. Raises `UserError` as `with_confidence`."""
    found = with_confidence(run).probabilities
    assert found is not None
    stated = found[np.arange(len(run)), np.where(run.answered, run.answers, 0)]
    return np.where(run.answered, stated, 0.0)


def _share(correct: BoolArray, groups: ObjectArray | None, inside: BoolArray) -> Estimate:
    """Of right answers among the rows that are inside; without an interval where these are of too few groups."""
    clusters = None if groups is None else numbered(groups[inside])
    return with_reason("accuracy", share(correct[inside], clusters), [], clusters)


def _clusters(run: Predictions, chosen: BoolArray) -> IntArray | None:
    return None if run.groups is None else numbered(run.groups[chosen])


def mean_interval(values: FloatArray, clusters: IntArray | None = None) -> Estimate:
    """Mean and its 95% interval by Student's t (of rows in groups by their sums); no width for a single value or group."""
    mean, n = float(values.mean()), len(values)
    if degrees(n, clusters) < 1:
        return Estimate(value=mean, low=mean, high=mean)
    half = quantile(n, clusters) * math.sqrt(variance_of_sum(values - mean, clusters)) / n
    return Estimate(value=mean, low=mean - half, high=mean + half)


def _places(stated: FloatArray, bins: int) -> IntArray:
    return np.clip(np.ceil(stated * bins).astype(np.int64) - 1, 0, bins - 1)


def bins_of(stated: FloatArray, correct: BoolArray, bins: int, groups: ObjectArray | None = None) -> list[Bin]:
    """The bins of equal width that hold a row."""
    places = _places(stated, bins)
    return [
        Bin(i / bins, (i + 1) / bins, int(inside.sum()), float(stated[inside].mean()), _share(correct, groups, inside))
        for i in np.unique(places).tolist()
        for inside in [places == i]
    ]


def calibration_error(stated: FloatArray, correct: BoolArray, missing: int, bins: int) -> CalibrationError:
    """Of rows with an answer, shape (n,), and `missing` rows without.

    The bias has two sides. Chance moves a bin's accuracy away from its confidence, which the ECE counts as an error: the
    fewer the rows, the more. That side is estimated here: by drawing outcomes from the confidences themselves (consistency
    resampling, Bröcker & Smith 2007), and, where the model is not calibrated, by the mean of a folded normal distribution
    around each bin's gap (Kumar et al. 2019, "Verified Uncertainty Calibration", NeurIPS; Roelofs et al. 2022, "Mitigating
    Bias in Calibration Error Estimation", AISTATS). The other side is not: errors that cancel within a bin do not show.
    """
    from scipy.stats import foldnorm

    places, n = _places(stated, bins), len(stated) + missing
    count = np.bincount(places, minlength=bins).astype(float)
    hits = np.bincount(places, weights=correct, minlength=bins)
    sums = np.bincount(places, weights=stated, minlength=bins)
    value = (np.abs(hits - sums).sum() + missing) / n
    simulated = (_gaps_if_calibrated(stated, places, bins) + missing) / n
    filled = count > 0
    m = count[filled]
    rate = (hits[filled] + 0.5) / (m + 1)  # a bin with only right answers is not known to have no spread
    spread = np.sqrt(rate * (1 - rate) / m)
    gap = np.abs(hits - sums)[filled] / m
    bias = (m * (foldnorm.mean(gap / spread, scale=spread) - gap)).sum() / n
    return CalibrationError(
        value=float(value),
        calibrated=float(simulated.mean()),
        calibrated_high=float(np.quantile(simulated, 0.95)),
        p=float((1 + (simulated >= value - 1e-12).sum()) / (1 + len(simulated))),
        debiased=float(max(value - bias, 0.0)),
    )


def _gaps_if_calibrated(stated: FloatArray, places: IntArray, bins: int) -> FloatArray:
    """Sum over bins of |right answers - sum of confidences| in each of _REPLICATES samples in which every confidence is true.

    Rows of a bin whose confidences agree to a thousandth are drawn together from one binomial distribution, so that the cost
    does not grow with n; the variance is thereby too large by less than n / 4,000,000.
    """
    cells, inverse = np.unique(places * (_FINENESS + 1) + np.round(stated * _FINENESS).astype(np.int64), return_inverse=True)
    count = np.bincount(inverse)
    mean = np.clip(np.bincount(inverse, weights=stated) / count, 0, 1)
    rng = np.random.default_rng(0)
    drawn = rng.binomial(count, mean, size=(_REPLICATES, len(cells))) - count * mean
    starts = np.flatnonzero(np.diff(cells // (_FINENESS + 1), prepend=-1))
    return np.asarray(np.abs(np.add.reduceat(drawn, starts, axis=1)).sum(axis=1))


def scores_of(run: Predictions, bins: int = ECE_BINS) -> Scores:
    """A row without an answer counts as in `metrics`: all its probability is on the wrong label farthest from the truth."""
    stated, answered, k = confidence(run), run.answered, len(run.labels)
    assert run.probabilities is not None
    one_hot = np.eye(k)
    worst = np.where(answered[:, None], run.probabilities, one_hot[farthest_labels(k)[run.truth]])
    ece = calibration_error(stated[answered], run.correct[answered], int((~answered).sum()), bins)
    brier = float(((worst - one_hot[run.truth]) ** 2).sum(axis=1).mean())
    return Scores(
        ece,
        classwise_error(worst, run.truth, bins),
        float(negative_log_likelihood(worst, run.truth).mean()),
        brier,
        brier_parts(worst, run.truth, bins),
    )


def at_coverage(stated: FloatArray, correct: BoolArray, wanted: float, groups: ObjectArray | None = None) -> Coverage:
    """Accuracy of the most confident rows. Rows of equal confidence are on the same side of a threshold."""
    order = np.sort(stated)[::-1]
    threshold = float(order[math.ceil(wanted * len(stated) - 1e-9) - 1])
    inside = stated >= threshold
    return Coverage(wanted, threshold, int(inside.sum()), _share(correct, groups, inside))


def aurc(stated: FloatArray, correct: BoolArray) -> float:
    """Area under the risk-coverage curve: the mean error rate of the most confident 1, 2, ... n rows (Geifman & El-Yaniv 2017).

    Rows of equal confidence are in random order: this is the mean over all such orders. A random order gives the error rate.
    """
    _, inverse, count = np.unique(-stated, return_inverse=True, return_counts=True)
    wrong = np.bincount(inverse, weights=~correct) / count  # share of wrong rows among those of equal confidence
    return float((np.cumsum(np.repeat(wrong, count)) / np.arange(1, len(stated) + 1)).mean())


def _scaling(store: Store, run: Predictions, record: RunRecord, bins: int) -> Scaling | None:
    name = None if run.identity.split == "validation" else matching_validation_run(store, run.run_id)
    if name is None:
        return None
    held_out = with_confidence(read_predictions(store, name))
    fitted = held_out.take(np.flatnonzero(held_out.answered).astype(np.int64))
    assert fitted.probabilities is not None
    assert run.probabilities is not None
    temperature = fit_temperature(fitted.probabilities, fitted.truth)
    decision = run.identity.decision
    after, rows, truth = _at(run, run.probabilities, temperature, decision), run.answered, run.truth[run.answered]
    loss = [negative_log_likelihood(one.probabilities[rows], truth) for one in (run, after) if one.probabilities is not None]
    return Scaling(
        temperature=temperature,
        run=name,
        rows=len(fitted),
        scores=scores_of(after, bins),
        saved=mean_interval(loss[0] - loss[1], _clusters(run, rows)),
        decision=decision,
        changed=int((after.answers != run.answers).sum()),
        accuracy=float(after.correct.mean()),
        seen=chose_checkpoint(record),
        labels=tuning_labels([record], len(held_out)),
    )


def _at(run: Predictions, recorded: FloatArray, temperature: Temperature, decision: Decision) -> Predictions:
    """The run at a temperature. It changes no likeliest label, but may change an expected value or a median."""
    probabilities, answers = scaled(recorded, temperature.value), run.answers
    if decision is not Decision.ARGMAX:
        answers = np.where(run.answered, np.array([decide(row, decision) for row in probabilities]), answers)
    return replace(run, probabilities=probabilities, answers=answers)
