"""`bench list`: what there is."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from harness.cli.options import RESULTS, Json, Results, catalog, print_json, print_table


class What(StrEnum):
    TASKS = "tasks"
    BACKENDS = "backends"
    PROMPTS = "prompts"
    RUNS = "runs"


def list_command(
    what: Annotated[What, typer.Argument(help="What to list.")], results: Results = RESULTS, as_json: Json = False
) -> None:
    """List tasks, backends, prompts or runs."""
    rows = (
        {What.TASKS: _tasks, What.BACKENDS: _backends, What.PROMPTS: _prompts}[what]() if what != What.RUNS else _runs(results)
    )
    if as_json:
        print_json(rows)
    elif rows:
        print_table(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])
    else:
        typer.echo(f"No {what} yet.", err=True)


def _cell(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "-" if value is None else str(value)


def _tasks() -> list[dict[str, Any]]:
    known = catalog()
    specs = [known.task(name) for name in known.names("task")]
    return [
        {
            "task": spec.name,
            "labels": spec.labels.kind.value,
            "names": spec.labels.names,
            "languages": spec.languages,
            "description": spec.description,
        }
        for spec in specs
    ]


def _backends() -> list[dict[str, Any]]:
    known = catalog()
    specs = [known.backend(name) for name in known.names("backend")]
    return [
        {
            "backend": spec.name,
            "engine": spec.engine,
            "model": spec.model,
            "languages": spec.languages or ["any"],
            "description": spec.description,
        }
        for spec in specs
    ]


def _prompts() -> list[dict[str, Any]]:
    known = catalog()
    prompts = [known.prompt(name) for name in known.names("prompt")]
    return [
        {
            "prompt": prompt.name,
            "variants": known.variants(prompt.name),
            "labels": [kind.value for kind in prompt.spec.kinds],
            "decoding": prompt.spec.decoding.value,
            "parser": prompt.spec.parser.type,
            "description": prompt.spec.description,
        }
        for prompt in prompts
    ]


def _runs(results: Any) -> list[dict[str, Any]]:
    from harness.leaderboard import read_entries, shown
    from harness.store import Store

    entries = read_entries(Store(results / "runs"))
    return [
        {
            "run": entry.run_id,
            "n": entry.metrics["n"],
            entry.metrics["headline"][0]: shown(entry.metrics["values"][entry.metrics["headline"][0]]),
            "no answer": entry.metrics["n"] - entry.metrics["ok"],
            "finished": entry.manifest["finished"],
        }
        for entry in entries
    ]
