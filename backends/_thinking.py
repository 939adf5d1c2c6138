"""The thinking of language models before their answer: what marks it, and how long it may be."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictInt

THINKING = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",
}
"""What begins a model's thinking, and what ends it."""

HARMONY = "<|channel|>analysis<|message|>"

MOST_THOUGHT = 4096
"""Tokens of thinking where `thinking` is on without a number; then it is closed."""


def _word(value: object) -> object:
    """YAML reads off and on as false and true."""
    return {False: "off", True: "on"}[value] if isinstance(value, bool) else value


Thinking = Annotated[Literal["off", "on"] | Annotated[StrictInt, Field(ge=1)], BeforeValidator(_word)]
"""`off`: the answer stands behind an empty block of thinking; `on`: behind at most `MOST_THOUGHT` tokens; or behind at most so
many."""


def closing_of(begun: str) -> str:
    """What ends thinking that began with this mark, up to the answer."""
    if begun == HARMONY:
        return f"<|end|><|start|>assistant{THINKING[begun]}"
    return f"\n{THINKING[begun]}\n\n"


def left_open(text: str) -> str | None:
    """The beginning of thinking that has no end in `text`."""
    marks = {**dict.fromkeys(THINKING, True), **dict.fromkeys(THINKING.values(), False)}
    found = re.findall("|".join(map(re.escape, marks)), text)
    return found[-1] if found and marks[found[-1]] else None
