"""Temperature scaling: one number that makes a model's probabilities flatter or sharper. It changes no likeliest label, but may
change an expected value or a median of ordered labels.

p(k | x) becomes p(k | x)^(1/T), normalised, with the T that gives the labels of held-out rows the highest likelihood.
Guo et al. 2017, "On Calibration of Modern Neural Networks", ICML.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.core.arrays import FloatArray, IntArray

SMALLEST = 5e-7
"""What a probability of 0 counts as. Records of earlier versions hold six decimals, where a 0 is anything below this; later
ones hold six significant digits."""

RANGE = (0.02, 50.0)


@dataclass(frozen=True, slots=True)
class Temperature:
    """T > 1: the model is too sure of itself. `low`, `high`: 95% interval, None where the rows say nothing of T.

    `at_bound`: the likelihood rises up to an end of RANGE (as where all held-out rows are right: ever sharper is better).
    """

    value: float
    low: float | None
    high: float | None
    at_bound: bool


def unrounded(probabilities: FloatArray) -> FloatArray:
    """The same probabilities with `SMALLEST` in place of 0: what all logarithms are taken of."""
    return np.where(probabilities == 0, SMALLEST, probabilities)


def scaled(probabilities: FloatArray, temperature: float) -> FloatArray:
    """Probabilities of shape (n, k), at another temperature; at 1 as they were, but with SMALLEST for 0."""
    from scipy.special import softmax

    return np.asarray(softmax(_log(probabilities) / temperature, axis=1))


def negative_log_likelihood(probabilities: FloatArray, truth: IntArray) -> FloatArray:
    """-log p of each row's true label, shape (n,), nats; a probability of 0 counts as SMALLEST."""
    return np.asarray(-_log(probabilities)[np.arange(len(truth)), truth])


def fit_temperature(probabilities: FloatArray, truth: IntArray) -> Temperature:
    """The temperature that fits these rows best; `probabilities` (n, k), `truth` (n,).

    The interval is that of a maximum-likelihood estimate with the robust ("sandwich") variance (White 1982), on the log scale.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    log_p = _log(probabilities)
    if np.ptp(log_p, axis=1).max() < 1e-9:  # uniform in every row: every temperature is the same
        return Temperature(1.0, None, None, False)
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:  # convex in 1/T, so it has one valley in log T
        scores = log_p * math.exp(-log_temperature)
        return float((logsumexp(scores, axis=1) - scores[rows, truth]).mean())

    bounds = math.log(RANGE[0]), math.log(RANGE[1])
    best = float(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x)
    if min(best - bounds[0], bounds[1] - best) < 1e-3:
        return Temperature(math.exp(best), None, None, True)
    error = _standard_error(log_p, truth, math.exp(-best))
    return Temperature(math.exp(best), math.exp(best - 1.96 * error), math.exp(best + 1.96 * error), False)


def _standard_error(log_p: FloatArray, truth: IntArray, sharpness: float) -> float:
    """Of log T, which is -log of the sharpness b = 1/T.

    The slope of a row's loss in b is E[log p] - log p(truth), its curvature Var[log p], both under the scaled probabilities.
    """
    from scipy.special import softmax

    weights = softmax(log_p * sharpness, axis=1)
    mean = (weights * log_p).sum(axis=1)
    slopes = mean - log_p[np.arange(len(truth)), truth]
    curvature = float(((weights * log_p**2).sum(axis=1) - mean**2).mean())
    return float(np.sqrt((slopes**2).mean() / len(truth)) / curvature / sharpness)


def _log(probabilities: FloatArray) -> FloatArray:
    return np.asarray(np.log(unrounded(probabilities)))
