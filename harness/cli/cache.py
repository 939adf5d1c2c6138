"""`bench cache`: what the cache holds, and how to make room."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.amounts import ago, number, size
from harness.cli.options import Json, plain, print_json, print_table

if TYPE_CHECKING:
    from harness.models.cache import Item

KEY_DIGITS = 8

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def cache_command(context: typer.Context, as_json: Json = False) -> None:
    """Show what the cache holds.

    The cache is the folder $BENCH_CACHE, or bench's own in the user's cache folder. Models of the Hugging Face hub are in the
    hub's cache: `hf cache ls`.

    --json prints an object with folder, bytes, leftover_bytes (what `bench cache prune` frees), parts (part, holds, count,
    bytes, loss, link: where the part's folder links to, or null).
    """
    from harness.core.errors import UserError
    from harness.models.cache import summaries

    if context.invoked_subcommand is not None:
        if as_json:
            raise UserError("--json must follow the command.", f"Write it after `{context.invoked_subcommand}`.")
        return
    folder, items = _contents()
    parts = summaries(folder, items)
    total, leftover = sum(item.size for item in items), sum(item.size for item in items if item.leftover)
    if as_json:
        print_json(
            {"folder": str(folder), "bytes": total, "leftover_bytes": leftover, "parts": [asdict(part) for part in parts]}
        )
        return
    rows = []
    for part in parts:
        amount = ["-", f"a link to {part.link}"] if part.link else [f"{part.count:,}", size(part.bytes)]
        rows.append([part.part, part.holds, *amount, part.loss])
    rows.append(["total", "", "", size(total), ""])
    print_table(["part", "holds", "number", "size", "if deleted"], rows, text=["holds", "if deleted"])
    freed = f" `bench cache prune` frees {size(leftover)}." if leftover else ""
    typer.echo(plain(f"Folder: {folder}.{freed}"))


def _contents() -> tuple[Path, list[Item]]:
    from harness.core.cache_folder import cache_dir
    from harness.models.cache import contents

    return cache_dir(), contents(cache_dir())


@app.command("dir")
def dir_command() -> None:
    """Print the path of the cache."""
    from harness.core.cache_folder import cache_dir

    typer.echo(plain(str(cache_dir())))


@app.command("prune")
def prune_command(
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", min=0, help="Also delete what was not used for DAYS, except answers.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Delete everything, the answers of language models included.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing: show what would be deleted.")] = False,
    as_json: Json = False,
) -> None:
    """Delete what is no longer needed.

    What a process uses is never deleted, nor what bench did not put there. Run records are not in the cache.

    --json prints an object with folder, dry_run, bytes (freed), removed (part, name, bytes, used, leftover: why nothing reads
    it again, or null), kept (the same, and why).
    """
    from harness.models.cache import prunable, prune

    folder, items = _contents()
    since = None if older_than is None else time.time() - older_than * 86400
    done = prune(folder, prunable(items, since, everything=everything), dry_run=dry_run)
    removed = [item for item, why in done if not why]
    kept = [(item, why) for item, why in done if why]
    freed = sum(item.size for item in removed)
    if as_json:
        left = [{**_as_json(item), "why": why} for item, why in kept]
        print_json(
            {
                "folder": str(folder),
                "dry_run": dry_run,
                "bytes": freed,
                "removed": [_as_json(item) for item in removed],
                "kept": left,
            }
        )
        return
    if removed:
        print_table(["part", "name", "size", "last used", "what it is"], _rows(removed), text=["what it is"])
    verb = "Would delete" if dry_run else "Deleted"
    typer.echo(plain(f"{verb} {number(len(removed), 'item')} ({size(freed)}) in {folder}."))
    for item, why in kept:
        typer.echo(plain(f"kept: {item.part}/{_short(item)}: {why}"), err=True)


def _as_json(item: Item) -> dict[str, Any]:
    used = datetime.fromtimestamp(item.used, UTC).isoformat(timespec="seconds")
    return {"part": item.part, "name": item.name, "bytes": item.size, "used": used, "leftover": item.leftover or None}


def _rows(removed: list[Item]) -> list[list[str]]:
    """One row for each model and each leftover; one row for all other items of a part."""
    from harness.models.cache import MODELS, PARTS, TRAINED

    rows, others = [], defaultdict(list)
    for item in removed:
        if item.leftover or item.part in (TRAINED, MODELS):
            rows.append([item.part, _short(item), size(item.size), ago(item.used), item.leftover or item.title])
        else:
            others[item.part].append(item)
    for part, items in others.items():
        newest = ago(max(item.used for item in items))
        rows.append([part, number(len(items), "file"), size(sum(item.size for item in items)), newest, PARTS[part].holds])
    return rows


def _short(item: Item) -> str:
    from harness.models.cache import TRAINED

    key, slash, inside = item.name.partition("/")
    return key[:KEY_DIGITS] + slash + inside if item.part == TRAINED else item.name
