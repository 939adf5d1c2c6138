"""From how many labels on is a trained backend better than a prompted one? Curves over labels, lines, and their crossings.

Two sources of chance: the tested rows, and the seed (which labels were drawn and how training started; which few-shot examples
were shown). Both are resampled together. A replicate draws test rows with replacement, the same for all runs, so that the
comparison stays paired; and whole seeds with replacement, each with its runs of all sizes, as larger draws include the smaller
ones. With S seeds their deviations are widened by sqrt(S / (S - 1)), as resampling S values understates their variance (Efron
and Tibshirani 1993, section 5.3).

Crossings assume that quality does not fall with more labels (isotonic regression), and is linear between sizes on a logarithmic
scale. Where a curve is above the line from its first size on, or below it up to its last one, the crossing is outside the sizes
that were run, and the interval says so.

That assumption can be wrong. So all places where the means meet the line are found, too (`Pass`), and for the stretches between
them whether the curve is better or worse beyond chance (`Stretch`). A curve that is so first better and later worse than the
line has no single break-even point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.core.arrays import FloatArray
from harness.core.errors import UserError
from harness.core.predictions import Predictions
from harness.records.predictions import shared_rows
from harness.statistics.clusters import numbered
from harness.statistics.contrast import groups_of
from harness.statistics.metrics import LOWER_IS_BETTER
from harness.statistics.row_means import features_of

REPLICATES = 2000
_ENTRIES_AT_ONCE = 4_000_000  # of row weights: bounds the memory


@dataclass(frozen=True)
class Estimate:
    """Mean over the seeds with its 95% interval (test rows and seeds; NaN where there is none), and what each seed had."""

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class Curve:
    """`points`: number of labels -> estimate, by number."""

    name: str
    points: Mapping[int, Estimate]


@dataclass(frozen=True)
class Line:
    """A prompted or a zero-shot backend; `labels`: how many labelled rows its few-shot examples took. Of nearest examples these
    are all candidates."""

    name: str
    labels: int
    estimate: Estimate


@dataclass(frozen=True)
class Pass:
    """A place where the mean curve meets the line, with its 95% interval; 0 and infinite as in `Crossing`. `upward`: from there
    on the curve is at least as good."""

    labels: float
    low: float
    high: float
    upward: bool


@dataclass(frozen=True)
class Stretch:
    """Between two passes, or from the smallest size (`start` 0) or up to the largest one (`end` infinite). `sure`: at one of
    its sizes the 95% interval of the difference to the line excludes 0."""

    start: float
    end: float
    better: bool
    sure: bool


@dataclass(frozen=True)
class Crossing:
    """From how many labels on `curve` is at least as good as `line`: 0: from the smallest size on, or below it; infinite: not
    up to the largest one. `low` to `high` is the 95% interval. `never`: the share of the replicates without a crossing.
    `line_labels`: how many labels the line itself needs, for its few-shot examples. `passes` and `stretches`: of the means as
    they are, without the assumption that they rise."""

    curve: str
    line: str
    labels: float
    low: float
    high: float
    never: float
    line_labels: int = 0
    passes: tuple[Pass, ...] = ()
    stretches: tuple[Stretch, ...] = ()

    @property
    def falls_back(self) -> bool:
        """Whether the curve is worse than the line, beyond chance, with more labels than where it was better."""
        sure = [stretch.better for stretch in self.stretches if stretch.sure]
        return any(better and False in sure[place:] for place, better in enumerate(sure))


@dataclass(frozen=True)
class Contrast:
    """Two curves of one trained backend: `curve` learned from labels that people gave, `other` from those of a model.

    `differences`: number of labels -> `other` minus `curve`, paired by row and seed. `equal_up_to`: the largest number up to
    which no interval of a difference says that `other` is worse; 0 where the first does. `crossing`: from how many labels on
    `curve` is at least as good as `other` with as many. `worth`: how many labels `curve` needs to be as good as `other` is
    with its largest number, `most`.
    """

    curve: str
    other: str
    differences: Mapping[int, Estimate]
    equal_up_to: int
    crossing: Crossing
    worth: Crossing
    most: int


@dataclass(frozen=True)
class BreakEven:
    metric: str
    n: int
    curves: tuple[Curve, ...]
    lines: tuple[Line, ...]
    crossings: tuple[Crossing, ...]
    contrasts: tuple[Contrast, ...] = ()


Seeds = Mapping[int, Predictions]
"""Seed -> the run."""


def break_even(
    curves: Mapping[str, Mapping[int, Seeds]],
    lines: Mapping[str, tuple[int, Seeds]],
    metric: str,
    replicates: int = REPLICATES,
    pairs: Sequence[tuple[str, str]] = (),
) -> BreakEven:
    """`curves`: name -> number of labels -> runs; `lines`: name -> number of labels, runs. On rows that all share.
    `pairs`: names of two curves to contrast.

    Raises `UserError` for a metric that the runs do not have, and where they have no rows in common.
    """
    groups = [seeds for sizes in curves.values() for seeds in sizes.values()] + [seeds for _, seeds in lines.values()]
    runs = shared_rows([run for seeds in groups for run in seeds.values()])
    values = iter(resampled(runs, metric, replicates).T)
    by_curve = {
        name: {size: {seed: next(values) for seed in seeds} for size, seeds in sizes.items()} for name, sizes in curves.items()
    }
    by_line = {name: {seed: next(values) for seed in seeds} for name, (_, seeds) in lines.items()}
    rng = np.random.default_rng(1)
    drawn = {name: _over_seeds(by_size, rng) for name, by_size in by_curve.items()}
    flat = {name: _over_seeds({0: by_seed}, rng)[0] for name, by_seed in by_line.items()}
    return BreakEven(
        metric,
        len(runs[0]),
        tuple(
            Curve(name, {size: _estimate(drawn[name][size], by_curve[name][size]) for size in sorted(sizes)})
            for name, sizes in curves.items()
        ),
        tuple(Line(name, shots, _estimate(flat[name], by_line[name])) for name, (shots, _) in lines.items()),
        tuple(
            crossing(name, line, drawn[name], flat[line], lower_is_better=metric in LOWER_IS_BETTER, line_labels=used)
            for name in curves
            for line, (used, _) in lines.items()
        ),
        tuple(_contrast(name, other, by_curve, drawn, rng, metric) for name, other in pairs),
    )


def _contrast(
    curve: str,
    other: str,
    by_curve: Mapping[str, Mapping[int, Mapping[int, FloatArray]]],
    drawn: Mapping[str, Mapping[int, FloatArray]],
    rng: np.random.Generator,
    metric: str,
) -> Contrast:
    """`by_curve`: curve -> number of labels -> seed -> values; `drawn`: curve -> number of labels -> their means over seeds."""
    ours, theirs = by_curve[curve], by_curve[other]
    shared = {size: sorted(ours[size].keys() & theirs[size].keys()) for size in sorted(ours.keys() & theirs.keys())}
    by_seed = {size: {seed: theirs[size][seed] - ours[size][seed] for seed in seeds} for size, seeds in shared.items() if seeds}
    if not by_seed:
        raise UserError(f"{curve} and {other} have no size and seed in common.", "Repeat the command: it runs what is missing.")
    lower = metric in LOWER_IS_BETTER
    differences = _over_seeds(by_seed, rng)
    most = max(theirs)
    level = drawn[other][most]
    return Contrast(
        curve,
        other,
        {size: _estimate(differences[size], by_seed[size]) for size in by_seed},
        _equal_up_to({size: values[1:] * (-1 if lower else 1) for size, values in differences.items()}),
        crossing(curve, other, {size: -values for size, values in differences.items()}, 0 * level, lower_is_better=lower),
        crossing(curve, f"{other}, {most:,} labels", drawn[curve], level, lower_is_better=lower),
        most,
    )


def _equal_up_to(better: Mapping[int, FloatArray]) -> int:
    """`better`: number of labels -> how much better the other curve is, in each replicate."""
    reached = 0
    for size in sorted(better):
        if not np.nanquantile(better[size], 0.975) >= 0:  # also where there is no value
            break
        reached = size
    return reached


def resampled(runs: Sequence[Predictions], metric: str, replicates: int) -> FloatArray:
    """The metric of each run on the rows themselves and on resampled ones, shape (1 + replicates, runs); the runs share rows.
    Rows in groups are resampled by group.

    Raises `UserError` for a metric that they do not have.
    """
    features = []
    for run in runs:
        found = features_of(run, metric)
        if found is None:
            raise UserError(f"{run.run_id} has no {metric}, so there is no curve of it.", "Choose another --metric.")
        features.append(found)
    n, rng = len(runs[0]), np.random.default_rng(0)
    numbers = numbered(groups_of(runs))
    units = np.arange(n) if numbers is None else numbers
    many = int(units.max()) + 1
    step = max(1, _ENTRIES_AT_ONCE // n)
    parts: list[FloatArray] = [np.ones((1, many))]
    values = []
    for start in range(0, replicates, step):
        parts.append(rng.multinomial(many, np.full(many, 1 / many), size=min(step, replicates - start)).astype(np.float64))
        weights = np.concatenate(parts)[:, units]
        weights /= weights.sum(axis=1, keepdims=True)
        values.append(np.stack([smooth(weights @ rows)[0] for rows, smooth in features], axis=1))
        parts = []
    return np.concatenate(values)


def _over_seeds(by_size: Mapping[int, Mapping[int, FloatArray]], rng: np.random.Generator) -> dict[int, FloatArray]:
    """Of each size the mean over the seeds, the first entry over all of them and the others over drawn ones."""
    seeds = sorted({seed for by_seed in by_size.values() for seed in by_seed})
    replicates = len(next(iter(next(iter(by_size.values())).values()))) - 1
    drawn = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=replicates).astype(np.float64)
    return {
        size: _mean(by_seed, {seed: drawn[:, place] for place, seed in enumerate(seeds)}) for size, by_seed in by_size.items()
    }


def _mean(by_seed: Mapping[int, FloatArray], drawn: Mapping[int, FloatArray]) -> FloatArray:
    values = np.stack(list(by_seed.values()))
    mean = values.mean(axis=0)
    count = len(values)
    if count == 1:
        return np.asarray(mean)
    weights = np.stack([drawn[seed] for seed in by_seed])
    total = weights.sum(axis=0)  # 0 where a replicate drew only seeds that this size lacks
    deviation = (weights * (values - mean)[:, 1:]).sum(axis=0) / np.where(total > 0, total, 1.0)
    return np.concatenate([mean[:1], mean[1:] + math.sqrt(count / (count - 1)) * deviation])


def _estimate(drawn: FloatArray, by_seed: Mapping[int, FloatArray]) -> Estimate:
    low, high = np.nanquantile(drawn[1:], (0.025, 0.975))
    if low == high:  # rows that are all right, or all wrong, teach a bootstrap nothing of those that are not
        low = high = math.nan
    return Estimate(float(drawn[0]), float(low), float(high), tuple(float(by_seed[seed][0]) for seed in sorted(by_seed)))


def crossing(
    curve: str,
    line: str,
    drawn: Mapping[int, FloatArray],
    flat: FloatArray,
    *,
    lower_is_better: bool = False,
    line_labels: int = 0,
) -> Crossing:
    """`drawn`: number of labels -> values, shape (1 + replicates,), like `flat`; the first entry is of the rows themselves."""
    sizes = sorted(drawn)
    logs = np.log2(sizes)
    ahead = np.stack([drawn[size] - flat for size in sizes], axis=1) * (-1 if lower_is_better else 1)
    places = np.array([_crossed(logs, row) for row in ahead])
    low, high = _middle(places[1:])
    never = float(np.isinf(places[1:]).mean())
    passes = _passes(logs, ahead)
    return Crossing(
        curve, line, float(places[0]), low, high, never, line_labels, passes, _stretches(np.array(sizes), ahead, passes)
    )


def _middle(places: FloatArray) -> tuple[float, float]:
    """The middle 95%. An order statistic: between a number of labels and "never" there is nothing to interpolate."""
    low, high = np.quantile(places, (0.025, 0.975), method="inverted_cdf")
    return float(low), float(high)


def _passes(logs: FloatArray, ahead: FloatArray) -> tuple[Pass, ...]:
    """`ahead`: how much better the curve is at each size, shape (1 + replicates, sizes). Of a replicate the pass in the same
    direction that is nearest counts; if it has none, the pass is outside the sizes, on the side that its curve shows."""
    own, *others = (_met(logs, row) for row in ahead)
    found = []
    for place, upward in own:
        drawn = []
        for row, met in zip(ahead[1:], others, strict=True):
            same = [other for other, direction in met if direction == upward]
            if same:
                drawn.append(min(same, key=lambda other: abs(other - place)))
            else:
                drawn.append(-math.inf if (np.interp(place, logs, row) >= 0) == upward else math.inf)
        low, high = _middle(2 ** np.array(drawn))
        found.append(Pass(float(2**place), low, high, upward))
    return tuple(found)


def _met(logs: FloatArray, ahead: FloatArray) -> list[tuple[float, bool]]:
    """Where a curve of straight lines meets 0, and whether it is at least 0 from there on."""
    if np.isnan(ahead).any():
        return []
    found = []
    for after in np.flatnonzero((ahead[1:] >= 0) != (ahead[:-1] >= 0)) + 1:
        share = -ahead[after - 1] / (ahead[after] - ahead[after - 1])
        found.append((float(logs[after - 1] + share * (logs[after] - logs[after - 1])), bool(ahead[after] >= 0)))
    return found


def _stretches(sizes: FloatArray, ahead: FloatArray, passes: Sequence[Pass]) -> tuple[Stretch, ...]:
    if np.isnan(ahead).any():
        return ()
    low, high = np.quantile(ahead[1:], (0.025, 0.975), axis=0)
    ends = [0.0, *(one.labels for one in passes), math.inf]
    first = bool(ahead[0, 0] >= 0)
    found = []
    for place, (start, end) in enumerate(pairwise(ends)):
        better = first if not place else passes[place - 1].upward
        inside = (sizes >= start) & (sizes <= end)
        found.append(Stretch(start, end, better, bool(((low > 0) if better else (high < 0))[inside].any())))
    return tuple(found)


def _crossed(logs: FloatArray, ahead: FloatArray) -> float:
    from scipy.optimize import isotonic_regression

    if np.isnan(ahead).any():
        return math.inf  # no value, no proof of being better
    rising = isotonic_regression(ahead).x
    if rising[0] >= 0:
        return 0.0
    if rising[-1] < 0:
        return math.inf
    after = int(np.argmax(rising >= 0))
    share = -rising[after - 1] / (rising[after] - rising[after - 1])
    return float(2 ** (logs[after - 1] + share * (logs[after] - logs[after - 1])))
