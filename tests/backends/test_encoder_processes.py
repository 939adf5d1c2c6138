"""Training by two processes: each row once an epoch, and the same model in both at the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("two_processes.py")


def launch(folder: Path, bert: Path, options: dict[str, Any], stop_at: int = 0) -> list[dict[str, Any]]:
    """What each of two processes says of its training; empty where they were stopped."""
    arguments = [str(SCRIPT), str(bert), str(folder), json.dumps(options), str(stop_at)]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=SCRIPT.parents[2])
    if stop_at:
        assert done.returncode != 0
        return []
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"rank{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


def test_two_processes(bert: Path, tmp_path: Path) -> None:
    first, second = launch(tmp_path, bert, {"optimizer": "sam", "accumulation": 2})
    epochs = list(zip(first["rows"], second["rows"], strict=True))
    assert len(epochs) == 2
    for mine, yours in epochs:
        assert sorted(mine + yours) == list(range(61))  # a number that two processes can't share evenly
    assert epochs[0] != epochs[1]
    assert first["weights"] == second["weights"]
    assert first["report"] == second["report"]
    assert first["scored"] == second["scored"]
    assert all(count == 15 for count in first["scored_rows"])
    # Both have its random state, one of them has written the rest.
    assert len(list((tmp_path / "scratch").glob("checkpoint-*"))) == 2


def test_two_processes_go_on_after_a_kill(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    expected = launch(tmp_path / "whole", bert, {"evaluate_every": 3})
    launch(tmp_path / "cut", bert, {"evaluate_every": 3}, stop_at=5)
    resumed = launch(tmp_path / "cut", bert, {"evaluate_every": 3})
    assert [part["report"] for part in resumed] == [part["report"] for part in expected]
    assert [part["weights"] for part in resumed] == [part["weights"] for part in expected]
