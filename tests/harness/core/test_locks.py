"""Locks between processes: held, left behind by a killed one, and of another machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core import locks
from harness.core.locks import Busy, held, is_held

HOLD = """
import sys, time
from pathlib import Path
from harness.core.locks import held
with held(Path(sys.argv[1]), wait=False):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock `x.lock`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "x.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_one_process_holds_it_and_the_other_is_told_which(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    assert is_held(lock)
    with pytest.raises(Busy, match=rf"Another process \({holder.pid} on {socket.gethostname()}\)"), held(lock, wait=False):
        pass


def test_the_lock_of_a_killed_process_is_taken_over_at_once(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    holder.kill()
    holder.wait()
    assert lock.exists()
    with held(lock, wait=False) as own:
        assert is_held(lock)
        assert not own.is_lost()
    assert list(tmp_path.iterdir()) == []
    assert not is_held(lock)


def test_another_machine_holds_it_until_it_has_been_silent_for_long(
    holder: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.2)
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.05)
    lock = tmp_path / "x.lock"
    marker = lock.read_text().replace(f"host={socket.gethostname()}", "host=elsewhere").replace("=120.0", "=0.2")
    lock.unlink()
    lock.write_text(marker)
    os.utime(lock, (time.time() + 9,) * 2)  # its clock is ahead
    with pytest.raises(Busy, match="on elsewhere"), held(lock, wait=False):
        pass
    os.utime(lock, (time.time() - 9,) * 2)
    with held(lock, wait=False):
        assert "elsewhere" not in lock.read_text()


def test_a_holder_notices_that_it_was_taken(tmp_path: Path) -> None:
    with held(tmp_path / "x.lock", wait=False) as own:
        (tmp_path / "x.lock").unlink()
        with held(tmp_path / "x.lock", wait=False) as other:
            assert own.is_lost()
            assert not other.is_lost()


def test_what_an_earlier_version_left_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "x.lock").touch()
    os.utime(tmp_path / "x.lock", (time.time() - 60,) * 2)
    assert not is_held(tmp_path / "x.lock")
    (tmp_path / "x.lock").touch()
    os.utime(tmp_path / "x.lock", (time.time() - 60,) * 2)
    with held(tmp_path / "x.lock", wait=False):
        pass
