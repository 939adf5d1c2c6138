"""The simulation of coverage: its populations, what it counts, its page, and that it goes on. No time decides a test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.core.record import Estimate

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `python benchmarks/interval_coverage.py` finds its neighbours."""
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of the source distribution")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_populations_are_what_their_names_say() -> None:
    from _cells import accuracy
    from _coverage_designs import DESIGNS, SCORERS

    by_name = {design.name: design.shares for design in DESIGNS}
    assert len(by_name) + len({scorer.name for scorer in SCORERS}) == len(DESIGNS) + len(SCORERS)
    for name, shares in by_name.items():
        assert shares.sum() == pytest.approx(1), name
        assert shares.min() >= 0, name
        assert shares.shape[1] == shares.shape[0] + 1, name
    assert accuracy(by_name["5 labels, 99% right"][None]) == pytest.approx(0.99)
    unparsed = by_name["5 labels, 55% right, 10% unparsed"]
    assert unparsed[:, 5].sum() == pytest.approx(0.1)
    assert unparsed[0, 1] / unparsed[0, 2] == pytest.approx(np.e)
    assert by_name["2 labels 9:1, 95% and 60% right"] == pytest.approx(np.array([[0.855, 0.045, 0], [0.04, 0.06, 0]]))


def test_what_is_counted() -> None:
    import interval_coverage as coverage

    def ours(low: float | None, high: float | None) -> dict[str, Estimate]:
        return {"mae": Estimate(value=0.5, low=low, high=high)}

    tally = coverage.Tally({"mae": 0.5})
    tally.add(ours(0.4, 0.6), {"mae": (0.6, 0.7)})
    tally.add(ours(0.5, 0.7), {})
    tally.add(ours(0.6, 0.9), {"mae": (0.0, 0.5)})
    tally.add(ours(None, None), {})  # no interval holds nothing
    assert tally.rates() == {"mae": {"truth": 0.5, "ours": 0.5, "plain": 0.5, "width": pytest.approx(0.7 / 3)}}


@pytest.mark.slow
def test_an_easy_population_is_covered_by_both() -> None:
    import interval_coverage as coverage

    easy = next(design for design in coverage.DESIGNS if design.name == "2 labels, 80% right")
    rates = coverage.counted(easy, 400, 120, 300, 0)
    assert rates["accuracy"]["truth"] == pytest.approx(0.8)
    for name, rate in rates.items():
        assert rate["ours"] > 0.88, name
        assert rate["plain"] > 0.75, name
        assert 0 < rate["width"] < 0.5, name
    skewed = next(scorer for scorer in coverage.SCORERS if scorer.name == "5 labels")
    assert all(rate["ours"] > 0.85 for rate in coverage.scored(skewed, 200, 60, 0).values())


@pytest.mark.slow
def test_it_writes_a_page_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import interval_coverage as coverage

    path = tmp_path / "found.json"
    asked = ["--simulations", "8", "--replicates", "50", "--only", "2 labels", "--json", str(path)]
    assert coverage.main([*asked, "--rows", "30"]) == 0
    first = capsys.readouterr()
    assert coverage.main([*asked, "--rows", "30,60"]) == 0
    second = capsys.readouterr()
    assert "n = 30" in first.err
    assert "n = 30" not in second.err
    assert len(json.loads(path.read_text())["results"]) == 8
    lines = second.out.splitlines()
    assert lines[0].split("|")[2:4] == [" accuracy, n = 30 ", " accuracy, n = 60 "]
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| 2")] == [
        "2 labels, 80% right",
        "2 labels 9:1, 95% and 60% right",
        "2 labels",
        "2 labels 9:1",
    ]
    assert coverage.main([*asked, "--rows", "30", "--seed", "1"]) == 0  # other simulations: nothing is kept
    assert {entry["n"] for entry in json.loads(path.read_text())["results"]} == {30}


def test_speed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import _coverage_speed
    import interval_coverage as coverage

    monkeypatch.setattr(_coverage_speed, "LABELS", (3,))
    assert coverage.main(["--speed", "--million", "500", "--replicates", "50"]) == 0
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()]
    assert [row[1].strip() for row in rows[2:]] == ["macro-F1", "MAE", "QWK"]
    assert all(row[2].strip().endswith(" s") for row in rows[2:])
