"""Progress of a long command: a line per run, and below them a bar on a terminal or an occasional line elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

from harness.cli import verbosity
from harness.cli.options import one_line, plain

if TYPE_CHECKING:
    import rich.progress

PHASES = {
    "wait": "",
    "prepare": "",
    "download": "bytes",
    "read": "rows",
    "convert": "",
    "load": "",
    "tokenize": "rows",
    "train": "steps",
    "replay": "rows",
    "warm up": "",
    "predict": "rows",
    "propose": "",
    "find duplicates": "rows",
    "time": "batch sizes",
}
"""The phases of a run, and what each counts."""

EVERY = 10.0
"""Seconds between two lines about the same phase, without a terminal."""


@dataclass
class Phase:
    """`first`: what was done already when it began; it does not count for the speed."""

    name: str
    first: int
    began: float
    done: int = 0
    total: int = 0
    note: str = ""

    def figures(self, now: float) -> str:
        """`120 of 400 steps, 3.2 steps/s, 1:27 left; loss 0.34`."""
        unit = PHASES.get(self.name, "")
        counted = _counted(self.done, self.total, unit) if unit and (self.total or self.done) else ""
        rate = self._rate(now)
        speed = _speed(rate, unit) if rate and unit else ""
        left = f"{clock_time((self.total - self.done) / rate)} left" if unit and rate and self.total > self.done else ""
        return "; ".join(filter(None, [", ".join(filter(None, [counted, speed, left])), self.note]))

    def summary(self, now: float) -> str:
        """Of a finished phase: `400 steps in 2:03, 3.2 steps/s; loss 0.34`."""
        unit, rate = PHASES.get(self.name, ""), self._rate(now)
        what = f"{_counted(self.done - self.first, 0, unit)} in " if unit and self.done > self.first else ""
        speed = f", {_speed(rate, unit)}" if rate and unit else ""
        return f"{what}{clock_time(now - self.began)}{speed}" + (f"; {self.note}" if self.note else "")

    def _rate(self, now: float) -> float | None:
        seconds = now - self.began
        return (self.done - self.first) / seconds if seconds > 0 and self.done > self.first else None


def _counted(done: int, total: int, unit: str) -> str:
    if unit == "bytes":
        return f"{done / 1e6:.1f} of {total / 1e6:.1f} MB" if total else f"{done / 1e6:.1f} MB"
    one = unit.removesuffix("s") if (total or done) == 1 else unit
    return f"{done:,} of {total:,} {one}" if total else f"{done:,} {one}"


def _speed(rate: float, unit: str) -> str:
    if unit == "bytes":
        return f"{rate / 1e6:.1f} MB/s"
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s" if rate >= 1 else f"{1 / rate:.1f} s a {unit[:-1]}"


def clock_time(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Line:
    """Where one run is. It is a `Listener` of `harness.execution`."""

    def __init__(self, progress: Progress, number: int, name: str) -> None:
        self._progress, self._number, self._name = progress, number, one_line(name, 24)
        self._phase: Phase | None = None
        self._task: rich.progress.TaskID | None = None

    def update(self, phase: str, done: int, total: int, note: str) -> None:
        progress = self._progress
        with progress.lock:
            now = progress.clock()
            # Another unit and speed, or the same work again on other rows or another file.
            if self._phase is None or phase != self._phase.name or done < self._phase.done:
                self.end()
                self._phase = Phase(phase, done, now)
            self._phase.done, self._phase.total, self._phase.note = done, total, one_line(note, 80)
            if progress.bar is not None:
                self._show(progress.bar, self._phase, now)
            elif now - progress.told >= EVERY:
                self.say(f"{self._name} {phase}: {self._phase.figures(now) or 'under way'}")

    def say(self, text: str) -> None:
        """A line of this run that stays."""
        if not verbosity.is_quiet():
            self.warn(f"[{self._number}/{self._progress.runs}] {text}")

    def warn(self, text: str) -> None:
        """The same with --quiet."""
        self._progress.print(text)

    def end(self) -> None:
        """End a phase; a long one leaves a line."""
        progress = self._progress
        with progress.lock:
            phase, self._phase = self._phase, None
            if phase is None:
                return
            if progress.bar is not None and self._task is not None:
                progress.bar.remove_task(self._task)
                self._task = None
            now = progress.clock()
            if now - phase.began >= EVERY:
                self.say(f"{self._name} {phase.name}: {phase.summary(now)}")

    def _show(self, bar: rich.progress.Progress, phase: Phase, now: float) -> None:
        if self._task is None:
            words = f"[{self._number}/{self._progress.runs}] {self._name} {phase.name}"
            self._task = bar.add_task(plain(words), total=None, figures="")
        bar.update(self._task, completed=phase.done, total=phase.total or None, figures=phase.figures(now))


class Progress:
    """`update` is the callback for the runner; it also receives `progress_events`, from any thread. A command whose runs go on
    at the same time has a `line` for each."""

    def __init__(self, runs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.runs, self.clock = runs, clock
        self.told = clock()  # when the last line was printed
        self.lock = threading.RLock()
        self.bar: rich.progress.Progress | None = None
        self._lines: list[Line] = []
        self._number = 0

    def __enter__(self) -> Self:
        from harness.core import library_logging
        from harness.core.progress_events import progress_listener

        self._watching = progress_listener(self.update)
        self._watching.__enter__()
        if sys.stderr.isatty() and not verbosity.is_quiet() and not library_logging.loud():  # log lines would break a bar
            self.bar = _bar(self.clock)
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._watching.__exit__(kind, error, trace)
        with self.lock:
            for line in self._lines:
                line.end()
            if self.bar is not None:
                self.bar.stop()

    def line(self, number: int, name: str) -> Line:
        """Of a run that begins while others go on; `number` counts from 1."""
        line = Line(self, number, name)
        self._lines.append(line)
        line.update("prepare", 0, 0, "")
        return line

    def end(self, line: Line) -> None:
        """Its run has ended."""
        with self.lock:
            line.end()
            self._lines.remove(line)

    def next(self, name: str) -> Line:
        """The next run begins, and the one before it has ended."""
        with self.lock:
            if self._lines:
                self.end(self._lines[-1])
            self._number += 1
        return self.line(self._number, name)

    def say(self, text: str) -> None:
        """A line of the current run that stays."""
        self._current().say(text)

    def print(self, text: str) -> None:
        with self.lock:
            self.told = self.clock()
            if self.bar is None:
                typer.echo(plain(text), err=True)
            else:  # through the bar, or the text would begin where the bar ends
                self.bar.console.print(plain(text), markup=False, emoji=False, highlight=False, soft_wrap=True)

    def update(self, phase: str, done: int, total: int, note: str) -> None:
        self._current().update(phase, done, total, note)

    def _current(self) -> Line:
        """The run that began last; of a command that counts none, a line without a name."""
        if not self._lines:
            self._lines.append(Line(self, self._number, ""))
        return self._lines[-1]


def _bar(clock: Callable[[], float]) -> rich.progress.Progress:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    return Bar(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=8),
        TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        console=Console(stderr=True),
        transient=True,
        expand=True,
        get_time=clock,
    )
