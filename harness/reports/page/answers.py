"""The answers of all runs in one character each, so that a page can show on which rows two runs differ.

All of it together stays within a budget: beyond that, every set of rows keeps only its first M rows in the order of a hash of
their ids, the same rows for all runs and the same choice each time.
"""

from __future__ import annotations

import hashlib
import json
import string
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis.ranks import not_its_rows, numbers
from harness.core.errors import RunError
from harness.core.types import IntArray, LabelKind
from harness.records.entries import Entry, Group
from harness.records.predictions import read_tables
from harness.records.store import Store
from harness.reports.tables import Table

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
NONE = "-"
"""No answer that could be read."""
ANSWERS_LIMIT = 1_000_000
IDS_LIMIT = 300_000
"""Bytes of all answers together (with the true labels), and of all ids together, as JSON."""
_LETTERS = np.frombuffer((ALPHABET + NONE).encode(), dtype=np.uint8)

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Packed:
    """`row_sets`: the key of each group's rows in `rows` (which lacks those without packed answers). `answers`: by the key of
    the entry."""

    row_sets: dict[Group, str]
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Rows:
    """The rows of a group that are kept, in the order of the hash; `n`: how many there were."""

    ids: list[str]
    truth: Bytes
    answers: dict[str, Bytes]
    n: int


def pack(store: Store, tables: Sequence[Table], answers_limit: int = ANSWERS_LIMIT, ids_limit: int = IDS_LIMIT) -> Packed:
    """Read every prediction file once. Raises `RunError` for one that is damaged or does not hold the rows of its run."""
    packed = Packed(_names(tables))
    fitting = [table for table in tables if _is_packable(table)]
    limit = common_limit([(table.first.metrics["n"], len(runs_of(table)) + 1) for table in fitting], answers_limit)
    kept = dict(_read(store, fitting, limit))
    sizes = [
        [len(json.dumps(name, ensure_ascii=False).encode(errors="replace")) + 1 for name in rows.ids] for rows in kept.values()
    ]
    limit = min(limit, limit_of_ids(sizes, ids_limit))
    for group, rows in kept.items():
        order = sorted(range(min(limit, len(rows.ids))), key=lambda place: rows.ids[place])
        packed.rows[packed.row_sets[group]] = {
            "ids": [rows.ids[place] for place in order],
            "truth": _text(rows.truth, order),
            "sampled": limit if limit < rows.n else None,
        }
        packed.answers.update({key: _text(letters, order) for key, letters in rows.answers.items()})
    return packed


def _text(letters: Bytes, order: Sequence[int]) -> str:
    return letters[np.array(order, dtype=np.int64)].tobytes().decode("ascii")


def _names(tables: Sequence[Table]) -> dict[Group, str]:
    """Eight digits of the rows, as everywhere; all of them where two groups share these."""
    short = [table.group[3][:8] for table in tables]
    return {
        table.group: name if short.count(name) == 1 else "-".join([name, str(number)])
        for number, (table, name) in enumerate(zip(tables, short, strict=True))
    }


def runs_of(table: Table) -> list[Entry]:
    """All seeds of all places, in their order."""
    return [entry for place in table.places for entry in place.row.runs]


def _is_packable(table: Table) -> bool:
    identity = table.first.manifest["identity"]
    return identity["label_kind"] != LabelKind.MULTILABEL and len(identity["labels"]) <= len(ALPHABET)


def common_limit(sizes: Sequence[tuple[int, int]], limit: int) -> int:
    """The most rows that each of (rows, strings) may keep so that all strings together have at most `limit` characters."""
    most = max((n for n, _ in sizes), default=0)
    return bisect_right(range(1, most + 1), limit, key=lambda kept: sum(min(n, kept) * strings for n, strings in sizes))


def limit_of_ids(sizes: Sequence[Sequence[int]], limit: int) -> int:
    """The same for ids, whose lengths differ: bytes of each id of each set."""
    totals = [[0, *accumulate(found)] for found in sizes]
    most = max(map(len, sizes), default=0)
    return bisect_right(range(1, most + 1), limit, key=lambda kept: sum(total[: kept + 1][-1] for total in totals))


def _read(store: Store, tables: Sequence[Table], limit: int) -> Iterator[tuple[Group, _Rows]]:
    import pyarrow as pa

    schema = pa.schema({"id": pa.string(), "truth": pa.int64(), "label": pa.int64()})  # the label is null where none was read
    paths = [store.root / entry.run_id / "predictions.jsonl" for table in tables for entry in runs_of(table)]
    read = zip(paths, read_tables(paths, schema), strict=True)
    for table in tables:
        entries = runs_of(table)
        yield table.group, _rows(entries, list(islice(read, len(entries))), limit)


def _rows(entries: Sequence[Entry], read: Sequence[tuple[Path, Any]], limit: int) -> _Rows:
    """From the tables of all runs on the same rows, each with its path."""
    k, n = len(entries[0].manifest["identity"]["labels"]), entries[0].metrics["n"]
    path, first = next(found for entry, found in zip(entries, read, strict=True) if entry.among is None)
    names = first["id"].to_pylist()
    if len(set(names)) < len(names) or None in names:
        raise not_its_rows(path)
    order = _by_hash(names, limit)
    rows = _Rows([names[i] for i in order], _letters(numbers(first["truth"], missing=-1), k, path, least=0)[order], {}, n)
    for entry, (path, found) in zip(entries, read, strict=True):
        if len(found) != (entry.tested_on or n):
            raise not_its_rows(path)
        here = order if found["id"].equals(first["id"]) else _places(found["id"].to_pylist(), rows.ids, path)
        rows.answers[entry.key] = _letters(numbers(found["label"], missing=-1), k, path, least=-1)[here]
    return rows


def _by_hash(names: Sequence[str], limit: int) -> IntArray:
    """Positions of the first `limit` ids in the order of their hashes."""
    hashes = [hashlib.sha256(name.encode(errors="backslashreplace")).digest() for name in names]
    return np.array(sorted(range(len(names)), key=lambda place: hashes[place])[:limit], dtype=np.int64)


def _places(names: Sequence[str], wanted: Sequence[str], path: Path) -> IntArray:
    there = {name: place for place, name in enumerate(names)}
    found = [there.get(name, -1) for name in wanted]
    if -1 in found:
        raise not_its_rows(path)
    return np.array(found, dtype=np.int64)


def _letters(values: IntArray, k: int, path: Path, least: int) -> Bytes:
    """One character for each label index; -1 is no answer."""
    if len(values) and (values.min() < least or values.max() >= k):
        raise RunError(f"{path} holds a label that is none of the {k}.", "`bench run --force` makes it anew.")
    return np.asarray(_LETTERS[np.where(values < 0, len(ALPHABET), values)])
