"""How far off the value of the best of several models is, and how often its interval holds the true one.

    python benchmarks/chosen_row.py                          # the table of docs/statistics-checks.md, some minutes on one core

K models answer the same n rows; the best one is chosen, and its true value is known. Three ways to report it: its own value
with Wilson's interval; as `bench recommend` corrects it; and the bootstrap bias correction as published, by resampled rows,
with the interval of its percentiles. `together`: the share of rows in which all models draw one random number, so that they
are right together; their errors then correlate as those of real models do. Bias is in points, coverage of 95% intervals in
percent.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.arrays import FloatArray
from harness.statistics.choice import corrected
from harness.statistics.covariances import covariance
from harness.statistics.intervals import share


@dataclass(frozen=True)
class Design:
    """`spread`: standard deviation of the models' true values, which lie at the quantiles of a normal distribution; `lead`: by
    how much one of them is better than all others."""

    models: int
    spread: float = 0.0
    lead: float = 0.0

    @property
    def name(self) -> str:
        if self.lead:
            return f"{self.models}, one {100 * self.lead:g} points better"
        return f"{self.models} equal" if not self.spread else f"{self.models}, SD {100 * self.spread:g} points"

    def true(self) -> FloatArray:
        from scipy.stats import norm

        values = 0.7 + self.spread * norm.ppf((np.arange(self.models) + 0.5) / self.models)
        values[0] += self.lead
        return np.asarray(values)


DESIGNS = [
    Design(1),
    Design(10),
    Design(29),
    Design(10, spread=0.01),
    Design(10, spread=0.03),
    Design(29, spread=0.02),
    Design(10, lead=0.03),
]


def sample(rng: np.random.Generator, n: int, true: FloatArray, together: float) -> FloatArray:
    """1 where a model is right, shape (n, k)."""
    drawn = np.where(rng.random((n, 1)) < together, rng.random((n, 1)), rng.random((n, len(true))))
    return np.asarray(drawn < true, dtype=np.float64)


def published(correct: FloatArray, rng: np.random.Generator, replicates: int = 500) -> tuple[float, float, float]:
    """Tsamardinos, Greasidou and Borboudakis (2018), algorithm 3, with the percentiles as interval."""
    n = len(correct)
    counts = rng.multinomial(n, np.full(n, 1 / n), replicates).astype(np.float64)
    left = (counts == 0).astype(np.float64)
    picked = np.argmax(counts @ correct, axis=1)
    scores = (left @ correct)[np.arange(replicates), picked] / left.sum(axis=1)
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(scores.mean()), float(low), float(high)


def once(correct: FloatArray, true: FloatArray, rng: np.random.Generator) -> list[float]:
    """Of each of the three ways: the error of the value, and whether the interval holds the true value."""
    n, values = len(correct), correct.mean(axis=0)
    best = int(np.argmax(values))
    own = share(correct[:, best].astype(bool))
    ours = corrected(values, covariance([correct - values], [np.arange(n)]), best, is_share=True, replicates=2000)
    theirs = published(correct, rng)
    rows = [(own.value, own.low, own.high), (ours.value, ours.low, ours.high), theirs]
    return [figure for value, low, high in rows for figure in (value - true[best], float(low <= true[best] <= high))]


def table(sizes: Sequence[int], samples: int) -> list[str]:
    """Markdown."""
    titles = ["models", "n", "together"]
    for way in ("own", "corrected", "published"):
        titles += [f"bias, {way}", f"coverage, {way}"]
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    for design in DESIGNS:
        for n in sizes:
            for together in (0.0, 0.6):
                rng, true = np.random.default_rng(n), design.true()
                found = np.mean([once(sample(rng, n, true, together), true, rng) for _ in range(samples)], axis=0)
                cells = [f"{100 * value:+.1f}" if place % 2 == 0 else f"{100 * value:.1f}" for place, value in enumerate(found)]
                lines.append("| " + " | ".join([design.name, f"{n:,}", f"{together:.0%}", *cells]) + " |")
                print(lines[-1], file=sys.stderr, flush=True)
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=500, metavar="N", help="of each design; default: 500")
    parser.add_argument("--sizes", type=int, nargs="+", default=[500], metavar="N", help="default: 500")
    options = parser.parse_args(arguments)
    print("\n".join(table(options.sizes, options.samples)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
