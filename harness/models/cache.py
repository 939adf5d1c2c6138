"""What lies in bench's cache: how large it is, when it was last used, and what is left over. `cache_room.py` deletes it.

Only what bench itself put there is looked at, told by its names: the folder may be one that holds other things. No link is
followed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.core.locks import is_held
from harness.models.packaged import PACKAGED


@dataclass(frozen=True, slots=True)
class Part:
    """A folder of the cache. `loss`: what it costs to be without."""

    holds: str
    loss: str


PARTS = {
    "trained": Part("models that bench trained", "trained again when a run needs them"),
    "models": Part("packaged models, unpacked", "downloaded again when a run needs them"),
    "answers": Part("what language models said, for `bench show`", "gone: only prompting anew brings them back"),
    "overlap": Part("counts of twins among rows", "counted again, in seconds to minutes"),
    "page": Part("what draws the charts of leaderboard.html", "made again, in seconds"),
    "locks": Part("marks of runs that are under way", "nothing"),
}

IN_USE = "in use"
MODEL, SCRATCH, ABOUT, LOCK = "model", "scratch", "about.json", "lock"
"""Of the folder of a trained model."""

_PACKAGED = f"(?:{'|'.join(map(re.escape, PACKAGED))})-[0-9a-f]{{8}}"
_NAMES = {
    "trained": "[0-9a-f]{20}",
    "models": _PACKAGED,
    "answers": r".+\.[0-9a-f]{10}\.jsonl",
    "overlap": r"[0-9a-f]{64}\.json",
    "page": r"vega-.+\.js",
    "locks": r"[0-9a-f]{16}\.lock",
}
REMOVED = ".removed"
"""How the name of what is being deleted ends."""
DAMAGED = r".*\.damaged-[0-9]+"
"""How the name of what was found damaged, and set aside, ends (`harness.core.durable.set_aside`)."""
_NO_LOCK_SECONDS = 3600.0
"""So long must a leftover without a lock lie untouched: a process may be writing it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Something of the cache that can be deleted on its own. `paths` go in this order; `size` in bytes; `used`: seconds since
    the epoch; `lock` is held by who uses it; `why` it is a leftover, if it is one."""

    part: str
    name: str
    paths: tuple[Path, ...]
    size: int
    used: float
    lock: Path | None = None
    why: str = ""


def contents(cache: Path) -> list[Kept]:
    """All that is of use, by part. A part that is a link to another place is one thing, of no size."""
    return [kept for part in PARTS for kept in _of_part(cache / part)]


def _of_part(folder: Path) -> Iterator[Kept]:
    part = folder.name
    if folder.is_symlink():
        yield _kept(part, part, (folder,))
        return
    for path in _listed(folder, _NAMES[part]):
        if path.is_symlink():
            yield _kept(part, path.name, (path,))
        elif part == "trained":
            if (path / MODEL).is_dir() or _has_files(path / SCRATCH):
                yield _kept(part, path.name, (path,), lock=path / LOCK)
        elif part == "models":
            lock = folder / f".{path.name}.lock"
            yield _kept(part, path.name, (path, lock), lock=lock)
        elif part == "overlap":
            lock = path.with_suffix(".lock")
            yield _kept(part, path.stem, (path, lock), lock=lock)
        else:
            yield _kept(part, path.name, (path,), lock=path if part == "locks" else None)


def leftovers(cache: Path) -> list[Kept]:
    """What nothing will read again: of killed processes, and of earlier versions. What a process holds is none."""
    found = [
        kept
        for part in PARTS
        if not (cache / part).is_symlink()
        for kept in (*_outdated(cache / part), *_unfinished(cache / part))
    ]
    held = {lock: is_held(lock) for lock in {kept.lock for kept in found} if lock is not None and lock.exists()}
    return [kept for kept in found if _is_left(kept, held)]


def _is_left(kept: Kept, held: Mapping[Path, bool]) -> bool:
    if kept.lock is not None and kept.lock in held:
        return not held[kept.lock]
    return kept.name.endswith(REMOVED) or time.time() - kept.used > _NO_LOCK_SECONDS


def _unfinished(folder: Path) -> Iterator[Kept]:
    """What a killed process left half written, or half deleted."""
    part = folder.name
    killed = "of a process that was killed"
    if part == "trained":
        for path in _listed(folder, _NAMES[part]):
            if not path.is_symlink():
                yield from _left_in_trained(path, killed)
    if part == "models":
        for path in _listed(folder, rf"{_PACKAGED}{DAMAGED}"):
            yield _kept(part, path.name, (path,), why="damaged, and made anew")
        for path in _listed(folder, rf"\.{_PACKAGED}\.partial"):
            yield _kept(part, path.name, (path,), lock=folder / f"{path.stem}.lock", why=killed)
    for path in _listed(folder, rf"\.{_NAMES[part]}{re.escape(REMOVED)}"):
        yield _kept(part, path.name, (path,), why=killed)
    for path in _listed(folder, rf"{_NAMES[part]}\.[0-9a-f]{{8}}\.tmp"):
        yield _kept(part, path.name, (path,), why=killed)


def _left_in_trained(folder: Path, killed: str) -> Iterator[Kept]:
    lock = folder / LOCK

    def left(path: Path, why: str) -> Kept:
        return _kept("trained", f"{folder.name}/{path.name}", (path,), lock=lock, why=why)

    done = (folder / MODEL).is_dir()
    if not done and not _has_files(folder / SCRATCH):
        yield _kept("trained", folder.name, (folder,), lock=lock, why=f"{killed} before there was anything to go on from")
        return
    for path in _listed(folder, DAMAGED):
        yield left(path, "damaged, and made anew")
    for path in _listed(
        folder, rf"unfinished|onnx-.+\.unfinished|\..+{re.escape(REMOVED)}|{SCRATCH if done else 'unfinished'}"
    ):
        yield left(path, killed)
    runtime = _installed("onnxruntime")
    for path in _listed(folder, rf"(?!{DAMAGED})onnx-.*(?<!\.unfinished)") if runtime else ():
        if not path.name.endswith(f"-{runtime}"):
            yield left(path, f"made for another version of onnxruntime than {runtime}")


def _outdated(folder: Path) -> Iterator[Kept]:
    """What another version of bench, or of a library, made."""
    part = folder.name
    if part == "models":
        for path in _listed(folder, _NAMES[part]):
            model, _, revision = path.name.rpartition("-")
            if not PACKAGED[model].revision.startswith(revision):
                lock = folder / f".{path.name}.lock"
                yield _kept(part, path.name, (path, lock), lock=lock, why="of another version of bench")
    library = _installed("vl-convert-python")
    if part == "page" and library is not None:
        for path in _listed(folder, _NAMES[part]):
            if path.name != f"vega-{library}.js":
                yield _kept(part, path.name, (path,), why=f"of another version of vl-convert-python than {library}")


def runs_under_way(cache: Path) -> bool:
    """Whether any process is at work on a run. Which run that is only that process knows."""
    return any(is_held(lock) for lock in _listed(cache / "locks", _NAMES["locks"]))


def outer(kept: Kept) -> bool:
    """Whether a leftover lies beside what `contents` lists, and not inside."""
    return kept.paths[0].parent.name == kept.part


def beside(kept: Iterable[Kept], left: Iterable[Kept]) -> list[Kept]:
    """The leftovers that are nothing of what is kept, nor inside it: they add to the size of the cache."""
    paths = {one.paths[0] for one in kept}
    return [one for one in left if outer(one) and one.paths[0] not in paths]


def total(kept: Iterable[Kept]) -> int:
    """Bytes."""
    return sum(one.size for one in kept)


def last_used(path: Path) -> float:
    """When: in seconds since the epoch; of a training that was interrupted, when it last wrote something."""
    if re.fullmatch(_NAMES["trained"], path.name) and path.is_dir() and not path.is_symlink():
        if (path / MODEL).is_dir():
            return (path / MODEL).lstat().st_mtime
        written = [file for file in (path / ABOUT, path / SCRATCH, path / "unfinished") if file.exists()]
        return max([_newest(file) for file in written], default=path.lstat().st_mtime)
    return path.lstat().st_mtime


def _kept(part: str, name: str, paths: tuple[Path, ...], *, lock: Path | None = None, why: str = "") -> Kept:
    used = time.time()
    with suppress(OSError):  # another process may be deleting it
        used = last_used(paths[0])
    return Kept(part, name, paths, sum(map(_size, paths)), used, lock, why)


def _listed(folder: Path, pattern: str) -> list[Path]:
    """By name; empty for a folder that is not there or can't be read."""
    with suppress(OSError):
        return sorted(path for path in folder.iterdir() if re.fullmatch(pattern, path.name))
    return []


def _files(path: Path) -> Iterator[os.stat_result]:
    for folder, _, names in os.walk(path):  # follows no links
        for name in names:
            with suppress(OSError):  # another process may be deleting it
                yield Path(folder, name).lstat()


def _size(path: Path) -> int:
    """Bytes; of a link none."""
    if path.is_symlink():
        return 0
    if path.is_dir():
        return sum(file.st_size for file in _files(path))
    return path.lstat().st_size if path.exists() else 0


def _has_files(folder: Path) -> bool:
    return not folder.is_symlink() and next(_files(folder), None) is not None


def _newest(path: Path) -> float:
    return max([file.st_mtime for file in _files(path)], default=path.lstat().st_mtime)


def _installed(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
