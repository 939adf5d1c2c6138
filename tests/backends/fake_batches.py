"""OpenAI's endpoints /files and /batches in front of the test server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fake_server import FakeServer, Handler, answered

Line = dict[str, Any]


def answer_line(fake: FakeServer, request: Line) -> Line:
    status, body = answered(fake, request["body"])
    return executed(request, status, body)


def executed(request: Line, status: int, body: Any) -> Line:
    response = {"status_code": status, "request_id": "r", "body": body}
    return {"id": "batch_req_1", "custom_id": request["custom_id"], "response": response, "error": None}


def not_executed(request: Line, code: str) -> Line:
    error = {"code": code, "message": "This request could not be executed before the completion window expired."}
    return {"id": "batch_req_1", "custom_id": request["custom_id"], "response": None, "error": error}


def text_of(request: Line) -> str:
    return str(request["body"]["messages"][-1]["content"])


@dataclass
class FakeBatches:
    """What the batch API does, and what it saw. `steps`: the states of a batch before its end, one for each question; a batch
    for which `held` is set stays at the first. `line` answers a request (None: no line); `end` is the state at the end."""

    server: FakeServer
    steps: tuple[str, ...] = ("validating", "in_progress")
    end: str = "completed"
    errors: list[dict[str, Any]] | None = None
    line: Callable[[Line], Line | None] | None = None
    held: threading.Event = field(default_factory=threading.Event)
    faults: dict[str, list[int | None]] = field(default_factory=dict)
    """By `METHOD path` without ids: the statuses of the next answers; 0 drops the connection after the work was done."""
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def requests(self, batch: str) -> list[Line]:
        return [json.loads(line) for line in self.files[self.batches[batch]["input_file_id"]].splitlines()]

    def get(self, handler: Handler) -> bool:
        path = handler.path.partition("?")[0].removeprefix("/v1")
        parts = path.strip("/").split("/")
        if parts[0] == "batches":
            what = "GET /batches/ID" if len(parts) == 2 else "GET /batches"
        elif parts[0] == "files":
            what = "GET /files/ID/content"
        else:
            return False
        if self._failed(handler, what):
            return True
        if what == "GET /batches":
            handler.send(200, {"object": "list", "data": list(self.batches.values()), "has_more": False})
        elif what == "GET /files/ID/content" and parts[1] in self.files:
            handler.send(200, self.files[parts[1]])
        elif what == "GET /batches/ID" and parts[1] in self.batches:
            handler.send(200, self._next(self.batches[parts[1]]))
        else:
            handler.send(404, {"error": {"message": f"No such object: {parts[1]}"}})
        return True

    def post(self, handler: Handler, content: bytes) -> bool:
        path = handler.path.removeprefix("/v1").rstrip("/")
        if path == "/files":
            return self._upload(handler, content)
        if path != "/batches":
            return False
        if self._failed(handler, "POST /batches"):
            return True
        asked = json.loads(content)
        assert (asked["endpoint"], asked["completion_window"]) == ("/v1/chat/completions", "24h")
        with self.lock:
            name = f"batch_{len(self.batches) + 1}"
            files = {"input_file_id": asked["input_file_id"], "output_file_id": None, "error_file_id": ""}
            self.batches[name] = {"id": name, "object": "batch", "status": self.steps[0], **files, "errors": None, "step": 0}
        if self._failed(handler, "after POST /batches"):
            return True
        handler.send(200, self.batches[name])
        return True

    def _upload(self, handler: Handler, content: bytes) -> bool:
        if self._failed(handler, "POST /files"):
            return True
        boundary = handler.headers["Content-Type"].partition("boundary=")[2].encode()
        fields = {}
        for part in content.split(b"--" + boundary)[1:-1]:
            head, _, value = part.removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n")
            fields[head.partition(b'name="')[2].partition(b'"')[0].decode()] = value
        assert fields["purpose"] == b"batch"
        with self.lock:
            name = f"file-{len(self.files) + 1}"
            self.files[name] = fields["file"]
        handler.send(200, {"id": name, "object": "file", "purpose": "batch", "bytes": len(fields["file"])})
        return True

    def _failed(self, handler: Handler, what: str) -> bool:
        with self.lock:
            if not what.startswith("after"):
                self.asked.append(what)
            waiting = self.faults.get(what)
            status = waiting.pop(0) if waiting else None
        if status is None:
            return False
        if status == 0:
            handler.close_connection = True
        else:
            handler.send(status, {"error": {"message": "no luck"}})
        return True

    def _next(self, batch: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            if self.held.is_set():
                return batch
            batch["step"] += 1
            if batch["step"] < len(self.steps):
                batch["status"] = self.steps[batch["step"]]
            elif batch["status"] not in ("completed", "failed", "expired", "cancelled"):
                self._finish(batch)
            return batch

    def _finish(self, batch: dict[str, Any]) -> None:
        batch["status"] = self.end
        batch["errors"] = self.errors and {"object": "list", "data": self.errors}
        lines = []
        for request in reversed(self.requests(batch["id"])):  # the order is not that of the requests
            line = self.line(request) if self.line is not None else answer_line(self.server, request)
            lines += [line] if line is not None and self.end != "failed" else []
        good = [line for line in lines if line["response"] and line["response"]["status_code"] == 200]
        for key, part in (("output_file_id", good), ("error_file_id", [line for line in lines if line not in good])):
            if part:
                batch[key] = f"{key}-{batch['id']}"
                self.files[batch[key]] = "".join(json.dumps(line) + "\n" for line in part).encode()
