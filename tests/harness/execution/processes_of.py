"""Commands in processes of their own, and the tasks that they start; a project and engines for them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil


def tasks(project: Path) -> list[psutil.Process]:
    """Processes of submitit that work for a command in the project."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if "submitit.core._submit" in words and str(project) in words[-1] and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def until(holds: Callable[[], Any], seconds: float = 90) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about")


def ended(running: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = running.communicate(timeout=200)
    assert running.returncode == code, err
    assert "Traceback" not in err
    return out, err


def killed(running: subprocess.Popen[str]) -> None:
    """Its tasks go on, and keep its pipes open."""
    running.kill()
    running.wait()
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    running.stderr.close()
