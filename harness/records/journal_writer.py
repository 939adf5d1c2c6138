"""Writes lines to a journal in a thread, so that nobody waits for the disk: an fsync takes milliseconds."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core.durable import sync_folder

MOST_WAITING = 1000
"""Lines that wait to be written, at most: a bound on the memory."""

MOST_SECONDS = 1.0
"""For which a line may wait while others are put: a process that is killed loses the lines of this time at most."""


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    answers: Sequence[str]
    since: float


class JournalWriter:
    """What waits is written together, and synced once. An error of the disk is raised by the next call."""

    def __init__(self, journal: Path, answers: Path) -> None:
        """`answers`: a file beside the journal, written before it and not synced."""
        self._journal, self._answers = journal, answers
        self._waiting: deque[_Line] = deque()
        self._changed = threading.Condition()
        self._writing: list[_Line] = []
        self._ended = False
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def put(self, text: str, answers: Sequence[str]) -> None:
        """Lines without their ends. Waits where many lines wait already, or one of them for long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_late() or self._error is not None)
            self._raise()
            self._waiting.append(_Line(text, answers, time.monotonic()))
            self._changed.notify_all()
            if self._thread is None:
                self._ended = False
                self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
                self._thread.start()

    def _is_late(self) -> bool:
        first = next(iter(self._writing or self._waiting), None)
        waits = 0.0 if first is None else time.monotonic() - first.since
        return waits > MOST_SECONDS or len(self._waiting) >= MOST_WAITING

    def flush(self) -> None:
        """Wait until all lines are on the disk."""
        with self._changed:
            self._changed.wait_for(lambda: (not self._waiting and not self._writing) or self._error is not None)
            self._raise()

    def close(self) -> None:
        """Write what waits, and end the thread. Raises no error of the disk a second time."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._ended)
                self._writing = list(self._waiting)
                self._waiting.clear()
                if not self._writing:
                    return
                self._changed.notify_all()
            try:
                self._write(self._writing)
            except Exception as error:  # raised where the next line is put
                self._error = error
            with self._changed:
                self._writing = []
                self._changed.notify_all()

    def _write(self, lines: Sequence[_Line]) -> None:
        answers = [answer for line in lines for answer in line.answers]
        if answers:
            self._answers.parent.mkdir(parents=True, exist_ok=True)
            with self._answers.open("a", encoding="utf-8") as file:
                file.writelines(answer + "\n" for answer in answers)
        is_new = not self._journal.exists()
        with self._journal.open("a", encoding="utf-8") as file:
            file.writelines(line.text + "\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self._journal.parent)
