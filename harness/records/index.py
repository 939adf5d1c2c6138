"""An index of all finished runs in one Parquet file, so that commands over thousands of runs need not read every record.

The index is a cache in the folder of the runs (`.index/records`: a sha256, and the Parquet file that has it). The records alone
are the truth: each command compares size and times of their files with what they were when the index read them, reads the
changed ones again, and writes the index anew. It may be deleted at any time. In a folder that can't be written, changed
records are read each time.

Nothing is locked. The file appears whole, and every row of it is compared again before it is used; so of two processes that
write it at once either one may be the last.
"""

from __future__ import annotations

import gc
import glob
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache, cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.core.errors import DamagedRecord
from harness.core.json_files import digest, write_atomically, write_parts_atomically
from harness.core.record import RunRecord
from harness.records.entries import Entry, read_entry, warn_of
from harness.records.shared import is_at_url
from harness.records.store import MANIFEST, METRICS, PREDICTIONS, Store

log = logging.getLogger("bench")

INDEX_VERSION = 1
FOLDER = ".index"
FILE = "records"
SETTLED_SECONDS = 2.0
"""A file that was written less than this before it was read may change again without another size or time: FAT has steps of two
seconds."""
_LEFT_SECONDS = 3600
"""An older temporary file is no other command's."""
_MADE_BY = b"made_by"
_RECORD = "record"
_SHA256 = 32
"""Bytes of it, at the beginning of the file."""
_ROW_GROUP = 500
_CODE = (".py", ".j2", ".yaml")


@dataclass(frozen=True, slots=True)
class RunRow:
    """What tables and lists need of a run without its record. `state`: of its files when they were read, "" if they were so new
    that they are read again. `rows`: digest of rows and labels, as in `Entry.group`. `labels`: how many. `metric`: the first
    headline metric, with its `value`, `low` and `high`. `evaluations`: during its training."""

    run: str
    state: str
    task: str
    split: str
    lang: str
    rows: str
    label_kind: str
    labels: int
    n: int
    unanswered: int
    backend: str
    model: str | None
    metric: str
    value: float | None
    low: float | None
    high: float | None
    finished: str | None
    evaluations: int


Read = Callable[[Sequence[int]], Mapping[int, bytes]]
"""The JSON of the records at these places, by place; empty for a record that has none."""


@dataclass(frozen=True)
class _Content:
    """The file's rows, and its record column, read when it is asked for: the JSON of each `RunRecord`."""

    rows: list[RunRow]
    read: Read


@dataclass(frozen=True)
class RunIndex:
    """All intact runs in the order of their ids. `damaged`: the errors of the others."""

    store: Store
    rows: list[RunRow]
    damaged: list[DamagedRecord]
    _read: Read

    @cached_property
    def with_several_models(self) -> frozenset[str]:
        """Backends whose runs have different models (see `Entry.by_model`)."""
        models: dict[str, set[str | None]] = {}
        for row in self.rows:
            models.setdefault(row.backend, set()).add(row.model)
        return frozenset(name for name, found in models.items() if len(found) > 1)

    def entries(self, places: Iterable[int] | None = None) -> list[Entry]:
        """The runs at these places of `rows`; default: all."""
        wanted = list(range(len(self.rows)) if places is None else places)
        content = self._read(wanted)
        with no_collection():
            return [self._entry(self.rows[place], content[place]) for place in wanted]

    def _entry(self, row: RunRow, content: bytes) -> Entry:
        record = RunRecord.model_validate_json(content) if content else read_entry(self.store, row.run).record
        return Entry(record, row.backend in self.with_several_models)


@contextmanager
def no_collection() -> Iterator[None]:
    """While many objects are made that all stay: Python's search for cycles among them takes longer than their making."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_index(store: Store) -> RunIndex:
    """The index, brought up to date with the records; it is written if something changed."""
    path = store.root / FOLDER / FILE
    old = _loaded(path)
    known = {row.run: place for place, row in enumerate(old.rows)}
    names, rows, damaged = store.ids(), list[RunRow](), list[DamagedRecord]()
    new, kept = dict[int, bytes](), dict[int, int]()  # by place in `rows`: the record, or the place in the old index
    with no_collection():
        for name in names:
            state, place = state_of(store, name), known.get(name)
            if place is not None and state and old.rows[place].state == state:
                kept[len(rows)] = place
                rows.append(old.rows[place])
                continue
            try:
                entry = read_entry(store, name)
            except DamagedRecord as error:
                damaged.append(error)
                continue
            new[len(rows)] = content = _as_json(entry.record)
            rows.append(_row(entry, state if content else ""))

    def read(places: Sequence[int]) -> Mapping[int, bytes]:
        found = old.read([kept[place] for place in places if place in kept])
        return {place: found[kept[place]] if place in kept else new[place] for place in places}

    lasting = [place for place, row in enumerate(rows) if row.state]
    if len(kept) < len(old.rows) or len(lasting) > len(kept):
        _write(path, lasting, rows, read)
    return RunIndex(store, rows, damaged, read)


def intact_index(store: Store) -> RunIndex:
    """As `read_index`, with a warning for each damaged record, which is left out."""
    index = read_index(store)
    for error in index.damaged:
        warn_of(error)
    return index


def state_of(store: Store, name: str) -> str:
    """Sizes and times of the files of a record; "" where one is missing, or was written just now. Predictions at a URL are
    fetched when they are read."""
    found, newest = [], 0
    for file in (MANIFEST, METRICS, PREDICTIONS):
        path = f"{store.root}/{name}/{file}"
        try:
            about = os.stat(path)  # noqa: PTH116 (of 30,000 files; Path is slower)
        except OSError:
            if file == PREDICTIONS and is_at_url(Path(path)):
                continue
            return ""
        found.append(f"{about.st_size}:{about.st_mtime_ns}:{about.st_ctime_ns}")
        newest = max(newest, about.st_mtime_ns, about.st_ctime_ns)
    return "" if time.time_ns() - newest < SETTLED_SECONDS * 1e9 else " ".join(found)


@cache
def made_by() -> str:
    """Digest of what determines how records are read and what is computed from them: the code of bench and numerical libraries.
    What other code wrote to a cache is not used."""
    root = Path(__file__).parents[1]
    files = sorted(path for path in root.rglob("*") if path.suffix in _CODE)
    code = [[path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()] for path in files]
    return digest([INDEX_VERSION, code, [version(name) for name in ("bench-harness", "numpy", "scipy", "pydantic")]])


def write_cache(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file of the index; where that is not possible, the index is left as it is. Git leaves the folder out."""
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
            write_atomically(path.parent / ".gitignore", "*\n")
        for left in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):  # of a command that was killed while it wrote
            if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                left.unlink(missing_ok=True)
        write_parts_atomically(path, parts)
    except OSError as error:
        log.debug("%s was not written: %s", path, error)


def _loaded(path: Path) -> _Content:
    """The index as it was written last; empty where there is none, where it is damaged, and where other code made it."""
    import pyarrow as pa
    from pyarrow import parquet

    nothing = _Content([], lambda places: {})
    try:
        content = memoryview(path.read_bytes())
    except OSError:
        return nothing
    if hashlib.sha256(content[_SHA256:]).digest() != content[:_SHA256]:
        log.warning("%s is damaged and is made again.", path)
        return nothing
    try:
        file = parquet.ParquetFile(pa.BufferReader(pa.py_buffer(content[_SHA256:])))
        if (file.schema_arrow.metadata or {}).get(_MADE_BY) != made_by().encode():
            return nothing
        columns = file.read(columns=[field.name for field in fields(RunRow)]).to_pydict()
        rows = [RunRow(*values) for values in zip(*columns.values(), strict=True)]
    except (pa.ArrowException, ValueError, TypeError):  # of other code, or another version of pyarrow
        return nothing

    @lru_cache(maxsize=1)  # the next places are often in the same group
    def group(number: int) -> Any:
        return file.read_row_group(number, columns=[_RECORD])[_RECORD]

    def read(places: Sequence[int]) -> Mapping[int, bytes]:
        return {place: group(place // _ROW_GROUP)[place % _ROW_GROUP].as_py() for place in sorted(places)}

    return _Content(rows, read)


def _write(path: Path, places: Sequence[int], rows: Sequence[RunRow], read: Read) -> None:
    """The rows at these places with their records, some hundred at a time: all of them together take much memory."""
    import pyarrow as pa
    from pyarrow import parquet

    types = {"str": pa.string(), "str | None": pa.string(), "int": pa.int64(), "float | None": pa.float64()}
    columns = pa.schema([(field.name, types[str(field.type)]) for field in fields(RunRow)])
    schema = columns.append(pa.field(_RECORD, pa.binary())).with_metadata({_MADE_BY: made_by().encode()})
    sink = pa.BufferOutputStream()
    with parquet.ParquetWriter(sink, schema, compression="zstd", use_dictionary=False) as writer:
        for start in range(0, len(places), _ROW_GROUP):
            some = places[start : start + _ROW_GROUP]
            found = read(some)
            table = _table([rows[place] for place in some], columns)
            writer.write_table(table.append_column(schema.field(_RECORD), _binary([found[place] for place in some])))
            pa.default_memory_pool().release_unused()
    content = memoryview(sink.getvalue()).cast("B")
    write_cache(path, hashlib.sha256(content).digest(), content)


def _table(rows: Sequence[RunRow], schema: Any) -> Any:
    """As JSON in between: to make columns of Python's objects, pyarrow imports pandas, which takes half of the time."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    lines = "\n".join(json.dumps({name: getattr(row, name) for name in schema.names}) for row in rows)
    options = arrow_json.ParseOptions(explicit_schema=schema)
    return arrow_json.read_json(pa.BufferReader(lines.encode()), parse_options=options)


def _binary(values: Sequence[bytes]) -> Any:
    """A column, made as in `_table` without pandas."""
    import numpy as np
    import pyarrow as pa

    offsets = np.cumsum([0, *map(len, values)], dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


def _as_json(record: RunRecord) -> bytes:
    """From which the same record is read again; empty where there is none (half a surrogate pair in a name)."""
    try:
        content = record.model_dump_json(exclude_unset=True, by_alias=True).encode()
        return content if RunRecord.model_validate_json(content) == record else b""
    except ValueError:
        return b""


def _row(entry: Entry, state: str) -> RunRow:
    record, metric = entry.record, entry.record.metrics.headline[0]
    estimate, (task, split, lang, rows) = record.metrics.values[metric], entry.group
    return RunRow(
        run=entry.run_id,
        state=state,
        task=task,
        split=split,
        lang=lang,
        rows=rows,
        label_kind=record.identity.label_kind,
        labels=len(record.identity.labels),
        n=record.n,
        unanswered=record.metrics.unanswered,
        backend=entry.backend,
        model=record.identity.backend.model,
        metric=metric,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        finished=record.finished,
        evaluations=0 if record.training is None else len(record.training.evaluations),
    )
