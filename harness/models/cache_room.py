"""Making room in bench's cache: what may go, and how it is deleted. Nothing goes while a process holds its lock."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from harness.core.locks import Busy, held, is_held
from harness.models.cache import IN_USE, REMOVED, Kept, last_used, runs_under_way, total


@dataclass(frozen=True, slots=True)
class Removal:
    """`skipped`: what was not deleted, and why."""

    removed: tuple[Kept, ...]
    skipped: tuple[tuple[Kept, str], ...]


def prunable(
    kept: Sequence[Kept], left: Sequence[Kept], unused_since: float | None = None, largest: int | None = None
) -> list[Kept]:
    """The leftovers; trained models not used since then (seconds since the epoch); and further ones, the longest unused
    first, until no more than `largest` bytes remain, if that can be had so."""
    stale: list[Kept] = []
    fresh: list[Kept] = []
    for one in sorted((one for one in kept if one.part == "trained"), key=lambda one: (one.used, one.name)):
        (stale if unused_since is not None and one.used < unused_since else fresh).append(one)
    while largest is not None and fresh and _remaining(kept, left, stale) > largest:
        stale.append(fresh.pop(0))
    folders = {one.paths[0] for one in stale}  # these go with all that is left over in them
    return [*(one for one in left if folders.isdisjoint((one.paths[0], one.paths[0].parent))), *stale]


def _remaining(kept: Sequence[Kept], left: Sequence[Kept], stale: Sequence[Kept]) -> int:
    """Bytes, without what is left over."""
    gone = {one.paths[0] for one in stale}
    useful = [one for one in kept if one.paths[0] not in gone]
    folders = {one.paths[0] for one in useful}
    return total(useful) - total(one for one in left if not folders.isdisjoint((one.paths[0], one.paths[0].parent)))


def remove(cache: Path, wanted: Sequence[Kept], *, dry_run: bool = False) -> Removal:
    """Delete what nobody uses; with `dry_run` only see what that is."""
    removed, skipped = [], []
    run_under_way = any(kept.part == "answers" for kept in wanted) and runs_under_way(cache)
    for kept in wanted:
        why = "a run is under way" if kept.part == "answers" and run_under_way else _remove(kept, dry_run)
        if why:
            skipped.append((kept, why))
        else:
            removed.append(kept)
    return Removal(tuple(removed), tuple(skipped))


def _remove(kept: Kept, dry_run: bool) -> str:
    """Why not; empty where it is done."""
    if kept.lock is not None and kept.lock == kept.paths[0]:  # nothing but a lock, which goes when it is released
        return IN_USE if is_held(kept.lock) else ""
    try:
        with _locked(kept.lock, dry_run):
            if last_used(kept.paths[0]) > kept.used:  # while the user was asked
                return "used just now"
            for path in () if dry_run else kept.paths:
                _delete(path)
    except Busy:
        return IN_USE
    except OSError as error:
        return f"can't be deleted: {error.strerror}"
    return ""


def _locked(lock: Path | None, dry_run: bool) -> AbstractContextManager[object]:
    if lock is None or (dry_run and not lock.exists()) or not lock.parent.exists():
        return nullcontext()
    return held(lock, wait=False)


def _delete(path: Path) -> None:
    """A folder loses its name first: a kill in the midst would leave half a model under the name of a whole one."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    removed = path if path.name.endswith(REMOVED) else path.with_name(f".{path.name}{REMOVED}")
    if removed != path:
        shutil.rmtree(removed, ignore_errors=True)
        path.replace(removed)
    shutil.rmtree(removed)
