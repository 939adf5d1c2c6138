"""The answers of all runs in one character each, so that a page can show where two runs differ, and the test of each two.

All of it together stays within a budget. Beyond that, every set of rows keeps only its first M rows in the order of a hash of
their ids: the same rows for all runs, and the same choice each time. Tests are of all rows; of many runs only the first M, in
the order of the ranks, are tested against each other.
"""

from __future__ import annotations

import hashlib
import json
import string
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis.ranks import not_its_rows, numbers
from harness.core.arrays import BoolArray, IntArray
from harness.core.errors import RunError
from harness.core.types import LabelKind
from harness.records.entries import Entry, Group
from harness.records.predictions import read_tables
from harness.records.store import Store
from harness.reports.page.model import PairTests, RowSet
from harness.reports.tables import Table
from harness.statistics.families import LEVEL
from harness.statistics.paired import sign_tests

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
NONE = "-"
"""No parsed answer."""
ANSWERS_LIMIT = 1_000_000
IDS_LIMIT = 300_000
"""Bytes of all answers together (with the true labels), and of all ids together, as JSON."""
PAIRS_LIMIT = 50_000
"""Pairs of runs with a test, of all sets of rows together: about 250 kB."""
_LETTERS = np.frombuffer((ALPHABET + NONE).encode(), dtype=np.uint8)

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Packed:
    """`row_sets`: the key of each group's rows in `rows` (which lacks those without packed answers). `answers`: by the key of
    the entry."""

    row_sets: dict[Group, str]
    rows: dict[str, RowSet] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Rows:
    """The rows of a group that are kept, in the order of the hash; `n`: how many there were."""

    ids: list[str]
    truth: Bytes
    answers: dict[str, Bytes]
    n: int
    tests: PairTests


def pack(
    store: Store,
    tables: Sequence[Table],
    answers_limit: int = ANSWERS_LIMIT,
    ids_limit: int = IDS_LIMIT,
    pairs_limit: int = PAIRS_LIMIT,
) -> Packed:
    """Read every prediction file once. Raises `RunError` for one that is damaged or does not hold the rows of its run."""
    packed = Packed(_names(tables))
    fitting = [table for table in tables if _is_packable(table)]
    limit = common_limit([(table.first.record.metrics.n, len(runs_of(table)) + 1) for table in fitting], answers_limit)
    kept = dict(_read(store, fitting, limit, limit_of_pairs([len(runs_of(table)) for table in fitting], pairs_limit)))
    sizes = [
        [len(json.dumps(name, ensure_ascii=False).encode(errors="replace")) + 1 for name in rows.ids] for rows in kept.values()
    ]
    limit = min(limit, limit_of_ids(sizes, ids_limit))
    for group, rows in kept.items():
        order = sorted(range(min(limit, len(rows.ids))), key=lambda place: rows.ids[place])
        packed.rows[packed.row_sets[group]] = RowSet(
            ids=[rows.ids[place] for place in order],
            truth=_text(rows.truth, order),
            sampled=limit if limit < rows.n else None,
            tests=rows.tests,
        )
        packed.answers.update({key: _text(letters, order) for key, letters in rows.answers.items()})
    return packed


def _text(letters: Bytes, order: Sequence[int]) -> str:
    return letters[np.array(order, dtype=np.int64)].tobytes().decode("ascii")


def _names(tables: Sequence[Table]) -> dict[Group, str]:
    """The first eight digits of the rows, as everywhere; with a number where two groups share these."""
    short = [table.group[3][:8] for table in tables]
    return {
        table.group: name if short.count(name) == 1 else f"{name}-{number}"
        for number, (table, name) in enumerate(zip(tables, short, strict=True))
    }


def runs_of(table: Table) -> list[Entry]:
    """All seeds of all places, in their order."""
    return [entry for place in table.places for entry in place.row.runs]


def _is_packable(table: Table) -> bool:
    identity = table.first.record.identity
    return identity.label_kind != LabelKind.MULTILABEL and len(identity.labels) <= len(ALPHABET)


def _largest(most: int, limit: int, total: Callable[[int], int]) -> int:
    """The largest number up to `most` whose `total`, which grows with it, is at most `limit`."""
    return bisect_right(range(1, most + 1), limit, key=total)


def common_limit(sizes: Sequence[tuple[int, int]], limit: int) -> int:
    """The most rows that each of (rows, strings) may keep so that all strings together have at most `limit` characters."""
    most = max((n for n, _ in sizes), default=0)
    return _largest(most, limit, lambda kept: sum(min(n, kept) * strings for n, strings in sizes))


def limit_of_ids(sizes: Sequence[Sequence[int]], limit: int) -> int:
    """The same for ids, whose lengths differ: bytes of each id of each set."""
    totals = [[0, *accumulate(found)] for found in sizes]
    return _largest(max(map(len, sizes), default=0), limit, lambda kept: sum(total[: kept + 1][-1] for total in totals))


def limit_of_pairs(runs: Sequence[int], limit: int) -> int:
    """The most runs of each set that may be tested against each other, so that there are at most `limit` pairs."""

    def pairs(kept: int) -> int:
        return sum(min(many, kept) * (min(many, kept) - 1) // 2 for many in runs)

    return _largest(max(runs, default=0), limit, pairs)


def _read(store: Store, tables: Sequence[Table], limit: int, tested: int) -> Iterator[tuple[Group, _Rows]]:
    import pyarrow as pa

    schema = pa.schema({"id": pa.string(), "truth": pa.int64(), "label": pa.int64()})  # the label is null where none was parsed
    paths = [store.root / entry.run_id / "predictions.jsonl" for table in tables for entry in runs_of(table)]
    read = zip(paths, read_tables(paths, schema), strict=True)
    for table in tables:
        entries = runs_of(table)
        yield table.group, _rows(entries, list(islice(read, len(entries))), limit, tested)


def _rows(entries: Sequence[Entry], read: Sequence[tuple[Path, Any]], limit: int, tested: int) -> _Rows:
    """From the tables of all runs on the same rows, each with its path."""
    k, n = len(entries[0].record.identity.labels), entries[0].record.metrics.n
    path, first = next(found for entry, found in zip(entries, read, strict=True) if entry.among is None)
    names = first["id"].to_pylist()
    if len(set(names)) < len(names) or None in names:
        raise not_its_rows(path)
    truth = _letters(numbers(first["truth"], missing=-1), k, path, least=0)
    kept = _by_hash(names, limit)
    answers: dict[str, Bytes] = {}
    correct: list[BoolArray] = []
    for entry, (path, found) in zip(entries, read, strict=True):
        if len(found) != (entry.tested_on or n):
            raise not_its_rows(path)
        letters = _letters(numbers(found["label"], missing=-1), k, path, least=-1)
        if not found["id"].equals(first["id"]):
            letters = letters[_places(found["id"].to_pylist(), names, path)]
        answers[entry.key] = letters[kept]
        if len(correct) < tested:
            correct.append(letters == truth)
    tests = pair_tests([entry.key for entry in entries[:tested]], correct)
    return _Rows([names[i] for i in kept], truth[kept], answers, n, tests)


def pair_tests(runs: Sequence[str], correct: Sequence[BoolArray]) -> PairTests:
    right = np.array(correct, dtype=bool)
    alone = [((own & ~right[i + 1 :]).sum(axis=1), (right[i + 1 :] & ~own).sum(axis=1)) for i, own in enumerate(right)]
    a, b = np.hstack([np.zeros((2, 0), dtype=np.int64), *alone])
    p = sign_tests(a, b)
    better = np.where(p > LEVEL, "=", np.where(a > b, "A", "B"))
    thousandths = np.where(p < 0.001, 0, np.round(1000 * p)).astype(int)
    return PairTests(runs=list(runs), p=thousandths.tolist(), better="".join(better.tolist()))


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
        raise RunError(f"{path} holds a label that is none of the {k}.", "Re-run it with `bench run --force`.")
    return np.asarray(_LETTERS[np.where(values < 0, len(ALPHABET), values)])
