"""Options and helpers that several commands share, and how they print tables, JSON and errors."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from harness.cli.run_options import option
from harness.core.plain import UNSAFE
from harness.core.plain import plain as plain  # the commands take these from here
from harness.specs.asked import check_data as check_data
from harness.specs.asked import names as names

if TYPE_CHECKING:
    from harness.core.errors import BenchError
    from harness.records.store import Store
    from harness.specs.catalog import Catalog

E = TypeVar("E", bound=StrEnum)

Many = list[str] | None
Results = Annotated[Path, option("results", is_place=True)]
Data = Annotated[Path | None, option("data", is_place=True)]
Task = Annotated[str | None, option("task")]
TrustMetricCode = Annotated[bool, option("trust_metric_code")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
RESULTS = Path("results")

INTERRUPTED = 130
"""typer's exit code for Ctrl-C, whatever the signal was."""

TEXT_WIDTH = 24
"""Least width of a column of running text on a terminal."""


def one_line(text: str | None, width: int = 100) -> str:
    line = " ".join(plain(text or "").split())
    return line if len(line) <= width else line[: width - 1] + "…"


def one_of(kind: type[E], what: str) -> Callable[[str], E]:
    """A `parser` for an argument that is a member of `kind`; for another word it suggests the nearest ones."""

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
        raise UserError(f"{option} {value:g}: expected a finite number.", "For example 0.5 or 1000.")
    return value


def catalog(trust_metric_code: bool = False) -> Catalog:
    from harness.specs.catalog import Catalog

    return Catalog(Path.cwd(), trust_metric_code)


def open_store(results: Path) -> Store:
    """The runs under `--results`. Of a URL this machine's copy is brought up to date; what the command writes there is uploaded
    when it ends. Raises `UserError` if it is a file, and `StorageError`."""
    from harness.core.errors import UserError
    from harness.core.places import shared_place
    from harness.records.store import Store

    if shared_place(results) is not None:
        from harness.records.shared import open_results

        open_results(results)
        _opened[results] = None
    if results.exists() and not results.is_dir():
        raise UserError(f"--results {results} is not a folder.", "Name the folder that holds, or will hold, `runs`.")
    return Store(results / "runs")


_opened: dict[Path, None] = {}
"""Results at a URL that this command uses."""


@contextmanager
def uploaded_at_end() -> Iterator[None]:
    """Around a command: what it wrote into results at a URL is uploaded. Raises `NotUploaded`; it only warns where the command
    ended by an error or a signal."""
    try:
        yield
    except SystemExit as ended:
        _upload(is_stopped=ended.code == INTERRUPTED)
        raise
    except BaseException:
        _upload(is_stopped=True)
        raise
    _upload(is_stopped=False)


def _upload(*, is_stopped: bool) -> None:
    import logging

    while _opened:
        from harness.records.shared import NotUploaded, close_results

        try:
            close_results(_opened.popitem()[0], patient=not is_stopped)
        except NotUploaded as error:
            if not is_stopped:
                raise
            logging.getLogger("bench").warning("%s %s", error.message, error.hint)


def check_cache() -> None:
    """Raise `RunError` for a cache that is not writable, before a run begins."""
    from harness.core.cache_folder import cache_dir
    from harness.running.training import make_cache_folder

    make_cache_folder(cache_dir())


@contextmanager
def tolerate_broken_pipe() -> Iterator[None]:
    """Around the output of long work: a reader that stops early (`| head -1`) does not make the command fail."""
    import sys

    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer would fail again when Python ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def write_page(
    folder: Path, stem: str, page: Callable[[str | None], str], picture: Callable[[], bytes]
) -> tuple[Path, Path | None]:
    """Write a Markdown page, which gets the name of its picture, and the picture if the extra `charts` is installed."""
    from harness.cli import verbosity
    from harness.core.errors import MissingExtra
    from harness.core.json_files import write_atomically

    folder.mkdir(parents=True, exist_ok=True)
    text, image = folder / f"{stem}.md", folder / f"{stem}.svg"
    drawn: Path | None = image
    try:
        write_atomically(image, picture().decode())
    except MissingExtra as error:
        image.unlink(missing_ok=True)  # an earlier picture would stand beside this page
        verbosity.note(f"note: no picture. {error.message} {error.hint}")
        drawn = None
    write_atomically(text, page(None if drawn is None else drawn.name))
    verbosity.note(f"Written: {text}" + (f", {drawn}" if drawn else ""))
    return text, drawn


def worded(error: BenchError) -> str:
    told = f"{error.message}\n{error.hint}" if error.hint else error.message
    return plain("bench: " + told.replace("\n", "\n       "))


def report(error: BenchError) -> None:
    typer.echo(worded(error), err=True)


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Print what the library logs as a warning on stderr, each message once."""
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
    """UTF-8. Control characters, which only occur inside strings, become JSON escapes."""
    import json
    import sys

    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, indent=1, ensure_ascii=not unicode, allow_nan=False)
    typer.echo(UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: Collection[str] = (), optional: Sequence[str] = ()
) -> None:
    """A table on a terminal; all columns as tab-separated lines in a pipe.

    Only the columns in `text` are wrapped. A narrow terminal drops the columns of `optional`, the first one first, and then
    columns from the right, but never the first and the last one.
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
    """The columns that fit into `room` characters, and their widths."""
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
    """Width of the table, with two characters between columns."""
    return sum(need[index] for index in shown) + 2 * (len(shown) - 1)
