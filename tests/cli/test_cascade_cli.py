"""`bench cascade`: the trade-off, the choice, and the way to one."""

from __future__ import annotations

from typing import Any

import pytest

BOTH = ("run", "--backend", "tfidf,majority", "--lang", "en", "--limit", 30)


@pytest.fixture
def pair(bench: Any) -> tuple[str, str]:
    said = bench(*BOTH, "--json")
    assert said.code == 0, said.err
    first, second = (run["run"] for run in said.json)
    return first, second


def test_the_whole_trade_off_where_nothing_can_be_chosen(bench: Any, pair: tuple[str, str]) -> None:
    said = bench("cascade", *pair)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    rows = [line.split("\t") for line in lines if "\t" in line]
    assert rows[0][:3] == ["first where", "its share", "accuracy"]
    assert [rows[1][:2], rows[-1][:2]] == [["always", "100%"], ["never", "0%"]]
    assert all(row[-1] == "" for row in rows)
    assert "no threshold is chosen" in lines[-1]


def test_the_commands_that_it_names_lead_to_a_choice(bench: Any, pair: tuple[str, str]) -> None:
    found = bench("cascade", *pair, "--json").json
    assert found["choice"] is None
    assert len(found["commands"]) == 2
    for command in found["commands"]:
        assert bench(*command.split()[1:], "--limit", 12).code == 0
    said = bench("cascade", *pair)
    assert any(line.endswith("\tchosen") for line in said.out.splitlines())
    choice = bench("cascade", *pair, "--json").json["choice"]
    assert choice["tuned_on"] == 12
    assert "12 validation rows" in said.out.splitlines()[-1]


def test_ones_own_threshold(bench: Any, pair: tuple[str, str]) -> None:
    said = bench("cascade", *pair, "--confidence", 0.3, "--metric", "mae")
    assert said.code == 0, said.err
    (chosen,) = [line.split("\t") for line in said.out.splitlines() if line.endswith("\tyours")]
    assert chosen[0] == "p >= 0.300"
    found = bench("cascade", *pair, "--confidence", 1, "--json").json
    assert found["choice"]["point"]["threshold"] == 1
    assert found["points"][-1]["threshold"] is None
    assert set(found) == {"first", "second", "n", "metric", "points", "choice", "commands", "sentence"}
    assert set(found["points"][0]) == {"threshold", "share", "values", "cost", "seconds"}


def test_slips(bench: Any, pair: tuple[str, str]) -> None:
    assert "Both runs are" in bench("cascade", pair[0], pair[0]).err
    for wrong in (("--confidence", 1.5), ("--metric", "nonsense"), ("--predictions", 0)):
        assert bench("cascade", *pair, *wrong).code == 2
    assert bench("cascade", pair[0]).code == 2
