"""The leaderboard's benchmark: its records are records, its rival finds our ranks, and it runs to its end. No time decides."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.records.entries import read_entries
from harness.records.store import Store
from harness.reports.tables import read_tables

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `python benchmarks/leaderboard.py` finds its neighbours."""
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of the source distribution")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_the_records_have_seeds_and_prompts(tmp_path: Path) -> None:
    from _leaderboard_records import make_records

    assert make_records(tmp_path / "runs", runs=45, groups=3, rows=40) == 45
    store = Store(tmp_path / "runs")
    tables = read_tables(store, read_entries(store))
    assert len(tables) == 3
    for table in tables:
        assert sorted(len(place.row.runs) for place in table.places) == [1] * 10 + [2, 3]
        (spread,) = table.spreads
        assert len(spread.prompts) == 3


def test_the_rival_finds_the_same_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("statsmodels")
    from _leaderboard_records import make_records

    make_records(tmp_path / "runs", runs=24, groups=2, rows=150)
    store = Store(tmp_path / "runs")
    # The rival ranks what is at chance too.
    monkeypatch.setattr("harness.reports.tables.finding_of_entry", lambda store, entry: None)
    ours = [[p.row.entry.run_id, p.rank] for table in read_tables(store, read_entries(store)) for p in table.places]
    assert 1 < len({rank for _, rank in ours}) < len(ours)
    rival = [sys.executable, str(ROOT / "benchmarks" / "_leaderboard_rival.py"), str(tmp_path)]
    assert json.loads(subprocess.run(rival, capture_output=True, check=True).stdout) == sorted(ours)


def test_the_table() -> None:
    from leaderboard import table

    assert table({"ours": [(1.0, 2.0), (3.0, 4.0), (2.0, 2.5)], "rival": []}).splitlines()[2:] == [
        "| ours | 2.00 (1.00 – 3.00) | 2.50 (2.00 – 4.00) |"
    ]


def test_it_runs_to_its_end() -> None:
    command = [sys.executable, "benchmarks/leaderboard.py", "--runs", "6", "--groups", "2", "--rows", "20", "--repeats", "1"]
    done = subprocess.run([*command, "--no-rival"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "6 runs in 2 groups, 20 rows each" in done.stdout
    assert "| bench leaderboard, without the extra `charts`: Markdown | " in done.stdout


def test_it_says_which_extra_it_ran_with(monkeypatch: pytest.MonkeyPatch) -> None:
    import leaderboard

    code = "from harness.reports.page import html; html._runtime()"
    hidden = subprocess.run([sys.executable, "-c", f"{leaderboard.HIDE}; {code}"], cwd=ROOT, capture_output=True, text=True)
    assert "MissingExtra" in hidden.stderr
    monkeypatch.setattr(leaderboard, "find_spec", lambda name: None)
    assert list(leaderboard.variants()) == ["bench leaderboard, without the extra `charts`: Markdown"]
    monkeypatch.setattr(leaderboard, "find_spec", lambda name: "there")
    assert [name.partition(": ")[2] for name in leaderboard.variants()] == ["Markdown", "Markdown, pictures, page"]
