"""Where bench keeps what can be had again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """$BENCH_CACHE, or `bench` in the user's cache folder."""
    return Path(os.environ.get("BENCH_CACHE") or platformdirs.user_cache_dir("bench")).expanduser().absolute()
