"""`bench results export`: runs or predictions in files that other tools read."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    LM_EVAL = "lm-eval"


class What(StrEnum):
    """What a line is about."""

    RUNS = "runs"
    PREDICTIONS = "predictions"


Runs = Annotated[
    list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs; the digits of their ids will do. Default: all.")
]
Form = Annotated[
    Format | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        parser=one_of(Format, "format"),
        help="csv, parquet, json, or lm-eval (lm-evaluation-harness). Default: by the file's suffix, else csv.",
    ),
]
Lines = Annotated[
    What | None,
    typer.Option(
        metavar="WHAT",
        parser=one_of(What, "kind of line"),
        help="runs: a line per run (the default); predictions: a line per run and row.",
    ),
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="PATH", help="The file, for lm-eval the folder; - is the standard output.")
]
Spreadsheet = Annotated[
    bool,
    typer.Option("--spreadsheet", help="CSV for Excel and the like: no text is taken for a formula, and UTF-8 is known."),
]


def export_command(
    run: Runs = None,
    form: Form = None,
    what: Lines = None,
    output: Output = STDOUT,
    task: Annotated[Many, typer.Option(metavar="NAME", help="Only runs of this task.")] = None,
    lang: Annotated[Many, typer.Option(metavar="CODE", help="Only runs in this language.")] = None,
    backend: Annotated[Many, typer.Option(metavar="NAME", help="Only runs of this backend.")] = None,
    split: Annotated[Many, typer.Option(metavar="NAME", help="Only runs on these rows: test or validation.")] = None,
    spreadsheet: Spreadsheet = False,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Write runs, or their predictions, as CSV, Parquet or JSON, or in the layout of lm-evaluation-harness.

    docs/notebooks.md lists the columns. No text of a row and no output of a model is in any of these files. For lm-eval each
    run has a folder of its own, with its figures and its predictions.

    --json prints an object with format, what, files, runs, lines (what and lines are null for lm-eval), sentence.
    """
    form = _format(form, output)
    _check_options(form, what, output, spreadsheet=spreadsheet, as_json=as_json)
    _check_place(output, form)
    store = open_store(results)
    chosen = _chosen(store, run, {"task": task, "lang": lang, "backend": backend, "split": split})
    if form is Format.LM_EVAL:
        files, lines = _write_lm_eval(store, chosen, output), None
    else:
        what = what or What.RUNS
        files, lines = _write_table(store, chosen, form, what, output, spreadsheet=spreadsheet)
    said = _sentence(len(chosen), lines, what, files, output)
    if as_json:
        written = [str(file) for file in files]
        print_json({"format": form, "what": what, "files": written, "runs": len(chosen), "lines": lines, "sentence": said})
    else:
        typer.echo(plain(said), err=True)


def _check_options(form: Format, what: What | None, output: Path, *, spreadsheet: bool, as_json: bool) -> None:
    """Raises `UserError` for options that do not go together."""
    from harness.core.errors import UserError

    if what is not None and form is Format.LM_EVAL:
        raise UserError("--what is for tables; lm-eval's layout holds figures and predictions.", "Leave it out.")
    if output == STDOUT and (as_json or form in (Format.PARQUET, Format.LM_EVAL)):
        why = "--json says there what was written" if as_json else f"{form} is not for a terminal or a pipe"
        raise UserError(f"--output is missing: {why}.", f"For example: --output {_example(form, what)}")
    if spreadsheet and form is not Format.CSV:
        raise UserError(f"--spreadsheet is for csv, not for {form}.", "Leave it out: other formats say what is text.")


def _format(asked: Format | None, output: Path) -> Format:
    """What was asked, or what the file's name says. Raises `UserError` where they disagree or the name says nothing known."""
    from harness.core.errors import UserError

    suffix = "" if output == STDOUT else output.suffix.lower().removeprefix(".")
    named = Format(suffix) if suffix in (Format.CSV, Format.PARQUET, Format.JSON) else None
    if asked is None and named is None and suffix:
        raise UserError(
            f"--output {output}: no format has the suffix .{suffix}.", "Use .csv, .parquet or .json, or say which: --format csv"
        )
    if asked is not None and named is not None and asked is not named:
        way = "Name a folder." if asked is Format.LM_EVAL else f"Leave out --format, or name a file that ends in .{asked}."
        raise UserError(f"--format {asked}, but --output {output} is named like {named}.", way)
    return asked or named or Format.CSV


def _check_place(output: Path, form: Format) -> None:
    """Raises `UserError` for what can't be written there: a file in a folder's place, or the reverse."""
    from harness.core.errors import UserError

    if output == STDOUT:
        return
    if form is Format.LM_EVAL:
        if output.exists() and not output.is_dir():
            raise UserError(f"--output {output} is not a folder, and lm-eval's layout is one.", "Name a folder, new or not.")
    elif output.is_dir():
        raise UserError(f"--output {output} is a folder.", f"Name a file in it: --output {output / f'runs.{form}'}")
    elif output.exists() and not output.is_file():  # writing a file whole would put it in the place of a device
        raise UserError(f"--output {output} is no file that can be replaced.", "For a pipe: --output -")
    above = next(folder for folder in output.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UserError(f"--output {output}: {above.name} is a file, not a folder.", "Name another place.")


def _example(form: Format, what: What | None) -> str:
    return "exported" if form is Format.LM_EVAL else f"{what or What.RUNS}.{form}"


def _chosen(store: Store, runs: Many, filters: dict[str, Many]) -> list[Entry]:
    """The runs that are named, or all, and of these the ones that fit the filters."""
    from harness.core.errors import UserError
    from harness.records.entries import read_entries, read_entry

    wanted = {key: names(values, f"--{key}") for key, values in filters.items()}
    named = None if not runs else sorted({store.find(part) for part in runs})
    found = read_entries(store) if named is None else [read_entry(store, name) for name in named]
    if not found:
        raise UserError(f"There are no runs in {store.root}.", "Begin with `bench run`, or name the folder: --results DIR.")
    kept = [entry for entry in found if all(not values or _of(entry)[key] in values for key, values in wanted.items())]
    if not kept:
        there = "; ".join(f"{key}: {', '.join(sorted({_of(entry)[key] for entry in found}))}" for key in wanted if wanted[key])
        raise UserError("No run is like that.", f"There are runs of {there}.")
    return kept


def _of(entry: Entry) -> dict[str, str]:
    task, split, lang, _ = entry.group
    return {"task": task, "lang": lang, "backend": entry.backend, "split": split}


def _write_table(
    store: Store, chosen: list[Entry], form: Format, what: What, output: Path, *, spreadsheet: bool
) -> tuple[list[Path], int]:
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
        return [], len(table)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, content)
    return [output], len(table)


def _warn_of_formulas(table: Any, *, spreadsheet: bool) -> None:
    from harness.reports.export import formulas

    count = 0 if spreadsheet else formulas(table)
    if count:
        cells = "cells begin" if count > 1 else "cell begins"
        typer.echo(
            plain(
                f"note: {count} {cells} with = + - or @, which a spreadsheet may run as a formula; --spreadsheet prevents that"
            ),
            err=True,
        )


def _to_stdout(content: bytes) -> None:
    """Byte for byte into a pipe; on a terminal what would steer it is shown as an escape."""
    if sys.stdout.isatty():
        typer.echo(plain(content.decode().replace("\r\n", "\n")), nl=False)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _write_lm_eval(store: Store, chosen: list[Entry], output: Path) -> list[Path]:
    from harness.core.json_files import write_atomically
    from harness.reports.export_lm_eval import lm_eval_files, outdated_files

    files: list[Path] = []
    for entry in chosen:
        folder = output / entry.run_id
        folder.mkdir(parents=True, exist_ok=True)
        made = lm_eval_files(entry, store.predictions(entry.run_id))
        for name, content in made.items():
            write_atomically(folder / name, content)
        for path in outdated_files(folder, made):
            path.unlink()
        files += [folder / name for name in made]
    return files


def _sentence(runs: int, lines: int | None, what: What | None, files: list[Path], output: Path) -> str:
    of_runs = f"{runs:,} run{'s' if runs > 1 else ''}"
    if lines is None:
        return f"{of_runs}, each in a folder of {output} with results and samples as lm-evaluation-harness writes them."
    counted = of_runs if what is What.RUNS else f"{lines:,} predictions of {of_runs}"
    return f"{counted} written to {files[0] if files else 'the standard output'}."
