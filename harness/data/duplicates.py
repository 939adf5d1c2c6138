"""Texts that stand twice: the same after normalization, or nearly.

Near duplicates are the same but for punctuation, or differ in one place (`one_place`), or have a Jaccard similarity of their
character trigrams of at least 0.8. The last ones are found by a set-similarity join with an adaptive prefix filter
(Chaudhuri et al., ICDE 2006; Wang, Li, Feng, SIGMOD 2012). Order all trigrams, rare ones first. If two sets share so many that
they are similar, then the first few of one and the first few of the other share some: `ENOUGH`, or all that they share. So only
beginnings are compared, in one product of sparse matrices, and what is left over is verified.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.core.progress_events import tell
from harness.data import one_place
from harness.data.one_place import differ_in_one_place

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Indices = NDArray[np.int64]

SHINGLE = 3
"""Characters in a row: enough for words in Latin letters, not too many for a word in Chinese or Japanese."""

SIMILAR, OF = 4, 5
"""At least 4 in 5 of the trigrams that either has are in both. Whole numbers, so that no rounding decides."""

THRESHOLD = min(SIMILAR / OF, one_place.KEPT / one_place.OF)
"""The least similarity of near duplicates: share of common trigrams, or of the text outside the place where two differ."""

ENOUGH = 16
"""Trigrams that the beginnings must share. A larger number compares longer beginnings, and leaves fewer pairs to verify."""

CELLS = 4_000_000
"""Pairs of texts that are compared at once, at most: a bound on the memory."""

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Default_Ignorable_Code_Point of Unicode 15 (DerivedCoreProperties.txt)."""

_UNSPACED = "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
"""Thai, Lao, Myanmar, Khmer, Han, Kana, Bopomofo."""

_SPACE_BESIDE_UNSPACED = re.compile(f"(?<={_UNSPACED}) | (?={_UNSPACED})")


@dataclass(frozen=True, slots=True)
class Duplicate:
    """`row` and `other` are positions. The `similarity` of an exact duplicate is 1; of a near one it may be, too (`ha ha`)."""

    row: int
    other: int
    exact: bool
    similarity: float


def normalized(text: str) -> str:
    """Without what makes no difference to a reader: case, forms of width and composition (NFKC), kinds of white space,
    invisible characters (zero-width ones, soft hyphens, variation selectors, marks of direction).

    Unicode's NFKC_Casefold (standard, 3.13, D147), and white space made one space.
    """
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFD", _INVISIBLE.sub("", text)).casefold()
    folded = unicodedata.normalize("NFKC", folded).casefold()  # NFKC can bring forth capitals, as in ℡
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFKC", folded)).split())


def unpunctuated(text: str) -> str:
    """`normalized`, without punctuation, and without spaces beside letters of scripts that have none between words.

    A text of punctuation alone keeps it: `:)` is not `:(`.
    """
    kept = normalized(text)
    bare = " ".join(kept.translate(_punctuation()).split())
    return (bare if bare.isascii() else _SPACE_BESIDE_UNSPACED.sub("", bare)) or kept


@cache
def _punctuation() -> dict[int, str]:
    """Punctuation becomes a space, as it may be all that stands between two words; an apostrophe is inside a word."""
    signs = {point: " " for point in range(0x110000) if unicodedata.category(chr(point)).startswith("P")}
    return {**signs, **dict.fromkeys(map(ord, "'\u2018\u2019\u02bc"), "")}


def find_duplicates(texts: Sequence[str], others: Sequence[str] | None = None, *, near: bool = True) -> list[Duplicate]:
    """One duplicate of each of `texts` that has any among `others`, by default the remaining texts, in order.

    The first exact one; if there is none a near one, unless `near` is False.
    """
    rows = [normalized(text) for text in texts]
    pool = rows if others is None else [normalized(text) for text in others]
    exact = _same(rows, pool, itself=others is None)
    found = {row: Duplicate(row, other, True, 1.0) for row, other in exact.items()}
    if near:
        bare = [unpunctuated(text) for text in texts]
        bare_pool = bare if others is None else [unpunctuated(text) for text in others]
        for row, other in _same(bare, bare_pool, itself=others is None).items():
            found.setdefault(row, Duplicate(row, other, False, 1.0))
        asked = [row for row in range(len(rows)) if row not in found]
        places = {text: place for place, text in reversed(list(enumerate(bare_pool)))}
        similar = _similar(list(dict.fromkeys(bare[row] for row in asked)), list(places))
        for row in asked:
            if bare[row] in similar:
                other_text, similarity = similar[bare[row]]
                found[row] = Duplicate(row, places[other_text], False, similarity)
    return [found[row] for row in sorted(found)]


def _same(rows: Sequence[str], pool: Sequence[str], *, itself: bool) -> dict[int, int]:
    """Row -> the first of `pool` with its text; where they are the same rows (`itself`) another one."""
    first: dict[str, int] = {}
    second: dict[str, int] = {}
    for position, text in enumerate(pool):
        (second if text in first else first).setdefault(text, position)
    if not itself:
        return {row: first[text] for row, text in enumerate(rows) if text in first}
    return {row: second[text] if first[text] == row else first[text] for row, text in enumerate(rows) if text in second}


def _similar(queries: list[str], index: list[str]) -> dict[str, tuple[str, float]]:
    """Query -> a near duplicate in `index` other than itself, and their similarity. Both hold distinct texts."""
    if not queries or not index:
        return {}
    found = {
        queries[query]: (index[other], similarity) for query, (other, similarity) in differ_in_one_place(queries, index).items()
    }
    left = [query for query in queries if query not in found]
    return {**found, **(_near(left, index) if left else {})}


def counted(found: Sequence[Duplicate]) -> dict[str, int]:
    """How many rows have an exact duplicate, and how many a near one."""
    kinds = Counter(duplicate.exact for duplicate in found)
    return {"exact": kinds[True], "near": kinds[False]}


@dataclass(frozen=True, slots=True)
class _Sets:
    """Trigrams of texts: `size` counts them, `all` (texts x vocabulary) holds the known ones, `begin` those in the prefix."""

    size: Indices
    all: csr_array
    begin: csr_array


def _near(queries: list[str], index: list[str]) -> dict[str, tuple[str, float]]:
    """Query -> a near duplicate in `index` other than itself, and their similarity. Both hold distinct normalized texts."""
    letters = _alphabet(queries, index)
    query_size, query_rows, query_codes = _shingles(queries, letters, None)
    vocabulary, occurrences = np.unique(query_codes, return_counts=True)
    rank = np.empty(len(vocabulary), dtype=np.int64)
    rank[np.argsort(occurrences, kind="stable")] = np.arange(len(vocabulary))
    asked = _sets(query_size, query_rows, rank[np.searchsorted(vocabulary, query_codes)], len(vocabulary))
    size, rows, codes = _shingles(index, letters, vocabulary)
    known = _sets(size, rows, rank[np.searchsorted(vocabulary, codes)], len(vocabulary))
    places = {text: place for place, text in enumerate(index)}
    itself = np.array([places.get(query, -1) for query in queries])
    return {queries[query]: (index[other], similarity) for query, other, similarity in _pairs(asked, known, itself)}


def _alphabet(*parts: list[str]) -> NDArray[np.int64]:
    """Code point -> a small number, from 0 on: trigrams of few letters make small numbers, which are sorted fast."""
    seen = np.zeros(0x110000, dtype=bool)
    for part in parts:
        for texts in _chunks(part, most=len(part)):
            seen[_code_points(texts)] = True
    return np.cumsum(seen) - 1


def _chunks(texts: list[str], most: int, characters: int = 1 << 20) -> Iterator[list[str]]:
    """Neighbours together, about a million characters at a time, at most `most` texts."""
    start, total = 0, 0
    for stop, text in enumerate(texts, start=1):
        total += len(text)
        if total >= characters or stop == len(texts) or stop - start == most:
            yield texts[start:stop]
            start, total = stop, 0


def _code_points(texts: list[str]) -> NDArray[np.uint32]:
    """Of all texts one after the other; one too short for a trigram is filled up."""
    joined = "".join(text.ljust(SHINGLE, "\0") for text in texts)
    return np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _shingles(texts: list[str], letters: NDArray[np.int64], vocabulary: Indices | None) -> tuple[Indices, Indices, Indices]:
    """Number of different trigrams of each text; row and code of each of them (only those in `vocabulary`), by row and code."""
    base = int(letters[-1]) + 1
    sizes, rows, codes, start = [], [], [], 0
    for chunk in _chunks(texts, most=2**62 // base**SHINGLE):
        length = np.array([max(len(text), SHINGLE) for text in chunk])
        points = letters[_code_points(chunk)]
        begins = np.ones(len(points), dtype=bool)
        ends = np.cumsum(length)
        for last in range(1, SHINGLE):
            begins[ends - last] = False
        at = np.flatnonzero(begins)
        code = points[at]
        for step in range(1, SHINGLE):
            code = code * base + points[at + step]
        row = np.repeat(np.arange(len(chunk)), length - SHINGLE + 1)
        row, code = np.divmod(_distinct(row * base**SHINGLE + code), base**SHINGLE)
        sizes.append(np.bincount(row, minlength=len(chunk)))
        if vocabulary is not None:
            place = np.minimum(np.searchsorted(vocabulary, code), len(vocabulary) - 1)
            known = vocabulary[place] == code
            row, code = row[known], code[known]
        rows.append(row + start)
        codes.append(code)
        start += len(chunk)
    return np.concatenate(sizes), np.concatenate(rows), np.concatenate(codes)


def _distinct(keys: Indices) -> Indices:
    """Sorted, each once. `np.unique` hashes, which is slower here."""
    ordered: Indices = np.sort(keys)
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    once: Indices = ordered[first]
    return once


def _sets(size: Indices, rows: Indices, ranks: Indices, words: int) -> _Sets:
    from scipy.sparse import csr_array

    rows, ranks = np.divmod(np.sort(rows * words + ranks), words)
    known = np.bincount(rows, minlength=len(size))
    # The unknown ones count as the rarest, and so stand first: they fill the prefix, and have no match.
    place = np.arange(len(rows)) - np.repeat(np.cumsum(known) - size, known)
    begin = size - -(-SIMILAR * size // OF) + ENOUGH

    def matrix(chosen: NDArray[np.bool_]) -> csr_array:
        ends = np.cumsum(np.bincount(rows[chosen], minlength=len(size)))
        parts = np.ones(np.count_nonzero(chosen), dtype=np.int32), ranks[chosen], np.concatenate([[0], ends])
        return csr_array(parts, shape=(len(size), words))

    return _Sets(size, matrix(np.ones(len(rows), dtype=bool)), matrix(place < begin[rows]))


def _pairs(asked: _Sets, known: _Sets, itself: Indices) -> Iterator[tuple[int, int, float]]:
    """A query, something near it that is not `itself` (an index or -1), and their similarity; each query once.

    What has found its duplicate is not asked again, so that thousands of copies of one text cost no more than others.
    """
    by_size, open_queries = np.argsort(known.size, kind="stable"), np.argsort(asked.size, kind="stable")
    step = max(1, CELLS // len(open_queries))
    for start in range(0, len(by_size), step):
        tell("find duplicates", start, len(by_size))
        block = by_size[start : start + step]
        size = asked.size[open_queries]
        fits = (OF * size >= SIMILAR * known.size[block[0]]) & (SIMILAR * size <= OF * known.size[block[-1]])
        queries = open_queries[fits]
        if not len(queries):
            continue
        shared = (asked.begin[queries] @ known.begin[block].T).tocoo()
        query, other = queries[shared.row], block[shared.col]
        total = asked.size[query] + known.size[other]
        # Similar sets share SIMILAR / (SIMILAR + OF) of both sizes together.
        enough = shared.data >= np.minimum(ENOUGH, -(-SIMILAR * total // (SIMILAR + OF)))
        enough &= itself[query] != other
        query, other, total = query[enough], other[enough], total[enough]
        both = _in_both(asked.all, known.all, query, other)
        similar = OF * both >= SIMILAR * (total - both)
        query, other, similarity = query[similar], other[similar], (both / (total - both))[similar]
        best = np.lexsort((other, -similarity, query))
        best = best[np.concatenate([[True], np.diff(query[best]) > 0])] if len(best) else best
        yield from zip(query[best].tolist(), other[best].tolist(), similarity[best].tolist(), strict=True)
        open_queries = open_queries[~np.isin(open_queries, query)]


def _in_both(left: csr_array, right: csr_array, rows: Indices, others: Indices, pairs: int = 20_000) -> Indices:
    """How many trigrams the sets `left[row]` and `right[other]` share."""
    parts = [
        left[rows[start : start + pairs]].multiply(right[others[start : start + pairs]]).sum(axis=1)
        for start in range(0, len(rows), pairs)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
