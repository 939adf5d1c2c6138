"""`bench leaderboard`: regenerate it from the run records, or check that it is up to date."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import RESULTS, Json, Results, open_store, plain, print_json, print_table

if TYPE_CHECKING:
    from harness.reports.parts import Board, Printed, TableText

MARKDOWN, PAGE = "LEADERBOARD.md", "leaderboard.html"
LEGEND = (
    "`bench show` takes the run of an entry. `1=`: shared rank; `‡`: no rank, not shown to be better than chance; "
    "`◇`: one seed, the value of this run."
)


def leaderboard_command(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a file is stale.")] = False,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Rank all runs.

    Writes LEADERBOARD.md and leaderboard.html, a page that opens from disk (it needs the extra `charts`). A rank is 1 + the
    number of entries that are significantly better; entries no better than chance have no rank. The runs of several seeds are
    one entry, with their mean. Published figures (in `reported`, beside `runs`) come last and are not ranked.

    --json prints a list with one object per entry, in the order of the tables: rank (null: no better than chance), tied,
    finding (kind, message, or null), tested_on (number of rows that the run was tested on, of which these may be a part), run,
    task, split, lang, rows, few_rows (a warning if they are few, or null), backend, how, seeds, one_seed (whether nothing is
    known of other seeds), runs, values (by metric: value, low, high of the mean over the seeds, for rows and seeds), spread (by
    headline metric: low, median, high over the seeds), identity, checkpoint (parameters, stored: precision of the weights in
    its files, base: hub id; null where unknown), timing, metrics; the last four are of the run in the middle. With --check: an
    object with path (of the stale or missing file, or of LEADERBOARD.md) and up_to_date; the page counts if it exists, the
    pictures if LEADERBOARD.md shows them."""
    from harness.core.errors import UserError
    from harness.records.index import intact_index
    from harness.reports.leaderboard import left_out, sentence
    from harness.reports.parts import Board
    from harness.specs.prices import load_prices

    store = open_store(results)
    if not results.exists():
        raise UserError(
            f"There is no folder {results}, so there are no runs.", "Start with `bench run`, or name it: --results DIR."
        )
    index = intact_index(store)
    note = left_out(sorted(set(store.ids()) - {row.run for row in index.rows}))
    board = Board(store, results, load_prices(Path.cwd()), _reported(results / "reported"), note, index, as_json)
    if check:
        _check(results, _stale(results, board), as_json)
        return
    missing = _write(results, board)
    board.forget_others()
    if missing:
        typer.echo(plain(f"Without charts and {PAGE}: {missing}"), err=True)
    if as_json:
        print_json(list(board.entries()))
        return
    for table in (table for part in board.parts for table in part.tables):
        _print(table)
    where = f"{results / MARKDOWN}" + ("" if missing else f" and {results / PAGE}")
    runs = sum(part.runs for part in board.parts)
    written = f"{runs:,} run{'s' if runs > 1 else ''}; written to {where}. {LEGEND}" if runs else f"Written to {where}."
    typer.echo(plain(f"\n{written}"), err=True)
    typer.echo(plain(f"\n{sentence([one for part in board.parts for one in part.summaries])}"))


def _write(results: Path, board: Board) -> str:
    """Write all files. Says what is missing for the page, if it is."""
    from harness.core.errors import MissingExtra
    from harness.core.json_files import write_atomically, write_parts_atomically
    from harness.reports.page import html
    from harness.reports.pictures import FOLDER, write_pictures

    texts = board.texts
    try:
        page = html.render(board.page, board.fragments)
        board.keep_drawn(write_pictures(board.pictures, results / FOLDER, board.drawn()))
    except MissingExtra as error:
        write_atomically(results / MARKDOWN, texts[1])
        old = [path for path in _stale(results, board) if path == results / PAGE]
        return f"{str(error).replace(chr(10), ' ')}{f'. {old[0]} is still there, of earlier records.' if old else ''}"
    write_atomically(results / MARKDOWN, texts[0])
    write_parts_atomically(results / PAGE, (piece.encode() for piece in page))
    return ""


def _reported(folder: Path) -> Sequence[Any]:
    if not folder.is_dir():
        return []
    from harness.specs.reported import read_reported

    return read_reported(folder)


def _print(table: TableText) -> None:
    typer.echo(plain(f"\n{table.title}"))
    _print_cells(table.ranking)
    for line in table.warnings:
        typer.echo(plain(line))
    if table.spreads is not None:
        typer.echo("\nover the prompts of one model:")
        _print_cells(table.spreads)


def _print_cells(table: Printed) -> None:
    print_table(table.heads, table.rows, text=table.text, optional=table.optional)


def _stale(results: Path, board: Board) -> list[Path]:
    """The files that `bench leaderboard` would change. Pictures count if the Markdown shows them, the page if it exists."""
    from harness.reports.page import html
    from harness.reports.pictures import FOLDER, STALE

    texts, drawn = board.texts, board.pictures
    markdown, page, folder = results / MARKDOWN, results / PAGE, results / FOLDER
    made = markdown.read_bytes() if markdown.exists() else None
    stale = [] if made in [text.encode() for text in texts] else [markdown]
    if made == texts[0].encode():
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        odd = {name for name in there - set(drawn) if STALE.fullmatch(name)} | (set(drawn) - there)
        stale += [folder / name for name in sorted(odd)]
    if page.exists() and not html.shows(page.read_bytes(), board.page, board.fragments):
        stale.append(page)
    return stale


def _check(results: Path, stale: Sequence[Path], as_json: bool) -> None:
    from harness.core.errors import BenchError

    markdown = results / MARKDOWN
    path = stale[0] if stale else markdown
    if as_json:
        print_json({"path": str(path), "up_to_date": not stale})
    elif not stale:
        typer.echo(plain(f"{markdown}{f' and {PAGE} are' if (results / PAGE).exists() else ' is'} up to date."))
    if stale:
        state = f"{path} does not show" if path.exists() else f"There is no {path} for"
        raise BenchError(f"{state} the records in {results / 'runs'}.", _way_out(path))


def _way_out(stale: Path) -> str:
    """How to update the file; the page and the pictures need the extra."""
    from importlib.util import find_spec

    from harness.core.errors import install_command

    lacking = [name for name in ("altair", "vl_convert") if find_spec(name) is None]
    if stale.name == MARKDOWN or not stale.exists() or not lacking:
        return "Run `bench leaderboard`."
    return f"{install_command('charts')}. Then run `bench leaderboard`; or delete {stale}."
