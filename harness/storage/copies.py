"""The copy of a folder at a URL on this machine: which versions of its files it holds, and how they are exchanged."""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from harness.core.json_files import write_atomically
from harness.core.places import FILES, KNOWN, shared_place
from harness.core.progress_events import tell
from harness.storage.remote import Remote

ID_FILE = "id.txt"
LOCAL = re.compile(r"\..*|lock|.*(\.damaged-\d+|\.lock|\.tmp|\.replaced-\d+)", re.DOTALL)
"""Names of files and folders that concern one machine alone."""


@dataclass(frozen=True, slots=True)
class Known:
    """A file of the copy that equalled the remote one of this stamp; its size and time then tell whether it was changed."""

    stamp: str
    size: int
    mtime_ns: int

    def holds(self, file: Path) -> bool:
        """Whether the file is there as it was."""
        try:
            about = file.stat()
        except OSError:
            return False
        return (about.st_size, about.st_mtime_ns) == (self.size, self.mtime_ns)


class Copy:
    """Names are relative to the folder, with slashes."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self._log = folder.parent / KNOWN
        self.known = self._read()
        id_file = folder.parent / ID_FILE
        if not id_file.exists():
            write_atomically(id_file, secrets.token_hex(16))
        self.id = id_file.read_text(encoding="utf-8")

    @cached_property
    def remote(self) -> Remote:
        """Raises `UserError` for a protocol without a library."""
        return Remote(self.url)

    def name(self, path: Path) -> str:
        return path.absolute().relative_to(self.folder).as_posix()

    def refresh(self) -> None:
        """Take notice of what other processes fetched and uploaded."""
        self.known = self._read()

    def note(self, name: str, stamp: str, about: os.stat_result | None = None) -> None:
        """Remember that the file equals the remote one. `about`: as the file was when it was uploaded; default: as it is."""
        about = about or (self.folder / name).stat()
        self.known[name] = Known(stamp, about.st_size, about.st_mtime_ns)
        self._write([name, stamp, about.st_size, about.st_mtime_ns])

    def forget(self, name: str) -> None:
        """There is no such remote file any more."""
        if self.known.pop(name, None) is not None:
            self._write([name])

    def _write(self, line: list[object]) -> None:
        """Lines are appended, and the last one of a file counts. A lost line costs a download."""
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _read(self) -> dict[str, Known]:
        try:
            lines = self._log.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return {}
        found: dict[str, Known] = {}
        for line in lines:
            try:
                name, *rest = json.loads(line)
                if rest:
                    found[name] = Known(*rest)
                else:
                    found.pop(name, None)
            except (ValueError, TypeError):  # of a write that was killed
                continue
        if len(lines) > 2 * len(found) + 1000:
            kept = (json.dumps([name, one.stamp, one.size, one.mtime_ns]) for name, one in found.items())
            write_atomically(self._log, "".join(f"{line}\n" for line in kept))
        return found

    def is_unchanged(self, name: str) -> bool:
        """Whether the file is there as it was fetched or uploaded."""
        one = self.known.get(name)
        return one is not None and one.holds(self.folder / name)

    def has(self, name: str, stamp: str) -> bool:
        """Whether the file is there in this version."""
        return self.is_unchanged(name) and self.known[name].stamp == stamp

    def fetch(self, name: str, stamp: str) -> bool:
        """Fetch a file whole; False if it is not there any more."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f"{file.name}.{secrets.token_hex(4)}.tmp")
        try:
            if not self.remote.fetch(name, temporary):
                return False
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
        self.note(name, stamp)
        return True

    def send(self, name: str) -> None:
        """Upload a file whole."""
        about = (self.folder / name).stat()
        self.remote.send(self.folder / name, name)
        if (stamp := self.remote.stamp(name)) is not None:
            self.note(name, stamp, about)

    def drop(self, name: str) -> None:
        """Delete a file of this machine's copy, and the folder that it leaves empty."""
        file = self.folder / name
        file.unlink(missing_ok=True)
        self.forget(name)
        if file.parent != self.folder and file.parent.is_dir() and not any(file.parent.iterdir()):
            file.parent.rmdir()


@lru_cache(maxsize=16)
def _copy(folder: Path, url: str) -> Copy:
    return Copy(folder, url)


def copy_of(path: Path) -> Copy | None:
    """The copy in which `path` lies; None for any other path."""
    found = shared_place(path)
    return None if found is None else _copy(*found)


def has_unsent(home: Path) -> bool:
    """Whether the copy in this folder of the cache has files that are not at its URL: of a run that ended while the store was
    away, for example."""
    copy = copy_of(home / FILES)
    if copy is None:
        return False
    names = [copy.name(path) for path in copy.folder.rglob("*") if path.is_file()]
    return any(not copy.is_unchanged(name) for name in names if not any(map(LOCAL.fullmatch, name.split("/"))))


def shared_cache() -> Remote | None:
    """Where machines share trained models: the URL in $BENCH_SHARED_CACHE. None without it. Raises as `Remote` does."""
    url = os.environ.get("BENCH_SHARED_CACHE")
    return _remote(url) if url else None


@lru_cache(maxsize=4)
def _remote(url: str) -> Remote:
    return Remote(url)


_fetched: set[Path] = set()


def fetch_folder(path: Path) -> None:
    """All files of the copy `path`, those that changed; once in a process, so that all runs of a command read the same rows.
    Any other folder is left alone. Raises `StorageError` and `UserError`."""
    copy = copy_of(path)
    if copy is None or path in _fetched:
        return
    listing = copy.remote.listing()
    for name, stamp in listing.items():
        if not copy.has(name, stamp):
            tell("download", 0, 0, f"{copy.remote.url}/{name}")
            copy.fetch(name, stamp)
    for name in set(copy.known) - set(listing):
        copy.drop(name)
    _fetched.add(path)
