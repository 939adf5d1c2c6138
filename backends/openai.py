"""Prompt a model behind any OpenAI-compatible chat server: OpenAI, Mistral, vLLM, llama.cpp, Ollama.

A row that gets no answer carries one of these words in `error`:

`timeout`, `connection`         no whole answer within `timeout` seconds; refused, reset or lost (all after `retries`)
`rate_limited`                  HTTP 429 after all retries, or with a Retry-After of more than two minutes
`http_408`, `http_409`, `http_5..`   another HTTP error of the server's own
`bad_response`                  a body that is cut, too large, or no chat completion (a whole one of an odd form is the row's)
`not_sent`                      the server was found to be of no use before this row's turn

These may pass, and the row is to be asked again. The others are the row's own:

`http_400`, `http_<status>`     another HTTP error
`cut`                           no room was left for an answer (a model that thought too long), or for a constrained one
`content_filter`                the server's filter, or the model itself, refused
`prompt_too_long`               longer than the model's context
`no_label_in_top_logprobs`      scores: no label is among the tokens that the server shows
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from backends._openai_answers import (
    Completion,
    Failure,
    choice_in,
    label_log_p,
    read_completion,
    shown_tokens,
    shows_parts,
)
from backends._openai_connection import Connection, all_of, host_of, public_url, secrets_in
from backends._openai_errors import Server, failure_of, rejected_field, unreachable
from harness.core.engine import Encoded, Generation, LanguageModel, Messages, Scores
from harness.core.errors import BenchError, UserError

T = TypeVar("T")
log = logging.getLogger("bench")

FIRST = 3
"""Requests that are sent one by one until one is answered: where all are refused, so is every other."""

PATIENCE = 20
"""Requests in a row without an answer, for reasons that may pass, after which a server is down; at least three rounds."""

_NO_ROOM = "its tokens were used up before the answer: raise `max_new_tokens` in the front matter of the prompt"
_YIELDING = {"temperature", "seed", "max_tokens", "max_completion_tokens"}
_OTHER_LIMIT = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
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
        "max_tokens",
        description="newer OpenAI models take `max_completion_tokens` only; a refused one is exchanged for the other",
    )
    temperature: Literal[0] | None = Field(
        0, description="null: none is sent, and the server's own is used, as it is where a server refuses 0"
    )
    seed: int | None = Field(None, description="sent with every request if given, unless the server refuses it")

    @model_serializer(mode="wrap")
    def _public(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As records hold it: what may be a secret in the address is none any more, and a temperature of 0 goes without
        saying (records had none before it was an option)."""
        fields: dict[str, Any] = serialize(self)
        fields["base_url"] = public_url(fields["base_url"])
        return {name: value for name, value in fields.items() if (name, value) != ("temperature", 0)}


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
        self._sent_instead: dict[str, str | None] = {}
        self._begin()

    def _begin(self) -> None:
        """What is known of a server before it was asked for anything."""
        self._answered = False
        self._unanswered = 0  # requests in a row
        self._down: BenchError | None = None
        self._noted: set[str] = set()  # words of failures
        self._notes: list[str] = []

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

    def down(self) -> BenchError | None:
        """What would hit every further row alike."""
        return self._down

    def sent_instead(self) -> dict[str, str | None]:
        return dict(self._sent_instead)

    def reset(self) -> None:
        self._begin()

    def load(self) -> None:
        """Raises `UserError` for a missing or refused key, `ModelUnavailable` if the server can't be reached."""
        self.close()
        self._begin()
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
        """Raises `UserError` or `RunError` for what would hit every row alike (see `failure_of`), or if choices are ignored;
        if some rows are answered by then, they are returned, and `down` has the error."""
        fields = {self.options.max_tokens_field: max_new_tokens, **(self._constraint(choices) if choices else {})}
        read = partial(self._generation, choices=choices)
        rows = self._ask(prompts, fields, read, self.options.structured if choices else None)
        return [
            Generation("", False, row.prompt_tokens, row.new_tokens, row.word, row.passing) if isinstance(row, Failure) else row
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
                scores.append(Scores(None, row.prompt_tokens, row.new_tokens, row.word, row.passing))
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
        return Server(self._host, name, key, tuple(secrets_in(self.options.base_url)))

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
        options = {"temperature": self.options.temperature, "seed": self.options.seed}
        fields = {**fields, **{name: value for name, value in options.items() if value is not None}}
        ask = partial(self._row, self._connection, fields=fields, read=read, structured=structured)
        rows = self._connection.run(self._batch(prompts, ask))
        for note in self._notes:
            log.info(note)
        self._notes.clear()
        return rows

    async def _batch(
        self, prompts: Sequence[Encoded], ask: Callable[[Encoded], Coroutine[Any, Any, T | Failure]]
    ) -> list[T | Failure]:
        rows: dict[int, T | Failure] = {}
        for n in sorted(range(len(prompts)), key=lambda n: prompts[n].tokens)[:FIRST]:
            if self._answered or any(isinstance(row, Failure) and row.passing for row in rows.values()):
                break
            rows[n] = await ask(prompts[n])
        self._check_accepted(list(rows.values()))
        rest = [n for n in range(len(prompts)) if n not in rows]
        found = await all_of([ask(prompts[n]) for n in rest])
        errors = [row for row in found if isinstance(row, BaseException)]
        lost = Failure("not_sent", passing=True)
        rows |= {n: lost if row is None or isinstance(row, BaseException) else row for n, row in zip(rest, found, strict=True)}
        if errors:
            # What was answered is paid for: it is kept, and the error told after it.
            if not isinstance(errors[0], BenchError) or all(isinstance(row, Failure) for row in rows.values()):
                raise errors[0]
            self._down = errors[0]
        self._check_accepted([rows[n] for n in rest])
        return [rows[n] for n in range(len(prompts))]

    def _check_accepted(self, rows: Sequence[T | Failure]) -> None:
        """Raise `UserError` where all of several requests were refused: so would be any other."""
        refused = [row for row in rows if isinstance(row, Failure) and row.refused]
        if len(refused) == len(rows) >= FIRST:
            raise self._known.refuses_all(refused[-1].said)

    async def _row(
        self,
        connection: Connection,
        prompt: Encoded,
        fields: dict[str, Any],
        read: Callable[[Completion], T | Failure],
        structured: str | None,
    ) -> T | Failure:
        async with connection.slots:
            if self._down is not None:
                return Failure("not_sent", passing=True)
            found = await self._request(connection, prompt, fields, structured)
        row = found if isinstance(found, Failure) else read(found)
        self._remember(row)
        return row

    async def _request(
        self, connection: Connection, prompt: Encoded, fields: dict[str, Any], structured: str | None
    ) -> Completion | Failure:
        """Sent anew without what the server refuses by name."""
        from openai import OpenAIError

        assert self._model is not None
        while True:
            known = self.sent_instead()
            sent = {new: value for name, value in fields.items() if (new := known.get(name, name)) is not None}
            try:
                body = await connection.chat(self._model, prompt.content, sent)
            except OpenAIError as error:
                failed = error
            else:
                answer = read_completion(body)
                return replace(answer, said=self._known.plain(answer.said)) if isinstance(answer, Failure) else answer
            # Outside of `except`: an error raised in there would carry the library's, whose request holds the key.
            if not self._yields(
                rejected_field(failed, sorted(fields.keys() & sent.keys() & _YIELDING), prompt.content), failed
            ):
                break
        found = failure_of(failed, self._known, prompt.content, structured, sent.get("top_logprobs", 0))
        # A server may have worked, and charge, for each attempt that we gave up.
        return replace(found, prompt_tokens=prompt.tokens * self.attempts()) if found.word == "timeout" else found

    def _yields(self, name: str | None, error: Exception) -> bool:
        """Whether requests are to be sent without the field of that name from now on, or with another in its place."""
        if name is None:
            return False
        if name not in self._sent_instead:  # else another request was quicker
            self._sent_instead[name] = other = _OTHER_LIMIT.get(name)
            what = f"{other} is sent instead" if other else "it is left out, and the server's own is used"
            self._notes.append(f"{self._host} refuses {name}: {what}. {self._known.plain(str(error))}")
        return True

    def _remember(self, row: object) -> None:
        """After each request, in the order in which they end."""
        failure = row if isinstance(row, Failure) else None
        self._answered |= failure is None
        self._unanswered = self._unanswered + 1 if failure is not None and failure.passing else 0
        if failure is not None and failure.said and failure.word not in self._noted:
            self._noted.add(failure.word)  # once: its like may follow by the thousand
            self._notes.append(f"{self._host} gave a row no answer ({failure.word}): {failure.said}")
        if failure is not None and self._unanswered >= max(PATIENCE, 3 * self.options.concurrency):
            self._down = self._down or self._known.is_down(self._unanswered, failure.said or failure.word)

    def _generation(self, completion: Completion, choices: Sequence[str] | None) -> Generation | Failure:
        text, complete = completion.first.message.content or "", completion.first.finish_reason == "stop"
        if choices:
            choice = choice_in(text, choices, self.options.structured)
            if choice is None and complete:
                raise self._known.ignores_choices(self.options.structured)
            if choice is None:
                return Failure("cut", *completion.tokens, said=_NO_ROOM)
            text = choice
        elif not text.strip() and completion.first.finish_reason == "length":
            return Failure("cut", *completion.tokens, said=_NO_ROOM)
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
