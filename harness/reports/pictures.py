"""The pictures beside LEADERBOARD.md: a pure function of the tables."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from harness.core.durable import file_sha256
from harness.core.file_names import file_stem
from harness.core.json_files import digest, write_atomically
from harness.records.entries import TITLES, Entry, Group
from harness.records.index import made_by
from harness.records.names import told_apart
from harness.reports.by_language import Section, sections
from harness.reports.tables import Table
from harness.statistics.metrics import LOWER_IS_BETTER
from harness.statistics.pareto import pareto_front

FOLDER = "charts"
MOST_LINES = 20
"""Of a heat map; the others are in the table."""
WIDEST_NAME = 70
"""Characters; the library is slow at truncating long names."""
STALE = re.compile(r".*-[0-9a-f]{8}-(speed|cost|languages)\.svg")

LIBRARIES = ("altair", "vl-convert-python")
Figures = list[dict[str, Any]]


class Picture(BaseModel):
    """The data of a chart; `chart` and `options`: the function of `harness.reports.charts` that draws it, and its arguments."""

    rows: Figures
    chart: Literal["quality", "languages"]
    options: dict[str, Any]

    def spec(self) -> dict[str, Any]:
        """In Vega-Lite. Raises `MissingExtra`."""
        from harness.reports.charts import labelled, with_rows

        rows = labelled(self.rows) if self.chart == "quality" else self.rows
        return with_rows(_spec(self.chart, tuple(self.options.items())), rows)

    def svg(self) -> bytes:
        """Raises `MissingExtra`."""
        from harness.reports.charts import svg_of

        return svg_of(self.spec())

    def drawn_by(self) -> str:
        """Digest of what determines the drawing."""
        return digest([charts_made_by(), self.model_dump(mode="json")])


@cache
def _spec(chart: Literal["quality", "languages"], options: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """Of a chart without rows: many pictures have the same titles."""
    from harness.reports import charts

    draw = charts.quality if chart == "quality" else charts.languages
    found: dict[str, Any] = draw(None, **dict(options)).to_dict(validate=False)
    return found


@cache
def charts_made_by() -> str:
    """Digest of the code that draws charts: bench's, and that of the libraries."""
    return digest([made_by(), list(map(_version, LIBRARIES))])


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def pictures(tables: Sequence[Table], cost: Mapping[str, float | None]) -> dict[str, Picture]:
    """By file name. `cost`: US dollars per 1,000 rows by run id; the middle run represents its seeds."""
    found: dict[str, Picture] = {}
    for table in tables:
        rows = _on_one_machine(table)
        speeds = {entry.key: entry.record.timing.rows_per_second for entry in rows}
        _add(
            found, file_name([table], "speed"), _quality(table, rows, speeds, f"rows per second, on {machine(rows[0])}", False)
        )
        everyone = [place.row.entry for place in table.places]
        prices = {entry.key: cost.get(entry.key) for entry in everyone}
        _add(found, file_name([table], "cost"), _quality(table, everyone, prices, "US dollars per 1,000 rows", True))
    for _, several in groupby(tables, key=lambda table: table.group[:2]):
        for section in sections(list(several)):
            if len(section.tables) > 1:
                found[file_name(section.tables, "languages")] = _languages(section)
    return found


def _add(found: dict[str, Picture], name: str, picture: Picture) -> None:
    if len(picture.rows) > 1:
        found[name] = picture


Drawn = dict[str, tuple[str, str]]
"""By the name of a picture: what it was drawn from (`Picture.drawn_by`), and the sha256 of its file."""


def write_pictures(found: Mapping[str, Picture], folder: Path, known: Mapping[str, Sequence[str]] | None = None) -> Drawn:
    """Draw them into the folder, and delete those of an earlier leaderboard. `known`: what is there already is not drawn again
    where picture and file are as they were. Raises `MissingExtra` before it writes."""
    drawn: Drawn = {}
    new: dict[Path, str] = {}
    for name, picture in found.items():
        made, path = picture.drawn_by(), folder / name
        if known and list(known.get(name, ())) == [made, sha256_if_there(path)]:
            drawn[name] = made, known[name][1]
        else:
            new[path] = picture.svg().decode()
            drawn[name] = made, hashlib.sha256(new[path].encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in new.items():
        write_atomically(path, text)
    for path in folder.iterdir():
        if path.name not in drawn and STALE.fullmatch(path.name):
            path.unlink()
    return drawn


def sha256_if_there(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None


def file_name(tables: Sequence[Table], kind: str) -> str:
    """A readable name, unique for the sets of rows."""
    groups: list[Group] = [table.group for table in tables]
    langs = [group[2] for group in groups] if len(groups) == 1 else []
    return f"{file_stem([*groups[0][:2], *langs])}-{digest(groups)[:8]}-{kind}.svg"


def machine(entry: Entry) -> str:
    found = entry.record.machine
    counted = f" ({found.cores} core{'' if found.cores == 1 else 's'})" if found.cores else ""
    return found.gpu or f"{found.cpu or 'an unknown machine'}{counted}"


def _on_one_machine(table: Table) -> list[Entry]:
    """The entries of the most common machine: speeds of different machines are not comparable."""
    entries = [place.row.entry for place in table.places]
    most, _ = max(Counter(map(machine, entries)).items(), key=lambda item: (item[1], item[0]))
    return [entry for entry in entries if machine(entry) == most]


def _quality(table: Table, entries: Sequence[Entry], x: Mapping[str, float | None], title: str, less: bool) -> Picture:
    """Quality by cost or speed `x`; `less`: a lower x is better. A zero can't be drawn on a logarithmic axis, but counts for
    the Pareto front."""
    runs = [place.row.runs for place in table.places]
    made = [place.row.entry.config_label for place in table.places]
    hows = {place.row.entry.key: how for place, how in zip(table.places, told_apart(runs, made), strict=True)}
    values = {place.row.entry.key: place.row.estimate(table.metric) for place in table.places}
    rows: Figures = []
    for entry in entries:
        estimate, at = values[entry.key], x[entry.key]
        if estimate.value is not None and at is not None and 0 <= at < math.inf:
            engine = entry.record.identity.backend.engine
            bounds = {name: getattr(estimate, name) for name in ("value", "low", "high")}
            named = {"name": entry.display_name, "how": hows[entry.key], "engine": engine}
            rows.append({"key": entry.key, **named, "x": at, **bounds})
    lower = table.metric in LOWER_IS_BETTER
    front = pareto_front([(-row["value"] if lower else row["value"], -row["x"] if less else row["x"]) for row in rows])
    for row, is_best in zip(rows, front, strict=True):
        row["front"] = is_best
    drawn = [row for row in rows if row["x"] > 0]
    if left := len(rows) - len(drawn):
        title += f" ({left} at 0 not shown: the axis is logarithmic)"
    y_title = f"{TITLES.get(table.metric, table.metric)} ({'lower' if lower else 'higher'} is better)"
    options = {"x_title": title, "y_title": y_title, "lower_is_better": lower, "less_x_is_better": less}
    return Picture(rows=drawn, chart="quality", options=options)


def _shortened(name: str) -> str:
    """Without its middle: the number and the model are at the beginning, differences at the end."""
    half = WIDEST_NAME // 2
    return name if len(name) <= WIDEST_NAME else f"{name[: half - 1]}…{name[-half:]}"


def _languages(section: Section) -> Picture:
    metric, shown = section.metric, section.lines[:MOST_LINES]
    columns = range(len(section.tables))
    values = [value for line in shown for column in columns if (value := line.value(column, metric)) is not None]
    low, high = min(values, default=0.0), max(values, default=0.0)
    rows: Figures = []
    for number, line in enumerate(shown):
        for column, place in sorted(line.places.items()):
            estimate = place.row.estimate(metric)
            if estimate.value is not None:
                share = (estimate.value - low) / (high - low) if high > low else 0.5
                shade = 1 - share if metric in LOWER_IS_BETTER else share
                table = section.tables[column]
                rows.append(
                    {
                        "lang": f"{table.group[2]} (n = {table.first.record.metrics.n:,})",
                        "name": _shortened(f"{number + 1}. {line.backend} · {line.how}"),  # the number of the table
                        "text": f"{estimate.value:.3f}",
                        "shade": shade,
                        **{name: getattr(estimate, name) for name in ("value", "low", "high")},
                    }
                )
    left = len(section.lines) - len(shown)
    rest = f"; the first {MOST_LINES} of {len(section.lines)} lines" if left else ""
    better = "lower" if metric in LOWER_IS_BETTER else "higher"
    title = f"{TITLES.get(metric, metric)} by language ({better} is better{rest})"
    return Picture(rows=rows, chart="languages", options={"title": title})
