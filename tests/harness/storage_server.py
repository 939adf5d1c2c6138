"""An S3 server on loopback (moto's), and a door before it: while it is shut, the server is away."""

from __future__ import annotations

import re
import select
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

SERVER = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', sys.argv[1]])"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Door:
    """Passes connections on to `target` while it is open."""

    def __init__(self, target: int) -> None:
        self._target, self.port = target, free_port()
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        self._listener = listener
        threading.Thread(target=self._accept, args=[listener], daemon=True).start()

    def shut(self) -> None:
        """Connections end in the middle, new ones are refused."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._listener, self._open = None, []

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                caller, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._open += [caller, server]
            threading.Thread(target=self._pass, args=[caller, server], daemon=True).start()

    @staticmethod
    def _pass(caller: socket.socket, server: socket.socket) -> None:
        with caller, server, suppress(OSError):
            while True:
                for one in select.select([caller, server], [], [])[0]:
                    data = one.recv(1 << 16)
                    if not data:
                        return
                    (server if one is caller else caller).sendall(data)


class S3:
    """`environment`: of processes that use it, through `door`."""

    def __init__(self, log: Path, bucket: str) -> None:
        self._port, self._bucket = free_port(), bucket
        with log.open("wb") as file:
            self._process = subprocess.Popen([sys.executable, "-c", SERVER, str(self._port)], stdout=file, stderr=file)
        self._wait()
        self.door = Door(self._port)
        urllib.request.urlopen(urllib.request.Request(self._url(), method="PUT")).close()
        self.environment = {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.door.port}",
        }

    def _url(self, rest: str = "") -> str:
        return f"http://127.0.0.1:{self._port}/{self._bucket}{rest}"

    def _wait(self) -> None:
        started = time.monotonic()
        while time.monotonic() < started + 60:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
                return
            time.sleep(0.1)
        raise AssertionError("the S3 server did not start")

    def names(self) -> list[str]:
        """Of all files, past the door."""
        with urllib.request.urlopen(self._url("?list-type=2")) as answer:
            return re.findall("<Key>(.*?)</Key>", answer.read().decode())

    def close(self) -> None:
        self.door.shut()
        self._process.kill()
        self._process.wait()
