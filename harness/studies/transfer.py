"""Trained on × tested on: a grid of one metric, from run records. `heatmap.py` draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.core.errors import UserError
from harness.core.record import Identity, RunRecord
from harness.records.entries import TITLES, Entry
from harness.statistics.metrics import LOWER_IS_BETTER

SAME_VALUE = 1e-12


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """A training set: the languages trained on together, and those whose validation rows chose the checkpoint."""

    train: tuple[str, ...]
    validation: tuple[str, ...]

    @property
    def own(self) -> bool:
        return self.train == self.validation

    @property
    def label(self) -> str:
        return "+".join(self.train) + ("" if self.own else f" ({'+'.join(self.validation)})")


@dataclass(frozen=True, slots=True)
class Cell:
    """One model, or one per seed. `value` is their mean. `low` and `high`: with one seed the 95% interval of the sampling of
    rows, with several the smallest and largest value. None if undefined."""

    value: float | None
    low: float | None
    high: float | None
    runs: tuple[str, ...]

    @property
    def seeds(self) -> int:
        return len(self.runs)

    @property
    def interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        return f"{self.low:.3f}–{self.high:.3f}" if self.seeds > 1 else f"[{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Grid:
    """`cells` lacks failed runs. `counts`: test rows per language. `settings`: those of --set."""

    task: str
    backend: str
    metric: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    langs: tuple[str, ...]
    cells: Mapping[tuple[Row, str], Cell]
    counts: Mapping[str, int]
    settings: Mapping[str, Any]

    @property
    def lower_is_better(self) -> bool:
        return self.metric in LOWER_IS_BETTER

    @property
    def title(self) -> str:
        return TITLES.get(self.metric, self.metric)

    def is_trained(self, row: Row, lang: str) -> bool:
        """Whether the tested language was trained on."""
        return lang in row.train

    def texts(self, row: Row, lang: str) -> tuple[str, str]:
        """The value; and its interval, with the number of seeds if a run failed."""
        cell = self.cells.get((row, lang))
        if cell is None or cell.value is None:
            return "failed" if cell is None else "n/a", ""
        few = f"({cell.seeds} of {len(self.seeds)} seeds)" if cell.seeds < len(self.seeds) else ""
        return f"{cell.value:.3f}", f"{cell.interval} {few}".strip()

    @cached_property
    def best(self) -> frozenset[tuple[Row, str]]:
        """The best cells of each column; several if equal."""
        found: set[tuple[Row, str]] = set()
        for lang in self.langs:
            column = {key: cell.value for key, cell in self.cells.items() if key[1] == lang and cell.value is not None}
            if column:
                top = (min if self.lower_is_better else max)(column.values())
                found |= {key for key, value in column.items() if abs(value - top) < SAME_VALUE}
        return frozenset(found)

    def shares(self) -> dict[tuple[Row, str], float]:
        """Each cell's place between the worst (0) and the best (1) of the grid; 0.5 if all are equal."""
        values = {key: cell.value for key, cell in self.cells.items() if cell.value is not None}
        if not values:
            return {}
        low, high = min(values.values()), max(values.values())
        shares = {key: (value - low) / (high - low) if high > low else 0.5 for key, value in values.items()}
        return {key: 1 - share if self.lower_is_better else share for key, share in shares.items()}


def make_grid(records: Sequence[RunRecord], metric: str, rows: Sequence[Row]) -> Grid:
    """From runs of one task and backend; columns in the order of the records.

    Raises `UserError` for a metric that a record does not have.
    """
    found: dict[tuple[Row, str], list[RunRecord]] = {}
    counts: dict[str, int] = {}
    for record in records:
        if metric not in record.metrics.values:
            raise UserError(f"The runs have no metric {metric!r}.", f"Known: {', '.join(record.metrics.values)}.")
        found.setdefault((row_of(record.identity), record.identity.lang), []).append(record)
        counts[record.identity.lang] = record.n
    first = records[0]
    return Grid(
        task=first.identity.task,
        backend=Entry(first).display_name,
        metric=metric,
        seeds=tuple(sorted({record.identity.seed for record in records})),
        rows=tuple(rows),
        langs=tuple(counts),
        cells={key: _cell(runs, metric) for key, runs in found.items()},
        counts=counts,
        settings=first.options.settings,
    )


def row_of(identity: Identity) -> Row:
    assert identity.train is not None
    return Row(tuple(identity.train.langs), tuple(identity.train.validated_langs))


def _cell(runs: Sequence[RunRecord], metric: str) -> Cell:
    ordered = sorted(runs, key=lambda run: (run.identity.seed, run.run_id))
    names = tuple(run.run_id for run in ordered)
    estimates = [run.metrics.values[metric] for run in ordered]
    values = [estimate.value for estimate in estimates if estimate.value is not None]
    if len(values) < len(estimates):
        return Cell(None, None, None, names)
    if len(values) == 1:
        return Cell(values[0], estimates[0].low, estimates[0].high, names)
    return Cell(sum(values) / len(values), min(values), max(values), names)
