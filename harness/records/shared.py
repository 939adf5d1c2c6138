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
from harness.core.shard import SUFFIX
from harness.records.journal import JOURNAL, SCRATCH
from harness.storage.copies import LOCAL, Copy, copy_of
from harness.storage.leases import Lease, leased
from harness.storage.remote import AT_ONCE, StorageError, with_patience

log = logging.getLogger("bench")

MARKERS = ("run.json", "labelling.json", "shard.json")
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
TOGETHER = 200
"""Records that are fetched before they get their names."""
MIXED_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before a record is read again whose files do not belong together: its writer replaces it."""
_ID = re.compile(rf".+\.[0-9a-f]{{10}}({SUFFIX})?", re.DOTALL)
_OWN = re.compile(rf"{LOCAL.pattern}|.*(\.partial|\.lease-\d+)", re.DOTALL)
"""Names of what concerns one machine alone, of unfinished runs and of leases."""
_SHARD = re.compile(rf".*{SUFFIX}", re.DOTALL)

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
    """Upload what an earlier command could not upload, and bring this machine's copy up to date. Other folders are left alone.

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
        if _is_down and not patient:
            raise StorageError("The store could not be reached.")
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
        with_patience(action, 0.0 if _is_down else seconds)
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
        names = [name for file in sorted(files) if not _is_own(name := copy.name(Path(place, file)))]
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
            _keep_study(copy.folder / place)
        else:
            copy.send(place)
            sent = True
    return sent


def _is_theirs(copy: Copy, name: str, stamp: str | None) -> bool:
    """Whether another machine wrote the file since this one fetched it."""
    known = copy.known.get(name)
    return stamp is not None and (known is None or known.stamp != stamp)


def _keep_study(file: Path) -> None:
    """A study that two machines continued, one of them without the URL. Every other such file is made from the records."""
    if file.suffix in (".db", ".journal"):
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
                log.info("%s: another machine recorded this run; its record is kept.", place)
                return False
            _publish(copy, names)
    except Busy:
        return False
    return True


def _marker(names: Iterable[str]) -> str:
    return next(name for name in names if name.rpartition("/")[2] in MARKERS)


def _publish(copy: Copy, names: Sequence[str]) -> None:
    """Upload the files of a record so that a reader, at any time, finds all of one version or no record; then delete its
    journal at the URL."""
    marker = _marker(names)
    others = [name for name in names if name != marker and not copy.is_unchanged(name)]
    if others and copy.remote.stamp(marker) is not None:
        copy.remote.delete(marker)
    for name in others:
        copy.send(name)
    copy.send(marker)
    for name in copy.remote.listing(f"{marker.rpartition('/')[0]}.partial"):
        copy.remote.delete(name)
        copy.forget(name)


def publish(folder: Path) -> None:
    """Upload a record that was just finished. Raises `NotUploaded`, and `RunBusy` if another machine has taken the run over."""
    copy = copy_of(folder)
    if copy is None:
        return
    place, session = copy.name(folder), _sessions.get(folder.absolute())
    if session is not None:
        session.stop()
        session.check()
    names = [copy.name(file) for file in _files_of(folder)]

    try:
        _with_patience(lambda: _publish(copy, names), PATIENCE)
    except StorageError as error:
        raise NotUploaded(copy.remote.url, [place], error.message) from error


def publish_file(file: Path) -> None:
    """Upload one file that was just replaced, where the order of several matters. Raises `NotUploaded`."""
    copy = copy_of(file)
    if copy is not None:
        try:
            _with_patience(lambda: copy.send(copy.name(file)), PATIENCE)
        except StorageError as error:
            raise NotUploaded(copy.remote.url, [copy.name(file)], error.message) from error


def withdraw(folder: Path) -> None:
    """Delete a record at the URL, too. Where that is not possible now, it comes back with the next command."""
    copy = copy_of(folder)
    if copy is None:
        return
    place = copy.name(folder)
    try:
        for name in sorted(copy.remote.listing(place), key=lambda name: name.rpartition("/")[2] not in MARKERS):
            copy.remote.delete(name)
            copy.forget(name)
    except StorageError as error:
        log.warning("%s was not deleted at the URL. %s", place, error.message)


def fetch_record(folder: Path) -> None:
    """Fetch the record that another machine has written meanwhile, if it is not here. Raises `StorageError`."""
    copy = copy_of(folder)
    if copy is None or any((folder / marker).exists() for marker in MARKERS):
        return
    place = copy.name(folder)
    stamps = copy.remote.listing(place)
    if any(f"{place}/{marker}" in stamps for marker in MARKERS):
        with _alone(copy):
            _fetch_records(copy, [place], stamps)


# Download


def _fetch_changed(copy: Copy, listing: Mapping[str, str]) -> None:
    folders: dict[str, list[str]] = defaultdict(list)
    for name in listing:
        if not _is_own(name):
            folders[name.rpartition("/")[0]].append(name)
    records = {place: names for place, names in folders.items() if any(f"{place}/{marker}" in listing for marker in MARKERS)}
    for place, names in folders.items():
        if place not in records and not _ID.fullmatch(place.rpartition("/")[2]):
            for name in names:
                if not copy.has(name, listing[name]):
                    copy.fetch(name, listing[name])
    _fetch_records(copy, [place for place, names in records.items() if _is_stale(copy, place, names, listing)], listing)
    _drop_deleted(copy, listing)


def _is_stale(copy: Copy, place: str, names: Iterable[str], listing: Mapping[str, str]) -> bool:
    """Predictions may be missing, but not be old ones."""
    return not all(copy.has(name, listing[name]) or _is_lazy(copy, name) for name in names)


def _is_lazy(copy: Copy, name: str) -> bool:
    return name.rpartition("/")[2] == PREDICTIONS and not (copy.folder / name).exists()


def _fetch_records(copy: Copy, places: Sequence[str], listing: Mapping[str, str]) -> None:
    """All files of the records but the predictions."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in listing:
        by_folder[name.rpartition("/")[0]].append(name)
    for start in range(0, len(places), TOGETHER):
        part = places[start : start + TOGETHER]
        wanted = [name for place in part for name in by_folder[place] if not name.endswith(f"/{PREDICTIONS}")]
        read = dict(copy.remote.read_all(wanted))
        for place in part:
            stamps = {name: listing[name] for name in by_folder[place]}
            found = {name: read[name] for name in stamps if name in read}
            _place(copy, place, *_whole(copy, place, stamps, found))


Files = Mapping[str, bytes | None]


def _whole(copy: Copy, place: str, stamps: Mapping[str, str], found: Files) -> tuple[Mapping[str, str], Files]:
    """Read again where the files do not belong together; empty where there is no record any more. What stays mixed is returned
    as it is, and whoever reads the record says so."""
    for pause in MIXED_PAUSES:
        if not _is_mixed(found):
            break
        time.sleep(pause)
        stamps = copy.remote.listing(place)
        if not any(f"{place}/{marker}" in stamps for marker in MARKERS):
            return {}, {}
        found = dict(copy.remote.read_all([name for name in stamps if not name.endswith(f"/{PREDICTIONS}")]))
    return stamps, found


def _is_mixed(found: Files) -> bool:
    """Whether a file is missing or has another digest than its record names."""
    if None in found.values():
        return True
    digests = _digests(next((content for name, content in found.items() if name.rpartition("/")[2] in MARKERS), None))
    return any(
        (known := digests.get(name.rpartition("/")[2])) is not None and not _has_digest(content or b"", known)
        for name, content in found.items()
    )


def _digests(marker: bytes | None) -> dict[str, object]:
    """Of the files of a record; empty where the marker tells none, or can't be read."""
    with suppress(ValueError, AttributeError):
        content = json.loads(marker or b"{}")
        labels = {"labels.jsonl": content["labels_sha256"]} if "labels_sha256" in content else {}
        return {name: one for name, one in (content.get("digests") or labels).items() if name not in MARKERS}
    return {}


def _has_digest(content: bytes, known: object) -> bool:
    return hashlib.sha256(content).hexdigest() in (known if isinstance(known, list) else [known])


def _place(copy: Copy, place: str, stamps: Mapping[str, str], found: Files) -> None:
    """Put a fetched record in the place of an earlier one, in one rename. Predictions that are still right stay."""
    if not found:
        return
    final = copy.folder / place
    partial, replaced = (final.with_name(f"{final.name}.{word}.partial") for word in ("fetched", "replaced"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, content in found.items():
        (partial / name.rpartition("/")[2]).write_bytes(content or b"")
    predictions = f"{place}/{PREDICTIONS}"
    keeps = predictions in stamps and copy.has(predictions, stamps[predictions])
    if final.exists():
        if keeps:
            (final / PREDICTIONS).replace(partial / PREDICTIONS)
        shutil.rmtree(replaced, ignore_errors=True)
        final.replace(replaced)
    partial.replace(final)
    shutil.rmtree(replaced, ignore_errors=True)
    for name in found:
        copy.note(name, stamps[name])
    if not keeps:
        copy.forget(predictions)


def _drop_deleted(copy: Copy, listing: Mapping[str, str]) -> None:
    """What was deleted at the URL, unless it was changed here and could not be uploaded."""
    for name in [name for name in copy.known if name not in listing]:
        place, _, file = name.rpartition("/")
        if _is_own(name):
            continue
        if file in MARKERS:
            _drop_record(copy, place)
        elif copy.is_unchanged(name):
            copy.drop(name)
        elif not (copy.folder / name).exists():
            copy.forget(name)


def _drop_record(copy: Copy, place: str) -> None:
    folder = copy.folder / place
    names = [copy.name(file) for file in folder.iterdir()] if folder.is_dir() else []
    if all(map(copy.is_unchanged, names)):
        if names:
            gone = folder.with_name(f"{folder.name}.replaced.partial")
            shutil.rmtree(gone, ignore_errors=True)
            folder.replace(gone)
            shutil.rmtree(gone, ignore_errors=True)
        for name in [name for name in copy.known if name.startswith(f"{place}/")]:
            copy.forget(name)


def _refresh_record(copy: Copy, place: str) -> None:
    """One record as it is now. The caller holds its lease."""
    stamps = copy.remote.listing(place)
    names = [copy.name(file) for file in _files_of(copy.folder / place)]
    here = any(name.rpartition("/")[2] in MARKERS for name in names)
    if not any(f"{place}/{marker}" in stamps for marker in MARKERS):
        if here and not all(map(copy.is_unchanged, names)):
            _publish(copy, names)
        elif here:
            _drop_record(copy, place)
    elif _is_stale(copy, place, stamps, stamps):
        _fetch_records(copy, [place], stamps)


def _files_of(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [file for file in files if not _is_own(f"{folder.name}/{file.name}")]


def _is_own(name: str) -> bool:
    """Whether a file is not exchanged as part of a record: that of a finished shard has its journal."""
    *folders, file = name.split("/")
    if file == JOURNAL and not (folders and _SHARD.fullmatch(folders[-1])):
        return True
    return any(_OWN.fullmatch(part) for part in (*folders, file))


# Predictions


def is_at_url(file: Path) -> bool:
    """Whether this file of a record is not on this machine, but at the URL of the record."""
    return not file.exists() and shared_place(file) is not None and file.parent.is_dir()


def bring(files: Iterable[Path]) -> None:
    """Fetch the predictions that this machine does not have yet, and check them against their records. Files that can't be had
    stay missing. Raises `StorageError`."""
    wanted = [file for file in files if is_at_url(file)]
    if len(wanted) > 1:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(_bring, wanted))
    elif wanted:
        _bring(wanted[0])


def _bring(file: Path) -> None:
    copy = copy_of(file)
    assert copy is not None
    name, place = copy.name(file), copy.name(file.parent)
    for pause in (None, *MIXED_PAUSES):
        if pause is not None:  # the record was replaced since it was fetched, or is being replaced
            time.sleep(pause)
            stamps = copy.remote.listing(place)
            if any(f"{place}/{marker}" in stamps for marker in MARKERS):
                _fetch_records(copy, [place], stamps)
        stamp = copy.remote.stamp(name)
        if stamp is not None and copy.fetch(name, stamp):
            known = _digests((file.parent / MARKERS[0]).read_bytes()).get(PREDICTIONS)
            if known is None or _file_has_digest(file, known):
                return


def _file_has_digest(file: Path, known: object) -> bool:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() in (known if isinstance(known, list) else [known])


# A run that is being made


class Session:
    """A run that this machine is making: its lease, and the thread that uploads its journal."""

    def __init__(self, copy: Copy, place: str, lease: Lease) -> None:
        self._copy, self.place, self._lease = copy, place, lease
        self._folder = copy.folder / f"{place}.partial"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="upload", daemon=True)
        self._thread.start()

    def is_lost(self) -> bool:
        return self._lease.is_lost()

    def check(self) -> None:
        """Raises `RunBusy` if another machine has taken the run over, as far as can be known."""
        with suppress(StorageError):
            self._lease.renew()
        if self.is_lost():
            name = self.place.rpartition("/")[2]
            raise RunBusy(f"Another machine has taken over the run {name}: this one did not respond.", "Wait for it.")

    def upload(self) -> None:
        """The journal, whole, and what its engine remembers, where they changed. Raises `StorageError`."""
        if self.is_lost() or not self._folder.is_dir():
            return
        copy, there = self._copy, []
        for file in (self._folder / JOURNAL, *sorted((self._folder / SCRATCH).rglob("*"))):
            if file.is_file() and not file.name.endswith(".tmp"):
                there.append(copy.name(file))
        if (journal := f"{self.place}.partial/{JOURNAL}") in there:
            there = [*(name for name in there if name != journal), journal]  # what a line needs comes before it
        for name in there:
            if not copy.is_unchanged(name):
                self._send(name)
        for name in [name for name in copy.known if name.startswith(f"{self.place}.partial/") and name not in there]:
            copy.remote.delete(name)
            copy.forget(name)

    def _send(self, name: str) -> None:
        """Without a last line that is being written."""
        file = self._copy.folder / name
        if file.name != JOURNAL:
            self._copy.send(name)
            return
        about, whole = file.stat(), _whole_size(file)
        if whole == about.st_size:
            self._copy.send(name)
            return
        with file.open("rb") as stream:
            self._copy.remote.write(name, stream.read(whole))

    def _work(self) -> None:
        due, name = time.monotonic() + INTERVAL, f"{self.place}.partial/{JOURNAL}"
        while not self._ended.wait(1.0):
            is_there = name in self._copy.known
            was_cleared = is_there and self._folder.is_dir() and not (self._folder / JOURNAL).exists()  # by --force
            if time.monotonic() < due and not was_cleared:
                continue
            began = time.monotonic()
            try:
                self.upload()
            except (StorageError, OSError) as error:
                log.debug("The journal of %s was not uploaded: %s", self.place, error)
            due = time.monotonic() + max(INTERVAL, SHARE * (time.monotonic() - began))

    def stop(self) -> None:
        """End the uploads at intervals."""
        self._ended.set()
        self._thread.join()

    def close(self) -> None:
        """Upload the journal of a run that is not finished."""
        self.stop()
        if not (self._folder / JOURNAL).exists():
            return
        try:
            _with_patience(self.upload, PATIENCE_STOPPED)
            _unsent.pop(self.place, None)
        except (StorageError, KeyboardInterrupt) as error:
            _unsent[self.place] = None
            self._lease.abandon()
            why = error.message if isinstance(error, BenchError) else "Interrupted."
            log.warning("%s: its journal was not uploaded. %s The same command continues it on this machine.", self.place, why)


def _whole_size(file: Path) -> int:
    """Bytes of the whole lines."""
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        while size > 0:
            start = max(0, size - (1 << 16))
            stream.seek(start)
            if (found := stream.read(size - start).rfind(b"\n")) >= 0:
                return start + found + 1
            size = start
    return 0


@contextmanager
def shared_run(root: Path, name: str) -> Iterator[Session | None]:
    """While a run is made in the folder of records `root`: hold its lease and upload its journal. None for a folder that is not
    a copy. The caller holds the run's lock on this machine.

    First the record is fetched, if another machine finished it, and its journal, if another machine began it. Raises `Busy` and
    `StorageError`.
    """
    copy = copy_of(root)
    if copy is None:
        yield None
        return
    place = copy.name(root / name)
    with leased(copy.remote, place, copy.id) as lease:
        copy.refresh()
        _refresh_record(copy, place)
        _fetch_journal(copy, f"{place}.partial")
        session = _sessions[(root / name).absolute()] = Session(copy, place, lease)
        try:
            yield session
        finally:
            del _sessions[(root / name).absolute()]
            session.close()


def _fetch_journal(copy: Copy, partial: str) -> None:
    """The journal, with the lines of this machine that were not uploaded; of the other files those that others changed. What
    others deleted, as --force does, is deleted here, too."""
    listing = copy.remote.listing(partial)
    for name in [name for name in copy.known if name.startswith(f"{partial}/") and name not in listing]:
        if copy.is_unchanged(name):
            (copy.folder / name).unlink()
        copy.forget(name)
    for name, stamp in listing.items():
        file, known = copy.folder / name, copy.known.get(name)
        if name == f"{partial}/{JOURNAL}":
            if not copy.has(name, stamp):
                file.parent.mkdir(parents=True, exist_ok=True)
                if _merge_journal(file, copy.remote.read(name) or b""):
                    copy.note(name, stamp)
                elif file.exists():
                    copy.send(name)
        elif known is not None and not file.exists():
            copy.remote.delete(name)  # was deleted here, and that could not be told
            copy.forget(name)
        elif not file.exists() or (copy.is_unchanged(name) and known is not None and known.stamp != stamp):
            copy.fetch(name, stamp)


def _merge_journal(file: Path, theirs: bytes) -> bool:
    """The longer journal, if one continues the other; else all lines of both: each is a batch that was computed, and perhaps
    paid. Whether nothing came from this machine."""
    ours = file.read_bytes() if file.exists() else b""
    ours, theirs = ours[: ours.rfind(b"\n") + 1], theirs[: theirs.rfind(b"\n") + 1]
    if ours.startswith(theirs):
        return ours == theirs and file.exists()
    lines = theirs.splitlines(keepends=True)
    there = set(lines)
    added = [line for line in ours.splitlines(keepends=True) if line not in there]
    write_atomically(file, b"".join([*lines, *added]))
    log.info("%s: continues with %d batches from the URL.", file.parent.name.removesuffix(".partial"), len(lines))
    return not added


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
                    _keep_study(copy.folder / name)
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
