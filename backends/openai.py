"""Prompt a model behind any OpenAI-compatible chat server: OpenAI, Mistral, vLLM, llama.cpp, Ollama, LiteLLM.

A row without an answer has a word in `error`; docs/server.md lists them, and which of them are retryable.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from backends._openai_answers import Completion, Shown, choice_in, label_log_p, read_completion, shown_tokens, shows_parts
from backends._openai_batches import MOST_REQUESTS, Batches, BatchLine, Found, sent_requests
from backends._openai_connection import Connection
from backends._openai_failures import (
    NO_ROOM,
    NO_ROOM_AFTER_REASONING,
    AskedFor,
    Failure,
    failure_of,
    rejected_field,
)
from backends._openai_options import OpenAIOptions, check_options
from backends._served import FIRST, ServedEngine, sendable
from harness.core.arrays import FloatArray
from harness.core.engine import Allowed, BatchApi, Encoded, Generation, LanguageModel, ListOf, Messages, Scores
from harness.core.errors import BenchError, UserError
from harness.core.json_files import digest
from harness.core.token_use import TokenUse

if TYPE_CHECKING:
    from openai import APIStatusError

T = TypeVar("T", Generation, Shown)
log = logging.getLogger("bench")

_REPLACEABLE = {"temperature": None, "seed": None, "max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""Request fields that a server may refuse -> the field to send instead (None: nothing)."""


@dataclass(frozen=True, slots=True)
class RequestForm(Generic[T]):
    """What the requests of a batch have in common: their fields, how an answer is read, and what a server may refuse."""

    fields: dict[str, Any]
    read: Callable[[Completion], T | Failure]
    asked: AskedFor


class OpenAI(ServedEngine, LanguageModel):
    """A chat model behind a server."""

    Options = OpenAIOptions
    options: OpenAIOptions

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        super().__init__(options, model)
        check_options(self.options)
        self._scratch: Path | None = None
        self._label_seen = False
        self._replaced: dict[str, str | None] = {}

    def load(self) -> None:
        """Raises `UserError` for a missing or refused key, `ModelUnavailable` if the server can't be reached."""
        self._open()

    def batch_size(self) -> int:
        return MOST_REQUESTS if self.options.mode == "batch" else super().batch_size()

    def reasoning_room(self) -> int:
        return self.options.reasoning_tokens

    def batch_api(self) -> BatchApi | None:
        return BatchApi(FIRST) if self.options.mode == "batch" else None

    def use_scratch(self, folder: Path) -> None:
        """Warns of batches that an earlier start of the run sent, if this one sends single requests."""
        self._scratch = folder
        if self.options.mode == "interactive" and (count := sent_requests(folder)):
            log.warning(
                f"An earlier start of this run sent {count:,} requests to the Batch API of {self._host}. Those whose answers "
                "were not read are asked, and paid for, again. --set mode=batch waits for them."
            )

    def replaced_fields(self) -> dict[str, str | None]:
        return dict(self._replaced)

    def encode(self, chats: Sequence[Messages], choices: Allowed | None) -> list[Encoded]:
        """`tokens` is an upper bound: no tokenizer makes more tokens than there are bytes."""
        return [_encoded(chat) for chat in chats]

    def generate(self, prompts: Sequence[Encoded], max_new_tokens: int, choices: Allowed | None) -> list[Generation]:
        """Raises `UserError` or `RunError` for what would hit every row (see `failure_of`), or if the server ignores
        `choices`. If some rows are answered by then, they are returned, and `unavailable` has the error."""
        most = max_new_tokens + self.options.reasoning_tokens
        fields = {self.options.max_tokens_field: most, **(self._constraint(choices) if choices else {})}
        asked = AskedFor(structured=self.options.structured if choices else None, extras=self.options.extras)
        rows = self._ask(prompts, RequestForm(fields, partial(self._generation, choices=choices), asked))
        return [row.generation() if isinstance(row, Failure) else row for row in rows]

    def score(self, prompts: Sequence[Encoded], choices: Sequence[str]) -> list[Scores]:
        """log p of each choice as the first token of the answer.

        A server shows only the `top_logprobs` likeliest tokens. A choice that is not among them gets the lowest log p
        shown, which is an upper bound. Raises `UserError` where the choices are not one token each, where the model reasons
        before its answer, or where the server gives no log p; and as `generate` does.
        """
        if self.options.reasons:
            raise self._server().reasons_first()
        if any(one != other and other.startswith(one) for one in choices for other in choices):
            raise _not_one_token(choices)
        fields = {self.options.max_tokens_field: 1, "logprobs": True, "top_logprobs": self.options.top_logprobs}
        asked = AskedFor(top_logprobs=self.options.top_logprobs, extras=self.options.extras)
        rows = self._ask(prompts, RequestForm(fields, self._shown, asked))
        log_p = [None if isinstance(row, Failure) else label_log_p(row.tokens, choices) for row in rows]
        # One odd answer that happens to begin like a label proves nothing where other rows show whole labels.
        self._label_seen |= any(row is not None for row in log_p)
        if not self._label_seen and any(not isinstance(row, Failure) and shows_parts(row.tokens, choices) for row in rows):
            raise _not_one_token(choices)
        return [row.scores() if isinstance(row, Failure) else _scores(row, p) for row, p in zip(rows, log_p, strict=True)]

    def _constraint(self, choices: Allowed) -> dict[str, Any]:
        if isinstance(choices, ListOf):
            # Not uniqueItems: few servers take it, and a name that comes twice means what it means once.
            one: dict[str, Any] = {"type": "string", "enum": list(choices.names)}
            several = {"type": "array", "items": one, "maxItems": choices.most}
            plain: dict[str, Any] = {"json": several}
            answer = {"answer": several}
        else:
            plain, answer = {"choice": list(choices)}, {"answer": {"type": "string", "enum": list(choices)}}
        if self.options.structured == "choice":
            return {"structured_outputs": plain}
        schema = {"type": "object", "properties": answer, "required": ["answer"], "additionalProperties": False}
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}}

    def _ask(self, prompts: Sequence[Encoded], form: RequestForm[T]) -> list[T | Failure]:
        """One request per prompt, `concurrency` at a time or through the Batch API; rows in order."""
        assert self._connection is not None, "load() comes first"
        options = {"temperature": self.options.temperature, "seed": self.options.seed}
        form.fields.update({name: value for name, value in options.items() if value is not None}, **self.options.extras)
        ask = partial(self._asked, self._connection, form)
        if self.options.mode == "interactive":
            work = partial(self._directly, self._connection, prompts, ask)
        elif self._scratch is None:
            raise UserError(
                "A Batch API answers within a day: only runs go through it.", "Send single requests: --set mode=interactive."
            )
        else:
            batches = Batches(self._connection, self._known, self._scratch, self.options.retries)
            work = partial(self._in_batches, self._connection, batches, prompts, form)
        return self._answers(work)

    async def _asked(self, connection: Connection, form: RequestForm[T], prompt: Encoded) -> T | Failure:
        found = await self._request(connection, form, prompt)
        return found if isinstance(found, Failure) else form.read(found)

    async def _in_batches(
        self, connection: Connection, batches: Batches, prompts: Sequence[Encoded], form: RequestForm[T]
    ) -> list[T | Failure]:
        """Answers of batches that an earlier start of the run sent come first. Of the others a few are sent directly, until one
        is answered: what the server refuses shows at once and not after a day. So are the last few, for which a day is long."""
        ids = self._ids(prompts, form)
        lines, replaced = await batches.earlier(ids)
        self._replaced |= replaced
        earlier = self._rows_of(lines, ids, prompts, form)
        rows: dict[int, T | Failure] = {n: row for n, row in earlier.items() if not isinstance(row, BenchError)}
        if len(rows) < len(earlier):  # a batch that can't be read now: nothing is asked again
            return self._together(rows, {n: earlier.get(n) for n in range(len(prompts)) if n not in rows})
        ask = partial(self._asked, connection, form)
        if len(prompts) - len(rows) <= FIRST:
            return await self._directly(connection, prompts, ask, rows)
        rows |= await self._first(connection, prompts, ask, rows)
        sent = self._sent(form)
        bodies = {
            name: {"model": self._model, "messages": prompts[n].content, **sent} for n, name in enumerate(ids) if n not in rows
        }
        found = self._rows_of(await batches.ask(bodies, self._replaced), ids, prompts, form)
        return self._together(rows, {n: found.get(n) for n in range(len(prompts)) if n not in rows})

    def _ids(self, prompts: Sequence[Encoded], form: RequestForm[T]) -> list[str]:
        """A name for each request that a later start of the run gives it, too: by its content, before any field is replaced."""
        seen: Counter[str] = Counter()
        names = []
        for prompt in prompts:
            name = digest([self._model, prompt.content, form.fields])[:32]
            names.append(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
        return names

    def _rows_of(
        self, lines: Found, ids: Sequence[str], prompts: Sequence[Encoded], form: RequestForm[T]
    ) -> dict[int, T | Failure | BenchError]:
        """By position. Left out is what an earlier start is to ask again: what failed for a temporary reason, or for all."""
        rows: dict[int, T | Failure | BenchError] = {}
        for n, (name, prompt) in enumerate(zip(ids, prompts, strict=True)):
            line = lines.get(name)
            if line is None:
                continue
            if isinstance(line, BenchError):
                rows[n] = line
                continue
            try:
                row: T | Failure | BenchError = self._row_of(line, prompt, form)
            except BenchError as error:
                row = error
            if line.late and (isinstance(row, BenchError) or (isinstance(row, Failure) and row.retryable)):
                continue
            rows[n] = row
        return rows

    def _row_of(self, line: BatchLine, prompt: Encoded, form: RequestForm[T]) -> T | Failure:
        if line.status == 200:
            answer = self._read(json.dumps(line.body).encode())
            row = answer if isinstance(answer, Failure) else form.read(answer)
        elif line.status:
            row = failure_of(_status_error(line, self.options.base_url), self._known, prompt.content, form.asked)
        else:
            row = Failure(line.word, retryable=True, detail=self._known.plain(line.detail))
        self._note(row)
        return replace(row, batched=True)

    def _sent(self, form: RequestForm[T]) -> dict[str, Any]:
        """The fields of a request, without those that the server refused so far."""
        known = self._replaced
        return {new: value for name, value in form.fields.items() if (new := known.get(name, name)) is not None}

    def _read(self, body: bytes) -> Completion | Failure:
        answer = read_completion(body)
        return replace(answer, detail=self._known.plain(answer.detail)) if isinstance(answer, Failure) else answer

    async def _request(self, connection: Connection, form: RequestForm[T], prompt: Encoded) -> Completion | Failure:
        """Sent again without the fields that the server refuses by name."""
        from openai import OpenAIError

        assert self._model is not None
        while True:
            sent = self._sent(form)
            try:
                body = await connection.chat(self._model, prompt.content, sent)
            except OpenAIError as error:
                failed = error
            else:
                return self._read(body)
            # Outside of `except`: an error raised in there would carry the library's, whose request holds the key.
            replaceable = sorted(form.fields.keys() & sent.keys() & _REPLACEABLE.keys())
            refused = rejected_field(failed, replaceable, prompt.content, form.asked)
            if refused is None:
                break
            self._replace(refused, failed)
        found = failure_of(failed, self._known, prompt.content, form.asked)
        # The server may have worked, and may charge, for each attempt that timed out.
        charged = TokenUse(prompt.tokens * self.attempts())
        return replace(found, use=charged) if found.word == "timeout" else found

    def _replace(self, name: str, error: Exception) -> None:
        """Send all further requests without the field `name`, or with its replacement."""
        if name not in self._replaced:  # else another request was faster
            self._replaced[name] = other = _REPLACEABLE[name]
            what = f"{other} is sent instead" if other else "it is left out, and the server's default applies"
            self._notes.append(f"{self._host} refuses {name}: {what}. {self._known.plain(str(error))}")

    def _generation(self, completion: Completion, choices: Allowed | None) -> Generation | Failure:
        text, reason = completion.first.message.content or "", completion.first.finish_reason
        found = choice_in(text, choices, self.options.structured) if choices else text
        if choices and found is None and reason == "stop":
            raise self._known.ignores_choices(self.options.structured)
        use = completion.use
        if found is None or (not choices and not text.strip() and reason == "length"):
            return Failure("cut", use, detail=NO_ROOM_AFTER_REASONING if completion.has_reasoned else NO_ROOM)
        return Generation(
            found,
            reason == "stop",
            use.prompt,
            use.new,
            cached_tokens=use.cached,
            cache_written_tokens=use.cache_written,
        )

    def _shown(self, completion: Completion) -> Shown:
        if completion.has_reasoned:
            raise self._known.reasons_first()
        tokens = shown_tokens(completion.first)
        if tokens is None:
            raise self._known.no_logprobs()
        return Shown(tokens, completion.use)


def _scores(shown: Shown, log_p: FloatArray | None) -> Scores:
    use = shown.use
    return Scores(
        log_p,
        use.prompt,
        use.new,
        None if log_p is not None else "no_label_in_top_logprobs",
        cached_tokens=use.cached,
        cache_written_tokens=use.cache_written,
        batched=shown.batched,
    )


def _status_error(line: BatchLine, base_url: str) -> APIStatusError:
    """The error that a direct request would have raised."""
    import httpx2
    from openai import APIStatusError

    body = line.body.get("error") or line.body if isinstance(line.body, dict) else line.body
    response = httpx2.Response(line.status, request=httpx2.Request("POST", base_url))
    return APIStatusError(f"Error code: {line.status}", response=response, body=body)


def _encoded(chat: Messages) -> Encoded:
    content = [{**turn, "content": sendable(turn["content"])} for turn in chat]
    return Encoded(sum(len(turn["content"].encode()) for turn in content) + 16 * len(chat) + 16, content)


def _not_one_token(choices: Sequence[str]) -> UserError:
    return UserError(
        f"Scores over a server need answers of one token each; {', '.join(map(repr, choices))} are not.",
        "Use --decoding constrained, or the engine vllm or causal_lm.",
    )
