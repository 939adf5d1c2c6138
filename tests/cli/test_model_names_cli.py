"""Three models of one server by `--model`: every command says which model each line is of."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from console import Bench
from unsealed import unseal

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))  # the server

from fake_server import fake_server

MODELS = ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06")
NAMES = [f"mock:{model}" for model in MODELS]
HOW = "strict · score"
ASK = ("--task", "reviews_demo", "--lang", "en")


@pytest.fixture
def runs(bench: Bench, project: Path) -> Iterator[list[str]]:
    """The ids of their runs, the table of `bench run` having named each."""
    pytest.importorskip("openai")
    with fake_server(key=None, models=list(MODELS)) as fake:
        (project / "backends").mkdir()
        (project / "backends" / "mock.yaml").write_text(
            f"engine: openai\nmodel: another\noptions: {{base_url: '{fake.url}', api_key_env: null}}\n"
            "price: {prompt: 1, completion: 1, source: made up}\n"
        )
        ids = []
        for model in MODELS:
            said = bench("run", *ASK, "--backend", "mock", "--model", model, "--decoding", "score", "--limit", 20, "-q")
            assert said.code == 0, said.err
            assert said.out.splitlines()[1].split("\t")[1] == f"mock:{model}"
            ids.append(said.out.splitlines()[1].split("\t")[-1])
        yield ids


@pytest.mark.slow
def test_the_board(bench: Bench, project: Path, runs: list[str]) -> None:
    said = bench("leaderboard")
    lines = [line.split("\t")[1:3] for line in said.out.splitlines() if "\tmock" in line]
    assert sorted(lines) == sorted([name, HOW] for name in NAMES)
    board = (project / "results" / "LEADERBOARD.md").read_text(encoding="utf-8")
    assert all(board.count(f"| {name} |") == 2 for name in NAMES), "in the table of languages and in the full one"
    (row, *_) = bench("leaderboard", "--json").json
    assert row["backend"] == "mock"
    assert row["identity"]["backend"]["model"] in MODELS


@pytest.mark.slow
def test_compare_cascade_and_reliability(bench: Bench, runs: list[str]) -> None:
    said = bench("compare", *runs)
    assert [line.split("\t")[1:3] for line in said.out.splitlines()[1:4]] == [[name, HOW] for name in NAMES]
    assert all(name in said.out.splitlines()[-1] for name in NAMES)
    assert [run["name"] for run in bench("compare", *runs, "--json").json["runs"]] == NAMES
    said = bench("analyze", "cascade", *runs[:2])
    assert all(name in said.out.splitlines()[-1] for name in NAMES[:2]), said.err
    said = bench("analyze", "calibration", runs[2]).out
    assert f"{NAMES[2]} ({HOW}) has" in said
    assert "earlier version" not in said


@pytest.mark.slow
def test_recommend(bench: Bench, runs: list[str]) -> None:
    found = bench("recommend", *ASK, "--json").json
    assert sorted(candidate["name"] for candidate in found["candidates"]) == sorted(NAMES)
    assert " 3 prompted models " in found["sentence"]


@pytest.mark.slow
def test_lists_and_costs(bench: Bench, runs: list[str]) -> None:
    rows = [line.split("\t") for line in bench("list", "runs").out.splitlines()]
    assert rows[0][:2] == ["run", "model"]
    assert sorted(row[1] for row in rows[1:]) == sorted(MODELS)
    assert {row["model"] for row in bench("list", "runs", "--json").json} == set(MODELS)
    assert f"model: {MODELS[1]}\n" in bench("show", runs[1]).out
    said = bench("analyze", "cost")
    assert sorted(line.split("\t")[2:4] for line in said.out.splitlines() if "\tmock" in line) == sorted(
        [n, HOW] for n in NAMES
    )
    assert said.out.splitlines()[-1].startswith(f"For 1,000,000 predictions {NAMES[0]} costs "), "the others have no price"
    assert {row["how"] for row in bench("analyze", "cost", "--json").json["runs"]} == {HOW}


def as_of_version_1(manifest: dict[str, Any]) -> None:
    options = manifest.pop("options")
    manifest |= {"version": 1, "settings": options.get("settings", {}), "limit": options["limit"]}


@pytest.mark.slow
def test_records_of_an_earlier_version_are_told_apart_too(bench: Bench, project: Path, runs: list[str]) -> None:
    for folder in (project / "results" / "runs").iterdir():
        unseal(folder, as_of_version_1)
    assert sorted(line.split("\t")[1] for line in bench("leaderboard").out.splitlines() if "\tmock" in line) == sorted(NAMES)
    assert [run["name"] for run in bench("compare", *runs, "--json").json["runs"]] == NAMES


@pytest.mark.slow
def test_what_is_said_of_one_run_names_its_model(bench: Bench, project: Path, runs: list[str]) -> None:
    """Gates and findings, by `show` and beside the board; and what is to be run next is of that model."""
    assert f"\n{NAMES[1]} " in bench("show", runs[1]).out
    for folder in (project / "results" / "runs").iterdir():
        gate = {"name": "prompts_cut", "outcome": "warned", "message": "cut", "value": 1.0}
        unseal(folder, lambda manifest, gate=gate: manifest.update(gates=[gate]))
    said = bench("leaderboard").out
    assert [said.count(f"\n{name} ({HOW}): warning (prompts_cut): cut") for name in NAMES] == [1, 1, 1]
    ran = [step["command"] for step in bench("recommend", *ASK, "--json").json["next"]]
    assert any(f" --model {model}" in command and " --limit 20" in command for command in ran for model in MODELS)
