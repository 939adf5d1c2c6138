"""How long near twins take to find: bench beside MinHash LSH (datasketch) and the product of all trigram counts (scikit-learn).

    python benchmarks/duplicates.py --rows 500 --others 2000
    python benchmarks/duplicates.py --rows 5000 --others 200000 --rivals bulk,sklearn
    python benchmarks/duplicates.py --texts train.parquet test.parquet --rows 5000 --others 190000

Without --texts the texts are made up: words of random letters, as often as words are (Zipf), one text in fifty a changed copy
of another. All find, for each row, whether one of the others shares 4 in 5 of the trigrams that either has. Times are of the
processor, on one core, after one small search that imports what is needed.

row:     datasketch as its pages show it, an `update` for each trigram, then `MinHashLSH`; what it finds is verified
bulk:    the same with `MinHash.bulk`
sklearn: `CountVectorizer` and one product of sparse matrices, in parts
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.data.duplicates import OF, SHINGLE, SIMILAR, THRESHOLD, find_duplicates, normalized
from harness.data.sources import read_file

Finder = Callable[[list[str], list[str]], set[int]]
PERMUTATIONS = 128


def ours(rows: list[str], others: list[str]) -> set[int]:
    return {twin.row for twin in find_duplicates(rows, others)}


def row_by_row(rows: list[str], others: list[str]) -> set[int]:
    from datasketch import MinHash

    def minhash(text: str) -> MinHash:
        made = MinHash(num_perm=PERMUTATIONS)
        for shingle in trigrams(text):
            made.update(shingle.encode())
        return made

    return _by_lsh(rows, others, map(minhash, rows), map(minhash, others))


def in_bulk(rows: list[str], others: list[str]) -> set[int]:
    from datasketch import MinHash

    def minhashes(texts: list[str]) -> Iterator[MinHash]:
        encoded = ([shingle.encode() for shingle in trigrams(text)] for text in texts)
        return MinHash.generator(encoded, num_perm=PERMUTATIONS)

    return _by_lsh(rows, others, minhashes(rows), minhashes(others))


def _by_lsh(rows: list[str], others: list[str], asked: Iterator[object], known: Iterator[object]) -> set[int]:
    """The rows are indexed, as they are fewer, and the others ask."""
    from datasketch import MinHashLSH

    lsh, found = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS), set()
    for row, minhash in enumerate(asked):
        lsh.insert(row, minhash)
    for other, minhash in enumerate(known):
        for row in lsh.query(minhash):
            if row not in found and similar(rows[row], others[other]):
                found.add(row)
    return found


def by_product(rows: list[str], others: list[str], at_once: int = 2000) -> set[int]:
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(analyzer=trigrams, binary=True, dtype=np.int32)
    left = counter.fit_transform(rows).tocsr()
    left_size, found = np.diff(left.indptr), set()
    for start in range(0, len(others), at_once):
        part = others[start : start + at_once]
        right_size = np.array([len(trigrams(text)) for text in part])  # the counter drops what no row has
        both = (left @ counter.transform(part).T).tocoo()
        enough = OF * both.data >= SIMILAR * (left_size[both.row] + right_size[both.col] - both.data)
        found |= set(both.row[enough].tolist())
    return found


def trigrams(text: str) -> set[str]:
    text = normalized(text).ljust(SHINGLE, "\0")
    return {text[start : start + SHINGLE] for start in range(len(text) - SHINGLE + 1)}


def similar(left: str, right: str) -> bool:
    a, b = trigrams(left), trigrams(right)
    return OF * len(a & b) >= SIMILAR * len(a | b)


FINDERS: dict[str, Finder] = {"row": row_by_row, "bulk": in_bulk, "sklearn": by_product}


def made_up(count: int, seed: int) -> list[str]:
    """`count` texts of 5 to 60 words; one in fifty is a copy of an earlier one with up to a tenth of its words changed."""
    chance = random.Random(seed)
    letters = "eeeeettttaaaoooiiinnnsshhrrddlucmfwygpbvk"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(20_000)]
    often = [1 / place for place in range(1, len(words) + 1)]
    drawn = iter(chance.choices(words, often, k=count * 70))
    texts: list[str] = []
    for _ in range(count):
        if texts and chance.random() < 0.02:
            copy = chance.choice(texts).split()
            for place in chance.sample(range(len(copy)), chance.randint(0, 1 + len(copy) // 10)):
                copy[place] = next(drawn)
            texts.append(" ".join(copy))
        else:
            texts.append(" ".join(next(drawn) for _ in range(chance.randint(5, 60))))
    chance.shuffle(texts)
    return texts


def read(paths: Sequence[Path], seed: int) -> list[str]:
    """The `text` columns of the files, in a random order."""
    texts = [str(text) for path in paths for text in read_file(path)["text"] if text]
    random.Random(seed).shuffle(texts)
    return texts


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    total = options.rows + options.others
    texts = read(options.texts, options.seed) if options.texts else made_up(total, options.seed)
    if len(texts) < total:
        print(f"{total:,} texts are asked for, and the files have {len(texts):,}.", file=sys.stderr)
        return 2
    rows, others = texts[: options.rows], texts[options.rows : total]
    length = sum(map(len, texts[:total])) / total
    print(f"{options.rows:,} rows against {options.others:,} others, {length:.0f} characters on average\n")
    print("| | seconds | rows found | missed |\n|---|---|---|---|")
    known: set[int] = set()
    for name in ["bench", *options.rivals]:
        finder = FINDERS.get(name, ours)
        try:
            finder(rows[:20], others[:50])
        except ImportError as error:
            print(f"| {name} | {error.name} is not installed | | |")
            continue
        started = time.process_time()
        found = finder(rows, others)
        seconds = time.process_time() - started
        known = known or found
        print(f"| {name} | {seconds:.2f} | {len(found):,} | {len(known - found):,} |", flush=True)
        assert found <= known, "bench has missed what another found"
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500, metavar="N")
    parser.add_argument("--others", type=int, default=2000, metavar="N")
    parser.add_argument("--rivals", type=_rivals, default=list(FINDERS), metavar="NAME,...", help=f"of {', '.join(FINDERS)}")
    parser.add_argument(
        "--texts", type=Path, nargs="+", metavar="FILE", help="parquet, csv, tsv, jsonl or json with a column `text`"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _rivals(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in FINDERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(FINDERS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
