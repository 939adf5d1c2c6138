"""One check, after all guesses, over labels x splits x languages and over the texts: what `bench init` doubts of its data."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from harness.core.types import LabelKind
from harness.data.guess.doubts import Doubt
from harness.data.guess.labels import LabelSpaceGuess, same_step
from harness.data.label_table import LabelTable, unseen_sentence
from harness.parsing.folding import fold
from harness.parsing.signs import is_blank, one_edit_apart, quoted, skeleton

FEW = 10
"""A label with fewer rows is named as rare: nothing can be said of how well it is found."""

DOMINANT = 0.95
"""A label of a larger share of the rows is named: always answering it is right that often."""

LEAK = 0.9
"""Where the label's name stands in a larger share of the texts, they tell the label."""

SAMPLE = 2000
"""Texts that are looked at for the names of their labels."""

MOST = 6
"""Names that a sentence shows."""

_ID = re.compile(r"[\w./:#-]*\d[\w./:#-]*")


def doubts_of_table(table: LabelTable, kind: LabelKind) -> list[Doubt]:
    """What a split or a language lacks, one-class splits and dominant labels."""
    found = [doubt for split in ("test", "validation") for doubt in _unseen(table, split)]
    return [*found, *_untested(table), *_one_class(table, kind), *_of_languages(table), *_dominant(table, kind)]


def _unseen(table: LabelTable, split: str) -> list[Doubt]:
    unseen = table.unseen(split)
    if not unseen:
        return []
    learned = [label for label, row in zip(table.labels, table.of_split("train").sum(axis=1), strict=True) if row]
    rows = int(table.rows[table.splits.index(split)].sum())
    pairs = [(label, other) for label in unseen for other in learned if _related(label, other)]
    alike = "; ".join(f"{quoted(one)} and {quoted(other)}" for one, other in pairs[:MOST])
    way = f"They may be the same labels: {alike}. Write both alike" if pairs else "Check them"
    none = (
        " No label of the test is one of the train rows, so that no trained model can be right." if _all(table, split) else ""
    )
    text = f"{unseen_sentence(unseen, rows, split)}{none} {way} in the data, or join them by `labels.merge` in the task's YAML."
    return [Doubt(f"unseen-{split}-labels", text)]


def _all(table: LabelTable, split: str) -> bool:
    """Whether no label of the split is a train row's."""
    there, known = table.of_split(split).sum(axis=1) > 0, table.of_split("train").sum(axis=1) > 0
    return split == "test" and not bool((there & known).any())


def _untested(table: LabelTable) -> list[Doubt]:
    untested = {} if "test" not in table.splits else table.unseen("train", "test")
    if not untested:
        return []
    return [
        Doubt(
            "untested-labels",
            f"No test row has {_some(list(untested))}, which train rows have: nothing is measured there. Move rows into the"
            " test split, or leave the splits out of the data, and bench divides the rows evenly.",
        )
    ]


def _one_class(table: LabelTable, kind: LabelKind) -> list[Doubt]:
    if kind is LabelKind.MULTILABEL:
        return []
    doubts = []
    for split in (split for split in table.splits if split != "all"):
        there = table.of_split(split) > 0
        lone = [lang for place, lang in enumerate(table.langs) if there[:, place].sum() == 1]
        if not lone:
            continue
        where = "" if len(table.langs) == 1 else f" in {_some(lone)}"
        label = table.labels[int(np.flatnonzero(there[:, table.langs.index(lone[0])])[0])]
        doubts.append(
            Doubt(
                "one-class-split",
                f"All {split} rows{where} have one label ({label}), so that always answering it is right. Mix the rows before"
                " you divide them; or leave the splits out of the data, and bench divides the rows.",
            )
        )
    return doubts


def _of_languages(table: LabelTable) -> list[Doubt]:
    """Labels that some languages lack, in all splits or in the test."""
    if len(table.langs) < 2:
        return []
    doubts = []
    whole = table.counts.sum(axis=1) > 0
    tested = table.of_split("test") > 0
    for kind, there, what in (("language-labels", whole, "rows"), ("language-test-labels", tested, "test rows")):
        lacking = {
            lang: [label for place, label in enumerate(table.labels) if there[place].any() and not there[place, at]]
            for at, lang in enumerate(table.langs)
        }
        lacking = {lang: labels for lang, labels in lacking.items() if labels}
        if kind == "language-test-labels":
            lacking = {
                lang: left
                for lang, labels in lacking.items()
                if (left := [label for label in labels if whole[table.labels.index(label), table.langs.index(lang)]])
            }
        if lacking:
            shown = "; ".join(f"{lang}: {_some(labels)}" for lang, labels in list(lacking.items())[:MOST])
            doubts.append(
                Doubt(
                    kind,
                    f"Labels without {what} in a language ({shown}): averages over the labels mean another thing there. Compare"
                    " accuracy, or leave such a language out of `languages` in the task's YAML.",
                )
            )
    return doubts


def _dominant(table: LabelTable, kind: LabelKind) -> list[Doubt]:
    shares = table.counts.sum(axis=(1, 2)) / max(1, int(table.rows.sum()))
    top = int(shares.argmax())
    if shares[top] <= DOMINANT:
        return []
    what = "has" if kind is not LabelKind.MULTILABEL else "is one of the labels of"
    text = f"{table.labels[top]!r} {what} {_percent(float(shares[top]))} of the rows: always answering it is right that often."
    return [Doubt("imbalance", f"{text} Look at macro-F1, and not at accuracy; or add rows of other labels.")]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share < 1 else "100%"


def rare(labels: LabelSpaceGuess) -> list[Doubt]:
    """On labels with very few rows."""
    few = {name: count for name, count in labels.rows.items() if count < FEW}
    if not few:
        return []
    shown = ", ".join(f"{name} ({count})" for name, count in list(few.items())[:8]) + (", ..." if len(few) > 8 else "")
    have = "has" if len(few) == 1 else "have"
    out = f"{len(few)} of {len(labels.rows)} labels {have} fewer than {FEW} rows, too few to learn or to measure: {shown}."
    return [Doubt("rare-labels", f"{out} Add rows, or join them by `labels.merge` in the task's YAML.")]


def alike(rows: Mapping[str, int]) -> list[Doubt]:
    """On names that look or mean the same, and are two labels. `rows`: name -> rows."""
    pairs = [(one, other) for one, other in combinations(rows, 2) if _alike(one, other)]
    if not pairs:
        return []
    shown = "; ".join(f"{quoted(one)} ({rows[one]}) and {quoted(other)} ({rows[other]})" for one, other in pairs[:MOST])
    more = "; ..." if len(pairs) > MOST else ""
    return [
        Doubt(
            "alike-labels",
            f"Labels that look alike are taken for different ones: {shown}{more}. If they are one: write both alike in the"
            " data, or join them by `labels.merge` in the task's YAML.",
        )
    ]


def _alike(one: str, other: str) -> bool:
    a, b = skeleton(one), skeleton(other)
    if not a or not b:
        return False
    if a == b or same_step(one, other):
        return True
    if not (a.isalpha() and b.isalpha()):
        return False
    short, long = sorted((a, b), key=len)
    plural = len(short) >= 3 and long in (f"{short}s", f"{short}es", f"{short[:-1]}ies" if short.endswith("y") else "")
    return plural or (len(short) >= 5 and one_edit_apart(short, long))


def _related(one: str, other: str) -> bool:
    """Whether a label of one split may be another's: alike, or one begins the other (neg, Negative)."""
    a, b = sorted((skeleton(one), skeleton(other)), key=len)
    return _alike(one, other) or (len(a) >= 2 and b.startswith(a) and a.isalpha())


def doubts_of_texts(texts: Sequence[str], truths: Sequence[tuple[str, ...]], column: str) -> list[Doubt]:
    """On texts that tell their label, that are ids, or that are all the same. `truths`: the labels of each text."""
    step = max(1, len(texts) // SAMPLE)
    rows = [(text, truth) for text, truth in zip(texts[::step], truths[::step], strict=True) if not is_blank(text)]
    if not rows:
        return []
    doubts = []
    if sum(_ID.fullmatch(text.strip()) is not None for text, _ in rows) > LEAK * len(rows):
        out = f"The texts in {column!r} look like ids, numbers or paths. If another column holds the text: --text NAME."
        doubts.append(Doubt("texts-like-ids", out))
    names: dict[str, str] = defaultdict(str)
    said = 0
    for text, truth in rows:
        folded = fold(text)
        said += any(_stands_in(names.setdefault(label, fold(label)), folded) for label in truth)
    if said > LEAK * len(rows):
        out = (
            f"The name of its label stands in {said / len(rows):.0%} of the texts, so that no model is needed. If the text was"
            " made from the label, or another column is the text: --text NAME."
        )
        doubts.append(Doubt("leak", out))
    if len({text for text, _ in rows}) == 1:
        doubts.append(
            Doubt("constant-text", f"All texts in {column!r} are the same. If another column is the text: --text NAME.")
        )
    return doubts


def _stands_in(name: str, text: str) -> bool:
    return len(name) >= 2 and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST]) + (", ..." if len(names) > MOST else "")
