"""What a worker tells while it works: where it is, and lines that stay."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from harness.core.progress_events import progress_listener


class Listener(Protocol):
    """Hears of one job. May be called from any thread."""

    def update(self, phase: str, done: int, total: int, note: str) -> None:
        """As `harness.core.progress_events.OnProgress`."""

    def say(self, text: str) -> None:
        """A line about the job, which --quiet leaves out."""

    def warn(self, text: str) -> None:
        """A line that --quiet prints too."""


PREDICT = "predict"
"""The phase in which the rows of a run are predicted."""
COMMAND = -1
"""In place of a job: about all of them."""


@dataclass(frozen=True, slots=True)
class Event:
    """A call of a `Listener` in another process. `job`: position in the plan, or `COMMAND`. `kind` "start": a worker begins
    the job."""

    job: int
    kind: Literal["start", "update", "say", "warn"]
    text: str = ""
    done: int = 0
    total: int = 0
    note: str = ""

    def tell(self, listener: Listener) -> None:
        if self.kind == "update":
            listener.update(self.text, self.done, self.total, self.note)
        elif self.kind == "say":
            listener.say(self.text)
        elif self.kind == "warn":
            listener.warn(self.text)


BUSY = ("wait", 0, 0, "another process works on the run")
"""What a listener is told while a run waits for a process that may be dead."""


OnEvent = Callable[[Event], None]


class Sender:
    """A `Listener` that sends events on. `every`: seconds between two updates about the same phase; the last one of a phase is
    always sent."""

    def __init__(self, job: int, send: Callable[[Event], None], every: float) -> None:
        self._job, self._send, self._every = job, send, every
        self._sent = Event(job, "update")
        self._held: Event | None = None
        self._since = 0.0

    def update(self, phase: str, done: int, total: int, note: str) -> None:
        event, now = Event(self._job, "update", phase, done, total, note), time.monotonic()
        is_new = phase != self._sent.text
        if is_new and self._held is not None:
            self._send(self._held)
        if is_new or done >= total > 0 or now - self._since >= self._every:
            self._send(event)
            self._sent, self._held, self._since = event, None, now
        else:
            self._held = event

    def say(self, text: str) -> None:
        self._send(Event(self._job, "say", text))

    def warn(self, text: str) -> None:
        self._send(Event(self._job, "warn", text))


@contextmanager
def log_lines(current: Callable[[], Listener | None]) -> Iterator[None]:
    """What the library logs, such as a long download, goes to the listener of the job that is under way."""
    warned: set[str] = set()

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message, listener = record.getMessage(), current()
            if listener is None:
                return
            if record.levelno < logging.WARNING:
                listener.say(message)
            elif message not in warned:  # a record is read before and after its lock is taken
                warned.add(message)
                listener.warn(f"warning: {message}")

    log, lines = logging.getLogger("bench"), Lines()
    before = log.level, log.propagate, log.handlers
    log.handlers = [lines]  # the command's own would write into the bar
    log.setLevel(logging.INFO)
    log.propagate = False  # or --verbose would show them twice
    try:
        yield
    finally:
        log.setLevel(before[0])
        log.propagate, log.handlers = before[1], before[2]


@contextmanager
def forwarded(current: Callable[[], Listener | None]) -> Iterator[None]:
    """In a worker's own process: log lines and progress events go to the listener of the job that is under way."""

    def update(phase: str, done: int, total: int, note: str) -> None:
        if (listener := current()) is not None:
            listener.update(phase, done, total, note)

    with log_lines(current), progress_listener(update):
        yield
