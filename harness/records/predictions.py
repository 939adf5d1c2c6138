"""Read predictions.jsonl: one run as `Predictions`, many runs as Arrow tables; find the rows that runs share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.core.arrays import BoolArray, FloatArray, IntArray
from harness.core.errors import UserError
from harness.core.json_files import canonical_json, parse_object
from harness.core.predictions import Predictions
from harness.core.record import Identity
from harness.core.types import LabelKind, LabelSpace, Status
from harness.records.pairing import nothing_shared, same_rows
from harness.records.store import PREDICTIONS, Store, damage_named

if TYPE_CHECKING:
    from harness.records.entries import Entry


TOGETHER = 1 << 25
"""Bytes that are parsed in one call at most; a larger file is streamed."""


def read_predictions(store: Store, run_id: str) -> Predictions:
    """Raises `DamagedRecord` for a record that is damaged or missing."""
    record = store.record(run_id)
    store.check_predictions(run_id, record.digests)
    tables = read_tables([store.root / run_id / PREDICTIONS], schema_of(record.identity.label_kind))
    table = next(tables)
    columns = dict(zip(table.column_names, table.columns, strict=True))
    del table  # each column is freed once it is an array
    with damage_named(store.root / run_id / PREDICTIONS):
        return _arrays(record.identity, columns, run_id)


def predictions_of(store: Store, entry: Entry) -> Predictions:
    """The rows that the entry's metrics are about. Raises as `read_predictions` and `shared_rows` do."""
    own = read_predictions(store, entry.run_id)
    return own if entry.among is None else shared_rows([read_predictions(store, entry.among), own])[1]


def schema_of(kind: LabelKind) -> Any:
    """The pyarrow schema of predictions.jsonl."""
    import pyarrow as pa

    label = pa.list_(pa.int64()) if kind is LabelKind.MULTILABEL else pa.int64()
    fields = {**dict.fromkeys(("id", "text", "group", "status", "reason"), pa.string()), "truth": label, "label": label}
    return pa.schema({**fields, "probabilities": pa.list_(pa.float64())})


def read_tables(paths: Sequence[Path], schema: Any) -> Iterator[Any]:
    """The pyarrow table of each predictions.jsonl, rows in the file's order, with the columns of `schema` (null if missing).

    Small files are parsed together, since each call has a fixed cost. Raises `DamagedRecord`.
    """
    waiting: list[tuple[Path, bytes]] = []
    size = 0
    for path in paths:
        with damage_named(path):
            large = path.stat().st_size > TOGETHER
            content = b"" if large else path.read_bytes()
        if large or size + len(content) > TOGETHER:
            yield from _together(waiting, schema)
            waiting, size = [], 0
        if large:
            yield _alone(path, None, schema)
        else:
            waiting.append((path, content))
            size += len(content)
    yield from _together(waiting, schema)


def _together(files: Sequence[tuple[Path, bytes]], schema: Any) -> Iterator[Any]:
    import pyarrow as pa

    counts = [content.count(b"\n") for _, content in files]
    try:
        table = _parsed(pa.BufferReader(b"".join(content for _, content in files)), schema) if files else None
    except pa.ArrowInvalid:
        table = None
    if table is None or table.num_rows != sum(counts):  # one file is unusual: parse each by itself
        yield from (_alone(path, content, schema) for path, content in files)
        return
    table = table.combine_chunks()
    start = 0
    for count in counts:
        yield table.slice(start, count)
        start += count


def _alone(path: Path, content: bytes | None, schema: Any) -> Any:
    import pyarrow as pa

    with damage_named(path):
        try:
            return _parsed(path if content is None else pa.BufferReader(content), schema).combine_chunks()
        except pa.ArrowInvalid:  # Arrow rejects an id with half a surrogate pair, which is valid JSON to Python
            records = [parse_object(line) for line in path.read_bytes().split(b"\n") if line]
            columns = {name: [record.get(name) for record in records] for name in schema.names}
            columns["id"] = [canonical_json(record["id"])[1:-1] for record in records]
            return pa.table(columns, schema=schema)


def _parsed(source: Any, schema: Any) -> Any:
    from pyarrow import json

    options = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    return json.read_json(source, parse_options=options)


def _check(table: Mapping[str, Any], labels: LabelSpace) -> None:
    """Raises `ValueError` for what no run writes."""
    import pyarrow.compute as pc

    k, statuses = len(labels), {str(status) for status in Status}
    ids = table["id"]  # sorted
    twice = pc.any(pc.equal(ids[1:], ids[: len(ids) - 1])).as_py()
    if ids.null_count or table["truth"].null_count or twice:
        raise ValueError("a row has no id or no true label, or an id occurs twice")
    if not set(pc.unique(table["status"]).to_pylist()) <= statuses:
        raise ValueError("a row has an unknown status")
    if table["label"].filter(pc.equal(table["status"], str(Status.OK))).null_count:
        raise ValueError("an answered row has no label")
    for name in ("truth", "label"):
        flat = pc.list_flatten(table[name]) if labels.kind is LabelKind.MULTILABEL else table[name]
        ends = pc.min_max(flat)
        if ends["min"].is_valid and not 0 <= ends["min"].as_py() <= ends["max"].as_py() < k:
            raise ValueError(f"a {name} is not one of the {k} labels")


def _arrays(identity: Identity, columns: dict[str, Any], run_id: str) -> Predictions:
    """Of the columns of a table, which are taken out one by one."""
    import pyarrow.compute as pc

    labels = identity.label_space
    order = pc.sort_indices(columns["id"])
    table = {name: columns.pop(name).take(order).combine_chunks() for name in list(columns)}
    _check(table, labels)
    answered = pc.equal(table["status"], str(Status.OK)).to_numpy(zero_copy_only=False)
    if labels.kind is LabelKind.MULTILABEL:
        truth, given = (indicators(table[name], len(labels)) for name in ("truth", "label"))
        wrong = (truth.sum(axis=1, keepdims=True) == 0).astype(np.int64)  # all labels if none is right, else none
        answers = np.where(answered[:, None], given, wrong)
    else:
        truth = table["truth"].to_numpy()
        answers = table["label"].fill_null(len(labels)).to_numpy().copy()
        answers[~answered] = len(labels)
    probabilities = _probabilities(table.pop("probabilities"), answered, labels)
    texts = None if table["text"].null_count else _bytes_of(table.pop("text"))
    groups = None if table["group"].null_count else table.pop("group").to_numpy(zero_copy_only=False)
    ids = table.pop("id").to_numpy(zero_copy_only=False)
    return Predictions(run_id, identity, labels, ids, truth, answers, answered, probabilities, texts, groups)


def _bytes_of(texts: Any) -> NDArray[np.bytes_]:
    """Of an array of texts of one length without a copy as Python's objects, which take four times the memory."""
    import pyarrow.compute as pc

    sizes = pc.unique(pc.binary_length(texts)).to_pylist()
    if len(sizes) != 1 or not sizes[0]:
        return np.array([text.encode() for text in texts.to_pylist()], dtype=np.bytes_)
    return np.frombuffer(texts.buffers()[2], f"S{sizes[0]}", len(texts), texts.offset * sizes[0]).copy()


def indicators(lists: Any, k: int) -> IntArray:
    """0 or 1, shape (n, k), from a pyarrow array of lists of label indices."""
    found = np.zeros((len(lists), k), dtype=np.int64)
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    found[np.repeat(np.arange(len(lists)), lengths), lists.flatten().to_numpy(zero_copy_only=False)] = 1
    return found


def _probabilities(lists: Any, answered: BoolArray, labels: LabelSpace) -> FloatArray | None:
    given = lists.is_valid().to_numpy(zero_copy_only=False)
    if not answered.any() or not given[answered].all():
        return None
    k = len(labels)
    found = np.full((len(lists), k), 1 / k)
    found[given] = lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, k)
    found[~answered] = 1 / k
    if labels.kind is not LabelKind.MULTILABEL:
        if not np.allclose(found.sum(axis=1), 1, atol=1e-3):
            raise ValueError("probabilities of a row do not sum to 1")
        found /= found.sum(axis=1, keepdims=True)  # what the rounded file lost
    return found


def shared_rows(runs: Sequence[Predictions]) -> list[Predictions]:
    """The rows that all runs have, in the order of the first run's ids.

    Rows are the same if text and true label are (see `same_rows`). A record of an earlier version has no digests of texts: then
    rows with the same id are the same.

    Raises `UserError` if the runs have different tasks, languages, splits or labels, or no row in common, or if rows that are
    paired by id alone have different true labels.
    """
    first = runs[0]
    for run in runs[1:]:
        for what in ("task", "lang", "split", "labels"):
            ours, theirs = getattr(first.identity, what), getattr(run.identity, what)
            if ours != theirs:
                raise UserError(
                    f"{first.run_id} and {run.run_id} differ in their {what}: {_worded(ours)} and {_worded(theirs)}.",
                    "Runs are compared on the same rows of the same task.",
                )
    if any(run.texts is None for run in runs):
        return _shared_by_id(runs)
    if all(_alike(first, run) for run in runs[1:]):
        return list(runs)
    pairs = same_rows(runs)
    if not pairs:
        raise nothing_shared(runs)
    return [run.take(np.array(places, dtype=np.int64)) for run, places in zip(runs, zip(*pairs, strict=True), strict=True)]


def _alike(a: Predictions, b: Predictions) -> bool:
    pairs = ((a.ids, b.ids), (a.texts, b.texts), (a.truth, b.truth))
    return all(np.array_equal(np.asarray(ours), np.asarray(theirs)) for ours, theirs in pairs)


def _shared_by_id(runs: Sequence[Predictions]) -> list[Predictions]:
    first = runs[0]
    if any(not np.array_equal(run.ids, first.ids) for run in runs[1:]):
        common = reduce(set.intersection, (set(run.ids.tolist()) for run in runs))
        if not common:
            raise nothing_shared(runs)
        runs = [run.take(np.flatnonzero([row in common for row in run.ids.tolist()]).astype(np.int64)) for run in runs]
    for run in runs[1:]:
        other = np.flatnonzero((run.truth != runs[0].truth).reshape(len(run), -1).any(axis=1))
        if len(other):
            raise UserError(
                f"{first.run_id} and {run.run_id} differ in {len(other)} true labels, first in that of {run.ids[other[0]]!r}.",
                "They were not tested on the same data.",
            )
    return list(runs)


def _worded(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
