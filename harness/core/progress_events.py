"""How far a long step is, told to whoever watches.

As with `logging`, who tells needs no parameter for it: a download lies five calls below the command that wants to show it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

OnProgress = Callable[[str, int, int, str], None]
"""`on_progress(phase, done, total, note)`; a `total` of 0: not known. Phases and their units: `harness.cli.progress.PHASES`."""

_watchers: list[OnProgress] = []


def tell(phase: str, done: int, total: int, note: str = "") -> None:
    """Tell it to all who watch; from any thread, and at once where nobody does."""
    for watcher in _watchers:
        watcher(phase, done, total, note)


@contextmanager
def progress_listener(on_progress: OnProgress) -> Iterator[None]:
    """While this lasts, `on_progress` hears what is told."""
    _watchers.append(on_progress)
    try:
        yield
    finally:
        _watchers.remove(on_progress)


@contextmanager
def report_growth(folder: Path, note: str, every: float = 0.5) -> Iterator[None]:
    """While another program downloads into `folder`: tell its bytes every so many seconds."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(every):
            tell("download", _bytes_in(folder), 0, note)

    tell("download", 0, 0, note)  # another file than that before
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
