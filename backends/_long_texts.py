"""Texts that are longer than a model reads: the beginning, the beginning and the end, or all of it in overlapping windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends._batches import Row, tokens_left_out, whole_texts
from backends._encoder_options import EncoderOptions
from harness.core.arrays import FloatArray
from harness.core.errors import UserError

HEAD = 4
"""One part in so many is the head: 128 of 512 tokens, as in Sun et al. 2019, arXiv:1905.05583, section 5.3.1."""
OVERLAP = 4
"""One part in so many of a window is read in the window before, too, where the options do not say."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pieces:
    """What is read of a text: `rows`, one pass each. `left_out`: how many of its tokens are in none of them."""

    rows: Sequence[Row]
    left_out: int = 0


def pieces_of(tokenizer: Any, texts: Sequence[str], rows: Sequence[Row], most: int, options: EncoderOptions) -> list[Pieces]:
    """Of each text, whose `rows` are cut to `most` tokens. Raises `UserError` for windows that add no tokens."""
    if options.long_texts == "cut":
        lost = tokens_left_out(tokenizer, texts, rows, most)
        return [Pieces([row], left_out) for row, left_out in zip(rows, lost, strict=True)]
    if options.long_texts == "windows":
        _check_overlap(tokenizer, most, options)
    pieces = [Pieces([row]) for row in rows]
    for index, whole in whole_texts(tokenizer, texts, rows, most):
        if len(whole["input_ids"]) > most:
            pieces[index] = _head_and_tail(whole, most) if options.long_texts == "head_tail" else _windows(whole, most, options)
    return pieces


def _head_and_tail(whole: Row, most: int) -> Pieces:
    body, room = _sizes(whole, most)
    head = min(most // HEAD, room)
    return Pieces([_joined(whole, [(0, head), (body - (room - head), body)])], body - room)


def _windows(whole: Row, most: int, options: EncoderOptions) -> Pieces:
    """As a fast tokenizer's `return_overflowing_tokens` with `stride` makes them, for every tokenizer."""
    body, room = _sizes(whole, most)
    overlap = _overlap(most, options)
    starts = range(0, body - overlap, room - overlap)[: options.max_windows]
    rows = [_joined(whole, [(start, min(start + room, body))]) for start in starts]
    return Pieces(rows, max(body - starts[-1] - room, 0))


def _overlap(most: int, options: EncoderOptions) -> int:
    return most // OVERLAP if options.window_overlap is None else options.window_overlap


def _check_overlap(tokenizer: Any, most: int, options: EncoderOptions) -> None:
    """Also where no text is longer than `most`: the first one that is may come after the training."""
    room, overlap = most - tokenizer.num_special_tokens_to_add(), _overlap(most, options)
    if overlap >= room:
        raise UserError(
            f"Windows that share {overlap} of their {room} tokens of text never end.",
            "Lower `window_overlap`, or raise `max_length`.",
        )


def _sizes(whole: Row, most: int) -> tuple[int, int]:
    """Tokens of the text itself, and how many of them fit into `most` beside those that the tokenizer adds at both ends."""
    before, after = _added(whole)
    return len(whole["input_ids"]) - before - after, most - before - after


def _added(whole: Row) -> tuple[int, int]:
    """How many tokens the tokenizer adds before a text and after it."""
    of_text = np.flatnonzero(np.asarray(whole["special_tokens_mask"]) == 0)
    return int(of_text[0]), len(whole["input_ids"]) - 1 - int(of_text[-1])


def _joined(whole: Row, spans: Sequence[Span]) -> Row:
    """A row of these spans of the text, between the tokens that the tokenizer adds."""
    before, after = _added(whole)
    end = len(whole["input_ids"]) - after
    kept = [(0, before), *((before + start, before + stop) for start, stop in spans), (end, end + after)]
    return {
        name: [value for start, stop in kept for value in values[start:stop]]
        for name, values in whole.items()
        if name != "special_tokens_mask"
    }


def mean_by_text(probabilities: FloatArray, rows: Sequence[int]) -> FloatArray:
    """The mean of each text's rows, shape (texts, labels). `probabilities`: (sum of `rows`, labels), in the order of the texts;
    `rows`: how many each text has, at least one."""
    counts: NDArray[np.int64] = np.asarray(rows, dtype=np.int64)
    if not len(counts):
        return probabilities
    return np.asarray(np.add.reduceat(probabilities, np.cumsum(counts) - counts, axis=0) / counts[:, None])
