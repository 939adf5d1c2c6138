"""`bench list`: tasks, backends, prompts, recipes and runs."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from harness.cli.options import RESULTS, Json, Results, catalog, one_of, open_store, print_json, print_table, report
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.core.errors import BenchError
    from harness.specs.catalog import Catalog, Kind

T = TypeVar("T")
Rows = list[dict[str, Any]]


class What(StrEnum):
    TASKS = "tasks"
    BACKENDS = "backends"
    PROMPTS = "prompts"
    RECIPES = "recipes"
    RUNS = "runs"


TEXT = ("description", "names")
# Columns that a narrow terminal leaves out, the first one first; a pipe and --json have all.
OPTIONAL = {
    What.TASKS: ["names"],
    What.BACKENDS: ["model", "engine"],
    What.PROMPTS: ["parser", "decoding"],
    What.RECIPES: ["names", "backends"],
    What.RUNS: ["finished", "no answer", "n", "metric", "model"],
}


def list_command(
    what: Annotated[What, typer.Argument(help="What to list.", parser=one_of(What, "list"))],
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """List tasks, backends, prompts, recipes or runs.

    --json prints a list of objects. tasks: task, labels, names, languages, description. backends: backend, engine, model,
    languages, description. prompts: prompt, variants, labels, decoding, parser, description. recipes: recipe, names (of its
    runs), backends, description. runs: run, backend, model, n, metric, value, low, high, no_answer, finished.
    """
    faults: list[BenchError] = []
    if what is What.RUNS:
        rows = _runs(results)
    else:
        makers = {What.TASKS: _tasks, What.BACKENDS: _backends, What.PROMPTS: _prompts, What.RECIPES: _recipes}
        rows, faults = makers[what]()
    if as_json:
        print_json(rows)
    elif rows:
        table = [_run_row(row) for row in rows] if what is What.RUNS else rows
        columns = list(table[0])
        print_table(columns, [[_cell(row[name]) for name in columns] for row in table], text=TEXT, optional=OPTIONAL[what])
    elif not faults:
        typer.echo(plain(f"No {what} in {results / 'runs'} yet." if what is What.RUNS else f"No {what}."), err=True)
    for fault in faults:
        report(fault)
    if faults:
        raise typer.Exit(faults[0].exit_code)


def _cell(value: Any) -> str:
    return ", ".join(map(str, value)) or "-" if isinstance(value, list) else "-" if value is None else str(value)


def _load(kind: Kind, load: Callable[[Catalog, str], T]) -> tuple[list[T], list[BenchError]]:
    """All of a kind, and the errors of files that can't be read: one bad file does not hide the others."""
    from harness.core.errors import BenchError

    known = catalog()
    loaded: list[T] = []
    faults: list[BenchError] = []
    for name in known.names(kind):
        try:
            loaded.append(load(known, name))
        except BenchError as error:
            faults.append(error)
    return loaded, faults


def _tasks() -> tuple[Rows, list[BenchError]]:
    specs, faults = _load("task", lambda known, name: known.task(name))
    rows = [
        {
            "task": spec.name,
            "labels": spec.labels.kind.value,
            "names": spec.labels.answers,
            "languages": spec.languages,
            "description": spec.description,
        }
        for spec in specs
    ]
    return rows, faults


def _backends() -> tuple[Rows, list[BenchError]]:
    from harness.core.errors import BenchError
    from harness.specs.backend_specs import load_backend

    specs, faults = _load("backend", lambda known, name: load_backend(known.files("backend")[name]))
    try:
        _ = catalog().prices
    except BenchError as error:  # once, not for each backend that asks for a price; the list shows none
        faults.append(error)
    rows = [
        {
            "backend": spec.name,
            "engine": spec.engine,
            "model": spec.model,
            "languages": spec.languages or ["any"],
            "description": spec.description,
        }
        for spec in specs
    ]
    return rows, faults


def _prompts() -> tuple[Rows, list[BenchError]]:
    prompts, faults = _load("prompt", lambda known, name: (known.prompt(name), known.variants(name)))
    rows = [
        {
            "prompt": prompt.name,
            "variants": variants,
            "labels": [kind.value for kind in prompt.spec.kinds],
            "decoding": prompt.spec.decoding.value,
            "parser": prompt.spec.parser.type,
            "description": prompt.spec.description,
        }
        for prompt, variants in prompts
    ]
    return rows, faults


def _recipes() -> tuple[Rows, list[BenchError]]:
    recipes, faults = _load("recipe", lambda known, name: known.recipe(name))
    rows = [
        {
            "recipe": recipe.name,
            "names": [run.name for run in recipe.runs],
            "backends": list(dict.fromkeys(name for run in recipe.runs for name in run.asked(recipe.defaults).many("backend"))),
            "description": recipe.description,
        }
        for recipe in recipes
    ]
    return rows, faults


def _runs(results: Path) -> Rows:
    from harness.records.entries import read_entries

    rows = []
    for entry in read_entries(open_store(results)):
        record, metric = entry.record, entry.record.metrics.headline[0]
        rows.append(
            {
                "run": entry.run_id,
                "backend": entry.backend,
                "model": record.identity.backend.model,
                "n": record.n,
                "metric": metric,
                **record.metrics.values[metric].model_dump(include={"value", "low", "high"}),
                "no_answer": record.metrics.unanswered,
                "finished": record.finished or "",
            }
        )
    return rows


def _run_row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": row["run"],
        "model": row["model"],
        "n": row["n"],
        "metric": row["metric"],
        "value": None if row["value"] is None else f"{row['value']:.3f}",
        "no answer": row["no_answer"],
        "finished": row["finished"][:16].replace("T", " "),
    }
