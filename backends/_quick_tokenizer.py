"""Reads a fast tokenizer's file once: transformers parses it three times, in Rust, in Python for the list of added tokens, and
again to copy what it has just read. A multilingual vocabulary takes seconds so."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TextIO
from unittest.mock import patch

_PADDING = r'\{(?:[^{}"]|"[^"\\]*"|\{[^{}]*\})*\}'
_BEFORE = re.compile(
    rf'\s*\{{\s*"version":\s*"[^"]*",\s*"truncation":\s*(?:null|{_PADDING}),\s*"padding":\s*(?:null|{_PADDING}),'
    r'\s*"added_tokens":\s*(?=\[)'
)
"""What the tokenizers library writes before the list of added tokens."""


@contextmanager
def read_once() -> Iterator[None]:
    """Around `from_pretrained` of a tokenizer."""
    from transformers import tokenization_utils_base, tokenization_utils_tokenizers

    with (
        patch.object(tokenization_utils_base, "json", _standing_in_for(json, load=_load)),
        patch.object(tokenization_utils_tokenizers, "copy", _standing_in_for(copy, deepcopy=_deepcopy)),
    ):
        yield


def _standing_in_for(module: Any, **functions: Any) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(module), **functions})


def _deepcopy(value: Any, *args: Any) -> Any:
    """The tokenizer itself: it comes from a file, and nothing else holds it."""
    from tokenizers import Tokenizer

    return value if isinstance(value, Tokenizer) else copy.deepcopy(value, *args)


def _load(file: TextIO) -> Any:
    """Of a tokenizer.json the added tokens alone, which is what transformers takes from it; of other files all."""
    text = file.read()
    found = _BEFORE.match(text)
    if found is None:
        return json.loads(text)
    return {"added_tokens": json.JSONDecoder().raw_decode(text, found.end())[0]}
