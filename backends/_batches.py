"""Encoded rows into batches of like length: about a third less padding, hence a third less time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = Mapping[str, Sequence[int]]
"""`input_ids`, and `token_type_ids` where the tokenizer gives them."""

BLOCK = 50
"""Batches whose rows are sorted by length among themselves: enough to save padding, few enough to stay random."""


class TrainBatches:
    """A batch sampler: each row once an epoch, in an order that depends on nothing but the seed and `epoch`.

    So that a training resumed in the midst of an epoch, and each of `world` processes, knows the same order. A batch of
    all processes together is shared out evenly, so that batches differ by a row or two, and no row comes twice. Each process
    gets a row of each batch, for which batches of one row may have to become batches of two.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, rank: int, world: int) -> None:
        self._lengths = np.asarray(lengths)
        self._count = min(-(-len(lengths) // (batch_size * world)), len(lengths) // world)
        self._seed, self._rank, self._world = seed, rank, world
        self.epoch = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self._seed, self.epoch])
        shuffled = np.array_split(random.permutation(len(self._lengths)), self._count)
        batches: list[NDArray[np.int64]] = []
        for start in range(0, self._count, BLOCK):
            block = shuffled[start : start + BLOCK]
            rows = np.concatenate(block)
            rows = rows[np.argsort(-self._lengths[rows], kind="stable")]
            batches += np.array_split(rows, len(block))
        random.shuffle(batches)
        # The longest first, so that a batch that does not fit into memory shows at once.
        longest = max(range(self._count), key=lambda index: self._lengths[batches[index]].max())
        batches[0], batches[longest] = batches[longest], batches[0]
        return ([int(row) for row in batch[self._rank :: self._world]] for batch in batches)


def by_length(rows: Sequence[Row], size: int, tokens: int) -> list[list[int]]:
    """Indices of `rows`, longest first, in batches of at most `size` rows and `tokens` tokens, padding included."""
    batches: list[list[int]] = []
    for index in sorted(range(len(rows)), key=lambda index: -len(rows[index]["input_ids"])):
        if not batches or len(batches[-1]) == size or (len(batches[-1]) + 1) * _width(rows, batches[-1]) > tokens:
            batches.append([])
        batches[-1].append(index)
    return batches


def _width(rows: Sequence[Row], batch: Sequence[int]) -> int:
    return len(rows[batch[0]]["input_ids"])


def padded(rows: Sequence[Row], tokenizer: Any) -> dict[str, NDArray[np.int64]]:
    """What a model takes, each of shape (len(rows), longest): the rows' fields, padded, and their `attention_mask`."""
    width = max(len(row["input_ids"]) for row in rows)
    left = tokenizer.padding_side == "left"  # XLNet reads the last position
    filler = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    batch = {name: np.full((len(rows), width), filler[name], dtype=np.int64) for name in rows[0]}
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for index, row in enumerate(rows):
        length = len(row["input_ids"])
        place = slice(width - length, None) if left else slice(length)
        mask[index, place] = 1
        for name, values in row.items():
            batch[name][index, place] = values
    return {**batch, "attention_mask": mask}
