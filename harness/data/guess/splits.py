"""How the rows of a file are divided into train, validation and test: as given, or by bench."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.core.errors import UserError
from harness.data.guess.cells import Column
from harness.data.guess.doubts import Doubt
from harness.data.guess.files import Opened
from harness.data.guess.folders import split_named
from harness.data.guess.words import SPLITS as SPLITS_BY_WORDS
from harness.specs.tasks import SPLITS, Shares, Split

VALIDATION_SHARE = 0.1
"""Of the train rows, where there are no validation rows."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Of each row: whether it can be used, its language, and its label (None: where a row may have several)."""

    usable: Sequence[bool]
    langs: Sequence[str]
    labels: Sequence[str] | None

    def of_one_label(self, codes: Sequence[str], split_of: Sequence[str | None] | None = None) -> list[str]:
        """Languages whose rows (of `split_of`: the train rows) all have the same label, so that nothing is learnt there."""
        if self.labels is None:
            return []
        found: dict[str, set[str]] = defaultdict(set)
        for row, label in enumerate(self.labels):
            if self.usable[row] and (split_of is None or split_of[row] == "train"):
                found[self.langs[row]].add(label)
        return [code for code in codes if len(found[code]) < 2]


@dataclass(frozen=True, slots=True)
class Given:
    """What the data say. `split_of`: the split of each row, `all` where there are none, None for a row of no split. `source`:
    split -> the cell of the column `column`, or the file's split; empty where there are none."""

    split_of: list[str | None]
    source: dict[Split, str]
    column: str | None = None
    notes: list[str | Doubt] = field(default_factory=list)


def given_splits(opened: Opened, column: Column | None) -> Given:
    """By the column of splits, or by the files. Raises `UserError` for a column that holds no splits."""
    if column is None:
        source: dict[Split, str] = {split: split for split in SPLITS if split in opened.rows}
        return Given(list(opened.split_of_rows()), source)
    notes: list[str | Doubt] = []
    source = _cells_of(column, notes)
    blank = len(column.cells) - sum(column.counts.values())
    if blank:
        out = f"{blank:,} rows are left out: {column.name!r} is empty there. Write train, validation or test there to use them."
        notes.append(Doubt("split-word", out))
    split_of: dict[str, str | None] = {cell: split for split, cell in source.items()}
    return Given([split_of.get(cell) for cell in column.cells], source, column.name, notes)


@dataclass(frozen=True, slots=True)
class Division:
    """`rows`: split -> language -> rows. `source`: split -> the cell of the column `column`, or the file's split; empty where
    bench divides the rows. `validation_share`: of the train rows. `split_of_rows`: of the given splits."""

    rows: dict[Split, dict[str, int]]
    source: dict[Split, str]
    column: str | None = None
    validation_share: float | None = None
    split_of_rows: Sequence[str | None] | None = None
    notes: list[str | Doubt] = field(default_factory=list)

    @property
    def stratified(self) -> bool:
        return not self.source

    def holds(self, row: int) -> bool:
        """Whether the row is of a split that is used."""
        return self.split_of_rows is None or self.split_of_rows[row] in self.source


def divide(given: Given, of: Rows, codes: Sequence[str]) -> Division:
    """By the given splits, or else by bench. Raises `UserError` for train rows of one label."""
    notes, source, column = list(given.notes), dict(given.source), given.column
    split_of = list(given.split_of)
    counts = {
        split: Counter(of.langs[row] for row, there in enumerate(split_of) if there == split and of.usable[row])
        for split in SPLITS
    }
    for split in [split for split in source if not counts[split]]:
        notes.append(Doubt("split-without-labels", f"The {split} rows are left out: they have no labels."))
        del source[split]
    if "train" not in source or len(source) == 1:
        if column is not None and source:
            left = [note for note in notes if isinstance(note, Doubt) and note.kind == "split-word"]
            notes = [note for note in notes if note not in left]
            whole = (
                " all rows, also those that are of no split (take them out of the file if they are not to be used)"
                if left
                else ""
            )
            text = f"All rows of {column!r} with a label and a split are {' and '.join(source)} rows: bench divides"
            notes.append(Doubt("split-unused", f"{text}{whole or ' them'} itself."))
        return _stratified(of, codes, notes)
    share = None
    if "validation" not in source or "test" not in source:
        share = VALIDATION_SHARE
    if "validation" not in source:
        notes.append(f"There are no validation rows: {share:.0%} of the train rows, drawn evenly over the labels, become them.")
    elif "test" not in source:
        out = (
            f"There are no test rows with labels: the validation rows are the test, and {share:.0%} of the train rows validate."
        )
        notes.append(Doubt("validation-is-test", out))
        source["test"] = source.pop("validation")
        counts["test"], counts["validation"] = counts["validation"], Counter()
        split_of = ["test" if split == "validation" else split for split in split_of]
    if share is not None:
        counts["validation"] = Counter({code: round(count * share) for code, count in counts["train"].items()})
        counts["train"] -= counts["validation"]
    kept = [code for code in codes if all(counts[split][code] for split in SPLITS)]
    if missing := [code for code in codes if code not in kept]:
        notes.append(f"Left out, as they lack rows in a split: {', '.join(missing)}.")
    kept = _learnable(kept, of.of_one_label(kept, split_of), column, notes)
    rows: dict[Split, dict[str, int]] = {split: {code: counts[split][code] for code in kept} for split in SPLITS}
    return Division(rows, source, column, share, split_of, notes)


def _learnable(codes: list[str], alike: list[str], column: str | None, notes: list[str | Doubt]) -> list[str]:
    """Those whose train rows have several labels. Raises `UserError` where there is none."""
    if alike and len(alike) == len(codes):
        instead = "give them all in one file" if column is None else f"take the column {column!r} out"
        raise UserError(
            "The train rows have only one label, so that nothing can be learnt from them.",
            f"Mix the rows before you divide them; or {instead}, and bench divides them itself.",
        )
    if alike:
        notes.append(f"Left out, as their train rows have only one label: {', '.join(alike)}.")
    return [code for code in codes if code not in alike]


def _cells_of(column: Column, notes: list[str | Doubt]) -> dict[Split, str]:
    """Split -> what stands in the column for it, the commonest where there are several."""
    source: dict[Split, str] = {}
    for cell, count in column.counts.most_common():
        split = split_named(cell)
        if split is None:
            out = (
                f"{count:,} rows are left out: {column.name!r} has {cell!r} there, which is no split. If they are of one: write"
                " train, validation or test there."
            )
            notes.append(Doubt("split-word", out))
        elif split in source:
            out = (
                f"{count:,} rows are left out: {column.name!r} has {cell!r} there, and {source[split]!r} in others. If all are"
                f" {split} rows: write one word."
            )
            notes.append(Doubt("split-word", out))
        else:
            source[split] = cell
    if "train" not in source:
        raise UserError(
            f"The column {column.name!r} names no train rows; it holds {', '.join(sorted(column.counts)[:6])}.",
            f"Words for them: {', '.join(sorted(SPLITS_BY_WORDS['train'])[:4])}. Without --split, bench divides the rows.",
        )
    return source


def _stratified(of: Rows, codes: Sequence[str], notes: list[str | Doubt]) -> Division:
    """As `harness.data.rows` divides: language by language, with the same shares of each label."""
    shares = Shares()
    totals = Counter(lang for lang, good in zip(of.langs, of.usable, strict=True) if good)
    alike = of.of_one_label(codes)
    rows: dict[Split, dict[str, int]] = {split: {} for split in SPLITS}
    for code in codes:
        test, validation = round(totals[code] * shares.test), round(totals[code] * shares.validation)
        train = totals[code] - test - validation
        if min(test, validation, train) < 1:
            if len(codes) == 1:
                raise UserError(f"{totals[code]} rows with text and label are too few for three splits.", "Give more rows.")
            notes.append(f"{code} is left out: {totals[code]} rows are too few for three splits.")
            continue
        if code in alike and len(codes) > 1:
            notes.append(f"{code} is left out: its rows have only one label.")
            continue
        rows["train"][code], rows["validation"][code], rows["test"][code] = train, validation, test
    return Division(rows, {}, notes=notes)
