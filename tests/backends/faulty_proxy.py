"""An HTTP proxy that lets requests through to one server, or spoils them as a script says.

    with faulty_proxy("http://127.0.0.1:8000/v1", [None, "429:0.05", "cut"]) as proxy:
        ...  # talk to proxy.url as if it were the server; proxy.log tells what happened

Faults are taken one a request (of any method), in order of arrival; when they are used up everything is forwarded.

| fault | what the client gets |
|---|---|
| None | the server's own answer |
| "429", "429:SECONDS" | status 429, with `Retry-After: SECONDS` |
| "500" | status 500 |
| "hang" | nothing, until it leaves or the proxy is closed; nothing is forwarded |
| "cut" | the server's answer but for its second half, and then the end of the connection |
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

FAULTS = ("429:0.01", "500", "hang", "cut")
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "te", "upgrade"}


@dataclass(frozen=True)
class Event:
    """One request: its number in order of arrival, the fault, and the status that the server gave if it was forwarded."""

    number: int
    method: str
    path: str
    fault: str | None
    upstream_status: int | None


@dataclass
class Proxy:
    """`url` stands for the upstream URL. `log` is in the order in which requests were done with (hangs: begun)."""

    url: str
    log: list[Event] = field(default_factory=list)


def seeded_faults(seed: int, count: int, share: float = 0.5, faults: Sequence[str] = FAULTS) -> list[str | None]:
    """A script of `count` requests, about `share` of which are spoilt."""
    draw = random.Random(seed)
    return [draw.choice(faults) if draw.random() < share else None for _ in range(count)]


class _Script:
    def __init__(self, upstream_url: str, faults: Sequence[str | None]) -> None:
        parts = urlsplit(upstream_url)
        assert parts.scheme == "http"
        assert parts.hostname is not None
        self.host, self.port, self.path = parts.hostname, parts.port or 80, parts.path
        self._faults, self._next, self._lock = list(faults), 0, threading.Lock()
        self.closing = threading.Event()
        self.proxy = Proxy("")

    def take(self) -> tuple[int, str | None]:
        with self._lock:
            number, self._next = self._next, self._next + 1
            return number, self._faults[number] if number < len(self._faults) else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: _Script

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        number, fault = self.script.take()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault == "hang":
            self._log(number, fault, None)
            self.script.closing.wait(60)
            self.close_connection = True
        elif fault == "500" or (fault or "").startswith("429"):
            code, _, seconds = str(fault).partition(":")
            self._log(number, fault, None)
            self._send(int(code), b'{"error": {"message": "injected"}}', {"Retry-After": seconds} if seconds else {})
        else:
            status, headers, answer = self._forward(body)
            self._log(number, fault, status)
            self._send(status, answer, headers, kept=len(answer) // 2 if fault == "cut" else None)

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        with closing(HTTPConnection(self.script.host, self.script.port, timeout=300)) as upstream:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            upstream.request(self.command, self.path, body or None, headers)
            response = upstream.getresponse()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP}
            return response.status, kept, response.read()

    def _send(self, status: int, body: bytes, headers: dict[str, str], kept: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:kept])
        self.wfile.flush()
        self.close_connection = self.close_connection or kept is not None

    def _log(self, number: int, fault: str | None, status: int | None) -> None:
        self.script.proxy.log.append(Event(number, self.command, self.path, fault, status))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that gave up


@contextmanager
def faulty_proxy(upstream_url: str, faults: Sequence[str | None]) -> Iterator[Proxy]:
    """See the module's text. `upstream_url` is an http URL, with or without a path."""
    unknown = {fault for fault in faults if fault is not None} - {"500", "hang", "cut"}
    assert all(fault.partition(":")[0] == "429" for fault in unknown), unknown
    script = _Script(upstream_url, faults)
    server = _Server(("127.0.0.1", 0), type("ProxyHandler", (_Handler,), {"script": script}))
    script.proxy.url = f"http://127.0.0.1:{server.server_address[1]}{script.path}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script.proxy
    finally:
        script.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
