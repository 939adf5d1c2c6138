"""What the page shows, as one typed model: `Page.dump` is the JSON that its scripts read, and they compute nothing from it."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.core.plain import plain

Bounds = tuple[float | None, float | None, float | None]
"""A value and its 95% interval."""
Made = Literal["trained", "prompted"]


class Part(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=True)


class Term(Part):
    """Something that the page explains."""

    key: str
    title: str
    explain: str


class Column(Term):
    """A column of the ranking: its value is the field `key` of an entry, or of its table.

    `usual`: when it is shown before a reader chooses: where `some` or `most` entries have a value, or `several` values differ.
    `timed`: too high or too low where the machine was busy.
    """

    kind: Literal["rank", "model", "metric", "seeds", "count", "share", "rate", "dollars", "text"]
    better: Literal["higher", "lower"] | None = None
    usual: Literal["always", "some", "most", "several", "chosen"] = "chosen"
    timed: bool = False


class Place(Part):
    """An entry of a ranking: a configuration. `values` are means over the seeds (`runs`), costs and speeds those of the run in
    the middle (`run`). `one_seed`: nothing is known of other seeds, so the figures are those of this run.

    `texts` and `notes`, by column: what stands in the cell in place of the value, and what its tooltip says. `facts`: what the
    details of a run list. `over_seeds`: lowest, middle and highest value of the table's first metric.
    """

    rank: int | None
    tied: bool = False
    backend: str
    how: str
    size: str = ""
    weights: str | None = None
    made: Made
    engine: str
    run: str
    runs: list[str]
    seeds: list[int]
    one_seed: bool = False
    values: dict[str, Bounds]
    over_seeds: tuple[float, float, float] | None = None
    by_seed: dict[str, list[float | None]] | None = None
    unparsed: float | None = None
    failed: float | None = None
    truncated: float | None = None
    finding: str | None = None
    tested_on: int | None = None
    rate: float | None = None
    cost: float | None = None
    p95_ms: float | None = None
    train_count: int | None = None
    labelled: int | None = None
    train_langs: str | None = None
    machine: str
    load: float | None = None
    busy: bool = False
    finished: str | None = None
    texts: dict[str, str] = Field(default_factory=dict)
    notes: dict[str, str] = Field(default_factory=dict)
    facts: list[tuple[str, str]] = Field(default_factory=list)


class Panel(Part):
    """Quality against `axis`, of the entries that ran on `machine` (rates of two machines have no common axis).

    `fronts`: by metric and by how entries were made ("": all), the places of the Pareto front, each with its label.
    """

    axis: Literal["cost", "rate"]
    machine: str | None = None
    fronts: dict[str, dict[str, dict[int, str]]]


class Figures(Part):
    """A table; the first `texts` columns hold text, the others numbers."""

    heads: list[str]
    lines: list[list[str]]
    texts: int = 1


class Block(Part):
    """A chart of `harness.reports.charts` with its rows; `figures`: what its tooltips show; `table`, `sentence`: below it."""

    chart: str
    axis: str | None = None
    words: str
    rows: list[dict[str, Any]]
    figures: Figures
    table: Figures | None = None
    sentence: str = ""


class Board(Part):
    """The ranking on one set of rows. `task` names the split too, but for the test split; `size`: the rows in words."""

    key: str
    task: str
    lang: str
    rows: str
    n: int
    size: str
    multilabel: bool
    labels: list[str]
    headline: list[str]
    metric: str
    few: str | None
    prompted_sizes: str
    warnings: list[str]
    outdated: bool
    main: bool
    places: list[Place]
    panels: list[Panel]
    prompts: Block | None


class RunDetails(Part):
    """One run. `mistakes`, of many labels: true label, answer, rows; `per_class`: label, precision, recall, F1, support;
    `bins`: low, high, confidence, accuracy, count."""

    record: str
    answers: str | None = None
    confusion: list[list[int]] | list[list[list[int]]] | None = None
    mistakes: list[tuple[int, int, int]] | None = None
    mistakes_left_out: int = 0
    per_class: list[tuple[str, float | None, float | None, float | None, int]]
    bins: list[tuple[float, float, float | None, float | None, int]] | None = None
    evaluations: list[dict[str, Any]] | None = None
    evaluations_of: int | None = None
    best_step: int | None = None
    settings: list[tuple[str, str]]


class PairTests(Part):
    """McNemar's exact test of each two of these runs, on all rows: p in thousandths, and which is better at the 5% level ("A",
    "B", or "=" for neither), of the pairs (0, 1), (0, 2), …, (1, 2), …"""

    runs: list[str]
    p: list[int]
    better: str


class RowSet(Part):
    """The rows whose answers the page holds; `sampled`: how many, where these are not all."""

    ids: list[str]
    truth: str
    sampled: int | None = None
    tests: PairTests


class Line(Part):
    backend: str
    how: str
    runs: list[str | None]


class Section(Part):
    """Tables of several languages as LEADERBOARD.md sets them side by side."""

    tables: list[str]
    common: str
    title: str
    lines: list[Line]


class Matrix(Part):
    """Trained in the language of a row, tested in that of a column; `n`: test rows by language."""

    task: str
    name: str
    n: dict[str, int]
    block: Block


class Curve(Part):
    """A learning curve; its block is of `n` test rows."""

    task: str
    lang: str
    n: int
    block: Block


class Source(Part):
    """Published figures of one source; `lines`: the cells of a table."""

    name: str
    source: str
    note: str
    lines: list[list[str]]


class Page(Part):
    bench: str
    tables: list[Board] = Field(default_factory=list)
    runs: dict[str, RunDetails] = Field(default_factory=dict)
    columns: list[Column] = Field(default_factory=list)
    terms: list[Term] = Field(default_factory=list)
    alphabet: str = ""
    rowsets: dict[str, RowSet] = Field(default_factory=dict)
    sections: list[Section] = Field(default_factory=list)
    matrices: list[Matrix] = Field(default_factory=list)
    curves: list[Curve] = Field(default_factory=list)
    reported: list[Source] = Field(default_factory=list)
    note: str = ""

    def dump(self) -> dict[str, Any]:
        """Strict JSON: numbers of six significant digits, names as text that steers nothing; what is None is left out."""
        found: dict[str, Any] = _strict(self.model_dump(exclude_none=True))
        return found


def _strict(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {plain(key) if isinstance(key, str) else key: _strict(inner) for key, inner in value.items()}
    return [_strict(inner) for inner in value] if isinstance(value, list | tuple) else value
