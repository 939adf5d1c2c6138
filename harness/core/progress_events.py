"""Progress events of long steps, sent to listeners.

As with `logging`, the sender needs no parameter: a download is five calls below the command that shows it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

OnProgress = Callable[[str, int, int, str], None]
"""`on_progress(phase, done, total, note)`; a `total` of 0: unknown. Phases and their units: `harness.cli.progress.PHASES`."""

_listeners: list[OnProgress] = []


def tell(phase: str, done: int, total: int, note: str = "") -> None:
    """Send an event to all listeners; from any thread."""
    for listener in _listeners:
        listener(phase, done, total, note)


@contextmanager
def progress_listener(on_progress: OnProgress) -> Iterator[None]:
    """While this lasts, `on_progress` receives the events."""
    _listeners.append(on_progress)
    try:
        yield
    finally:
        _listeners.remove(on_progress)


@contextmanager
def report_growth(folder: Path, note: str, every: float = 0.5) -> Iterator[None]:
    """While another program downloads into `folder`: report its size every `every` seconds."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(every):
            tell("download", _bytes_in(folder), 0, note)

    tell("download", 0, 0, note)  # a new file begins
    looking = threading.Thread(target=look, name="growth", daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()


def _bytes_in(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:  # moved meanwhile
            continue
    return total


OnTrainingLog = Callable[[int, Mapping[str, object]], None]
"""`on_training_log(step, values)`; names as in transformers' Trainer: loss, learning_rate, eval_accuracy, ..."""

_training_listeners: list[OnTrainingLog] = []


def log_training(step: int, values: Mapping[str, object]) -> None:
    """Report the figures of a training step to all listeners."""
    for listener in _training_listeners:
        listener(step, values)


@contextmanager
def training_listener(listener: OnTrainingLog) -> Iterator[None]:
    """While this lasts, `listener` receives what `log_training` reports."""
    _training_listeners.append(listener)
    try:
        yield
    finally:
        _training_listeners.remove(listener)
