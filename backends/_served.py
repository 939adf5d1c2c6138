"""What the engines share that ask a server: its connection and its model, requests side by side, and when to give up."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from backends._openai_connection import Connection, all_of, host_of, public_url, secrets_in
from backends._openai_failures import Failure, Server, unreachable
from harness.core.engine import Encoded, Engine
from harness.core.errors import BenchError, UserError

R = TypeVar("R")
Ask = Callable[[Encoded], Coroutine[Any, Any, R | Failure]]
"""Sends the request of one row, and reads its answer."""
log = logging.getLogger("bench")

FIRST = 3
"""Requests that are sent one by one until one is answered: where all are refused, so is every other."""

PATIENCE = 20
"""Requests in a row with retryable failures after which a server counts as unavailable; at least three times `concurrency`."""


class ServerOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field("https://api.openai.com/v1", description="of the server; what comes before the endpoint's name")
    api_key_env: str | None = Field(
        "OPENAI_API_KEY", description="environment variable that holds the key; null: the server needs none"
    )
    # These change no answer and are not part of a run's identity: a run can be resumed with other values.
    concurrency: int = Field(8, ge=1, exclude=True, description="requests at a time")
    timeout: float = Field(60, gt=0, exclude=True, description="seconds for each attempt, to the last byte of its answer")
    retries: int = Field(
        4, ge=0, exclude=True, description="further attempts after a timeout, a lost connection, HTTP 408, 409, 429 or 5xx"
    )

    @model_serializer(mode="wrap")
    def _public(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As records hold it: possible secrets in the address are masked."""
        fields: dict[str, Any] = serialize(self)
        return {**fields, "base_url": public_url(fields["base_url"])}


def sendable(text: str) -> str:
    """Without lone surrogates, which JSON files can hold and UTF-8 can't."""
    return text.encode("utf-8", "replace").decode()


def check_key_name(options: ServerOptions) -> None:
    """Raise `UserError` for a key in place of the name of its variable, which pydantic's message would show."""
    if options.api_key_env is not None and not re.fullmatch(r"[A-Za-z_]\w*", options.api_key_env, re.ASCII):
        raise UserError("The option `api_key_env` must be the name of an environment variable.", "Give the name, not the key.")


class ServedEngine(Engine):
    """A model behind a server. `options` are at least `ServerOptions`. The requests of a batch run concurrently."""

    model_is = "name"
    libraries = ("openai",)
    extra = "openai"
    options: ServerOptions

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        assert not isinstance(model, Path)
        super().__init__(options, model)
        # Not validators of `Options`: their messages show the value, which may be a secret here.
        self._host = host_of(self.options.base_url)
        check_key_name(self.options)
        self._named = model is not None
        self._model = model
        self._connection: Connection | None = None
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

    def _open(self) -> None:
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

    def _answers(self, work: Callable[[], Coroutine[Any, Any, list[R | Failure]]]) -> list[R | Failure]:
        """What `work` returns, once the notes that came up meanwhile are logged."""
        assert self._connection is not None, "load() comes first"
        rows = self._connection.run(work)
        for note in self._notes:
            log.info(note)
        self._notes.clear()
        return rows

    async def _directly(
        self,
        connection: Connection,
        prompts: Sequence[Encoded],
        ask: Ask[R],
        known: Mapping[int, R | Failure] | None = None,
    ) -> list[R | Failure]:
        """One request for each prompt without a `known` row, `concurrency` at a time; rows in order."""
        rows = {**(known or {}), **await self._first(connection, prompts, ask, known or {})}
        rest = [n for n in range(len(prompts)) if n not in rows]
        found = await all_of([self._row(connection, ask, prompts[n]) for n in rest])
        return self._together(rows, dict(zip(rest, found, strict=True)))

    async def _first(
        self, connection: Connection, prompts: Sequence[Encoded], ask: Ask[R], known: Mapping[int, R | Failure]
    ) -> dict[int, R | Failure]:
        """The shortest of the prompts without a `known` row, one by one until one is answered."""
        rows: dict[int, R | Failure] = {}
        waiting = sorted((n for n in range(len(prompts)) if n not in known), key=lambda n: prompts[n].tokens)
        for n in waiting[:FIRST]:
            if self._answered or any(isinstance(row, Failure) and row.retryable for row in rows.values()):
                break
            rows[n] = await self._row(connection, ask, prompts[n])
        self._check_accepted(list(rows.values()))
        return rows

    def _together(
        self, first: Mapping[int, R | Failure], rest: Mapping[int, R | Failure | BaseException | None]
    ) -> list[R | Failure]:
        """The rows in order; those of `rest` that have no answer because of an error count as not sent."""
        errors = [row for row in rest.values() if isinstance(row, BaseException)]
        lost = Failure("not_sent", retryable=True)
        found = {n: lost if row is None or isinstance(row, BaseException) else row for n, row in rest.items()}
        rows = {**first, **found}
        if errors:
            # Answered rows are paid for: keep them, and report the error afterwards.
            if not isinstance(errors[0], BenchError) or all(isinstance(row, Failure) for row in rows.values()):
                raise errors[0]
            self._unavailable = errors[0]
        self._check_accepted(list(found.values()))
        return [rows[n] for n in sorted(rows)]

    def _check_accepted(self, rows: Sequence[R | Failure]) -> None:
        """Raise `UserError` where all of several requests were refused: so would be any other."""
        refused = [row for row in rows if isinstance(row, Failure) and row.refused]
        if len(refused) == len(rows) >= FIRST:
            raise self._known.refuses_all(refused[-1].detail)

    async def _row(self, connection: Connection, ask: Ask[R], prompt: Encoded) -> R | Failure:
        async with connection.slots:
            if self._unavailable is not None:
                return Failure("not_sent", retryable=True)
            row = await ask(prompt)
        self._remember(row)
        return row

    def _remember(self, row: object) -> None:
        """After each request, in the order in which they end."""
        if not isinstance(row, Failure):
            self._answered, self._unanswered = True, 0
            return
        self._unanswered = self._unanswered + 1 if row.retryable else 0
        self._note(row)
        if self._unanswered >= max(PATIENCE, 3 * self.options.concurrency):
            self._unavailable = self._unavailable or self._known.is_down(self._unanswered, row.detail or row.word)

    def _note(self, row: object) -> None:
        if isinstance(row, Failure) and row.detail and row.word not in self._noted:
            self._noted.add(row.word)  # once: thousands may follow
            self._notes.append(f"{self._host} did not answer a row ({row.word}): {row.detail}")


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
