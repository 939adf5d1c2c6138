"""`bench study curve`: the runs, the tables, the sentence, and the files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

CURVE = ("study", "curve", "--encoder", "tfidf,majority", "--lang", "en", "--sizes", "10,20", "--seed", "0,1", "--limit", 15)
FOLDER = Path("results") / "curves"


@pytest.mark.slow
def test_a_curve_of_runs_that_are_found_again(bench: Any, project: Path) -> None:
    pytest.importorskip("vl_convert")
    said = bench(*CURVE, "--json")
    assert said.code == 0, said.err
    (made,) = said.json
    assert [curve["name"] for curve in made["curves"]] == ["tfidf", "majority"]
    assert [[point["labels"] for point in curve["points"]] for curve in made["curves"]] == [[10, 20]] * 2
    assert (made["n"], len(made["runs"]), made["lines"], made["crossings"]) == (15, 8, [], [])
    assert made["sentence"].startswith("On 15 en rows, by accuracy: tfidf reaches ")
    assert (FOLDER / made["picture"]).read_bytes().startswith(b"<svg")
    kept = json.loads((FOLDER / made["page"]).with_suffix(".json").read_text(encoding="utf-8"))
    assert kept.pop("sha256")
    assert kept == made
    before = {path: path.read_bytes() for path in FOLDER.iterdir()}
    again = bench(*CURVE)
    assert again.err.count("found, nothing to do") == 8
    assert made["sentence"] in again.out
    assert "tfidf\t10\t" in again.out
    assert {path: path.read_bytes() for path in FOLDER.iterdir()} == before


@pytest.mark.slow
def test_a_curve_with_other_settings_has_files_of_its_own(bench: Any, project: Path) -> None:
    """One with more sizes or seeds takes the place of the smaller."""
    first = bench(*CURVE, "--json").json[0]["page"]
    larger = bench(*CURVE[:-6], "--sizes", "10,20,30", "--seed", "0,1,2", *CURVE[-2:], "--json").json[0]["page"]
    others = [bench(*CURVE[:-1], 10, "--json").json[0]["page"], bench(*CURVE, "--set", "c=2", "--json").json[0]["page"]]
    assert larger == first
    assert len({first, *others}) == 3
    assert sorted(path.name for path in FOLDER.glob("*.md")) == sorted({first, *others})


@pytest.mark.slow
def test_the_points_are_runs_as_bench_run_makes_them(bench: Any) -> None:
    made = bench(*CURVE, "--json").json[0]
    same = ("--limit", 15, "--train-limit", 10, "--resample-train", "--validation-limit", 0, "--seed", "0,1", "--lang", "en")
    runs = bench("run", "--backend", "tfidf", *same, "--json").json
    assert [run["state"] for run in runs] == ["found", "found"]
    assert {run["run"] for run in runs} < set(made["runs"])
    values = [run["metrics"]["values"]["accuracy"]["value"] for run in runs]
    assert made["curves"][0]["points"][0]["by_seed"] == pytest.approx(values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lang", "en"], "needs a backend that trains"),
        (["--encoder", "smollm2"], "--encoder smollm2"),
        (["--encoder", "tfidf", "--llm", "majority"], "--llm majority"),
        (["--encoder", "tfidff"], "tfidf"),
        (["--encoder", "tfidf", "--lang", "xx"], "'xx'"),
        (["--encoder", "tfidf", "--lang", "en", "--sizes", "many"], "--sizes"),
        (["--encoder", "tfidf", "--lang", "en", "--metric", "roc_auc"], "--metric roc_auc"),
        (["--encoder", "tfidf", "--lang", "en", "--set", "train.lr=1"], "--set train.lr"),
        (["--encoder", "tfidf", "--lang", "en", "--prompt", "strict"], "need a prompted backend"),
    ],
)
def test_mistakes_are_named_before_anything_runs(bench: Any, arguments: list[str], message: str) -> None:
    said = bench("study", "curve", *arguments)
    assert said.code == 2
    assert message in said.err
    assert not Path("results").exists()


@pytest.mark.slow
def test_a_failed_point_is_left_out_and_the_command_fails(bench: Any, rows_of: Any) -> None:
    """Two labels of one class: nothing to learn for tfidf."""
    data = rows_of([f"text {number}" for number in range(40)])
    said = bench("study", "curve", "--encoder", "tfidf", "--lang", "en", "--data", data, "--sizes", "1,20", "--seed", "0,1")
    assert said.code == 2
    assert "single class" in said.err
    assert "tfidf\t20\t" in said.out
    assert "tfidf\t1\t" not in said.out
    assert "note: 2 of 4 runs failed" in said.err


def test_draw_needs_a_number(bench: Any) -> None:
    said = bench("run", "--backend", "tfidf", "--lang", "en", "--resample-train")
    assert said.code == 2
    assert "--train-limit" in said.err


@pytest.mark.slow
def test_without_vl_convert_there_is_no_plot(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    said = bench(*CURVE)
    assert said.code == 0
    assert "bench-harness[charts]" in said.err
    assert not list(FOLDER.glob("*.svg"))
    (page,) = FOLDER.glob("*.md")
    assert "![" not in page.read_text(encoding="utf-8")
