"""The mean of a metric over the runs of several seeds, with one interval for the rows and the seeds together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.core.record import Estimate


def over_seeds(runs: Sequence[Estimate], bounds: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
    """The mean of the values of two runs or more, on the same rows.

    For each end, the squared distance of the runs' limits from their values (their mean) and that of the seeds are added (Zou
    and Donner 2008, Statistics in Medicine 27). The variance of the mean over S seeds is that of the values, divided by S; the
    quantile is Student's with the degrees of freedom of Satterthwaite (1946), as few seeds tell little of their variance.
    Undefined where a run's value is; no interval where a run has none. `bounds`: the smallest and the largest value that the
    metric can have; no interval goes beyond them.
    """
    from scipy.special import ndtri, stdtrit

    values = [run.value for run in runs if run.value is not None]
    if len(values) < len(runs):
        return Estimate(value=None, low=None, high=None)
    value, seeds = float(np.mean(values)), float(np.var(values, ddof=1)) / len(values)
    limits = [(run.value - run.low, run.high - run.value) for run in runs if None not in (run.value, run.low, run.high)]  # type: ignore[operator]
    if len(limits) < len(runs):
        return Estimate(value=value, low=None, high=None)
    quantile = float(ndtri(0.975))
    below, above = (float(reach) for reach in np.mean(limits, axis=0))
    rows = ((below + above) / 2 / quantile) ** 2
    freedom = (rows + seeds) ** 2 * (len(values) - 1) / seeds**2 if seeds else math.inf
    factor = float(stdtrit(min(freedom, 1e9), 0.975)) / quantile
    low, high = (sign * factor * math.hypot(reach, quantile * math.sqrt(seeds)) for sign, reach in ((-1, below), (1, above)))
    low, high = max(value + low, bounds[0]), min(value + high, bounds[1])
    return Estimate(value=value, low=low, high=high, method=f"{runs[0].method}, {len(values)} seeds")
