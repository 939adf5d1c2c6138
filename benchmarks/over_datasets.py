"""How often the intervals of `bench analyze overall` hold the true mean gap and mean rank of four configurations.

    python benchmarks/over_datasets.py                       # the table of docs/statistics-checks.md, some minutes on one core

`between`: standard deviation of a configuration's true value between datasets; `within`: of its error by the sampling of rows.
With fewer than five datasets the truth is that of these datasets, else that of the population which they were drawn from.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from harness.core.arrays import FloatArray
from harness.statistics.over_datasets import FEW, mean_ranks, means_over

TRUE = np.array([0.70, 0.71, 0.72, 0.74])
SPREADS = ((0.02, 0.02), (0.03, 0.005), (0.005, 0.02))


def gap_to_best(values: FloatArray) -> FloatArray:
    return np.asarray((values - values.max(axis=1, keepdims=True)).mean(axis=0))


def coverage(datasets: int, between: float, within: float, samples: int) -> list[float]:
    """Of the gap of the second from the first, of the gaps of the second and the last from the best, of the second's rank."""
    rng, k = np.random.default_rng(datasets), len(TRUE)
    population = TRUE + between * rng.standard_normal((4000, k))
    hits = np.zeros(4)
    for seed in range(samples):
        here = TRUE + between * rng.standard_normal((datasets, k))
        true, observed = here if datasets < FEW else population, here + within * rng.standard_normal((datasets, k))
        errors = np.eye(datasets * k) * within**2
        one, best = (means_over(observed, errors, reference, replicates=1000, seed=seed) for reference in (0, None))
        gap = true[:, 1].mean() - true[:, 0].mean() if datasets < FEW else TRUE[1] - TRUE[0]
        truth = [gap, *gap_to_best(true)[[1, 3]], mean_ranks(true)[1]]
        found = [one.gaps[1], best.gaps[1], best.gaps[3], best.ranks[1]]
        hits += [part.low <= value <= part.high for part, value in zip(found, truth, strict=True)]
    return [float(hit) for hit in hits / samples]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=200, metavar="N", help="of each line; default: 200")
    parser.add_argument("--datasets", type=int, nargs="+", default=[3, 5, 8], metavar="N", help="default: 3 5 8")
    options = parser.parse_args(arguments)
    print("| datasets | between | within | gap from a reference | gap from the best | the best one's | mean rank |")
    print("|" + " --- |" * 7)
    for datasets in options.datasets:
        for between, within in SPREADS:
            cells = [f"{100 * share:.1f}" for share in coverage(datasets, between, within, options.samples)]
            print("| " + " | ".join([str(datasets), f"{between:g}", f"{within:g}", *cells]) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
