"""The connection to a chat server: a client whose event loop runs in its own thread."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from backends._openai_answers import object_in
from harness.core.engine import Messages
from harness.core.errors import UserError

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

T = TypeVar("T")

LARGEST_BODY = 8 * 2**20
"""Maximum bytes of one unpacked answer. A chat completion has a few thousand."""

LARGEST_FILE = 2 * 2**30
"""Maximum bytes of a file of answers of a batch."""

FILE_SECONDS = 600.0
"""For a file to be sent or read, if `timeout` is not larger."""

MOST_REDIRECTS = 5

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
        self._open_files = partial(_client, base_url, key, max(timeout, FILE_SECONDS), retries, LARGEST_FILE)
        self._files: AsyncOpenAI | None = None
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

    async def post(self, path: str, body: dict[str, Any]) -> bytes:
        """The body of the answer of another endpoint. Raises `openai.OpenAIError`."""
        import httpx2

        answer = await self._client.post(path, body=body, cast_to=httpx2.Response)
        return answer.content

    async def upload(self, lines: bytes) -> bytes:
        """The server's answer to a file of requests for a batch. Raises `openai.OpenAIError`."""
        file = ("requests.jsonl", lines, "application/jsonl")
        answer = await self._file_client().files.with_raw_response.create(file=file, purpose="batch")
        return answer.http_response.content

    async def download(self, file: str) -> bytes:
        """The content of a file of answers. Raises `openai.OpenAIError`."""
        return (await self._file_client().files.with_raw_response.content(file)).http_response.content

    def _file_client(self) -> AsyncOpenAI:
        """Has other limits of time and size than that of the chats."""
        if self._files is None:
            self._files = self._open_files()
            self._exit.callback(self._portal.call, self._files.close)
        return self._files

    async def create_batch(self, file: str) -> bytes:
        """A batch of the requests in an uploaded file; sent once, since two batches would cost twice. Raises
        `openai.OpenAIError`."""
        client = self._client.with_options(max_retries=0)
        answer = await client.batches.with_raw_response.create(
            completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file
        )
        return answer.http_response.content

    async def batch(self, batch: str) -> bytes:
        """The state of a batch. Raises `openai.OpenAIError`."""
        return (await self._client.batches.with_raw_response.retrieve(batch)).http_response.content

    async def batches(self) -> bytes:
        """The list of the latest batches. Raises `openai.OpenAIError`."""
        return (await self._client.batches.with_raw_response.list(limit=100)).http_response.content


async def all_of(
    work: Sequence[Coroutine[Any, Any, T]], keep: type[BaseException] | tuple[type[BaseException], ...] = ()
) -> list[T | BaseException | None]:
    """Results in order, or the exception of one that raised. The first exception that is none of `keep` cancels all others:
    these are None."""

    async def kept(one: Coroutine[Any, Any, T]) -> T | BaseException:
        try:
            return await one
        except keep as error:
            return error

    tasks = [asyncio.ensure_future(kept(one)) for one in work]
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


def _client(base_url: str, key: str, timeout: float, retries: int, largest: int = LARGEST_BODY) -> AsyncOpenAI:
    """`largest`: bytes of an answer."""
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
                    return await _read(response, largest)
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


async def _read(response: httpx2.Response, largest: int) -> httpx2.Response:
    """The answer with its body. An error in a body of status 200 gets the status that it stands for, so that the client
    retries it, or not, like that one."""
    import httpx2

    parts, size = [], 0
    try:
        async for part in response.aiter_bytes():
            size += len(part)
            if size > largest:
                raise httpx2.DecodingError(f"an answer of more than {largest >> 20} MiB", request=response.request)
            parts.append(part)
    finally:
        await response.aclose()
    body = b"".join(parts)
    # A file of answers may hold the errors of single rows.
    is_answer = response.status_code == 200 and largest == LARGEST_BODY
    status = (status_inside(body) if is_answer else None) or response.status_code
    # The body is unpacked now.
    gone = {"content-encoding", "content-length", "transfer-encoding"}
    headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in gone]
    return httpx2.Response(status, headers=headers, content=body, request=response.request)


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
    found = object_in(body)
    if found.get("choices") or not found.get("error"):
        return None
    error = found["error"] if isinstance(found["error"], dict) else {"type": found["error"]}
    named = [str(error.get(key)) for key in ("code", "status", "status_code", "type", "message")]
    for value in named[:-1]:
        if re.fullmatch("[45][0-9][0-9]", value):
            return int(value)
    words = " ".join(named).lower()
    return next((status for pattern, status in _STATUS_WORDS if re.search(pattern, words)), 502)
