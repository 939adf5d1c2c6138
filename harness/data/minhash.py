"""Candidates for texts with many common trigrams, in a time that grows with the number of texts: banded MinHash.

The least of the hashed trigrams of two texts is the same with a probability equal to their Jaccard similarity (Broder 1997).
`BANDS` times `ROWS` such minima are taken; the minima of a band are one key, and texts that have a key in common are candidates
(Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, section 3.4). Of pairs with the similarity 0.8 a share of
1 - (1 - 0.8^5)^8 = 95.8% are candidates, at 0.85 99.0%, at 0.9 99.9%. What is no near duplicate is left out by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.joins import Heard, Places, Words, chunks, code_points, lengths, mixed, same_keys

BANDS, ROWS = 8, 5
LEAST_EQUAL = 22
"""Of the 40 minima, at a candidate: at a similarity of 0.8 fewer are equal in 0.02% of pairs, at 0.3 more in 0.2%."""

_CHARACTERS = 1 << 16  # that are hashed at once: they stay in the processor's cache
_FACTORS = mixed(np.arange(1, 1 + BANDS * ROWS, dtype=np.uint64)).astype(np.uint32) | np.uint32(1)
_SHIFTS = mixed(np.arange(1001, 1001 + BANDS * ROWS, dtype=np.uint64)).astype(np.uint32)


@dataclass(frozen=True, slots=True)
class Signatures:
    """`keys`, shape (BANDS, texts): of the minima of each band. `minima`, shape (texts, BANDS * ROWS): a byte of each."""

    keys: Words
    minima: NDArray[np.uint8]


def signatures(texts: Sequence[str], shingle: int) -> Signatures:
    """Of the `shingle` characters in a row of each text; one that is too short is filled up."""
    keys = np.empty((BANDS, len(texts)), dtype=np.uint64)
    minima = np.empty((len(texts), BANDS * ROWS), dtype=np.uint8)
    for start, some in chunks(texts, _CHARACTERS):
        place = slice(start, start + len(some))
        least = _minima([text.ljust(shingle, "\0") for text in some], shingle)
        minima[place] = least.T.astype(np.uint8)
        for band in range(BANDS):
            key = np.full(len(some), band, dtype=np.uint64)
            for row in range(ROWS):
                key = mixed(key ^ least[band * ROWS + row])
            keys[band, place] = key
    return Signatures(keys, minima)


def _minima(texts: Sequence[str], shingle: int) -> NDArray[np.uint32]:
    """Shape (hashes, texts)."""
    points = code_points(texts).astype(np.uint64)
    codes = points[: len(points) - shingle + 1].copy()
    for step in range(1, shingle):
        codes = (codes << np.uint64(21)) | points[step : len(points) - shingle + 1 + step]
    hashed = (mixed(codes) >> np.uint64(32)).astype(np.uint32)
    size = lengths(texts)
    begins = np.cumsum(size) - size
    # What begins in a text and ends in the next one is no shingle of either.
    bounds = np.stack([begins, begins + size - shingle + 1], axis=1).reshape(-1)[:-1]
    found = np.empty((len(_FACTORS), len(texts)), dtype=np.uint32)
    for number, (factor, shift) in enumerate(zip(_FACTORS, _SHIFTS, strict=True)):
        found[number] = np.minimum.reduceat((hashed ^ shift) * factor, bounds)[::2]
    return found


def candidates(
    asked: Signatures, known: Signatures, itself: Places, done: NDArray[np.bool_], heard: Heard
) -> Iterator[tuple[Places, Places]]:
    """Pairs of positions that are probably similar; see `same_keys` for the parameters. `heard` hears of the bands."""
    for band in range(BANDS):
        heard(band, BANDS)
        for left, right in same_keys(asked.keys[band], known.keys[band], itself, done):
            likely = _equal(asked.minima, known.minima, left, right) >= LEAST_EQUAL
            yield left[likely], right[likely]


def _equal(asked: NDArray[np.uint8], known: NDArray[np.uint8], left: Places, right: Places, at_once: int = 100_000) -> Places:
    """How many minima are equal."""
    parts = [
        (asked[left[start : start + at_once]] == known[right[start : start + at_once]]).sum(axis=1)
        for start in range(0, len(left), at_once)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
