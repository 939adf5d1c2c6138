"""How often a 95% interval holds the true value: simulated, for the rules that bench uses and for a plain one beside them.

    python benchmarks/interval_coverage.py --json figures.json
    python benchmarks/interval_coverage.py --speed

A population is a confusion matrix whose metrics are known. Each simulation draws n rows from it and asks whether the interval
that comes of them holds the population's metric (of macro-F1: the mean over all labels of the population, also where the
sample lacks some). An undefined metric counts as a miss; where bench gives no interval, as rows per label are too few, the cell
says `none`. The rival is what is commonly done: the percentile
bootstrap of the same rows. With --json a stopped command goes on where it was.

`--speed` times the bootstrap of a million rows instead, by cells and by rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import _cells
import numpy as np
from _coverage_designs import DESIGNS, GROUPED, MANY_LABELS, SCORERS, SETS, Design, Grouped, Scorer, Sets
from _coverage_kinds import (
    GROUPED_METRICS,
    MANY_METRICS,
    MANY_ROWS,
    RIVAL_SELDOM,
    SETS_METRICS,
    SETS_ROWS,
    grouped_sample,
    grouped_truth,
    many_sample,
    many_truth,
    sets_sample,
    sets_truth,
    standard_error_ratio,
)
from _coverage_speed import speed_table

from harness.core.arrays import FloatArray, IntArray
from harness.core.json_files import write_atomically
from harness.core.record import Estimate
from harness.statistics import intervals
from harness.statistics.by_label import f1_intervals
from harness.statistics.clusters import variance_of_sum

STATISTICS = {"macro_f1": _cells.macro_f1, "mae": intervals.mae, "qwk": intervals.qwk}
METRICS = ("accuracy", *STATISTICS)
ROW_METRICS = ("log_loss", "brier", "roc_auc")
TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "mae": "MAE",
    "qwk": "QWK",
    "log_loss": "log loss",
    "brier": "Brier",
    "roc_auc": "ROC AUC",
    "weighted_f1": "weighted F1",
    "balanced_accuracy": "balanced accuracy",
    "macro_mae": "macro-averaged MAE",
    "micro_f1": "micro-F1",
    "hamming_loss": "Hamming loss",
}
COLUMNS = {"design": METRICS, "scorer": ROW_METRICS, "many": MANY_METRICS, "grouped": GROUPED_METRICS, "sets": SETS_METRICS}
ROWS = (50, 500, 5000)
FEWER = 600  # simulations of each cell with many labels, groups, or sets of labels
POPULATION = 500_000  # rows that stand for the population of a scorer, whose metrics have no closed form
SPEED_REPLICATES = 10_000
RIVAL_EVERY = 4  # the rival is computed in every fourth simulation, which tells enough of it
Population = Design | Scorer | Grouped | Sets
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
    for n, chosen in _asked(options.rows):
        if options.only not in chosen.name or (chosen.name, n) in done:
            continue
        start = time.perf_counter()
        kind, rates = _rates(chosen, n, options.simulations, replicates, options.seed)
        found.append({"kind": kind, "population": chosen.name, "n": n, "coverage": rates})
        print(f"{chosen.name}, n = {n}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        if options.json:
            write_atomically(options.json, json.dumps({**asked, "results": found}, indent=1) + "\n")
    return found


def _asked(rows: Sequence[int] | None) -> Iterator[tuple[int, Population]]:
    yield from itertools.product(rows or ROWS, (*DESIGNS, *SCORERS))
    yield from itertools.product(rows or MANY_ROWS, MANY_LABELS)
    yield from ((design.groups * design.size, design) for design in GROUPED)
    yield from itertools.product(rows or SETS_ROWS, SETS)


def _rates(chosen: Population, n: int, simulations: int, replicates: int, seed: int) -> tuple[str, Rate]:
    """The kind of the population, and what was counted."""
    if isinstance(chosen, Scorer):
        return "scorer", scored(chosen, n, simulations, seed)
    few, rng = min(simulations, FEWER), np.random.default_rng([seed, n])
    if isinstance(chosen, Grouped):
        tally = Tally(grouped_truth(chosen, np.random.default_rng([seed, 1])))
        for number in range(few):
            tally.add(*grouped_sample(chosen, rng, rival=number % RIVAL_EVERY == 0))
        ratio = standard_error_ratio(chosen, few, seed)
        return "grouped", {**tally.rates(), "ratio": {"truth": ratio, "ours": np.nan, "plain": np.nan, "width": np.nan}}
    if isinstance(chosen, Sets):
        tally = Tally(sets_truth(chosen, POPULATION, np.random.default_rng([seed, 1])))
        for number in range(few):
            tally.add(*sets_sample(chosen, n, rng, rival=number % RIVAL_EVERY == 0))
        return "sets", tally.rates()
    if chosen in MANY_LABELS:
        tally = Tally(many_truth(chosen))
        for number in range(few):
            tally.add(*many_sample(chosen, n, rng, rival=number % RIVAL_SELDOM == 0))
        return "many", tally.rates()
    return "design", counted(chosen, n, simulations, replicates, seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Coverage of the intervals, by simulation.")
    parser.add_argument("--rows", type=_counts, metavar="N,N", help="default: those of the tables in docs/statistics-checks.md")
    parser.add_argument(
        "--simulations",
        type=int,
        default=2000,
        metavar="N",
        help="of each cell of the table; default: 2000, of the later tables 600",
    )
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
    truth = {name: float(f(design.shares[None])[0]) for name, f in {"accuracy": _cells.accuracy, **STATISTICS}.items()}
    tally = Tally(truth)
    samples = rng.multinomial(n, design.shares.ravel(), size=simulations)
    for number, drawn in enumerate(samples):
        cells = drawn.reshape(design.shares.shape)
        values = {name: (float(f(cells[None])[0]), f) for name, f in STATISTICS.items() if name != "macro_f1"}
        ours = intervals.booted(values, cells, intervals.pseudo_cells(cells), replicates)
        places = np.nonzero(cells)
        truths, answers = (np.repeat(part, cells[places]) for part in places)
        ours |= f1_intervals({"macro_f1": float(_cells.macro_f1(cells[None])[0])}, truths, answers, len(cells))
        right = int(np.trace(cells))
        low, high = intervals.wilson(right, n)
        ours["accuracy"] = Estimate(value=right / n, low=low, high=high, method="wilson")
        tally.add(ours, {} if number % RIVAL_EVERY else _percentile(cells, rng, replicates))
    return tally.rates()


def _percentile(cells: IntArray, rng: np.random.Generator, replicates: int) -> dict[str, tuple[float, float]]:
    """The plain bootstrap: resample, take the quantiles."""
    shares = cells.ravel() / cells.sum()
    drawn = rng.multinomial(int(cells.sum()), shares, size=replicates).reshape(-1, *cells.shape)
    values = {name: f(drawn) for name, f in {"accuracy": _cells.accuracy, **STATISTICS}.items()}
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
    errors["roc_auc"] = math.sqrt(variance_of_sum(intervals.roc_areas(one_hot, probabilities)[1], None))
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
            rival = float(_holds(plain[name], value)) if name in plain else np.nan
            held = np.nan if ours[name].reason is not None else float(_holds(bounds, value))
            self.held[name].append((held, rival, width))

    def rates(self) -> Rate:
        """NaN where no simulation had an interval."""
        held = {name: np.array(rows) for name, rows in self.held.items()}
        means = {name: [_mean(column) for column in rows.T] for name, rows in held.items()}
        return {
            name: {"truth": self.truth[name], "ours": float(a), "plain": float(b), "width": float(w)}
            for name, (a, b, w) in means.items()
        }


def _mean(values: FloatArray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else np.nan


def _holds(bounds: tuple[float, float], value: float) -> bool:
    return bounds[0] - 1e-12 <= value <= bounds[1] + 1e-12  # both may be the same sum in another order


def page(found: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: for each kind a table, ours and in brackets the rival, in percent."""
    tables = []
    for kind, names in COLUMNS.items():
        chosen = [entry for entry in found if entry["kind"] == kind]
        rows = list(dict.fromkeys(entry["population"] for entry in chosen))
        counts = list(dict.fromkeys(entry["n"] for entry in chosen))
        by_place = {(entry["population"], entry["n"]): entry["coverage"] for entry in chosen}
        if not chosen:
            continue
        if kind == "grouped":
            tables.append(_grouped_table(chosen))
            continue
        heads = [f"{TITLES[name]}, n = {n:,}" for name in names for n in counts]
        lines = ["| population | " + " | ".join(heads) + " |", "|" + " --- |" * (len(heads) + 1)]
        for row in rows:
            cells = [_cell(by_place.get((row, n), {}).get(name)) for name in names for n in counts]
            lines.append(f"| {row} | " + " | ".join(cells) + " |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def _grouped_table(found: Sequence[Mapping[str, Any]]) -> str:
    """`ratio`: of the true standard error of accuracy to that of independent rows."""
    heads = ["population", "ratio", *(TITLES[name] for name in GROUPED_METRICS)]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for entry in found:
        rates = entry["coverage"]
        cells = [entry["population"], f"{rates['ratio']['truth']:.2f}", *(_cell(rates[name]) for name in GROUPED_METRICS)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(rate: Mapping[str, float] | None) -> str:
    """Ours, or `none`; in brackets the rival, where there is one."""
    if rate is None:
        return ""
    ours, rival = (None if np.isnan(rate[name]) else f"{100 * rate[name]:.1f}" for name in ("ours", "plain"))
    return (ours or "none") + ("" if rival is None else f" ({rival})")


if __name__ == "__main__":
    sys.exit(main())
