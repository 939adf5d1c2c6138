"""`bench cache`: what the cache holds, and how to make room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.amounts import ago, number, size
from harness.cli.cache_removal import look, moment, prune_command, remove_command, short
from harness.cli.options import RESULTS, Json, Results, open_store, plain, print_json, print_table

if TYPE_CHECKING:
    from harness.models.cache import Kept
    from harness.running.trained_models import TrainedModel

HUB = "Models of the Hugging Face hub are in the hub's own cache: `hf cache ls`."

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def cache_command(context: typer.Context, as_json: Json = False) -> None:
    """See what the cache holds, and make room.

    Without a command: how much of what there is, and what it costs to be without. The cache is the folder $BENCH_CACHE, or
    else bench's own in the user's cache folder.

    --json prints an object with folder, bytes, leftover_bytes, parts (part, holds, count, bytes, loss, link: the place
    elsewhere that the part is a link to, or null).
    """
    from harness.core.errors import UserError

    if context.invoked_subcommand is not None:
        if as_json:
            raise UserError("--json stands before the command.", f"Write it after `{context.invoked_subcommand}`.")
        return
    folder, kept, left = look()
    parts = _parts(folder, kept, left)
    whole, free = sum(part["bytes"] for part in parts), sum(one.size for one in left)
    if as_json:
        print_json({"folder": str(folder), "bytes": whole, "leftover_bytes": free, "parts": parts})
        return
    cells = [[part["part"], part["holds"], *_amount(part), part["loss"]] for part in parts]
    cells.append(["total", "", "", size(whole), ""])
    print_table(["part", "holds", "number", "size", "if deleted"], cells, text=["holds", "if deleted"])
    typer.echo(plain(_overview(folder, parts, whole, free)))


def _parts(folder: Path, kept: Sequence[Kept], left: Iterable[Kept]) -> list[dict[str, Any]]:
    from harness.models.cache import PARTS, beside

    extra = beside(kept, left)
    found = []
    for name, part in PARTS.items():
        path = folder / name
        here = [one for one in kept if one.part == name]
        found.append(
            {
                "part": name,
                "holds": part.holds,
                "count": 0 if path.is_symlink() else len(here),
                "bytes": sum(one.size for one in [*here, *extra] if one.part == name),
                "loss": part.loss,
                "link": str(path.readlink()) if path.is_symlink() else None,
            }
        )
    return found


def _amount(part: dict[str, Any]) -> list[str]:
    return ["-", f"a link to {part['link']}"] if part["link"] else [f"{part['count']:,}", size(part["bytes"])]


def _overview(folder: Path, parts: Sequence[dict[str, Any]], whole: int, free: int) -> str:
    if not whole:
        return f"The cache is empty: {folder}. {HUB}"
    most = max(parts, key=lambda part: int(part["bytes"]))
    said = [f"{size(whole)} in {folder}, most of it {most['holds']}."]
    if free:
        said.append(f"`bench cache prune` frees {size(free)} that nothing will read again.")
    if any(part["part"] == "trained" and part["count"] for part in parts):
        said.append("`bench cache trained` lists the trained models.")
    return " ".join([*said, HUB])


@app.command("trained")
def trained_command(results: Results = RESULTS, as_json: Json = False) -> None:
    """List the trained models, the longest unused first.

    --json prints a list of objects: key, task, backend, model, langs, rows (trained on), bytes, used (when last), runs (of
    --results that were made with it), state: ready, in use, or interrupted (a run that needs it goes on from its last
    checkpoint).
    """
    from harness.running.trained_models import trained_models

    folder, kept, _ = look()
    models = trained_models(kept, open_store(results))
    if as_json:
        print_json([_as_json(model) for model in models])
        return
    columns = ["key", "task", "backend", "trained on", "rows", "size", "last used", "runs", "state"]
    if models:
        print_table(columns, [_row(model) for model in models], text=["task", "backend"], optional=["rows", "trained on"])
    typer.echo(plain(_count(models, folder, results)))


def _as_json(model: TrainedModel) -> dict[str, Any]:
    return {
        "key": model.key,
        "task": model.task,
        "backend": model.backend,
        "model": model.model,
        "langs": list(model.langs),
        "rows": model.rows,
        "bytes": model.kept.size,
        "used": moment(model.kept.used),
        "runs": list(model.runs),
        "state": model.state,
    }


def _row(model: TrainedModel) -> list[str]:
    rows = "" if model.rows is None else f"{model.rows:,}"
    named = [model.task, model.backend or model.model, "+".join(model.langs), rows]
    used = [size(model.kept.size), ago(model.kept.used), str(len(model.runs)), model.state]
    return [short(model.kept), *(name or "-" for name in named), *used]


def _count(models: Sequence[TrainedModel], folder: Path, results: Path) -> str:
    from harness.running.trained_models import INTERRUPTED

    if not models:
        return f"There are no trained models in {folder}."
    bytes_, without = sum(model.kept.size for model in models), sum(not model.runs for model in models)
    said = f"{number(len(models), 'trained model')}, {size(bytes_)}; {without or 'none'} of them without a run in {results}."
    stopped = sum(model.state == INTERRUPTED for model in models)
    if stopped:
        were = number(stopped, "training was", "trainings were")
        said += f" {were} interrupted: the same command again goes on from the last checkpoint."
    return said


app.command("prune")(prune_command)
app.command("remove")(remove_command)
