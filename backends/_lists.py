"""Constrained answers that are lists of names, token by token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from harness.core.errors import UserError

Names = tuple[str, ...]
Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ListPrompt:
    """`Encoded.content` where a list is to be answered. `ids`: the prompt, as far as all lists begin alike; `text` (marked) and
    `text_ids`: all of it; `room`: tokens that the longest list takes."""

    ids: list[int]
    text: str
    text_ids: list[int]
    room: int


Paths = Mapping[Tokens, tuple[Names, bool]]
"""Tokens after `ListPrompt.ids` -> the names that these are, and whether the list ends with them."""


class ListWalk:
    """One answer. A tree of all lists would have more than 2^n leaves: this walk knows only what may follow the names so far,
    which is each other name, once as the last one and once with a comma after it."""

    def __init__(self, paths_after: Callable[[Names], Paths]) -> None:
        self._paths_after = paths_after
        self.tokens: Tokens = ()
        self.names: Names = ()
        self.done = False
        self._paths = paths_after(())
        self._check()

    def following(self) -> list[int]:
        """The tokens that may follow; none after the end."""
        length = len(self.tokens)
        return [] if self.done else sorted({path[length] for path in self._paths if path[:length] == self.tokens})

    def take(self, token: int) -> None:
        self.tokens = (*self.tokens, token)
        if self.tokens not in self._paths:
            return
        self.names, self.done = self._paths[self.tokens]
        if not self.done:
            self._paths = self._paths_after(self.names)
            self._check()

    def _check(self) -> None:
        """Raises `UserError` where this tokenizer does not tell a name's end from a comma, or cuts a list anew as it grows."""
        ordered = sorted(self._paths)
        begins = any(after[: len(path)] == path for path, after in pairwise(ordered))
        if begins or any(path[: len(self.tokens)] != self.tokens or path == self.tokens for path in ordered):
            raise UserError(
                "This model's tokenizer can't tell lists of these labels apart.",
                "Use the decoding `free`, or other names of labels.",
            )
