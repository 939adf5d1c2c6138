"""A metric that a task names is a program: no command runs it unless it is told to, and the record says so."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

METRIC = """\
import pathlib
import evaluate
import datasets

pathlib.Path({proof!r}).touch()


class Odd(evaluate.Metric):
    def _info(self):
        number = datasets.Value("int64")
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="",
            features=datasets.Features({{"predictions": number, "references": number}}),
        )

    def _compute(self, predictions, references):
        return {{"odd": 0.5}}
"""
TASK = """\
description: Kettles, good and bad.
source: {files: {train: rows.jsonl, validation: rows.jsonl, test: rows.jsonl}}
labels: {kind: ordinal, names: [bad, good]}
languages: [en]
metrics: [tasks/odd]
"""
COMMANDS = [
    ("run", "--backend", "majority"),
    ("run", "--backend", "majority,tfidf", "--limit", 5),
    ("study", "transfer", "--backend", "majority"),
    ("analyze", "latency", "--backend", "majority"),
    ("study", "curve", "--encoder", "tfidf", "--sizes", "4,all"),
    ("study", "tune", "--backend", "searched", "--trials", 1),
]


@pytest.fixture
def proof(project: Path) -> Path:
    """A file that is there once the metric of the task `mine` was run."""
    (project / "tasks" / "odd").mkdir(parents=True)
    (project / "tasks" / "odd" / "odd.py").write_text(METRIC.format(proof=str(project / "proof")))
    (project / "tasks" / "mine.yaml").write_text(TASK)
    rows = [{"text": f"a {word} kettle, the {n}th", "label": word} for n in range(6) for word in ("bad", "good")]
    (project / "tasks" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (project / "backends").mkdir()
    searched = "engine: baseline\noptions: {classifier: tfidf}\nsearch: {c: {low: 0.1, high: 10, log: true}}\n"
    (project / "backends" / "searched.yaml").write_text(searched)
    return project / "proof"


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_runs_it_by_itself(command: tuple[object, ...], bench: Any, proof: Path) -> None:
    said = bench(*command, "--task", "mine")
    assert said.code == 2
    assert "tasks/odd" in said.err
    assert "--trust-metric-code" in said.err
    assert not proof.exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what evaluate imports
def test_with_the_flag_it_runs_and_the_record_says_so(bench: Any, proof: Path, project: Path) -> None:
    said = bench("run", "--backend", "majority", "--task", "mine", "--trust-metric-code", "--json").json[0]
    assert said["metrics"]["values"]["evaluate/odd/odd"]["value"] == 0.5
    assert proof.exists()
    manifest = json.loads((project / "results" / "runs" / said["run"] / "run.json").read_text())
    program = hashlib.sha256((project / "tasks" / "odd" / "odd.py").read_bytes()).hexdigest()
    assert manifest["metric_code"] == [{"name": "odd", "sha256": program}]
    assert str(project) not in json.dumps(manifest)


def test_a_task_without_such_metrics_needs_no_flag(bench: Any, project: Path) -> None:
    said = bench("run", "--backend", "majority", "--lang", "en", "--limit", 5, "--json").json[0]
    manifest = json.loads((project / "results" / "runs" / said["run"] / "run.json").read_text())
    assert (manifest["metric_code"], manifest["checkpoint"]) == ([], None)
