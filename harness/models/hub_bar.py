"""How far a download from the hub is, told in place of the bar that its client would draw."""

from __future__ import annotations

from typing import Any

from harness.core.progress_events import tell


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
