"""What a long command shows while it works: a line per run, and on a terminal a bar below them."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

from harness.cli.options import one_line, plain

if TYPE_CHECKING:
    import rich.progress


class Progress:
    """`update` is the callback that the runner wants."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._run = 0
        self._name = ""
        self._phase = ""
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=12),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def next(self, name: str) -> None:
        """The next run begins: its rows are read and its model is found."""
        self._clear()
        self._run += 1
        self._name = one_line(name, 24)
        self.update("prepare", 0, 0, "")

    def say(self, text: str) -> None:
        """A line of this run that stays."""
        self.print(f"[{self._run}/{self._runs}] {plain(text)}")

    def print(self, text: str) -> None:
        if self._bar is None:
            typer.echo(text, err=True)
        else:  # not past the bar, or the text would begin where the bar ends
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def update(self, phase: str, done: int, total: int, note: str) -> None:
        if self._bar is None:
            return
        if phase != self._phase or self._task is None:  # another unit and another speed: another estimate of what is left
            self._clear()
            self._phase = phase
            self._task = self._bar.add_task(f"[{self._run}/{self._runs}] {self._name} {phase}", total=None, note="")
        self._bar.update(self._task, completed=done, total=total or None, note=one_line(note, 16))

    def _clear(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
