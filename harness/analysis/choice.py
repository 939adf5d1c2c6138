"""What a choice among configurations is worth: its correction where it was made on the rows that its value is of, and its test
run where it was made on validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.analysis.ranking_metric import with_one_metric
from harness.analysis.ranks import Configuration, fold_seeds, seeds_of
from harness.analysis.recommend import Recommendation, Utility, misses, quality_weight
from harness.analysis.related_runs import chose_checkpoint, command_on, matching_runs
from harness.analysis.row_sets import row_sets
from harness.core.record import Estimate
from harness.records.entries import Entry
from harness.records.store import Store
from harness.statistics.choice import corrected, weighted
from harness.statistics.contrast import Measured, comparable, measured
from harness.statistics.metrics import LOWER_IS_BETTER, range_of
from harness.statistics.row_means import SHARES


@dataclass(frozen=True)
class Optimism:
    """The chosen one of several configurations on the same rows. `observed`: its value in `metric` there, the mean over its
    seeds; `corrected`: what it has on other rows. `again`: how often the same one would be chosen on other rows."""

    metric: str
    configurations: int
    n: int
    observed: float
    corrected: Estimate
    again: float

    @property
    def bias(self) -> float:
        """By how much the observed value is too high (of a metric where lower is better: too low)."""
        return self.observed - (self.corrected.value or 0.0)


@dataclass(frozen=True)
class Confirmed:
    """A choice made on validation rows. `configurations`: how many were compared on `n` rows. `runs`: the test runs of the
    chosen one, `value` their mean over the seeds on `test_n` rows; no runs and None where there are none. `commands` make the
    missing ones. `chose_checkpoints`: candidates whose checkpoints were chosen on validation rows too."""

    configurations: int
    n: int
    runs: tuple[str, ...]
    test_n: int
    value: Estimate | None
    commands: tuple[str, ...]
    chose_checkpoints: tuple[str, ...]


def measured_rows(store: Store, rows: Sequence[Configuration], metric: str) -> Measured | None:
    """None for a metric that not all of them have, or that is undefined for one. Raises as `seeds_of` does."""
    seeds = seeds_of(store, rows)
    if any(metric not in comparable(run) for runs in seeds for run in runs):
        return None
    found = measured(metric, seeds)
    return found if found.is_defined else None


def optimism_of(store: Store, found: Recommendation) -> Optimism | None:
    """Of the recommended one among those within the limits that may be recommended; None where nothing was chosen or there was
    no other. The limits hold as they were recorded: they are not met or missed anew on other rows."""
    question, pool, best = found.question, found.pool, found.recommended
    able = [c for c in pool.offered if not misses(c, question) and quality_weight(c, question) is not None]
    if best is None or len(able) < 2:
        return None
    metric, value = (pool.metric, best.quality) if question.utility is Utility.QUALITY else (pool.f1, best.f1)
    figures = measured_rows(store, [candidate.row for candidate in able], metric)
    if figures is None:
        return None
    chosen = next(place for place, candidate in enumerate(able) if candidate is best)
    weights = np.array([quality_weight(candidate, question) for candidate in able], dtype=np.float64)
    pick = weighted(weights, lower_is_better=metric in LOWER_IS_BETTER)
    result = corrected(figures.values, figures.covariance, chosen, pick, is_share=metric in SHARES)
    bounded = value.low is not None  # where a run has no interval, its correction has none
    least, most = range_of(metric, len(best.entry.record.identity.labels))
    inside = [min(max(number, least), most) for number in (result.value, result.low, result.high)]
    estimate = Estimate(
        value=inside[0],
        low=inside[1] if bounded else None,
        high=inside[2] if bounded else None,
        method="bootstrap_bias_correction",
    )
    return Optimism(metric, len(able), figures.n, float(figures.values[chosen]), estimate, result.again)


def confirmed_on_test(store: Store, found: Recommendation) -> Confirmed | None:
    """The test runs of the one that was chosen on validation rows; None where nothing was chosen."""
    pool, best = found.pool, found.recommended
    if best is None:
        return None
    runs = [(run, _test_runs(store, run)) for run in best.row.runs]
    ordered = row_sets([entry for _, matches in runs for entry in matches])  # today's rows first, then the most rows
    tested = with_one_metric(store, ordered[0].entries) if ordered else []
    able = [candidate for candidate in pool.offered if not misses(candidate, found.question)]
    return Confirmed(
        configurations=len(able),
        n=pool.n,
        runs=tuple(entry.run_id for entry in tested),
        test_n=tested[0].record.n if tested else 0,
        value=fold_seeds(tested)[0].estimate(pool.metric) if tested else None,
        commands=tuple(command_on(run.record, "test") for run, matches in runs if not matches),
        chose_checkpoints=tuple(c.name for c in pool.offered if chose_checkpoint(c.entry.record)),
    )


def _test_runs(store: Store, run: Entry) -> list[Entry]:
    return [replace(run, record=record, among=None, tested_on=None) for record in matching_runs(store, run.run_id, "test")]
