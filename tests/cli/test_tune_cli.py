"""`bench study tune`: a search from the command line, found again, gone on with, and ending in a backend that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("optuna")

BACKEND = "engine: baseline\noptions: {classifier: tfidf}\nsearch: {c: {low: 1e-2, high: 100.0, log: true}}\n"
TUNE = ("study", "tune", "--backend", "words", "--lang", "en", "--train-limit", 40)


@pytest.fixture(autouse=True)
def backend(project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    path = project / "backends" / "words.yaml"
    path.parent.mkdir()
    path.write_text(BACKEND)
    return path


@pytest.mark.slow
def test_a_search_ends_in_a_backend_whose_model_is_in_the_cache(bench: Any, project: Path) -> None:
    said = bench(*TUNE, "--trials", 2, "--json")
    assert said.code == 0, said.err
    assert set(said.json) == {"study", "folder", "metric", "trials", "best", "backend"}
    assert (said.json["study"], said.json["metric"]) == ("reviews_demo-words-en", "accuracy")
    assert [trial["state"] for trial in said.json["trials"]] == ["complete", "complete"]
    assert (project / said.json["folder"] / "study.journal").is_file()
    best = said.json["trials"][said.json["best"]]
    written = yaml.safe_load((project / said.json["backend"]).read_text())
    assert written["options"] == {"classifier": "tfidf", "c": best["settings"]["c"]}
    assert "2 trials of the study reviews_demo-words-en" in written["description"]
    assert f"accuracy {best['value']:.4f}" in written["description"]
    command = next(line for line in said.err.splitlines() if line.startswith("Next: bench "))
    run = bench(*command.split()[2:], "--lang", "en", "--json")
    assert run.code == 0, run.err
    assert [found["model_from_cache"] for found in run.json] == [True]


@pytest.mark.slow
def test_the_same_command_goes_on_and_repeats_nothing(bench: Any) -> None:
    first = bench(*TUNE, "--trials", 1)
    assert "[1/1] trial 0: c=" in first.err
    more = bench(*TUNE, "--trials", 2)
    assert more.code == 0
    assert "Found: 1 finished trial." in more.err
    assert "trial 1: c=" in more.err
    assert "trial 0: c=" not in more.err
    again = bench(*TUNE, "--trials", 2)
    assert again.code == 0
    assert "trial" not in again.err.partition("Best")[0].replace("Found: 2 finished trials", "")
    assert again.out == more.out
    header, *rows = [line.split("\t") for line in again.out.splitlines()]
    assert header == ["trial", "c", "accuracy", "state"]
    assert [row[0].rstrip("*") for row in rows] == ["0", "1"]
    assert sum("*" in row[0] for row in rows) == 1


@pytest.mark.slow
def test_another_search_needs_another_name(bench: Any, backend: Path) -> None:
    assert bench(*TUNE, "--trials", 1).code == 0
    other = (*TUNE, "--trials", 1, "--metric", "mae")
    refused = bench(*other)
    assert refused.code == 2
    assert "words-tuned.yaml" in refused.err
    refused = bench(*other, "--output", "mild")
    assert refused.code == 2
    assert "different: metric" in refused.err
    assert not backend.with_name("mild.yaml").exists()
    assert bench(*other, "--output", "mild", "--study", "by-mae").code == 0
    assert "mae" in backend.with_name("mild.yaml").read_text()


@pytest.mark.slow
def test_languages_trained_on_and_validated_in(bench: Any) -> None:
    said = bench(
        "study", "tune", "--backend", "words", "--train-lang", "en,fr", "--validation-lang", "fr", "--trials", 1, "--json"
    )
    assert said.code == 0, said.err
    assert said.json["study"] == "reviews_demo-words-en+fr-for-fr"
    assert "--train-lang en,fr --validation-lang fr" in said.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backend", "words"], "Which language of 'reviews_demo'"),
        (["--backend", "words", "--lang", "xx"], "no language of the task 'reviews_demo' named 'xx'"),
        (["--backend", "word", "--lang", "en"], "Did you mean words"),
        (["--backend", "tfidf", "--lang", "en"], "has no search space"),
        (["--backend", "smollm2", "--lang", "en"], "is not trained"),
        (["--backend", "words", "--lang", "en", "--metric", "speed"], "no metric 'speed'"),
        (["--backend", "words", "--lang", "en", "--set", "d=1"], "unknown key 'd'"),
        (["--backend", "words", "--lang", "en", "--output", "../x"], "is not a valid name"),
        (["--backend", "words", "--lang", "en", "--output", "tfidf"], "backend 'tfidf' exists already"),
        (["--backend", "words", "--lang", "en", "--study", ".."], "is not a valid name"),
        (["--backend", "words", "--lang", "en", "--data", "nowhere"], "no such folder"),
        (["--backend", "words", "--lang", "en", "--model", "x"], "loads no model"),
    ],
    ids=" ".join,
)
def test_mistakes_are_found_before_the_first_trial(bench: Any, project: Path, options: list[str], words: str) -> None:
    said = bench("study", "tune", *options)
    assert said.code == 2
    assert words in said.err
    assert not (project / "results").exists()


@pytest.mark.slow
def test_a_search_whose_trials_all_fail_exits_1(bench: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backends.baseline import Baseline
    from harness.core.errors import RunError

    def fail(*args: object) -> None:
        raise RunError("no memory left")

    monkeypatch.setattr(Baseline, "fit", fail)
    said = bench(*TUNE, "--trials", 2)
    assert said.code == 1
    assert "trial 1 failed: no memory left" in said.err
    assert not (project / "backends" / "words-tuned.yaml").exists()


@pytest.mark.slow
def test_ctrl_c(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from backends.baseline import Baseline

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Baseline, "fit", stop)
        said = bench(*TUNE, "--trials", 2)
    assert said.code == 130
    assert "Stopped" in said.err
    again = bench(*TUNE, "--trials", 2, "--json")
    assert [trial["state"] for trial in again.json["trials"]] == ["interrupted", "complete", "complete"]


def test_without_optuna(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.studies.search.find_spec", lambda name: None)
    said = bench(*TUNE)
    assert said.code == 2
    assert "'optuna'" in said.err
    assert ".[tune]" in said.err
