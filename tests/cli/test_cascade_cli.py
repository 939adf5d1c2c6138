"""`bench analyze cascade`: the trade-off, the choice, and the way to one."""

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


@pytest.mark.slow
def test_the_whole_trade_off_where_nothing_can_be_chosen(bench: Any, pair: tuple[str, str]) -> None:
    said = bench("analyze", "cascade", *pair)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    rows = [line.split("\t") for line in lines if "\t" in line]
    assert rows[0][:3] == ["first where", "its share", "accuracy"]
    assert [rows[1][:2], rows[-1][:2]] == [["always", "100%"], ["never", "0%"]]
    assert all(row[-1] == "" for row in rows)
    assert "no threshold is chosen" in lines[-1]


@pytest.mark.slow
def test_the_commands_that_it_names_lead_to_a_choice(bench: Any, pair: tuple[str, str]) -> None:
    found = bench("analyze", "cascade", *pair, "--json").json
    assert found["choice"] is None
    assert len(found["commands"]) == 2
    for command in found["commands"]:
        assert bench(*command.split()[1:], "--limit", 12).code == 0
    said = bench("analyze", "cascade", *pair)
    assert any(line.endswith("\tchosen") for line in said.out.splitlines())
    choice = bench("analyze", "cascade", *pair, "--json").json["choice"]
    assert choice["tuned_on"] == 12
    assert "12 validation rows" in said.out.splitlines()[-1]


@pytest.mark.slow
def test_ones_own_threshold(bench: Any, pair: tuple[str, str]) -> None:
    said = bench("analyze", "cascade", *pair, "--confidence", 0.3, "--metric", "mae")
    assert said.code == 0, said.err
    (chosen,) = [line.split("\t") for line in said.out.splitlines() if line.endswith("\tyours")]
    assert chosen[0] == "p >= 0.300"
    found = bench("analyze", "cascade", *pair, "--confidence", 1, "--json").json
    assert found["choice"]["point"]["threshold"] == 1
    assert found["points"][-1]["threshold"] is None
    assert set(found) == {"first", "second", "n", "metric", "points", "choice", "commands", "notes", "sentence"}
    assert set(found["points"][0]) == {"threshold", "share", "values", "cost", "seconds"}


@pytest.mark.parametrize("threshold", [0.0, float("inf"), 0.5])
def test_the_row_that_was_chosen_is_marked_wherever_it_comes_from(threshold: float, capsys: pytest.CaptureFixture[str]) -> None:
    from types import SimpleNamespace

    from harness.analysis.cascade import Point
    from harness.cli.cascade import _print
    from harness.core.record import Estimate

    def point(limit: float, nan: float) -> Point:  # a figure that is not equal to itself: never the same object, nor equal
        return Point(limit, 0.5, {"accuracy": Estimate(value=nan, low=None, high=None)}, None, None)

    run = SimpleNamespace(run_id="r")
    choice = SimpleNamespace(point=point(threshold, float("nan")), tuned_on=9)
    points = [point(limit, float("nan")) for limit in (0.0, 0.5, float("inf"))]
    _print(SimpleNamespace(first=run, second=run, n=9, points=points, choice=choice, metrics=["accuracy"]))  # type: ignore[arg-type]
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines() if "\t" in line]
    assert [row[-1] for row in rows[1:]] == ["chosen" if p.threshold == threshold else "" for p in points]


@pytest.mark.slow
def test_one_price_for_all_time(bench: Any, pair: tuple[str, str]) -> None:
    def at(*options: object) -> Any:
        """Of all points: the time of the quicker model alone may be rounded to nothing."""
        return sum(point["cost"] for point in bench("analyze", "cascade", *pair, *options, "--json").json["points"])

    assert at("--hardware", "h100") > at()
    assert "priced as h100" in bench("analyze", "cascade", *pair, "--hardware", "h100").err
    wrong = bench("analyze", "cascade", *pair, "--hardware", "h1000")
    assert wrong.code == 2
    assert "Did you mean h100" in wrong.err


@pytest.mark.parametrize("option", ["--predictions", "--label-usd"])
def test_numbers_that_are_none(bench: Any, pair: tuple[str, str], option: str) -> None:
    wrong = bench("analyze", "cascade", *pair, option, "inf")
    assert wrong.code == 2
    assert f"{option} inf: expected a finite number" in wrong.err


def test_slips(bench: Any, pair: tuple[str, str]) -> None:
    assert "Both runs are" in bench("analyze", "cascade", pair[0], pair[0]).err
    for wrong in (("--confidence", 1.5), ("--metric", "nonsense"), ("--predictions", 0)):
        assert bench("analyze", "cascade", *pair, *wrong).code == 2
    assert bench("analyze", "cascade", pair[0]).code == 2
