"""Near duplicates: how many are found in each script, and how long it takes.

    python benchmarks/duplicates.py --recall
    python benchmarks/duplicates.py --recall --texts train.parquet --lang zh --unspaced 2
    python benchmarks/duplicates.py --rows 500 --others 2000
    python benchmarks/duplicates.py --rows 5000 --others 200000 --rivals bulk,sklearn
    python benchmarks/duplicates.py --texts train.parquet test.parquet --rows 5000 --others 190000

Without --texts the texts are made up: words of random letters, as often as words are (Zipf), one text in fifty a changed copy
of another. The rivals find, for each row, whether one of the others shares 4 in 5 of the trigrams that either has; bench also
finds those that differ in one place. Times are of the processor, on one core, after one small search that imports what is
needed.

row:     datasketch as its pages show it, an `update` for each trigram, then `MinHashLSH`; what it finds is verified
bulk:    the same with `MinHash.bulk`
sklearn: `CountVectorizer` and one product of sparse matrices, in parts

With --recall each text has a copy with one word changed, by another word that occurs. Some of the copies have also lost their
punctuation and got invisible characters. Half as many texts have a decoy, in which every third word is changed: what is found
of these, or is a copy of another text, is an error. "Before" is the rule up to version 0.9: trigrams of the texts with their
punctuation. Of texts from files (a column `text`, and a `label` if there is one) the pairs are shown that are found among the
texts as they are: how many, and how many have the same label.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.data.duplicates import OF, SHINGLE, SIMILAR, find_duplicates, unpunctuated
from harness.data.formats import read_file

Finder = Callable[[list[str], list[str]], set[int]]
PERMUTATIONS = 128
TRIGRAMS = SIMILAR / OF
INVISIBLE = ("\u200b", "\u00ad", "\u200e", "\ufeff", "\ufe0f")


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

    lsh, found = MinHashLSH(threshold=TRIGRAMS, num_perm=PERMUTATIONS), set()
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


def trigrams(text: str, rule: Callable[[str], str] = unpunctuated) -> set[str]:
    text = rule(text).ljust(SHINGLE, "\0")
    return {text[start : start + SHINGLE] for start in range(len(text) - SHINGLE + 1)}


def similar(left: str, right: str, rule: Callable[[str], str] = unpunctuated) -> bool:
    a, b = trigrams(left, rule), trigrams(right, rule)
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


@dataclass(frozen=True)
class Script:
    """Words of 1 letter up to `longest`; `space` and `comma` between them."""

    letters: str
    longest: int
    space: str = " "
    comma: str = ", "
    stop: str = "."


def _points(first: int, count: int) -> str:
    return "".join(map(chr, range(first, first + count)))


SCRIPTS = {
    "Latin": Script("eeeeettttaaaoooiiinnnsshhrrddlucmfwygpbvkéüñ", 10),
    "Cyrillic": Script("оооееаааиинтсрвлкмдпуяыьгзбчй", 11),
    "Arabic": Script("ااالليمنوتربعدهسفقكحجشصخطذ", 8, comma="، "),
    "Devanagari": Script("कखगचजटडतदनपबमयरलवसहािीुूेोंअआइ", 7, stop="।"),
    "Thai": Script("กขคงจชดตทนบปพมยรลวสหอะาิีุูเแโใไ่้", 8, space="", comma=" ", stop=""),
    "Chinese": Script(_points(0x4E00, 1500), 3, space="", comma="，", stop="。"),
    "Japanese": Script(_points(0x3042, 80) + _points(0x30A2, 80) + _points(0x5000, 600), 4, space="", comma="、", stop="。"),
    "Korean": Script(_points(0xAC00, 1200), 5),
    "emoji": Script("eeeettttaaaooiinnsshrdlucm" + _points(0x1F600, 20), 8, stop="!"),
}


def written(script: Script, count: int, chance: random.Random) -> tuple[list[list[str]], list[str]]:
    """Texts of 6 to 30 words as lists of words, and the words of which they are made, as often as they occur."""
    words = ["".join(chance.choices(script.letters, k=chance.randint(1, script.longest))) for _ in range(5000)]
    often = chance.choices(words, [1 / (10 + place) for place in range(len(words))], k=20_000)
    return [chance.choices(often, k=chance.randint(6, 30)) for _ in range(count)], often


def joined(words: Sequence[str], script: Script, *, punctuation: bool = True) -> str:
    """A comma after each sixth word, and a full stop."""
    parts = [script.space.join(words[start : start + 6]) for start in range(0, len(words), 6)]
    return script.comma.join(parts) + script.stop if punctuation else script.space.join(words)


def other_word(words: Sequence[str], places: Sequence[int], often: Sequence[str], chance: random.Random) -> list[str]:
    """`words` with other ones at `places`."""
    changed = list(words)
    for place in places:
        while changed[place] == words[place]:
            changed[place] = chance.choice(often)
    return changed


def old_rule(text: str) -> str:
    """How texts were compared up to version 0.9: with their punctuation and invisible characters."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


@dataclass(frozen=True)
class Found:
    """Shares of the changed copies that are found, and of what is found that is a copy of the text named."""

    before: float
    after: float
    precision: float


def recall(originals: list[str], copies: list[str], decoys: list[str]) -> Found:
    """`copies` are of `originals`, in order; `decoys` of none."""
    before = sum(similar(left, right, old_rule) for left, right in zip(originals, copies, strict=True))
    found = {twin.row: twin.other for twin in find_duplicates(copies + decoys, originals)}
    right = sum(row == other for row, other in found.items() if row < len(copies))
    return Found(before / len(copies), right / len(copies), right / max(1, len(found)))


def by_script(count: int, seed: int) -> None:
    print("| script | one word changed: before, after | also without punctuation, with invisible characters | precision |")
    print("|---|---|---|---|")
    for name, script in SCRIPTS.items():
        chance = random.Random(seed)
        texts, often = written(script, count, chance)
        copies = [other_word(words, [chance.randrange(len(words))], often, chance) for words in texts]
        decoys = [other_word(words, range(chance.randrange(3), len(words), 3), often, chance) for words in texts[: count // 2]]
        originals, spoilt = [joined(words, script) for words in texts], [joined(words, script) for words in decoys]
        plain = recall(originals, [joined(words, script) for words in copies], spoilt)
        bare = [joined(words, script, punctuation=False) for words in copies]
        hidden = recall(originals, [text[:2] + chance.choice(INVISIBLE) + text[2:] for text in bare], spoilt)
        shown = [f"{found.before:.0%}, **{found.after:.0%}**" for found in (plain, hidden)]
        print(f"| {name} | {shown[0]} | {shown[1]} | {min(plain.precision, hidden.precision):.1%} |", flush=True)


def of_files(paths: Sequence[Path], lang: str | None, unspaced: int, count: int, seed: int) -> int:
    """Recall on texts of files, and the pairs found among them. `unspaced`: characters of a word, 0: between spaces."""
    chance, rows = random.Random(seed), []
    for path in paths:
        table = read_file(path)
        columns = [
            table["text"],
            table.get("label", [None] * len(table["text"])),
            table.get("lang", [lang] * len(table["text"])),
        ]
        rows += [(str(text), label) for text, label, code in zip(*columns, strict=True) if text and lang in (None, code)]
    if not rows:
        print("There are no such texts.", file=sys.stderr)
        return 2
    chance.shuffle(rows)
    texts = [text for text, _ in rows]
    split = [[text[n : n + unspaced] for n in range(0, len(text), unspaced)] if unspaced else text.split() for text in texts]
    often = [word for words in split[:5000] for word in words if unpunctuated(word) and len(word) >= unspaced]
    space = "" if unspaced else " "
    places = [[n for n, word in enumerate(words) if unpunctuated(word)] for words in split[:count]]
    chosen = [row for row, some in enumerate(places) if some]
    copies = [space.join(other_word(split[row], [chance.choice(places[row])], often, chance)) for row in chosen]
    found = recall([texts[row] for row in chosen], copies, [])
    near = [twin for twin in find_duplicates(texts) if not twin.exact]
    same = sum(rows[twin.row][1] == rows[twin.other][1] for twin in near)
    old = [twin for twin in near if similar(texts[twin.row], texts[twin.other], old_rule)]
    same_old = sum(rows[twin.row][1] == rows[twin.other][1] for twin in old)
    print("| texts | one word changed: before, after | near duplicates by the old rule, now | with the same label |")
    print("|---|---|---|---|")
    shares = [f"{some / max(1, len(of)):.0%}" for some, of in ((same_old, old), (same, near))]
    print(f"| {len(texts):,} | {found.before:.0%}, **{found.after:.0%}** | {len(old):,}, {len(near):,} | {', '.join(shares)} |")
    return 0


def read(paths: Sequence[Path], seed: int) -> list[str]:
    """The `text` columns of the files, in a random order."""
    texts = [str(text) for path in paths for text in read_file(path)["text"] if text]
    random.Random(seed).shuffle(texts)
    return texts


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.recall:
        if options.texts:
            return of_files(options.texts, options.lang, options.unspaced, options.rows, options.seed)
        by_script(options.rows, options.seed)
        return 0
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
    parser.add_argument("--recall", action="store_true", help="how many copies with one changed word are found, of --rows")
    parser.add_argument("--lang", metavar="CODE", help="with --recall and --texts: only rows with this `lang`")
    parser.add_argument("--unspaced", type=int, default=0, metavar="N", help="likewise: words are N characters, without spaces")
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
