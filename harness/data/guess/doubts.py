"""What `bench init` doubts of its own guesses: a kind, and a sentence with what was found, decided, and what changes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Doubt:
    """`kind`: one word that tests and scripts may rely on; `text`: a sentence or two for people."""

    kind: str
    text: str


def as_doubts(kind: str, notes: Iterable[str | Doubt]) -> list[Doubt]:
    """The sentences as doubts of `kind`; those that have a kind of their own keep it."""
    return [note if isinstance(note, Doubt) else Doubt(kind, note) for note in notes]
