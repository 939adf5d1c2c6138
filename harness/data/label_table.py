"""Rows of each label, in each split and each language: what one of them lacks that another has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.arrays import IntArray
from harness.core.types import Example


@dataclass(frozen=True, slots=True)
class LabelTable:
    """`counts`: labels x splits x languages; a row with several labels counts for each. `rows`: splits x languages."""

    labels: tuple[str, ...]
    splits: tuple[str, ...]
    langs: tuple[str, ...]
    counts: IntArray
    rows: IntArray

    def of_split(self, split: str) -> IntArray:
        """Labels x languages; zeros for a split that is not there."""
        if split not in self.splits:
            return np.zeros((len(self.labels), len(self.langs)), dtype=np.int64)
        found: IntArray = self.counts[:, self.splits.index(split), :]
        return found

    def unseen(self, split: str, among: str = "train") -> dict[str, int]:
        """Labels of `split` that no row of `among` has in any language -> their rows of `split`."""
        there, known = self.of_split(split).sum(axis=1), self.of_split(among).sum(axis=1)
        return {self.labels[place]: int(there[place]) for place in np.flatnonzero((there > 0) & (known == 0))}


def label_table(
    rows: Iterable[tuple[Sequence[int], str, str]], labels: Sequence[str], splits: Sequence[str], langs: Sequence[str]
) -> LabelTable:
    """`rows`: the places of a row's labels in `labels`, its split and its language."""
    split_at, lang_at = ({name: place for place, name in enumerate(names)} for names in (splits, langs))
    counts = np.zeros((len(labels), len(splits), len(langs)), dtype=np.int64)
    total = np.zeros((len(splits), len(langs)), dtype=np.int64)
    for places, split, lang in rows:
        where = split_at[split], lang_at[lang]
        total[where] += 1
        for place in places:
            counts[(place, *where)] += 1
    return LabelTable(tuple(labels), tuple(splits), tuple(langs), counts, total)


def unseen_labels(rows: Iterable[Example], train: Iterable[Example], names: Sequence[str]) -> dict[str, int]:
    """Labels of `rows` that no row of `train` has -> their rows."""
    parts = [((example.label if isinstance(example.label, tuple) else (example.label,)), split)
             for split, examples in (("test", rows), ("train", train)) for example in examples]  # fmt: skip
    return label_table(((places, split, "") for places, split in parts), names, ("test", "train"), ("",)).unseen("test")


def unseen_sentence(unseen: dict[str, int], rows: int, split: str = "test") -> str:
    """What a model that learns from the train rows can't get right. `rows`: of the split."""
    count = sum(unseen.values())
    shown = ", ".join(list(unseen)[:6]) + (", ..." if len(unseen) > 6 else "")
    of = f"{count:,} of {rows:,} {split} rows have" if count != 1 else f"1 of {rows:,} {split} rows has"
    return f"{of} a label that no train row has: {shown}."
