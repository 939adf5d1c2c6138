"""What a Brier score is made of, and the calibration error of each label. For k labels: sums, or means, over the labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.core.arrays import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class BrierParts:
    """Brier score = reliability - resolution + uncertainty + within (Murphy 1973).

    `reliability`: how far probabilities are from frequencies; 0 is calibrated. `resolution`: how much frequencies differ
    between rows of different probabilities; more is better. `uncertainty`: the Brier score of the labels' frequencies, which no
    model changes. `within`: what the bins leave, as rows of a bin have different probabilities (Stephenson, Coelho and Jolliffe
    2008).
    """

    reliability: float
    resolution: float
    uncertainty: float
    within: float


def brier_parts(probabilities: FloatArray, truth: IntArray, bins: int) -> BrierParts:
    """Of probabilities of shape (n, k) and true labels of shape (n,), in bins of equal width for each label."""
    n, k = probabilities.shape
    count, stated, hits = _by_bin(probabilities, truth, bins)
    filled = np.maximum(count, 1)
    rates = np.bincount(truth, minlength=k)[:k] / n
    reliability = float((count * ((stated - hits) / filled) ** 2).sum() / n)
    resolution = float((count * (hits / filled - rates[:, None]) ** 2).sum() / n)
    uncertainty = float((rates * (1 - rates)).sum())
    score = float((probabilities**2).sum() / n - 2 * probabilities[np.arange(n), truth].mean() + 1)
    return BrierParts(reliability, resolution, uncertainty, score - reliability + resolution - uncertainty)


def classwise_error(probabilities: FloatArray, truth: IntArray, bins: int) -> float:
    """The mean over labels of the distance between the probability of a label and its frequency, in bins of equal width (Kull
    et al. 2019, "Beyond temperature scaling", NeurIPS; Nixon et al. 2019, "Measuring Calibration in Deep Learning")."""
    _, stated, hits = _by_bin(probabilities, truth, bins)
    return float(np.abs(stated - hits).sum() / probabilities.size)


def _by_bin(probabilities: FloatArray, truth: IntArray, bins: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of each label and bin the rows, the sum of their probabilities, and how often the label is true; each of shape (k, bins).
    A bin is without its lower end, but the first one holds 0."""
    n, k = probabilities.shape
    places = np.clip(np.ceil(probabilities * bins).astype(np.int64) - 1, 0, bins - 1) + bins * np.arange(k)[None]
    count = np.bincount(places.ravel(), minlength=k * bins)
    stated = np.bincount(places.ravel(), weights=probabilities.ravel(), minlength=k * bins)
    hits = np.bincount(places[np.arange(n), truth], minlength=k * bins)
    first, second, third = (part.reshape(k, bins).astype(np.float64) for part in (count, stated, hits))
    return first, second, third
