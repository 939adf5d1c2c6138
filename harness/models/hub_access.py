"""What every download from the Hugging Face hub needs: bounded waiting, and progress."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from harness.core.progress_events import tell

T = TypeVar("T")

CONNECT_SECONDS = 4.0
HUB_SECONDS = 8.0
"""How long the hub may take to say what a repository holds, all in all. The HTTP timeout alone does not bound it: it counts
for each address of the host anew, and not at all for the name server."""


def telling_bar(repository: str) -> Any:
    """What the hub's client takes for a bar: tells how many bytes have come, and draws nothing.

    The client has two, of bytes that came and of bytes on disk, and which of them moves is a matter of the protocol.
    """
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    counts: dict[int, int] = {}

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})
            self.n, self.total = options.get("initial") or 0, options.get("total")  # a disabled bar keeps neither
            self._of_bytes = options.get("unit") == "B"

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if self._of_bytes:
                counts[id(self)] = int(self.n)
                tell("download", max(counts.values()), int(self.total or 0), repository)

    return Bar


def within(seconds: float, call: Callable[[], T]) -> T:
    """`call()`, or TimeoutError after `seconds`. The thread is a daemon, so a hanging call does not keep the program alive."""
    outcome: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcome.put((call(), None))
        except Exception as error:
            outcome.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        value, error = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer in {seconds:.0f} s") from None
    if error is not None:
        raise error
    return cast(T, value)
