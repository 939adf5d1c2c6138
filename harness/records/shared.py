"""Results at a URL. Every command works on this machine's copy of them; here files are exchanged with the URL.

A finished record is uploaded file by file, `run.json` last, and `run.json` is deleted before another file of the record is
replaced: a folder without it is no record, so a reader finds a whole record or none. The digests in `run.json` tell a reader
who comes in the middle; it reads again. Predictions are fetched when they are read.

The journal of a run is written here, and uploaded whole at intervals and when the run stops, so that another machine goes on
where this one stopped. A lease (`harness.storage.leases`) keeps two machines from the same run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.core.errors import BenchError, RunBusy, RunIncomplete
from harness.core.json_files import write_atomically
from harness.core.locks import Busy, held, is_held
from harness.core.places import shared_place
from harness.storage.copies import Copy, copy_of
from harness.storage.leases import Lease, leased
from harness.storage.remote import AT_ONCE, StorageError, with_patience

log = logging.getLogger("bench")

JOURNAL, SCRATCH = "journal.jsonl", "scratch"
MARKERS = ("run.json", "labelling.json")
"""The last file of a record: without it there is no record."""
PREDICTIONS = "predictions.jsonl"
INTERVAL = 60.0
"""Seconds between two uploads of a journal; more where an upload takes long."""
SHARE = 10
"""An upload of a journal may take this part of the time at most."""
PATIENCE = 60.0
"""Seconds for which an upload is tried again where the store can't be reached; then later uploads are tried once, until one
succeeds."""
PATIENCE_STOPPED = 10.0
"""The same for a run that is stopped: SLURM and Kubernetes kill it after 30 seconds."""
MIXED_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before a record is read again whose files do not belong together: its writer replaces it."""
_ID = re.compile(r".+\.[0-9a-f]{10}", re.DOTALL)
_OWN = re.compile(r"\..*|lock|.*(\.partial|\.damaged-\d+|\.lock|\.tmp|\.lease-\d+|\.replaced-\d+)", re.DOTALL)
"""Names that concern one machine alone, and leases."""

_is_down = False
_unsent: dict[str, None] = {}
_sessions: dict[Path, Session] = {}


class NotUploaded(RunIncomplete):
    """What is finished on this machine has not come to the URL; the same command uploads it."""

    def __init__(self, url: str, names: Iterable[str], why: str) -> None:
        listed = list(names)
        some = ", ".join(listed[:6]) + (f" and {len(listed) - 6} more" if len(listed) > 6 else "")
        super().__init__(
            f"Not uploaded to {url}: {some}. {why}", "This machine keeps it. Repeat the command: it uploads it before all else."
        )


# All results


def open_results(folder: Path) -> None:
    """Upload what an earlier command could not upload, and bring this machine's copy up to date. Any other folder is left alone.

    Raises `StorageError`, and `UserError` for a protocol without a library."""
    copy = copy_of(folder)
    if copy is None:
        return
    with _alone(copy):
        copy.refresh()
        listing = copy.remote.listing()
        if _send_changed(copy, listing):
            listing = copy.remote.listing()
        _fetch_changed(copy, listing)


def close_results(folder: Path, *, patient: bool) -> None:
    """Upload what the command wrote. Raises `NotUploaded`."""
    copy = copy_of(folder)
    if copy is None:
        return
    try:
        with _alone(copy):
            _with_patience(lambda: _send_changed(copy, None), PATIENCE if patient else 0.0)
    except StorageError as error:
        names = [place for place, _ in _changed(copy)]
        raise NotUploaded(copy.remote.url, [*_unsent, *names], error.message) from error
    if _unsent:
        raise NotUploaded(copy.remote.url, _unsent, "The store could not be reached when it stopped.")


@contextmanager
def _alone(copy: Copy) -> Iterator[None]:
    """Of the processes of this machine."""
    copy.folder.mkdir(parents=True, exist_ok=True)
    with held(copy.folder.parent / "lock", wait=True):
        yield


def _with_patience(action: Callable[[], object], seconds: float) -> None:
    global _is_down
    try:
        with_patience(action, 0.0 if _is_down else seconds, time.sleep)
    except StorageError:
        _is_down = True
        raise
    _is_down = False


# Upload


def _changed(copy: Copy) -> list[tuple[str, list[str]]]:
    """What was written here and is not at the URL: each record with all its files, each other file on its own."""
    found: list[tuple[str, list[str]]] = []
    for place, folders, files in os.walk(copy.folder):
        folders[:] = sorted(name for name in folders if not _OWN.fullmatch(name))
        names = [copy.name(Path(place, file)) for file in sorted(files) if not _OWN.fullmatch(file)]
        changed = [name for name in names if not copy.is_unchanged(name)]
        if not changed:
            continue
        if any(marker in files for marker in MARKERS):
            found.append((copy.name(Path(place)), names))
        elif not _ID.fullmatch(Path(place).name):
            found += [(name, [name]) for name in changed]
    return found


def _send_changed(copy: Copy, listing: Mapping[str, str] | None) -> bool:
    """Whether anything was uploaded. `listing`: before a command; what another machine replaced meanwhile is left as it is."""
    sent = False
    for place, names in _changed(copy):
        if (copy.folder / place).is_dir():
            sent |= _send_record(copy, place, names)
        elif listing is not None and _is_theirs(copy, place, listing.get(place)):
            _keep_database(copy.folder / place)
        else:
            copy.send(place)
            sent = True
    return sent


def _is_theirs(copy: Copy, name: str, stamp: str | None) -> bool:
    """Whether another machine wrote the file since this one fetched it."""
    known = copy.known.get(name)
    return stamp is not None and (known is None or known.stamp != stamp)


def _keep_database(file: Path) -> None:
    """A study that two machines continued, one of them without the URL. Every other such file is made from the records."""
    if file.suffix == ".db":
        number = 1
        while (kept := file.with_name(f"{file.name}.replaced-{number}")).exists():
            number += 1
        file.replace(kept)
        log.warning("%s was continued on another machine, too. This machine's study is kept as %s.", file.name, kept.name)


def _send_record(copy: Copy, place: str, names: Sequence[str]) -> bool:
    """Upload a record that a command could not upload, unless another machine has made it, or is about to."""
    lock = copy.folder / f"{place}.lock"
    try:
        if is_held(lock):
            return False  # its process uploads it
        with leased(copy.remote, place, copy.id):
            marker = _marker(names)
            if _is_theirs(copy, marker, copy.remote.stamp(marker)):
                log.info("%s: continues with %d batches from the URL.", file.parent.name.removesuffix(".partial"), len(lines))


@contextmanager
def shared_folder(folder: Path) -> Iterator[None]:
    """While one machine works on a folder that is changed in place, such as a study: hold its lease; fetch it before, upload it
    afterwards. Any other folder is left alone. Raises `Busy` and `StorageError`."""
    copy = copy_of(folder)
    if copy is None:
        yield
        return
    place = copy.name(folder)
    with leased(copy.remote, place, copy.id):
        for name, stamp in copy.remote.listing(place).items():
            if name.count("/") == place.count("/") + 1 and _is_theirs(copy, name, stamp):
                if not copy.is_unchanged(name) and (copy.folder / name).exists():
                    _keep_database(copy.folder / name)
                copy.fetch(name, stamp)
        try:
            yield
        finally:
            try:
                _with_patience(lambda: _send_folder(copy, folder), PATIENCE_STOPPED)
            except StorageError as error:
                log.warning("%s was not uploaded. %s The same command uploads it.", place, error.message)


def _send_folder(copy: Copy, folder: Path) -> None:
    """The files in the folder itself, which have changed."""
    for name in [copy.name(file) for file in _files_of(folder) if file.is_file()]:
        if not copy.is_unchanged(name):
            copy.send(name)
