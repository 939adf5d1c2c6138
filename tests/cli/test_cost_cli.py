"""`bench analyze cost` as a user calls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bench = Callable[..., Any]
OWN = """\
hardware:
  desk: {cpu: "", usd_per_hour: 3.6, date: 2026-01-02, source: my invoice}
"""


@pytest.fixture
def own(project: Path) -> Path:
    """A machine that costs a tenth of a cent a second."""
    path = project / "prices.yaml"
    path.write_text(OWN)
    return path


@pytest.mark.usefixtures("own")
def test_the_figures_follow_from_the_record(bench: Bench, two_runs: list[str]) -> None:
    said = bench("analyze", "cost", "--predictions", "2e4", "--label-usd", 0.1, "--json")
    assert said.code == 0, said.err
    assert [run["backend"] for run in said.json["runs"]] == ["majority", "tfidf"]
    for run in said.json["runs"]:
        assert run["run"] in two_runs
        assert (run["labels"], run["n"], run["problem"]) == (60, 20, None)
        assert run["labelling"] == pytest.approx(60 * 0.1 / 20)
        assert run["total"] == pytest.approx(run["inference"] + run["training"] + run["labelling"])
        assert run["usd"] == pytest.approx(run["total"] * 20)
        assert "at $3.6 per hour (desk; my invoice, 2026-01-02)" in run["basis"]


@pytest.mark.usefixtures("two_runs")
def test_a_table_and_a_sentence(bench: Bench) -> None:
    said = bench("analyze", "cost", "--label-usd", 0.05)
    lines = said.out.splitlines()
    assert lines[0].split("\t") == [
        *("task", "lang", "backend", "configuration", "inference", "training", "labelling", "total", "in all", "load", "run")
    ]
    assert [line.split("\t")[2] for line in lines[1:3]] == ["majority", "tfidf"]
    assert lines[-1].startswith("For 1,000,000 predictions majority costs $3.")
    assert "labelling is " in lines[-1]
    assert "--label-usd" not in said.err


def test_runs_can_be_chosen(bench: Bench, two_runs: list[str]) -> None:
    one = bench("analyze", "cost", two_runs[0][-10:], two_runs[0][-10:], "--json")
    assert [run["run"] for run in one.json["runs"]] == [two_runs[0]]
    assert "labels are counted as free" in one.err
    none = bench("analyze", "cost", "--lang", "fr")
    assert (none.code, none.out) == (2, "")
    assert "There are: reviews_demo en test." in none.err


def test_runs_on_validation_rows_are_not_among_those_on_test_rows(bench: Bench, two_runs: list[str]) -> None:
    made = bench("run", "--backend", "majority", "--lang", "en", "--limit", 10, "--split", "validation", "--json")
    (other,) = (run["run"] for run in made.json)
    said = bench("analyze", "cost", "--json")
    assert {run["run"] for run in said.json["runs"]} == set(two_runs)
    assert "(reviews_demo en)" not in said.json["sentence"]
    assert [(run["run"], run["split"]) for run in bench("analyze", "cost", "--split", "validation", "--json").json["runs"]] == [
        (other, "validation")
    ]
    assert "split" not in bench("analyze", "cost").out.splitlines()[0].split("\t")
    both = bench("analyze", "cost", two_runs[1][-10:], other[-10:])
    assert both.out.splitlines()[0].split("\t")[2] == "split"
    assert {line.split("\t")[2] for line in both.out.splitlines()[1:3]} == {"validation", "test"}
    assert "(reviews_demo en)" not in both.out
    none = bench("analyze", "cost", "--split", "train")
    assert (none.code, none.out) == (2, "")
    assert "test, validation" in none.err


@pytest.mark.usefixtures("two_runs")
def test_what_the_order_is_within(bench: Bench) -> None:
    one = bench("analyze", "cost")
    assert "in all; cheapest first\n" in one.err
    assert bench("run", "--backend", "majority", "--lang", "ja", "--limit", 20).code == 0
    two = bench("analyze", "cost")
    assert [line.split("\t")[1:3] for line in two.out.splitlines()[1:4]] == [
        ["en", "majority"],
        ["en", "tfidf"],
        ["ja", "majority"],
    ]
    assert "cheapest first within each task and language" in two.err
    assert "majority (reviews_demo ja)" in two.out


def test_other_hardware(bench: Bench, two_runs: list[str]) -> None:
    said = bench("analyze", "cost", "--hardware", "h100", "--json")
    assert said.code == 0
    assert all("(h100; " in run["basis"] for run in said.json["runs"])
    assert "priced as h100" in said.err
    assert len(said.json["runs"]) == len(two_runs)


@pytest.mark.usefixtures("two_runs")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--predictions", "0"], "--predictions 0: it must be more than 0"),
        (["--predictions", "nan"], "--predictions nan: expected a finite number"),
        (["--predictions", "inf"], "--predictions inf: expected a finite number"),
        (["--label-usd", "-1"], "--label-usd -1: it must be at least 0"),
        (["--label-usd", "inf"], "--label-usd inf: expected a finite number"),
        (["--hardware", "h10"], "Did you mean h100"),
        (["nothing"], "There is no run 'nothing'"),
    ],
)
def test_slips(bench: Bench, options: list[str], said: str) -> None:
    got = bench("analyze", "cost", *options)
    assert (got.code, got.out) == (2, "")
    assert said in got.err


@pytest.mark.usefixtures("two_runs")
def test_a_slip_in_the_own_prices_is_named(bench: Bench, own: Path) -> None:
    own.write_text(OWN.replace("usd_per_hour", "usd_per_our"))
    said = bench("analyze", "cost")
    assert said.code == 2
    assert "prices.yaml:2: unknown key 'hardware.desk.usd_per_our'" in said.err


def test_no_runs(bench: Bench) -> None:
    said = bench("analyze", "cost")
    assert said.code == 2
    assert "There are no runs in" in said.err
