"""Texts that differ in one place: what comes before it and what comes after it is most of both.

One changed word of a short text changes most of its trigrams, above all where words are short (Chinese). So such pairs have
their own search. Two texts share K characters at their beginnings and ends. For some `first`, they then have the same first
`first` characters, and the same last K - `first`. Hashes of both parts together are the keys of an ordinary join, so that the
time grows with the number of texts, not with that of pairs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from harness.data.joins import MOST_TRIED, SPREAD, Heard, Places, Words, chunks, code_points, lengths, mixed, same_keys

KEPT, OF = 3, 4
"""At least 3 in 4 characters of the longer text are outside the place."""

LEAST, WIDE = 20, 3
"""Outside the place are at least 20 characters; a wide one (Chinese, Japanese, Korean, emoji) counts as 3."""

_INVERSE = pow(SPREAD, -1, 1 << 64)
_PARTS = 8  # keys of a text at each level: how finely the place is known
_CHARACTERS = 1 << 16  # that are hashed at once: they stay in the processor's cache
_WIDE = re.compile(
    "[\u1100-\u115f\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U0001f300-\U0001faff\U00020000-\U0003ffff]"
)


@dataclass(frozen=True)
class Search:
    """Among which texts those like some queries are looked for. `itself`: the position of each query in `index`, or -1. `done`,
    shape of the queries: what is not asked for."""

    index: Sequence[str]
    itself: Places
    done: NDArray[np.bool_]


def differ_in_one_place(queries: Sequence[str], searches: Sequence[Search], heard: Heard) -> list[dict[int, tuple[int, float]]]:
    """Of each search: query -> another text of its index that differs from it in one place, and their similarity. Positions in
    both.

    The keys of one level (see `_of_level`) are joined by themselves, so that only these are in memory; those of the queries
    are made once for all searches. `heard` hears of the levels.
    """
    asked_size, sizes = lengths(queries), [lengths(search.index) for search in searches]
    done = [search.done.copy() for search in searches]
    tried = [np.zeros(len(queries), dtype=np.int32) for _ in searches]
    found: list[dict[int, tuple[int, float]]] = [{} for _ in searches]
    levels = _levels(int(max([asked_size.max(initial=0), *(size.max(initial=0) for size in sizes)])))
    for number, level in enumerate(levels):
        heard(number, len(levels))
        asked = _of_level(level, asked_size)
        if not len(asked):
            continue
        asked_keys = _keys(queries, asked, level)
        for search, size, closed, count, twins in zip(searches, sizes, done, tried, found, strict=True):
            known = asked if search.index is queries else _of_level(level, size)
            if len(known):
                known_keys = asked_keys if search.index is queries else _keys(search.index, known, level)
                _join(queries, search, (asked, asked_keys), (known, known_keys), closed, count, twins)
    return found


def _join(
    queries: Sequence[str],
    search: Search,
    asked: tuple[Places, Words],
    known: tuple[Places, Words],
    done: NDArray[np.bool_],
    tried: NDArray[np.int32],
    found: dict[int, tuple[int, float]],
) -> None:
    """Pairs of one level; `asked` and `known`: positions and their keys. Fills `found`, and `done` where a text is found, or
    was compared with `MOST_TRIED` others, which `tried` counts: texts of one template share most of their keys."""
    (rows, keys), (known_rows, known_keys) = asked, known
    places = np.full(len(search.index) + 1, -1)  # the last one is what -1 finds
    places[known_rows] = np.arange(len(known_rows))
    itself, closed = places[search.itself[rows]], done[rows]
    for of_asked, of_known in zip(keys, known_keys, strict=True):
        for left, right in same_keys(of_asked, of_known, itself, closed):
            for query, place, other in zip(rows[left].tolist(), left.tolist(), known_rows[right].tolist(), strict=True):
                similarity = one_place_similarity(queries[query], search.index[other])
                if similarity:
                    found[query] = other, similarity
                    closed[place] = True
            tried[rows[left]] += 1
            closed[left[tried[rows[left]] >= MOST_TRIED]] = True
    done[rows[closed]] = True


def _of_level(level: int, size: Places) -> Places:
    """The texts that have keys of this level. That of a pair is the largest that the shorter text reaches; the shorter one has
    KEPT / OF of the longer one's length, and 4 in 5 of that are above the level below."""
    return np.flatnonzero((level <= size) & (5 * OF * level > 4 * KEPT * size - 5 * OF))


def one_place_similarity(left: str, right: str) -> float:
    """The share of the longer text outside the place where they differ; 0 if the two are not near."""
    longer = max(len(left), len(right))
    begin = _common(left, right)
    kept = begin + _common(left[begin:][::-1], right[begin:][::-1])
    if OF * kept < KEPT * longer or not kept:
        return 0.0
    same = left[:begin] + left[len(left) - kept + begin :]
    if kept + (WIDE - 1) * len(_WIDE.findall(same)) < LEAST:
        return 0.0
    return kept / longer


def _common(left: str, right: str) -> int:
    """Length of the common beginning, by bisection."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _levels(longest: int) -> list[int]:
    """Lengths, each at most a quarter more than the one before it, or one more."""
    found = [-(-LEAST // WIDE)]
    while found[-1] < longest:
        found.append(max(found[-1] + 1, found[-1] * 5 // 4))
    return found


def _keys(texts: Sequence[str], rows: Places, level: int) -> Words:
    """The keys of some texts at a level, shape (places, rows)."""
    shared, step = -(-KEPT * level // OF), max(1, level // _PARTS)
    ends = [(first, max(0, shared - (step - 1) - first)) for first in range(0, shared + 1, step)]
    keys = np.empty((len(ends), len(rows)), dtype=np.uint64)
    for start, some in chunks([texts[row] for row in rows.tolist()], _CHARACTERS):
        keys[:, start : start + len(some)] = np.stack(list(_keys_of(some, level, ends)))
    return keys


def _keys_of(texts: Sequence[str], level: int, parts: Sequence[tuple[int, int]]) -> Iterator[Words]:
    """A key for each of `parts`: of how many characters at the beginning, and how many at the end."""
    points = code_points(texts).astype(np.uint64)
    power, inverse = _powers(SPREAD, len(points) + 1), _powers(_INVERSE, len(points) + 1)
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(mixed(points) * power[: len(points)], dtype=np.uint64)])
    size = lengths(texts)
    ends = np.cumsum(size)
    begins = ends - size
    for first, last in parts:
        head = (sums[begins + first] - sums[begins]) * inverse[begins]
        tail = (sums[ends] - sums[ends - last]) * inverse[ends - last]
        place = mixed(np.full(1, level * 1_000_003 + first, dtype=np.uint64))
        yield mixed(mixed(head + place) ^ tail)


def _powers(base: int, count: int) -> Words:
    """At least `count`, from 1 on."""
    return _so_many_powers(base, max(2 * _CHARACTERS, 1 << count.bit_length()))


@lru_cache(4)
def _so_many_powers(base: int, count: int) -> Words:
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)
