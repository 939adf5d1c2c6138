"""Names from a record of somebody else steer no terminal, no page and no picture, whatever command shows them."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from unsealed import unseal

import harness.cli
from harness.core.plain import UNSAFE

BAD = "\x1b[31mZ\u202eh\x00\b\x9b\ufffe\uffff\ud800\x7f\rq|\t\u2066"
COMMANDS = [
    ("list", "runs"),
    ("list", "runs", "--json"),
    ("show", "tfidf"),
    ("show", "tfidf", "--json"),
    ("compare", "majority", "tfidf"),
    ("analyze", "calibration", "tfidf"),
    ("analyze", "calibration", "majority", "tfidf"),
    ("analyze", "cascade", "majority", "tfidf"),
    ("analyze", "cost"),
    ("recommend", "--task", f"reviews_demo{BAD}", "--lang", f"en{BAD}"),
    ("leaderboard",),
    ("leaderboard", "--json"),
    ("results", "rescore"),
]


@pytest.fixture
def from_elsewhere(project: Path, two_runs: list[str]) -> None:
    """The two records with what steers a terminal in every name."""
    for run in two_runs:
        folder = project / "results" / "runs" / run
        manifest, metrics = (json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("run", "metrics"))
        identity = manifest["identity"]
        identity.update(task=f"reviews_demo{BAD}", lang=f"en{BAD}", labels=[label + BAD for label in identity["labels"]])
        identity["backend"]["name"] += BAD
        identity["train"]["langs"] = [f"en{BAD}"]
        manifest["options"]["settings"] = {f"c{BAD}": f"1{BAD}"}
        for label in metrics.get("per_class", []):
            label["name"] += BAD
        rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
        lines = "".join(json.dumps({**row, "id": row["id"] + BAD}) + "\n" for row in rows)
        (folder / "predictions.jsonl").write_text(lines, encoding="utf-8")
        for name, content in (("run", manifest), ("metrics", metrics)):
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        unseal(folder)


@pytest.mark.slow
def test_no_command_passes_on_what_steers(bench: Any, project: Path, from_elsewhere: None) -> None:
    for command in COMMANDS:
        said = bench(*command)
        assert said.code == 0, (command, said.err)
        assert UNSAFE.search(said.out + said.err) is None, command
    board = (project / "results" / "LEADERBOARD.md").read_text(encoding="utf-8")
    assert UNSAFE.search(board) is None
    assert "&#92;x1b[31mZ&#92;u202eh" in board


def test_half_a_surrogate_pair_is_exported_as_its_escape(bench: Any, project: Path, from_elsewhere: None) -> None:
    for what in ("runs", "predictions"):
        said = bench("results", "export", "--what", what, "--output", project / "out.csv")
        assert said.code == 0, said.err
        assert "\\ud800" in (project / "out.csv").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_language_code_of_250_letters(bench: Any, project: Path, two_runs: list[str]) -> None:
    for folder in (project / "results" / "runs").iterdir():
        unseal(folder, lambda manifest: manifest["identity"].update(lang="x" * 250))
    said = bench("leaderboard")
    assert said.code == 0, said.err
    assert "x" * 250 in (project / "results" / "LEADERBOARD.md").read_text(encoding="utf-8")
    assert bench("leaderboard", "--check").code == 0


def test_whatever_a_command_prints_is_made_plain() -> None:
    """`typer.echo` gets a text of ours, or one that went through `plain` (or `worded`, which does)."""
    folder = Path(harness.cli.__file__).parent
    raw = []
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "typer.echo" and node.args:
                text = node.args[0]
                made = isinstance(text, ast.Call) and ast.unparse(text.func) in ("plain", "worded", "UNSAFE.sub")
                if not made and not isinstance(text, ast.Constant):
                    raw.append(f"{path.name} {ast.unparse(text)}")
    assert set(raw) == {"options.py text", "options.py '\\t'.join(row)"}, "both were made plain before"
