"""From probabilities to a label: calibration of a language model's bias towards a choice, and the decision.

`contextual`: p(k | x) / p(k | content-free input), normalised, where the latter is the mean over three inputs that say
nothing. Zhao et al. 2021, "Calibrate Before Use: Improving Few-Shot Performance of Language Models", ICML.
`batch`: p(k | x) / mean of p(k | x') over all rows x' of the run, normalised; it looks at the texts of all rows, never
at a label. Zhou et al. 2024, "Batch Calibration: Rethinking Calibration for In-Context Learning and Prompt
Engineering", ICLR.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.core.types import Calibration, Decision, FloatArray

CONTENT_FREE = ("N/A", "[MASK]", "")
"""The inputs of Zhao et al."""


IMPOSSIBLE = -1e5
"""log p of a choice that has no probability: a number, since JSON has no infinity. What is above it is taken as it is."""


def calibrated(log_p: FloatArray, calibration: Calibration, content_free: FloatArray | None) -> FloatArray:
    """Probabilities of the choices, shape (rows, choices), rows sum to 1.

    `log_p`: log p of each whole choice, shape (rows, choices), finite, and at most `IMPOSSIBLE` where p is 0: so it stays.
    `content_free`: the same for `CONTENT_FREE`, shape (3, choices); only for `contextual`. A choice that has no probability
    there is divided by the lowest that a choice has.
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
    """The label index: the likeliest (of equal ones the lowest); or the one nearest to the expected value, the sum of
    k p(k), where a half goes up; or the median, the lowest k with p(0) + ... + p(k) >= 1/2, which is the number of
    thresholds that are passed with p(above k) > 1/2 (the rule of CORAL and CORN)."""
    if decision is Decision.EXPECTED:
        return int(np.floor(np.dot(np.arange(len(probabilities)), probabilities) + 0.5))
    if decision is Decision.MEDIAN:
        # What rounding leaves of a half is a half.
        return int(np.argmax(np.cumsum(probabilities) >= np.sum(probabilities) / 2 - 1e-9))
    return int(np.argmax(probabilities))
