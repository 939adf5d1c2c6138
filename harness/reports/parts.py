"""The leaderboard in parts: all that it says of one task and split, kept until something changes of which it is made.

A part is kept in the folder of the index (`.index/board/`), with a digest of all that it depends on: the state of the records
of its runs, the latency records and learning curves of its task, prices, how much of the page it may take, and bench's code.
A part with another digest is made anew. So a new run costs the work for its own task, and not for all.
"""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter

from harness.analysis.ranks import RankedEntry
from harness.core.json_files import digest
from harness.records.entries import TITLES
from harness.records.index import FOLDER, RunIndex, made_by, write_cache
from harness.records.latency import load_latencies
from harness.records.store import Store
from harness.reports.leaderboard import Summary, TaskText, markdown, summary, task_text
from harness.reports.page import html, model
from harness.reports.page.answers import ALPHABET, runs_of
from harness.reports.page.budget import Budget, Unit, budgets
from harness.reports.page.columns import MetricUse, columns_of, declared, merged, uses_of
from harness.reports.page.curves import read_curves
from harness.reports.page.data import payload, sources
from harness.reports.pictures import Drawn, Picture, pictures
from harness.reports.tables import (
    OVER_SEEDS,
    STATUSES,
    WEIGHTS,
    Table,
    columns,
    lines_of,
    read_tables,
    spread_cells,
    spread_columns,
)
from harness.reports.words import how

if TYPE_CHECKING:
    from harness.specs.prices import Prices
    from harness.specs.reported import Reported

log = logging.getLogger("bench")


class Printed(BaseModel):
    """A table for the terminal; `text` and `optional`: as `print_table` takes them."""

    heads: list[str]
    rows: list[list[str]]
    text: list[str]
    optional: list[str]


class TableText(BaseModel):
    """A table of the leaderboard as the terminal shows it. `spreads`: over the prompts of one model."""

    title: str
    ranking: Printed
    warnings: list[str]
    spreads: Printed | None


class BoardPart(BaseModel):
    """All of one task and split. `plain`: the Markdown without pictures. `runs`: how many, with those of all seeds. `uses` and
    `headlines`: for the columns of the page."""

    tables: list[TableText]
    summaries: list[Summary]
    text: TaskText
    plain: TaskText
    page: html.Fragment
    pictures: dict[str, Picture]
    runs: int
    uses: dict[str, MetricUse]
    headlines: list[str]


@dataclass(frozen=True)
class Board:
    """The leaderboard of all runs. `note` stands at its end. `as_json`: its entries will be asked for, too."""

    store: Store
    results: Path
    prices: Prices
    reported: Sequence[Reported]
    note: str
    index: RunIndex
    as_json: bool = False

    @cached_property
    def parts(self) -> list[BoardPart]:
        """By task and split. Raises `RunError` for a damaged record."""
        return [self._part(unit) for unit in self._units]

    @cached_property
    def page(self) -> model.Page:
        """Without the tables of the parts."""
        headlines = [name for part in self.parts for name in part.headlines]
        return model.Page(
            bench=version("bench-harness"),
            columns=columns_of(merged(part.uses for part in self.parts), headlines),
            terms=declared().terms,
            alphabet=ALPHABET,
            curves=read_curves(self.results),
            reported=sources(self.reported),
            note=self.note,
        )

    @property
    def fragments(self) -> list[html.Fragment]:
        return [part.page for part in self.parts]

    @cached_property
    def texts(self) -> list[str]:
        """LEADERBOARD.md with and without pictures."""
        both = [part.text for part in self.parts], [part.plain for part in self.parts]
        return [markdown(texts, self.reported, self.note) for texts in both]

    @property
    def pictures(self) -> dict[str, Picture]:
        return {name: picture for part in self.parts for name, picture in part.pictures.items()}

    def entries(self) -> Iterator[dict[str, Any]]:
        """As --json prints them, in the order of the tables."""
        for unit in self._units:
            kept = _kept(self._path(unit, "entries"), self._keys[unit])
            yield from json.loads(kept) if kept is not None else self._kept_entries(unit, self._tables(unit))

    def _kept_entries(self, unit: Unit, tables: Sequence[Table]) -> list[dict[str, Any]]:
        found = [_entry(table, place) for table in tables for place in table.places]
        if self._keys[unit]:
            _keep(self._path(unit, "entries"), self._keys[unit], json.dumps(found))
        return found

    def drawn(self) -> Drawn:
        """What is known of the pictures that were drawn last."""
        kept = _kept(self.store.root / FOLDER / PICTURES, made_by())
        return {} if kept is None else TypeAdapter(Drawn).validate_json(kept)

    def keep_drawn(self, drawn: Drawn) -> None:
        if drawn != self.drawn():
            _keep(self.store.root / FOLDER / PICTURES, made_by(), json.dumps(drawn))

    def forget_others(self) -> None:
        """Delete the kept parts of tasks that have no runs any more."""
        folder = self.store.root / FOLDER / BOARD
        used = {self._path(unit, kind).name for unit in self._units for kind in ("part", "entries")}
        with suppress(OSError):
            for path in folder.iterdir():
                if path.suffix == ".gz" and path.name not in used:
                    path.unlink()

    @cached_property
    def _units(self) -> dict[Unit, list[int]]:
        """The places in the index of the runs of each task and split."""
        found: dict[Unit, list[int]] = {}
        for place, row in enumerate(self.index.rows):
            found.setdefault((row.task, row.split), []).append(place)
        return dict(sorted(found.items()))

    @cached_property
    def _budgets(self) -> dict[Unit, Budget]:
        return budgets(self.index.rows)

    @cached_property
    def _keys(self) -> dict[Unit, str]:
        """Of all that a part depends on; "" where a record was just written, so that its state says nothing."""
        latencies, curves = load_latencies(self.results), read_curves(self.results)
        prices = digest([one.model_dump(mode="json") for one in (self.prices.own, self.prices.built_in)])
        found = {}
        for unit, places in self._units.items():
            task = unit[0] if unit[1] == "test" else f"{unit[0]} ({unit[1]})"
            rows = [self.index.rows[place] for place in places]
            parts = [
                [[row.run, row.state, row.backend in self.index.with_several_models] for row in rows],
                [one.model_dump(mode="json") for one in latencies if one.identity.task == unit[0]],
                [one.model_dump(mode="json") for one in curves if one.task == task],
                asdict(self._budgets[unit]),
            ]
            found[unit] = digest([made_by(), prices, *parts]) if all(row.state for row in rows) else ""
        return found

    def _path(self, unit: Unit, kind: str) -> Path:
        return self.store.root / FOLDER / BOARD / f"{digest(unit)[:16]}.{kind}.json.gz"

    def _part(self, unit: Unit) -> BoardPart:
        kept = _kept(self._path(unit, "part"), self._keys[unit])
        return self._make(unit) if kept is None else BoardPart.model_validate_json(kept)

    def _tables(self, unit: Unit) -> list[Table]:
        return read_tables(self.store, self.index.entries(self._units[unit]))

    def _make(self, unit: Unit) -> BoardPart:
        tables = self._tables(unit)
        found = payload(self.store, self.results, tables, self.prices, budget=self._budgets[unit])
        drawn = pictures(tables, {place.run: place.cost for table in found.tables for place in table.places})
        part = BoardPart(
            tables=list(map(_table_text, tables)),
            summaries=list(map(summary, tables)),
            text=task_text(tables, drawn),
            plain=task_text(tables),
            page=html.fragment(found),
            pictures=drawn,
            runs=len({run.run_id for table in tables for place in table.places for run in place.row.every}),
            uses=uses_of(entry for table in tables for entry in runs_of(table)),
            headlines=list(dict.fromkeys(name for table in tables for name in table.first.record.metrics.headline)),
        )
        if self.as_json:
            self._kept_entries(unit, tables)
        if self._keys[unit]:
            _keep(self._path(unit, "part"), self._keys[unit], part.model_dump_json())
        return part


BOARD, PICTURES = "board", "pictures.json.gz"


def _kept(path: Path, key: str) -> str | None:
    """What was kept under this key; None where there is nothing, or it is damaged."""
    try:
        found, _, text = gzip.decompress(path.read_bytes()).decode().partition("\n")
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError) as error:
        log.warning("%s is damaged and is made again (%s).", path, error)
        return None
    return text if key and found == key else None


def _keep(path: Path, key: str, text: str) -> None:
    """gzip finds what was damaged later."""
    write_cache(path, gzip.compress(f"{key}\n{text}".encode(), compresslevel=1, mtime=0))


def _table_text(table: Table) -> TableText:
    task, split, lang, _ = table.group
    titles = columns(table)
    headline = [TITLES.get(name, name) for name in table.first.record.metrics.headline]
    seeds = [name for name in titles if name.endswith(OVER_SEEDS)]
    statuses = [name for name in titles if name in STATUSES]
    lines = zip(lines_of(titles, table.places), table.places, strict=True)
    return TableText(
        title=f"{task} ({split}), {lang}: {table.size}" + (f" † {table.few}" if table.few else ""),
        ranking=Printed(
            heads=titles,
            rows=[[*line, place.row.entry.run_id.rpartition(".")[2]] for line, place in lines],
            text=["how"],
            optional=["rows/s", *reversed(headline[1:]), *reversed(statuses), *seeds, WEIGHTS],
        ),
        warnings=table.warnings,
        spreads=_spreads_text(table),
    )


def _spreads_text(table: Table) -> Printed | None:
    if not table.spreads:
        return None
    heads = spread_columns(table.metric)
    optional = [heads[-1], "unparsed", "by chance", "range"]
    return Printed(heads=heads, rows=list(map(spread_cells, table.spreads)), text=["how", "prompts"], optional=optional)


def _entry(table: Table, place: RankedEntry) -> dict[str, Any]:
    row, entry = place.row, place.row.entry
    record, identity = entry.record, entry.record.identity
    spread = {name: row.spread(name) for name in record.metrics.headline}
    return {
        "rank": place.rank,
        "tied": place.tied,
        "finding": place.finding and place.finding.as_json(),
        "tested_on": entry.tested_on or record.metrics.n,
        "run": entry.run_id,
        **{key: getattr(identity, key) for key in ("task", "split", "lang", "rows")},
        "few_rows": table.few,
        "backend": entry.backend,
        "how": how(row),
        "seeds": row.seeds,
        "one_seed": row.is_single,
        "runs": [run.run_id for run in sorted(row.every, key=lambda run: run.seed)],
        "values": {name: row.estimate(name).as_json() for name in record.metrics.values},
        "spread": {name: found and dict(zip(("low", "median", "high"), found, strict=True)) for name, found in spread.items()},
        "identity": identity.as_json(),
        "checkpoint": entry.checkpoint.model_dump(),
        "timing": record.timing.as_json(),
        "metrics": record.metrics.as_json(),
    }
