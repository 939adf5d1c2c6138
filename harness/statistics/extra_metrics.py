"""Metrics of Hugging Face `evaluate`: programs, from the hub or from a folder, that are run here."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.arrays import IntArray
from harness.core.errors import MissingExtra, RunError, UserError
from harness.core.record import Estimate, MetricCode
from harness.statistics.estimates import plain


def require_trust(task: str, names: Sequence[str], trusted: bool) -> None:
    """Raises `UserError` where a task names such metrics and the command does not allow their code."""
    if names and not trusted:
        raise UserError(
            f"The task {task!r} names metrics that are programs, and would be run here: {', '.join(names)}.",
            "Read them first; --trust-metric-code runs them, and the record says so. Or take `metrics` out of the task.",
        )


def code_of(names: Sequence[str]) -> list[MetricCode]:
    """For the record: each metric's name (of a path no folder but its own) and the sha256 of its program."""
    return [MetricCode(name=_short(name), sha256=hashlib.sha256(_program(_load(name))).hexdigest()) for name in names]


def extra_metric(name: str, answers: IntArray, references: IntArray) -> dict[str, Estimate]:
    """All numbers that the metric gives, without intervals. Raises `MissingExtra`, `RunError`."""
    metric = _load(name)
    try:
        result = metric.compute(predictions=answers.tolist(), references=references.tolist()) or {}
    except Exception as error:  # whatever the code of a metric raises
        raise _failed(name, error) from error
    items = [(k, v) for k, v in result.items() if isinstance(v, int | float | np.number) and not isinstance(v, bool)]
    return {f"evaluate/{_short(name)}/{key}": plain(float(value)) for key, value in items}


def _load(name: str) -> Any:
    try:
        import evaluate
    except ImportError as error:
        raise MissingExtra("evaluate", "evaluate", f"The metric {name!r}") from error
    try:
        return evaluate.load(name, keep_in_memory=True)
    except Exception as error:
        raise _failed(name, error) from error


def _failed(name: str, error: Exception) -> RunError:
    hint = "Names are looked up on the hub; without a network, give the path of a local metric folder."
    return RunError(f"The metric {name!r} of evaluate gave no result: {type(error).__name__}: {error}", hint)


def _program(metric: Any) -> bytes:
    return Path(inspect.getfile(type(metric))).read_bytes()


def _short(name: str) -> str:
    return Path(name).name.removesuffix(".py")  # the folders above it are this machine's business
