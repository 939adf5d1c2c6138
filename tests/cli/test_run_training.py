"""`bench run` on the side of what trains: --set, --validation-lang, --continue-from, --decision."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

TFIDF = ("run", "--backend", "tfidf", "--lang", "en", "--limit", 10)


def identity(project: Path, run: dict[str, Any]) -> Any:
    return json.loads((project / "results" / "runs" / run["run"] / "run.json").read_text())["identity"]


@pytest.mark.slow
def test_set_changes_an_option_and_makes_another_run(bench: Any, project: Path) -> None:
    plain, other = bench(*TFIDF, "--json").json[0], bench(*TFIDF, "--set", "c=1e-2", "--json").json[0]
    assert plain["run"] != other["run"]
    assert other["settings"] == {"c": 0.01}
    assert (identity(project, plain)["backend"]["options"]["c"], identity(project, other)["backend"]["options"]["c"]) == (
        1,
        0.01,
    )
    assert bench(*TFIDF, "--set", "c=0.010", "--json").json[0]["state"] == "found"
    manifest = json.loads((project / "results" / "runs" / other["run"] / "run.json").read_text())
    assert manifest["options"]["settings"] == {"c": 0.01}
    bench("leaderboard")
    assert "c=0.01" in (project / "results" / "LEADERBOARD.md").read_text()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("c", "expected KEY=VALUE, got 'c'"),
        ("=3", "expected KEY=VALUE"),
        ("c=[", "not valid YAML"),
        ("c=-1", "'c': input should be greater than 0, found -1"),
        ("c=.inf", "'c': input should be a finite number"),
        ("d=1", "unknown key 'd'"),
        ("c.d=1", "'c' has no options inside"),
    ],
)
def test_a_setting_that_does_not_fit(bench: Any, project: Path, setting: str, said: str) -> None:
    (project / "backends").mkdir()
    (project / "backends" / "mine.yaml").write_text("engine: baseline\noptions: {classifier: tfidf, c: 2}\n")
    answer = bench("run", "--backend", "mine", "--lang", "en", "--limit", 5, "--set", setting)
    assert answer.code == 2
    assert said in answer.err


def test_a_runtime_is_for_what_has_one(bench: Any) -> None:
    answer = bench(*TFIDF, "--set", "predict.runtime=onnx")
    assert answer.code == 2
    assert "unknown key 'predict'" in answer.err


@pytest.mark.slow
def test_the_validation_language_is_a_choice(bench: Any, project: Path) -> None:
    said = bench(*TFIDF, "--train-lang", "fr", "--validation-lang", "ja", "--json").json[0]
    assert (said["train_lang"], said["validation_lang"]) == (["fr"], ["ja"])
    assert identity(project, said)["train"]["validation_langs"] == ["ja"]
    same = bench(*TFIDF, "--train-lang", "fr", "--validation-lang", "fr", "--json").json[0]
    assert bench(*TFIDF, "--train-lang", "fr", "--json").json[0]["run"] == same["run"]
    wrong = bench(*TFIDF, "--validation-lang", "frr")
    assert wrong.code == 2
    assert "frr" in wrong.err
    assert "fr" in wrong.err.splitlines()[-1]


@pytest.mark.slow
def test_decision_is_for_all_that_gives_probabilities(bench: Any, project: Path) -> None:
    runs = bench(*TFIDF, "--decision", "argmax,expected,median", "--json").json
    assert len({run["run"] for run in runs}) == 3
    assert [identity(project, run).get("decision") for run in runs] == [None, "expected", "median"]
    assert [run["model_from_cache"] for run in runs][1:] == [True, True]
    maes = [run["metrics"]["values"]["mae"]["value"] for run in runs]
    assert len(set(maes)) > 1


def test_nothing_to_continue_from(bench: Any) -> None:
    none = bench(*TFIDF, "--continue-from", "abc")
    assert none.code == 2
    bench(*TFIDF)
    baseline = bench(*TFIDF, "--train-lang", "fr", "--continue-from", "en.tfidf")
    assert baseline.code == 2
    assert "'tfidf'" in baseline.err


@pytest.mark.slow
def test_says_that_a_training_goes_on(
    bench: Any, project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    assert "continues" not in bench(*TFIDF).err
    (trained,) = (Path(os.environ["BENCH_CACHE"]) / "trained").iterdir()
    (trained / "model").rename(trained / "lost")
    (trained / "scratch").mkdir()
    (trained / "scratch" / "checkpoint-8").touch()
    assert "training continues from its last checkpoint" in bench(*TFIDF, "--force").err
    assert "training continues" not in bench(*TFIDF, "--force").err
