"""Tables of `type_one.py` on many labels, seeds, groups of rows, and ranks; in brackets what bench did before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from scipy.stats import norm
from type_one import EVEN, Design, confusion, pair_of, sample

from harness.core.arrays import FloatArray
from harness.core.predictions import Predictions
from harness.core.types import LabelKind, LabelSpace
from harness.statistics.by_label import f1_intervals
from harness.statistics.contrast import difference_of, differences_of
from harness.statistics.intervals import share
from harness.statistics.jackknife import parts_of
from harness.statistics.paired import holm, mcnemar
from harness.statistics.row_means import SMOOTH, features
from harness.statistics.seeds import over_seeds

LEVEL = 0.05
ALIKE = Design("alike", EVEN, "even", "even", 0.3, 0.5)
SPREADS = (0.0, 0.01, 0.025)
"""Standard deviations between seeds."""
Cells = Iterator[list[str]]
Count = Callable[[int], tuple[float, ...]]


def rates(samples: int, count: Count) -> str:
    """The share of samples in which each of several methods finds a difference, the first and in brackets the others. A
    count is NaN for a sample without a test; `none` where no sample has one."""
    hits = np.array([count(seed) for seed in range(samples)], dtype=np.float64)
    first, *others = ("none" if np.isnan(one).all() else f"{100 * np.nanmean(one):.1f}" for one in hits.T)
    return f"{first} ({', '.join(others)})" if others else first


# Many labels


def gradient_p(metric: str, a: Predictions, b: Predictions) -> float:
    """As bench computed it from 55 labels on: D / its standard error by the delta method is taken as normal."""
    values, influences = [], []
    for run in (a, b):
        rows = features(metric, run.labels, run.truth, run.answers)
        value, slope = SMOOTH[metric](rows.mean(axis=0)[None])
        values.append(value[0])
        influences.append((rows - rows.mean(axis=0)) @ slope[0])
    error = np.std(influences[1] - influences[0]) / np.sqrt(len(a))
    return float(2 * norm.sf(abs(values[1] - values[0]) / error)) if error else 1.0


def many_labels(sizes: Sequence[int], samples: int, replicates: int) -> Cells:
    """Equal macro-F1."""
    yield ["equally good models, macro-F1", *(f"n = {n:,}" for n in sizes)]
    for k in (5, 20, 77, 151):
        even, falling = np.full(k, 1 / k), np.arange(1, k + 1) ** -0.7
        for name, prior, a, b, errors in (
            ("alike, 15% wrong", even, "even", "even", 0.15),
            ("alike, 40% wrong", even, "even", "even", 0.4),
            ("one knows low labels, one high ones", even, "low", "high", 0.2),
            ("the same, some labels rare", falling / falling.sum(), "low", "high", 0.2),
        ):
            design = Design(name, tuple(prior), a, b, errors, 0.5)
            cells = []
            for n in sizes:
                cells.append(rates(samples, _many(design, n, replicates)))
            yield [f"{k} labels: {name}", *cells]


def _many(design: Design, n: int, replicates: int) -> Count:
    pair, rng = pair_of(design, "macro_f1"), np.random.default_rng(n)
    assert pair is not None

    def found(seed: int) -> tuple[float, ...]:
        runs = sample(rng, n, design, *pair)
        p = difference_of("macro_f1", *runs, replicates=replicates, seed=seed).p
        return math.nan if math.isnan(p) else p <= LEVEL, gradient_p("macro_f1", *runs) <= LEVEL

    return found


# Seeds


def seeded(rng: np.random.Generator, n: int, design: Design, counts: Sequence[int], spread: float) -> list[list[Predictions]]:
    """Configurations of equal expected quality; the error rates of their seeds are normal with this standard deviation."""
    rates_of = design.errors + spread * rng.standard_normal(sum(counts))
    matrices = [confusion(design.a, len(design.prior), rate) for rate in np.clip(rates_of, 0.01, 0.95)]
    runs = sample(rng, n, design, matrices, [1 - design.errors] * len(matrices))
    ends = np.cumsum([0, *counts])
    return [runs[start:end] for start, end in pairwise(ends)]


def middle_run(runs: Sequence[Predictions]) -> Predictions:
    return sorted(runs, key=lambda run: run.correct.mean())[(len(runs) - 1) // 2]


def seeds(sizes: Sequence[int], samples: int, replicates: int) -> Cells:
    """Equal expected accuracy. B of `5 and 1` is deterministic."""
    yield ["seeds of A and of B", "SD of seeds in points", *(f"accuracy, n = {n:,}" for n in sizes)]
    for counts in ((3, 3), (5, 5), (5, 1)):
        for spread in SPREADS:
            cells = [rates(samples, _of_seeds("accuracy", n, ALIKE, counts, spread, replicates)) for n in sizes]
            yield [f"{counts[0]} and {counts[1]}", f"{100 * spread:g}", *cells]


def seeds_of_other_metrics(sizes: Sequence[int], samples: int, replicates: int) -> Cells:
    """The same with 3 seeds each and an SD of 1 point."""
    yield ["metric, 3 and 3 seeds, SD 1 point", *(f"n = {n:,}" for n in sizes)]
    for metric in ("macro_f1", "qwk"):
        yield [metric, *(rates(samples, _of_seeds(metric, n, ALIKE, (3, 3), 0.01, replicates)) for n in sizes)]


def means_over_seeds(sizes: Sequence[int], samples: int) -> Cells:
    """How often the interval of a mean over seeds holds the value that is expected of a seed."""
    metrics = ("accuracy", "macro_f1")
    yield ["seeds", "SD of seeds in points", *(f"{metric}, n = {n:,}" for metric in metrics for n in sizes)]
    for count in (3, 5):
        for spread in SPREADS:
            held = {n: _held(n, count, spread, samples) for n in sizes}
            cells = [f"{100 * held[n][place]:.1f}" for place in range(len(metrics)) for n in sizes]
            yield [f"{count}", f"{100 * spread:g}", *cells]


def _held(n: int, count: int, spread: float, samples: int) -> FloatArray:
    """Shares of the samples, of accuracy and macro-F1, shape (2,). Both are 1 - the error rate, as the labels are alike."""
    rng, k, true = np.random.default_rng(n), len(ALIKE.prior), 1 - ALIKE.errors
    held = []
    for _ in range(samples):
        runs = seeded(rng, n, ALIKE, [count], spread)[0]
        of_runs = [[share(run.correct) for run in runs]]
        of_runs.append(
            [f1_intervals({"macro_f1": parts_of("macro_f1", run).value}, run.truth, run.answers, k)["macro_f1"] for run in runs]
        )
        means = [over_seeds(one) for one in of_runs]
        held.append([(mean.low or 0.0) <= true <= (mean.high or 1.0) for mean in means])
    return np.asarray(np.mean(held, axis=0))


def _of_seeds(metric: str, n: int, design: Design, counts: tuple[int, int], spread: float, replicates: int) -> Count:
    rng = np.random.default_rng(n)

    def found(seed: int) -> tuple[bool, ...]:
        a, b = seeded(rng, n, design, counts, spread) if counts[1] > 1 else _fixed(rng, n, design, spread)
        middle = difference_of(metric, middle_run(a), middle_run(b), replicates=replicates, seed=seed).p
        one = difference_of(metric, a[0], b[0], replicates=replicates, seed=seed).p
        p = float(differences_of(metric, [a, b], replicates=replicates, seed=seed).p[0])
        return p <= LEVEL, one <= LEVEL, middle <= LEVEL

    return found


def _fixed(rng: np.random.Generator, n: int, design: Design, spread: float) -> list[list[Predictions]]:
    """Five seeds, and one run of exactly the expected quality."""
    rates_of = [*(design.errors + spread * rng.standard_normal(5)), design.errors]
    matrices = [confusion(design.a, len(design.prior), rate) for rate in np.clip(rates_of, 0.01, 0.95)]
    runs = sample(rng, n, design, matrices, [1 - design.errors] * 6)
    return [runs[:5], runs[5:]]


# Groups of rows


def grouped(rng: np.random.Generator, groups: int, mean_size: int, together: float, models: int = 2) -> list[Predictions]:
    """Equally good models; each errs in some groups more than in others: `together` is the correlation of two rows of a group.
    Sizes of groups are geometric."""
    unit = np.repeat(np.arange(groups), rng.geometric(1 / mean_size, groups))
    n, k, labels = len(unit), 5, LabelSpace(LabelKind.ORDINAL, tuple("12345"))
    truth = rng.integers(0, k, n)
    names = np.array([f"g{number}" for number in range(groups)], dtype=object)[unit]
    runs = []
    for _ in range(models):
        rate = rng.beta(0.35 * (1 / together - 1), 0.65 * (1 / together - 1), groups)
        wrong = rng.random(n) < rate[unit]
        answers = np.where(wrong, (truth + rng.integers(1, k, n)) % k, truth)
        ids, there = np.arange(n).astype(object), np.ones(n, dtype=bool)
        runs.append(Predictions("", {}, labels, ids, truth, answers, there, None, None, names))  # type: ignore[arg-type]
    return runs


def by_rows(run: Predictions) -> Predictions:
    from dataclasses import replace

    return replace(run, groups=None)


def groups_of_rows(samples: int, replicates: int) -> Cells:
    """True over assumed standard error, and the rates."""
    metrics = ("accuracy", "macro_f1", "mae")
    yield ["groups, rows in each, correlation", "ratio of standard errors", *metrics]
    for groups, size, together in ((20, 25, 0.2), (50, 10, 0.2), (50, 25, 0.1), (100, 20, 0.3), (200, 5, 0.4)):
        rng = np.random.default_rng(groups)
        values, errors = [], []
        for _ in range(400):
            a, b = grouped(rng, groups, size, together)
            values.append(b.correct.mean() - a.correct.mean())
            errors.append(np.std(b.correct.astype(int) - a.correct) / np.sqrt(len(a)))
        cells = [rates(samples, _of_groups(metric, (groups, size, together), replicates)) for metric in metrics]
        yield [f"{groups}, {size}, {together}", f"{np.std(values) / np.mean(errors):.2f}", *cells]


def _of_groups(metric: str, design: tuple[int, int, float], replicates: int) -> Count:
    rng = np.random.default_rng(design[0])

    def found(seed: int) -> tuple[bool, ...]:
        runs = grouped(rng, *design)
        p = [difference_of(metric, *pair, replicates=replicates, seed=seed).p for pair in (runs, map(by_rows, runs))]
        return p[0] <= LEVEL, p[1] <= LEVEL

    return found


# Ranks


def below_the_best(runs: Sequence[Predictions]) -> bool:
    """As the leaderboard ranked: the best of these is compared with each other one, by McNemar's test and Holm's method."""
    best = max(runs, key=lambda run: run.correct.mean())
    return min(holm([mcnemar(best.correct, run.correct) for run in runs if run is not best])) <= LEVEL


def ranks(sizes: Sequence[int], samples: int, replicates: int) -> Cells:
    """The share of tables of equal models in which some model falls below rank 1."""
    yield ["equal models", "seeds", "SD of seeds in points", *(f"accuracy, n = {n:,}" for n in sizes)]
    for models, count, spread in ((10, 1, 0.0), (29, 1, 0.0), (10, 3, 0.01), (29, 3, 0.01), (10, 3, 0.025), (29, 3, 0.025)):
        cells = [rates(samples, _of_models(n, ALIKE, [count] * models, spread, max(replicates, 499))) for n in sizes]
        yield [f"{models}", f"{count}", f"{100 * spread:g}", *cells]


def _of_models(n: int, design: Design, counts: Sequence[int], spread: float, replicates: int) -> Count:
    rng = np.random.default_rng(n)

    def found(seed: int) -> tuple[bool, ...]:
        made = seeded(rng, n, design, counts, spread)
        p = differences_of("accuracy", made, replicates=replicates, seed=seed).p_adjusted
        return bool(p.min() <= LEVEL), below_the_best([middle_run(runs) for runs in made])

    return found
