"""How often `bench compare` and the leaderboard find a difference where there is none; what a million rows cost.

    python benchmarks/type_one.py --samples 600             # the tables of docs/statistics-checks.md, an hour on one core
    python benchmarks/type_one.py --table many --samples 600
    python benchmarks/type_one.py --speed                   # two runs of 1,000,000 rows, and pandas + statsmodels

The models of a table are equally good by the metric in the population, though not in the same way. Their answers to a row come
from one random number in some rows (so they agree more often than chance) and from two in the others. A cell is the share of
samples in which p is at most 0.05, in percent; in brackets the method that bench had before. `few`: two models of few labels;
of four alike models, any difference; intervals of the difference of two unequal models. `many`: 5 to 151 labels. `seeds`:
configurations of several seeds; in brackets one run each, and the run in the middle. `means`: how often the interval of a mean
over seeds holds the value that is expected of a seed. `groups`: rows in groups; in brackets the
test that ignores them. `ranks`: tables of equal models; in brackets the best one against the others.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import _cells
import numpy as np

from harness.core.arrays import FloatArray
from harness.core.predictions import Predictions
from harness.core.types import LabelKind, LabelSpace
from harness.statistics import intervals
from harness.statistics.contrast import difference_of, differences_of
from harness.statistics.paired import mcnemar, share_interval

METRICS = ("accuracy", "macro_f1", "mae", "qwk", "log_loss")
EVEN, SKEWED = (0.2,) * 5, (0.5, 0.25, 0.15, 0.07, 0.03)


@dataclass(frozen=True)
class Design:
    """`a` and `b` are ways to err (see `confusion`), `errors` the error rate of A; B's makes the metric equal."""

    name: str
    prior: tuple[float, ...]
    a: str
    b: str
    errors: float
    together: float


DESIGNS = [
    Design("alike, two labels, independent", (0.5, 0.5), "even", "even", 0.2, 0.0),
    Design("alike, 5 labels", EVEN, "even", "even", 0.4, 0.5),
    Design("alike, nearly identical", EVEN, "even", "even", 0.7, 0.9),
    Design("alike, accurate", EVEN, "even", "even", 0.05, 0.5),
    Design("one errs upwards, one downwards", EVEN, "up", "down", 0.3, 0.5),
    Design("one knows low labels, one high ones", EVEN, "low", "high", 0.3, 0.5),
    Design("the same, some labels rare", SKEWED, "low", "high", 0.3, 0.5),
    Design("many small errors, fewer large ones", EVEN, "near", "even", 0.3, 0.5),
    Design("many small errors, a few of the largest", EVEN, "near", "far", 0.3, 0.5),
    Design("two labels, one rare", (0.9, 0.1), "low", "high", 0.2, 0.5),
]


def confusion(way: str, k: int, errors: float) -> FloatArray:
    """P(answer | truth), shape (k, k), with this mean error rate (if labels are as frequent)."""
    index = np.arange(k)
    apart = np.abs(index[:, None] - index[None, :])
    wrong = {
        "near": (apart == 1).astype(float),
        "far": (index[None, :] == intervals.farthest_labels(k)[:, None]).astype(float),
        "up": (index[None, :] == np.minimum(index + 1, k - 1)[:, None]).astype(float),
        "down": (index[None, :] == np.maximum(index - 1, 0)[:, None]).astype(float),
    }.get(way, (apart > 0).astype(float))
    rates = {"low": 2 * errors * index / (k - 1), "high": 2 * errors * index[::-1] / (k - 1)}.get(way, np.full(k, errors))
    rates = np.minimum(rates, 0.95)[:, None]
    return np.asarray((1 - rates) * np.eye(k) + rates * wrong / wrong.sum(axis=1, keepdims=True))


def population(metric: str, prior: Sequence[float], answers: FloatArray) -> float:
    """The metric of infinitely many rows."""
    cells = np.zeros((1, len(prior), len(prior) + 1))
    cells[0, :, :-1] = np.asarray(prior)[:, None] * answers
    statistics = {"macro_f1": _cells.macro_f1, "mae": intervals.mae, "qwk": intervals.qwk}
    return float(statistics.get(metric, _cells.accuracy)(cells)[0])


STEPS = (np.arange(1000) + 0.5) / 1000


def expected_loss(confidence: float, errors: float, k: int) -> float:
    """Log loss of a model that gives its answer a probability around `confidence`."""
    sure = certainty(confidence, STEPS)
    return float(np.mean(-(1 - errors) * np.log(sure) - errors * np.log((1 - sure) / (k - 1))))


def certainty(confidence: float, uniform: FloatArray) -> FloatArray:
    return confidence + (1 - confidence) * (uniform - 0.5)


def pair_of(design: Design, metric: str, ratio: float = 1.0) -> tuple[list[FloatArray], list[float]] | None:
    """P(answer | truth) and confidence of A and B, equally good by `metric`; None where no B is. For log loss B errs less and
    is too sure of itself. With a `ratio` B has that many of A's errors, and they are not equal."""
    from scipy.optimize import brentq

    k, sure = len(design.prior), 1 - design.errors
    first = confusion(design.a, k, design.errors)
    if ratio != 1.0:
        return [first, confusion(design.b, k, ratio * design.errors)], [sure, sure]
    try:
        if metric != "log_loss":
            aim = population(metric, design.prior, first)
            errors = brentq(lambda e: population(metric, design.prior, confusion(design.b, k, e)) - aim, 0, 0.8)
            return [first, confusion(design.b, k, float(errors))], [sure, sure]
        if design.name.startswith("alike"):
            return [first, first], [sure, sure]
        matrices = [first, confusion(design.b, k, 0.7 * design.errors)]
        rates = [1 - population("accuracy", design.prior, matrix) for matrix in matrices]
        aim = expected_loss(sure, rates[0], k)
        return matrices, [sure, float(brentq(lambda c: expected_loss(c, rates[1], k) - aim, 1 - rates[1], 1 - 1e-9))]
    except ValueError:  # no such error rate, or no such confidence
        return None


def sample(
    rng: np.random.Generator, n: int, design: Design, matrices: Sequence[FloatArray], sure: Sequence[float]
) -> list[Predictions]:
    """Of models that answer the same n rows."""
    k = len(design.prior)
    labels = LabelSpace(LabelKind.ORDINAL, tuple(str(i) for i in range(k)))
    truth = rng.choice(k, n, p=design.prior)
    common, shared = rng.random(n), rng.random(n) < design.together
    found = []
    for matrix, confidence in zip(matrices, sure, strict=True):
        drawn = np.where(shared, common, rng.random(n))
        answers = np.minimum((drawn[:, None] > matrix.cumsum(axis=1)[truth]).sum(axis=1), k - 1)
        own = certainty(confidence, rng.random(n))[:, None]
        probabilities = np.where(np.eye(k, dtype=bool)[answers], own, (1 - own) / (k - 1))
        found.append(
            Predictions("", {}, labels, np.arange(n).astype(object), truth, answers, np.ones(n, dtype=bool), probabilities)
        )
    return found


def p_value(metric: str, a: Predictions, b: Predictions, replicates: int, seed: int) -> float:
    if metric == "accuracy":
        return mcnemar(a.correct, b.correct)
    return difference_of(metric, a, b, replicates=replicates, seed=seed).p


def type_one(design: Design, metric: str, n: int, samples: int, replicates: int) -> float | None:
    """The share of samples with p <= 0.05."""
    pair = pair_of(design, metric)
    if pair is None:
        return None
    rng = np.random.default_rng(n)
    hits = 0
    for seed in range(samples):
        a, b = sample(rng, n, design, *pair)
        hits += p_value(metric, a, b, replicates, seed) <= 0.05
    return hits / samples


def family_wise(design: Design, metric: str, n: int, samples: int, replicates: int, models: int = 4) -> float:
    """The share of samples in which any difference is found among models that are all alike."""
    matrix = confusion(design.a, len(design.prior), design.errors)
    rng = np.random.default_rng(n)
    hits = 0
    for seed in range(samples):
        runs = sample(rng, n, design, [matrix] * models, [1 - design.errors] * models)
        p = differences_of(metric, [[run] for run in runs], replicates=replicates, seed=seed).p_adjusted
        hits += bool(p.min() <= 0.05)
    return hits / samples


def coverage(design: Design, metric: str, n: int, samples: int, replicates: int) -> float:
    """The share of intervals that hold the true difference, B with half of A's errors."""
    pair = pair_of(design, metric, 0.5)
    assert pair is not None
    (first, second), sure = pair
    true = population(metric, design.prior, second) - population(metric, design.prior, first)
    rng = np.random.default_rng(n)
    hits = 0
    for seed in range(samples):
        a, b = sample(rng, n, design, (first, second), sure)
        low, high = interval(metric, a, b, replicates, seed)
        hits += not (true < low or true > high)  # no interval excludes nothing
    return hits / samples


def interval(metric: str, a: Predictions, b: Predictions, replicates: int, seed: int) -> tuple[float, float]:
    if metric == "accuracy":
        return share_interval(int((a.correct & ~b.correct).sum()), int((b.correct & ~a.correct).sum()), len(a))
    found = difference_of(metric, a, b, replicates=replicates, seed=seed)
    return found.low, found.high


def tables(sizes: Sequence[int], samples: int, replicates: int) -> list[str]:
    """Markdown. A cell is in percent; n/a where no B is as good as A."""
    lines = [
        f"{samples} samples a cell: 5% is found as 5 ± {196 * math.sqrt(0.05 * 0.95 / samples):.1f} in 95% of all cells.",
        "",
    ]
    lines += ["| equally good models | n | " + " | ".join(METRICS) + " |", "|---|" + "---|" * (len(METRICS) + 1)]
    for design in DESIGNS:
        for n in sizes:
            cells = [type_one(design, metric, n, samples, replicates) for metric in METRICS]
            lines.append(_line([design.name, f"{n:,}", *(_percent(cell) for cell in cells)]))
    lines += ["", "| four alike models, any difference | n | " + " | ".join(METRICS) + " |"]
    lines += ["|---|" + "---|" * (len(METRICS) + 1)]
    for n in sizes[:2]:
        cells = [family_wise(DESIGNS[1], metric, n, samples, replicates) for metric in METRICS]
        lines.append(_line([DESIGNS[1].name, f"{n:,}", *(_percent(cell) for cell in cells)]))
    unequal = [metric for metric in METRICS if metric != "log_loss"]
    lines += ["", "| B has half of A's errors: intervals that hold the true difference | n | " + " | ".join(unequal) + " |"]
    lines += ["|---|" + "---|" * (len(unequal) + 1)]
    for design in (DESIGNS[1], DESIGNS[3], DESIGNS[6], DESIGNS[7]):
        for n in sizes:
            cells = [coverage(design, metric, n, samples, replicates) for metric in unequal]
            lines.append(_line([design.name, f"{n:,}", *(_percent(cell) for cell in cells)]))
    return lines


def other_tables(chosen: Sequence[str], samples: int, replicates: int) -> list[str]:
    """Markdown."""
    import _type_one_tables as made

    known = {
        "many": lambda: [made.many_labels((200, 500, 2000), samples, replicates)],
        "seeds": lambda: [
            made.seeds((500, 2000), samples, replicates),
            made.seeds_of_other_metrics((500, 2000), samples, replicates),
        ],
        "means": lambda: [made.means_over_seeds((500, 2000), samples)],
        "groups": lambda: [made.groups_of_rows(samples, replicates)],
        "ranks": lambda: [made.ranks((500, 2000), samples, replicates)],
    }
    lines = []
    for table in (table for name in chosen for table in known[name]()):
        for place, cells in enumerate(table):
            lines += [_line(cells)] if place else ["", _line(cells), "|" + "---|" * len(cells)]
    return lines


def _line(cells: Sequence[str]) -> str:
    line = "| " + " | ".join(cells) + " |"
    print(line, file=sys.stderr, flush=True)  # an hour is long
    return line


def _percent(share: float | None) -> str:
    return "n/a" if share is None else f"{100 * share:.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=2000, metavar="N", help="of each design; default: 2000")
    parser.add_argument("--replicates", type=int, default=499, metavar="N", help="of each test; default: 499")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200, 1000], metavar="N", help="default: 50 200 1000")
    names = ("few", "many", "seeds", "means", "groups", "ranks")
    parser.add_argument("--table", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--speed", action="store_true", help="only how long a million rows take")
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N", help="for --speed; default: 1000000")
    options = parser.parse_args(arguments)
    from _type_one_speed import speed

    if options.speed:
        print("\n".join(speed(options.rows)))
        return 0
    lines = tables(options.sizes, options.samples, options.replicates) if "few" in options.table else []
    others = [name for name in options.table if name != "few"]
    print("\n".join([*lines, *other_tables(others, options.samples, options.replicates)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
