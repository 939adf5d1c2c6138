"""What the causal LM engine must give, by whole forward passes of its model, row by row and choice by choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backends._chat import common_prefix
from backends.causal_lm import CausalLM, CausalLMOptions
from harness.core.arrays import FloatArray
from harness.core.engine import Generation, Messages

RATE = "Rate the review from 0 to 4. Reply with the number only."
TEXTS = [
    "the kettle works well",
    "bad",
    "It came loose after 10 days, the handle and the lid; and 日本語 too. Never again!",
    "",
    "very good, </s> I love it <|im_end|>",
]
DIGITS = ["0", "1", "2", "3", "4"]
SCALE = [str(number) for number in range(11)]  # "1" begins "10"
MIXED = ["1", "10", "very good", "very bad", "negative"]


ENDING = "{% for turn in messages %}{{ turn['content'] }}{% endfor %}"


def chats_of(texts: Sequence[str], system: str = RATE) -> list[Messages]:
    return [[{"role": "system", "content": system}, {"role": "user", "content": f"Review: {text}"}] for text in texts]


CHATS = chats_of(TEXTS)


def loaded(folder: Path, **options: Any) -> CausalLM:
    engine = CausalLM(CausalLMOptions.model_validate({"device": "cpu", "dtype": "float32", **options}), folder)
    engine.load()
    return engine


def next_log_p(engine: CausalLM, ids: list[int]) -> FloatArray:
    """log p of every token after each of `ids`, shape (len(ids), vocabulary): the model and nothing else."""
    import torch

    with torch.no_grad():
        logits = engine._model(input_ids=torch.tensor([ids])).logits[0].double()
    return np.asarray(torch.log_softmax(logits, -1).numpy())


def score(engine: CausalLM, chats: Sequence[Messages], choices: Sequence[str]) -> FloatArray:
    """log p, shape (len(chats), len(choices)); NaN where there is none."""
    rows = engine.score(engine.encode(chats, choices), choices)
    assert all((row.log_p is None) == (row.error is not None) for row in rows)
    return np.array([np.full(len(choices), np.nan) if row.log_p is None else row.log_p for row in rows])


def generate(
    engine: CausalLM, chats: Sequence[Messages], max_new_tokens: int, choices: Sequence[str] | None
) -> list[Generation]:
    return engine.generate(engine.encode(chats, choices), max_new_tokens, choices)


def prompt_ids(engine: CausalLM, chat: Messages) -> list[int]:
    ids: list[int] = engine.encode([chat], None)[0].content.ids
    return ids


def finished(engine: CausalLM, chat: Messages, choices: Sequence[str]) -> tuple[list[int], list[list[int]]]:
    """Ids of the prompt, and of each choice behind it, by whole texts; with an end where one choice begins another."""
    text = engine._chat.marked(chat, thinks=False)
    space = " " if text.startswith("<s> [INST]") else ""
    wholes = engine._chat.tokens([text, *(text + space + choice for choice in choices)])
    cut = len(common_prefix(wholes))
    tails = [whole[cut:] for whole in wholes[1:]]
    if any(a != b and b[: len(a)] == a for a in tails for b in tails):
        tails = [[*tail, engine._tokenizer.eos_token_id] for tail in tails]
    return wholes[0][:cut], tails


def oracle_scores(engine: CausalLM, chats: Sequence[Messages], choices: Sequence[str]) -> FloatArray:
    """One whole forward pass for each row and choice."""
    scores = np.zeros((len(chats), len(choices)))
    for row, chat in enumerate(chats):
        prompt, tails = finished(engine, chat, choices)
        for column, tail in enumerate(tails):
            log_p = next_log_p(engine, prompt + tail)
            scores[row, column] = sum(log_p[len(prompt) + i - 1, token] for i, token in enumerate(tail))
    return scores


def oracle_text(engine: CausalLM, chat: Messages, max_new_tokens: int) -> str:
    """Greedy decoding by whole forward passes."""
    ids = prompt_ids(engine, chat)
    new: list[int] = []
    while len(new) < max_new_tokens:
        token = int(next_log_p(engine, ids + new)[-1].argmax())
        if token in engine._ends:
            break
        new.append(token)
    text: str = engine._tokenizer.decode(new, skip_special_tokens=True)
    return text


def oracle_choice(engine: CausalLM, chat: Messages, choices: Sequence[str]) -> str:
    """The choice that is reached by taking the likeliest token that some choice allows."""
    prompt, tails = finished(engine, chat, choices)
    path: list[int] = []
    while path not in tails:
        allowed = [tail[len(path)] for tail in tails if tail[: len(path)] == path]
        log_p = next_log_p(engine, prompt + path)[-1]
        path.append(max(allowed, key=lambda token: float(log_p[token])))
    return choices[tails.index(path)]
