"""`bench results export`: runs or predictions as CSV, Parquet or JSON."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.amounts import number
from harness.cli.options import RESULTS, Json, Many, Results, names, one_of, open_store, plain, print_json

if TYPE_CHECKING:
    from harness.records.entries import Entry
    from harness.records.store import Store

STDOUT = Path("-")


class Format(StrEnum):
    """What a file is to look like."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"


class What(StrEnum):
    """What a line is about."""

    RUNS = "runs"
    PREDICTIONS = "predictions"


Runs = Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Run ids, or their last digits. Default: all runs.")]
Form = Annotated[
    Format | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        parser=one_of(Format, "format"),
        help="csv, parquet or json. Default: by the file's suffix, else csv.",
    ),
]
Lines = Annotated[
    What,
    typer.Option(
        metavar="WHAT",
        parser=one_of(What, "kind of line"),
        help="runs: one line per run; predictions: one line per run and row.",
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="File to write; - is the standard output.")]
Spreadsheet = Annotated[
    bool,
    typer.Option("--spreadsheet", help="CSV for spreadsheets: no text is read as a formula, and UTF-8 is declared."),
]


def export_command(
    run: Runs = None,
    form: Form = None,
    what: Lines = What.RUNS,
    output: Output = STDOUT,
    task: Annotated[Many, typer.Option(metavar="NAME", help="Only runs of this task.")] = None,
    lang: Annotated[Many, typer.Option(metavar="CODE", help="Only runs in this language.")] = None,
    backend: Annotated[Many, typer.Option(metavar="NAME", help="Only runs of this backend.")] = None,
    split: Annotated[Many, typer.Option(metavar="NAME", help="Only runs on these rows: test or validation.")] = None,
    spreadsheet: Spreadsheet = False,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Write runs or their predictions as CSV, Parquet or JSON.

    docs/notebooks.md lists the columns. The files hold no text of a row and no model output.

    --json prints an object with format, what, files, runs, lines, sentence.
    """
    form = _format(form, output)
    _check_options(form, what, output, spreadsheet=spreadsheet, as_json=as_json)
    _check_place(output, form)
    store = open_store(results)
    chosen = _chosen(store, run, {"task": task, "lang": lang, "backend": backend, "split": split})
    lines = _write_table(store, chosen, form, what, output, spreadsheet=spreadsheet)
    counted = number(len(chosen), "run")
    if what is What.PREDICTIONS:
        counted = f"{lines:,} predictions of {counted}"
    message = f"{counted} written to {'the standard output' if output == STDOUT else output}."
    if as_json:
        files = [] if output == STDOUT else [str(output)]
        print_json({"format": form, "what": what, "files": files, "runs": len(chosen), "lines": lines, "sentence": message})
    else:
        typer.echo(plain(message), err=True)


def _check_options(form: Format, what: What, output: Path, *, spreadsheet: bool, as_json: bool) -> None:
    """Raises `UserError` for options that exclude each other."""
    from harness.core.errors import UserError

    if output == STDOUT and (as_json or form is Format.PARQUET):
        why = "--json prints its report there" if as_json else f"{form} is not for a terminal or a pipe"
        raise UserError(f"--output is missing: {why}.", f"For example: --output {what}.{form}")
    if spreadsheet and form is not Format.CSV:
        raise UserError(f"--spreadsheet is for csv, not for {form}.", "Leave it out.")


def _format(asked: Format | None, output: Path) -> Format:
    """From the option or the file's suffix. Raises `UserError` if they disagree or the suffix is unknown."""
    from harness.core.errors import UserError

    suffix = "" if output == STDOUT else output.suffix.lower().removeprefix(".")
    named = Format(suffix) if suffix in set(Format) else None
    if asked is None and named is None and suffix:
        raise UserError(
            f"--output {output}: no format has the suffix .{suffix}.", "Use .csv, .parquet or .json, or add --format csv."
        )
    if asked is not None and named is not None and asked is not named:
        hint = f"Leave out --format, or name a file that ends in .{asked}."
        raise UserError(f"--format {asked}, but --output {output} is named like {named}.", hint)
    return asked or named or Format.CSV


def _check_place(output: Path, form: Format) -> None:
    """Raises `UserError` unless a file can be written at `output`."""
    from harness.core.errors import UserError

    if output == STDOUT:
        return
    if output.is_dir():
        raise UserError(f"--output {output} is a folder.", f"Name a file in it: --output {output / f'runs.{form}'}")
    if output.exists() and not output.is_file():  # an atomic write would replace a device by a file
        raise UserError(f"--output {output} is not a regular file.", "For a pipe: --output -")
    above = next(folder for folder in output.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UserError(f"--output {output}: {above.name} is a file, not a folder.", "Name another place.")


def _chosen(store: Store, runs: Many, filters: dict[str, Many]) -> list[Entry]:
    """The named runs, or all, that fit the filters."""
    from harness.core.errors import UserError
    from harness.records.entries import read_entries, read_entry

    wanted = {key: names(values, f"--{key}") for key, values in filters.items()}
    named = None if not runs else sorted({store.find(part) for part in runs})
    found = read_entries(store) if named is None else [read_entry(store, name) for name in named]
    if not found:
        raise UserError(f"There are no runs in {store.root}.", "Start with `bench run`, or name the folder: --results DIR.")
    kept = [entry for entry in found if all(not values or _of(entry)[key] in values for key, values in wanted.items())]
    if not kept:
        there = "; ".join(f"{key}: {', '.join(sorted({_of(entry)[key] for entry in found}))}" for key in wanted if wanted[key])
        raise UserError("No run fits these filters.", f"There are runs of {there}.")
    return kept


def _of(entry: Entry) -> dict[str, str]:
    task, split, lang, _ = entry.group
    return {"task": task, "lang": lang, "backend": entry.backend, "split": split}


def _write_table(store: Store, chosen: list[Entry], form: Format, what: What, output: Path, *, spreadsheet: bool) -> int:
    """The number of lines."""
    from harness.core.json_files import write_atomically
    from harness.records.frames import predictions_table
    from harness.reports import export

    if what is What.RUNS:
        table = export.table_of_runs(store, chosen)
    else:
        table = predictions_table([entry.run_id for entry in chosen], store.root.parent)
    if form is Format.CSV:
        content = export.as_csv(table, spreadsheet=spreadsheet)
        _warn_of_formulas(table, spreadsheet=spreadsheet)
    else:
        content = (export.as_parquet if form is Format.PARQUET else export.as_json)(table)
    if output == STDOUT:
        _to_stdout(content)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, content)
    return len(table)


def _warn_of_formulas(table: Any, *, spreadsheet: bool) -> None:
    from harness.reports.export import formulas

    count = 0 if spreadsheet else formulas(table)
    if count:
        cells = number(count, "cell begins", "cells begin")
        note = f"note: {cells} with = + - or @, which a spreadsheet may run as a formula; use --spreadsheet"
        typer.echo(plain(note), err=True)


def _to_stdout(content: bytes) -> None:
    """Byte for byte into a pipe; on a terminal what would steer it is shown as an escape."""
    if sys.stdout.isatty():
        typer.echo(plain(content.decode().replace("\r\n", "\n")), nl=False)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
