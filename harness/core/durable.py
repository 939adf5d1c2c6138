"""Files that survive a power cut, and folders whose damage is detected: fsync, rename, and a sha256 of every file.

A file or folder gets its name only after its contents are on disk; then its parent folder is synced.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

DIGESTS = "SHA256SUMS"
"""In a sealed folder: sha256 and path of each file, as `sha256sum --check` reads them."""


def sync_folder(folder: Path) -> None:
    """Sync what was created, renamed or deleted in `folder`. Windows has no such call and needs none."""
    with suppress(OSError):  # also on file systems that refuse to sync a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sync_file(file: Path) -> None:
    with file.open("r+b") as stream:  # Windows syncs only what is open for writing
        os.fsync(stream.fileno())


def file_sha256(file: Path) -> str:
    """Cached within a process while the file's size, inode and times stay the same. Raises `OSError`."""
    about = file.stat()
    # The time of the last change of the inode, too: a program can give a file that it writes its old time.
    return _sha256(file, about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns)


@cache
def _sha256(file: Path, *state: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(folder: Path) -> None:
    """Write the digests of all files of a folder into it, and sync everything."""
    (folder / DIGESTS).unlink(missing_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for file in files:
        _sync_file(file)
    lines = [f"{file_sha256(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    (folder / DIGESTS).write_text("".join(lines), encoding="utf-8")
    _sync_file(folder / DIGESTS)
    for inner in sorted(path for path in folder.rglob("*") if path.is_dir()):
        sync_folder(inner)
    sync_folder(folder)


def commit(folder: Path, final: Path) -> None:
    """Rename a folder to its final name in the same parent folder; `final` must not exist."""
    sync_folder(folder)
    folder.replace(final)
    sync_folder(final.parent)


def damage_of(folder: Path, sha256_of: Callable[[Path], str] = file_sha256) -> str:
    """What is wrong with a sealed folder, as words that follow its name; empty if intact. A folder without a seal was made by
    an earlier version and is not checked; nor are files that were added later."""
    if not (folder / DIGESTS).exists():
        return ""
    try:
        lines = (folder / DIGESTS).read_text(encoding="utf-8").splitlines()
        if not lines:
            return f"is damaged: {DIGESTS} is empty"
        for line in lines:
            sha256, _, name = line.partition("  ")
            if sha256_of(folder / name) != sha256:
                return f"is damaged: {name} is not the file that was written"
    except FileNotFoundError as error:
        return f"is damaged: {Path(error.filename).name} is missing"
    except OSError as error:
        return f"can't be read: {error.strerror}"
    except ValueError:
        return f"is damaged: {DIGESTS} can't be read"
    return ""


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder to `NAME.damaged-N`; returns the new path."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.damaged-{number}")):
        number += 1
    path.replace(aside)
    sync_folder(path.parent)
    return aside
