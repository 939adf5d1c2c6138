"""The record of a run: what `run.json` and `metrics.json` hold, as one model."""

from __future__ import annotations

RESULT_VERSION = 1
"""Raised when a change to bench changes what the same command yields (a parser's rule, say)."""


TRAINING_VERSION = 2
"""Likewise, for a change to training alone. 2: rows are sorted by id first, so that the order in a file changes nothing."""
