"""Batches that are left before their end."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import toy

from harness.running import batching
from harness.running.batching import Item, batches


def test_batches_that_are_left_wait_for_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The garbage collector may close them in a thread where waiting for another one never ends."""
    toy.write_project(tmp_path)
    toy.install(monkeypatch)
    monkeypatch.setattr(batching, "WINDOW", 2)
    plan, free, encode = toy.plan(tmp_path), threading.Event(), batching.encode
    toy.engine_of(plan).load()
    calls: list[int] = []

    def slow(plan: Any, items: Sequence[Item]) -> list[Item]:
        calls.append(len(items))
        if len(calls) > 1:
            free.wait(60)
        return encode(plan, items)

    monkeypatch.setattr(batching, "encode", slow)
    left = batches(plan, ())
    next(left)
    closing = threading.Thread(target=left.close)  # type: ignore[attr-defined]
    closing.start()
    closing.join(30)
    ended = not closing.is_alive()
    free.set()
    closing.join()
    assert ended
