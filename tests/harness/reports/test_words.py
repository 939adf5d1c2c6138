"""Configurations in words: a label names what differs, and a tie names its backends."""

from __future__ import annotations

from collections.abc import Callable

import boards
from boards import entry

from harness.analysis.ranks import Configuration, RankedEntry
from harness.reports.words import hows, standing


def place(name: str, rank: int = 1) -> RankedEntry:
    return RankedEntry(rank, Configuration((entry(name),)), True, behind=rank > 1)


def with_options(seed: int = 0, **options: object) -> Configuration:
    return Configuration((entry("a", backend={"name": "a", "engine": "toy", "model": None, "options": options}, seed=seed),))


def test_a_tie_names_backends_and_counts_their_configurations(golden: Callable[[str, str], None]) -> None:
    ties = [
        [place("a"), place("a"), place("a")],
        [place("a"), place("b"), place("b"), place("c"), place("a")],
        [place("a"), place("b"), place("c", 3)],
    ]
    golden("reports/ties", "".join(f"{standing(places)}\n" for places in ties))


def test_rows_that_read_alike_are_told_apart_by_what_differs() -> None:
    alike = [with_options(batch_size=16, device="auto"), with_options(batch_tokens=None, device="auto")]
    assert hows(alike) == ["trained on 9 en, batch_size=16", "trained on 9 en"]
    assert hows(alike[:1]) == ["trained on 9 en"]
    other = Configuration((boards.renamed(entry("b"), "other"),))
    assert hows([alike[0], other]) == ["trained on 9 en", "trained on 9 en"], "another backend needs no more words"
    digests = [with_options(sha256=digit * 64) for digit in "ab"]
    assert hows(digests) == ["trained on 9 en, sha256=aaaaaaaa", "trained on 9 en, sha256=bbbbbbbb"]
