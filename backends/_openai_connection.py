"""One client of a chat server, in an event loop of its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import threading
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from backends._openai_answers import status_inside
from harness.core.engine import Messages
from harness.core.errors import UserError

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

T = TypeVar("T")

LARGEST_BODY = 8 * 2**20
"""Bytes of one answer, unpacked. A chat completion has a few thousand."""

MOST_REDIRECTS = 5

ORDINARY = re.compile(
    r"v\d{1,2}((alpha|beta)\d?)?|api|openai|inference|compatible-mode|serving-endpoints|engines|deployments|models|chat|llm"
)
"""Parts of a server's path that are no secret; any other may be a key, as some gateways have it there."""


class Connection:
    """An asyncio loop that lives in a background thread until `close`, so that the client keeps its connections."""

    def __init__(self, base_url: str, key: str, concurrency: int, timeout: float, retries: int) -> None:
        """`timeout`: seconds for each attempt as a whole. Sends nothing yet."""
        self._client = _client(base_url, key, timeout, retries)
        self.slots = asyncio.Semaphore(concurrency)
        """For the caller to hold around `chat`, also while it waits to be tried again."""
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
        """The body of the answer. Raises `openai.OpenAIError`."""
        request: Any = messages
        answer = await self._client.chat.completions.with_raw_response.create(model=model, messages=request, extra_body=fields)
        return answer.http_response.content


async def all_of(work: Sequence[Coroutine[Any, Any, T]]) -> list[T | BaseException | None]:
    """Results in order, and the exception of one that raised. The first exception cancels all others: these are None."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()  # of one that is done: nothing
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
        raise UserError("The option `base_url` is no URL of a server.", "Give one like http://localhost:8000/v1.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UserError(
            f"The option `base_url` (host {host}) holds more than an address.",
            "Leave out user, password and what follows `?` or `#`; a key belongs in the variable that `api_key_env` names.",
        )
    return parts.netloc


def secrets_in(base_url: str) -> list[str]:
    """The parts of its path that may be secrets, as they are written and as a server would quote them; the longest first."""
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
        """Bounds an answer as a whole, in time and in size. The library's timeout is per read, and a server that trickles never
        meets it; and it reads whatever comes, and follows to any address."""

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
            raise httpx2.TooManyRedirects("The server redirects without an end.", request=request)

    if secrets_in(base_url):  # with --verbose it logs the address of each request
        logging.getLogger("httpx2").setLevel(logging.WARNING)
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
    """The answer with its body. An error in a body of status 200 becomes the status that it stands for, so that it is tried
    again, or not, like that one."""
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
    # What the body was packed with is no longer true of it.
    gone = {"content-encoding", "content-length", "transfer-encoding"}
    headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in gone]
    return httpx2.Response(status, headers=headers, content=body, request=response.request)


def _model_ids(body: bytes) -> list[str]:
    try:
        entries = json.loads(body)["data"]
        return [entry["id"] for entry in entries if isinstance(entry["id"], str)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []  # some page that is no list of models
