"""`bench run --shard` and `bench results merge`: what they print, and their exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import RunError

QUICK = ("--backend", "majority", "--lang", "en", "--limit", 5)
TFIDF = ("--backend", "tfidf", "--lang", "en", "--limit", 20)


def merge(bench: Any, *arguments: object) -> Any:
    said = bench("results", "merge", *arguments, "--json")
    return said.code, said.json


def names(project: Path) -> list[str]:
    return sorted(path.name for path in (project / "results" / "runs").iterdir())


@pytest.mark.slow
def test_shards_become_a_record(bench: Any, project: Path) -> None:
    said = [bench("run", *QUICK, "--shard", f"{index}/2", "--json") for index in (1, 2)]
    assert [one.code for one in said] == [0, 0]
    assert [(one.json[0]["state"], one.json[0]["shard"], one.json[0]["rows"]) for one in said] == [
        ("new", "1/2", 5),
        ("new", "2/2", 0),  # 5 texts are one window
    ]
    assert said[0].json[0]["metrics"] is None
    run = said[0].json[0]["run"]
    assert bench("list", "runs", "--json").json == []  # no shard is a record
    assert bench("run", *QUICK, "--shard", "1/2", "--json").json[0]["state"] == "found"
    code, (merged,) = merge(bench, run[-6:])
    assert (code, merged["state"], merged["run"], merged["shards"], merged["error"]) == (0, "new", run, 2, None)
    assert names(project) == [run]
    found, again = bench("run", *QUICK, "--json").json[0], bench("run", *QUICK, "--force", "--json").json[0]
    assert found | {"state": "new", "model_from_cache": True} == again
    assert bench("run", *QUICK, "--shard", "2/2", "--json").json[0]["state"] == "found"
    assert merge(bench) == (0, [])
    assert [(code, one["state"]) for code, (one,) in [merge(bench, run)]] == [(0, "found")]


def test_what_is_missing_is_told_and_other_runs_are_merged(bench: Any, project: Path) -> None:
    bench("run", *QUICK, "--seed", "0,1", "--shard", "1/2")
    bench("run", *QUICK, "--seed", "1", "--shard", "2/2")
    code, found = merge(bench)
    assert code == 1
    assert sorted(one["state"] for one in found) == ["failed", "new"]
    (failed,) = (one for one in found if one["state"] == "failed")
    assert "1 of 2 shards are missing: 2." in failed["error"]["message"]
    assert f"{failed['run']}.shard-1-of-2" in names(project)
    assert bench("results", "merge", "nothing").code == 2


@pytest.mark.parametrize(
    "words", [["--shard", "0/8"], ["--shard", "9/8"], ["--shard", "3"], ["--shard", "1/2", "--track", "x"]]
)
def test_a_mistake_in_the_option_is_one_of_the_user(bench: Any, words: list[str]) -> None:
    said = bench("run", *QUICK, *words)
    assert said.code == 2
    assert "--shard" in said.err


@pytest.mark.slow
def test_a_training_on_labels_of_a_model_is_merged_where_the_labelling_is(bench: Any, project: Path) -> None:
    assert bench("run", *TFIDF, "-q").code == 0
    labelled = bench("label", "--backend", "tfidf", "--lang", "en", "--split", "train", "--output", "labels.csv", "--json")
    own = (*TFIDF, "--labels-from", labelled.json["labelling"], "--validation-limit", 0)
    whole = bench("run", *own, "--json").json[0]
    predictions = (project / "results" / "runs" / whole["run"] / "predictions.jsonl").read_bytes()
    (project / "results" / "runs" / whole["run"]).rename(project / "kept")
    for index in (1, 2):
        assert bench("run", *own, "--shard", f"{index}/2").code == 0
    (project / "results").rename(project / "moved")
    code, (merged,) = merge(bench, "--results", "moved")
    assert (code, merged["run"], merged["metrics"]) == (0, whole["run"], whole["metrics"])
    assert (project / "moved" / "runs" / whole["run"] / "predictions.jsonl").read_bytes() == predictions


def test_a_run_in_shards_is_told_to_be_unfinished(bench: Any) -> None:
    run = bench("run", *QUICK, "--shard", "1/2", "--json").json[0]["run"]
    said = bench("show", run)
    assert said.code == 2
    assert "bench results merge" in said.err
    listed = bench("list", "runs")
    assert (listed.code, listed.out) == (0, "")
    assert run in listed.err
    assert "1/2" in listed.err


@pytest.mark.slow
def test_a_merge_that_fails_is_told(bench: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import harness.running.merging

    def refused(*arguments: object, **options: object) -> None:
        raise RunError("These shards do not fit.", "Repeat them.")

    monkeypatch.setattr(harness.running.merging, "merge", refused)
    said = bench("run", *QUICK, "--seed", "0,1", "--shards", 2)
    assert said.code == 1
    assert said.err.count("These shards do not fit.") == 1


def test_an_option_of_another_executor_is_told_to_have_no_effect(bench: Any) -> None:
    said = bench("run", *QUICK, "--workers", 2, "--address", "auto")
    assert said.code == 0
    assert all(f"note: {option} has no effect" in said.err for option in ("--workers", "--address"))
