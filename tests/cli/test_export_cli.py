"""`bench results export` as a user calls it."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unsealed import unseal


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_runs_go_to_the_standard_output_as_csv(bench: Callable[..., Any], two_runs: list[str]) -> None:
    said = bench("results", "export")
    assert said.code == 0, said.err
    assert [row["run"] for row in rows(said.out)] == sorted(two_runs)


def test_predictions_of_one_backend_in_a_file(bench: Callable[..., Any], project: Path, two_runs: list[str]) -> None:
    said = bench("results", "export", "--what", "predictions", "--backend", "tfidf", "-o", "out/rows.csv", "--json")
    assert said.code == 0, said.err
    assert said.json == {
        "format": "csv",
        "what": "predictions",
        "files": ["out/rows.csv"],
        "runs": 1,
        "lines": 20,
        "sentence": said.json["sentence"],
    }
    written = rows((project / "out" / "rows.csv").read_text(encoding="utf-8"))
    assert {row["run"] for row in written} == {run for run in two_runs if "tfidf" in run}
    assert len(written) == 20


def test_a_named_run_as_json(bench: Callable[..., Any], two_runs: list[str]) -> None:
    said = bench("results", "export", two_runs[0][-10:], "--format", "json", "-o", "-")
    assert [run["run"] for run in json.loads(said.out)] == two_runs[:1]


def test_parquet(bench: Callable[..., Any], project: Path, two_runs: list[str]) -> None:
    import pyarrow.parquet as pq

    assert bench("results", "export", "--format", "parquet", "-o", "runs.parquet").code == 0
    assert pq.read_table(project / "runs.parquet")["run"].to_pylist() == sorted(two_runs)


def test_the_format_is_that_of_the_files_suffix(bench: Callable[..., Any], project: Path, two_runs: list[str]) -> None:
    import pyarrow.parquet as pq

    for name in ("runs.PARQUET", "runs.json", "runs.csv", "runs"):
        assert bench("results", "export", "-o", name).code == 0
    assert pq.read_table(project / "runs.PARQUET").num_rows == 2
    assert len(json.loads((project / "runs.json").read_text(encoding="utf-8"))) == 2
    assert len(rows((project / "runs.csv").read_text(encoding="utf-8"))) == len(rows((project / "runs").read_text())) == 2
    assert bench("results", "export", "--format", "csv", "-o", "runs.txt", "--json").json["format"] == "csv"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--format", "parquet"], "--output is missing"),
        (["--json"], "--output is missing"),
        (["--format", "json", "--spreadsheet"], "--spreadsheet is for csv"),
        (["--format", "csv", "-o", "runs.parquet"], "--output runs.parquet is named like parquet"),
        (["--format", "csv", "-o", "runs.JSON"], "is named like json"),
        (["-o", "runs.xlsx"], "no format has the suffix .xlsx"),
        (["-o", "."], "--output . is a folder"),
        (["-o", ""], "--output . is a folder"),
        (["--format", "json", "-o", "tables.json"], "Name a file in it: --output tables.json/runs.json"),
        (["-o", "/dev/null"], "is not a regular file"),
        (["-o", "notes.txt/runs.csv"], "notes.txt is a file, not a folder"),
        (["--backend", "tfidff"], "There are runs of backend: majority, tfidf."),
        (["--lang", ""], "--lang has no value"),
        (["nothing-like-it"], "There is no run"),
        (["--results", "elsewhere"], "There are no runs"),
    ],
)
def test_mistakes(bench: Callable[..., Any], project: Path, two_runs: list[str], arguments: list[str], problem: str) -> None:
    (project / "notes.txt").write_text("mine")
    (project / "tables.json").mkdir()
    there = sorted(project.iterdir())
    said = bench("results", "export", *arguments)
    assert (said.code, said.out) == (2, "")
    assert problem in " ".join(said.err.split())
    assert sorted(project.iterdir()) == there
    assert (project / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_cell_that_looks_like_a_formula_is_told_of(bench: Callable[..., Any], project: Path, two_runs: list[str]) -> None:
    path = project / "results" / "runs" / two_runs[0] / "predictions.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    first = {**json.loads(lines[0]), "id": '=cmd|"/C calc"!A0'}
    path.write_text("\n".join([json.dumps(first), *lines[1:], ""]), encoding="utf-8")
    unseal(path.parent)
    said = bench("results", "export", two_runs[0], "--what", "predictions")
    assert rows(said.out)[0]["id"] == '=cmd|"/C calc"!A0'
    assert "note: 1 " in said.err
    safe = bench("results", "export", two_runs[0], "--what", "predictions", "--spreadsheet")
    assert "\n=" not in safe.out
    assert "'=cmd" in safe.out
    assert "formula" not in safe.err


@pytest.mark.parametrize("name", ["runs.csv", "runs.json", "runs.parquet"])
@pytest.mark.parametrize("what", ["runs", "predictions"])
def test_no_format_needs_pandas(
    bench: Callable[..., Any], project: Path, two_runs: list[str], monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    said = bench("results", "export", "--what", what, "-o", name)
    assert said.code == 0, said.err
    assert (project / name).stat().st_size > 0
