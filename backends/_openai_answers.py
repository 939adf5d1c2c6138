"""What a server answered: the bytes of a chat completion, read with care."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError, ValidatorFunctionWrapHandler, field_validator

from harness.core.types import FloatArray


@dataclass(frozen=True, slots=True)
class Failure:
    """A row without an answer: the word for it, and what it cost.

    `passing`: the reason is not the row's, another request may have an answer. `refused`: the server does not accept the
    request, and says no reason that bench knows. `said`: the server's own words, on one line, for messages.
    """

    word: str
    prompt_tokens: int = 0
    new_tokens: int = 0
    passing: bool = False
    refused: bool = False
    said: str = ""


MOST_TOKENS = 10_000_000
"""Of one prompt or answer; a server that counts more, or less than none, is not believed."""

NO_PROBABILITY = -9999.0
"""log p that servers write for a probability of 0, since JSON has no infinity: vLLM this number, others null or -Infinity."""

ROUNDING = 0.01
"""A log p may be so much above 0, in half precision; what is more is a probability or a logit."""

_STATUS_WORDS = (
    ("rate.?limit|too many requests|resource.?exhausted|insufficient_quota", 429),
    ("authentication|invalid.?api.?key", 401),
    ("invalid.?request|bad.?request|invalid.?argument|unsupported|context.?length|content.?filter", 400),
    ("not.?found", 404),
)


class Message(BaseModel):
    content: str | None = None
    refusal: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _text_of_parts(cls, value: object) -> object:
        """Content may come in parts: those of text are the answer, what a model thinks is not."""
        if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
            return value
        texts = [part.get("text") for part in value if part.get("type", "text") in ("text", "output_text")]
        return "".join(texts) if all(isinstance(text, str) for text in texts) else value


class TopToken(BaseModel):
    token: str
    logprob: float | None = None

    @property
    def log_p(self) -> float:
        return -np.inf if self.logprob is None or self.logprob <= NO_PROBABILITY else self.logprob


class TokenLogprobs(BaseModel):
    top_logprobs: list[TopToken] | None = None


class Logprobs(BaseModel):
    content: list[TokenLogprobs] | None = None


class Choice(BaseModel):
    index: int | None = None
    message: Message
    finish_reason: str | None = None
    error: Any = None
    logprobs: Logprobs | None = None


class Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @field_validator("*", mode="wrap")
    @classmethod
    def _number_or_none(cls, value: object, read: ValidatorFunctionWrapHandler) -> Any:
        """An answer is not lost for an odd count beside it."""
        try:
            return read(value)
        except ValidationError:
            return None


class Completion(BaseModel):
    """The part of a chat completion that matters here; what else a server sends is ignored."""

    choices: list[Choice]
    usage: Usage | None = None

    @field_validator("usage", mode="before")
    @classmethod
    def _object_or_none(cls, value: object) -> object:
        return value if isinstance(value, dict) else None

    @property
    def first(self) -> Choice:
        return min(self.choices, key=lambda choice: choice.index or 0)

    @property
    def tokens(self) -> tuple[int, int]:
        """Of the prompt, of the answer; 0 where the server does not say."""
        usage = self.usage or Usage()
        prompt, new = (max(0, min(count or 0, MOST_TOKENS)) for count in (usage.prompt_tokens, usage.completion_tokens))
        return prompt, new


def read_completion(body: bytes) -> Completion | Failure:
    try:
        completion = Completion.model_validate_json(body)
    except ValidationError:
        # A whole answer of a form that bench can't read would come again; a page, or half of an answer, may not.
        whole = bool(_object_in(body).get("choices"))
        return Failure("bad_response", passing=not whole, said="a body that is no chat completion")
    if not completion.choices:
        return Failure("bad_response", *completion.tokens, passing=True, said="a chat completion without choices")
    if completion.first.finish_reason == "content_filter" or completion.first.message.refusal:
        return Failure("content_filter", *completion.tokens)
    if completion.first.error or completion.first.finish_reason == "error":  # of a gateway whose own server broke off
        said = f"an error in place of an answer: {completion.first.error or 'finish_reason is error'}"
        return Failure("bad_response", *completion.tokens, passing=True, said=said)
    return completion


def status_inside(body: bytes) -> int | None:
    """The HTTP status that an error in a body of status 200 stands for (gateways send such); None: there is no error in it."""
    if b'"error"' not in body:
        return None
    found = _object_in(body)
    if found.get("choices") or not found.get("error"):
        return None
    error = found["error"] if isinstance(found["error"], dict) else {"type": found["error"]}
    named = [str(error.get(key)) for key in ("code", "status", "status_code", "type", "message")]
    for value in named[:-1]:
        if re.fullmatch("[45][0-9][0-9]", value):
            return int(value)
    words = " ".join(named).lower()
    return next((status for pattern, status in _STATUS_WORDS if re.search(pattern, words)), 502)


def _object_in(body: bytes) -> dict[str, Any]:
    """Empty where there is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def choice_in(text: str, choices: Sequence[str], structured: str) -> str | None:
    """The choice that a constrained answer is; None if it is none."""
    answer: object = text
    if structured == "json_schema":
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return None
        answer = found.get("answer") if isinstance(found, dict) else None
    return answer if isinstance(answer, str) and answer in choices else None


def shown_tokens(choice: Choice) -> dict[str, float] | None:
    """log p of the likeliest first tokens, by text (log-sum-exp where several have the same); None: the server shows none,
    or what it shows are no log-probabilities."""
    content = choice.logprobs.content if choice.logprobs else None
    if content is None or (content and content[0].top_logprobs is None):
        return None
    shown = (content[0].top_logprobs or []) if content else []
    if any(top.log_p > ROUNDING for top in shown):
        return None
    tokens: dict[str, float] = {}
    for top in shown:
        if not np.isnan(top.log_p):
            tokens[top.token] = float(np.logaddexp(tokens.get(top.token, -np.inf), top.log_p))
    return tokens


def label_log_p(tokens: Mapping[str, float], labels: Sequence[str]) -> FloatArray | None:
    """log p of each label as the first token, shape (len(labels),); None if none among `tokens` has a probability.

    A label's token is the one of exactly its text; failing that, those of its text with white space around it
    (log-sum-exp). A label that is not there gets the lowest log p that is: an upper bound of its own.
    """
    found = [_log_p(tokens, label) for label in labels]
    if all(log_p is None or log_p == -np.inf for log_p in found):
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
    starts = {token.strip() for token, log_p in tokens.items() if log_p > -np.inf} - {""}
    return any(label.startswith(start) and label != start for label in labels for start in starts)
