"""`bench results rescore` as a user calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unsealed import unseal


def forget_intervals(project: Path, run: str) -> None:
    """As an earlier version of bench left them."""
    path = project / "results" / "runs" / run / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["values"]["mae"].update(low=None, high=None, method=None)
    path.write_text(json.dumps(metrics))
    unseal(path.parent)


def test_all_runs_and_then_none(bench: Callable[..., Any], project: Path, two_runs: list[str]) -> None:
    for run in two_runs:
        forget_intervals(project, run)
    said = bench("results", "rescore")
    assert said.code == 0, said.err
    assert [line.split("\t") for line in said.out.splitlines()] == [
        ["run", "new intervals or metrics"],
        *[[run, "mae"] for run in sorted(two_runs)],
        [said.out.splitlines()[-1]],
    ]
    assert bench("results", "rescore").out.splitlines()[-1].startswith("0 of 2 runs")


def test_metrics_that_a_record_lacks_are_added(bench: Callable[..., Any], project: Path, two_runs: list[str]) -> None:
    path = project / "results" / "runs" / two_runs[0] / "metrics.json"
    whole = json.loads(path.read_text())
    older = {**whole, "values": {name: found for name, found in whole["values"].items() if name != "balanced_accuracy"}}
    path.write_text(json.dumps(older))
    unseal(path.parent)
    assert bench("results", "rescore", two_runs[0], "--json").json["runs"][0]["changed"] == ["balanced_accuracy"]
    assert json.loads(path.read_text())["values"] == whole["values"]


def test_one_run_by_the_end_of_its_id(bench: Callable[..., Any], project: Path, two_runs: list[str]) -> None:
    forget_intervals(project, two_runs[0])
    said = bench("results", "rescore", two_runs[0][-10:], "--json")
    assert said.json == {
        "runs": [{"run": two_runs[0], "changed": ["mae"]}],
        "sentence": said.json["sentence"],
    }


def test_what_is_not_there(bench: Callable[..., Any], project: Path) -> None:
    assert bench("results", "rescore").code == 2
    said = bench("results", "rescore", "nothing", "--results", project)
    assert said.code == 2
    assert str(project) in said.err
