"""From probabilities to a label: calibration of a language model's bias towards a choice, and the decision.

`contextual`: p(k | x) / p(k | content-free input), normalised; the latter is the mean over three content-free inputs. Zhao et
al. 2021, "Calibrate Before Use: Improving Few-Shot Performance of Language Models", ICML. `batch`: p(k | x) / mean of p(k | x')
over all rows x' of the run, normalised; it uses the texts of all rows, never a label. Zhou et al. 2024, "Batch Calibration:
Rethinking Calibration for In-Context Learning and Prompt Engineering", ICLR.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.core.arrays import FloatArray
from harness.core.types import Calibration, Decision

CONTENT_FREE = ("N/A", "[MASK]", "")
"""The inputs of Zhao et al."""


IMPOSSIBLE = -1e5
"""log p of an impossible choice: finite, since JSON has no infinity."""


def calibrated(log_p: FloatArray, calibration: Calibration, content_free: FloatArray | None) -> FloatArray:
    """Probabilities of the choices, shape (rows, choices), rows sum to 1.

    `log_p`: log p of each whole choice, shape (rows, choices), finite; `IMPOSSIBLE` or less means p = 0, which stays 0.
    `content_free`: the same for `CONTENT_FREE`, shape (3, choices); only for `contextual`. A choice with p = 0 there is divided
    by the lowest positive p.
    """
    from scipy.special import log_softmax, logsumexp

    scores = log_softmax(_with_zeros(log_p), axis=1)
    if calibration is not Calibration.NONE:
        if calibration is Calibration.BATCH:
            prior = scores
        else:
            assert content_free is not None
            prior = log_softmax(_with_zeros(content_free), axis=1)
        sums = logsumexp(prior, axis=0)
        scores = scores - np.where(sums > -np.inf, sums, sums[sums > -np.inf].min()) + np.log(len(prior))
    return np.asarray(np.exp(log_softmax(scores, axis=1)))


def _with_zeros(log_p: FloatArray) -> FloatArray:
    return np.where(log_p > IMPOSSIBLE, log_p, -np.inf)


def decide(probabilities: Sequence[float], decision: Decision) -> int:
    """The label index: the likeliest (of equal ones the lowest); or the expected value, the sum of k p(k), rounded half up; or
    the median, the lowest k with p(0) + ... + p(k) >= 1/2 (the rule of CORAL and CORN)."""
    return decide_all(np.asarray(probabilities, dtype=np.float64)[None], decision)[0]


def decide_all(probabilities: FloatArray, decision: Decision) -> list[int]:
    """The label index of each row, as `decide` finds it; shape (n, k)."""
    labels: list[int]
    if decision is Decision.EXPECTED:
        # row by row: a product of matrices may add in another order, and round another way
        ranks = np.arange(probabilities.shape[1])
        return [int(np.floor(np.dot(ranks, row) + 0.5)) for row in probabilities]
    if decision is Decision.MEDIAN:
        # with a tolerance for rounding
        reached = np.cumsum(probabilities, axis=1) >= probabilities.sum(axis=1, keepdims=True) / 2 - 1e-9
        labels = np.argmax(reached, axis=1).tolist()
    else:
        labels = np.argmax(probabilities, axis=1).tolist()
    return labels
