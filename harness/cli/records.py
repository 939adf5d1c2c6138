"""Read run records for the commands that show them; a damaged one is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from harness.errors import BenchError
    from harness.leaderboard import Entry
    from harness.store import Store

T = TypeVar("T")


def open_store(results: Path) -> Store:
    """The runs under `--results`; raises `UserError` where that is a file."""
    from harness.errors import UserError
    from harness.store import Store

    if results.exists() and not results.is_dir():
        raise UserError(f"--results {results} is not a folder.", "Name the folder that holds (or will hold) `runs`.")
    return Store(results / "runs")


def read_entries(store: Store) -> list[Entry]:
    return [read_entry(store, name) for name in store.ids()]


def read_entry(store: Store, name: str) -> Entry:
    """One run. Raises `RunError` that names the file which is no record, or only a part of one."""
    from harness.leaderboard import Entry, cells

    folder = store.root / name
    manifest = whole(folder / "run.json", store.manifest, name)
    metrics = whole(folder / "metrics.json", store.metrics, name)
    entry = Entry(name, manifest, metrics)
    try:
        _ = entry.group, entry.order, cells(1, entry)
    except Exception as error:  # whatever a file of the right syntax and the wrong shape leads to
        raise _damaged(folder, f"is not the record of a run ({type(error).__name__}: {error})") from error
    return entry


def whole(path: Path, read: Callable[[str], T], name: str) -> T:
    """`read(name)`, which reads `path`; raises `RunError` if that file is damaged or missing."""
    try:
        return read(name)
    except (FileNotFoundError, ValueError) as error:
        problem = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
        raise _damaged(path, problem) from error


def _damaged(path: Path, problem: str) -> BenchError:
    from harness.errors import RunError

    return RunError(f"{path} {problem}.", "Delete that run's folder (`bench run` makes it anew), or restore it.")
