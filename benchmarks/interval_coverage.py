"""How often a 95% interval holds the true value: simulated, for the rules that bench uses and for a plain one beside them.

    python benchmarks/interval_coverage.py --json figures.json
    python benchmarks/interval_coverage.py --speed

A population is a confusion matrix whose metrics are known. Each simulation draws n rows from it and asks whether the interval
that comes of them holds the population's metric (of macro-F1: the mean over all labels of the population, also where the
sample lacks some). No interval (an undefined metric) counts as a miss. The rival is what is commonly done: the percentile
bootstrap of the same rows. With --json a stopped command goes on where it was.

`--speed` times the bootstrap of a million rows instead, by cells and by rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _coverage_designs import DESIGNS, SCORERS, Design, Scorer
from _coverage_speed import speed_table

from harness.core.arrays import FloatArray, IntArray
from harness.core.json_files import write_atomically
from harness.core.record import Estimate
from harness.statistics import intervals

STATISTICS = {"macro_f1": intervals.macro_f1, "mae": intervals.mae, "qwk": intervals.qwk}
METRICS = ("accuracy", *STATISTICS)
ROW_METRICS = ("log_loss", "brier", "roc_auc")
WORDS = ("accuracy", "macro-F1", "MAE", "QWK", "log loss", "Brier", "ROC AUC")
TITLES = dict(zip((*METRICS, *ROW_METRICS), WORDS, strict=True))
POPULATION = 500_000  # rows that stand for the population of a scorer, whose metrics have no closed form
SPEED_REPLICATES = 10_000
RIVAL_EVERY = 4  # the rival is computed in every fourth simulation, which tells enough of it
Rate = dict[str, dict[str, float]]
"""By metric: `ours` and `plain`, the shares of simulations whose interval held the truth; `width`, the mean width of ours."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.speed:
        print(speed_table(options.replicates or SPEED_REPLICATES, options.million, options.seed))
        return 0
    try:
        print(page(_simulate(options)))
    except KeyboardInterrupt:
        print("Stopped. With --json the same command goes on where this one was.", file=sys.stderr)
        return 130
    return 0


def _simulate(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One entry for each population and number of rows; those that the file holds already are not repeated."""
    replicates = options.replicates or intervals.REPLICATES
    asked = {"simulations": options.simulations, "replicates": replicates, "seed": options.seed}
    found: list[dict[str, Any]] = []
    if options.json and options.json.exists():
        earlier = json.loads(options.json.read_text(encoding="utf-8"))
        found = earlier["results"] if {name: earlier.get(name) for name in asked} == asked else []
    done = {(entry["population"], entry["n"]) for entry in found}
    for n, chosen in itertools.product(options.rows, (*DESIGNS, *SCORERS)):
        if options.only not in chosen.name or (chosen.name, n) in done:
            continue
        start = time.perf_counter()
        if isinstance(chosen, Scorer):
            kind, rates = "scorer", scored(chosen, n, options.simulations, options.seed)
        else:
            kind, rates = "design", counted(chosen, n, options.simulations, replicates, options.seed)
        found.append({"kind": kind, "population": chosen.name, "n": n, "coverage": rates})
        print(f"{chosen.name}, n = {n}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        if options.json:
            write_atomically(options.json, json.dumps({**asked, "results": found}, indent=1) + "\n")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Coverage of the intervals, by simulation.")
    parser.add_argument("--rows", type=_counts, default=(50, 500, 5000), metavar="N,N", help="default: 50,500,5000")
    parser.add_argument("--simulations", type=int, default=2000, metavar="N", help="of each cell of the table; default: 2000")
    parser.add_argument("--replicates", type=int, metavar="N", help="default: 2000; of --speed 10,000")
    parser.add_argument("--only", default="", metavar="TEXT", help="populations whose name holds this")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--speed", action="store_true", help="time the bootstrap instead")
    parser.add_argument("--million", type=int, default=1_000_000, metavar="N", help="rows of --speed; default: 1,000,000")
    return parser


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def counted(design: Design, n: int, simulations: int, replicates: int, seed: int) -> Rate:
    """Coverage of what is a function of the confusion matrix."""
    rng = np.random.default_rng([seed, n])
    truth = {name: float(f(design.shares[None])[0]) for name, f in {"accuracy": intervals.accuracy, **STATISTICS}.items()}
    tally = Tally(truth)
    samples = rng.multinomial(n, design.shares.ravel(), size=simulations)
    for number, drawn in enumerate(samples):
        cells = drawn.reshape(design.shares.shape)
        values = {name: (float(f(cells[None])[0]), f) for name, f in STATISTICS.items()}
        ours = intervals.booted(values, cells, intervals.pseudo_cells(cells), replicates)
        right = int(np.trace(cells))
        low, high = intervals.wilson(right, n)
        ours["accuracy"] = Estimate(value=right / n, low=low, high=high, method="wilson")
        tally.add(ours, {} if number % RIVAL_EVERY else _percentile(cells, rng, replicates))
    return tally.rates()


def _percentile(cells: IntArray, rng: np.random.Generator, replicates: int) -> dict[str, tuple[float, float]]:
    """The plain bootstrap: resample, take the quantiles."""
    shares = cells.ravel() / cells.sum()
    drawn = rng.multinomial(int(cells.sum()), shares, size=replicates).reshape(-1, *cells.shape)
    values = {name: f(drawn) for name, f in {"accuracy": intervals.accuracy, **STATISTICS}.items()}
    quantiles = {
        name: np.nanquantile(v, (0.025, 0.975)) if np.isfinite(v).any() else np.full(2, np.nan) for name, v in values.items()
    }
    return {name: (float(low), float(high)) for name, (low, high) in quantiles.items()}


def scored(scorer: Scorer, n: int, simulations: int, seed: int) -> Rate:
    """Coverage of what takes probabilities. The rival of log loss and Brier is Student's t, that of ROC AUC the Wald interval
    of DeLong's variance."""
    rng = np.random.default_rng([seed, n])
    population = _row_metrics(*scorer.draw(np.random.default_rng([seed, 1]), POPULATION))[0]
    tally = Tally({name: _value(number) for name, number in population.items()})
    factors = _factors(n)
    for _ in range(simulations):
        ours, errors = _row_metrics(*scorer.draw(rng, n))
        reach = {name: factors[name] * errors[name] for name in ours}
        plain = {name: (_value(number) - reach[name], _value(number) + reach[name]) for name, number in ours.items()}
        tally.add(ours, plain)
    return tally.rates()


def _factors(n: int) -> dict[str, float]:
    from scipy.stats import norm, t

    student = float(t.ppf(0.975, n - 1))
    return {"log_loss": student, "brier": student, "roc_auc": float(norm.ppf(0.975))}


def _row_metrics(truth: IntArray, probabilities: FloatArray) -> tuple[dict[str, Estimate], dict[str, float]]:
    """What bench gives, and standard errors."""
    n, k = probabilities.shape
    one_hot = np.eye(k)[truth]
    rows = {
        "log_loss": -np.log(np.maximum(probabilities[np.arange(n), truth], np.finfo(float).eps)),
        "brier": ((probabilities - one_hot) ** 2).sum(axis=1),
    }
    ours = {name: intervals.mean_of(values) for name, values in rows.items()}
    errors = {name: float(v.std(ddof=1) / np.sqrt(n)) for name, v in rows.items()}
    ours["roc_auc"] = intervals.roc_auc(one_hot, probabilities)
    errors["roc_auc"] = intervals.roc_auc_error(one_hot, probabilities)
    return ours, errors


def _value(number: Estimate) -> float:
    return np.nan if number.value is None else number.value


class Tally:
    """Counts, over simulations, which intervals held the truth."""

    def __init__(self, truth: Mapping[str, float]) -> None:
        self.truth = truth
        self.held: dict[str, list[tuple[float, float, float]]] = {name: [] for name in truth}

    def add(self, ours: Mapping[str, Estimate], plain: Mapping[str, tuple[float, float]]) -> None:
        for name, value in self.truth.items():
            low, high = ours[name].low, ours[name].high
            bounds = (np.nan, np.nan) if low is None or high is None else (low, high)
            width = bounds[1] - bounds[0]
            rival = float(_holds(plain[name], value)) if plain else np.nan
            self.held[name].append((float(_holds(bounds, value)), rival, width))

    def rates(self) -> Rate:
        means = {name: np.nanmean(np.array(held), axis=0) for name, held in self.held.items()}
        return {
            name: {"truth": self.truth[name], "ours": float(a), "plain": float(b), "width": float(w)}
            for name, (a, b, w) in means.items()
        }


def _holds(bounds: tuple[float, float], value: float) -> bool:
    return bounds[0] - 1e-12 <= value <= bounds[1] + 1e-12  # both may be the same sum in another order


def page(found: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: for each kind a table, ours and in brackets the rival, in percent."""
    tables = []
    for kind, names in (("design", METRICS), ("scorer", ROW_METRICS)):
        chosen = [entry for entry in found if entry["kind"] == kind]
        rows = list(dict.fromkeys(entry["population"] for entry in chosen))
        counts = list(dict.fromkeys(entry["n"] for entry in chosen))
        by_place = {(entry["population"], entry["n"]): entry["coverage"] for entry in chosen}
        if not chosen:
            continue
        heads = [f"{TITLES[name]}, n = {n:,}" for name in names for n in counts]
        lines = ["| population | " + " | ".join(heads) + " |", "|" + " --- |" * (len(heads) + 1)]
        for row in rows:
            cells = [_cell(by_place[row, n][name]) for name in names for n in counts]
            lines.append(f"| {row} | " + " | ".join(cells) + " |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def _cell(rate: Mapping[str, float]) -> str:
    return f"{100 * rate['ours']:.1f} ({100 * rate['plain']:.1f})"


if __name__ == "__main__":
    sys.exit(main())
