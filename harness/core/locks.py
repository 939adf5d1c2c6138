"""Locks between processes, also of several machines on one shared folder.

A lock is a file that names its owner, who touches it every `LEASE_SECONDS` / 3. A lock whose owner has died on this machine is
taken over at once; one of another machine after `LEASE_SECONDS` without a touch.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import SoftFileLease, Timeout

LEASE_SECONDS = 120.0
POLL_SECONDS = 0.5
_EMPTY_SECONDS = 2.0
"""An older empty lock is a leftover of an earlier version, not one whose owner is being written."""


class Busy(Exception):
    """Another process holds the lock; `str()` names it."""


class Lock:
    """A lock that this process holds."""

    def __init__(self, lease: SoftFileLease) -> None:
        self._lease, self._token = lease, lease.token
        self._checked = -math.inf

    def is_lost(self) -> bool:
        """Whether another process took it over: this one was suspended or disconnected for too long. The file is read once a
        second at most: nobody takes over a lock that was held a second ago."""
        if time.monotonic() - self._checked < 1:
            return False
        self._checked = time.monotonic()
        owner = self._lease.owner
        return owner is None or owner.token != self._token


@contextmanager
def held(path: Path, *, wait: bool) -> Iterator[Lock]:
    """Hold the lock `path`, whose folder must exist. With `wait` it waits until the lock is free.

    Without `wait` it raises `Busy` while its owner is alive. If an owner on another machine has not touched it for
    `LEASE_SECONDS`, this waits as long again and then takes the lock over.
    """
    _clear(path)
    lease = SoftFileLease(path, lease_duration=LEASE_SECONDS, poll_interval=POLL_SECONDS)
    try:
        lease.acquire(timeout=-1 if wait else _patience(path))
    except Timeout as error:
        raise Busy(_owner(lease)) from error
    except PermissionError as error:  # of another user
        if not path.exists():
            raise
        raise Busy(_owner(lease)) from error
    try:
        yield Lock(lease)
    finally:
        lease.release()


def is_held(path: Path) -> bool:
    """Whether a process holds this lock now."""
    _clear(path)
    if not path.is_file():
        return False
    lease = SoftFileLease(path, lease_duration=LEASE_SECONDS)
    try:
        lease.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # a folder that only its owner may write to
        return False
    lease.release()
    return False


def _clear(path: Path) -> None:
    with suppress(OSError):
        about = path.stat()
        if about.st_size == 0 and abs(time.time() - about.st_mtime) > _EMPTY_SECONDS:
            path.unlink()


def _patience(path: Path) -> float:
    """Seconds after which an owner that seems dead is taken for dead."""
    with suppress(OSError):
        touched = path.stat().st_mtime
        with tempfile.NamedTemporaryFile(dir=path.parent) as probe:  # its machine's clock may differ from ours
            silent = Path(probe.name).stat().st_mtime - touched
        return LEASE_SECONDS * 1.1 if silent > LEASE_SECONDS else 0.0
    return 0.0


def _owner(lease: SoftFileLease) -> str:
    owner = lease.owner
    return "Another process" if owner is None else f"Another process ({owner.pid} on {owner.hostname.partition('?')[0]})"
