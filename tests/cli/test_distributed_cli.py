"""The same command in two processes: trained together, predicted and recorded once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.core import distributed

pytestmark = pytest.mark.slow

BACKENDS_TESTS = Path(__file__).resolve().parents[1] / "backends"


def launched(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "harness.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=300, check=False)


def test_two_processes_train_one_model_and_write_one_record(
    environment: dict[str, str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BACKENDS_TESTS))
    import tiny_models

    model = tiny_models.write_bert(project / "tiny")
    cell: list[object] = ["--backend", "bert", "--model", model, "--train-lang", "en", "--train-limit", 9]
    cell += ["--validation-limit", 6, "--limit", 5, "--set", "train.epochs=2", "--set", "train.batch_size=2"]
    done = launched(environment, "run", *cell, "--lang", "en,ja", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)  # the second process prints nothing
    assert [run["state"] for run in said] == ["new", "new"]
    runs = project / "results" / "runs"
    assert sorted(path.name for path in runs.iterdir()) == sorted(run["run"] for run in said)
    manifest: Any = json.loads((runs / said[0]["run"] / "run.json").read_text())
    assert manifest["identity"]["train"]["processes"] == 2
    assert manifest["training"]["train_rows"] == 9
    # 9 rows are at most 5 for a process, which is 3 batches of 2; alone it would be 5 batches
    assert manifest["training"]["planned_steps"] == 2 * 3


def test_a_mistake_ends_all_processes(environment: dict[str, str]) -> None:
    done = launched(environment, "run", "--backend", "nobody")
    assert done.returncode != 0
    assert "nobody" in done.stderr


def test_an_error_is_told_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []

    def broadcast(value: Any) -> Any:
        told.append(value)
        return value

    monkeypatch.setattr(distributed, "broadcast", broadcast)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")

    def refuse() -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"), distributed.in_step():
        distributed.together(refuse)
    assert told == [True]
    with pytest.raises(distributed.OutOfStep), distributed.in_step():
        raise LookupError("of this process alone")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(distributed, "broadcast", lambda value: True)
    with pytest.raises(distributed.Stopped), distributed.in_step():
        distributed.together(refuse)


def test_variables_of_another_launcher_are_no_torchrun(
    environment: dict[str, str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM's users export `WORLD_SIZE` for all of their jobs; accelerate would wait for the other processes."""
    monkeypatch.syspath_prepend(str(BACKENDS_TESTS))
    import tiny_models

    cell = ["--backend", "bert", "--model", str(tiny_models.write_bert(project / "tiny")), "--lang", "en", "--limit", "5"]
    cell += ["--train-limit", "9", "--validation-limit", "6", "--set", "train.epochs=1", "--json"]
    command = [sys.executable, "-m", "harness.cli", "run", *cell]
    own = {**environment, "WORLD_SIZE": "4", "LOCAL_RANK": "1", "RANK": "1"}
    done = subprocess.run(command, env=own, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (said,) = json.loads(done.stdout)
    manifest: Any = json.loads((project / "results" / "runs" / said["run"] / "run.json").read_text())
    assert "processes" not in manifest["identity"]["train"]


@pytest.mark.parametrize(
    ("variables", "processes"),
    [
        ({}, 1),
        ({"WORLD_SIZE": "4"}, 1),
        ({"WORLD_SIZE": "4", "RANK": "1", "LOCAL_RANK": "1"}, 1),
        ({"WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "none"}, 4),
        ({"WORLD_SIZE": "4", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, 4),
    ],
)
def test_what_counts_as_torchrun(variables: dict[str, str], processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in distributed.LAUNCHER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distributed.processes() == processes
    distributed.forget_other_launchers()
    left = {name for name in distributed.LAUNCHER_VARIABLES if name in os.environ}
    assert left == (set(variables) if processes > 1 else set())
