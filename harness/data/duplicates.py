"""Texts that stand twice: the same after normalization, or nearly.

Near duplicates are the same but for punctuation, or differ in one place (`one_place`), or have a Jaccard similarity of their
character trigrams of at least 0.8. Where there are at most `EXACT_PAIRS` pairs, the last ones are found by a set-similarity
join with an adaptive prefix filter (Chaudhuri et al., ICDE 2006; Wang, Li, Feng, SIGMOD 2012). Order all trigrams, rare ones
first. If two sets share so many that they are similar, then the first few of one and the first few of the other share some:
`ENOUGH`, or all that they share. So only beginnings are compared, in one product of sparse matrices, and what is left over is
verified. The time of this join grows with the number of pairs. Of more rows the candidates are found by banded MinHash
(`minhash`) and verified: the time grows with the number of rows, and a few in a hundred of these near duplicates are missed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.core.progress_events import tell
from harness.data import minhash, one_place
from harness.data.joins import MOST_TRIED, Heard, Places, chunks, code_points
from harness.data.minhash import Signatures, signatures
from harness.data.one_place import Search, differ_in_one_place

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SHINGLE = 3
"""Characters in a row: enough for words in Latin letters, not too many for a word in Chinese or Japanese."""

SIMILAR, OF = 4, 5
"""At least 4 in 5 of the trigrams that either has are in both. Whole numbers, so that no rounding decides."""

THRESHOLD = min(SIMILAR / OF, one_place.KEPT / one_place.OF)
"""The least similarity of near duplicates: share of common trigrams, or of the text outside the place where two differ."""

EXACT_PAIRS = 200_000_000
"""Pairs of texts that the exact join compares, at most: about two seconds of 14,000 rows among themselves."""

MANY = 50_000
"""Texts of which a search takes seconds, so that it runs beside the predictions."""

ENOUGH = 16
"""Trigrams that the beginnings must share. A larger number compares longer beginnings, and leaves fewer pairs to verify."""

CHARACTERS = 1 << 20
"""Characters of which the trigrams are found at once, about."""

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
    return _bare(normalized(text))


def _bare(kept: str) -> str:
    """`unpunctuated` of a normalized text."""
    bare = " ".join(kept.translate(_PUNCTUATION).split())
    return (bare if bare.isascii() else _SPACE_BESIDE_UNSPACED.sub("", bare)) or kept


class _Punctuation(dict[int, int | str]):
    """Punctuation becomes a space, as it may be all that stands between two words; an apostrophe is inside a word."""

    def __missing__(self, point: int) -> int | str:
        kept = " " if unicodedata.category(chr(point)).startswith("P") else point
        self[point] = kept
        return kept


_PUNCTUATION = _Punctuation(dict.fromkeys(map(ord, "'\u2018\u2019\u02bc"), ""))


@dataclass(frozen=True)
class Prepared:
    """Texts as they are compared, for several searches. `bare`: without punctuation (see `unpunctuated`). `hashes` and
    `bare_hashes`, shape (texts,): of the normalized and of the bare texts; a million of them take 8 MB."""

    texts: Sequence[str]
    bare: list[str]
    hashes: Places
    bare_hashes: Places

    @classmethod
    def of(cls, texts: Sequence[str]) -> Prepared:
        hashes, bare = np.empty(len(texts), dtype=np.int64), []
        for place, text in enumerate(texts):
            kept = normalized(text)
            hashes[place] = hash(kept)
            made = _bare(kept)
            bare.append(text if made == text else made)  # one object takes the memory of one
        return cls(texts, bare, hashes, np.fromiter(map(hash, bare), dtype=np.int64, count=len(bare)))

    def __len__(self) -> int:
        return len(self.bare)

    @cached_property
    def _numbered(self) -> tuple[Places, Places]:
        _, first, number = np.unique(self.bare_hashes, return_index=True, return_inverse=True)
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return first[order], place[number]

    @property
    def first(self) -> Places:
        """The first position of each different bare text."""
        return self._numbered[0]

    @property
    def number(self) -> Places:
        """Of each text the place of its bare text among the different ones."""
        return self._numbered[1]

    @cached_property
    def distinct(self) -> list[str]:
        """The different bare texts, in the order of their first positions."""
        return [self.bare[place] for place in self.first.tolist()]

    @cached_property
    def signatures(self) -> Signatures:
        """Of `distinct`."""
        return signatures(self.distinct, SHINGLE)


@dataclass(frozen=True, slots=True)
class Twins:
    """Of some texts: how many have an exact duplicate, how many only a near one, and the positions of both."""

    exact: int
    near: int
    rows: list[int]


def find_duplicates(texts: Sequence[str] | Prepared, others: Sequence[str] | Prepared | None = None) -> list[Duplicate]:
    """One duplicate of each of `texts` that has any among `others`, by default the remaining texts, in order.

    The first exact one; if there is none a near one.
    """
    asked = texts if isinstance(texts, Prepared) else Prepared.of(texts)
    pool = asked if others is None else others if isinstance(others, Prepared) else Prepared.of(others)
    return _find(asked, [pool])[0]


def twins_among(texts: Sequence[str], parts: Mapping[str, Sequence[str] | None]) -> dict[str, Twins]:
    """The duplicates of `texts` in each of some other lists; None stands for the remaining texts. What is computed of `texts`
    is computed once. Sends progress events where a search takes seconds."""
    asked = Prepared.of(texts)
    found = _find(asked, [asked if others is None else Prepared.of(others) for others in parts.values()])
    return {name: Twins(**counted(twins), rows=[twin.row for twin in twins]) for name, twins in zip(parts, found, strict=True)}


def _find(asked: Prepared, pools: Sequence[Prepared]) -> list[list[Duplicate]]:
    """As `find_duplicates`, in each pool."""
    found = [_equal(asked, pool) for pool in pools]
    rows = [np.delete(np.arange(len(asked)), list(equal)) for equal in found]
    similar = _similar(asked, pools, [np.unique(asked.number[left]) for left in rows])
    for pool, equal, left, near in zip(pools, found, rows, similar, strict=True):
        for row, query in zip(left.tolist(), asked.number[left].tolist(), strict=True):
            if query in near:
                other, similarity = near[query]
                equal[row] = Duplicate(row, int(pool.first[other]), False, similarity)
    return [[equal[row] for row in sorted(equal)] for equal in found]


def _equal(asked: Prepared, pool: Prepared) -> dict[int, Duplicate]:
    """Row -> an exact duplicate, or one that differs in punctuation."""
    found: dict[int, Duplicate] = {}
    for row, other in _same(asked.hashes, pool.hashes, itself=asked is pool):
        if normalized(asked.texts[row]) == normalized(pool.texts[other]):
            found[row] = Duplicate(row, other, True, 1.0)
    for row, other in _same(asked.bare_hashes, pool.bare_hashes, itself=asked is pool):
        if row not in found and asked.bare[row] == pool.bare[other]:
            found[row] = Duplicate(row, other, False, 1.0)
    return found


def _same(rows: Places, pool: Places, *, itself: bool) -> Iterator[tuple[int, int]]:
    """Row and the first of `pool` with its hash; where they are the same rows (`itself`) another one."""
    if not len(pool):
        return
    order = np.argsort(pool, kind="stable")
    low = np.searchsorted(pool, rows, sorter=order)
    count = np.searchsorted(pool, rows, side="right", sorter=order) - low
    found = np.flatnonzero(count > itself)
    first = order[low[found]]
    second = order[np.minimum(low[found] + 1, len(pool) - 1)]
    other = np.where(first == found, second, first) if itself else first
    yield from zip(found.tolist(), other.tolist(), strict=True)


def _similar(asked: Prepared, pools: Sequence[Prepared], wanted: Sequence[Places]) -> list[dict[int, tuple[int, float]]]:
    """Of each pool: text -> a near duplicate other than itself, and their similarity, as positions in `distinct`. `wanted`:
    some of these."""
    queries = asked.distinct
    searches = []
    for pool, some in zip(pools, wanted, strict=True):
        # A wanted text is in the pool only where it is that very row: else it would have been found before.
        itself = np.arange(len(queries)) if asked is pool else np.full(len(queries), -1)
        done = np.ones(len(queries), dtype=bool)
        done[some] = False
        searches.append(Search(pool.distinct, itself, done))
    steps = _Steps(len(queries), 1 + len(pools))
    found = differ_in_one_place(queries, searches, partial(steps.tell, 0))
    for part, (pool, search, twins) in enumerate(zip(pools, searches, found, strict=True), start=1):
        search.done[list(twins)] = True
        left = np.flatnonzero(~search.done)
        if len(left) * len(search.index) > EXACT_PAIRS:
            twins |= _by_minhash(asked, pool, search.itself, search.done, partial(steps.tell, part))
        elif len(left) and len(search.index):
            twins |= _near(left, queries, pool.distinct, search.itself, partial(steps.tell, part))
    return found


@dataclass(frozen=True, slots=True)
class _Steps:
    """Tells how far a search is, as if its parts took the same time."""

    texts: int
    parts: int

    def tell(self, part: int, done: int, total: int) -> None:
        tell("find duplicates", int(self.texts * (part + done / total) / self.parts), self.texts)


def _by_minhash(
    asked: Prepared,
    pool: Prepared,
    itself: Places,
    done: NDArray[np.bool_],
    heard: Heard,
) -> dict[int, tuple[int, float]]:
    """Query -> a near duplicate by trigrams, and their similarity. Positions in both of `distinct`."""
    found: dict[int, tuple[int, float]] = {}
    tried = np.zeros(len(done), dtype=np.int32)
    for left, right in minhash.candidates(asked.signatures, pool.signatures, itself, done, heard):
        for query, other in zip(left.tolist(), right.tolist(), strict=True):
            similarity = _trigram_similarity(asked.distinct[query], pool.distinct[other])
            if similarity:
                found[query] = other, similarity
                done[query] = True
        tried[left] += 1
        done[left[tried[left] >= MOST_TRIED]] = True
    return found


def _trigram_similarity(left: str, right: str) -> float:
    """0 if the two are not near."""
    a, b = _trigrams(left), _trigrams(right)
    both = len(a & b)
    total = len(a) + len(b) - both
    return both / total if OF * both >= SIMILAR * total else 0.0


def _trigrams(text: str) -> set[str]:
    text = text.ljust(SHINGLE, "\0")
    return {text[start : start + SHINGLE] for start in range(len(text) - SHINGLE + 1)}


def counted(found: Sequence[Duplicate]) -> dict[str, int]:
    """How many rows have an exact duplicate, and how many a near one."""
    kinds = Counter(duplicate.exact for duplicate in found)
    return {"exact": kinds[True], "near": kinds[False]}


@dataclass(frozen=True, slots=True)
class _Sets:
    """Trigrams of texts: `size` counts them, `all` (texts x vocabulary) holds the known ones, `begin` those in the prefix."""

    size: Places
    all: csr_array
    begin: csr_array


def _near(rows: Places, queries: list[str], index: list[str], itself: Places, heard: Heard) -> dict[int, tuple[int, float]]:
    """Those of `rows`, positions in `queries` -> a near duplicate in `index` other than itself, and their similarity. Both hold
    distinct texts."""
    asked_texts = [queries[row] for row in rows.tolist()]
    letters = _alphabet(asked_texts, index)
    query_size, query_rows, query_codes = _shingles(asked_texts, letters, None)
    vocabulary, occurrences = np.unique(query_codes, return_counts=True)
    rank = np.empty(len(vocabulary), dtype=np.int64)
    rank[np.argsort(occurrences, kind="stable")] = np.arange(len(vocabulary))
    asked = _sets(query_size, query_rows, rank[np.searchsorted(vocabulary, query_codes)], len(vocabulary))
    size, known_rows, codes = _shingles(index, letters, vocabulary)
    known = _sets(size, known_rows, rank[np.searchsorted(vocabulary, codes)], len(vocabulary))
    return {int(rows[query]): (other, similarity) for query, other, similarity in _pairs(asked, known, itself[rows], heard)}


def _alphabet(*parts: list[str]) -> NDArray[np.int64]:
    """Code point -> a small number, from 0 on: trigrams of few letters make small numbers, which are sorted fast."""
    seen = np.zeros(0x110000, dtype=bool)
    for part in parts:
        for _, texts in chunks(part, CHARACTERS):
            seen[code_points(_filled(texts))] = True
    return np.cumsum(seen) - 1


def _filled(texts: Sequence[str]) -> list[str]:
    """One too short for a trigram is filled up."""
    return [text.ljust(SHINGLE, "\0") for text in texts]


def _shingles(texts: list[str], letters: NDArray[np.int64], vocabulary: Places | None) -> tuple[Places, Places, Places]:
    """Number of different trigrams of each text; row and code of each of them (only those in `vocabulary`), by row and code."""
    base = int(letters[-1]) + 1
    sizes, rows, codes = [], [], []
    for start, chunk in chunks(texts, CHARACTERS, most=2**62 // base**SHINGLE):
        length = np.array([max(len(text), SHINGLE) for text in chunk])
        points = letters[code_points(_filled(chunk))]
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
    return np.concatenate(sizes), np.concatenate(rows), np.concatenate(codes)


def _distinct(keys: Places) -> Places:
    """Sorted, each once. `np.unique` hashes, which is slower here."""
    ordered: Places = np.sort(keys)
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    once: Places = ordered[first]
    return once


def _sets(size: Places, rows: Places, ranks: Places, words: int) -> _Sets:
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


def _pairs(asked: _Sets, known: _Sets, itself: Places, heard: Heard) -> Iterator[tuple[int, int, float]]:
    """A query, something near it that is not `itself` (an index or -1), and their similarity; each query once.

    What has found its duplicate is not asked again, so that thousands of copies of one text cost no more than others.
    """
    by_size, open_queries = np.argsort(known.size, kind="stable"), np.argsort(asked.size, kind="stable")
    step = max(1, CELLS // len(open_queries))
    for start in range(0, len(by_size), step):
        heard(start, len(by_size))
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


def _in_both(left: csr_array, right: csr_array, rows: Places, others: Places, pairs: int = 20_000) -> Places:
    """How many trigrams the sets `left[row]` and `right[other]` share."""
    parts = [
        left[rows[start : start + pairs]].multiply(right[others[start : start + pairs]]).sum(axis=1)
        for start in range(0, len(rows), pairs)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
