"""One client of a chat server, in an event loop of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from backends.base import Messages
from harness.errors import UserError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")


class Connection:
    """An asyncio loop that lives in a background thread until `close`, so that the client keeps its connections."""

    def __init__(self, base_url: str, key: str, concurrency: int, timeout: float, retries: int) -> None:
        """`timeout`: seconds for each attempt as a whole. Sends nothing yet."""
        self._client = _client(base_url, key, timeout, retries)
        self._slots = asyncio.Semaphore(concurrency)
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._live, name="bench-openai", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_closed())

    async def _until_closed(self) -> None:
        async with self._client:
            await self._end.wait()
            in_flight = asyncio.all_tasks() - {asyncio.current_task()}
            for task in in_flight:
                task.cancel()
            await asyncio.gather(*in_flight, return_exceptions=True)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns or raises. If the calling thread is interrupted meanwhile (Ctrl-C), `work` is cancelled."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what is in flight, close the client, end the thread. May be called twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()

    async def models(self) -> list[str]:
        """The ids of the server's models. Raises `openai.OpenAIError`."""
        # One retry: somebody waits for it at the terminal, and a server that is not there stays away.
        client = self._client.with_options(max_retries=1)
        answer = await client.models.with_raw_response.list()
        return _model_ids(answer.http_response.content)

    async def chat(self, model: str, messages: Messages, fields: dict[str, Any]) -> bytes:
        """The body of the answer. A request that waits to be tried again keeps its slot. Raises `openai.OpenAIError`."""
        request: Any = messages
        async with self._slots:
            answer = await self._client.chat.completions.with_raw_response.create(
                model=model, messages=request, extra_body=fields
            )
        return answer.http_response.content


async def all_of(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Results in order. The first exception cancels all others and is raised alone."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
    else:
        return [task.result() for task in tasks]
    raise first  # outside of `except`: what is printed would else begin with the group


def host_of(base_url: str) -> str:
    """Host and port. Raises `UserError`, which never shows the URL: it may hold a password."""
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or parts.scheme not in ("http", "https"):
        raise UserError("The option `base_url` is no URL of a server.", "Give one like http://localhost:8000/v1.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UserError(
            f"The option `base_url` (host {host}) holds more than an address.",
            "Leave out user, password and what follows `?` or `#`; a key belongs in the variable that `api_key_env` names.",
        )
    return parts.netloc


def _client(base_url: str, key: str, timeout: float, retries: int) -> AsyncOpenAI:
    import httpx2
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    class WholeAttempts(DefaultAsyncHttpxClient):
        """The library's timeout is per read, and a server that trickles never meets it; this one is for all of an answer."""

        async def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
            if not key:
                request.headers.pop("Authorization", None)
            try:
                async with asyncio.timeout(timeout):
                    return await super().send(request, **kwargs)
            except TimeoutError as error:
                raise httpx2.ReadTimeout("The answer took too long.", request=request) from error

    # Left alone, the library takes a missing key from $OPENAI_API_KEY and an `Authorization` from $OPENAI_CUSTOM_HEADERS:
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


def _model_ids(body: bytes) -> list[str]:
    try:
        entries = json.loads(body)["data"]
        return [entry["id"] for entry in entries if isinstance(entry["id"], str)]
    except (ValueError, KeyError, TypeError):
        return []  # some page that is no list of models
