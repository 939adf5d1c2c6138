"""`--dry-run` of the commands that make runs: the plan, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

COMMANDS = {
    "run": ("run", "--backend", "tfidf,majority", "--lang", "en,de"),
    "transfer": ("study", "transfer", "--backend", "tfidf", "--lang", "en,de", "--train-lang", "en,de"),
    "curve": ("study", "curve", "--encoder", "tfidf", "--lang", "en", "--sizes", "8,16", "--seed", "0,1"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_plan_is_listed_and_nothing_happens(bench: Any, project: Path, name: str) -> None:
    listed = bench(*COMMANDS[name], "--dry-run", "--json")
    assert listed.code == 0, listed.err
    assert [step["step"] for step in listed.json] == ["1", "2", "3", "4"]
    assert {step["state"] for step in listed.json} == {"to do"}
    assert {step["need"]["gpus"] for step in listed.json} == {0}
    said = bench(*COMMANDS[name], "--dry-run")
    header, *rows = [line.split("\t") for line in said.out.splitlines()]
    assert header == ["step", "task", "backend", "train", "validation", "test", "settings", "state"]
    assert len(rows) == 4
    assert "Nothing was run." in said.err
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("executor", ["slurm", "ray"])
def test_for_other_machines_it_says_what_each_run_needs(bench: Any, project: Path, executor: str) -> None:
    """Without asking the engine, which this machine may not have."""
    (project / "bench.toml").write_text("[needs.tfidf]\ncpus = 4\nmemory_gib = 16\n")
    said = bench(*COMMANDS["transfer"], "--dry-run", "--executor", executor)
    assert said.code == 0, said.err
    header, *rows = [line.split("\t") for line in said.out.splitlines()]
    assert header[-3:] == ["needs", "group", "state"]
    assert [row[-3:-1] for row in rows] == [["0 GPUs, 4 CPUs, 16 GiB", group] for group in ("1", "1", "2", "2")]
    assert [path.name for path in project.iterdir()] == ["bench.toml"]


@pytest.mark.slow
def test_a_prompted_run_says_how_it_is_prompted(bench: Any) -> None:
    listed = bench("run", "--backend", "local-server", "--lang", "en", "--decoding", "free,score", "--dry-run", "--json").json
    assert [step["choices"] for step in listed] == [{"decoding": "free"}, {"decoding": "score"}]
    assert {step["group"] for step in listed} == {1}


def test_a_search_is_one_step(bench: Any, project: Path) -> None:
    pytest.importorskip("optuna")
    (project / "backends").mkdir()
    (project / "backends" / "words.yaml").write_text(
        "engine: baseline\noptions: {classifier: tfidf}\nsearch: {c: {low: 1e-2, high: 100.0}}\n"
    )
    (step,) = bench("study", "tune", "--backend", "words", "--lang", "en", "--trials", 7, "--dry-run", "--json").json
    assert (step["step"], step["trials"], step["searched"], step["test"]) == ("reviews_demo-words-en", 7, ["c"], None)
    assert not (project / "results").exists()


def test_the_sizes_of_a_curve_need_the_rows(bench: Any) -> None:
    said = bench("study", "curve", "--encoder", "tfidf", "--task", "amazon_reviews_multi", "--lang", "en", "--dry-run")
    assert said.code == 2
    assert "--data DIR" in said.err


def test_needs_of_an_unknown_backend_are_a_mistake(bench: Any, project: Path) -> None:
    (project / "bench.toml").write_text("[needs.tfidff]\ngpus = 1\n", encoding="utf-8")
    for words in (("run",), ("run", "--dry-run")):
        said = bench(*words, "--backend", "tfidf", "--lang", "en")
        assert said.code == 2
        assert "named 'tfidff'" in said.err
