"""`bench` as a user calls it: arguments in; exit code, stdout and stderr out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from console import Said, called
from unsealed import reseal

BENCH = [sys.executable, "-c", "from harness.cli import main; main()"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests: a baseline is trained once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """An empty folder to work in, and a cache that is not the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("BENCH_DEBUG", raising=False)
    return tmp_path


@pytest.fixture
def bench(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`bench("run", "--limit", 3)` in this process, through the entry point of the console script."""

    def call(*arguments: object) -> Said:
        said = called(arguments, monkeypatch, capsys)
        assert "Traceback" not in said.err
        return said

    return call


@pytest.fixture
def environment(project: Path, cache: Path) -> dict[str, str]:
    """For subprocesses: no hub, an empty hub cache, one thread, and this checkout's code whatever the working folder is."""
    own = {
        "PYTHONPATH": str(ROOT),
        "BENCH_CACHE": str(cache),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(project / "hub"),
        "OMP_NUM_THREADS": "1",
    }
    return {**os.environ, **own}


@pytest.fixture
def process(environment: dict[str, str]) -> Callable[..., Said]:
    """`bench` in a process of its own, where the process matters."""

    def call(*arguments: object) -> Said:
        done = subprocess.run(
            [*BENCH, *map(str, arguments)], env=environment, capture_output=True, encoding="utf-8", timeout=300, check=False
        )
        assert "Traceback" not in done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture(scope="session")
def recorded(built_once: Callable[..., Path], cache: Path) -> Path:
    """A results folder with a majority run and a tfidf run on the same 20 English rows, at speeds that never differ."""

    def record(folder: Path) -> None:
        command = ["run", "--backend", "majority,tfidf", "--lang", "en", "--limit", "20", "--results", str(folder)]
        own = {"PYTHONPATH": str(ROOT), "BENCH_CACHE": str(cache)}
        subprocess.run([*BENCH, *command], env={**os.environ, **own}, check=True, capture_output=True)
        for backend, rate in (("majority", 20000.0), ("tfidf", 20.0)):
            (run,) = folder.glob(f"runs/*.{backend}.*")
            reseal(run, lambda manifest, rate=rate: manifest["timing"].update(rows_per_second=rate, seconds=20 / rate))

    return built_once("two-runs", record)


@pytest.fixture
def two_runs(recorded: Path, project: Path) -> list[str]:
    """Their ids; the folder is the project's `results`."""
    shutil.copytree(recorded, project / "results")
    return [next(recorded.glob(f"runs/*.{backend}.*")).name for backend in ("majority", "tfidf")]


def write_rows(folder: Path, texts: list[str], lang: str = "en") -> Path:
    """A --data folder for an ordinal task of five labels, the texts in all three splits."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation", "test"):
        rows = [{"id": f"{split}-{i}", "text": text, "label": i % 5, "lang": lang} for i, text in enumerate(texts)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture
def rows_of(project: Path) -> Callable[..., Path]:
    """`rows_of(texts)` is a --data folder with them."""
    return lambda texts, lang="en": write_rows(project / "data", texts, lang)
