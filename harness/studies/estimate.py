"""How long a step may take: from records of the same backend on this machine, else from the size of its model."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from harness.core.machine import describe_machine
from harness.records.entries import Entry

SHARE_OF_GEMM = 0.4
"""What a small encoder reaches of the rate of a large matrix product, padding included: a rough value, as the estimate is."""
BACKWARD = 2.0
"""A backward pass costs two forward passes."""
GPU_DEVICES = (Path("/dev/nvidia0"), Path("/dev/kfd"))


@dataclass(frozen=True, slots=True)
class Work:
    """What a step computes. `text_tokens`: mean length of its texts, where they could be read."""

    train_rows: int  # 0 where nothing is trained
    predict_rows: int
    text_tokens: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """`seconds` is None where nothing tells; `basis` says what did."""

    seconds: float | None
    basis: str


@dataclass(frozen=True, slots=True)
class Speed:
    """Rows per second, None where unknown. Of training: forward and backward passes over rows."""

    train: float | None
    predict: float | None


def recorded_speed(entries: Sequence[Entry], backend: str, model: str | None) -> Speed:
    """The median of the runs of this backend and model on a machine like this one."""
    here = _likeness(describe_machine().as_json())
    runs = [entry.manifest for entry in entries if _likeness(entry.manifest.get("machine", {})) == here]
    runs = [
        run for run in runs if (run["identity"]["backend"]["name"], run["identity"]["backend"]["model"]) == (backend, model)
    ]
    trained = [rate for rate in map(_train_rate, runs) if rate]
    predicted = [run["timing"]["rows_per_second"] for run in runs if run["timing"]["rows_per_second"]]
    return Speed(median(trained) if trained else None, median(predicted) if predicted else None)


def _likeness(machine: Mapping[str, Any]) -> tuple[Any, ...]:
    """Without the GPU, which only shows where torch is loaded; records of one processor are taken to have had the same."""
    return tuple(machine.get(name) for name in ("system", "cpu", "cores", "memory_gib"))


def _train_rate(run: Mapping[str, Any]) -> float | None:
    training = run["training"] or {}
    if not training.get("steps") or not training.get("seconds"):
        return None
    options = run["identity"]["backend"]["options"]
    return float(training["steps"] * _rows_a_step(options) * passes(options) / training["seconds"])


def _rows_a_step(options: Mapping[str, Any]) -> int:
    train = options.get("train", {})
    batch = train.get("batch_size") or options.get("train_batch_size") or 1  # the second: in records before version 2
    return int(batch) * int(train.get("accumulation", 1))


def passes(options: Mapping[str, Any]) -> int:
    """Forward and backward passes over a row in one epoch: two for sharpness-aware minimization."""
    return 2 if options.get("train", {}).get("optimizer") in ("sam", "asam") else 1


def epochs(options: Mapping[str, Any]) -> float:
    return float(options.get("train", {}).get("epochs", 1))


def estimate(work: Work, options: Mapping[str, Any], speed: Speed, config: Mapping[str, Any] | None) -> Estimate:
    """`options`: the engine's, with defaults. `config`: the model's config.json; None where it is not here, or no encoder's.

    Early stopping may end sooner; evaluations, loading and exports come on top.
    """
    train_passes = work.train_rows * epochs(options) * passes(options)
    known = [(train_passes, speed.train), (work.predict_rows, speed.predict)]
    if all(rate is not None for rows, rate in known if rows):
        return Estimate(sum(rows / rate for rows, rate in known if rows and rate is not None), "records of this machine")
    parameters = None if config is None else computing_parameters(config)
    if parameters is None:
        return Estimate(None, "unknown: no record of this backend on this machine, and no size of its model")
    if work.text_tokens is None:
        return Estimate(None, "unknown: no record of this backend on this machine, and no rows to read")
    if any(device.exists() for device in GPU_DEVICES):
        return Estimate(None, "unknown: no record of this backend on this GPU")
    tokens = min(work.text_tokens, float(options.get("max_length") or work.text_tokens))
    forward = 2.0 * parameters * tokens  # a multiplication and an addition for each parameter
    operations = forward * (train_passes * (1 + BACKWARD) + work.predict_rows)
    return Estimate(operations / (SHARE_OF_GEMM * gemm_rate()), "size of the model: rough")


def computing_parameters(config: Mapping[str, Any]) -> int | None:
    """Weights that each token is multiplied with: those of the layers, without embeddings; None for a form not known here."""
    width = config.get("hidden_size") or config.get("dim")
    layers = config.get("num_hidden_layers") or config.get("n_layers")
    inner = config.get("intermediate_size") or config.get("hidden_dim")
    if not (isinstance(width, int) and isinstance(layers, int) and isinstance(inner, int)) or "num_key_value_heads" in config:
        return None
    return layers * (4 * width * width + 2 * width * inner)


def read_config(folder: Path) -> dict[str, Any] | None:
    """config.json of a checkpoint; None where it can't be read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


@cache
def gemm_rate(size: int = 1024, seconds: float = 0.25) -> float:
    """Operations a second of single-precision matrix products on this processor, the best of what fits into `seconds`."""
    left, right = (np.ones((size, size), dtype=np.float32) for _ in range(2))
    left @ right  # the first one starts the threads
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        started = time.perf_counter()
        left @ right
        now = time.perf_counter()
        best = min(best, now - started)
        if now > end:
            return 2.0 * size**3 / best


def words_for(seconds: float | None) -> str:
    """`~40 s`, `~12 min`, `~3.5 h`; `unknown` for None."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"~{max(1, round(seconds))} s"
    return f"~{round(seconds / 60)} min" if seconds < 90 * 60 else f"~{seconds / 3600:.1f} h"
