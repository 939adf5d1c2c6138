"""`bench leaderboard`: the same records give the same bytes, and --check knows a stale file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BOARD = Path("results") / "LEADERBOARD.md"


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes(bench: Any, two_runs: list[str]) -> None:
    said = bench("leaderboard")
    assert said.code == 0
    first = BOARD.read_bytes()
    assert bench("leaderboard").code == 0
    assert BOARD.read_bytes() == first
    text = first.decode()
    assert all(f"runs/{run}/run.json" in text for run in two_runs)
    assert b"\r" not in first


@pytest.mark.slow
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


@pytest.mark.slow
def test_check_as_json(bench: Any, two_runs: list[str]) -> None:
    stale = bench("leaderboard", "--check", "--json")
    assert stale.code == 1
    assert stale.json == {"path": str(BOARD), "up_to_date": False}
    bench("leaderboard")
    assert bench("leaderboard", "--check", "--json").json == {"path": str(BOARD), "up_to_date": True}


@pytest.mark.slow
def test_json(bench: Any, two_runs: list[str]) -> None:
    bench("run", "--backend", "majority", "--lang", "ja", "--limit", 3)
    said = bench("leaderboard", "--json")
    keys = {"rank", "tied", "run", "task", "split", "lang", "rows", "few_rows", "backend", "how", "seeds", "runs", "spread"}
    keys |= {"one_seed", "values"}
    keys |= {"finding", "tested_on"}
    assert all(set(entry) == keys | {"identity", "checkpoint", "timing", "metrics"} for entry in said.json)
    ranks = [(entry["lang"], entry["rank"], entry["tied"]) for entry in said.json]
    assert ranks == [("en", None, False), ("en", None, False), ("ja", None, False)]
    assert [entry["finding"]["kind"] for entry in said.json] == ["not_better_than_majority", "constant", "constant"]
    accuracies = [entry["metrics"]["values"]["accuracy"]["value"] for entry in said.json[:2]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert [entry["few_rows"] for entry in said.json] == ["only 20 rows", "only 20 rows", "only 3 rows"]
    assert BOARD.exists()


@pytest.mark.slow
def test_seeds_share_a_row(bench: Any, project: Path) -> None:
    assert bench("run", "--backend", "tfidf", "--lang", "en", "--limit", 20, "--seed", 0, "--seed", 1).code == 0
    (row,) = bench("leaderboard", "--json").json
    assert row["seeds"] == [0], "tfidf on all rows answers alike under all seeds"
    assert [run.split(".")[-2] for run in row["runs"]] == ["s0", "s1"]
    assert row["run"] in row["runs"]
    assert row["spread"]["accuracy"] is None
    assert not row["one_seed"]


@pytest.mark.slow
def test_it_ends_with_a_sentence(bench: Any, two_runs: list[str]) -> None:
    said = bench("leaderboard")
    assert "\n2 runs; written to results/LEADERBOARD.md" in said.err
    out = said.out
    assert "en: 20 rows † only 20 rows" in out
    assert out.splitlines()[-1].startswith("On 20 en rows of reviews_demo")


@pytest.mark.slow
def test_one_run_is_not_told_in_the_plural(bench: Any, project: Path) -> None:
    bench("run", "--backend", "majority", "--lang", "en", "--limit", 3)
    said = bench("leaderboard")
    assert "\n1 run; written to results/LEADERBOARD.md" in said.err
    assert "On 3 en rows of reviews_demo" in said.out


@pytest.mark.slow
def test_nothing_heavy_is_imported(process: Any, environment: dict[str, str], two_runs: list[str]) -> None:
    code = (
        "import sys; sys.argv = ['bench', 'leaderboard']\n"
        "from harness.cli import main\n"
        "main()\n"
        "heavy = {'pandas', 'torch', 'transformers', 'scipy.stats', 'sklearn', 'pyarrow.compute'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr[-200:]) == (0, done.stderr[-200:])


@pytest.mark.slow
def test_table_in_a_pipe_leads_to_show(bench: Any, two_runs: list[str]) -> None:
    lines = bench("leaderboard").out.splitlines()
    header = next(line for line in lines if line.startswith("#\t")).split("\t")
    assert header[:4] == ["#", "backend", "how", "accuracy"]
    digits = [line.split("\t")[-1] for line in lines if line.startswith("‡\t")]
    assert sorted(digits) == sorted(run[-10:] for run in two_runs)
    assert bench("show", digits[0]).code == 0


@pytest.mark.slow
def test_an_empty_folder_gives_a_board_without_runs(bench: Any, project: Path) -> None:
    (project / "results").mkdir()
    said = bench("leaderboard")
    assert said.code == 0
    assert "`bench run`" in said.out
    assert "bench show" not in said.err
    assert "No runs yet" in BOARD.read_text(encoding="utf-8")


@pytest.mark.slow
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
    contents = "- [Reported by others, not measured here](#reported-by-others-not-measured-here)\n"
    assert text.replace(contents, "").startswith(without)
    assert "0.400 [0.122, 0.738]" in text.removeprefix(without)
    assert bench("leaderboard", "--check").code == 0
    (folder / "a.yaml").write_text("figures: 3", encoding="utf-8")
    broken = bench("leaderboard")
    assert broken.code == 2
    assert "a.yaml:1" in broken.err
