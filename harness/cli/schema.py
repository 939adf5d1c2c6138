"""`bench schema`: JSON schemas of the files that bench reads and writes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Json, print_json
from harness.core.plain import plain

FOLDER = Path("schemas")


def schema_command(
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder to write to.")] = FOLDER,
    as_json: Json = False,
) -> None:
    """Write the JSON schemas.

    One for each kind of file (task, backend, front matter of a prompt, recipe, prices, reported figures, bench.toml), for run
    records and for the options in them. An editor completes and checks a YAML whose first line names its schema:
    # yaml-language-server: $schema=../schemas/task.json

    --json writes nothing and prints an object: kind of file -> its schema.
    """
    from harness.core.errors import UserError
    from harness.core.json_files import write_atomically
    from harness.specs.schemas import FORMS, schema_of, schema_text

    if as_json:
        print_json({form: schema_of(form) for form in FORMS})
        return
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is not a folder.", "Name a folder; bench creates it if needed.")
    output.mkdir(parents=True, exist_ok=True)
    for form in FORMS:
        write_atomically(output / f"{form}.json", schema_text(form))
    names = ", ".join(f"{form}.json" for form in FORMS)
    typer.echo(
        plain(f"Written to {output}: {names}. First line of a task: # yaml-language-server: $schema=../{output.name}/task.json")
    )
