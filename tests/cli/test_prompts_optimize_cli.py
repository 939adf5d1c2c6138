"""`bench prompts optimize`: a search from the command line, found again, gone on with, and ending in a prompt that runs."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")
sys.path.insert(0, str(Path(__file__).parents[1] / "harness"))  # the toy project
import prompt_toys
import toy

OPTIMIZE = ("prompts", "optimize", "--backend", "reader", "--lang", "en", "--max-shots", 0)
PLAIN_AND_GOOD = (*OPTIMIZE, "--prompt", "plain,good")


@pytest.fixture(autouse=True)
def toys(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    prompt_toys.install(monkeypatch)
    return prompt_toys.write_project(project)


def next_command(err: str) -> list[str]:
    (line,) = [line for line in err.splitlines() if line.startswith("Next: bench ")]
    return line.split()[2:]


@pytest.mark.slow
def test_a_search_ends_in_a_prompt_and_the_command_that_tests_it(
    bench: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = bench(*PLAIN_AND_GOOD, "--json")
    assert said.code == 0, said.err
    found = said.json
    assert (found["study"], found["metric"], found["rows"]) == ("prompts-toy-reader-en", "accuracy", 120)
    assert [(trial["prompt"], trial["state"], trial["rows"]) for trial in found["trials"]] == [
        ("plain", "complete", 120),
        ("good", "complete", 120),
    ]
    assert set(found["trials"][0]) == {
        *("number", "state", "prompt", "shots", "shots_seed", "calibration", "value", "rows", "error")
    }
    assert (found["best"], found["original"]) == (1, 0)
    assert found["difference"]["value"] == pytest.approx(0.3)
    assert found["difference"]["significant"]
    assert 0 < found["difference"]["low"] < found["difference"]["high"]
    assert (found["prompt"], found["file"]) == ("plain-optimized", "prompts/plain-optimized.j2")
    command = next_command(said.err)
    assert command == found["command"].split()[1:]
    assert " ".join(command) == "run --backend reader --task toy --lang en --prompt plain-optimized"
    toy.write_rows(project, "test", [toy.row("test", "en", n, str(n % 3), n % 3) for n in range(40)])
    monkeypatch.setattr("harness.data.rows.read_raw", prompt_toys.READ_RAW)
    tested = bench(*command, "--json")
    assert tested.code == 0, tested.err
    assert tested.json[0]["metrics"]["values"]["accuracy"]["value"] == pytest.approx(0.8)


@pytest.mark.slow
def test_the_report(bench: Any) -> None:
    said = bench(*OPTIMIZE, "--prompt", "plain,good,bad")
    assert said.code == 0
    header, *rows = [line.split("\t") for line in said.out.split("\n\n")[0].splitlines()]
    assert header == ["trial", "prompt", "shots", "shots seed", "calibration", "accuracy", "rows", "state"]
    assert [row[0] for row in rows] == ["0", "1*", "2"]
    assert rows[2][-3:] == ["0.0000", "30", "stopped"]
    text = " ".join(said.out.split("\n\n")[1].split())
    assert "3 trials on 120 validation rows (en): 2 complete, 1 stopped early. All combinations were tried." in text
    assert "Best: trial 1 (good): accuracy 0.8000. Original: trial 0 (plain): 0.5000. Difference +0.3000, 95% interval" in text
    assert "This score is too high" in text
    assert "No test row was read" in text
    assert "trial 2: accuracy 0.0000 on 30 rows, stopped: clearly worse than the best" in said.err


@pytest.mark.slow
def test_the_same_command_goes_on_and_repeats_nothing(bench: Any, project: Path) -> None:
    first = bench(*PLAIN_AND_GOOD, "--trials", 1)
    assert first.code == 0
    assert "No trial was better than the original (plain)" in first.out
    assert next_command(first.err)[-1] == "plain"
    assert not (project / "prompts" / "plain-optimized.j2").exists()
    more = bench(*PLAIN_AND_GOOD, "--trials", 2)
    assert "Found: 1 finished trial." in more.err
    assert "trial 0:" not in more.err
    again = bench(*PLAIN_AND_GOOD, "--trials", 2)
    assert (again.code, again.out) == (0, more.out)
    assert "trial 1:" not in again.err


@pytest.mark.slow
def test_a_prompt_is_replaced_with_force_only(bench: Any, project: Path) -> None:
    path = project / "prompts" / "mine.j2"
    path.write_text(prompt_toys.PROMPTS["bad"])
    refused = bench(*PLAIN_AND_GOOD, "--output", "mine")
    assert refused.code == 2
    assert "mine.j2 exists already" in refused.err
    assert "--force" in refused.err
    assert not (project / "results").exists()
    assert path.read_text() == prompt_toys.PROMPTS["bad"]
    assert bench(*PLAIN_AND_GOOD, "--output", "mine", "--force", "--trials", 2).code == 0
    written = path.read_text()
    assert "skill 8" in written
    path.write_text(written + "edited")
    refused = bench(*PLAIN_AND_GOOD, "--output", "mine", "--trials", 2)
    assert refused.code == 2
    assert "exists already" in refused.err
    assert path.read_text() == written + "edited"
    assert bench(*PLAIN_AND_GOOD, "--output", "mine", "--trials", 2, "--force").code == 0
    assert path.read_text() == written


@pytest.mark.slow
def test_the_decoding_that_was_asked_for_is_fixed(bench: Any, project: Path) -> None:
    said = bench(*PLAIN_AND_GOOD, "--decoding", "score", "--calibration", "none", "--seed", 3)
    assert said.code == 0, said.err
    text = (project / "prompts" / "plain-optimized.j2").read_text()
    assert "\ndecoding: score\ncalibration: none\n" in text
    assert next_command(said.err)[-4:] == ["--prompt", "plain-optimized", "--seed", "3"]
    said = bench(*OPTIMIZE, "--prompt", "good", "--decoding", "score", "--calibration", "none")
    assert next_command(said.err)[-4:] == ["--prompt", "good", "--decoding", "score"]


@pytest.mark.slow
def test_a_proposer(bench: Any, project: Path) -> None:
    prompt_toys.Writer.answers[:] = ["nothing", "<instruction>skill 9\n{{ text }}</instruction>"]
    said = bench(*OPTIMIZE, "--prompt", "plain", "--proposer", "writer", "--proposals", 2, "--max-cost", 100)
    assert said.code == 0, said.err
    assert "trial 1 failed: The proposal was refused: the text is missing" in " ".join(said.err.split())
    assert "skill 9\n{{ text }}" in (project / "prompts" / "plain-optimized.j2").read_text()


@pytest.mark.slow
def test_the_budget_ends_the_search_and_nothing_is_lost(bench: Any, project: Path) -> None:
    said = bench(*OPTIMIZE, "--prompt", "plain", "--proposer", "writer", "--max-cost", 0.1)
    assert said.code == 1
    assert "may cost" in said.err
    assert said.out.splitlines()[1].startswith("0*\tplain")
    assert "Next:" not in said.err
    assert not (project / "prompts" / "plain-optimized.j2").exists()
    again = bench(*OPTIMIZE, "--prompt", "plain", "--proposer", "writer", "--max-cost", 0.1)
    assert "Found: 1 finished trial." in again.err


@pytest.mark.slow
def test_ctrl_c(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prompt_toys.Reader, "encode", stop)
        said = bench(*PLAIN_AND_GOOD)
    assert said.code == 130
    assert "Stopped" in said.err
    again = bench(*PLAIN_AND_GOOD, "--json")
    assert [trial["state"] for trial in again.json["trials"]] == ["interrupted", "complete", "complete"]
    assert again.json["difference"]["value"] == pytest.approx(0.3)


@pytest.mark.slow
def test_a_search_whose_trials_all_fail_exits_1(bench: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.core.errors import RunError

    def fail(*args: object) -> None:
        raise RunError("no memory left")

    monkeypatch.setattr(prompt_toys.Reader, "encode", fail)
    said = bench(*PLAIN_AND_GOOD, "--trials", 2)
    assert said.code == 1
    assert "trial 1 failed: no memory left" in said.err
    assert "Next:" not in said.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backend", "toy-classifier"], "toy-classifier reads no prompt"),
        (["--backend", "qwen-instruct-lora"], "each trial would train it"),
        (["--backend", "reader", "--prompt", "plain", "--proposer", "qwen-instruct-lora"], "each trial would train it"),
        (["--backend", "reader", "--prompt", "plian"], "Did you mean plain"),
        (["--backend", "reader", "--prompt", "topic"], "is for nominal"),
        (["--backend", "reader", "--lang", "xx"], "named 'xx'"),
        (["--backend", "reader", "--prompt", "plain", "--metric", "speed"], "no metric 'speed'"),
        (["--backend", "reader", "--prompt", "plain", "--max-shots", 4], "Lower --max-shots"),
        (["--backend", "reader", "--prompt", "plain", "--calibration", "batch"], "needs probabilities"),
        (["--backend", "reader", "--prompt", "plain", "--validation-limit", 0], "needs validation rows"),
        (["--backend", "reader", "--prompt", "plain", "--proposer", "witer"], "Did you mean writer"),
        (["--backend", "reader", "--prompt", "plain", "--output", "../x"], "is not a valid name"),
        (["--backend", "reader", "--prompt", "plain", "--study", ".."], "is not a valid name"),
        (["--backend", "reader", "--prompt", "plain", "--output", "strict"], "prompt 'strict' exists already"),
        (["--backend", "reader", "--prompt", "plain", "--output", "good"], "good.j2 exists already"),
        (["--backend", "reader", "--prompt", "plain", "--data", "nowhere"], "no such folder"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_mistakes_are_found_before_the_first_trial(bench: Any, project: Path, options: list[Any], words: str) -> None:
    said = bench("prompts", "optimize", *options)
    assert said.code == 2
    assert words in said.err
    assert not (project / "results").exists()


def test_without_optuna(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.studies.search.find_spec", lambda name: None)
    said = bench(*PLAIN_AND_GOOD)
    assert said.code == 2
    assert ".[tune]" in said.err


def test_a_difference_without_an_interval() -> None:
    from harness.cli.prompts_optimize import _difference
    from harness.studies.prompt_study import Change

    assert _difference(Change(0.1, math.nan, math.nan)) == "Difference +0.1000, without an interval."
    assert ": not significant" in _difference(Change(0.1, -0.1, 0.3))
