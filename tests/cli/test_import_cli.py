"""`bench results import` as a user calls it, on the bundled reviews."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DATE = "2026-01-02T03-04-05.678901"


@pytest.fixture
def evaluation(project: Path) -> Path:
    """What lm-eval left of the first eight English test rows: always two stars, by two filters."""
    bundled = Path(__file__).resolve().parents[2] / "tasks" / "reviews_demo" / "test.jsonl"
    docs = [json.loads(line) for line in bundled.read_text(encoding="utf-8").splitlines()]
    docs = [doc for doc in docs if doc["lang"] == "en"][:8]
    samples = [
        {
            "doc_id": n,
            "doc": doc,
            "target": str(doc["label"]),
            "arguments": {"gen_args_0": {"arg_0": doc["text"], "arg_1": {"until": ["\n"]}}},
            "resps": [["1 star less"]],
            "filtered_resps": ["1" if kept == "first" else "[invalid]"],
            "filter": kept,
        }
        for kept in ("first", "<none>")
        for n, doc in enumerate(docs)
    ]
    folder = project / "out" / "owner__tiny"
    folder.mkdir(parents=True)
    text = "".join(json.dumps(sample) + "\n" for sample in samples)
    (folder / f"samples_stars_{DATE}.jsonl").write_text(text, encoding="utf-8")
    right = sum(doc["label"] == 1 for doc in docs) / 8
    results = {
        "results": {"stars": {"exact_match,first": right, "exact_match,<none>": 0.5}},
        "lm_eval_version": "0.4.13",
        "model_name": "owner/tiny[red]",
    }
    (folder / f"results_{DATE}.json").write_text(json.dumps(results), encoding="utf-8")
    return project / "out"


OURS = ("--task", "reviews_demo", "--lang", "en")


def test_both_figures_and_what_is_on_the_board(bench: Callable[..., Any], evaluation: Path) -> None:
    said = bench("results", "import", "lm-eval", evaluation, *OURS, "--filter", "first")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("reviews_demo.en.tiny-red-.lm-eval-stars.free.s0.")
    assert lines[1:4] == [
        "8 samples of stars (lm-eval 0.4.13, filter first): 8 by id",
        "read by the parser type: integer, first: 0",
        "8 rows: 8 read, 0 unparsed, 0 failed",
    ]
    accuracy = next(line.split("\t") for line in lines if line.startswith("accuracy"))
    assert accuracy[1].split(" ")[0] == accuracy[2].removesuffix(" (exact_match)")
    assert lines[-1] == (
        "tiny[red] (lm-eval:stars) is on the board with 8 of the 50 en rows of reviews_demo, in a table of its own; "
        "`bench compare` pairs it with other runs on the rows that they share."
    )
    again = bench("results", "import", "lm-eval", evaluation, *OURS, "--filter", "first")
    assert "already" in again.out


def test_a_figure_of_lm_eval_that_is_another_one_is_told(bench: Callable[..., Any], evaluation: Path) -> None:
    said = bench("results", "import", "lm-eval", evaluation, *OURS, "--filter", "<none>")
    assert "8 rows: 0 read, 8 unparsed, 0 failed" in said.out
    assert "exact_match" in said.err
    assert "bench counts 0.0000" in said.err


def test_json(bench: Callable[..., Any], evaluation: Path) -> None:
    said = bench("results", "import", "lm-eval", evaluation, *OURS, "--filter", "first", "--backend", "mine", "--json")
    assert said.json["paired_by"] == {"id": 8}
    assert (said.json["rows"], said.json["of_rows"], said.json["computed"]) == (8, 50, True)
    assert said.json["compared"][0]["reported_as"] == "exact_match"
    assert said.json["run"].startswith("reviews_demo.en.mine.")


@pytest.mark.slow
def test_other_commands_take_an_imported_run(bench: Callable[..., Any], evaluation: Path, two_runs: list[str]) -> None:
    run = bench("results", "import", "lm-eval", evaluation, *OURS, "--filter", "first", "--json").json["run"]
    for command in (
        ["leaderboard"],
        ["show", run],
        ["analyze", "cost"],
        ["list", "runs"],
        ["results", "export"],
        ["recommend", *OURS],
        ["results", "rescore", run],
    ):
        said = bench(*command)
        assert said.code == 0, (command, said.err)
    whole = bench("run", "--backend", "majority", "--lang", "en", "--json").json[0]["run"]
    said = bench("compare", run, whole, "--json")
    assert said.code == 0, said.err
    assert bench("leaderboard", "--check").code == 1, "the run of all rows came after"
    assert len([line for line in bench("leaderboard").out.splitlines() if line.startswith("reviews_demo (test), en:")]) == 3


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (["--filter", "last"], "has no filter 'last'"),
        ([], "under several filters"),
        (["--filter", "first", "--lang", "ja"], "None of the 8 samples is about"),
        (["--filter", "first", "--split", "testing"], "testing"),
        (["--filter", "first", "--parser", "tarot"], "--parser"),
        (["--filter", "first", "--parser", "{type: integer, first: 1}"], "disagree"),
        (["--filter", "first", "--task", "reviews"], "no task named 'reviews'"),
        (["--filter", "first", "--data", "nowhere"], "no such folder"),
    ],
)
def test_mistakes(bench: Callable[..., Any], project: Path, evaluation: Path, changes: list[str], problem: str) -> None:
    said = bench("results", "import", "lm-eval", evaluation, *OURS, *changes)
    assert (said.code, said.out) == (2, ""), said.err
    assert problem in said.err
    assert not (project / "results").exists()


def test_other_commands_say_that_a_run_was_imported(bench: Callable[..., Any], evaluation: Path) -> None:
    """A model whose tokens have a price, at that: what is unknown stays unknown."""
    options = ("--filter", "first", "--backend", "gpt-4.1-mini")
    path = next(evaluation.rglob("results_*.json"))
    path.write_text(path.read_text().replace("owner/tiny[red]", "gpt-4.1-mini"))
    run = bench("results", "import", "lm-eval", evaluation, *OURS, *options, "--json").json["run"]
    shown = bench("show", run).out
    assert "lm-eval:stars · free, imported" in shown
    assert "lm-evaluation-harness 0.4.13, task stars, filter first" in shown
    assert "reported there: exact_match 0." in shown
    for extra in ([], ["--hardware", "cpu"]):
        said = bench("analyze", "cost", run, *extra)
        assert said.code == 0, said.err
        said = bench("recommend", *OURS, "--max-p95-ms", 50)
    assert "bench analyze latency" not in said.out
