"""The search for duplicates in a process of its own, beside other work: a thread would share the interpreter with it.

The process reads lines of JSON from its input, `{"part": name, "texts": [...]}`, where the part "" is the texts that are asked
for and null stands for these texts, and then `{"end": true}`. It writes `{"done": share}` and last `{"found": {...}}`, or
`{"error": text}`. No text is written to a disk.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from harness.core.errors import RunError
from harness.core.progress_events import progress_listener, tell
from harness.data.duplicates import Twins, twins_among

AT_ONCE = 10_000
"""Texts of a line."""

EVERY = 0.5
"""Seconds between two progress events while the result is waited for."""


class DuplicateSearch:
    """As `twins_among`, from now on in another process. `close` ends it."""

    def __init__(self, texts: Sequence[str], parts: Mapping[str, Sequence[str] | None]) -> None:
        self._texts = len(texts)
        self._share = 0.0
        self._found: dict[str, Twins] | None = None
        self._problem = ""
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.data.search_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._threads = [
            threading.Thread(target=self._feed, args=({"": texts, **parts},), name="texts", daemon=True),
            threading.Thread(target=self._listen, name="duplicates", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def share(self) -> float:
        """How much of the search is done, 0 to 1."""
        return self._share

    def result(self) -> dict[str, Twins]:
        """Waits for it, with progress events. Raises `RunError`."""
        listening = self._threads[-1]
        while listening.is_alive():
            tell("find duplicates", int(self._share * self._texts), self._texts)
            listening.join(EVERY)
        if self._found is None:
            problem = self._problem or f"its process ended with {self._process.wait()}"
            raise RunError(f"The search for duplicates failed: {problem}.", "Repeat the command: the predictions are kept.")
        tell("find duplicates", self._texts, self._texts)
        return self._found

    def close(self) -> None:
        with suppress(OSError):
            self._process.terminate()
        self._process.wait()
        for thread in self._threads:
            thread.join()

    def _feed(self, parts: Mapping[str, Sequence[str] | None]) -> None:
        assert self._process.stdin is not None
        with suppress(OSError), self._process.stdin as out:  # an OSError: the process has ended, which `result` reports
            for name, texts in parts.items():
                if not texts:
                    _write(out, {"part": name, "texts": None if texts is None else []})
                for start in range(0, len(texts or ()), AT_ONCE):
                    _write(out, {"part": name, "texts": (texts or ())[start : start + AT_ONCE]})
            _write(out, {"end": True})

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                told = json.loads(line)
                self._share = told.get("done", self._share)
                self._problem = told.get("error", self._problem)
                if "found" in told:
                    self._found = {name: Twins(**twins) for name, twins in told["found"].items()}


def _write(file: IO[bytes], value: Mapping[str, Any]) -> None:
    file.write(json.dumps(value).encode("ascii") + b"\n")
    file.flush()


def main() -> None:
    with suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits, and that one ends this one
    if hasattr(os, "nice"):
        os.nice(5)  # the predictions come first
    out = sys.stdout.buffer
    parts: dict[str, list[str] | None] = {}
    for line in sys.stdin.buffer:
        told = json.loads(line)
        if "end" in told:
            break
        if told["texts"] is None:
            parts[told["part"]] = None
        else:
            known = parts.setdefault(told["part"], [])
            assert known is not None
            known += told["texts"]
    else:  # the process that asked has ended
        return
    texts = parts.pop("") or []
    with progress_listener(lambda phase, done, total, note: _write(out, {"done": done / total})):
        try:
            found = twins_among(texts, parts)
        except BrokenPipeError:
            return
        except Exception as error:  # told by the process that asked
            _write(out, {"error": f"{type(error).__name__}: {error}"})
            return
    _write(out, {"found": {name: asdict(twins) for name, twins in found.items()}})


if __name__ == "__main__":
    main()
