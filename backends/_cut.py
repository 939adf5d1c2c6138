"""Texts longer than what a model reads: how many of their tokens are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CHUNK = 256
"""Texts that are tokenized at a time: of whole texts the ids may take far more room than what is kept of them."""


def tokens_left_out(tokenizer: Any, texts: Sequence[str], rows: Sequence[Mapping[str, Sequence[int]]], most: int) -> list[int]:
    """Tokens of each text that its row, cut to at most `most`, does not hold. Only full rows are tokenized once more."""
    left_out = [0] * len(rows)
    full = [index for index, row in enumerate(rows) if len(row["input_ids"]) >= most]
    for start in range(0, len(full), CHUNK):
        part = full[start : start + CHUNK]
        whole = tokenizer([texts[index] for index in part], return_attention_mask=False, verbose=False)["input_ids"]
        for index, ids in zip(part, whole, strict=True):
            left_out[index] = len(ids) - len(rows[index]["input_ids"])
    return left_out
