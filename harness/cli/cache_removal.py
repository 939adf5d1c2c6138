"""`bench cache prune` and `bench cache remove`."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.amounts import ago, bytes_in, number, seconds_in, size
from harness.cli.options import Json, plain, print_json, print_table

if TYPE_CHECKING:
    from harness.models.cache import Kept
    from harness.models.cache_room import Removal

KEY_DIGITS = 8
_KEY = 20
_FEW = ("trained", "models")
"""Parts whose things are few and large: a table has a row for each of them."""

DryRun = Annotated[bool, typer.Option("--dry-run", help="Delete nothing: show what would go.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def look() -> tuple[Path, list[Kept], list[Kept]]:
    """The folder of the cache, what is in it, and what is left over there."""
    from harness.models.cache import contents, leftovers
    from harness.models.checkpoints import cache_dir

    folder = cache_dir()
    return folder, contents(folder), leftovers(folder)


def cache_bytes() -> int:
    """Of what bench put there."""
    from harness.models.cache import beside, total

    _, kept, left = look()
    return total([*kept, *beside(kept, left)])


def prune_command(
    unused_for: Annotated[
        str | None, typer.Option(metavar="AGE", help="Also trained models that were not used for so long: 12h, 30d, 8w.")
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Also trained models, the longest unused first, until the cache is no larger: 20GB."),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete what is left over; with an option, trained models that were long not used.

    Left over is what a killed process or an earlier version made and nothing will read again. Never deleted: what is in use,
    records of runs, answers of language models, and what bench did not put there.

    --json prints an object with folder, dry_run, removed (part, name, bytes, used, why), skipped (the same; why: not), bytes
    (freed), left_bytes.
    """
    from harness.models.cache import beside, total
    from harness.models.cache_room import prunable

    since = None if unused_for is None else time.time() - seconds_in(unused_for, "--unused-for")
    largest = None if max_size is None else bytes_in(max_size, "--max-size")
    _check_asking(dry_run, yes)
    folder, kept, left = look()
    wanted = prunable(kept, left, since, largest)
    rest = total([*kept, *beside(kept, left)]) - total(wanted)
    if largest is not None and rest > largest:
        typer.echo(plain(f"note: without any trained model the cache holds {size(rest)}, more than --max-size."), err=True)
    _delete(folder, wanted, dry_run, yes, as_json)


def remove_command(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="A part (see `bench cache`), a trained model's key or a packaged model."),
    ],
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete parts of the cache, or single models; of a key its first digits will do.

    What is in use is left, and the exit code is then 1. Records of runs are never touched.

    --json prints what it does for `bench cache prune`.
    """
    _check_asking(dry_run, yes)
    folder, kept, left = look()
    wanted = [one for name in names for one in _named(name, kept, left)]
    if _delete(folder, list(dict.fromkeys(wanted)), dry_run, yes, as_json):
        raise typer.Exit(1)


def _named(name: str, kept: Sequence[Kept], left: Sequence[Kept]) -> list[Kept]:
    """A part with what is left over in it. Raises `UserError` for a name that nothing has, or that several have."""
    from harness.core.errors import UserError
    from harness.models.cache import PARTS, beside

    if name in PARTS:
        return [one for one in [*kept, *beside(kept, left)] if one.part == name]
    hits = [one for one in kept if name and _is_called(one, name)]
    if not hits:
        raise UserError(
            f"The cache has no part and no model named {name!r}.",
            f"Parts: {', '.join(PARTS)}. `bench cache trained` shows the keys of trained models.",
        )
    if len(hits) > 1:
        some = ", ".join(one.name for one in hits[:6])
        raise UserError(f"{name!r} may be any of {len(hits)} models.", f"Give more digits: {some}")
    return hits


def _is_called(kept: Kept, name: str) -> bool:
    if kept.part == "trained":
        return kept.name.startswith(name)
    return kept.part == "models" and name in (kept.name, kept.name.rpartition("-")[0])


def _check_asking(dry_run: bool, yes: bool) -> None:
    """Raises `UserError` where nobody can be asked."""
    from harness.core.errors import UserError

    if not dry_run and not yes and not (sys.stdin and sys.stdin.isatty()):
        raise UserError("Nothing was deleted: there is no terminal to ask on.", "Add --yes, or look first: --dry-run.")


def _delete(folder: Path, wanted: Sequence[Kept], dry_run: bool, yes: bool, as_json: bool) -> bool:
    """Whether something had to be left. Asks, unless it is told not to."""
    from harness.models.cache_room import remove

    found = remove(folder, wanted, dry_run=True)
    if found.removed and not as_json:
        _print_what_goes(found.removed)
    if found.removed and not dry_run:
        if not yes and not typer.confirm(f"Delete {_sum(found.removed)} of {plain(str(folder))}?", err=True):
            typer.echo("Nothing was deleted.", err=True)
            return False
        found = remove(folder, wanted)
    whole = cache_bytes()
    if as_json:
        print_json(_as_json(folder, found, dry_run, whole))
    else:
        typer.echo(plain(_said(folder, found.removed, dry_run, whole)))
    _print_skipped(found)
    return bool(found.skipped)


def _as_json(folder: Path, found: Removal, dry_run: bool, whole: int) -> dict[str, Any]:
    freed = sum(one.size for one in found.removed)
    return {
        "folder": str(folder),
        "dry_run": dry_run,
        "removed": [_gone(one, one.why or None) for one in found.removed],
        "skipped": [_gone(one, why) for one, why in found.skipped],
        "bytes": freed,
        "left_bytes": whole - freed if dry_run else whole,
    }


def _gone(kept: Kept, why: str | None) -> dict[str, Any]:
    return {"part": kept.part, "name": kept.name, "bytes": kept.size, "used": moment(kept.used), "why": why}


def _said(folder: Path, removed: Sequence[Kept], dry_run: bool, whole: int) -> str:
    if not removed:
        return f"There is nothing to delete: {size(whole)} in {folder}."
    if dry_run:
        return f"Nothing was deleted: this would free {_sum(removed)}, of {size(whole)} in {folder}."
    return f"Deleted: {_sum(removed)}. {folder} still holds {size(whole)}."


def _sum(kept: Sequence[Kept]) -> str:
    return f"{size(sum(one.size for one in kept))} ({number(len(kept), 'item')})"


def _print_what_goes(wanted: Sequence[Kept]) -> None:
    """A row for each model and each leftover; of the parts with many small things one for all."""
    from harness.models.cache import PARTS

    rows = []
    for part in dict.fromkeys(one.part for one in wanted):
        here = [one for one in wanted if one.part == part]
        single = [one for one in here if part in _FEW or one.why]
        rows += [[part, short(one), size(one.size), ago(one.used), _what(one)] for one in single]
        rest = [one for one in here if one not in single]
        if rest:
            bytes_, newest = sum(one.size for one in rest), max(one.used for one in rest)
            rows.append([part, number(len(rest), "file"), size(bytes_), ago(newest), PARTS[part].holds])
    print_table(["part", "name", "size", "last used", "what it is"], rows, text=["what it is"])


def _what(kept: Kept) -> str:
    from harness.running.trained_models import title

    if kept.why:
        return f"left over: {kept.why}"
    return title(kept) if kept.part == "trained" else "packaged model"


def _print_skipped(found: Removal) -> None:
    said = Counter((f"{one.part}/{short(one)}" if one.part in _FEW else one.part, why) for one, why in found.skipped)
    for (name, why), count in said.items():
        typer.echo(plain(f"left: {name}{f' ({count:,} items)' if count > 1 else ''}: {why}"), err=True)


def short(kept: Kept) -> str:
    """Of a key the digits that tables show."""
    return kept.name[:KEY_DIGITS] + kept.name[_KEY:] if kept.part == "trained" and len(kept.name) >= _KEY else kept.name


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
