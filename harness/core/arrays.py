"""Array types, in a module of their own: the command line imports `harness.core.types`, and NumPy takes time to import."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
