"""What a server answered: the bytes of a chat completion, read with care."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ValidationError

from backends.base import FloatArray


@dataclass(frozen=True, slots=True)
class Failure:
    """A row without an answer: the word for it, and what it cost."""

    word: str
    prompt_tokens: int = 0
    new_tokens: int = 0


class Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class TopToken(BaseModel):
    token: str
    logprob: float


class TokenLogprobs(BaseModel):
    top_logprobs: list[TopToken] | None = None


class Logprobs(BaseModel):
    content: list[TokenLogprobs] | None = None


class Choice(BaseModel):
    message: Message
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Completion(BaseModel):
    """The part of a chat completion that matters here; what else a server sends is ignored."""

    choices: list[Choice]
    usage: Usage | None = None

    @property
    def first(self) -> Choice:
        return self.choices[0]

    @property
    def tokens(self) -> tuple[int, int]:
        """Of the prompt, of the answer; 0 where the server does not say."""
        usage = self.usage or Usage()
        return usage.prompt_tokens or 0, usage.completion_tokens or 0


def read_completion(body: bytes) -> Completion | Failure:
    try:
        completion = Completion.model_validate_json(body)
    except ValidationError:
        return Failure("bad_response")
    if not completion.choices:
        return Failure("bad_response", *completion.tokens)
    if completion.first.finish_reason == "content_filter" or completion.first.message.refusal:
        return Failure("content_filter", *completion.tokens)
    return completion


def choice_in(text: str, choices: Sequence[str], structured: str) -> str | None:
    """The choice that a constrained answer is; None if it is none."""
    answer: object = text
    if structured == "json_schema":
        try:
            found = json.loads(text)
        except ValueError:
            return None
        answer = found.get("answer") if isinstance(found, dict) else None
    return answer if isinstance(answer, str) and answer in choices else None


def shown_tokens(choice: Choice) -> dict[str, float] | None:
    """log p of the likeliest first tokens, by text (log-sum-exp where several have the same); None: the server shows none."""
    content = choice.logprobs.content if choice.logprobs else None
    if content is None or (content and content[0].top_logprobs is None):
        return None
    tokens: dict[str, float] = {}
    for top in (content[0].top_logprobs or []) if content else []:
        tokens[top.token] = float(np.logaddexp(tokens.get(top.token, -np.inf), top.logprob))
    return tokens


def label_log_p(tokens: Mapping[str, float], labels: Sequence[str]) -> FloatArray | None:
    """log p of each label as the first token, shape (len(labels),); None if no label is among `tokens`.

    A label's token is the one of exactly its text; failing that, those of its text with white space around it
    (log-sum-exp). A label that is not there gets the lowest log p that is: an upper bound of its own.
    """
    found = [_log_p(tokens, label) for label in labels]
    if all(log_p is None for log_p in found):
        return None
    lowest = min(tokens.values())
    return np.array([lowest if log_p is None else log_p for log_p in found], dtype=np.float64)


def _log_p(tokens: Mapping[str, float], label: str) -> float | None:
    if label in tokens:
        return tokens[label]
    spaced = [log_p for token, log_p in tokens.items() if token.strip() == label]
    return float(np.logaddexp.reduce(spaced)) if spaced else None


def shows_parts(tokens: Mapping[str, float], labels: Sequence[str]) -> bool:
    """Whether a token is the beginning of a label, and not all of it."""
    starts = {token.strip() for token in tokens} - {""}
    return any(label.startswith(start) and label != start for label in labels for start in starts)
