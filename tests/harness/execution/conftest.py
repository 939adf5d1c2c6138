"""A project whose commands start workers as processes of this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slow_engine
from processes_of import tasks, until
from slow_engine import command, installed

LOCAL = '[slurm]\ncluster = "local"\n'


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return installed(tmp_path / "plugins") | {"BENCH_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def slow_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = slow_engine.write_project(tmp_path / "project", delay=0.25)
    (project / "bench.toml").write_text(LOCAL)
    monkeypatch.chdir(project)
    return project


@pytest.fixture
def started(slow_project: Path, environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `bench`; at the end nothing of it may be left."""
    running: list[subprocess.Popen[str]] = []

    def start(*words: object) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        one = subprocess.Popen(command(*words), cwd=slow_project, env=environment, stdout=pipe, stderr=pipe, encoding="utf-8")
        running.append(one)
        return one

    yield start
    for one in running:
        if one.poll() is None:
            one.kill()
            one.communicate()
    until(lambda: not tasks(slow_project), 20)  # a task writes its result before its process ends


@pytest.fixture
def here(slow_project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """For a driver in this process: what it starts finds the engines."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return slow_project
