"""A chat server in this process: what it answers depends on the last user message alone, faults are scripted by row."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

KEY = "sk-test-Zq81-secret"
MODEL = "tiny-chat"
CONTEXT = 2000  # characters

Reply = Callable[["Handler", dict[str, Any]], None]
"""Sends an answer to a request's body, well or badly."""


class BatchApi(Protocol):
    """Further endpoints; both say whether they answered."""

    def get(self, handler: Handler) -> bool: ...

    def post(self, handler: Handler, content: bytes) -> bool: ...


@dataclass
class FakeServer:
    """What the server does, and what it saw. `faults[text]` are the replies to the next requests of that row, in order."""

    url: str = ""
    models: list[str] = field(default_factory=lambda: [MODEL])
    key: str | None = KEY
    logprobs: bool = True
    obeys: tuple[str, ...] = ("response_format", "structured_outputs")
    faults: dict[str, list[Reply]] = field(default_factory=dict)
    top: Callable[[str], dict[str, float]] | None = None  # tokens to show for a text
    barrier: threading.Barrier | None = None  # requests wait here for each other
    batch_api: BatchApi | None = None
    reply: Reply | None = None  # to all requests without a fault; default: a sound answer
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    count: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    running: int = 0
    peak: int = 0
    hanging: threading.Event = field(default_factory=threading.Event)  # somebody hangs
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


class QuietServer(ThreadingHTTPServer):
    """Clients that leave in the middle of an answer are what these tests are about."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def answer_to(text: str, choices: list[str]) -> str:
    return choices[sum(text.encode()) % len(choices)]


def answers_to(text: str, array: dict[str, Any]) -> list[str]:
    """As many names as there may be, of which one may come twice; or one."""
    first = answer_to(text, array["items"]["enum"])
    return [first, *array["items"]["enum"]][: array["maxItems"] if len(text) % 2 else 1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeServer
    counted = 0

    def setup(self) -> None:
        super().setup()
        with self.fake.lock:
            self.fake.connections += 1

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.fake.headers.append({name.lower(): value for name, value in self.headers.items()})
        if not self.allowed():
            return
        if self.fake.batch_api is not None and self.fake.batch_api.get(self):
            return
        for reply in self.fake.faults.get(self.path, [])[:1]:
            del self.fake.faults[self.path][0]
            reply(self, {})
            return
        self.send(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.fake.models]})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.path.rstrip("/").endswith("/chat/completions"):
            if self.allowed() and (self.fake.batch_api is None or not self.fake.batch_api.post(self, content)):
                self.send(404, {"error": {"message": "Not Found"}})
            return
        body = json.loads(content)
        fake, text = self.fake, body["messages"][-1]["content"]
        with fake.lock:
            fake.running += 1
            self.counted = 1
            fake.peak = max(fake.peak, fake.running)
            fake.count[text] += 1
            fake.bodies.append(body)
            fake.headers.append({name.lower(): value for name, value in self.headers.items()})
            reply = fake.faults[text].pop(0) if fake.faults.get(text) else fake.reply or good
        try:
            if fake.barrier is not None:
                fake.barrier.wait(20)
            if self.allowed():
                reply(self, body)
        finally:
            self.done()

    def allowed(self) -> bool:
        if self.fake.key is None or self.headers.get("Authorization") == f"Bearer {self.fake.key}":
            return True
        # Some servers quote the key.
        self.send(401, {"error": {"message": f"Incorrect API key provided: {self.headers.get('Authorization')}"}})
        return False

    def send(self, status: int, body: Any, headers: dict[str, str] | None = None, cut: int = 0) -> None:
        """`cut`: bytes at the end that are promised, and never come."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.done()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) - cut])
        self.wfile.flush()
        self.close_connection = self.close_connection or cut > 0

    def done(self) -> None:
        """Before the answer goes out: the client may send its next request before this thread goes on."""
        with self.fake.lock:
            self.fake.running -= self.counted
            self.counted = 0


def good(handler: Handler, body: dict[str, Any]) -> None:
    """What a sound server answers."""
    handler.send(*answered(handler.fake, body))


def answered(fake: FakeServer, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and body of a sound server's answer."""
    text = body["messages"][-1]["content"]
    if body["model"] not in fake.models:
        message = f"The model `{body['model']}` does not exist.\x1b[31m" + "x" * 1000
        return 404, {"error": {"message": message, "type": "NotFoundError", "code": 404}}
    if len(text) > CONTEXT:
        message = f"This model's maximum context length is {CONTEXT} tokens. Your text: {text}"
        return 400, {"error": {"message": message, "type": "BadRequestError", "code": 400}}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
    choice["message"] = {"role": "assistant", "content": content_for(fake, text, body)}
    if body.get("max_tokens", 99) == 1:
        choice["finish_reason"] = "length"
    if body.get("logprobs") and fake.logprobs:
        shown = sorted((fake.top or top_tokens)(text).items(), key=lambda pair: -pair[1])[: body["top_logprobs"]]
        tops = [{"token": token, "logprob": log_p, "bytes": None} for token, log_p in shown]
        choice["logprobs"] = {"content": [{"token": "?", "logprob": -1.0, "top_logprobs": tops}]}
    usage = {"prompt_tokens": len(text) + 7, "completion_tokens": 1}
    return 200, {"id": "1", "object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage}


def content_for(fake: FakeServer, text: str, body: dict[str, Any]) -> str:
    asked = body.get("response_format") if "response_format" in fake.obeys else None
    if asked:
        answer = asked["json_schema"]["schema"]["properties"]["answer"]
        return json.dumps({"answer": answers_to(text, answer) if "items" in answer else answer_to(text, answer["enum"])})
    if "structured_outputs" in body and "structured_outputs" in fake.obeys:
        wanted = body["structured_outputs"]
        return json.dumps(answers_to(text, wanted["json"])) if "json" in wanted else answer_to(text, wanted["choice"])
    return f"echo: {text}"


def top_tokens(text: str) -> dict[str, float]:
    """Digits in an order that the text decides, and library_logging."""
    first = sum(text.encode()) % 5
    digits = {str((first + i) % 5): math.log(0.5 / 2**i) for i in range(5)}
    return {**digits, "The": -6.0, "\n": -7.0}


def status(code: int, body: Any = None, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: handler.send(code, body if body is not None else {"error": {"message": "no luck"}}, named)


def raw(body: bytes, code: int = 200) -> Reply:
    return lambda handler, _: handler.send(code, body)


def cut(handler: Handler, body: dict[str, Any]) -> None:
    handler.send(200, {"choices": [{"message": {"content": "lost"}, "finish_reason": "stop"}]}, cut=10)


def drop(handler: Handler, body: dict[str, Any]) -> None:
    handler.close_connection = True


def hang(handler: Handler, body: dict[str, Any]) -> None:
    handler.fake.hanging.set()
    handler.fake.closing.wait(60)
    handler.close_connection = True


def trickle(handler: Handler, body: dict[str, Any]) -> None:
    """A byte now and then, so that no single read takes long, for some seconds or until the client leaves."""
    handler.send(200, b"{" + b" " * 1000, cut=1000)
    for _ in range(400):
        handler.fake.closing.wait(0.02)
        handler.wfile.write(b" ")
        handler.wfile.flush()


@contextmanager
def fake_server(**settings: Any) -> Iterator[FakeServer]:
    fake = FakeServer(**settings)
    server = QuietServer(("127.0.0.1", 0), type("FakeHandler", (Handler,), {"fake": fake}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield fake
    finally:
        fake.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
