"""`bench compare`: tables, JSON, the sentence, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from unsealed import unseal


def test_tables_rows_and_the_sentence(bench: Any, two_runs: list[str]) -> None:
    said = bench("compare", *(name[-10:] for name in two_runs))
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].split("\t")[:4] == ["", "backend", "configuration", "rows"]
    assert [line.split("\t")[1] for line in lines[1:3]] == ["majority", "tfidf"]
    assert any(line.startswith("accuracy\tB - A\t") for line in lines)
    assert "pair\tboth right\tonly the first\tonly the second\tboth wrong" in lines
    assert sum(line.startswith("demo") or "-test-" in line.split("\t")[0] for line in lines) <= 10
    assert "Note: There are only 20 rows: only large differences can be found." in lines
    assert lines[-1].startswith("On the 20 rows that both have, ")
    assert lines[-1].endswith(".")


def test_json_is_documented_and_holds_all_rows(bench: Any, two_runs: list[str]) -> None:
    said = bench("compare", *two_runs, "--json").json
    keys = {"task", "lang", "split", "n", "groups", "metrics", "runs", "pairs", "differing", "rows", "notes", "sentence"}
    assert set(said) == {*keys, "pair_sentences"}
    assert [run["run"] for run in said["runs"]] == two_runs
    (pair,) = said["pairs"]
    assert set(pair) == {"a", "b", "both_right", "only_a", "only_b", "neither_right", "differences"}
    assert sum(pair[key] for key in ("both_right", "only_a", "only_b", "neither_right")) == said["n"] == 20
    keys = {"value", "low", "high", "p", "p_adjusted", "method", "detectable", "better", "outcome", "not_tested"}
    assert all(set(found) == keys for found in pair["differences"].values())
    assert list(pair["differences"]) == said["metrics"]
    assert len(said["rows"]) == said["differing"] > 0
    assert set(said["rows"][0]["answers"]) == {"A", "B"}
    words = bench("compare", "--help").out
    assert all(key in words for key in (*said, *pair, *keys, "letter"))


@pytest.mark.parametrize(("limit", "listed"), [(0, 0), (2, 2)])
def test_how_many_rows_are_listed(bench: Any, two_runs: list[str], limit: int, listed: int) -> None:
    assert len(bench("compare", *two_runs, "--rows", limit, "--json").json["rows"]) == listed


def test_metrics_are_chosen(bench: Any, two_runs: list[str]) -> None:
    said = bench("compare", *two_runs, "--metric", "mae,macro_f1", "--json").json
    assert said["metrics"] == ["mae", "macro_f1"]
    assert "MAE" in said["sentence"]


@pytest.mark.slow
def test_the_same_command_says_the_same(bench: Any, two_runs: list[str]) -> None:
    assert bench("compare", *two_runs).out == bench("compare", *two_runs).out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{0}"], "A comparison needs two runs"),
        (["{0}", "{0}"], "named 2 times"),
        (["{0}", "nothing"], "There is no run 'nothing'"),
        (["{0}", "{1}", "--metric", "beauty"], "There is no beauty"),
    ],
)
def test_mistakes_are_the_users(bench: Any, two_runs: list[str], arguments: list[str], says: str) -> None:
    said = bench("compare", *(part.format(*two_runs) for part in arguments))
    assert said.code == 2
    assert says in said.err


def test_names_from_records_do_not_steer_the_terminal(bench: Any, two_runs: list[str], project: Any) -> None:
    folder = project / "results" / "runs" / two_runs[0]
    unseal(folder, lambda manifest: manifest["identity"]["backend"].update(name="[red]\u001b[31mx"))
    said = bench("compare", *two_runs)
    assert said.code == 0
    assert "\u001b" not in said.out
    assert "[red]\\x1b[31mx" in said.out
