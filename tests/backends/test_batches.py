"""Batches for training and prediction: every row once, little padding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends._batches import TrainBatches, by_length, outputs_of, padded


def of_length(*lengths: int) -> list[dict[str, list[int]]]:
    return [{"input_ids": [5] * length} for length in lengths]


@given(st.integers(4, 300), st.integers(1, 9), st.integers(1, 4), st.integers(0, 3))
def test_each_row_comes_once_an_epoch_over_all_processes(rows: int, size: int, world: int, epoch: int) -> None:
    lengths = np.random.default_rng(rows).integers(1, 50, rows).tolist()
    processes = [TrainBatches(lengths, size, 7, rank, world) for rank in range(world)]
    for process in processes:
        process.epoch = epoch
    batches = [list(process) for process in processes]
    assert {len(part) for part in batches} == {len(processes[0])}
    assert sorted(row for part in batches for batch in part for row in batch) == list(range(rows))
    sizes = [len(batch) for part in batches for batch in part]
    assert 1 <= min(sizes) <= max(sizes) <= max(size, 2)
    if size > 1:
        assert len(processes[0]) == -(-rows // (size * world))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = list(range(1, 101))
    batches, again, other = (TrainBatches(lengths, 8, seed, 0, 1) for seed in (0, 0, 1))
    first = list(batches)
    assert first == list(batches) == list(again)
    assert first != list(other)
    batches.epoch = 1
    assert list(batches) != first


def test_rows_of_a_batch_are_of_like_length_and_the_longest_come_first() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 1000).tolist()
    batches = list(TrainBatches(lengths, 10, 0, 0, 1))
    spread = [max(lengths[row] for row in batch) - min(lengths[row] for row in batch) for batch in batches]
    assert np.mean(spread) < 10
    assert max(lengths) in [lengths[row] for row in batches[0]]
    tops = [max(lengths[row] for row in batch) for batch in batches[1:]]
    assert tops != sorted(tops, reverse=True)


def test_batches_by_length_keep_to_rows_and_tokens() -> None:
    rows = of_length(3, 9, 5, 1, 5, 40)
    assert by_length(rows, 2, 1000) == [[5, 1], [2, 4], [0, 3]]
    assert by_length(rows, 9, 18) == [[5], [1, 2], [4, 0, 3]]
    assert by_length([], 2, 10) == []


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding(side: str) -> None:
    tokenizer: Any = SimpleNamespace(padding_side=side, pad_token_id=1, pad_token_type_id=3)
    rows = [{"input_ids": [7, 8, 9], "token_type_ids": [0, 0, 0]}, {"input_ids": [6], "token_type_ids": [0]}]
    batch = {name: values.tolist() for name, values in padded(rows, tokenizer).items()}
    short = {"right": ([6, 1, 1], [0, 3, 3], [1, 0, 0]), "left": ([1, 1, 6], [3, 3, 0], [0, 0, 1])}[side]
    assert batch == {
        "input_ids": [[7, 8, 9], short[0]],
        "token_type_ids": [[0, 0, 0], short[1]],
        "attention_mask": [[1, 1, 1], short[2]],
    }


@pytest.mark.parametrize("ahead", [0, 2])
def test_batches_are_launched_ahead_and_their_outputs_come_in_the_order_of_the_rows(ahead: int) -> None:
    tokenizer: Any = SimpleNamespace(padding_side="right", pad_token_id=0, pad_token_type_id=0)
    rows = [{"input_ids": [number] * number} for number in (3, 1, 5, 2, 4)]
    events: list[tuple[str, int]] = []

    def launch(batch: dict[str, Any]) -> Any:
        (number,) = batch["input_ids"].max(axis=1).tolist()
        events.append(("launch", number))

        def read() -> Any:
            events.append(("read", number))
            return np.array([[number]])

        return read

    assert outputs_of(rows, 1, 100, tokenizer, launch, ahead)[:, 0].tolist() == [3, 1, 5, 2, 4]
    assert [number for what, number in events if what == "read"] == [5, 4, 3, 2, 1]
    running = np.cumsum([1 if what == "launch" else -1 for what, _ in events])
    assert running.max() == ahead + 1
