"""Coverage with many labels, of rows in groups, and of sets of labels. The rival is what bench did before, or what is usual."""

from __future__ import annotations

import _cells
import numpy as np
from _coverage_designs import Design, Grouped, Sets

from harness.core.arrays import FloatArray, IntArray
from harness.core.record import Estimate
from harness.statistics import intervals
from harness.statistics.by_label import f1_intervals, hamming_interval, label_mean, multilabel_f1_intervals
from harness.statistics.metrics import with_reason

Estimates = dict[str, Estimate]
Bounds = dict[str, tuple[float, float]]
RIVAL_REPLICATES = 300
RIVAL_SELDOM = 12  # with many labels the rival takes most of the time
MANY_ROWS, SETS_ROWS = (200, 500, 2000), (50, 200, 500)
MANY_METRICS = ("macro_f1", "weighted_f1", "balanced_accuracy")
GROUPED_METRICS = ("accuracy", "macro_f1", "balanced_accuracy", "mae", "macro_mae", "qwk", "log_loss", "brier", "roc_auc")
SETS_METRICS = ("micro_f1", "macro_f1", "hamming_loss")
POPULATION_GROUPS = 20_000


def many_truth(design: Design) -> dict[str, float]:
    shares = design.shares[None]
    recall = np.diagonal(design.shares) / design.shares.sum(axis=1)
    f1s = {"macro_f1": _cells.macro_f1(shares), "weighted_f1": _cells.weighted_f1(shares)}
    return {name: float(value[0]) for name, value in f1s.items()} | {"balanced_accuracy": float(recall.mean())}


def many_sample(design: Design, n: int, rng: np.random.Generator, *, rival: bool) -> tuple[Estimates, Bounds]:
    """The rival is the bias-corrected bootstrap; of balanced accuracy there is none."""
    k = len(design.shares)
    cells = rng.multinomial(n, design.shares.ravel()).reshape(k, k + 1)
    places = np.nonzero(cells)
    truth, answers = (np.repeat(part, cells[places]) for part in places)
    statistics = {"macro_f1": _cells.macro_f1, "weighted_f1": _cells.weighted_f1}
    values = {name: float(statistic(cells[None])[0]) for name, statistic in statistics.items()}
    rows = cells.sum(axis=1)
    recall = float((np.diagonal(cells)[rows > 0] / rows[rows > 0]).mean())
    ours = f1_intervals(values, truth, answers, k)
    ours["balanced_accuracy"] = label_mean(recall, truth, (truth == answers).astype(float), k)
    ours = {name: with_reason(name, found, rows.tolist(), None) for name, found in ours.items()}
    if not rival:
        return ours, {}
    before = _resampled_f1s(truth, answers, k, rng)
    return ours, {name: intervals.bias_corrected(before[name], values[name]) for name in values}


def _resampled_f1s(truth: IntArray, answers: IntArray, k: int, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Macro and weighted F1 of resampled rows."""
    n = len(truth)
    true, named = np.eye(k)[truth], np.eye(k + 1)[answers][:, :k]
    weights = rng.multinomial(n, np.full(n, 1 / n), size=RIVAL_REPLICATES).astype(float)
    rows = weights @ true
    f1 = intervals.ratio(2 * (weights @ (true * named)), rows + weights @ named)
    return {"macro_f1": _cells.mean_of_defined(f1), "weighted_f1": (np.nan_to_num(f1) * rows).sum(axis=1) / n}


def _bounds(estimates: Estimates) -> Bounds:
    return {
        name: (np.nan, np.nan) if found.low is None or found.high is None else (found.low, found.high)
        for name, found in estimates.items()
    }


def grouped_truth(design: Grouped, rng: np.random.Generator) -> dict[str, float]:
    truth, probabilities, _ = design.draw(rng, POPULATION_GROUPS)
    return _values(truth, probabilities)


def _values(truth: IntArray, probabilities: FloatArray) -> dict[str, float]:
    """By definition, of rows that are a population."""
    k, answers, n = probabilities.shape[1], probabilities.argmax(axis=1), len(truth)
    cells = np.bincount(truth * (k + 1) + answers, minlength=k * (k + 1)).reshape(1, k, k + 1)
    steps, one_hot = np.abs(truth - answers), np.eye(k)[truth]
    return {
        "accuracy": float((truth == answers).mean()),
        "macro_f1": float(_cells.macro_f1(cells)[0]),
        "balanced_accuracy": float(np.mean([(answers[truth == label] == label).mean() for label in range(k)])),
        "mae": float(steps.mean()),
        "macro_mae": float(np.mean([steps[truth == label].mean() for label in range(k)])),
        "qwk": float(intervals.qwk(cells)[0]),
        "log_loss": float(-np.log(probabilities[np.arange(n), truth]).mean()),
        "brier": float(((probabilities - one_hot) ** 2).sum(axis=1).mean()),
        "roc_auc": intervals.roc_auc(one_hot, probabilities).value or np.nan,
    }


def grouped_sample(design: Grouped, rng: np.random.Generator, *, rival: bool) -> tuple[Estimates, Bounds]:
    """The rival takes the rows as independent."""
    truth, probabilities, clusters = design.draw(rng, design.groups)
    ours = _scored(truth, probabilities, clusters)
    return ours, _bounds(_scored(truth, probabilities, None)) if rival else {}


def _scored(truth: IntArray, probabilities: FloatArray, clusters: IntArray | None) -> Estimates:
    k, answers, n = probabilities.shape[1], probabilities.argmax(axis=1), len(truth)
    cells = np.bincount(truth * (k + 1) + answers, minlength=k * (k + 1)).reshape(k, k + 1)
    values, right, one_hot = _values(truth, probabilities), truth == answers, np.eye(k)[truth]
    counted = {"mae": (values["mae"], intervals.mae), "qwk": (values["qwk"], intervals.qwk)}
    by_group = intervals.cells_by_group(truth, answers, k, clusters)
    return {
        **f1_intervals({"macro_f1": values["macro_f1"]}, truth, answers, k, clusters),
        **intervals.booted(counted, cells, intervals.pseudo_cells(cells), RIVAL_REPLICATES, by_group),
        "accuracy": intervals.share(right, clusters),
        "balanced_accuracy": label_mean(values["balanced_accuracy"], truth, right.astype(float), k, 1.0, clusters),
        "macro_mae": label_mean(values["macro_mae"], truth, np.abs(truth - answers).astype(float), k, k - 1.0, clusters),
        "log_loss": intervals.mean_of(-np.log(probabilities[np.arange(n), truth]), clusters),
        "brier": intervals.mean_of(((probabilities - one_hot) ** 2).sum(axis=1), clusters),
        "roc_auc": intervals.roc_auc(one_hot, probabilities, clusters),
    }


def standard_error_ratio(design: Grouped, simulations: int, seed: int) -> float:
    """The true standard error of accuracy over the one that independent rows would have."""
    rng = np.random.default_rng([seed, design.groups])
    drawn = [design.draw(rng, design.groups) for _ in range(simulations)]
    values = np.array([(truth == probabilities.argmax(axis=1)).mean() for truth, probabilities, _ in drawn])
    rows = np.mean([len(truth) for truth, _, _ in drawn])
    return float(values.std() / np.sqrt(values.mean() * (1 - values.mean()) / rows))


def sets_truth(design: Sets, n: int, rng: np.random.Generator) -> dict[str, float]:
    return {name: float(value[0]) for name, value in _of_sets(*design.draw(rng, n), np.ones((1, n))).items()}


def _of_sets(truth: IntArray, answers: IntArray, weights: FloatArray) -> dict[str, FloatArray]:
    """Of rows with weights, shape (r, n)."""
    hits, sizes = weights @ (truth & answers).astype(float), weights @ (truth + answers).astype(float)
    wrong = weights @ (truth != answers).mean(axis=1)
    return {
        "micro_f1": intervals.ratio(2 * hits.sum(axis=1), sizes.sum(axis=1)),
        "macro_f1": _cells.mean_of_defined(intervals.ratio(2 * hits, sizes)),
        "hamming_loss": wrong / weights.sum(axis=1),
    }


def sets_sample(design: Sets, n: int, rng: np.random.Generator, *, rival: bool) -> tuple[Estimates, Bounds]:
    """The rival is the percentile bootstrap of the rows."""
    truth, answers = design.draw(rng, n)
    values = {name: float(value[0]) for name, value in _of_sets(truth, answers, np.ones((1, n))).items()}
    ours = multilabel_f1_intervals({name: values[name] for name in ("micro_f1", "macro_f1")}, truth, answers)
    ours["hamming_loss"] = hamming_interval(values["hamming_loss"], truth, answers)
    ours = {name: with_reason(name, found, truth.sum(axis=0).tolist(), None) for name, found in ours.items()}
    if not rival:
        return ours, {}
    weights = rng.multinomial(n, np.full(n, 1 / n), size=RIVAL_REPLICATES).astype(float)
    drawn = _of_sets(truth, answers, weights)
    quantiles = {name: np.nanquantile(values, (0.025, 0.975)) for name, values in drawn.items()}
    return ours, {name: (float(low), float(high)) for name, (low, high) in quantiles.items()}
