"""What a long command shows while it works: a bar on a terminal, a line per run where stderr is a file."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

if TYPE_CHECKING:
    import rich.progress


class Progress:
    """`update` is the callback that the runner wants."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._run = 0
        self._name = ""
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
            times = (
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
            )
            self._bar = Bar(*columns, *times, console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, name: str) -> None:
        self._run += 1
        self._name = name
        if self._bar is None:
            typer.echo(f"[{self._run}/{self._runs}] {name}", err=True)

    def update(self, phase: str, done: int, total: int, note: str) -> None:
        if self._bar is None:
            return
        description = f"[{self._run}/{self._runs}] {self._name[:60]} {phase}"
        if self._task is None:
            self._task = self._bar.add_task(description, total=total or None, note=note)
        self._bar.update(self._task, description=description, completed=done, total=total or None, note=note)

    def finish(self) -> None:
        self.clear()

    def clear(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
