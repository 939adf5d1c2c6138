"""bench's cache: what it holds, and how to make room in it.

The folder may hold other things, so only what bench made is touched, which its names tell. No link is followed, and nothing
is deleted while a process holds its lock.
"""

from __future__ import annotations

import re
import shutil
import stat
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel

from harness.core.locks import Busy, held, is_held
from harness.models.packaged import PACKAGED


@dataclass(frozen=True, slots=True)
class Part:
    """A folder of the cache. `names`: a pattern of the names in it; `loss`: what deleting it costs."""

    holds: str
    names: str
    loss: str


TRAINED, MODELS, EMBEDDINGS, ANSWERS, OVERLAP, PAGE = "trained", "models", "embeddings", "answers", "overlap", "page"
KNOWN = "known"
PARTS = {
    TRAINED: Part("trained models", "[0-9a-f]{20}", "trained again when a run needs them"),
    MODELS: Part(
        "packaged models", f"(?:{'|'.join(map(re.escape, PACKAGED))})-[0-9a-f]{{8}}", "downloaded again when a run needs them"
    ),
    EMBEDDINGS: Part(
        "embeddings of training texts", r"[0-9a-f]{20}-[0-9a-f]{20}\.safetensors", "computed again when a run needs them"
    ),
    ANSWERS: Part("outputs of language models, for `bench show`", r".+\.[0-9a-f]{10}\.jsonl", "lost"),
    OVERLAP: Part("counts of duplicate rows", r"[0-9a-f]{64}\.json", "counted again, in seconds to minutes"),
    KNOWN: Part(
        "what torch can use here; digests of models",
        r"torch-[0-9a-f]{20}\.json|sha256-[0-9a-f]{20}\.txt",
        "found out again, in seconds",
    ),
    PAGE: Part("the chart library of leaderboard.html", r"vega-.+\.js", "made again, in seconds"),
}
MODEL, SCRATCH, ABOUT, LOCK = "model", "scratch", "about.json", "lock"
"""What the folder of a trained model holds."""

REMOVED = ".removed"
_KILLED, _DAMAGED, _OTHER_VERSION = "left by a killed process", "damaged and replaced", "made by another version"
_SUFFIXES = {r"\.removed": _KILLED, r"\.partial": _KILLED, r"\.[0-9a-f]{8}\.tmp": _KILLED, r"\.damaged-\d+": _DAMAGED}
_NO_LOCK_SECONDS = 3600.0
"""A leftover without a lock must lie untouched for so long: a process may be writing it."""


class About(BaseModel):
    """What stands beside a trained model, to name it: the run that first asked for it. `rows`: of training."""

    task: str
    backend: str
    model: str | None
    langs: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Item:
    """What can be deleted on its own. `size` in bytes; `used` in seconds since the epoch; `lock` is held by who uses it;
    `leftover`: why nothing will read it again, empty for what is of use."""

    part: str
    name: str
    path: Path
    size: int
    used: float
    lock: Path | None = None
    leftover: str = ""

    @property
    def title(self) -> str:
        """`minilm on reviews_demo (en)`, as far as the cache knows."""
        with suppress(OSError, ValueError):
            about = About.model_validate_json((self.path / ABOUT).read_bytes())
            return f"{about.backend} on {about.task} ({'+'.join(about.langs)})"
        return "trained model" if self.part == TRAINED else "packaged model"


def contents(cache: Path) -> list[Item]:
    """By part, without what a process is just writing. A part that is a link to another place is left out."""
    found = [item for part in PARTS if not (cache / part).is_symlink() for item in _of_part(cache / part)]
    listed = []
    for item in found:
        if not item.leftover or _is_left(item):
            listed.append(item)
        elif item.leftover == _OTHER_VERSION:  # that version may still use it
            listed.append(replace(item, leftover=""))
    return listed


@dataclass(frozen=True, slots=True)
class PartSummary:
    """`link`: where the part's folder links to; such a part is not counted."""

    part: str
    holds: str
    count: int
    bytes: int
    loss: str
    link: str | None


def summaries(cache: Path, items: Sequence[Item]) -> list[PartSummary]:
    found = []
    for name, part in PARTS.items():
        path, here = cache / name, [item for item in items if item.part == name]
        link = str(path.readlink()) if path.is_symlink() else None
        count = sum(not item.leftover for item in here)
        found.append(PartSummary(name, part.holds, count, sum(item.size for item in here), part.loss, link))
    return found


def _of_part(folder: Path) -> Iterator[Item]:
    part = folder.name
    for path in _listed(folder):
        match = re.fullmatch(rf"\.?({PARTS[part].names})({'|'.join(_SUFFIXES)})?", path.name)
        if match is None:
            continue
        name, suffix = match[1], match[2] or ""
        lock = {MODELS: folder / f".{name}.lock", OVERLAP: folder / f"{Path(name).stem}.lock"}.get(part)
        leftover = next((why for pattern, why in _SUFFIXES.items() if re.fullmatch(pattern, suffix)), "")
        if part == TRAINED and not suffix and not path.is_symlink():
            yield from _of_trained(path)
        elif leftover or path.name == name:
            yield Item(part, path.name, path, *_measured(path), lock, leftover or _outdated(part, name))


def _of_trained(folder: Path) -> Iterator[Item]:
    """The model, or the training to continue, and each leftover in its folder."""
    lock, done = folder / LOCK, (folder / MODEL).is_dir()
    if not done and _measured(folder / SCRATCH)[0] == 0:
        yield Item(TRAINED, folder.name, folder, *_measured(folder), lock, _KILLED)
        return
    runtime = _installed("onnxruntime")
    leftovers = {}
    for path in _listed(folder):
        if re.fullmatch(r".+\.damaged-\d+", path.name):
            leftovers[path] = _DAMAGED
        elif re.fullmatch(rf"(onnx-.+\.)?unfinished|\..+\.removed{'|scratch' if done else ''}", path.name):
            leftovers[path] = _KILLED
        elif path.name.startswith("onnx-") and runtime and not path.name.endswith(f"-{runtime}"):
            leftovers[path] = _OTHER_VERSION
    yield Item(TRAINED, folder.name, folder, *_measured(folder, leftovers), lock)
    for path, why in leftovers.items():
        yield Item(TRAINED, f"{folder.name}/{path.name}", path, *_measured(path), lock, why)


def _outdated(part: str, name: str) -> str:
    if part == MODELS:
        model, _, revision = name.rpartition("-")
        return "" if PACKAGED[model].revision.startswith(revision) else _OTHER_VERSION
    library = _installed("vl-convert-python") if part == PAGE else None
    return _OTHER_VERSION if library and name != f"vega-{library}.js" else ""


def _is_left(item: Item) -> bool:
    if item.lock is not None and item.lock.exists():
        return not is_held(item.lock)
    return item.name.endswith(REMOVED) or time.time() - item.used > _NO_LOCK_SECONDS


def _measured(path: Path, without: Collection[Path] = ()) -> tuple[int, float]:
    """Bytes, and when something in `path` was last written."""
    with suppress(OSError):  # another process may be deleting it
        about = path.lstat()
        if not stat.S_ISDIR(about.st_mode):
            return (0 if path.is_symlink() else about.st_size), about.st_mtime
        inside = [_measured(entry) for entry in path.iterdir() if entry not in without and entry.name != LOCK]
        # Its lock, coming and going, changes the own time of the folder of a trained model.
        own = [] if inside and path.parent.name == TRAINED else [about.st_mtime]
        return sum(size for size, _ in inside), max([*own, *(written for _, written in inside)])
    return 0, time.time()


def prunable(items: Sequence[Item], unused_since: float | None = None, *, everything: bool = False) -> list[Item]:
    """Leftovers; what was not used since then, answers excepted, as nothing makes them again; or `everything`."""

    def is_stale(item: Item) -> bool:
        return unused_since is not None and item.used < unused_since and item.part != ANSWERS

    return [item for item in items if everything or item.leftover or is_stale(item)]


def prune(cache: Path, items: Sequence[Item], *, dry_run: bool = False) -> list[tuple[Item, str]]:
    """Delete what no process uses. With each item why it stays, empty if it was deleted (or would be, with `dry_run`)."""
    unlocked = (ANSWERS, MODELS) if runs_under_way(cache) else ()  # what a run reads and writes without a lock
    return [(item, "a run is in progress" if item.part in unlocked else _delete(item, dry_run)) for item in items]


def runs_under_way(cache: Path) -> bool:
    """Whether any process is at work on a run. Which one only that process knows."""
    locks = [path for path in _listed(cache / "locks") if re.fullmatch(r"[0-9a-f]{16}\.lock", path.name)]
    return sum(map(is_held, locks)) > 0  # asks all of them, which removes those of killed processes


def _delete(item: Item, dry_run: bool) -> str:
    try:
        with _locked(item.lock, dry_run):
            if not dry_run:
                _delete_path(item.path)
    except Busy:
        return "in use"
    except OSError as error:
        return f"can't be deleted: {error.strerror}"
    return ""


def _locked(lock: Path | None, dry_run: bool) -> AbstractContextManager[object]:
    if lock is None or not lock.parent.exists() or (dry_run and not lock.exists()):
        return nullcontext()
    return held(lock, wait=False)


def _delete_path(path: Path) -> None:
    """A folder is renamed first: a kill half way would leave half a model under the name of a whole one."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    removed = path if path.name.endswith(REMOVED) else path.with_name(f".{path.name}{REMOVED}")
    if removed != path:
        shutil.rmtree(removed, ignore_errors=True)
        path.replace(removed)
    shutil.rmtree(removed)


def _listed(folder: Path) -> list[Path]:
    """By name; empty for a folder that is not there or can't be read."""
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _installed(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
