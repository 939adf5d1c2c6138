"""A search whose trials several processes carry out at once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from processes_of import ended, killed, tasks, until
from slow_engine import noted

pytestmark = pytest.mark.slow
pytest.importorskip("submitit")
pytest.importorskip("optuna")

TUNE = ("study", "tune", "--backend", "tunable", "--task", "toy", "--lang", "en", "--json")
AT_ONCE = ("--executor", "slurm", "--workers", 2)


def searched(running: Any, code: int = 0) -> tuple[dict[str, Any], str]:
    out, err = ended(running, code)
    return json.loads(out), err


def models(project: Path) -> list[str]:
    return sorted(path.name for path in (project.parent / "cache" / "trained").iterdir())


def drawn(found: dict[str, Any]) -> list[float]:
    return sorted(trial["settings"]["lr"] for trial in found["trials"] if trial["state"] != "interrupted")


def test_two_workers_try_what_one_would_try(slow_project: Path, started: Any) -> None:
    """The first trials are drawn at random, for their places in the search."""
    one, _ = searched(started(*TUNE, "--trials", 6, "--no-pruning", "--results", "one"))
    two, err = searched(
        started(*TUNE, "--trials", 6, "--no-pruning", "--results", "two", "--study", "other", *AT_ONCE, "--output", "b")
    )
    assert drawn(one) == drawn(two)
    assert len(set(drawn(one))) == 6
    assert [trial["state"] for trial in two["trials"]] == ["complete"] * 6
    assert one["trials"][one["best"]]["value"] == two["trials"][two["best"]]["value"]
    assert two["trials"][two["best"]]["key"] in models(slow_project)
    assert "(best so far)" in err
    assert not (slow_project / "two" / "studies" / "other" / "slurm").exists()
    more, err = searched(
        started(*TUNE, "--trials", 6, "--no-pruning", "--results", "two", "--study", "other", *AT_ONCE, "--output", "b")
    )
    assert more["trials"] == two["trials"]
    assert "submitted" not in err


def test_only_the_best_trials_model_stays_and_bad_trials_are_pruned(slow_project: Path, started: Any) -> None:
    found, _ = searched(started(*TUNE, "--trials", 10, *AT_ONCE))
    states = Counter(trial["state"] for trial in found["trials"])
    assert set(states) == {"complete", "pruned"}
    assert sum(states.values()) == 10
    assert models(slow_project) == [found["trials"][found["best"]]["key"]]


def test_a_killed_worker_and_a_killed_driver_lose_no_trial(slow_project: Path, started: Any) -> None:
    notes = slow_project / "notes.txt"
    first = started(*TUNE, "--trials", 6, "--no-pruning", *AT_ONCE)
    until(lambda: len(noted(notes)) >= 5)
    tasks(slow_project)[0].kill()
    until(lambda: len(noted(notes)) >= 10)
    killed(first)
    found, err = searched(started(*TUNE, "--trials", 6, "--no-pruning", *AT_ONCE))
    assert "attached to what" in err
    finished = [trial for trial in found["trials"] if trial["state"] == "complete"]
    assert len(finished) == 6
    assert len(set(drawn(found))) == 6
    assert Counter(trial["state"] for trial in found["trials"])["interrupted"] <= 2
    assert models(slow_project) == [found["trials"][found["best"]]["key"]]
