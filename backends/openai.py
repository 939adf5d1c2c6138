"""Prompt a model behind any OpenAI-compatible chat server: OpenAI, Mistral, vLLM, llama.cpp, Ollama.

A row that gets no answer carries one of these words in `error`:

`timeout`, `connection`         no whole answer within `timeout` seconds; refused, reset or lost (all after `retries`)
`rate_limited`                  HTTP 429 after all retries, or with a Retry-After of more than two minutes
`http_400`, `http_<status>`     another HTTP error
`bad_response`                  a body that is cut or no chat completion, or a constrained answer that was cut
`content_filter`                the server's filter, or the model itself, refused
`prompt_too_long`               longer than the model's context
`no_label_in_top_logprobs`      scores: no label is among the tokens that the server shows
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from backends._openai_answers import (
    Completion,
    Failure,
    choice_in,
    label_log_p,
    read_completion,
    shown_tokens,
    shows_parts,
)
from backends._openai_connection import Connection, all_of, host_of
from backends._openai_errors import Server, unreachable, word_of
from backends.base import Encoded, Generation, LanguageModel, Messages, Scores
from harness.errors import UserError

T = TypeVar("T")
Shown = tuple[dict[str, float], int, int]
"""log p of the shown tokens, and the tokens of prompt and answer."""


class OpenAIOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field("https://api.openai.com/v1", description="of the server; what comes before /chat/completions")
    api_key_env: str | None = Field(
        "OPENAI_API_KEY", description="environment variable that holds the key; null: the server wants none"
    )
    # These three change no answer, and are no part of a run's identity: a run can go on with others.
    concurrency: int = Field(8, ge=1, exclude=True, description="requests at a time")
    timeout: float = Field(60, gt=0, exclude=True, description="seconds for each attempt, to the last byte of its answer")
    retries: int = Field(
        4, ge=0, exclude=True, description="further attempts after a timeout, a lost connection, HTTP 408, 409, 429 or 5xx"
    )
    structured: Literal["json_schema", "choice"] = Field(
        "json_schema",
        description="how constrained answers are asked for: `json_schema` (OpenAI, Mistral, llama.cpp, Ollama, vLLM), "
        "`choice` (vLLM's structured_outputs: no JSON around the answer)",
    )
    top_logprobs: int = Field(20, ge=1, description="tokens whose log p is asked for by scores; few servers give more than 20")
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="newer OpenAI models take `max_completion_tokens` only"
    )
    seed: int | None = Field(None, description="sent with every request if given; the temperature is always 0")


class OpenAI(LanguageModel):
    """A model behind a server. Requests of a batch run side by side; each attempt as a whole has `timeout` seconds."""

    Options = OpenAIOptions
    model_is = "name"
    libraries = ("openai",)
    extra = "openai"
    options: OpenAIOptions

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        assert not isinstance(model, Path)
        super().__init__(options, model)
        # Not validators of `Options`: their messages show the value, which may be a secret here.
        self._host = host_of(self.options.base_url)
        if self.options.api_key_env is not None and not re.fullmatch(r"[A-Za-z_]\w*", self.options.api_key_env, re.ASCII):
            raise UserError("The option `api_key_env` is no name of an environment variable.", "Give the name, not the key.")
        self._named = model is not None
        self._model = model
        self._connection: Connection | None = None
        self._label_seen = False

    def facts(self) -> dict[str, Any]:
        """The server's model, where none was named. Raises `UserError` or `ModelUnavailable` if it can't be told."""
        if self._named:
            return {}
        if self._model is None:
            server = self._server()
            with closing(self._connect(server)) as connection:
                self._model = _only(_models(connection, server), server)
        return {"model": _without_folders(self._model)}

    def batch_size(self) -> int:
        return 8 * self.options.concurrency  # at a batch's end most slots are idle: make that rare

    def attempts(self) -> int:
        return self.options.retries + 1

    def load(self) -> None:
        """Raises `UserError` for a missing or refused key, `ModelUnavailable` if the server can't be reached."""
        self.close()
        self._known = self._server()
        connection = self._connect(self._known)
        try:
            names = _models(connection, self._known)
            self._model = self._model or _only(names, self._known)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def encode(self, chats: Sequence[Messages], choices: Sequence[str] | None) -> list[Encoded]:
        """`tokens` is an upper bound: no tokenizer makes more tokens than there are bytes."""
        return [_encoded(chat) for chat in chats]

    def generate(self, prompts: Sequence[Encoded], max_new_tokens: int, choices: Sequence[str] | None) -> list[Generation]:
        """Raises `UserError` or `RunError` for what would hit every row alike (see `word_of`), or if choices are ignored."""
        fields = {self.options.max_tokens_field: max_new_tokens, **(self._constraint(choices) if choices else {})}
        read = partial(self._generation, choices=choices)
        rows = self._ask(prompts, fields, read, self.options.structured if choices else None)
        return [
            Generation("", False, row.prompt_tokens, row.new_tokens, error=row.word) if isinstance(row, Failure) else row
            for row in rows
        ]

    def score(self, prompts: Sequence[Encoded], choices: Sequence[str]) -> list[Scores]:
        """log p of each choice as the first token of the answer.

        A server shows the `top_logprobs` likeliest tokens only. A choice that is not among them gets the lowest log p
        that is shown, an upper bound of its own.
        Raises `UserError` where the choices are not one token each, or the server gives no log p; and as `generate` does.
        """
        if any(one != other and other.startswith(one) for one in choices for other in choices):
            raise _not_one_token(choices)
        fields = {self.options.max_tokens_field: 1, "logprobs": True, "top_logprobs": self.options.top_logprobs}
        rows = self._ask(prompts, fields, self._shown, None)
        log_p = [None if isinstance(row, Failure) else label_log_p(row[0], choices) for row in rows]
        # One odd answer that happens to begin like a label proves nothing where other rows do show whole labels.
        self._label_seen |= any(row is not None for row in log_p)
        if not self._label_seen and any(not isinstance(row, Failure) and shows_parts(row[0], choices) for row in rows):
            raise _not_one_token(choices)
        scores = []
        for row, found in zip(rows, log_p, strict=True):
            if isinstance(row, Failure):
                scores.append(Scores(None, row.prompt_tokens, row.new_tokens, error=row.word))
            else:
                scores.append(Scores(found, *row[1:], error="no_label_in_top_logprobs" if found is None else None))
        return scores

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _server(self) -> Server:
        """Raises `UserError` if the key is missing, or can't be one."""
        name = self.options.api_key_env
        key = os.environ.get(name, "").strip() if name else ""
        if name and not key:
            raise UserError(
                f"The environment variable {name}, which should hold the key for {self._host}, is not set.",
                f"Set {name}, or name another one in the backend's option `api_key_env`.",
            )
        if not re.fullmatch(r"[!-~]*", key):
            raise UserError(
                f"What ${name} holds is no key: there is white space or a non-ASCII character in it.", "Set it anew."
            )
        return Server(self._host, name, key)

    def _connect(self, server: Server) -> Connection:
        options = self.options
        return Connection(options.base_url, server.key, options.concurrency, options.timeout, options.retries)

    def _constraint(self, choices: Sequence[str]) -> dict[str, Any]:
        if self.options.structured == "choice":
            return {"structured_outputs": {"choice": list(choices)}}
        schema = {
            "type": "object",
            "properties": {"answer": {"type": "string", "enum": list(choices)}},
            "required": ["answer"],
            "additionalProperties": False,
        }
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}}

    def _ask(
        self,
        prompts: Sequence[Encoded],
        fields: dict[str, Any],
        read: Callable[[Completion], T | Failure],
        structured: str | None,
    ) -> list[T | Failure]:
        """One request a prompt, `concurrency` at a time; rows in order."""
        assert self._connection is not None, "load() comes first"
        fields = {**fields, "temperature": 0, **({} if self.options.seed is None else {"seed": self.options.seed})}
        connection = self._connection
        return connection.run(all_of([self._row(connection, prompt, fields, read, structured) for prompt in prompts]))

    async def _row(
        self,
        connection: Connection,
        prompt: Encoded,
        fields: dict[str, Any],
        read: Callable[[Completion], T | Failure],
        structured: str | None,
    ) -> T | Failure:
        from openai import OpenAIError

        assert self._model is not None
        try:
            body = await connection.chat(self._model, prompt.content, fields)
        except OpenAIError as error:
            failed = error
        else:
            completion = read_completion(body)
            return completion if isinstance(completion, Failure) else read(completion)
        # Outside of `except`: an error raised in there would carry the library's, whose request holds the key.
        word = word_of(failed, self._known, prompt.content, structured, "logprobs" in fields)
        # A server may have worked, and charge, for each attempt that we gave up.
        return Failure(word, prompt.tokens * self.attempts() if word == "timeout" else 0)

    def _generation(self, completion: Completion, choices: Sequence[str] | None) -> Generation | Failure:
        text, complete = completion.first.message.content or "", completion.first.finish_reason == "stop"
        if choices:
            choice = choice_in(text, choices, self.options.structured)
            if choice is None and complete:
                raise self._known.ignores_choices(self.options.structured)
            if choice is None:
                return Failure("bad_response", *completion.tokens)
            text = choice
        return Generation(text, complete, *completion.tokens)

    def _shown(self, completion: Completion) -> Shown:
        tokens = shown_tokens(completion.first)
        if tokens is None:
            raise self._known.no_logprobs()
        return (tokens, *completion.tokens)


def _encoded(chat: Messages) -> Encoded:
    # A lone surrogate, which JSON files can hold, is no text that could be sent.
    bodies = [turn["content"].encode("utf-8", "replace") for turn in chat]
    content = [{**turn, "content": body.decode()} for turn, body in zip(chat, bodies, strict=True)]
    return Encoded(sum(map(len, bodies)) + 16 * len(chat) + 16, content)


def _models(connection: Connection, server: Server) -> list[str]:
    """The server's models; none where it does not list them."""
    from openai import OpenAIError

    try:
        return connection.run(connection.models())
    except OpenAIError as error:
        problem = unreachable(error, server)
    if problem is not None:
        raise problem
    return []


def _only(names: Sequence[str], server: Server) -> str:
    if len(names) == 1:
        return names[0]
    listed = server.plain(", ".join(names), limit=1000)
    found = f"has {len(names)} models: {listed}" if names else "does not say what models it has"
    raise UserError(f"The server at {server.host} {found}.", "Say which one: --model NAME.")


def _without_folders(model: str) -> str:
    """A server that was started with a folder names its model so; where that lies is nobody's business."""
    if model.startswith(("/", "~", "./", "../", "\\\\")) or re.match(r"[A-Za-z]:[\\/]", model):
        return re.split(r"[\\/]+", model.rstrip("\\/"))[-1]
    return model


def _not_one_token(choices: Sequence[str]) -> UserError:
    return UserError(
        f"Scores over a server need answers of one token each, and {', '.join(map(repr, choices))} are not.",
        "Use --decoding constrained, or the engine vllm or causal_lm.",
    )
