"""The answers that may follow a prompt, as a tree of tokens: what has to be known of each to score or to choose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.core.types import FloatArray

Path = tuple[int, ...]


class ChoiceTree:
    """Choices by their tokens. No choice may be the beginning of another (a closing token after each sees to that).

    `nodes` are the beginnings after which a token is to be chosen, the empty one first and each after the one that it
    extends; `edges` are pairs of (index into `nodes`, a token that may follow there), in the order of the nodes.
    """

    def __init__(self, choices: Sequence[Path]) -> None:
        self.choices = tuple(choices)
        beginnings = {choice[:length] for choice in choices for length in range(len(choice))}
        self.nodes: list[Path] = sorted(beginnings, key=lambda node: (len(node), node))
        at = {node: index for index, node in enumerate(self.nodes)}
        steps = {(at[choice[:length]], choice[length]) for choice in choices for length in range(len(choice))}
        self.edges: list[tuple[int, int]] = sorted(steps)
        edge = {pair: index for index, pair in enumerate(self.edges)}
        self._uses = np.zeros((len(self.edges), len(self.choices)))
        for column, choice in enumerate(self.choices):
            for length, token in enumerate(choice):
                self._uses[edge[at[choice[:length]], token], column] = 1

    def __len__(self) -> int:
        """Tokens beyond the prompt that a model must read to know all edges."""
        return len(self.nodes) - 1

    @property
    def longest(self) -> int:
        return max(map(len, self.choices))

    def following(self, node: Path) -> list[int]:
        """The tokens that may follow; none where a choice is complete."""
        return sorted({choice[len(node)] for choice in self.choices if len(choice) > len(node) and choice[: len(node)] == node})

    def log_p(self, edges: FloatArray) -> FloatArray:
        """log p of each whole choice, shape (rows, choices), from log p of each edge, shape (rows, edges).

        The chain rule: log p(t1 ... tn | prompt) is the sum of log p(ti | prompt, t1 ... ti-1).
        """
        return np.asarray(edges @ self._uses)

    def greedy(self, edges: FloatArray) -> int:
        """The choice that is reached by always taking the likeliest token that is allowed; `edges` is of one row."""
        node: Path = ()
        while node not in self.choices:
            at = self.nodes.index(node)
            token = max(
                (edge for edge in range(len(self.edges)) if self.edges[edge][0] == at), key=lambda edge: float(edges[edge])
            )
            node = (*node, self.edges[token][1])
        return self.choices.index(node)
