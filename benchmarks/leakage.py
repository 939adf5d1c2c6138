"""How many test rows leak into training, and how many rows move when one row is added: bench's split beside the usual ones.

    python benchmarks/leakage.py
    python benchmarks/leakage.py reviews.csv --text review --label star --group app

Without a file the rows are made up: short reviews of 60 apps of very different sizes, many of them stock phrases.

shuffle: scikit-learn's `train_test_split`, stratified by label, of the rows sorted by id. So bench divided rows with ids.
rank:    the rows with the lowest hashes of a number for each row of a text. So bench divided rows without ids.
bench:   rows of one group or one text stay together, ranked by a hash of their content (`harness.data.drawing`).

twins: test rows with the text (after normalization) of a train row. groups: test rows whose group has train rows. kept: test
rows that stay test rows when one row is added in front. moved: of the new test rows, those that were train rows before.
labels: the largest difference between the share of a label in the test rows and in all rows.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.core.types import Example
from harness.data.drawing import content_keys, divide, hash_rank
from harness.data.duplicates import normalized
from harness.data.formats import read_file
from harness.specs.tasks import Stratified

Splits = dict[str, list[Example]]
Method = Callable[[list[Example]], Splits]
SHARES = Stratified().shares
PHRASES = ("good", "great app", "nice", "love it", "bad", "does not work", "ok", "excellent", "very good", "crashes")


def made_up(count: int, seed: int = 0) -> list[Example]:
    """A third of the texts are stock phrases; the rest stand once. Each app has its own mix of labels."""
    rng = random.Random(seed)
    apps = [f"app{number}" for number in range(60)]
    sizes = [1 / (1 + number) for number in range(60)]
    liked = {app: rng.random() for app in apps}
    rows = []
    for number in range(count):
        app = rng.choices(apps, sizes)[0]
        label = min(4, int(5 * rng.betavariate(1 + 4 * liked[app], 5 - 4 * liked[app])))
        words = rng.choice(PHRASES) if rng.random() < 0.35 else " ".join(f"w{rng.randrange(5000)}" for _ in range(9))
        rows.append(Example(f"r{number:06}", words, label, "en", app))
    return rows


def shuffle(rows: list[Example]) -> Splits:
    from sklearn.model_selection import train_test_split

    def parted(part: list[Example], share: float) -> tuple[list[Example], list[Example]]:
        count = round(len(rows) * share)
        labels = Counter(str(row.label) for row in part)
        strata = [str(row.label) if labels[str(row.label)] > 1 else labels.most_common(1)[0][0] for row in part]
        drawn, rest = train_test_split(part, train_size=count, test_size=len(part) - count, random_state=42, stratify=strata)
        return list(drawn), list(rest)

    tested, others = parted(sorted(rows, key=lambda row: row.id), SHARES.test)
    validated, trained = parted(others, SHARES.validation)
    return {"train": trained, "validation": validated, "test": tested}


def rank(rows: list[Example]) -> Splits:
    keys = dict(
        zip((row.id for row in rows), content_keys([row.text for row in rows], [row.label for row in rows]), strict=True)
    )
    alike: dict[str, list[Example]] = {}
    for row in sorted(rows, key=lambda row: hash_rank(keys[row.id], "split 42\n")):
        alike.setdefault(str(row.label), []).append(row)
    places = {row.id: (place + 0.5) / len(part) for part in alike.values() for place, row in enumerate(part)}
    ordered = sorted(rows, key=lambda row: (places[row.id], row.id))
    test, validation = round(len(rows) * SHARES.test), round(len(rows) * SHARES.validation)
    return {"test": ordered[:test], "validation": ordered[test : test + validation], "train": ordered[test + validation :]}


def bench(rows: list[Example]) -> Splits:
    return dict(divide(rows, Stratified(), "the rows"))


METHODS: dict[str, Method] = {"shuffle": shuffle, "rank": rank, "bench": bench}


def figures(rows: list[Example], method: Method) -> dict[str, float]:
    """Counts of rows; `labels` is a share. See above."""
    before = method(rows)
    new = replace(rows[0], id="new", text="a row that was put in front", group=None if rows[0].group is None else "new")
    after = method([new, *rows])
    texts = {normalized(row.text) for row in before["train"]}
    groups = {row.group for row in before["train"]} - {None}
    ids = {split: {row.id for row in part} for split, part in before.items()}
    tested = {row.id for row in after["test"]}
    whole, part = (Counter(str(row.label) for row in these) for these in (rows, before["test"]))
    return {
        "train": len(before["train"]),
        "validation": len(before["validation"]),
        "test": len(before["test"]),
        "twins": sum(normalized(row.text) in texts for row in before["test"]),
        "groups": sum(row.group in groups for row in before["test"]),
        "kept": len(ids["test"] & tested),
        "moved": len(ids["train"] & tested),
        "labels": max(abs(part[label] / len(before["test"]) - count / len(rows)) for label, count in whole.items()),
    }


def read_rows(path: Path, text: str, label: str, group: str | None) -> list[Example]:
    columns = read_file(path)
    names = {value: number for number, value in enumerate(sorted({str(value) for value in columns[label]}))}
    groups: Sequence[object] = [None] * len(columns[text]) if group is None else columns[group]
    lines = zip(columns[text], columns[label], groups, strict=True)
    return [
        Example(f"r{number:08}", str(words), names[str(value)], "en", str(of) if of else None)
        for number, (words, value, of) in enumerate(lines)
        if words and str(words).strip()
    ]


def table(rows: list[Example]) -> str:
    found = {name: figures(rows, method) for name, method in METHODS.items()}
    heads = ["split", *next(iter(found.values()))]
    lines = [[name, *(f"{value:.3f}" if head == "labels" else f"{value:,}" for head, value in of.items())]
             for name, of in found.items()]  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, ["---"] * len(heads), *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="csv, jsonl or parquet; several are not joined")
    parser.add_argument("--text", default="text", help="column of the text")
    parser.add_argument("--label", default="label", help="column of the label")
    parser.add_argument("--group", help="column of the group, such as film, app or author")
    parser.add_argument("--rows", type=int, default=4500, help="rows that are made up, or the first rows of the file")
    given = parser.parse_args()
    rows = made_up(given.rows) if given.file is None else read_rows(given.file, given.text, given.label, given.group)
    rows = rows[: given.rows]
    print(f"Without groups:\n\n{table([replace(row, group=None) for row in rows])}")
    if rows[0].group is not None:
        print(f"\nWith groups:\n\n{table(rows)}")


if __name__ == "__main__":
    main()
