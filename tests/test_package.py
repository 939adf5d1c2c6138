"""What a user gets: the public names, the wheel, and docs whose examples work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

import harness
from harness.cli import app
from harness.core.types import LabelKind, LabelSpace

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
STARS = LabelSpace(LabelKind.ORDINAL, tuple(f"{n} stars" for n in range(1, 6)))


def test_public_names() -> None:
    assert harness.__all__ == [
        "BenchError",
        "Catalog",
        "EngineSlot",
        "Example",
        "LabelKind",
        "LabelSpace",
        "ParserSpec",
        "Plan",
        "Prediction",
        "Result",
        "RunError",
        "RunOptions",
        "Status",
        "Store",
        "UserError",
        "evaluate_predictions",
        "load_examples",
        "load_predictions",
        "load_runs",
        "make_parser",
        "make_plan",
        "run",
    ]
    for name in harness.__all__:
        assert getattr(harness, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        harness.nothing  # noqa: B018


WITHOUT_POSIX = """
import os, pkgutil, signal, sys
import psutil  # on Linux it needs what is taken away below
for name in ("resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "getloadavg", "sysconf", "killpg", "setsid"):
    vars(os).pop(name, None)
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGALRM"):
    vars(signal).pop(name, None)
import backends, harness
for package in (backends, harness):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__") and "._" not in found.name:  # backends._* import torch, which uses these here
            __import__(found.name)
import harness.cli
harness.cli.main()
"""


def test_runs_without_what_only_posix_has(tmp_path: Path) -> None:
    """As on Windows: every module imports, and a run ends well."""
    command = [sys.executable, "-c", WITHOUT_POSIX, "run", "--backend", "majority", "--lang", "en"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (record,) = tmp_path.glob("results/runs/*/run.json")
    assert json.loads(record.read_text(encoding="utf-8"))["peak_memory_mib"]["host"] > 0


def test_wheel_runs_from_any_folder_with_its_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = "import harness.cli; assert harness.__file__.startswith(__import__('sys').argv.pop(1)); harness.cli.main()"
    for arguments, expected in (
        (["list", "tasks"], "reviews_demo"),
        (["list", "prompts"], "strict"),
        (["list", "backends"], "xlm-roberta"),
        (["run", "--backend", "majority", "--lang", "zh"], "majority"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, str(site), *arguments],
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": str(site), "BENCH_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
    assert (elsewhere / "results" / "runs").is_dir()


def test_the_leaderboard_shows_the_records_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # where no prices.yaml changes a cost
    said = CliRunner().invoke(app, ["leaderboard", "--check", "--results", str(ROOT / "results")])
    assert said.exit_code == 0, said.output
    assert "up to date" in said.output


def test_records_hold_no_texts() -> None:
    allowed = {"id", "text", "truth", "label", "status", "reason", "probabilities"}
    for path in (ROOT / "results" / "runs").glob("*/predictions.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            assert set(record) <= allowed
            assert re.fullmatch(r"[0-9a-f]{16}", record.get("text", "0" * 16))  # a digest
            assert record.get("reason") is None or re.fullmatch(r"[a-z_]+", record["reason"])


def test_every_extra_that_an_error_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    sources = [path.read_text(encoding="utf-8") for room in ("harness", "backends") for path in (ROOT / room).rglob("*.py")]
    named = {extra for source in sources for extra in re.findall(r'MissingExtra\(\s*[^,]+,\s*"(\w+)"', source)}
    assert {"notebooks", "charts"} <= named <= set(extras)
