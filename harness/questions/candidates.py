"""What there is to choose from: recorded runs on the same rows, with their quality, price and latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import UserError
from harness.records.entries import Entry, Group, read_entries
from harness.records.store import Store
from harness.reports.ranks import Row, fold_seeds
from harness.statistics.intervals import MetricValue

if TYPE_CHECKING:
    from harness.records.speed import Speed
    from harness.specs.prices import Prices

QUALITY = {"multilabel": ("micro_f1", "subset_accuracy")}
SINGLE = ("macro_f1", "accuracy")
"""Names of the F1 and of the accuracy that a task is judged by."""


@dataclass(frozen=True)
class Candidate:
    """A configuration; its figures are those of its run in the middle, where there are several seeds.

    `inference`: US dollars per 1,000 rows; `training`: US dollars once; both None where a price is missing, with `unpriced`
    saying why. `labels`: how many people had to give. `p50_ms`, `p95_ms`: latency of a row by itself, None where `bench speed`
    did not measure it, or not on enough texts: `timed` is their number and what it was limited to, None without a record.
    """

    name: str
    row: Row
    f1: MetricValue
    accuracy: MetricValue
    inference: float | None
    training: float | None
    labels: int
    unpriced: str
    under_load: bool
    p50_ms: float | None
    p95_ms: float | None
    timed: tuple[int, int] | None = None

    @property
    def entry(self) -> Entry:
        return self.row.entry

    def cost(self, predictions: float, label_usd: float) -> float | None:
        """US dollars per 1,000 rows, with training and labels shared among all predictions."""
        if self.inference is None or self.training is None:
            return None
        return self.inference + (self.training + self.labels * label_usd) / predictions * 1000


@dataclass(frozen=True)
class Field:
    """The candidates of one group of runs. `left_out`: runs of the same task and language on other rows. `hardware`: what all
    time is priced at, None for the machine of each record."""

    group: Group
    n: int
    f1: str
    accuracy: str
    candidates: list[Candidate]
    left_out: int
    hardware: str | None = None

    @property
    def task(self) -> str:
        return self.group[0]

    @property
    def lang(self) -> str:
        return self.group[2]


def field_of(
    store: Store, task: str, lang: str, split: str, prices: Prices, speeds: Sequence[Speed], hardware: str | None = None
) -> Field:
    """The rows on which the most backends were tested (of several such, the most rows). `hardware` as in `cost_of`.

    Raises `UserError` without runs, `UnknownName` for `hardware`.
    """
    entries = [entry for entry in read_entries(store) if entry.group[:3] == (task, split, lang)]
    if not entries:
        known = sorted({f"{e.group[0]} ({e.group[2]}, {e.group[1]})" for e in read_entries(store)})
        raise UserError(
            f"There are no runs of the task {task!r} in {lang!r} on its {split} rows.",
            f"There are some of: {', '.join(known)}."
            if known
            else "Begin with `bench run`, or name the folder: --results DIR.",
        )
    groups: dict[Group, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.group, []).append(entry)
    group, members = max(groups.items(), key=lambda item: (*_breadth(item[1]), item[0]))
    f1, accuracy = QUALITY.get(members[0].manifest["identity"]["label_kind"], SINGLE)
    rows = fold_seeds(members)
    candidates = [
        _candidate(name, row, (f1, accuracy), prices, speeds, hardware) for name, row in zip(_names(rows), rows, strict=True)
    ]
    return Field(group, members[0].metrics["n"], f1, accuracy, candidates, len(entries) - len(members), hardware)


def _candidate(
    name: str, row: Row, quality: tuple[str, str], prices: Prices, speeds: Sequence[Speed], hardware: str | None
) -> Candidate:
    from harness.questions.pricing import cost_of, missing_price
    from harness.records.speed import speed_of

    manifest, values = row.entry.manifest, row.entry.metrics["values"]
    cost, speed = cost_of(manifest, prices, 1000.0, 0.0, hardware), speed_of(manifest, speeds)
    return Candidate(
        name=name,
        row=row,
        f1=values[quality[0]],
        accuracy=values[quality[1]],
        inference=None if cost is None else cost.inference,
        training=None if cost is None else cost.training,  # of 1,000 predictions: all of it
        labels=0 if cost is None else cost.labels,
        unpriced=missing_price(manifest, prices) if cost is None else "",
        under_load=cost is not None and cost.under_load,
        p50_ms=None if speed is None else speed["p50_ms"],
        p95_ms=None if speed is None else speed["p95_ms"],
        timed=None if speed is None else (speed["n"], speed["settings"]["limit"]),
    )


def _breadth(members: Sequence[Entry]) -> tuple[int, int, int]:
    return len({entry.backend for entry in members}), members[0].metrics["n"], len(members)


def _names(rows: Sequence[Row]) -> list[str]:
    """The backend, and how it was made where there are several of it, and the digits of a run where that says too little."""
    backends = Counter(row.entry.backend for row in rows)
    made = Counter((row.entry.backend, row.entry.made) for row in rows)
    names = []
    for row in rows:
        entry = row.entry
        digits = [entry.run_id.rpartition(".")[2]] if made[entry.backend, entry.made] > 1 else []
        inside = ", ".join([entry.made, *digits])
        names.append(entry.backend if backends[entry.backend] == 1 else f"{entry.backend} ({inside})")
    return names
