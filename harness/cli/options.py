"""Options and helpers that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from harness.catalog import Catalog

Results = Annotated[Path, typer.Option("--results", help="Folder of run records and leaderboard.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Data = Annotated[
    Path | None, typer.Option("--data", help="Folder with {train,validation,test}.{parquet,csv,jsonl,json} for this task.")
]
RESULTS = Path("results")


def names(values: Sequence[str] | None) -> list[str]:
    """`--lang en --lang ja` and `--lang en,ja` mean the same; repeats count once."""
    split = [part.strip() for value in values or () for part in value.split(",")]
    return list(dict.fromkeys(part for part in split if part))


def catalog() -> Catalog:
    from harness.catalog import Catalog

    return Catalog(Path.cwd())


def print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A rich table on a terminal; tab-separated lines where the output is piped."""
    import sys

    if not sys.stdout.isatty():
        for row in [columns, *rows]:
            typer.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: a name such as [red] is no markup
    Console().print(table)
