"""Run records: one folder per run, written in one step; a journal while the run is unfinished.

    results/runs/<run id>/           a finished run
        run.json                     identity, machine, versions, training, timing, digests of all three files
        predictions.jsonl            one line per row, in the task's order: id, text, truth, label, status, probabilities
        metrics.json
    results/runs/<run id>.partial/   an unfinished run
        journal.jsonl                one line per batch, with its digest, fsynced
        scratch/                     what an engine must remember meanwhile: the ids of batches of a server's Batch API
    results/runs/<run id>.lock       held while a process works on the run
    results/runs/<run id>.damaged-1/ a damaged record, moved here when the run was repeated
    results/runs/<run id>.shard-3-of-8/  a finished shard of a run; see `harness.records.shards`

Of results at a URL this is the copy on this machine; `harness.records.shared` exchanges its files with the URL.

Records hold row ids, labels and digests of texts (`text`), never a text. The answers of a language model may quote the text, so
they stay in the user's cache (`answers_file`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.cache_folder import cache_dir
from harness.core.durable import commit, file_sha256, set_aside
from harness.core.errors import DamagedRecord, RunBusy, UserError
from harness.core.file_names import cut
from harness.core.json_files import (
    canonical_bytes,
    canonical_json,
    digest,
    parse_object,
    pretty_json,
    write_atomically,
    write_parts_atomically,
)
from harness.core.locks import Busy, held
from harness.core.places import folder_of, shared_place
from harness.core.record import Metrics, RunRecord, read_part
from harness.core.shard import SUFFIX
from harness.records.journal import JOURNAL, SCRATCH, Journal, drop_damaged_lines, drop_partial_line
from harness.records.shared import bring, is_at_url, publish, publish_file, shared_run

log = logging.getLogger("bench")

PREDICTIONS, METRICS, MANIFEST = "predictions.jsonl", "metrics.json", "run.json"
DIGESTS = "digests"
"""In run.json: sha256 by file; for run.json itself, that of all its other content. Earlier versions wrote none."""
MOST_BRACKETS = 1000
"""In a line of predictions.jsonl: pyarrow crashes if some hundred thousand are nested, and at `null`."""
DAMAGE_HINT = "Restore it from a copy, or repeat its `bench run`, which moves it away and repeats the run."
COPY_HINT = "Rename the folder to the name of its run; if it is a copy, move it elsewhere or delete it."
_ID = re.compile(r".+\.[0-9a-f]{10}", re.DOTALL)
_UNFINISHED = re.compile(rf"({SUFFIX})?(\.partial|\.damaged-\d+)?$")
_NO_RECORD = re.compile(rf".*(\.partial|\.damaged-\d+|{SUFFIX})", re.DOTALL)


@contextmanager
def damage_named(path: Path, hint: str = DAMAGE_HINT) -> Iterator[Path]:
    """Errors of reading `path`, and of content with a wrong structure, become `DamagedRecord`."""
    try:
        yield path
    except FileNotFoundError as error:
        raise DamagedRecord(f"{path} is missing.", hint) from error
    except OSError as error:
        raise DamagedRecord(f"{path} can't be read ({error.strerror}).", hint) from error
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}"
        if isinstance(error, ValueError | KeyError):
            what = str(error) if isinstance(error, ValueError) else f"{error} is missing"
        raise DamagedRecord(f"{path} is damaged ({what}).", hint) from error


@dataclass(frozen=True)
class Store:
    """The folder of all run records (`results/runs`)."""

    root: Path

    def __reduce__(self) -> tuple[Any, ...]:
        """The copy of a URL as its URL, of which another machine has another copy."""
        shared = shared_place(self.root)
        if shared is None:
            return Store, (self.root,)
        copy, url = shared
        return _store_at, (url, self.root.absolute().relative_to(copy).as_posix())

    def ids(self) -> list[str]:
        """Of all finished runs, damaged ones included."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if _is_record(path))

    def find(self, part: str) -> str:
        """The run whose id is `part`, or the only one that contains it. Raises `UserError`."""
        names = self.ids()
        if part in names:
            return part
        if not any(part in name for name in names) and (begun := self._unfinished(part)):
            hint = "Repeat its `bench run`: it continues where it stopped. `bench results merge` makes a record of shards."
            raise UserError(f"{begun[0]} is not finished, so it has no record yet.", hint)
        if not names:
            raise UserError(f"There are no runs in {self.root}.", "Begin with `bench run`, or name the folder: --results DIR.")
        hits = [name for name in names if part in name]
        if not hits:
            raise UserError(f"There is no run {part!r} in {self.root}.", "`bench list runs` shows all of them.")
        if len(hits) > 1:
            some = ", ".join(hits[:6]) + (", ..." if len(hits) > 6 else "")
            raise UserError(f"{part!r} matches {len(hits)} runs.", f"Name one of them, for example by its last digits: {some}")
        return hits[0]

    def _unfinished(self, part: str) -> list[str]:
        """Also in shards."""
        begun = {_UNFINISHED.sub("", path.parent.name) for path in self.root.glob(f"*/{JOURNAL}")}
        return sorted(name for name in begun if part in name)

    def record(self, name: str) -> RunRecord:
        """A finished run; run.json and metrics.json are checked. Raises `DamagedRecord`."""
        manifest = self.manifest(name)
        with damage_named(self.root / name / METRICS):
            metrics = read_part(Metrics, self.metrics(name, manifest))
        with damage_named(self.root / name / MANIFEST) as path:
            record = RunRecord.read(manifest, metrics, name)
        named = (record.run_id, record.identity.run_id) if "run_id" in manifest else ()
        for other in named:
            if other != name:
                what = f"{path} is not the record of this run (it is the record of the run {other})."
                raise DamagedRecord(what, COPY_HINT)
        return record

    def manifest(self, name: str) -> dict[str, Any]:
        """run.json as it is, checked. Raises `DamagedRecord`."""
        with damage_named(self.root / name / MANIFEST) as path:
            manifest = parse_object(path.read_bytes())
            if DIGESTS in manifest and manifest[DIGESTS][MANIFEST] != _own_digest(manifest):
                raise ValueError("its content is not what was written")
        return manifest

    def metrics(self, name: str, manifest: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """metrics.json as it is, checked with the digest in `manifest`. Raises `DamagedRecord`."""
        with damage_named(self.root / name / METRICS) as path:
            content = path.read_bytes()
            _check(content, (manifest or self.manifest(name)).get(DIGESTS), METRICS)
            return parse_object(content)

    def predictions(self, name: str) -> list[dict[str, Any]]:
        """predictions.jsonl, checked. Raises `DamagedRecord`."""
        bring([self.root / name / PREDICTIONS])
        with damage_named(self.root / name / PREDICTIONS) as path:
            content = path.read_bytes()
            _check(content, self.manifest(name).get(DIGESTS), PREDICTIONS)
            return [parse_object(line) for line in content.split(b"\n") if line]

    def check_predictions(self, name: str, digests: Mapping[str, Any] | None) -> bool:
        """Check predictions.jsonl; False if `digests` has no digest to check it with. Raises `DamagedRecord`. At a URL it is
        checked when it is fetched."""
        if is_at_url(self.root / name / PREDICTIONS):
            if digests is not None:
                return True
            bring([self.root / name / PREDICTIONS])
        with damage_named(self.root / name / PREDICTIONS) as path:
            if digests is not None and file_sha256(path) == digests[PREDICTIONS]:
                return True
            content = path.read_bytes()
            if _check(content, digests, PREDICTIONS):
                return True
            for number, line in enumerate(content.splitlines(), 1):
                if not line.startswith(b"{") or line.count(b"[") + line.count(b"{") > MOST_BRACKETS:
                    raise ValueError(f"line {number} is no prediction")
            return False

    def set_aside(self, name: str) -> None:
        """Move a damaged record away, if there is one."""
        if os.path.lexists(self.root / name):
            log.warning("%s was moved to %s.", name, set_aside(self.root / name).name)

    def answers_file(self, name: str) -> Path:
        """Raw answers of a language model, on this machine only."""
        return cache_dir() / "answers" / f"{cut(name)}.jsonl"

    @contextmanager
    def journal(self, name: str) -> Iterator[Journal]:
        """Open the journal of a run, new or unfinished, also of another machine. Raises `RunBusy` if another process has it
        open, on any machine, and `StorageError`."""
        self.root.mkdir(parents=True, exist_ok=True)
        seen = cache_dir() / "locks" / f"{digest([str(self.root.resolve()), name])[:16]}.lock"  # for `bench cache`
        seen.parent.mkdir(parents=True, exist_ok=True)
        try:
            with (
                held(self.root / f"{name}.lock", wait=False) as lock,
                held(seen, wait=False),
                shared_run(self.root, name) as session,
            ):
                owned = [lock] if session is None else [lock, session]
                folder = self.root / f"{name}.partial"
                folder.mkdir(parents=True, exist_ok=True)
                drop_damaged_lines(folder / JOURNAL, name)
                drop_partial_line(self.answers_file(name))
                with closing(Journal(folder, self.answers_file(name), *owned)) as journal:
                    yield journal
        except Busy as error:
            hint = "Wait for it, or stop it. The lock of a machine that is down expires after two minutes."
            raise RunBusy(f"{error} is working on the run {name}.", hint) from error

    def finish(self, record: RunRecord, rows: Iterable[Mapping[str, Any]]) -> Path:
        """Turn the open journal of a run into its finished record, in one rename. `rows`: the lines of predictions.jsonl, which
        are written one after the other. Raises `NotUploaded` for a record that is finished here and not at the URL."""
        name = record.run_id
        partial, final = self.root / f"{name}.partial", self.root / name
        values = pretty_json(record.metrics.as_json())
        predictions = write_parts_atomically(partial / PREDICTIONS, (canonical_bytes(row) + b"\n" for row in rows))
        write_atomically(partial / METRICS, values)
        digests = {PREDICTIONS: predictions, METRICS: _sha256(values.encode())}
        write_atomically(partial / MANIFEST, pretty_json(_with_digests(record.manifest(), digests)))
        shutil.rmtree(partial / SCRATCH, ignore_errors=True)  # all rows are in the journal
        for left in partial.glob("*.tmp"):  # of a write that was killed
            left.unlink()
        replaced = self.root / f"{name}.replaced.partial"
        if final.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            final.replace(replaced)  # in one step: a kill during the deletion would leave half a record
        commit(partial, final)
        shutil.rmtree(replaced, ignore_errors=True)
        (final / JOURNAL).unlink(missing_ok=True)  # last: a kill before `commit` must not lose the run
        publish(final)
        return final

    def replace_metrics(self, name: str, metrics: Metrics) -> None:
        """Replace the metrics of a finished record. A kill in between leaves either the old or the new ones."""
        manifest, path = self.manifest(name), self.root / name
        old, values = manifest.get(DIGESTS), pretty_json(metrics.as_json())
        if old is None:  # of an earlier version
            write_atomically(path / METRICS, values)
            publish_file(path / METRICS)
            return
        new = _sha256(values.encode())
        both = [old[METRICS], new]
        for file, content in (
            (MANIFEST, pretty_json(_with_digests(manifest, {**old, METRICS: both}))),
            (METRICS, values),
            (MANIFEST, pretty_json(_with_digests(manifest, {**old, METRICS: new}))),
        ):
            write_atomically(path / file, content)
            publish_file(path / file)


def _store_at(url: str, inner: str) -> Store:
    return Store(folder_of(url) / inner)


def _is_record(path: Path) -> bool:
    if _NO_RECORD.fullmatch(path.name):
        return False
    return _ID.fullmatch(path.name) is not None or os.path.isfile(path / MANIFEST)  # noqa: PTH113 (never raises)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _own_digest(manifest: Mapping[str, Any]) -> str:
    """Of all content but this digest."""
    others = {name: value for name, value in manifest[DIGESTS].items() if name != MANIFEST}
    return digest({**manifest, DIGESTS: others})


def _with_digests(manifest: Mapping[str, Any], digests: Mapping[str, Any]) -> dict[str, Any]:
    content = json.loads(canonical_json({**manifest, DIGESTS: digests}))  # as it will be read again
    return {**content, DIGESTS: {**content[DIGESTS], MANIFEST: _own_digest(content)}}


def _check(content: bytes, digests: Mapping[str, Any] | None, file: str) -> bool:
    """Whether there is a digest of this file. Raises `ValueError` if the content has another one."""
    if digests is None:
        return False
    known = digests[file] if isinstance(digests[file], list) else [digests[file]]
    # Git on Windows may have changed the line ends.
    if _sha256(content) not in known and _sha256(content.replace(b"\r\n", b"\n")) not in known:
        raise ValueError("its content is not what was written" if content else "it is empty")
    return True
