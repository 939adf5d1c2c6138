"""`bench leaderboard`: the same records give the same bytes, and --check knows a stale file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BOARD = Path("results") / "LEADERBOARD.md"


def test_the_same_records_give_the_same_bytes(bench: Any, two_runs: list[str]) -> None:
    said = bench("leaderboard")
    assert said.code == 0
    first = BOARD.read_bytes()
    assert bench("leaderboard").code == 0
    assert BOARD.read_bytes() == first
    text = first.decode()
    assert all(f"runs/{run}/run.json" in text for run in two_runs)
    assert b"\r" not in first


def test_check(bench: Any, two_runs: list[str]) -> None:
    missing = bench("leaderboard", "--check")
    assert (missing.code, missing.out) == (1, "")
    assert "LEADERBOARD.md" in missing.err
    assert "bench leaderboard" in missing.err
    assert not BOARD.exists()

    bench("leaderboard")
    assert bench("leaderboard", "--check").code == 0
    before = BOARD.read_bytes()
    bench("run", "--backend", "majority", "--lang", "ja", "--limit", 3)
    assert bench("leaderboard", "--check").code == 1
    assert BOARD.read_bytes() == before

    bench("leaderboard")
    assert bench("leaderboard", "--check").code == 0
    BOARD.write_bytes(BOARD.read_bytes().replace(b"\n", b"\r\n"))
    assert bench("leaderboard", "--check").code == 1
    BOARD.write_bytes(b"\xff")
    assert bench("leaderboard", "--check").code == 1


def test_check_as_json(bench: Any, two_runs: list[str]) -> None:
    stale = bench("leaderboard", "--check", "--json")
    assert stale.code == 1
    assert stale.json == {"path": str(BOARD), "up_to_date": False}
    bench("leaderboard")
    assert bench("leaderboard", "--check", "--json").json == {"path": str(BOARD), "up_to_date": True}


def test_json(bench: Any, two_runs: list[str]) -> None:
    bench("run", "--backend", "majority", "--lang", "ja", "--limit", 3)
    said = bench("leaderboard", "--json")
    keys = {"rank", "run", "task", "split", "lang", "rows", "backend", "how", "identity", "timing", "metrics"}
    assert all(set(entry) == keys for entry in said.json)
    ranks = [(entry["lang"], entry["rank"]) for entry in said.json]
    assert ranks == [("en", 1), ("en", 2), ("ja", 1)]
    accuracies = [entry["metrics"]["values"]["accuracy"]["value"] for entry in said.json[:2]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert BOARD.exists()


def test_table_in_a_pipe_leads_to_show(bench: Any, two_runs: list[str]) -> None:
    lines = bench("leaderboard").out.splitlines()
    header = next(line for line in lines if line.startswith("#\t")).split("\t")
    assert header[:4] == ["#", "backend", "how", "accuracy"]
    digits = [line.split("\t")[-1] for line in lines if line.startswith(("1\t", "2\t"))]
    assert sorted(digits) == sorted(run[-10:] for run in two_runs)
    assert bench("show", digits[0]).code == 0


def test_an_empty_folder_gives_a_board_without_runs(bench: Any, project: Path) -> None:
    (project / "results").mkdir()
    assert bench("leaderboard").code == 0
    assert "No runs yet" in BOARD.read_text(encoding="utf-8")


def test_reported_figures_come_last(bench: Any, two_runs: list[str]) -> None:
    bench("leaderboard")
    without = BOARD.read_text(encoding="utf-8")
    assert "Reported" not in without
    folder = BOARD.parent / "reported"
    folder.mkdir()
    (folder / "a.yaml").write_text(
        "source: s\nfigures: [{model: m, task: reviews_demo, lang: en, n: 10, metric: accuracy, value: 0.4}]\n",
        encoding="utf-8",
    )
    assert bench("leaderboard", "--check").code == 1
    said = bench("leaderboard", "--json")
    assert {entry["run"] for entry in said.json} == set(two_runs)  # never ranked
    text = BOARD.read_text(encoding="utf-8")
    assert text.startswith(without)
    assert "0.400 [0.122, 0.738]" in text.removeprefix(without)
    assert bench("leaderboard", "--check").code == 0
    (folder / "a.yaml").write_text("figures: 3", encoding="utf-8")
    broken = bench("leaderboard")
    assert broken.code == 2
    assert "a.yaml:1" in broken.err
