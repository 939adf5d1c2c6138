"""Prompt a model behind any OpenAI-compatible chat server: OpenAI, Mistral, vLLM, llama.cpp, Ollama.

A row without an answer has a word in `error`; docs/server.md lists them, and which of them are retryable.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar
from urllib.parse import unquote, urlsplit

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_serializer,
)

from harness.core.arrays import FloatArray
from harness.core.engine import Allowed, Encoded, Generation, LanguageModel, ListOf, Messages, Scores
from harness.core.errors import BenchError, ModelUnavailable, RunError, UserError

if TYPE_CHECKING:
    import httpx2
    from openai import APIStatusError, AsyncOpenAI, OpenAIError

T = TypeVar("T")
log = logging.getLogger("bench")

FIRST = 3
"""Requests that are sent one by one until one is answered: where all are refused, so is every other."""

PATIENCE = 20
"""Requests in a row with retryable failures after which a server counts as unavailable; at least three times `concurrency`."""

LARGEST_BODY = 8 * 2**20
"""Maximum bytes of one unpacked answer. A chat completion has a few thousand."""

MOST_REDIRECTS = 5

MOST_TOKENS = 10_000_000
"""Maximum tokens of one prompt or answer that a server's count is trusted for."""

NO_PROBABILITY = -9999.0
"""log p that servers write for a probability of 0, since JSON has no infinity: vLLM this number, others null or -Infinity."""

ROUNDING = 0.01
"""How far a log p may exceed 0 in half precision. A larger value is a probability or a logit."""

_NO_ROOM = "its tokens were used up before the answer: raise `max_new_tokens` in the front matter of the prompt"
_REPLACEABLE = {"temperature": None, "seed": None, "max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""Request fields that a server may refuse -> the field to send instead (None: nothing)."""

Shown = tuple[dict[str, float], int, int]
"""log p of the shown tokens, and the token counts of prompt and answer."""


class OpenAIOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field("https://api.openai.com/v1", description="of the server; what comes before /chat/completions")
    api_key_env: str | None = Field(
        "OPENAI_API_KEY", description="environment variable that holds the key; null: the server needs none"
    )
    # These three change no answer and are not part of a run's identity: a run can be resumed with other values.
    concurrency: int = Field(8, ge=1, exclude=True, description="requests at a time")
    timeout: float = Field(60, gt=0, exclude=True, description="seconds for each attempt, to the last byte of its answer")
    retries: int = Field(
        4, ge=0, exclude=True, description="further attempts after a timeout, a lost connection, HTTP 408, 409, 429 or 5xx"
    )
    structured: Literal["json_schema", "choice"] = Field(
        "json_schema",
        description="how constrained answers are requested: `json_schema` (OpenAI, Mistral, llama.cpp, Ollama, vLLM), "
        "`choice` (vLLM's structured_outputs: no JSON around the answer)",
    )
    top_logprobs: int = Field(20, ge=1, description="tokens whose log p `score` requests; few servers give more than 20")
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="newer OpenAI models accept only `max_completion_tokens`; if refused, the other one is sent"
    )
    temperature: Literal[0] | None = Field(
        0, description="null: none is sent, and the server's default applies, as it does where a server refuses 0"
    )
    seed: int | None = Field(None, description="sent with every request if given, unless the server refuses it")

    @model_serializer(mode="wrap")
    def _public(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As records hold it: possible secrets in the address are masked, and a temperature of 0 is left out (older records
        have no temperature)."""
        fields: dict[str, Any] = serialize(self)
        fields["base_url"] = public_url(fields["base_url"])
        return {name: value for name, value in fields.items() if (name, value) != ("temperature", 0)}


@dataclass(frozen=True, slots=True)
class Failure:
    """A row without an answer: the word for it, and the tokens it used.

    `retryable`: as in `Generation`. `refused`: the server does not accept the request, for no reason that bench knows.
    `detail`: the server's own words on one line, for messages.
    """

    word: str
    prompt_tokens: int = 0
    new_tokens: int = 0
    retryable: bool = False
    refused: bool = False
    detail: str = ""

    def generation(self) -> Generation:
        return Generation("", False, self.prompt_tokens, self.new_tokens, self.word, self.retryable)

    def scores(self) -> Scores:
        return Scores(None, self.prompt_tokens, self.new_tokens, self.word, self.retryable)


@dataclass(frozen=True, slots=True)
class RequestForm(Generic[T]):
    """What the requests of a batch have in common: their fields, how an answer is read, and how choices are enforced."""

    fields: dict[str, Any]
    read: Callable[[Completion], T | Failure]
    structured: str | None = None


class OpenAI(LanguageModel):
    """A model behind a server. The requests of a batch run concurrently."""

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
            raise UserError(
                "The option `api_key_env` must be the name of an environment variable.", "Give the name, not the key."
            )
        self._named = model is not None
        self._model = model
        self._connection: Connection | None = None
        self._label_seen = False
        self._replaced: dict[str, str | None] = {}
        self.reset()

    def reset(self) -> None:
        """Forget how the server answered so far."""
        self._answered = False
        self._unanswered = 0  # requests in a row
        self._unavailable: BenchError | None = None
        self._noted: set[str] = set()  # words of failures
        self._notes: list[str] = []

    def facts(self) -> dict[str, str]:
        """The server's model, where none was named. Raises `UserError` or `ModelUnavailable` if it can't be determined."""
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

    def unavailable(self) -> BenchError | None:
        return self._unavailable

    def replaced_fields(self) -> dict[str, str | None]:
        return dict(self._replaced)

    def load(self) -> None:
        """Raises `UserError` for a missing or refused key, `ModelUnavailable` if the server can't be reached."""
        self.close()
        self.reset()
        self._known = self._server()
        self._connection = self._connect(self._known)
        try:
            names = _models(self._connection, self._known)
            self._model = self._model or _only(names, self._known)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def encode(self, chats: Sequence[Messages], choices: Allowed | None) -> list[Encoded]:
        """`tokens` is an upper bound: no tokenizer makes more tokens than there are bytes."""
        return [_encoded(chat) for chat in chats]

    def generate(self, prompts: Sequence[Encoded], max_new_tokens: int, choices: Allowed | None) -> list[Generation]:
        """Raises `UserError` or `RunError` for what would hit every row (see `failure_of`), or if the server ignores
        `choices`. If some rows are answered by then, they are returned, and `unavailable` has the error."""
        fields = {self.options.max_tokens_field: max_new_tokens, **(self._constraint(choices) if choices else {})}
        structured = self.options.structured if choices else None
        rows = self._ask(prompts, RequestForm(fields, partial(self._generation, choices=choices), structured))
        return [row.generation() if isinstance(row, Failure) else row for row in rows]

    def score(self, prompts: Sequence[Encoded], choices: Sequence[str]) -> list[Scores]:
        """log p of each choice as the first token of the answer.

        A server shows only the `top_logprobs` likeliest tokens. A choice that is not among them gets the lowest log p
        shown, which is an upper bound. Raises `UserError` where the choices are not one token each, or the server gives no
        log p; and as `generate` does.
        """
        if any(one != other and other.startswith(one) for one in choices for other in choices):
            raise _not_one_token(choices)
        fields = {self.options.max_tokens_field: 1, "logprobs": True, "top_logprobs": self.options.top_logprobs}
        rows = self._ask(prompts, RequestForm(fields, self._shown))
        log_p = [None if isinstance(row, Failure) else label_log_p(row[0], choices) for row in rows]
        # One odd answer that happens to begin like a label proves nothing where other rows show whole labels.
        self._label_seen |= any(row is not None for row in log_p)
        if not self._label_seen and any(not isinstance(row, Failure) and shows_parts(row[0], choices) for row in rows):
            raise _not_one_token(choices)
        return [
            row.scores()
            if isinstance(row, Failure)
            else Scores(p, *row[1:], None if p is not None else "no_label_in_top_logprobs")
            for row, p in zip(rows, log_p, strict=True)
        ]

    def _server(self) -> Server:
        """Raises `UserError` if the key is missing or malformed."""
        name = self.options.api_key_env
        key = os.environ.get(name, "").strip() if name else ""
        if name and not key:
            raise UserError(
                f"The environment variable {name}, which should hold the key for {self._host}, is not set.",
                f"Set {name}, or name another variable in the backend's option `api_key_env`.",
            )
        if not re.fullmatch(r"[!-~]*", key):
            raise UserError(f"The key in ${name} is not valid: it has white space or non-ASCII characters.", "Set it again.")
        return Server(self._host, name, key, tuple(secrets_in(self.options.base_url)))

    def _connect(self, server: Server) -> Connection:
        options = self.options
        return Connection(options.base_url, server.key, options.concurrency, options.timeout, options.retries)

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
        """One request per prompt, `concurrency` at a time; rows in order."""
        assert self._connection is not None, "load() comes first"
        options = {"temperature": self.options.temperature, "seed": self.options.seed}
        form.fields.update({name: value for name, value in options.items() if value is not None})
        rows = self._connection.run(partial(self._batch, prompts, partial(self._row, self._connection, form)))
        for note in self._notes:
            log.info(note)
        self._notes.clear()
        return rows

    async def _batch(
        self, prompts: Sequence[Encoded], ask: Callable[[Encoded], Coroutine[Any, Any, T | Failure]]
    ) -> list[T | Failure]:
        rows: dict[int, T | Failure] = {}
        for n in sorted(range(len(prompts)), key=lambda n: prompts[n].tokens)[:FIRST]:
            if self._answered or any(isinstance(row, Failure) and row.retryable for row in rows.values()):
                break
            rows[n] = await ask(prompts[n])
        self._check_accepted(list(rows.values()))
        rest = [n for n in range(len(prompts)) if n not in rows]
        found = await all_of([ask(prompts[n]) for n in rest])
        errors = [row for row in found if isinstance(row, BaseException)]
        lost = Failure("not_sent", retryable=True)
        rows |= {n: lost if row is None or isinstance(row, BaseException) else row for n, row in zip(rest, found, strict=True)}
        if errors:
            # Answered rows are paid for: keep them, and report the error afterwards.
            if not isinstance(errors[0], BenchError) or all(isinstance(row, Failure) for row in rows.values()):
                raise errors[0]
            self._unavailable = errors[0]
        self._check_accepted([rows[n] for n in rest])
        return [rows[n] for n in range(len(prompts))]

    def _check_accepted(self, rows: Sequence[T | Failure]) -> None:
        """Raise `UserError` where all of several requests were refused: so would be any other."""
        refused = [row for row in rows if isinstance(row, Failure) and row.refused]
        if len(refused) == len(rows) >= FIRST:
            raise self._known.refuses_all(refused[-1].detail)

    async def _row(self, connection: Connection, form: RequestForm[T], prompt: Encoded) -> T | Failure:
        async with connection.slots:
            if self._unavailable is not None:
                return Failure("not_sent", retryable=True)
            found = await self._request(connection, form, prompt)
        row = found if isinstance(found, Failure) else form.read(found)
        self._remember(row)
        return row

    async def _request(self, connection: Connection, form: RequestForm[T], prompt: Encoded) -> Completion | Failure:
        """Sent again without the fields that the server refuses by name."""
        from openai import OpenAIError

        assert self._model is not None
        while True:
            known = self.replaced_fields()
            sent = {new: value for name, value in form.fields.items() if (new := known.get(name, name)) is not None}
            try:
                body = await connection.chat(self._model, prompt.content, sent)
            except OpenAIError as error:
                failed = error
            else:
                answer = read_completion(body)
                return replace(answer, detail=self._known.plain(answer.detail)) if isinstance(answer, Failure) else answer
            # Outside of `except`: an error raised in there would carry the library's, whose request holds the key.
            refused = rejected_field(failed, sorted(form.fields.keys() & sent.keys() & _REPLACEABLE.keys()), prompt.content)
            if refused is None:
                break
            self._replace(refused, failed)
        found = failure_of(failed, self._known, prompt.content, form.structured, sent.get("top_logprobs", 0))
        # The server may have worked, and may charge, for each attempt that timed out.
        return replace(found, prompt_tokens=prompt.tokens * self.attempts()) if found.word == "timeout" else found

    def _replace(self, name: str, error: Exception) -> None:
        """Send all further requests without the field `name`, or with its replacement."""
        if name not in self._replaced:  # else another request was faster
            self._replaced[name] = other = _REPLACEABLE[name]
            what = f"{other} is sent instead" if other else "it is left out, and the server's default applies"
            self._notes.append(f"{self._host} refuses {name}: {what}. {self._known.plain(str(error))}")

    def _remember(self, row: object) -> None:
        """After each request, in the order in which they end."""
        if not isinstance(row, Failure):
            self._answered, self._unanswered = True, 0
            return
        self._unanswered = self._unanswered + 1 if row.retryable else 0
        if row.detail and row.word not in self._noted:
            self._noted.add(row.word)  # once: thousands may follow
            self._notes.append(f"{self._host} did not answer a row ({row.word}): {row.detail}")
        if self._unanswered >= max(PATIENCE, 3 * self.options.concurrency):
            self._unavailable = self._unavailable or self._known.is_down(self._unanswered, row.detail or row.word)

    def _generation(self, completion: Completion, choices: Allowed | None) -> Generation | Failure:
        text, reason = completion.first.message.content or "", completion.first.finish_reason
        found = choice_in(text, choices, self.options.structured) if choices else text
        if choices and found is None and reason == "stop":
            raise self._known.ignores_choices(self.options.structured)
        if found is None or (not choices and not text.strip() and reason == "length"):
            return Failure("cut", *completion.tokens, detail=_NO_ROOM)
        return Generation(found, reason == "stop", *completion.tokens)

    def _shown(self, completion: Completion) -> Shown:
        tokens = shown_tokens(completion.first)
        if tokens is None:
            raise self._known.no_logprobs()
        return (tokens, *completion.tokens)


def _encoded(chat: Messages) -> Encoded:
    # A lone surrogate, which JSON files can hold, can't be sent.
    bodies = [turn["content"].encode("utf-8", "replace") for turn in chat]
    content = [{**turn, "content": body.decode()} for turn, body in zip(chat, bodies, strict=True)]
    return Encoded(sum(map(len, bodies)) + 16 * len(chat) + 16, content)


def _models(connection: Connection, server: Server) -> list[str]:
    """The server's models; empty where it does not list them."""
    from openai import OpenAIError

    try:
        return connection.run(connection.models)
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
    raise UserError(f"The server at {server.host} {found}.", "Choose one: --model NAME.")


def _without_folders(model: str) -> str:
    """A server that was started with a folder names its model by the whole path, which a record need not show."""
    if model.startswith(("/", "~", "./", "../", "\\\\")) or re.match(r"[A-Za-z]:[\\/]", model):
        return re.split(r"[\\/]+", model.rstrip("\\/"))[-1]
    return model


def _not_one_token(choices: Sequence[str]) -> UserError:
    return UserError(
        f"Scores over a server need answers of one token each; {', '.join(map(repr, choices))} are not.",
        "Use --decoding constrained, or the engine vllm or causal_lm.",
    )


# --- the connection: a client whose event loop runs in its own thread ---------------------------------------------------

ORDINARY = re.compile(
    r"v\d{1,2}((alpha|beta)\d?)?|api|openai|inference|compatible-mode|serving-endpoints|engines|deployments|models|chat|llm"
)
"""Parts of a server's path that are no secret. Any other may be a key: some gateways put it there."""


class Connection:
    """The client and its event loop live in a background thread until `close`, so that connections are kept."""

    def __init__(self, base_url: str, key: str, concurrency: int, timeout: float, retries: int) -> None:
        """`timeout`: seconds for each attempt as a whole. Sends nothing yet."""
        from anyio.from_thread import start_blocking_portal

        self._client = _client(base_url, key, timeout, retries)
        self.slots = asyncio.Semaphore(concurrency)
        """For the caller to hold around `chat`, also while it waits for the next attempt."""
        self._exit = ExitStack()
        self._portal = self._exit.enter_context(start_blocking_portal(name="bench-openai"))
        self._exit.callback(self._portal.call, self._portal.stop, True)
        self._exit.callback(self._portal.call, self._client.close)

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `work` returns or raises. If the calling thread is interrupted meanwhile (Ctrl-C), `work` is cancelled."""
        future: Future[T] = self._portal.start_task_soon(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Close the client, cancel what is in flight, end the thread. May be called twice."""
        self._exit.close()

    async def models(self) -> list[str]:
        """The ids of the server's models. Raises `openai.OpenAIError`."""
        # One retry: the user waits for it at the terminal, and a server that is not there stays away.
        client = self._client.with_options(max_retries=1)
        answer = await client.models.with_raw_response.list()
        try:
            entries = json.loads(answer.http_response.content)["data"]
            return [entry["id"] for entry in entries if isinstance(entry["id"], str)]
        except (ValueError, KeyError, TypeError, RecursionError):
            return []  # some page that is no list of models

    async def chat(self, model: str, messages: Messages, fields: dict[str, Any]) -> bytes:
        """The body of the answer. Raises `openai.OpenAIError`."""
        request: Any = messages
        answer = await self._client.chat.completions.with_raw_response.create(model=model, messages=request, extra_body=fields)
        return answer.http_response.content


async def all_of(work: Sequence[Coroutine[Any, Any, T]]) -> list[T | BaseException | None]:
    """Results in order, or the exception of one that raised. The first exception cancels all others: these are None."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()  # no effect on one that is done
        await asyncio.gather(*tasks, return_exceptions=True)
    return [None if task.cancelled() else task.exception() or task.result() for task in tasks]


def host_of(base_url: str) -> str:
    """Host and port. Raises `UserError`, which never shows the URL: it may hold a password."""
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or parts.scheme not in ("http", "https"):
        raise UserError("The option `base_url` is not the URL of a server.", "Give one like http://localhost:8000/v1.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UserError(
            f"The option `base_url` (host {host}) holds more than an address.",
            "Leave out user, password and what follows `?` or `#`; a key belongs in the variable that `api_key_env` names.",
        )
    return parts.netloc


def secrets_in(base_url: str) -> list[str]:
    """The parts of its path that may be secrets, raw and percent-decoded; the longest first."""
    found = [part for part in urlsplit(base_url).path.split("/") if part and not ORDINARY.fullmatch(part)]
    return sorted({*found, *map(unquote, found)}, key=lambda part: (-len(part), part))


def public_url(base_url: str) -> str:
    """The address as records hold it: each part of the path that may be a secret is a digest of the whole address."""
    if not secrets_in(base_url):
        return base_url
    parts = urlsplit(base_url)
    digest = hashlib.sha256(base_url.encode(errors="surrogatepass")).hexdigest()[:8]
    path = [part if not part or ORDINARY.fullmatch(part) else f"<{digest}>" for part in parts.path.split("/")]
    return parts._replace(path="/".join(path)).geturl()


def _client(base_url: str, key: str, timeout: float, retries: int) -> AsyncOpenAI:
    import httpx2
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    class WholeAttempts(DefaultAsyncHttpxClient):
        """Limits the time and size of a whole answer, and follows redirects only within the server. The library's timeout is
        per read, which a server that trickles never exceeds."""

        async def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
            if not key:
                request.headers.pop("Authorization", None)
            try:
                async with asyncio.timeout(timeout):
                    return await self._whole(request, {**kwargs, "stream": True, "follow_redirects": False})
            except TimeoutError as error:
                raise httpx2.ReadTimeout("The answer took too long.", request=request) from error

        async def _whole(self, request: httpx2.Request, kwargs: dict[str, Any]) -> httpx2.Response:
            for _ in range(MOST_REDIRECTS + 1):
                response = await super().send(request, **kwargs)
                if not response.has_redirect_location:
                    return await _read(response)
                await response.aclose()
                request = _redirected(response)
            raise httpx2.TooManyRedirects("too many redirects", request=request)

    if secrets_in(base_url):  # with --verbose it logs the address of each request
        logging.getLogger("httpx2").setLevel(logging.WARNING)
    # By default the library takes a missing key from $OPENAI_API_KEY and an `Authorization` from $OPENAI_CUSTOM_HEADERS:
    # neither may reach a server that they are not meant for.
    key_or_none = key or "none"
    return AsyncOpenAI(
        base_url=base_url,
        api_key=key_or_none,
        default_headers={"Authorization": f"Bearer {key_or_none}"},
        timeout=timeout,
        max_retries=retries,
        http_client=WholeAttempts(base_url=base_url, timeout=timeout),
    )


def _redirected(response: httpx2.Response) -> httpx2.Request:
    """The request at the address that the server names. Raises `UserError` where that is another server, or would lose the
    request's body: texts and key go nowhere but to `base_url`."""
    import httpx2

    before, after = response.request, response.next_request
    if after is None:
        raise httpx2.RemoteProtocolError("a redirect to no address", request=before)
    same = (after.url.scheme, after.url.netloc) == (before.url.scheme, before.url.netloc)
    safer = after.url.host == before.url.host and (before.url.scheme, after.url.scheme) == ("http", "https")
    if after.method == before.method and (same or safer):
        return after
    host, there = (url.netloc.decode("ascii", "replace")[:200] for url in (before.url, after.url))
    if same or safer:
        raise UserError(
            f"The server at {host} redirects requests ({response.status_code}) in a way that loses their content.",
            "Set the option `base_url` to the address that it redirects to.",
        )
    raise UserError(
        f"The server at {host} redirects to another address, {after.url.scheme}://{there}; nothing was sent there.",
        "If you trust that server, set the option `base_url` to its address.",
    )


async def _read(response: httpx2.Response) -> httpx2.Response:
    """The answer with its body. An error in a body of status 200 gets the status that it stands for, so that the client
    retries it, or not, like that one."""
    import httpx2

    parts, size = [], 0
    try:
        async for part in response.aiter_bytes():
            size += len(part)
            if size > LARGEST_BODY:
                raise httpx2.DecodingError(f"an answer of more than {LARGEST_BODY >> 20} MiB", request=response.request)
            parts.append(part)
    finally:
        await response.aclose()
    body = b"".join(parts)
    status = (status_inside(body) if response.status_code == 200 else None) or response.status_code
    # The body is unpacked now.
    gone = {"content-encoding", "content-length", "transfer-encoding"}
    headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in gone]
    return httpx2.Response(status, headers=headers, content=body, request=response.request)


# --- failures: of one row, or of all ------------------------------------------------------------------------------------

_NOT_ACCEPTED = re.compile(
    "unsupported|not supported|not support|unrecogni|unknown|unexpected|extra|not permitted|not allowed|instead"
)
_TOO_LONG = re.compile(
    "maximum context length|context (window|size|length)|prompt is too long|input (is|was) too long"
    "|(input|prompt) .*exceeds? the max"
)
_MODERATED = re.compile("moderation|flagged|content.?(filter|policy)")
# How servers name, in an error's `param` or text, what they can't do.
STRUCTURED_WORDS = ("response_format", "json_schema", "structured_outputs", "structured output")
LOGPROBS_WORDS = ("logprobs",)
_HELP = (  # a pattern in the server's words -> what helps
    ("system", "Move what the prompt's front matter has under `system` into its text."),
    ("temperature", "Send none: --set temperature=null."),
    ("max_tokens|max_completion_tokens", "Try --set max_tokens_field=max_completion_tokens, or max_tokens."),
    ("seed", "Leave out the option `seed`."),
)
_HELP_ELSE = "Change what the server names: the prompt, --model NAME, or an option of the backend (--set OPTION=VALUE)."


@dataclass(frozen=True, slots=True)
class Server:
    """The server in messages, without the `key` and `secrets` that its own words may contain."""

    host: str
    key_env: str | None
    key: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Parts of the address that may be secret, the longest first."""

    def plain(self, text: str, limit: int = 300) -> str:
        """One printable line of at most `limit` characters, without the key."""
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        line = line.replace(self.key, "[key]") if self.key else line
        for part in self.secrets:
            line = line.replace(part, "[...]")
        return line if len(line) <= limit else line[: limit - 3] + "..."

    def error(self, problem: str, detail: str, hint: str) -> UserError:
        """`detail`: the server's own words, if any."""
        return UserError(f"The server at {self.host} {problem}{': ' + detail.rstrip('.') if detail else ''}.", hint)

    def refused_key(self, detail: str = "") -> UserError:
        if self.key_env is None:
            return self.error("requires a key", detail, "Name its variable in the option `api_key_env`.")
        hint = f"Set ${self.key_env} to a key of this server, or name another variable in the option `api_key_env`."
        return self.error(f"refused the key in ${self.key_env}", detail, hint)

    def ignores_choices(self, structured: str, detail: str = "") -> UserError:
        other = "choice" if structured == "json_schema" else "json_schema"
        problem = f"{'does not accept' if detail else 'ignores'} structured: {structured}"
        return self.error(problem, detail, f"Set the backend's option `structured` to {other!r}, or use --decoding free.")

    def no_logprobs(self, detail: str = "") -> UserError:
        return self.error("gives no log-probabilities", detail, "Use --decoding constrained or free.")

    def fewer_logprobs(self, asked: int, detail: str) -> UserError:
        allowed = [int(number) for number in re.findall(r"(?<![\w.])\d{1,3}(?![\w])", detail) if 0 < int(number) < asked]
        hint = f"Ask for fewer: --set top_logprobs={max(allowed, default=5)}. Or use --decoding constrained or free."
        return self.error(f"does not accept top_logprobs: {asked}", detail, hint)

    def refuses_all(self, detail: str) -> UserError:
        hint = next((hint for pattern, hint in _HELP if re.search(rf"\b({pattern})\b", detail.lower())), _HELP_ELSE)
        return self.error("refuses every request", detail, hint)

    def is_down(self, count: int, detail: str) -> ModelUnavailable:
        return ModelUnavailable(
            f"The server at {self.host} did not answer {count} requests in a row (the last: {detail.rstrip('.')}).",
            "When it is back, run the same command again.",
        )


def failure_of(error: OpenAIError, server: Server, messages: Messages, structured: str | None, top_logprobs: int) -> Failure:
    """Why this row has no answer.

    `structured` and `top_logprobs` (0: none) say what the request asked for beyond a text.
    Raises `UserError` or `RunError` for what would hit every row.
    """
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIConnectionError):  # a timeout is one of these
        return Failure(_connection_word(error), retryable=True, detail=_cause(error, server))
    if not isinstance(error, APIStatusError):
        return Failure("bad_response", retryable=True, detail=server.plain(str(error)))
    status, detail = error.status_code, server.plain(_body_text(error))
    if status == 401:
        raise server.refused_key()
    if status == 403 and top_logprobs and _is_about(LOGPROBS_WORDS, error, messages):  # the key is valid for other requests
        raise server.no_logprobs(detail)
    if status == 403 and not _MODERATED.search(detail.lower()):
        raise server.refused_key(detail)
    if status == 404:
        raise UserError(f"The server at {server.host} answered 404: {detail}", "Check --model NAME and the option `base_url`.")
    if status == 402 or "insufficient_quota" in (error.code, error.type):
        raise RunError(f"The account at {server.host} has no credit left.", "Add credit, and run the same command again.")
    word = _bad_request_word(error)
    if status in (400, 422) and word == f"http_{status}":
        if structured and _is_about(STRUCTURED_WORDS, error, messages):
            raise server.ignores_choices(structured, detail)
        if top_logprobs and _is_about(("top_logprobs",), error, messages):
            raise server.fewer_logprobs(top_logprobs, detail)
        if top_logprobs and _is_about(LOGPROBS_WORDS, error, messages):
            raise server.no_logprobs(detail)
    detail = f"HTTP {status}: {detail}" if detail else f"HTTP {status}"
    if status in (408, 409, 429) or status >= 500:
        return Failure("rate_limited" if status == 429 else word, retryable=True, detail=detail)
    return Failure(word, refused=word == f"http_{status}" and status != 413, detail=detail)


def rejected_field(error: OpenAIError, fields: Iterable[str], messages: Messages) -> str | None:
    """The one of `fields` that the server does not accept; None where it complains of something else.

    Any complaint about a temperature or a seed refuses it. One about a limit of tokens may concern only its size.
    """
    from openai import APIStatusError

    if not isinstance(error, APIStatusError) or error.status_code not in (400, 422):
        return None
    if _bad_request_word(error) != f"http_{error.status_code}":
        return None
    not_accepted = _NOT_ACCEPTED.search(f"{error.code} {error.type} {_body_text(error)}".lower())
    for name in fields:
        if _is_about((name,), error, messages) and (not_accepted or name in ("temperature", "seed")):
            return name
    return None


def unreachable(error: OpenAIError, server: Server) -> UserError | ModelUnavailable | None:
    """Why the very first request failed; None where the server is there, and lacks only this endpoint."""
    from openai import APIStatusError

    hint = "Start it, or set the backend's option `base_url`."
    if not isinstance(error, APIStatusError):
        return ModelUnavailable(f"The server at {server.host} can't be reached: {_cause(error, server)}", hint)
    if error.status_code in (401, 403):
        return server.refused_key(server.plain(_body_text(error)) if error.status_code == 403 else "")
    if error.status_code >= 500:
        return ModelUnavailable(f"The server at {server.host} answers only with HTTP {error.status_code}.", hint)
    return None


def _cause(error: OpenAIError, server: Server) -> str:
    return server.plain(str(error.__cause__ or error)) or type(error).__name__


def _connection_word(error: OpenAIError) -> str:
    import httpx2
    from openai import APITimeoutError

    if isinstance(error, APITimeoutError):
        return "timeout"
    # The server answered, but not with a whole HTTP response.
    broken = isinstance(error.__cause__, httpx2.RemoteProtocolError | httpx2.DecodingError)
    return "bad_response" if broken else "connection"


def _bad_request_word(error: APIStatusError) -> str:
    codes = {str(error.code), str(error.type)}
    # OpenAI, llama.cpp; vLLM and Mistral have no code for it.
    if codes & {"context_length_exceeded", "exceed_context_size_error"}:
        return "prompt_too_long"
    if error.status_code in (400, 422) and _TOO_LONG.search(_body_text(error).lower()):
        return "prompt_too_long"
    moderated = error.status_code == 403  # otherwise it is a refused key
    return "content_filter" if moderated or codes & {"content_filter"} else f"http_{error.status_code}"


def _is_about(words: tuple[str, ...], error: APIStatusError, messages: Messages) -> bool:
    """Whether the server complains of one of `words`. Some servers quote the request: words of the text prove nothing."""
    if isinstance(error.param, str) and error.param.startswith(words):
        return True
    text, texts = _body_text(error).lower(), "\n".join(turn["content"] for turn in messages).lower()
    return any(re.search(rf"\b{re.escape(word)}", text) and word not in texts for word in words)


def _body_text(error: APIStatusError) -> str:
    body: Any = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)


# --- answers: the bytes of a chat completion ----------------------------------------------------------------------------


def _or_none(value: object, read: ValidatorFunctionWrapHandler) -> Any:
    """An answer is not lost because of odd counts beside it."""
    try:
        return read(value)
    except ValidationError:
        return None


class Message(BaseModel):
    content: str | None = None
    refusal: str | None = None

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


class Usage(BaseModel):
    prompt_tokens: Annotated[int | None, WrapValidator(_or_none)] = None
    completion_tokens: Annotated[int | None, WrapValidator(_or_none)] = None


class Completion(BaseModel):
    """The part of a chat completion that matters here; the rest is ignored."""

    choices: list[Choice]
    usage: Annotated[Usage | None, WrapValidator(_or_none)] = None

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
        # A whole answer in a form that bench can't read would come again; a page, or half of an answer, may not.
        whole = bool(_object_in(body).get("choices"))
        return Failure("bad_response", retryable=not whole, detail="a body that is not a chat completion")
    if not completion.choices:
        return Failure("bad_response", *completion.tokens, retryable=True, detail="a chat completion without choices")
    first = completion.first
    if first.finish_reason == "content_filter" or first.message.refusal:
        return Failure("content_filter", *completion.tokens)
    if first.error or first.finish_reason == "error":  # from a gateway whose own server broke off
        detail = f"an error in place of an answer: {first.error or 'finish_reason is error'}"
        return Failure("bad_response", *completion.tokens, retryable=True, detail=detail)
    return completion


_STATUS_WORDS = (
    ("rate.?limit|too many requests|resource.?exhausted|insufficient_quota", 429),
    ("authentication|invalid.?api.?key", 401),
    ("invalid.?request|bad.?request|invalid.?argument|unsupported|context.?length|content.?filter", 400),
    ("not.?found", 404),
)


def status_inside(body: bytes) -> int | None:
    """The HTTP status of an error in a body of status 200, which gateways send; None: there is no error in it."""
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


def _object_in(text: bytes | str) -> dict[str, Any]:
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
        names = _json_in(text) if structured == "choice" else _object_in(text).get("answer")
        if not isinstance(names, list) or not all(isinstance(name, str) and name in choices.names for name in names):
            return None
        return choices.text(list(dict.fromkeys(names)))
    answer = _object_in(text).get("answer") if structured == "json_schema" else text
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
