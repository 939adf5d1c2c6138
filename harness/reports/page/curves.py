"""The learning curves that `bench study curve` wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from harness.core.json_files import unsealed
from harness.records.entries import read_intact
from harness.records.store import damage_named
from harness.reports.page.answer import decimal, interval
from harness.reports.page.columns import direction
from harness.reports.page.model import Block, Curve, Figures
from harness.reports.text.formats import title

KINDS = {"trained": "mean of the seeds", "seed": "one seed", "prompted": "prompted", "crossing": "reaches the prompt"}
WORDS = "bands: 95% interval of rows and seeds; small dots: single seeds; circles: where a curve reaches a prompt"


class Point(BaseModel):
    labels: float
    value: float | None
    low: float | None
    high: float | None
    by_seed: list[float | None] = []


class Prompted(Point):
    name: str


class Trained(BaseModel):
    name: str
    points: list[Point]


class Crossing(BaseModel):
    curve: str
    line: str
    labels: float | None


class Recorded(BaseModel):
    """A file, as far as the page shows it."""

    sentence: str
    task: str
    lang: str
    metric: str
    n: int
    curves: list[Trained]
    lines: list[Prompted]
    crossings: list[Crossing]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Of the chart."""
        for curve in self.curves:
            for point in curve.points:
                yield {"name": curve.name, "kind": "trained", **point.model_dump(exclude={"by_seed"})}
                for value in point.by_seed:
                    yield {"name": curve.name, "kind": "seed", "labels": point.labels, "value": value}
        for line in self.lines:
            yield {"kind": "prompted", **line.model_dump(exclude={"by_seed"})}
        height = {line.name: line.value for line in self.lines}
        for found in self.crossings:
            if found.labels and found.line in height:
                yield {"name": found.curve, "kind": "crossing", "labels": found.labels, "value": height[found.line]}


def read_curves(results: Path) -> list[Curve]:
    """The content of results/curves/*.json, by name; a damaged file is left out with a warning."""
    return read_intact(sorted((results / "curves").glob("*.json")), _read)


def _read(path: Path) -> Curve:
    with damage_named(path, "Delete it, or repeat `bench study curve`."):
        content, _ = unsealed(path.read_bytes())
        found = Recorded.model_validate(content, strict=True)
    rows, metric_title = list(found.rows()), title(found.metric)
    lines = [
        [
            row["name"],
            KINDS[row["kind"]],
            f"{row['labels']:,.0f}",
            decimal(row["value"]),
            interval(row.get("low"), row.get("high")),
        ]
        for row in rows
    ]
    figures = Figures(heads=["Model", "What", "Labels", metric_title, "95% interval"], lines=lines, texts=2)
    axis = f"{metric_title} ({direction(found.metric)})"
    block = Block(chart="curve", axis=axis, words=WORDS, rows=rows, figures=figures, sentence=found.sentence)
    return Curve(task=found.task, lang=found.lang, n=found.n, block=block)
