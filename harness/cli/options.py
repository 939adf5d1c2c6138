"""Options and helpers that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from harness.core.plain import UNSAFE
from harness.core.plain import plain as plain  # the commands take it from here

if TYPE_CHECKING:
    from harness.core.errors import BenchError
    from harness.records.store import Store
    from harness.specs.catalog import Catalog

E = TypeVar("E", bound=StrEnum)

Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Folder of run records and leaderboard.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Read the task's rows from here: {train,validation,test}.{parquet,csv,tsv,jsonl,json}."
    ),
]
Many = list[str] | None
DEFAULT_TASK = "default: the only one in tasks/, else reviews_demo"
Task = Annotated[
    str | None, typer.Option(metavar="NAME", help=f"Task; {DEFAULT_TASK}. See `bench list tasks`.", show_default=False)
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="At most so many test rows per language, always the same ones."),
]
TrainLimit = Annotated[
    int | None, typer.Option("--train-limit", min=1, metavar="N", help="At most so many training rows per language.")
]
ValidationLimit = Annotated[
    int | None,
    typer.Option(
        "--validation-limit", min=0, metavar="N", help="At most so many validation rows per language; 0: train to the end."
    ),
]
Settings = Annotated[
    Many, typer.Option("--set", metavar="KEY=VALUE", help="An option of the backend: train.lr=3e-5. Can be repeated.")
]
NoGate = Annotated[
    bool, typer.Option("--no-gate", help="Go on where a sanity gate would stop a prompted run; its record says so.")
]
Track = Annotated[
    str | None,
    typer.Option(
        "--track",
        metavar="NAME",
        help="Show the runs in wandb, trackio, mlflow or tensorboard, too; default: in none.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors, the result, and where it is.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show what the libraries log and warn of, too.")]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="PATH", help="Checkpoint in place of the backend's: a local folder or a hub id."),
]
TrustMetricCode = Annotated[
    bool,
    typer.Option("--trust-metric-code", help="Run the programs that a task names under `metrics`. Read them first."),
]
RESULTS = Path("results")

TEXT_WIDTH = 24
"""Predictions of a terminal that a cell of running text needs at least."""


def one_line(text: str | None, width: int = 100) -> str:
    line = " ".join(plain(text or "").split())
    return line if len(line) <= width else line[: width - 1] + "…"


def names(values: Sequence[str] | None, option: str = "") -> list[str]:
    """`--lang en --lang ja` and `--lang en,ja` mean the same; repeats count once.

    Raises `UserError` for an option without a name: `--lang "$UNSET"` must not mean all languages.
    """
    from harness.core.errors import UserError

    split = [part.strip() for value in values or () for part in value.split(",")]
    found = list(dict.fromkeys(part for part in split if part))
    if values and not found:
        raise UserError(f"{option} is given without a value.", "Give it one, or leave the option out.")
    return found


def one_of(kind: type[E], what: str) -> Callable[[str], E]:
    """A `parser` for an argument that is a member of `kind`: another word gets the nearest ones for an answer, as any name."""

    def read(name: str) -> E:
        from harness.core.errors import UnknownName

        if name not in list(kind):
            raise UnknownName(what, name, list(kind))
        return kind(name)

    return read


def finite_number(value: float, option: str) -> float:
    """The value; raises `UserError` for `inf` and `nan`, which Python reads as numbers."""
    from math import isfinite

    from harness.core.errors import UserError

    if not isfinite(value):
        raise UserError(f"{option} {value:g}: that is no finite number.", "Give a number such as 0.5 or 1000.")
    return value


def catalog(trust_metric_code: bool = False) -> Catalog:
    from harness.specs.catalog import Catalog

    return Catalog(Path.cwd(), trust_metric_code)


def check_data(data: Path | None) -> None:
    """Raise `UserError` for a folder that is not there: once, and not for every language."""
    from harness.core.errors import UserError

    if data is not None and not data.is_dir():
        raise UserError(f"--data {data}: there is no such folder.", "It holds the files of the splits: see `bench run --help`.")


def open_store(results: Path) -> Store:
    """The runs under `--results`; raises `UserError` where that is a file."""
    from harness.core.errors import UserError
    from harness.records.store import Store

    if results.exists() and not results.is_dir():
        raise UserError(f"--results {results} is not a folder.", "Name the folder that holds (or will hold) `runs`.")
    return Store(results / "runs")


def check_cache() -> None:
    """Raise `RunError` for a cache that nothing can be written to, before it is looked for in the midst of a run."""
    from harness.models.checkpoints import cache_dir
    from harness.running.training import make_cache_folder

    make_cache_folder(cache_dir())


@contextmanager
def tolerate_broken_pipe() -> Iterator[None]:
    """Around what goes to stdout after long work: a reader who stops early (`| head -1`) does not make it a failure."""
    import sys

    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer would fail again when Python ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def worded(error: BenchError) -> str:
    return plain(f"bench: {error.message}" + (f"\n       {error.hint}" if error.hint else ""))


def report(error: BenchError) -> None:
    typer.echo(worded(error), err=True)


@contextmanager
def warnings_shown() -> Iterator[None]:
    """What the library logs as a warning, as lines on stderr; each once, as several steps of a command may find the same."""
    import logging

    told: set[str] = set()

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = plain(f"warning: {record.getMessage()}")
            if text not in told:
                told.add(text)
                typer.echo(text, err=True)

    log, lines = logging.getLogger("bench"), Lines(logging.WARNING)
    log.addHandler(lines)
    try:
        yield
    finally:
        log.removeHandler(lines)


def print_json(value: Any) -> None:
    """UTF-8, with what would steer a terminal as JSON's own escapes (it can only stand inside strings)."""
    import json
    import sys

    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, indent=1, ensure_ascii=not unicode, allow_nan=False)
    typer.echo(UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: Collection[str] = (), optional: Sequence[str] = ()
) -> None:
    """A table on a terminal; all columns as tab-separated lines where the output is piped.

    `text` names the columns that may take several lines: no other cell is ever broken. `optional` are those that a narrow
    terminal goes without, the first one first. Where that is not enough, the last but one goes, and so on to the left: the
    first column says what a row is, and the last one what to make of it.
    """
    import sys

    cells = [[plain(cell).replace("\t", " ").replace("\n", " ") for cell in row] for row in [columns, *rows]]
    if not sys.stdout.isatty():
        for row in cells:
            typer.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    spare = [columns.index(name) for name in optional if name in columns]
    shown, widths = _fitted(cells, [name in text for name in columns], spare, console.width)
    table = Table(header_style="bold", box=None, pad_edge=False)
    for index, width in zip(shown, widths, strict=True):
        table.add_column(Text(cells[0][index]), overflow="fold", width=width)
    for row in cells[1:]:
        table.add_row(*(Text(row[index]) for index in shown))  # Text: a name such as [red] is no markup
    console.print(table)
    if len(shown) < len(columns):
        left_out = ", ".join(name for index, name in enumerate(columns) if index not in shown)
        typer.echo(plain(f"(not in {console.width} columns: {left_out})"), err=True)


def _fitted(
    cells: Sequence[Sequence[str]], is_text: Sequence[bool], optional: Sequence[int], room: int
) -> tuple[list[int], list[int]]:
    """Which columns a terminal of `room` columns has room for, and how wide each of them is."""
    from rich.cells import cell_len

    natural = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    fair = [min(width, TEXT_WIDTH) if wraps else width for width, wraps in zip(natural, is_text, strict=True)]
    shown = list(range(len(natural)))
    for index in dict.fromkeys(optional):
        if _total(fair, shown) > room:
            shown.remove(index)
    need = fair
    if _total(fair, shown) > room:
        words = [max(cell_len(word) for cell in column for word in cell.split() or [""]) for column in zip(*cells, strict=True)]
        need = [min(word, TEXT_WIDTH // 2) if wraps else width for word, wraps, width in zip(words, is_text, fair, strict=True)]
    while _total(need, shown) > room and len(shown) > 1:
        del shown[max(1, len(shown) - 2)]
    left = max(room - _total(need, shown), 0)
    widths = [min(need[index], room) for index in shown]
    while left and (narrow := [at for at, index in enumerate(shown) if widths[at] < min(natural[index], room)]):
        widths[min(narrow, key=lambda at: widths[at])] += 1
        left -= 1
    return shown, widths


def _total(need: Sequence[int], shown: Sequence[int]) -> int:
    """Predictions of the terminal that the table takes, two between its own."""
    return sum(need[index] for index in shown) + 2 * (len(shown) - 1)
