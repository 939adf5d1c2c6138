"""Learning curves on the page: what `bench study curve` wrote as a chart, or an error that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.json_files import sealed
from harness.reports.page.curves import read_curves

POINT = {"labels": 8, "value": 0.3, "low": 0.2, "high": 0.4, "by_seed": [0.25, 0.35]}
CURVE: dict[str, Any] = {
    "sentence": "s",
    "task": "toy",
    "lang": "en",
    "metric": "accuracy",
    "n": 30,
    "curves": [{"name": "enc", "points": [POINT, {**POINT, "labels": 32, "low": None}]}],
    "lines": [{**POINT, "name": "llm", "labels": 0}],
    "crossings": [{"curve": "enc", "line": "llm", "labels": 16.0, "low": 8.0, "high": None, "never": 0.1}],
    "runs": [],
    "page": "b.md",
    "picture": None,
}


def write(results: Path, name: str, text: str) -> Path:
    path = results / "curves" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_curves_come_by_the_names_of_their_files(tmp_path: Path) -> None:
    assert read_curves(tmp_path) == []
    write(tmp_path, "b.json", json.dumps(CURVE))
    write(tmp_path, "a.json", json.dumps({**CURVE, "lang": "fr"}))
    write(tmp_path, "a.md", "no curve")
    assert [(curve.task, curve.lang, curve.n, curve.block.sentence) for curve in read_curves(tmp_path)] == [
        ("toy", "fr", 30, "s"),
        ("toy", "en", 30, "s"),
    ]


def test_a_curve_is_points_seeds_lines_and_crossings(tmp_path: Path) -> None:
    write(tmp_path, "a.json", json.dumps(CURVE))
    block = read_curves(tmp_path)[0].block
    assert [(row["name"], row["kind"], row["labels"], row["value"]) for row in block.rows] == [
        ("enc", "trained", 8, 0.3),
        ("enc", "seed", 8, 0.25),
        ("enc", "seed", 8, 0.35),
        ("enc", "trained", 32, 0.3),
        ("enc", "seed", 32, 0.25),
        ("enc", "seed", 32, 0.35),
        ("llm", "prompted", 0, 0.3),
        ("enc", "crossing", 16, 0.3),
    ]
    assert [len(line) for line in block.figures.lines] == [len(block.figures.heads)] * 8
    assert block.figures.lines[0] == ["enc", "mean of the seeds", "8", "0.300", "0.200–0.400"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        json.dumps({**CURVE, "n": "many"}),
        json.dumps({**CURVE, "curves": [{"name": "enc"}]}),
        json.dumps({**CURVE, "curves": [{"name": "enc", "points": [{"labels": 8, "value": "<b>", "low": 0, "high": 1}]}]}),
        json.dumps({**CURVE, "lines": [{"name": "llm"}]}),
        json.dumps({**CURVE, "crossings": [{"curve": "enc", "line": "llm", "labels": True, "low": 0, "high": 1}]}),
        json.dumps({key: value for key, value in CURVE.items() if key != "metric"}),
        json.dumps(CURVE).replace("0.35", "NaN"),
        json.dumps(CURVE).replace("16.0", "Infinity"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "broken.json", text)
    assert read_curves(tmp_path) == []
    assert str(path) in caplog.text
    assert "bench study curve" in caplog.text


def test_only_intact_files_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "broken.json", "").write_bytes(b"\xff\xfe")
    write(tmp_path, "fine.json", json.dumps(sealed(CURVE)))
    changed = sealed(CURVE)
    changed["n"] += 1
    write(tmp_path, "changed.json", json.dumps(changed))
    assert [curve.n for curve in read_curves(tmp_path)] == [30]
    assert "broken.json is damaged" in caplog.text
    assert "changed.json is damaged (its content is not what was written)" in caplog.text
