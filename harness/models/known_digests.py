"""Digests of large files, remembered between commands: a checkpoint of gigabytes need not be read whole for the id of a run
that is found.

A digest holds for the file's name, size, inode and times. The time of the last change of the inode is among them, which no
program sets: so a file that was written, replaced or given back its old time is read again. Damage of the disk itself, which
changes none of them, is found only where a file is read whole.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from harness.core.cache_folder import cache_dir
from harness.core.durable import file_sha256
from harness.core.json_files import digest, write_atomically

LARGE = 2**20
"""Bytes from which a digest is worth remembering."""
SETTLED = 2.0
"""Seconds since the last change: before, a second change could leave all times as they are."""


def known_sha256(file: Path) -> str:
    """The sha256 of a file, from memory where that is safe. Raises `OSError`."""
    file = file.absolute()
    about = file.stat()
    times = (about.st_mtime_ns, about.st_ctime_ns)
    if about.st_size < LARGE or time.time() - max(times) / 1e9 < SETTLED:
        return file_sha256(file)
    state = digest([str(file), about.st_size, about.st_dev, about.st_ino, *times])
    memory = cache_dir() / "known" / f"sha256-{digest(str(file))[:20]}.txt"
    with suppress(OSError, ValueError):
        remembered, _, sha256 = memory.read_text(encoding="ascii").partition(" ")
        if remembered == state and len(sha256) == 64:
            return sha256
    found = file_sha256(file)
    with suppress(OSError):  # a cache that can't be written costs time only
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memory, f"{state} {found}")
    return found
