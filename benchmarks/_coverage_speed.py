"""How long the bootstrap of many rows takes: by cells, and by rows in two ways, which are timed for a few replicates and
scaled up. Seconds of the processor, the counting of the rows included."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import _cells
import numpy as np

from harness.core.arrays import FloatArray, IntArray
from harness.statistics import intervals
from harness.statistics.intervals import Statistic

LABELS = (5, 60)
RIVAL_REPLICATES = 5


def speed_table(replicates: int, rows: int, seed: int) -> str:
    """Markdown: seconds for `replicates` replicates of `rows` rows, for each metric and number of labels."""
    heads = [
        "labels",
        "metric",
        "confusion matrix (bench)",
        "rows, NumPy",
        "rows, SciPy and scikit-learn",
        "NumPy / bench",
        "SciPy / bench",
    ]
    lines = [_line(heads), "|" + " --- |" * len(heads)]
    for k in LABELS:
        truth, answers = _rows(k, rows, seed)
        for name, (statistic, metric) in METRICS.items():
            ours = min(_seconds(_by_cells, truth, answers, k, statistic, replicates) for _ in range(3))
            scale = replicates / RIVAL_REPLICATES
            numpy = scale * _seconds(_by_rows, truth, answers, k, statistic, seed)
            scipy = scale * _seconds(_by_scipy, truth, answers, metric, seed)
            found = [f"{ours:.2f} s", f"{numpy:,.0f} s", f"{scipy:,.0f} s", f"{numpy / ours:,.0f}", f"{scipy / ours:,.0f}"]
            lines.append(_line([str(k), name, *found]))
    return "\n".join(lines)


def _rows(k: int, n: int, seed: int) -> tuple[IntArray, IntArray]:
    """Truth, and answers of which two thirds are right."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    return truth, np.where(rng.random(n) < 2 / 3, truth, rng.integers(0, k, n))


def _by_cells(truth: IntArray, answers: IntArray, k: int, statistic: Statistic, replicates: int) -> tuple[float, float]:
    """All that bench does, the counting of the rows included."""
    cells = _counts(truth, answers, k)
    found = intervals.booted({"": (0.0, statistic)}, cells, intervals.pseudo_cells(cells), replicates)[""]
    return found.low or 0.0, found.high or 0.0


def _by_rows(truth: IntArray, answers: IntArray, k: int, statistic: Statistic, seed: int) -> FloatArray:
    """Rows are drawn and counted again, with NumPy's quickest means."""
    rng = np.random.default_rng(seed)
    codes = truth * (k + 1) + answers
    drawn = [codes[rng.integers(0, len(codes), len(codes))] for _ in range(RIVAL_REPLICATES)]
    cells = np.stack([np.bincount(rows, minlength=k * (k + 1)).reshape(k, k + 1) for rows in drawn])
    return statistic(cells)


def _by_scipy(truth: IntArray, answers: IntArray, metric: Callable[..., Any], seed: int) -> Any:
    """As the manuals of SciPy and scikit-learn have it."""
    from scipy.stats import bootstrap

    options = {"paired": True, "vectorized": False, "method": "percentile", "n_resamples": RIVAL_REPLICATES}
    return bootstrap((truth, answers), metric, **options, rng=np.random.default_rng(seed))


def _macro_f1(truth: IntArray, answers: IntArray) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(truth, answers, average="macro"))


def _mae(truth: IntArray, answers: IntArray) -> float:
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(truth, answers))


def _qwk(truth: IntArray, answers: IntArray) -> float:
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(truth, answers, weights="quadratic"))


def _counts(truth: IntArray, answers: IntArray, k: int) -> IntArray:
    return np.bincount(truth * (k + 1) + answers, minlength=k * (k + 1)).reshape(k, k + 1)


METRICS: dict[str, tuple[Statistic, Callable[[IntArray, IntArray], float]]] = {
    "macro-F1": (_cells.macro_f1, _macro_f1),
    "MAE": (intervals.mae, _mae),
    "QWK": (intervals.qwk, _qwk),
}
"""On counts, and on rows."""


def _seconds(work: Callable[..., object], *arguments: Any) -> float:
    """Of the processor: what else the machine does is left out."""
    start = time.process_time()
    work(*arguments)
    return time.process_time() - start


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
