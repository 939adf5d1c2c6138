"""Requests to vLLM's engine: thousands in flight, and a row goes on as soon as its own outputs are there."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

from harness.core.engine import Pending

T = TypeVar("T")

Request = tuple[list[int], Any]
"""The ids of a prompt, and vLLM's `SamplingParams`."""
Asking = Generator[list[Request], list[Any], T]
"""What one row does: it yields requests, gets vLLM's outputs in their order, as often as it needs, and returns its result."""


@dataclass(slots=True)
class _Batch(Generic[T]):
    results: list[T | None]
    left: int


@dataclass(slots=True)
class _Row(Generic[T]):
    """A row that waits for `left` of its `outputs`."""

    batch: _Batch[T]
    place: int
    asking: Asking[T]
    outputs: list[Any]
    left: int


class Computing(Protocol):
    """vLLM's engine, as far as requests need it."""

    def add(self, name: str, ids: list[int], params: Any) -> None:
        """Send a request."""

    def step(self) -> Sequence[tuple[str, Any]]:
        """Wait for vLLM's next step; the requests that it has finished, by name, with their outputs."""

    def abort(self, names: list[str]) -> None:
        """Drop requests; their outputs may still come."""


class Requests:
    """Those of one loaded engine."""

    def __init__(self, engine: Computing) -> None:
        self._engine = engine
        self._names = count()
        self._waiting: dict[str, tuple[_Row[Any], int]] = {}
        """Request id -> the row that asked, and the place of the output among its outputs."""

    def launch(self, rows: Sequence[Asking[T]]) -> Pending[list[T]]:
        """Send the first requests of all rows."""
        batch: _Batch[T] = _Batch([None] * len(rows), len(rows))
        for place, asking in enumerate(rows):
            self._go_on(_Row(batch, place, asking, [], 0), None)

        def results() -> list[T]:
            while batch.left:
                self._step()
            return batch.results  # type: ignore[return-value]  # all are there

        return results

    def drop(self) -> None:
        """Abort the requests whose outputs nobody waits for any more."""
        self._engine.abort(list(self._waiting))
        self._waiting.clear()

    def _go_on(self, row: _Row[Any], outputs: list[Any] | None) -> None:
        """Send a row its outputs, and its next requests to vLLM."""
        try:
            asked = row.asking.send(outputs)  # type: ignore[arg-type]  # a generator begins with None
            while not asked:
                asked = row.asking.send([])
        except StopIteration as end:
            row.batch.results[row.place] = end.value
            row.batch.left -= 1
            return
        row.outputs, row.left = [None] * len(asked), len(asked)
        for place, (ids, params) in enumerate(asked):
            name = str(next(self._names))
            self._waiting[name] = row, place
            self._engine.add(name, ids, params)

    def _step(self) -> None:
        for name, output in self._engine.step():
            if name not in self._waiting:  # it was dropped
                continue
            row, place = self._waiting.pop(name)
            row.outputs[place] = output
            row.left -= 1
            if not row.left:
                self._go_on(row, row.outputs)
