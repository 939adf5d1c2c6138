"""What all parts of the encoder's benchmark share: rows, plans, the operations they need, the machine's matrix product."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from harness.core.errors import UserError
from harness.core.options import RunOptions
from harness.core.types import LabelKind
from harness.running.plan import Plan, make_plan
from harness.specs.asked import read_settings

BACKEND = "minilm"
SHARED = (
    "device",
    "max_length",
    "train.precision",
    "train.lr",
    "train.batch_size",
    "train.weight_decay",
    "train.warmup",
    "predict.batch_size",
    "predict.batch_tokens",
)
"""Options that the rivals have too, or that are ours alone to choose (how predictions are batched)."""
GEMM_TOKENS = (512, 2048)
"""Rows of the matrix products; the faster one is the reference, so that shares are rather too low than too high."""
GEMM_REPETITIONS = 15


class Work:
    """The rows and settings of one run of the benchmark."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        asked = read_settings(options.set)
        for name in asked:
            if name not in SHARED:
                raise UserError(f"--set {name}: the rivals would not have it.", f"Allowed: {', '.join(SHARED)}.")
        self.settings = {
            # The rivals' defaults, where speed or accuracy would not be comparable.
            **{"train.precision": "fp32", "predict.dtype": "float32", "train.best_metric": "accuracy"},
            **{"train.epochs": options.epochs, "train.patience": options.epochs + 1},
            **asked,
        }

    def plan(self, seed: int, settings: Mapping[str, Any]) -> Plan:
        """With an engine of its own, nothing loaded; test rows of distinct texts, since we would compute a text but once."""
        from harness.running.batching import distinct
        from harness.specs.catalog import Catalog

        options = self.options
        request = RunOptions(
            task=options.task,
            backend=BACKEND,
            lang=options.lang,
            seed=seed,
            limit=options.rows,
            train_limit=options.train_rows,
            model=options.model,
            data=None if options.data is None else options.data.resolve(),
            settings={**self.settings, **settings},
        )
        plan = make_plan(request, Catalog(Path.cwd()))
        if plan.task.labels.kind is LabelKind.MULTILABEL:
            raise UserError(f"{plan.task.name} is multilabel.", "Choose a task with one label a row.")
        kept = {item.rows[0].id for item in distinct(plan.rows)}
        return replace(plan, rows=[row for row in plan.rows if row.id in kept])


def preface(work: Work) -> dict[str, Any]:
    import torch

    from harness.core.machine import describe_machine, library_versions, load_average
    from harness.data.rows import fingerprint

    plan = work.plan(0, {})
    assert plan.training is not None
    return {
        "task": plan.task.name,
        "lang": work.options.lang,
        "model": plan.identity.backend.model,
        "options": plan.identity.backend.options,
        "rows": len(plan.rows),
        "fingerprint": fingerprint(plan.rows),
        "train_rows": len(plan.training.train),
        "validation_rows": len(plan.training.validation),
        "threads": torch.get_num_threads(),
        "load_start": load_average(),
        "machine": describe_machine().as_json(),
        "versions": library_versions(),
    }


def needed_flops(lengths: Sequence[int], layers: int, hidden: int, intermediate: int) -> float:
    """Operations of the matrix products that texts of `lengths` tokens need, padding not counted.

    A layer multiplies each token with four matrices of hidden x hidden and two of hidden x intermediate; attention takes
    two products of (n, hidden) and (hidden, n) in a text of n tokens. A multiplication and an addition are two operations.
    The head and the embeddings are left out.
    """
    weights = 4 * hidden * hidden + 2 * hidden * intermediate
    return float(sum(layers * (2 * weights * n + 4 * hidden * n * n) for n in lengths))


def gemm_gflops(hidden: int, intermediate: int, device: str, dtype: str = "float32") -> float:
    """GFLOP/s of `torch.nn.functional.linear` in `dtype` over the products of one layer (see `needed_flops`)."""
    import torch

    shapes = {(hidden, hidden): 4, (hidden, intermediate): 1, (intermediate, hidden): 1}
    rates = []
    for tokens in GEMM_TOKENS:
        seconds = sum(count * _seconds(torch, tokens, *shape, device, dtype) for shape, count in shapes.items())
        rates.append(2 * tokens * (4 * hidden * hidden + 2 * hidden * intermediate) / seconds / 1e9)
    return max(rates)


def _seconds(torch: Any, tokens: int, inner: int, outer: int, device: str, dtype: str) -> float:
    x, weight, bias = torch.rand(tokens, inner), torch.rand(outer, inner), torch.rand(outer)
    x, weight, bias = (tensor.to(device, getattr(torch, dtype)) for tensor in (x, weight, bias))
    found = []
    with torch.inference_mode():
        for _ in range(GEMM_REPETITIONS):
            synchronize(torch)
            started = time.perf_counter()
            for _ in range(4):  # long enough for the clock
                torch.nn.functional.linear(x, weight, bias)
            synchronize(torch)
            found.append((time.perf_counter() - started) / 4)
    return median(found)


def synchronize(torch: Any) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
