"""`bench study recipe`: a recipe's runs and searches, what is reported of them, and a look ahead that does nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.cli import recipe as recipe_cli
from harness.cli.execute_runs import FinishedRun
from harness.core.errors import RunError
from harness.core.options import ExecutionOptions, RunOptions
from harness.execution.outcome import Outcome
from harness.execution.worker import Worker
from harness.records.store import Store
from harness.specs.catalog import Catalog
from harness.specs.recipes import load_recipe
from harness.studies.steps import Changes, Step, steps_of

RECIPE = """\
description: Two baselines.
note: n
reported: small
defaults: {task: reviews_demo, limit: 10, train_limit: 20, validation_limit: 10}
runs:
  - {name: shares, backend: majority, lang: [en, fr], train_lang: en}
  - {name: words, backend: tfidf, lang: en}
smoke: {limit: 4}
"""
REPORTED = """\
source: a report
figures:
  - {run: shares, model: m, task: reviews_demo, lang: en, n: 10, metric: accuracy, value: 0.4}
  - {run: words, model: m, task: reviews_demo, metric: off_by_one, value: 0.5}
  - {model: m, task: reviews_demo, metric: accuracy, value: 0.123}
"""
SEARCH = """\
description: A search.
defaults: {task: reviews_demo, train_lang: en, train_limit: 20, validation_limit: 10}
runs:
  - name: search
    backend: tfidf
    tune: {trials: 2, space: {classifier: {choices: [majority, tfidf]}}, metric: accuracy}
"""


@pytest.fixture
def recipe(project: Path) -> Path:
    for path, text in (("recipes/small.yaml", RECIPE), ("results/reported/small.yaml", REPORTED)):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text, encoding="utf-8")
    return project


def lines(out: str) -> list[dict[str, str]]:
    header, *rows = (line.split("\t") for line in out.splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.slow
def test_every_run_stands_beside_what_was_reported(bench: Any, recipe: Path) -> None:
    said = bench("study", "recipe", "small")
    assert said.code == 0, said.err
    rows = lines(said.out)
    assert [(row["step"], row["lang"], row["n"], row["record"]) for row in rows] == [
        ("shares", "en", "10", "new"),
        ("shares", "fr", "10", "new"),
        ("words", "en", "10", "new"),
    ]
    assert [row["reported"] for row in rows] == [
        "accuracy 0.400 [0.122, 0.738] (n 10)",
        "-",
        "off_by_one 0.500 (all languages)",
    ]
    assert rows[2]["off_by_one"] != "-"  # measured beside it
    assert len(Store(recipe / "results" / "runs").ids()) == 3

    again = bench("study", "recipe", "small", "--json")
    assert [(step["step"], step["state"]) for step in again.json] == [
        ("shares", "found"),
        ("shares", "found"),
        ("words", "found"),
    ]
    figure = again.json[0]["reported"][0]
    assert (figure["value"], figure["n"], round(figure["high"], 3)) == (0.4, 10, 0.738)
    assert again.json[0]["metrics"]["n"] == 10


@pytest.mark.slow
def test_what_the_command_says_takes_the_place_of_the_recipe_s(bench: Any, recipe: Path) -> None:
    changes = ("--run", "shares", "--lang", "de", "--backend", "tfidf", "--limit", 3, "--seed", "1,2")
    said = bench("study", "recipe", "small", *changes, "--json")
    assert said.code == 0, said.err
    which = [(step["step"], step["lang"], step["backend"], step["seed"], step["metrics"]["n"]) for step in said.json]
    assert which == [("shares", "de", "tfidf", 1, 3), ("shares", "de", "tfidf", 2, 3)]


@pytest.mark.slow
def test_a_smoke_test_has_a_folder_of_its_own(bench: Any, recipe: Path) -> None:
    said = bench("study", "recipe", "small", "--smoke")
    assert said.code == 0, said.err
    assert [row["n"] for row in lines(said.out)] == ["4", "4", "4"]
    assert "not measurements" in said.err
    assert len(Store(recipe / "results" / "smoke" / "runs").ids()) == 3
    assert not (recipe / "results" / "runs").exists()


@pytest.mark.slow
def test_a_dry_run_shows_the_plan_and_does_nothing(bench: Any, recipe: Path) -> None:
    before = sorted(recipe.rglob("*"))
    said = bench("study", "recipe", "small", "--dry-run")
    assert said.code == 0, said.err
    rows = lines(said.out)
    assert [row["test"] for row in rows] == ["10 en", "10 fr", "10 en"]
    assert [row["train"] for row in rows] == ["20 en"] * 3
    assert all(row["state"].startswith("to do") for row in rows)
    assert "Note: n\n" in said.err
    assert sorted(recipe.rglob("*")) == before

    bench("study", "recipe", "small", "--run", "words")
    found = bench("study", "recipe", "small", "--dry-run", "--json").json
    assert [step["state"] for step in found] == ["to do", "to do", "found"]
    assert found[0]["test"] == {"langs": ["en"], "rows": 10, "exact": True}


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_dry_run_of_every_recipe_needs_neither_network_nor_weights(
    path: Path, bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import socket

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("a dry run asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for arguments in (["--smoke"], []):
        said = bench("study", "recipe", path.stem, "--dry-run", "--json", *arguments)
        assert said.code == 0, said.err
        assert {(step["state"], step["note"]) for step in said.json} == {("to do", "the model is not on this machine")}
    assert not (tmp_path / "empty").exists()


def test_a_run_that_fails_is_reported_and_the_next_one_starts(bench: Any, recipe: Path) -> None:
    text = RECIPE.replace("lang: [en, fr]", "lang: en") + ""
    text = text.replace("smoke:", "  - {name: more, backend: tfidf, lang: en, continued_from: words}\nsmoke:")
    (recipe / "recipes" / "small.yaml").write_text(text, encoding="utf-8")
    said = bench("study", "recipe", "small", "--json")
    assert said.code == 2  # a baseline can't go on from a training: the recipe asks for it
    assert [step["state"] for step in said.json] == ["new", "new", "failed"]
    assert "can't go on" in said.json[2]["error"]["message"]
    assert "can't go on" in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["smal"], "no recipe named 'smal'"),
        (["small", "--run", "word"], "no run of the recipe 'small' named 'word'"),
        (["small", "--lang", "xx"], "no language of the task 'reviews_demo'"),
        (["small", "--backend", "tfid"], "no backend named 'tfid'"),
        (["small", "--set", "train.lr=1"], "unknown key 'train'"),
        (["small", "--dry-run", "--set", "train.lr=1"], "unknown key 'train'"),
        (["small", "--data", "nowhere"], "no such folder"),
    ],
)
def test_a_slip_is_found_before_the_first_run(bench: Any, recipe: Path, arguments: list[str], words: str) -> None:
    said = bench("study", "recipe", *arguments)
    assert said.code == 2
    assert words in said.err
    assert not (recipe / "results" / "runs").exists()


# Searches


@pytest.mark.slow
def test_a_search_is_a_step_that_goes_on(bench: Any, recipe: Path) -> None:
    pytest.importorskip("optuna")
    (recipe / "recipes" / "tuned.yaml").write_text(SEARCH, encoding="utf-8")
    ahead = bench("study", "recipe", "tuned", "--dry-run", "--json").json
    assert [(step["trials"], step["test"], step["validation"]["langs"]) for step in ahead] == [(2, None, ["en"])]
    (first,) = bench("study", "recipe", "tuned", "--json").json
    assert (first["state"], first["trials"], first["metric"]) == ("searched", 2, "accuracy")
    assert set(first["best"]) == {"classifier"}
    assert (recipe / "results" / "studies" / first["study"] / "study.journal").is_file()
    assert not (recipe / "results" / "runs").exists()  # no test rows
    said = bench("study", "recipe", "tuned")
    assert said.code == 0
    assert "Found: 2 finished trials" in said.err
    assert f"search, best of 2 trials: classifier={first['best']['classifier']}. Written: {first['backend']}" in said.err
    assert f"classifier: {first['best']['classifier']}" in (recipe / first["backend"]).read_text()
    (row,) = lines(said.out)
    assert row["accuracy"] == f"{first['value']:.3f} (validation)"
    (other,) = bench("study", "recipe", "tuned", "--train-limit", 10, "--json").json  # other rows: another study
    assert other["study"] != first["study"]


# The order of things


def carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: str, fails: str = "", stops_after: int | None = None
) -> tuple[list[str], list[tuple[str, str]], bool]:
    """The requests, by seed and start, where the n-th training makes the model key-of-n; what became of each step; whether it
    was stopped."""
    given: list[str] = []

    def run(worker: Worker, options: RunOptions, shard: Any) -> Outcome:
        given.append(f"{options.seed} {options.continue_from or '-'}")
        if stops_after is not None and len(given) > stops_after:
            raise KeyboardInterrupt
        if str(options.seed) == fails:
            raise RunError("it failed")
        return Outcome("new", trained_key=f"key-of-{len(given)}")

    monkeypatch.setattr(Worker, "_run", run)
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"description: d\ndefaults: {{task: reviews_demo, backend: tfidf, lang: en}}\nruns:\n{runs}", encoding="utf-8"
    )
    catalog = Catalog(tmp_path)
    steps = steps_of(load_recipe(path), catalog, Changes())
    done, stopped = recipe_cli.carry_out("mine", steps, catalog, Store(tmp_path / "runs"), ExecutionOptions(), None)
    return given, [(step.name, outcome.state) for step, outcome in done], stopped


CHAIN = (
    "  - {name: a, train_lang: en}\n  - {name: b, train_lang: fr}\n  - {name: c, train_lang: fr, continued_from: a}\n"
    "  - {name: d, train_lang: de, continued_from: c}\n  - {name: e, train_lang: ja, continued_from: a}\n"
)


def test_a_start_is_planned_when_its_model_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, states, _ = carried_out(tmp_path, monkeypatch, CHAIN)
    assert given == ["0 -", "0 -", "0 key-of-1", "0 key-of-3", "0 key-of-1"]
    assert [name for name, _ in states] == ["a", "b", "c", "d", "e"]


def test_what_goes_on_from_a_failed_run_is_not_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = (
        "  - {name: a, seed: [0, 7]}\n  - {name: b, seed: [0, 7], continued_from: a}\n"
        "  - {name: c, seed: [0, 7], continued_from: b}\n"
    )
    _, states, stopped = carried_out(tmp_path, monkeypatch, runs, fails="7")
    assert sorted(states) == [(name, state) for name in "abc" for state in ("failed", "new")]
    assert not stopped
    said = capsys.readouterr().err
    assert re.search(r"\bb\b.*\ba\b.*failed", said)
    assert re.search(r"\bc\b.*\bb\b.*failed", said)


def test_ctrl_c_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, states, stopped = carried_out(tmp_path, monkeypatch, CHAIN, stops_after=1)
    assert (len(given), states, stopped) == (2, [("a", "new")], True)


# Lists


def test_recipes_are_listed(bench: Any, recipe: Path) -> None:
    found = {row["recipe"]: row for row in bench("list", "recipes", "--json").json}
    assert {"small", "mbert-amazon", "mistral-amazon"} <= set(found)
    assert found["small"] == {
        "recipe": "small",
        "names": ["shares", "words"],
        "backends": ["majority", "tfidf"],
        "description": "Two baselines.",
    }
    (recipe / "recipes" / "small.yaml").write_text("runs: 3", encoding="utf-8")
    broken = bench("list", "recipes", "--json")
    assert broken.code == 2
    assert "small.yaml:1" in broken.err
    assert "mbert-amazon" in {row["recipe"] for row in json.loads(broken.out)}


def test_a_search_that_can_not_be_is_found_before_anything_trains(bench: Any, project: Path) -> None:
    (project / "recipes").mkdir()
    text = SEARCH.replace("runs:", "runs:\n  - {name: first, backend: tfidf, lang: en}").replace(
        "{classifier: {", "{nothing: {"
    )
    (project / "recipes" / "wrong.yaml").write_text(text)
    said = bench("study", "recipe", "wrong")
    assert said.code == 2
    assert "search of 'nothing'" in said.err
    assert not (project / "results" / "runs").exists()


def test_a_chain_goes_on_after_a_search(tmp_path: Path) -> None:
    """The first step's model comes from an earlier group of runs, and the next one waits for the step itself."""
    base, middle, last = (RunOptions(backend="tfidf", task="t", lang="en", seed=seed) for seed in (1, 2, 3))
    first = Step("a", base)
    second = Step("b", middle, first)
    third = Step("c", last, second)
    done: Any = [(first, FinishedRun(base, Outcome("new", trained_key="key-of-a")))]
    ended, runs = recipe_cli._startable([second, third], done)
    assert ended == []
    assert [(one.options.continue_from, one.after) for one in recipe_cli._requests(runs)] == [("key-of-a", None), (None, 0)]
