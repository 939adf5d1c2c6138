"""Answers of a chat server: the bytes of a chat completion, and what a run reads in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, field_validator

from backends._openai_failures import Failure
from harness.core.arrays import FloatArray
from harness.core.engine import Allowed, ListOf
from harness.core.token_use import TokenUse

MOST_TOKENS = 10_000_000
"""Maximum tokens of one prompt or answer that a server's count is trusted for."""

NO_PROBABILITY = -9999.0
"""log p that servers write for a probability of 0, since JSON has no infinity: vLLM this number, others null or -Infinity."""

ROUNDING = 0.01
"""How far a log p may exceed 0 in half precision. A larger value is a probability or a logit."""

_THINKING = re.compile(r"\s*(<(think|thought|reason)|\[THINK\])", re.IGNORECASE)
"""How an answer begins that shows its reasoning as text."""


@dataclass(frozen=True, slots=True)
class Shown:
    """log p of the shown first tokens, by text, and the tokens of prompt and answer."""

    tokens: dict[str, float]
    use: TokenUse
    batched: bool = False


def or_none(value: object, read: ValidatorFunctionWrapHandler) -> Any:
    """An answer is not lost because of odd counts beside it."""
    try:
        return read(value)
    except ValidationError:
        return None


class Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    # Servers show the reasoning, if at all, under one of these names, or as parts of the content.
    reasoning_content: Any = None
    reasoning: Any = None

    @field_validator("content", mode="before")
    @classmethod
    def _text_of_parts(cls, value: object) -> object:
        """Content may come in parts: those of text are the answer, those of thinking are not."""
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


Count = Annotated[int | None, WrapValidator(or_none)]


class PromptDetails(BaseModel):
    cached_tokens: Count = None
    cache_write_tokens: Count = None


class CompletionDetails(BaseModel):
    reasoning_tokens: Count = None


class Usage(BaseModel):
    prompt_tokens: Count = None
    completion_tokens: Count = None
    prompt_tokens_details: Annotated[PromptDetails | None, WrapValidator(or_none)] = None
    completion_tokens_details: Annotated[CompletionDetails | None, WrapValidator(or_none)] = None


class Completion(BaseModel):
    """The part of a chat completion that matters here; the rest is ignored."""

    choices: list[Choice]
    usage: Annotated[Usage | None, WrapValidator(or_none)] = None

    @property
    def first(self) -> Choice:
        return min(self.choices, key=lambda choice: choice.index or 0)

    @property
    def use(self) -> TokenUse:
        """0 where the server does not say."""
        usage = self.usage or Usage()
        details = usage.prompt_tokens_details or PromptDetails()
        prompt, new = count_of(usage.prompt_tokens), count_of(usage.completion_tokens)
        cached = count_of(details.cached_tokens, prompt)
        return TokenUse(prompt, new, cached, count_of(details.cache_write_tokens, prompt - cached))

    @property
    def has_reasoned(self) -> bool:
        """Whether the model reasoned before its answer, as far as the server shows it."""
        details = (self.usage or Usage()).completion_tokens_details or CompletionDetails()
        message = self.first.message
        shown = message.reasoning_content or message.reasoning or _THINKING.match(message.content or "")
        return bool(shown) or count_of(details.reasoning_tokens) > 0


def count_of(tokens: object, most: int = MOST_TOKENS) -> int:
    """A server's count of tokens, as far as it can be trusted; 0 for what is none."""
    return max(0, min(tokens, most)) if isinstance(tokens, int) and not isinstance(tokens, bool) else 0


def read_completion(body: bytes) -> Completion | Failure:
    try:
        completion = Completion.model_validate_json(body)
    except ValidationError:
        # A whole answer in a form that bench can't read would come again; a page, or half of an answer, may not.
        whole = bool(object_in(body).get("choices"))
        return Failure("bad_response", retryable=not whole, detail="a body that is not a chat completion")
    if not completion.choices:
        return Failure("bad_response", completion.use, retryable=True, detail="a chat completion without choices")
    first = completion.first
    if first.finish_reason == "content_filter" or first.message.refusal:
        return Failure("content_filter", completion.use)
    if first.error or first.finish_reason == "error":  # from a gateway whose own server broke off
        detail = f"an error in place of an answer: {first.error or 'finish_reason is error'}"
        return Failure("bad_response", completion.use, retryable=True, detail=detail)
    return completion


def object_in(text: bytes | str) -> dict[str, Any]:
    """Empty where there is none."""
    found = _json_in(text)
    return found if isinstance(found, dict) else {}


def _json_in(text: bytes | str) -> Any:
    """None where there is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def choice_in(text: str, choices: Allowed, structured: str) -> str | None:
    """The choice that a constrained answer is; None if it is none."""
    if isinstance(choices, ListOf):
        names = _json_in(text) if structured == "choice" else object_in(text).get("answer")
        if not isinstance(names, list) or not all(isinstance(name, str) and name in choices.names for name in names):
            return None
        return choices.text(list(dict.fromkeys(names)))
    answer = object_in(text).get("answer") if structured == "json_schema" else text
    return answer if isinstance(answer, str) and answer in choices else None


def shown_tokens(choice: Choice) -> dict[str, float] | None:
    """log p of the likeliest first tokens, by text (log-sum-exp where several have the same text); None: the server shows
    none, or what it shows are no log-probabilities."""
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

    A label's token is the one with exactly its text, or else those with white space around it (log-sum-exp). A label that is
    not shown gets the lowest log p that is, which is an upper bound.
    """

    def log_p(label: str) -> float | None:
        if label in tokens:
            return tokens[label]
        spaced = [value for token, value in tokens.items() if token.strip() == label]
        return float(np.logaddexp.reduce(spaced)) if spaced else None

    found = [log_p(label) for label in labels]
    if all(value is None or value == -np.inf for value in found):
        return None
    lowest = min(tokens.values())
    return np.array([lowest if value is None else value for value in found], dtype=np.float64)


def shows_parts(tokens: Mapping[str, float], labels: Sequence[str]) -> bool:
    """Whether a token is the beginning of a label, and not all of it."""
    starts = {token.strip() for token, log_p in tokens.items() if log_p > -np.inf} - {""}
    return any(label.startswith(start) and label != start for label in labels for start in starts)
