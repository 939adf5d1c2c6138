"""Texts that differ in one place: what comes before it and what comes after it is most of both.

One changed word of a short text changes most of its trigrams, above all where words are short (Chinese). So such pairs have
their own search. Two texts share K characters at their beginnings and ends. For some `first`, they then have the same first
`first` characters, and the same last K - `first`. Hashes of both parts together are the keys of an ordinary join, so that the
time grows with the number of texts, not with that of pairs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from harness.data.joins import SPREAD, Places, Words, chunks, code_points, lengths, mixed, same_keys

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


def differ_in_one_place(
    queries: Sequence[str], index: Sequence[str], itself: Places, done: NDArray[np.bool_]
) -> dict[int, tuple[int, float]]:
    """Query -> another text of `index` that differs from it in one place, and their similarity. Positions in both.

    `itself`: the position of each query in `index`, or -1. `done`, shape of `queries`: what is not asked for. The keys of one
    level (see `_of_level`) are joined by themselves, so that only these are in memory.
    """
    asked_size, known_size = lengths(queries), lengths(index)
    done = done.copy()
    found: dict[int, tuple[int, float]] = {}
    for level in _levels(int(max(asked_size.max(initial=0), known_size.max(initial=0)))):
        asked, known = (_of_level(level, size) for size in (asked_size, known_size))
        asked = asked[~done[asked]]
        if not len(asked) or not len(known):
            continue
        places = np.full(len(index) + 1, -1)  # the last one is what -1 finds
        places[known] = np.arange(len(known))
        known_keys = _keys(index, known, level)
        same = queries is index and len(asked) == len(known)
        asked_keys = known_keys if same else _keys(queries, asked, level)
        closed = np.zeros(len(asked), dtype=bool)
        for of_asked, of_known in zip(asked_keys, known_keys, strict=True):
            for left, right in same_keys(of_asked, of_known, places[itself[asked]], closed):
                for query, place, other in zip(asked[left].tolist(), left.tolist(), known[right].tolist(), strict=True):
                    similarity = one_place_similarity(queries[query], index[other])
                    if similarity:
                        found[query] = other, similarity
                        closed[place] = True
        done[asked[closed]] = True
    return found


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
