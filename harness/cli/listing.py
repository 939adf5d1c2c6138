"""`bench list`: tasks, backends, prompts, recipes and runs."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import RESULTS, Json, Results, catalog, one_of, open_store, print_json, print_table, report
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.core.errors import BenchError
    from harness.specs.catalog import Catalog, Kind

Rows = list[dict[str, Any]]


class What(StrEnum):
    TASKS = "tasks"
    BACKENDS = "backends"
    PROMPTS = "prompts"
    RECIPES = "recipes"
    RUNS = "runs"


TEXT = ("description", "names")
JSON_ONLY = ("shut_down",)
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
    languages, description, shut_down (the day on which the model is shut down, or null). prompts: prompt, variants, labels,
    decoding, parser, description. recipes: recipe, names (of its runs), backends, description. runs: run, backend, model, n,
    metric, value, low, high, no_answer, finished.
    """
    faults: list[BenchError] = []
    rows = _runs(results) if what is What.RUNS else _specs(what, faults)
    if as_json:
        print_json(rows)
    elif rows:
        table = [_run_row(row) if what is What.RUNS else {k: row[k] for k in row if k not in JSON_ONLY} for row in rows]
        columns = list(table[0])
        print_table(columns, [[_cell(row[name]) for name in columns] for row in table], text=TEXT, optional=OPTIONAL[what])
    elif not faults:
        typer.echo(plain(f"No {what} in {results / 'runs'} yet." if what is What.RUNS else f"No {what}."), err=True)
    if what is What.RUNS and not as_json:
        _note_shards(results)
    if what is What.BACKENDS and not as_json:
        _note_shut_down()
    for fault in faults:
        report(fault)
    if faults:
        raise typer.Exit(faults[0].exit_code)


def _note_shards(results: Path) -> None:
    """Runs that have no record yet, since they are predicted in shards."""
    from harness.records.shards import shards_by_run
    from harness.records.store import Store

    for run_id, folders in shards_by_run(Store(results / "runs")).items():
        finished = ", ".join(str(one.shard) for one in folders if one.finished) or "none"
        note = f"note: {run_id} has no record yet, but shards (finished: {finished}): see `bench results merge`."
        typer.echo(plain(note), err=True)


def _note_shut_down() -> None:
    from harness.core.errors import BenchError
    from harness.specs.backend_specs import load_backend, shut_down_words

    for path in catalog().files("backend").values():
        try:
            words = shut_down_words(load_backend(path))
        except BenchError:  # reported as a fault
            continue
        if words is not None:
            typer.echo(plain(f"note: {words}"), err=True)


def _cell(value: Any) -> str:
    return ", ".join(map(str, value)) or "-" if isinstance(value, list) else "-" if value is None else str(value)


def _specs(what: What, faults: list[BenchError]) -> Rows:
    """All of a kind. The errors of files that can't be read go to `faults`: one bad file does not hide the others."""
    from harness.core.errors import BenchError

    known = catalog()
    kinds: dict[What, tuple[Kind, Callable[[Catalog, str], dict[str, Any]]]] = {
        What.TASKS: ("task", _task),
        What.BACKENDS: ("backend", _backend),
        What.PROMPTS: ("prompt", _prompt),
        What.RECIPES: ("recipe", _recipe),
    }
    kind, row_of = kinds[what]
    rows = []
    for name in known.names(kind):
        try:
            rows.append(row_of(known, name))
        except BenchError as error:
            faults.append(error)
    if what is What.BACKENDS:
        try:
            _ = known.prices
        except BenchError as error:  # once, not for each backend that asks for a price; the list shows none
            faults.append(error)
    return rows


def _task(known: Catalog, name: str) -> dict[str, Any]:
    spec = known.task(name)
    labels = {"labels": spec.labels.kind.value, "names": spec.labels.answers}
    return {"task": spec.name, **labels, "languages": spec.languages, "description": spec.description}


def _backend(known: Catalog, name: str) -> dict[str, Any]:
    from harness.specs.backend_specs import load_backend

    spec = load_backend(known.files("backend")[name])
    return {
        "backend": spec.name,
        **spec.model_dump(include={"engine", "model"}),
        "languages": spec.languages or ["any"],
        "description": spec.description,
        "shut_down": None if spec.shut_down is None else spec.shut_down.isoformat(),
    }


def _prompt(known: Catalog, name: str) -> dict[str, Any]:
    spec = known.prompt(name).spec
    return {
        "prompt": name,
        "variants": known.variants(name),
        "labels": [kind.value for kind in spec.kinds],
        "decoding": spec.decoding.value,
        "parser": spec.parser.type,
        "description": spec.description,
    }


def _recipe(known: Catalog, name: str) -> dict[str, Any]:
    recipe = known.recipe(name)
    backends = [name for run in recipe.runs for name in run.asked(recipe.defaults).many("backend")]
    names = {"names": [run.name for run in recipe.runs], "backends": list(dict.fromkeys(backends))}
    return {"recipe": recipe.name, **names, "description": recipe.description}


def _runs(results: Path) -> Rows:
    from harness.records.index import intact_index

    return [
        {
            **{name: getattr(row, name) for name in ("run", "backend", "model", "n", "metric", "value", "low", "high")},
            "no_answer": row.unanswered,
            "finished": row.finished or "",
        }
        for row in intact_index(open_store(results)).rows
    ]


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
