"""`bench study transfer`: every training language tested in every language."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import verbosity
from harness.cli.options import (
    RESULTS,
    Data,
    Json,
    Limit,
    Many,
    Model,
    Quiet,
    Results,
    Settings,
    Task,
    Track,
    TrainLimit,
    TrustMetricCode,
    ValidationLimit,
    Verbose,
    catalog,
    check_data,
    names,
    open_store,
    plain,
    print_json,
    print_table,
    tolerate_broken_pipe,
)
from harness.cli.requests import check_fit, check_model, is_prompted, seeds, settings_from, task_or_default
from harness.core.options import RunOptions

if TYPE_CHECKING:
    from harness.specs.catalog import Catalog
    from harness.studies.transfer import Grid, Row


def transfer_command(
    backend: Annotated[str, typer.Option(metavar="NAME", help="Backend; it must be one that trains.")],
    task: Task = None,
    train_lang: Annotated[
        Many, typer.Option(metavar="CODE", help="Each is a row; en+fr trains on both together. Default: all of the task's.")
    ] = None,
    lang: Annotated[Many, typer.Option(metavar="CODE", help="Languages to test in, the columns; default: all.")] = None,
    validation_lang: Annotated[
        Many,
        typer.Option(
            metavar="CODE", help="Whose validation rows choose the checkpoint: own (as trained), or CODE; each a row."
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the cells show; default: the task's first headline metric.")
    ] = None,
    seed: Annotated[Many, typer.Option(metavar="N", help="Seed of training; with several a cell is their mean.")] = None,
    settings: Settings = None,
    limit: Limit = None,
    train_limit: TrainLimit = None,
    validation_limit: ValidationLimit = None,
    model: Model = None,
    data: Data = None,
    trust_metric_code: TrustMetricCode = False,
    force: Annotated[bool, typer.Option("--force", help="Predict again although the runs are there.")] = False,
    results: Results = RESULTS,
    track: Track = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Fill a table, trained on by tested on, and write it with a heat map to matrix/ in the folder of results.

    Each cell is a run as `bench run` makes it: those that are recorded already are not repeated, and a stopped command goes
    on. Each row trains once for all columns.

    --json prints an object with task, backend, metric, seeds, page, picture, and cells: a list of train, validation, lang, n,
    value, low, high, runs, best (of its column), trained (tested in a training language).
    """
    from harness.cli.execute_runs import exit_if_interrupted, exit_with, run_all, tracking_with
    from harness.core.errors import UserError
    from harness.core.json_files import digest
    from harness.running.plan import make_plan
    from harness.statistics.metrics import HEADLINES
    from harness.studies.search import metric_of
    from harness.studies.transfer import make_grid

    verbosity.begin(quiet, verbose)
    known = catalog(trust_metric_code)
    task = task_or_default(known, task)
    if is_prompted(known, backend):
        raise UserError(f"The backend {backend!r} is not trained: there is nothing to cross.", "Choose one that trains.")
    check_model(known, [backend], model)
    check_data(data)
    rows = _rows(known, task, train_lang, validation_lang)
    alike = RunOptions(
        task=task,
        backend=backend,
        lang="",
        limit=limit,
        train_limit=train_limit,
        validation_limit=validation_limit,
        settings=settings_from(settings),
        model=model,
        data=data,
    )
    requests = [
        alike.changed(lang=tested, train_lang=row.train, validation_lang=row.validation, seed=number)
        for row in rows
        for number in seeds(seed)
        for tested in names(lang, "--lang") or known.task(task).languages
    ]
    check_fit(known, requests, [])
    # A slip is found before the first model trains.
    chosen = metric_of(make_plan(requests[0], known), metric) if metric else HEADLINES[known.task(task).labels.kind][0]
    store = open_store(results)
    with tracking_with(track, results) as series:
        outcomes, stopped = run_all(known, requests, store, force, None)
    done = [outcome.run_id for outcome in outcomes if outcome.run_id is not None]
    if done and not stopped:
        grid = make_grid([store.record(name) for name in done], chosen, rows)
        asked = [settings_from(settings), seeds(seed), limit, train_limit, validation_limit, model]
        _show(grid, results, "" if asked == [{}, [0], *[None] * 4] else f"-{digest(asked)[:6]}", as_json)
    series.print_summary(outcomes)
    exit_if_interrupted(stopped)
    exit_with(done.error for done in outcomes)


def _show(grid: Grid, results: Path, variant: str, as_json: bool) -> None:
    """Write the grid, and print it."""
    page, picture = _write(grid, results, variant)
    with tolerate_broken_pipe():
        if as_json:
            print_json(_as_json(grid, page, picture))
        else:
            _print(grid)
    verbosity.note(f"Written: {page}" + (f", {picture}" if picture else ""))


def _rows(known: Catalog, task: str, train_lang: Many, validation_lang: Many) -> list[Row]:
    """One for each training set and each way to validate, without those that mean the same."""
    from harness.studies.transfer import Row

    trained = [
        tuple(dict.fromkeys(name.split("+"))) for name in names(train_lang, "--train-lang") or known.task(task).languages
    ]
    ways = names(validation_lang, "--validation-lang") or ["own"]
    rows = [Row(train, train if way == "own" else tuple(dict.fromkeys(way.split("+")))) for train in trained for way in ways]
    return list(dict.fromkeys(rows))


def _write(grid: Grid, results: Path, variant: str) -> tuple[Path, Path | None]:
    """The page, and the picture where the extra `charts` is installed. `variant`: of grids made with other options."""
    from harness.core.errors import MissingExtra
    from harness.core.file_names import own_stem
    from harness.core.json_files import write_atomically
    from harness.reports.heatmap import svg
    from harness.reports.transfer_page import markdown

    folder = results / "matrix"
    folder.mkdir(parents=True, exist_ok=True)
    stem = own_stem([grid.task, grid.backend, grid.metric]) + variant
    page, picture = folder / f"{stem}.md", folder / f"{stem}.svg"
    try:
        write_atomically(picture, svg(grid).decode())
        drawn = True
    except MissingExtra as error:
        picture.unlink(missing_ok=True)  # that of an earlier grid would stand beside this page
        verbosity.note(f"note: no heat map. {error} {error.hint}")
        drawn = False
    write_atomically(page, markdown(grid, picture.name if drawn else None))
    return page, picture if drawn else None


def _as_json(grid: Grid, page: Path, picture: Path | None) -> dict[str, Any]:
    cells = [
        {
            "train": list(row.train),
            "validation": list(row.validation),
            "lang": lang,
            "n": grid.counts[lang],
            **{name: getattr(grid.cells[row, lang], name) for name in ("value", "low", "high", "runs")},
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
    """Colours on a terminal, tab-separated lines in a pipe."""
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
