"""`bench study transfer`: every training language tested in every language."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import verbosity
from harness.cli.dry_run import DryRun, print_plan
from harness.cli.options import Json, catalog, open_store, plain, print_json, print_table, tolerate_broken_pipe, write_page
from harness.cli.requests import budget_of, completed
from harness.cli.run_options import takes_run_options
from harness.core.options import IN_PARTS, ExecutionOptions
from harness.specs.asked import Asked, check_trained_classifier

if TYPE_CHECKING:
    from harness.studies.transfer import Grid, Row

OF_VARIANT = ("limit", "train_limit", "validation_limit", "model")
"""Options that the page names, or that change no cell: pages made with other options get a digest of the rest."""
HELP = {
    "backend": "Backend that trains.",
    "train_lang": "One row each; en+fr trains on both together. Default: all languages of the task.",
    "lang": "Languages to test in, the columns; default: all of the task's.",
    "validation_lang": "Languages whose validation rows choose the checkpoint: own (those trained on) or CODE; one row each.",
    "seed": "Seed of training; with several, a cell shows their mean.",
}


@takes_run_options(
    but=("split", "prompt", "decoding", "calibration", "continue_from", "labels_from", "soft_labels", "no_gate", *IN_PARTS),
    help=HELP,
)
def transfer_command(
    asked: Asked,
    execution: ExecutionOptions,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="Metric of the cells; default: the task's first headline metric.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train on each language and test in all of them.

    Writes a table, trained on by tested on, and a heat map to matrix/ in the folder of results. Each cell is a run as `bench
    run` makes it, and each row trains once for all columns. A recorded run is not repeated, and a stopped one continues: repeat
    the command.

    --json prints an object with task, backend, metric, seeds, page, picture, and cells: a list of train, validation, lang, n,
    value, low, high, runs, best (of its column), trained (tested in a training language). With --dry-run: as `bench study
    recipe` prints it.
    """
    from harness.cli.execute_runs import run_all, tracking_with
    from harness.execution.jobs import requests_of
    from harness.running.plan import make_plan
    from harness.statistics.metrics import headline_of
    from harness.studies.search import metric_of
    from harness.studies.steps import steps_of_runs
    from harness.studies.transfer import make_grid

    known = catalog(execution.trust_metric_code)
    store = open_store(execution.results)
    asked = completed(asked, known, store)
    backend, task, _, _ = (asked.one(name) for name in ("backend", "task", "limit", "decision"))
    check_trained_classifier(known, backend, f"--backend {backend}")
    spec = known.task(task)
    rows = _rows(asked, spec.languages)
    runs = [run for row in rows for run in asked.changed(train_lang=row.train, validation_lang=row.validation).runs(known)]
    if dry_run:
        print_plan(steps_of_runs(runs), known, store, execution, as_json=as_json)
        return
    # A wrong name is found before the first model trains.
    chosen = metric_of(make_plan(runs[0], known), metric) if metric else headline_of(spec.labels.kind, spec.rank_by)[0]
    budget = budget_of(execution, known, [backend], asked.one("model"))
    with tracking_with(execution) as series:
        outcomes, stopped = run_all(known, requests_of(runs), store, execution, budget)
    done = [outcome.run_id for outcome in outcomes if outcome.run_id is not None]
    if done and not stopped:
        grid = make_grid([store.record(name) for name in done], chosen, rows)
        _show(grid, execution.results, _variant(asked), as_json)
    series.finish(outcomes, stopped)


def _variant(asked: Asked) -> str:
    """Part of a file name, for options other than those that the page's title names; empty for the defaults."""
    from harness.core.json_files import digest

    values = [dict(asked.one("settings")), asked.many("seed") or [0], *(asked.one(name) for name in OF_VARIANT)]
    later = {name: asked.values[name] for name in ("decision", "resample_train") if asked.values.get(name)}
    if values == [{}, [0], *[None] * len(OF_VARIANT)] and not later:
        return ""
    return f"-{digest([*values, *([later] if later else [])])[:6]}"


def _show(grid: Grid, results: Path, variant: str, as_json: bool) -> None:
    """Write the grid, and print it. `variant` tells the files of grids with other options apart."""
    from harness.core.file_names import own_stem
    from harness.reports.heatmap import svg
    from harness.reports.transfer_page import markdown

    stem = own_stem([grid.task, grid.backend, grid.metric]) + variant
    page, picture = write_page(results / "matrix", stem, lambda picture: markdown(grid, picture), lambda: svg(grid))
    with tolerate_broken_pipe():
        print_json(_as_json(grid, page, picture)) if as_json else _print(grid)


def _rows(asked: Asked, languages: list[str]) -> list[Row]:
    """One for each training set and each choice of validation languages, each once."""
    from harness.studies.transfer import Row

    def joined(text: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(text.split("+")))

    trained = [joined(text) for text in asked.many("train_lang") or languages]
    validated = asked.many("validation_lang") or ["own"]
    rows = [Row(train, train if text == "own" else joined(text)) for train in trained for text in validated]
    return list(dict.fromkeys(rows))


def _as_json(grid: Grid, page: Path, picture: Path | None) -> dict[str, Any]:
    cells = [
        {
            **asdict(row),
            "lang": lang,
            "n": grid.counts[lang],
            **asdict(grid.cells[row, lang]),
            "best": (row, lang) in grid.best,
            "trained": grid.is_trained(row, lang),
        }
        for row in grid.rows
        for lang in grid.langs
        if (row, lang) in grid.cells
    ]
    named = {"task": grid.task, "backend": grid.backend, "metric": grid.metric, "seeds": list(grid.seeds)}
    return {**named, "page": page.as_posix(), "picture": picture and picture.as_posix(), "cells": cells}


def _print(grid: Grid) -> None:
    """With colours on a terminal, as tab-separated lines in a pipe."""
    import sys

    from harness.reports.transfer_page import validated

    heads = [["+".join(row.train), validated(row)] for row in grid.rows]
    columns = ["trained on", "validated on", *grid.langs]
    spread = "its 95% interval" if len(grid.seeds) == 1 else f"the smallest and largest of {len(grid.seeds)} seeds"
    verbosity.note(f"{grid.title} and {spread}; * best of its column, ◆ tested in a training language")
    if not sys.stdout.isatty():
        print_table(columns, [[*head, *_texts(grid, row, " ")] for head, row in zip(heads, grid.rows, strict=True)])
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.reports.heatmap import colour, hex_of, ink_on

    shares = grid.shares()
    table = Table(
        title=Text(plain(f"{grid.backend} · {grid.task}")), header_style="bold", box=None, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for name in columns:
        table.add_column(Text(plain(name)), justify="left" if name in columns[:2] else "center", vertical="middle")
    for head, row in zip(heads, grid.rows, strict=True):
        cells: list[Text] = []
        for lang, text in zip(grid.langs, _texts(grid, row, "\n"), strict=True):
            share = shares.get((row, lang))
            fill = None if share is None else colour(share)
            style = "" if fill is None else f"{hex_of(ink_on(fill))} on {hex_of(fill)}"
            width = max(map(len, text.split("\n"))) + 2
            block = "\n".join(line.center(width) for line in text.split("\n"))  # so that the colour fills a rectangle
            cells.append(Text(block, style=f"bold {style}" if (row, lang) in grid.best else style))
        table.add_row(*(Text(plain(name)) for name in head), *cells)
    Console().print(table)


def _texts(grid: Grid, row: Row, between: str) -> list[str]:
    """Value, marks and interval of each cell."""
    texts = []
    for lang in grid.langs:
        value, below = grid.texts(row, lang)
        marks = ("*" if (row, lang) in grid.best else "") + ("◆" if grid.is_trained(row, lang) else "")
        texts.append(between.join(part for part in (f"{value} {marks}".rstrip(), below) if part))
    return texts
