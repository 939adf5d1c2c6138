"""Array types, in a module of their own: the command line imports `harness.core.types`, and NumPy takes time to import."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

TINY = 1e-38


def finite_log(probabilities: FloatArray) -> FloatArray:
    """log p, of a probability of 0 that of `TINY`: no JSON holds -inf."""
    return np.asarray(np.log(np.maximum(probabilities, TINY)), dtype=np.float64)
