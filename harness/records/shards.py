"""Shards on disk: a folder for each, beside the run records, until a merge has made the run's record of them.

    results/runs/<run id>.shard-3-of-8/          a finished shard
        shard.json                               `ShardRecord`, with a digest of its content
        journal.jsonl                            the answers, as in an unfinished run
    results/runs/<run id>.shard-3-of-8.partial/  an unfinished one, with its journal
    results/runs/<run id>.shard-3-of-8.lock      held while a process works on it

No shard is a run record: only `merge` reads them.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from harness.core.durable import commit, file_sha256, sync_folder
from harness.core.errors import DamagedRecord
from harness.core.json_files import unsealed, write_sealed
from harness.core.locks import is_held
from harness.core.record import read_part
from harness.core.shard import Shard
from harness.core.shard_record import SHARD_VERSION, ShardRecord
from harness.records.journal import JOURNAL, SCRATCH, JournalEntry, read_journal
from harness.records.shared import publish, withdraw
from harness.records.store import Store, damage_named

SHARD = "shard.json"
_NAME = re.compile(r"(?P<run>.+)\.shard-(?P<index>\d+)-of-(?P<count>\d+)(?P<partial>\.partial)?", re.DOTALL)


def shard_name(run_id: str, shard: Shard) -> str:
    return f"{run_id}{shard.suffix}"


@dataclass(frozen=True, slots=True, order=True)
class ShardFolder:
    """`finished`: False of one that is being predicted, or was stopped."""

    run_id: str
    shard: Shard
    finished: bool
    path: Path

    @property
    def repeat_hint(self) -> str:
        again = f"Repeat its `bench run` with --shard {self.shard}"
        return f"{again}, which moves it away and predicts its rows again." if self.finished else f"{again}."


def shards_by_run(store: Store) -> dict[str, list[ShardFolder]]:
    """The shards that are there, by the id of their run, in the order of their numbers."""
    found: dict[str, list[ShardFolder]] = defaultdict(list)
    for path in store.root.iterdir() if store.root.is_dir() else ():
        if (one := _named(path)) is not None:
            found[one.run_id].append(one)
    return {run_id: sorted(found[run_id]) for run_id in sorted(found)}


def _named(path: Path) -> ShardFolder | None:
    name = _NAME.fullmatch(path.name)
    if name is None or not path.is_dir():
        return None
    try:
        shard = Shard(int(name["index"]), int(name["count"]))
    except ValueError:
        return None
    return ShardFolder(name["run"], shard, name["partial"] is None, path)


def finished_shard(store: Store, run_id: str, shard: Shard) -> ShardFolder | None:
    path = store.root / shard_name(run_id, shard)
    return ShardFolder(run_id, shard, True, path) if path.exists() else None


def read_shard(folder: ShardFolder) -> ShardRecord:
    """A finished shard; its journal is checked. Raises `DamagedRecord`."""
    with damage_named(folder.path / SHARD, folder.repeat_hint) as path:
        content, _ = unsealed(path.read_bytes())
        if content.get("version") != SHARD_VERSION:
            raise ValueError(f"version {content.get('version')!r} is unknown: another version of bench wrote it")
        record = read_part(ShardRecord, content)
    here = (folder.run_id, folder.shard)
    if (record.run_id, record.shard) != here or record.identity.run_id != folder.run_id:
        what = f"{folder.path} is not this shard (it is shard {record.shard} of the run {record.run_id})."
        raise DamagedRecord(what, "If it is a copy, move it elsewhere or delete it.")
    with damage_named(folder.path / JOURNAL, folder.repeat_hint) as path:
        if file_sha256(path) != record.journal:
            raise ValueError("its content is not what was written")
    return record


def entries_of(folder: ShardFolder) -> list[JournalEntry]:
    return read_journal(folder.path / JOURNAL)


def finish_shard(store: Store, record: ShardRecord) -> Path:
    """Turn the open journal of a shard into the finished one, in one rename. The digest of the journal is added. Raises as
    `publish` does."""
    name = shard_name(record.run_id, record.shard)
    partial, final = store.root / f"{name}.partial", store.root / name
    (partial / JOURNAL).touch()
    shutil.rmtree(partial / SCRATCH, ignore_errors=True)  # all rows are in the journal
    for left in partial.glob("*.tmp"):  # of a write that was killed
        left.unlink()
    whole = record.model_copy(update={"journal": file_sha256(partial / JOURNAL)})
    write_sealed(partial / SHARD, whole.as_json())
    replaced = store.root / f"{name}.replaced.partial"
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        final.replace(replaced)
    commit(partial, final)
    shutil.rmtree(replaced, ignore_errors=True)
    publish(final)
    return final


def delete_shards(store: Store, run_id: str) -> list[ShardFolder]:
    """Delete the shards of a run that has its record, with the answers that this machine kept of them; those that a process
    works on stay. Returns what was deleted."""
    deleted = []
    for folder in shards_by_run(store).get(run_id, []):
        name = shard_name(run_id, folder.shard)
        if is_held(store.root / f"{name}.lock"):
            continue
        shutil.rmtree(folder.path)
        withdraw(folder.path)
        store.answers_file(name).unlink(missing_ok=True)
        deleted.append(folder)
    sync_folder(store.root)
    return deleted
