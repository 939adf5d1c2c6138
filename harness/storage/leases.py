"""Who works on something in a store that has no locks: a file that names its owner and that expires.

    <name>.lease-1   the owner; written anew every third of `LEASE_SECONDS`
    <name>.lease-2   the one who took an expired lease over, and so on: the highest number holds

A lease is created on the condition that there is none, so that of two machines one gets it. Where a store can't check the
condition, the lease is written, and read back after `SETTLE_SECONDS`: the last one to write has it. Its age is the difference
of two times by the store's clock, so the clocks of the machines do not matter; a store without times is believed to within
`SKEW_SECONDS`.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from harness.core.locks import Busy
from harness.storage.remote import Remote, StorageError

log = logging.getLogger("bench")

LEASE_SECONDS = 120.0
SETTLE_SECONDS = 2.0
SKEW_SECONDS = 60.0
"""By which the clock of a machine may differ from ours, where the store tells no times."""
AGAIN_SECONDS = 5.0
"""After a renewal that failed."""


@dataclass(frozen=True, slots=True)
class Owner:
    """`copy`: names the copy of the store on the owner's machine, whose own lock keeps other processes out. `expires`: in
    seconds since the epoch by the owner's clock."""

    token: str
    host: str
    pid: int
    copy: str
    expires: float

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class Lease:
    """A lease that this process holds; a thread renews it."""

    def __init__(self, remote: Remote, name: str, number: int, owner: Owner) -> None:
        self._remote, self._name, self._number, self._owner = remote, name, number, owner
        self._renewed = time.monotonic()
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lease", daemon=True)
        self._thread.start()

    def is_lost(self) -> bool:
        """Whether another process took it over. While the store can't be reached, nobody is known to have."""
        return self._lost

    def renew(self) -> None:
        """Raises `StorageError`."""
        if self._lost or self._is_taken():
            self._lost = True
            return
        self._owner = Owner(**{**asdict(self._owner), "expires": time.time() + LEASE_SECONDS})
        self._remote.write(_file(self._name, self._number), self._owner.encoded())
        if time.monotonic() - self._renewed > LEASE_SECONDS:  # it had expired: who took it over meanwhile?
            self._lost = self._is_taken()
        self._renewed = time.monotonic()

    def _is_taken(self) -> bool:
        own = _owner(self._remote, self._name, self._number)
        later = _owner(self._remote, self._name, self._number + 1)
        return own is None or own.token != self._owner.token or later is not None

    def _work(self) -> None:
        pause = LEASE_SECONDS / 3
        while not self._ended.wait(pause) and not self._lost:
            try:
                self.renew()
                pause = LEASE_SECONDS / 3
            except StorageError as error:
                log.debug("The lease of %s was not renewed: %s", self._name, error.message)
                pause = min(AGAIN_SECONDS, LEASE_SECONDS / 3)

    def abandon(self) -> None:
        """Let it expire, where the store can't be reached."""
        self._lost = True

    def release(self) -> None:
        """Delete it, and those that it took over, the highest first. One that may have expired is left to expire: it may be
        another's by now."""
        self._ended.set()
        self._thread.join()
        if self._lost or time.monotonic() - self._renewed > LEASE_SECONDS * 0.8:
            return
        try:
            for number in range(self._number, 0, -1):
                self._remote.delete(_file(self._name, number))
        except StorageError as error:
            log.debug("The lease of %s was not released: %s", self._name, error.message)


@contextmanager
def leased(remote: Remote, name: str, copy: str) -> Iterator[Lease]:
    """Hold the lease of `name`. `copy`: see `Owner`; the caller holds the lock of this name in it.

    Raises `Busy` while another machine holds the lease, and `StorageError`.
    """
    lease = _taken(remote, name, copy)
    try:
        yield lease
    finally:
        lease.release()


def _taken(remote: Remote, name: str, copy: str) -> Lease:
    number, holder = 0, None
    while (found := _owner(remote, name, number + 1)) is not None:
        holder, number = found, number + 1
    owner = Owner(secrets.token_hex(16), socket.gethostname(), os.getpid(), copy, time.time() + LEASE_SECONDS)
    if holder is not None and holder.copy == copy:  # of a process of this machine that was killed: we hold its lock
        remote.write(_file(name, number), owner.encoded())
        later = _owner(remote, name, number + 1)
        if later is not None:
            raise Busy(_worded(later))
        return Lease(remote, name, number, owner)
    if holder is not None and _age(remote, name, number, holder) < LEASE_SECONDS:
        raise Busy(_worded(holder))
    _create(remote, name, number + 1, owner)
    if holder is not None and (back := _owner(remote, name, number)) != holder:  # it was only away, and renewed its lease
        remote.delete(_file(name, number + 1))
        raise Busy("Another process" if back is None else _worded(back))
    return Lease(remote, name, number + 1, owner)


def _create(remote: Remote, name: str, number: int, owner: Owner) -> None:
    """Raises `Busy` if another process came first."""
    if remote.creates_alone:
        remote.create(_file(name, number), owner.encoded())
    elif _owner(remote, name, number) is None:
        remote.write(_file(name, number), owner.encoded())
        time.sleep(SETTLE_SECONDS)
    now = _owner(remote, name, number)
    if now is None or now.token != owner.token:
        raise Busy("Another process" if now is None else _worded(now))


def _age(remote: Remote, name: str, number: int, holder: Owner) -> float:
    """Seconds since the last renewal."""
    written = remote.modified(_file(name, number))
    now = None if written is None else remote.now(name.rpartition("/")[0])
    if written is not None and now is not None:
        return now - written
    return time.time() - SKEW_SECONDS - (holder.expires - LEASE_SECONDS)


def _owner(remote: Remote, name: str, number: int) -> Owner | None:
    content = remote.read(_file(name, number))
    if content is None:
        return None
    try:
        return Owner(**json.loads(content))
    except (ValueError, TypeError):  # written by something else: it expires like any other
        return Owner("", "an unknown host", 0, "", 0.0)


def _file(name: str, number: int) -> str:
    return f"{name}.lease-{number}"


def _worded(owner: Owner) -> str:
    return f"Another process ({owner.pid} on {owner.host})"
