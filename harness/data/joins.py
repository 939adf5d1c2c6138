"""An ordinary join of texts by hashes: pairs that have the same key, a bounded number for each text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Places = NDArray[np.int64]
Heard = Callable[[int, int], None]
"""Hears how many steps of a search are done, and how many there are."""

MOST_TRIED = 200
"""Texts that a text is compared with in a search, at most: a bound for thousands of texts made from one template."""

SPREAD = 0x9E3779B97F4A7C15
"""Odd, so that it has an inverse modulo 2^64."""


def same_keys(asked: Words, known: Words, itself: Places, done: NDArray[np.bool_]) -> Iterator[tuple[Places, Places]]:
    """Pairs of positions in `asked` and `known` whose keys are equal, each text of `asked` at most once in a part.

    `itself`: the position of the same text in `known`, or -1; it is no pair. `done`, shape of `asked`: what needs no more
    pairs; the caller may set more of it between two parts.
    """
    order = np.argsort(known, kind="stable")  # stable, so that every machine finds the same pairs
    ordered = known[order]
    left = np.flatnonzero(~done)
    if len(known) > 1 and (itself >= 0).all():
        # Of a text that is in `known` itself, a key that stands there once is its own.
        twice = np.zeros(len(known), dtype=bool)
        twice[order[1:]] = ordered[1:] == ordered[:-1]
        twice[order[:-1]] |= ordered[1:] == ordered[:-1]
        left = left[twice[itself[left]]]
    low = np.searchsorted(ordered, asked[left])
    met = ordered[np.minimum(low, len(ordered) - 1)] == asked[left]
    left, low = left[met], low[met]
    count = np.searchsorted(ordered, asked[left], side="right") - low
    for step in range(MOST_TRIED):
        some = (count > step) & ~done[left]
        left, low, count = left[some], low[some], count[some]
        if not len(left):
            return
        other = order[low + step]
        pairs = other != itself[left]
        yield left[pairs], other[pairs]


def mixed(numbers: Words) -> Words:
    """Numbers without a pattern (the finalizer of SplitMix64; Steele, Lea, Flood, OOPSLA 2014)."""
    found = numbers + np.uint64(SPREAD)
    found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return found ^ (found >> np.uint64(31))


def code_points(texts: Sequence[str]) -> NDArray[np.uint32]:
    """Of all texts one after the other."""
    return np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def lengths(texts: Sequence[str]) -> Places:
    """The number of characters of each text."""
    return np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))


def chunks(texts: Sequence[str], characters: int, most: int | None = None) -> Iterator[tuple[int, Sequence[str]]]:
    """Neighbours together, at least `characters` long if there are so many, at most `most` texts; with the first's position."""
    ends = np.cumsum(lengths(texts))
    start = before = 0
    while start < len(texts):
        stop = int(np.searchsorted(ends, before + characters)) + 1
        stop = min(stop, len(texts), len(texts) if most is None else start + most)
        yield start, texts[start:stop]
        start, before = stop, int(ends[stop - 1])
