"""`bench analyze calibration`: tables, sentence and JSON, and the temperature of a model with a validation run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

RUN = ("run", "--backend", "tfidf", "--lang", "en", "--limit", 30)


@pytest.fixture
def test_run(bench: Any) -> str:
    said = bench(*RUN, "--json")
    assert said.code == 0, said.err
    return str(said.json[0]["run"])


@pytest.mark.slow
def test_tables_and_a_sentence(bench: Any, test_run: str) -> None:
    said = bench("analyze", "calibration", test_run.rpartition(".")[2])
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0] == f"{test_run}: 30 rows, 0 of them without an answer"
    assert "confidence\trows\tmean confidence\taccuracy\t95% interval\t" in lines
    coverage = [line.split("\t") for line in lines if line.split("\t")[0].endswith("%")]
    assert coverage[0][0] == "100%"
    assert [int(row[2]) for row in coverage] == sorted((int(row[2]) for row in coverage), reverse=True)
    assert lines[-1].startswith("On the 30 en test rows of reviews_demo, tfidf (trained on ")


@pytest.mark.slow
def test_the_command_that_it_names_makes_what_is_missing(bench: Any, test_run: str) -> None:
    before = bench("analyze", "calibration", test_run, "--json").json
    assert before["runs"][0]["scaling"] is None
    command = before["runs"][0]["command"]
    assert f"`{command}`" in before["sentence"]
    made = bench(*command.split()[1:], "--limit", 12)
    assert made.code == 0, made.err
    after = bench("analyze", "calibration", test_run, "--json").json["runs"][0]
    assert after["scaling"]["rows"] == 12
    assert after["scaling"]["temperature"]["value"] > 0
    assert after["scaling"]["seen"] is False
    assert set(after["scaling"]["ece"]) == {"value", "calibrated", "calibrated_high", "p", "debiased"}
    assert "at T = " in bench("analyze", "calibration", test_run).out


def test_json(bench: Any, test_run: str) -> None:
    said = bench("analyze", "calibration", test_run, "--bins", 4, "--json")
    assert set(said.json) == {"runs", "sentence"}
    (run,) = said.json["runs"]
    assert set(run) == {
        "run", "n", "answered", "confidence", "gap", "bins", "ece", "classwise_ece", "log_loss", "brier", "brier_parts",
        "coverage", "aurc", "best_aurc", "error", "scaling", "command", "sentence",
    }  # fmt: skip
    assert all(b["high"] - b["low"] == pytest.approx(0.25) for b in run["bins"])
    assert sum(b["count"] for b in run["bins"]) == 30
    assert [c["wanted"] for c in run["coverage"]] == [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert run["sentence"] == said.json["sentence"]


def test_several_runs_and_a_sentence_of_all(bench: Any, two_runs: list[str]) -> None:
    said = bench("analyze", "calibration", *two_runs)
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1].startswith("Of these 2 runs, ")
    assert len(bench("analyze", "calibration", two_runs[0], two_runs[0], "--json").json["runs"]) == 1


def test_slips(bench: Any, project: Path, two_runs: list[str]) -> None:
    assert bench("analyze", "calibration", "nonsense").code == 2
    assert "matches" in bench("analyze", "calibration", "reviews_demo").err
    assert bench("analyze", "calibration", two_runs[0], "--bins", 0).code == 2
    assert bench("analyze", "calibration").code == 2
