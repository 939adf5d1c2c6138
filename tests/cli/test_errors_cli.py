"""A mistake: one message that names the thing and the way out, exit code 2. A failed run: exit code 1. Never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

QUICK = ["run", "--backend", "majority", "--lang", "en", "--limit", "3"]

SCORED = ["run", "--backend", "smollm2", "--lang", "en", "--data", "data"]

MISTAKES = [
    # what is typed, what the answer must name
    (["run"], ["--backend", "majority"]),
    (["run", "--backend", "mistrl"], ["'mistrl'", "Did you mean mistral"]),
    (["run", "--backend", "majority,mistrl"], ["'mistrl'", "Did you mean mistral"]),
    (["run", "--backend", ""], ["--backend has no value"]),
    ([*QUICK, "--lang", "xx"], ["'xx'", "reviews_demo", "ja"]),
    (["run", "--backend", "majority", "--lang", ""], ["--lang has no value"]),
    ([*QUICK, "--train-lang", "xx"], ["'xx'", "ja"]),
    ([*QUICK, "--task", "reviews_dmo"], ["'reviews_dmo'", "Did you mean reviews_demo"]),
    ([*QUICK, "--prompt", "strct"], ["'strct'", "Did you mean strict"]),
    (["run", "--backend", "majority,smollm2", "--prompt", "tags"], ["'tags'", "multilabel", "ordinal", "strict"]),
    ([*QUICK, "--decoding", "foo"], ["'foo'", "constrained, free, score"]),
    ([*QUICK, "--calibration", "contxtual"], ["no calibration named 'contxtual'", "Did you mean contextual"]),
    ([*QUICK, "--calibration", "batch,foo"], ["'foo'", "batch, contextual, none"]),
    ([*QUICK, "--decision", "expcted"], ["no decision named 'expcted'", "Did you mean expected"]),
    (
        [*SCORED, "--calibration", "batch", "--decoding", "free"],
        ["no calibration", "'decoding: free'", "use the decoding 'score'"],
    ),
    ([*SCORED, "--decision", "expected", "--decoding", "constrained"], ["no decision", "'decoding: constrained'"]),
    (
        [*SCORED, "--task", "names", "--decoding", "score", "--decision", "expected"],
        ["'decision: expected' is for ordinal labels, and these are nominal", "argmax"],
    ),
    ([*QUICK, "--max-cost", "-1"], ["--max-cost", "0"]),
    ([*QUICK, "--max-cost", "much"], ["--max-cost"]),
    (["run", "--backend", "majority,unpriced", "--max-cost", "2"], ["--max-cost 2: unpriced has no price", "prices.yaml"]),
    ([*QUICK, "--split", "foo"], ["split named 'foo'", "validation"]),
    ([*QUICK, "--limit", "0"], ["--limit", "1"]),
    ([*QUICK, "--limit", "-1"], ["--limit", "1"]),
    ([*QUICK, "--limit", "many"], ["--limit"]),
    ([*QUICK, "--seed", "x"], ["--seed x", "whole number"]),
    ([*QUICK, "--seed", "-1"], ["--seed -1", "from 0"]),
    ([*QUICK, "--seed", "4294967296"], ["--seed 4294967296", "to 4294967295"]),
    ([*QUICK, "--seed", "0,1.5"], ["--seed 1.5"]),
    ([*QUICK, "--data", "nowhere"], ["--data nowhere", "no such folder"]),
    (["run", "--backend", "majority", "--data", "nowhere"], ["--data nowhere", "no such folder"]),
    ([*QUICK, "--model", "./nowhere"], ["--model ./nowhere", "loads no model"]),
    (["run", "--backend", "minilm,smollm2", "--model", "org/name"], ["minilm, smollm2", "a command for each"]),
    (["run", "--backend", "minilm", "--model", "./nowhere"], ["--model ./nowhere", "no such folder", "config.json"]),
    ([*QUICK, "--results", "a_file"], ["--results a_file is not a folder"]),
    ([*QUICK, "--nonsense"], ["--nonsense"]),
    (["leaderboard", "--results", "a_file"], ["--results a_file is not a folder"]),
    (["leaderboard", "--results", "nowhere"], ["nowhere", "bench run"]),
    (["list", "cakes"], ["cakes", "backends"]),
    (["list"], ["backends"]),
    (["show"], ["run"]),
    (["show", "anything"], ["results/runs", "bench run"]),
    (["prompts", "show", "strct"], ["'strct'", "Did you mean strict"]),
    (["prompts", "check", "strict", "--lang", "xx"], ["'xx'", "ja"]),
    (["prompts", "check", "strict", "--task", "xyzzy"], ["'xyzzy'", "reviews_demo"]),
    (["prompts", "check", "strict", "--data", "nowhere"], ["--data nowhere"]),
    (["rum"], ["rum"]),
]


NAMES = """\
description: d
source: {files: {folder: ../data}}
columns: {id: id, lang: lang}
labels: {kind: nominal, names: [a, b, c, d, e]}
languages: [en]
"""


@pytest.mark.parametrize(("arguments", "named"), MISTAKES, ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_a_mistake_is_named_and_nothing_is_written(
    bench: Any, project: Path, rows_of: Any, arguments: list[str], named: list[str]
) -> None:
    (project / "a_file").write_text("")
    rows_of(["good", "bad", "so so", "fine", "poor"])
    (project / "backends").mkdir()
    (project / "backends" / "unpriced.yaml").write_text("engine: openai\nmodel: m\n")
    if "names" in arguments:  # else a command without --task would be about it
        (project / "tasks").mkdir()
        (project / "tasks" / "names.yaml").write_text(NAMES)
    before = sorted(path.name for path in project.iterdir())
    said = bench(*arguments)
    assert said.code == 2
    assert said.out == ""
    assert all(part in said.err for part in named), said.err
    assert len(said.err.strip().splitlines()) <= 9
    assert said.err.count("bench: ") <= 1
    assert sorted(path.name for path in project.iterdir()) == before


@pytest.mark.slow
def test_mistrl_in_a_process(process: Any, project: Path) -> None:
    said = process("run", "--backend", "mistrl")
    assert said.code == 2
    first, second = said.err.splitlines()
    assert "'mistrl'" in first
    assert "mistral" in second
    assert not any(project.iterdir())


@pytest.mark.slow
def test_mistral_without_a_hub(process: Any, project: Path) -> None:
    pytest.importorskip("huggingface_hub")
    said = process("run", "--backend", "mistral", "--lang", "ja")
    assert said.code == 1
    assert said.out == ""
    assert "Mistral-7B-Instruct-v0.2" in said.err
    assert "--model PATH" in said.err
    assert all(name in said.err for name in ("minilm", "smollm2", "tfidf", "majority"))
    assert not (project / "results").exists()


def test_a_hub_that_is_away_is_asked_once(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.core.errors import ModelUnavailable
    from harness.running import plan

    asked = []

    def away(spec: Any) -> None:
        if spec.name == "majority":
            return
        asked.append(spec.name)
        raise ModelUnavailable("The model can't be had.", "Try --model PATH.")

    monkeypatch.setattr(plan, "checkpoint_of", away)
    said = bench("run", "--backend", "mistral,majority", "--lang", "en,ja", "--limit", 3, "--json")
    assert said.code == 1
    assert asked == ["mistral"]
    assert said.err.count("can't be had") == 1
    assert [run["state"] for run in said.json] == ["failed", "failed", "new", "new"]
    assert said.json[1]["error"]["hint"] == "Try --model PATH."


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({}, "no config.json"),
        ({"config.json": "{}"}, "no weights"),
        ({"config.json": "{}", "pytorch_model.bin": ""}, "they must be safetensors"),
    ],
)
def test_model_folder_that_is_no_checkpoint(bench: Any, project: Path, files: dict[str, str], named: str) -> None:
    pytest.importorskip("torch")
    (project / "model").mkdir()
    for name, text in files.items():
        (project / "model" / name).write_text(text)
    said = bench("run", "--backend", "minilm", "--lang", "en,ja", "--model", "./model")
    assert said.code == 2
    assert said.err.count(named) == 1  # not once for every language
    assert not (project / "results").exists()


def test_damaged_predictions_are_named(bench: Any, two_runs: list[str], project: Path) -> None:
    path = project / "results" / "runs" / two_runs[0] / "predictions.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    said = bench("show", two_runs[0])
    assert said.code == 1
    assert "predictions.jsonl is damaged" in said.err
    path.unlink()
    assert "predictions.jsonl is missing" in bench("show", two_runs[0]).err


def test_force_mends_a_damaged_record(bench: Any, two_runs: list[str], project: Path) -> None:
    (project / "results" / "runs" / two_runs[0] / "metrics.json").write_text("")
    said = bench("run", "--backend", "majority", "--lang", "en", "--limit", 20, "--force")
    assert said.code == 0
    assert bench("show", two_runs[0]).code == 0


def no_space(*arguments: Any, **options: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_ends_the_series_with_one_message(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.records.store import Store

    monkeypatch.setattr(Store, "finish", no_space)
    said = bench("run", "--backend", "majority,tfidf", "--lang", "en,ja", "--limit", 3)
    assert said.code == 1
    assert said.err.count("No space left on device") == 1
    assert "[2/4]" not in said.err


@pytest.mark.slow
def test_a_leaderboard_that_cannot_be_written(bench: Any, two_runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("reports.page.html", "reports.pictures", "core.json_files"):  # the last one last: the others import from it
        monkeypatch.setattr(f"harness.{module}.write_atomically", no_space)
    said = bench("leaderboard")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("bench: No space left on device.")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_results_folder_without_write_permission(bench: Any, project: Path) -> None:
    (project / "results").mkdir(mode=0o500)
    said = bench(*QUICK)
    assert said.code == 1
    assert "results" in said.err
    assert "Permission denied" in said.err


def test_permission_error_names_the_file(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.records.store import Store

    def denied(self: Store, name: str) -> None:
        raise PermissionError(13, "Permission denied", str(self.root))

    monkeypatch.setattr(Store, "journal", denied)
    said = bench(*QUICK)
    assert said.code == 1
    assert "bench: results/runs: Permission denied." in said.err


def test_an_error_that_nobody_foresaw(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.specs.catalog import Catalog

    def broken(self: Catalog, kind: str) -> None:
        raise ZeroDivisionError("in the catalog\nsecond line")

    monkeypatch.setattr(Catalog, "files", broken)
    said = bench("list", "tasks")
    assert said.code == 1
    assert said.err.splitlines()[0] == "bench: Unexpected ZeroDivisionError: in the catalog"
    monkeypatch.setenv("BENCH_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        bench("list", "tasks")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["list", "backends"], ["list", "backends", "--json"]])
def test_a_closed_pipe_is_no_error(environment: dict[str, str], arguments: list[str]) -> None:
    program = "from harness.cli import main; main()"
    running = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    err = running.stderr.read()
    running.stderr.close()
    running.wait(300)
    assert b"Traceback" not in err


@pytest.mark.slow
def test_stdout_without_utf8(environment: dict[str, str], process: Any, rows_of: Any) -> None:
    environment["PYTHONIOENCODING"] = "latin-1"
    said = process("prompts", "show", "strict", "--lang", "ja")
    assert said.code == 0
    assert "\\u" in said.out
    data = rows_of(["déjà vu 😀"] * 5)
    exact = process("prompts", "show", "strict", "--data", data, "--json")
    assert "déjà vu 😀" in json.loads(exact.out)[0]["messages"][0]["content"]
