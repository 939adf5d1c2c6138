"""Texts that differ in one place: what comes before it and what comes after it is most of both.

One changed word of a short text changes most of its trigrams, above all where words are short (Chinese). So such pairs have
their own search. Two texts share K characters at their beginnings and ends. For some `first`, they then have the same first
`first` characters, and the same last K - `first`. Hashes of both parts together are the keys of an ordinary join, so that the
time grows with the number of texts, not with that of pairs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Places = NDArray[np.int64]

KEPT, OF = 3, 4
"""At least 3 in 4 characters of the longer text are outside the place."""

LEAST, WIDE = 20, 3
"""Outside the place are at least 20 characters; a wide one (Chinese, Japanese, Korean, emoji) counts as 3."""

MOST_TRIED = 200
"""Texts with the same key that a text is compared with, at most: a bound for thousands of texts made from one template."""

_PARTS = 8  # keys of a text at each level: how finely the place is known
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_CHARACTERS = 1 << 20  # that are hashed at once
_WIDE = re.compile(
    "[\u1100-\u115f\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U0001f300-\U0001faff\U00020000-\U0003ffff]"
)


def differ_in_one_place(queries: Sequence[str], index: Sequence[str]) -> dict[int, tuple[int, float]]:
    """Query -> another text of `index` that differs from it in one place, and their similarity. Positions in both.

    Both hold distinct texts; one that is in both is not its own duplicate.
    """
    asked, asked_keys = _keys(queries)
    known, known_keys = _keys(index)
    order = np.lexsort((known, known_keys))
    known, known_keys = known[order], known_keys[order]
    low = np.searchsorted(known_keys, asked_keys, side="left")
    count = np.searchsorted(known_keys, asked_keys, side="right") - low
    places = {text: place for place, text in enumerate(index)}
    itself = np.array([places.get(text, -1) for text in queries], dtype=np.int64)
    done = np.zeros(len(queries), dtype=bool)
    found: dict[int, tuple[int, float]] = {}
    left = np.flatnonzero(count > (itself[asked] >= 0))  # its own key, too, is in the index
    for step in range(MOST_TRIED):
        left = left[(count[left] > step) & ~done[asked[left]]]
        if not len(left):
            break
        pairs = np.unique(np.stack([asked[left], known[low[left] + step]]), axis=1)
        for query, other in zip(*pairs[:, pairs[1] != itself[pairs[0]]].tolist(), strict=True):
            similarity = one_place_similarity(queries[query], index[other])
            if similarity and (query not in found or similarity > found[query][1]):
                found[query] = other, similarity
                done[query] = True
    return found


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


def _keys(texts: Sequence[str]) -> tuple[Places, Words]:
    """Position of a text, and a key of it: for each of its keys."""
    rows, keys = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)]
    for start, chunk in _chunks(texts):
        for some, key in _keys_of(chunk):
            rows.append(some + start)
            keys.append(key)
    return np.concatenate(rows), np.concatenate(keys)


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    start, total = 0, 0
    for stop, text in enumerate(texts, start=1):
        total += len(text)
        if total >= _CHARACTERS or stop == len(texts):
            yield start, list(texts[start:stop])
            start, total = stop, 0


def _keys_of(texts: list[str]) -> Iterator[tuple[Places, Words]]:
    """The level of a pair is the largest that the shorter text reaches; a text has the keys of each level that it may need."""
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    power, inverse = _powers(_BASE, len(points) + 1), _powers(pow(_BASE, -1, 1 << 64), len(points) + 1)
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(_mixed(points) * power[:-1], dtype=np.uint64)])
    size = np.array([len(text) for text in texts])
    end = np.cumsum(size)
    for level in _levels(int(size.max())):
        # The shorter text has KEPT / OF of the longer one's length, and 4 in 5 of that are above the level below.
        rows = np.flatnonzero((level <= size) & (5 * OF * level > 4 * KEPT * size - 5 * OF))
        if not len(rows):
            continue
        begins, ends = (end - size)[rows], end[rows]
        shared, step = -(-KEPT * level // OF), max(1, level // _PARTS)
        for first in range(0, shared + 1, step):
            last = max(0, shared - (step - 1) - first)
            head = (sums[begins + first] - sums[begins]) * inverse[begins]
            tail = (sums[ends] - sums[ends - last]) * inverse[ends - last]
            place = _mixed(np.full(1, level * 1_000_003 + first, dtype=np.uint64))
            yield rows, _mixed(_mixed(head + place) ^ tail)


def _powers(base: int, count: int) -> Words:
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)


def _mixed(numbers: Words) -> Words:
    """Numbers without a pattern (the finalizer of SplitMix64; Steele, Lea, Flood, OOPSLA 2014)."""
    mixed = numbers + np.uint64(_BASE)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
