"""Values with and without an interval: the last step of every interval."""

from __future__ import annotations

import math

from harness.core.record import Estimate


def bounded(value: float, interval: tuple[float, float] | None, method: str) -> Estimate:
    """`value` with its interval, which is made to include the value; None where either is undefined, or it has no width."""
    if interval is None or not math.isfinite(value) or not all(map(math.isfinite, interval)):
        return plain(value)
    low, high = min(interval[0], value), max(interval[1], value)
    if low == high:
        return plain(value)
    return Estimate(value=float(value), low=float(low), high=float(high), method=method)


def plain(value: float) -> Estimate:
    """A number without an interval."""
    return Estimate(value=finite(value), low=None, high=None, method=None)


def finite(value: float) -> float | None:
    """None for NaN and the infinities, which strict JSON lacks."""
    return float(value) if math.isfinite(value) else None


def logit_interval(share: float, reach: float) -> tuple[float, float]:
    """The interval that is symmetric on the logit scale, so that it stays within 0 and 1. `reach`: how far it would go on the
    share's own scale."""
    from scipy.special import expit, logit

    if not 0 < share < 1:
        return share, share
    scaled = reach / (share * (1 - share))
    return float(expit(logit(share) - scaled)), float(expit(logit(share) + scaled))
