"""Processes with caches of their own, as on several machines, and a real S3 server."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import toy
from storage_server import S3

from harness.records.store import Store
from harness.running.runner import run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
ROWS = 60
BENCH = """
import sys, time
import toy, harness.specs.backend_specs
from harness.records import shared
from harness.storage import leases
from harness.cli import main
harness.specs.backend_specs.entry_points = toy.toy_entry_points
pause, shared.INTERVAL, shared.PATIENCE, leases.LEASE_SECONDS = map(float, sys.argv[1:5])
answered = toy.Counting.answered
def slowly(self, texts):
    time.sleep(pause)
    return answered(self, texts)
toy.Counting.answered = slowly
sys.argv = ["bench", *sys.argv[5:]]
main()
"""
RUN = ["run", "--task", "toy", "--backend", "toy-model", "--lang", "en", "--prompt", "echo", "--decoding", "free"]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    server = S3(tmp_path_factory.mktemp("s3") / "log", "results")
    yield server
    server.close()


@pytest.fixture
def url(s3: S3) -> Iterator[str]:
    yield f"s3://results/{secrets.token_hex(4)}"
    s3.door.shut()
    s3.door.open()


@pytest.fixture
def big(project: Path) -> Path:
    toy.write_rows(project, "test", [toy.row("test", "en", n, toy.SAID[n % 11], n % 3) for n in range(ROWS)])
    return project


@pytest.fixture
def start(big: Path, s3: S3, url: str, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    def begin(
        machine: str, *words: str, pause: float = 0.0, interval: float = 0.2, patience: float = 1.0, lease: float = 120.0
    ) -> Any:
        environment = {**os.environ, **s3.environment, "BENCH_CACHE": str(tmp_path / machine), "NO_COLOR": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(Path(__file__).parents[1])])
        given = [str(one) for one in (pause, interval, patience, lease)]
        command = [sys.executable, "-c", BENCH, *given, *words, "--results", url]
        return subprocess.Popen(
            command, cwd=big, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
        )

    return begin


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def listed(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    code, out, err = ended(process)
    assert (code, "warning" in err) == (0, False), err
    found: list[dict[str, Any]] = json.loads(out)
    return found


def until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    started = time.monotonic()
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < started + 60
        time.sleep(0.02)


def has_journal(s3: S3, url: str) -> bool:
    return any(name.endswith("journal.jsonl") and name.startswith(url.removeprefix("s3://results/")) for name in s3.names())


def recorded(s3: S3, url: str) -> list[str]:
    return [name for name in s3.names() if name.startswith(url.removeprefix("s3://results/"))]


def test_of_two_machines_that_start_the_same_run_one_does_it(start: Any, s3: S3, url: str) -> None:
    both = [start(machine, *RUN, pause=0.1) for machine in ("a", "b")]
    said = sorted(ended(process) for process in both)
    assert [code for code, _, _ in said] == [0, 1]
    assert "is working on the run toy.en" in said[1][2]
    assert len(recorded(s3, url)) == 3
    assert [row["n"] for row in listed(start("c", "list", "runs", "--json"))] == [ROWS]


def test_the_server_goes_away_in_the_middle_and_comes_back(start: Any, s3: S3, url: str, big: Path, tmp_path: Path) -> None:
    whole = run(toy.plan(big, decoding="free"), Store(tmp_path / "whole")).folder
    process = start("a", *RUN, pause=0.3, patience=60)
    until(lambda: has_journal(s3, url), process)
    s3.door.shut()
    time.sleep(3)
    s3.door.open()
    code, _, err = ended(process)
    assert code == 0, err
    assert len(recorded(s3, url)) == 3
    (entry,) = listed(start("b", "list", "runs", "--json"))
    code, _, _ = ended(start("b", "show", entry["run"]))
    (found,) = (tmp_path / "b" / "shared").glob(f"*/files/runs/{entry['run']}/predictions.jsonl")
    assert found.read_bytes() == (whole / "predictions.jsonl").read_bytes()


def test_the_server_stays_away_until_the_command_is_repeated(start: Any, s3: S3, url: str) -> None:
    process = start("a", *RUN, pause=0.1)
    until(lambda: has_journal(s3, url), process)
    s3.door.shut()
    code, _, err = ended(process)
    assert code == 1
    assert f"Not uploaded to {url}: runs/toy.en" in err
    s3.door.open()
    assert listed(start("b", "list", "runs", "--json")) == []
    code, _, err = ended(start("a", *RUN))
    assert (code, "found" in err) == (0, True)
    assert len(listed(start("b", "list", "runs", "--json"))) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_at_once_on_another_machine(
    start: Any, s3: S3, url: str, number: signal.Signals, big: Path, tmp_path: Path
) -> None:
    """Its journal is uploaded when it stops, not only at intervals."""
    process = start("a", *RUN, pause=0.1, interval=600)
    until(lambda: any((tmp_path / "a" / "shared").glob("*/files/runs/*.partial/journal.jsonl")), process)
    time.sleep(0.5)
    process.send_signal(number)
    code, _, _ = ended(process)
    assert code == 128 + number
    assert has_journal(s3, url)
    code, _, err = ended(start("b", *RUN))
    assert code == 0, err
    assert "batches from the URL" in err
    assert len(recorded(s3, url)) == 3


def test_kill_9_at_random_moments_and_another_machine_each_time(start: Any, s3: S3, url: str) -> None:
    """Each takes over when the lease has expired; a reader always finds a whole record or none."""
    moments = random.Random(5)
    for machine in ("a", "b", "c"):
        process = start(machine, *RUN, pause=0.2, lease=2)
        until(lambda: any(".lease-" in name for name in recorded(s3, url)), process)
        time.sleep(moments.uniform(0.2, 2.5))
        process.kill()
        ended(process)
        found = listed(start("reader", "list", "runs", "--json"))
        assert len(found) <= 1
        time.sleep(3)
    code, _, err = ended(start("d", *RUN, lease=2))
    assert code == 0, err
    assert "batches from the URL" in err
    assert [row["n"] for row in listed(start("reader", "list", "runs", "--json"))] == [ROWS]
