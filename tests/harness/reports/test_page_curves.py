"""Learning curves on the page: as `bench curve` wrote them, or an error that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RunError
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


def test_curves_come_as_they_are_and_by_name(tmp_path: Path) -> None:
    assert read_curves(tmp_path) == []
    write(tmp_path, "b.json", json.dumps(CURVE))
    write(tmp_path, "a.json", json.dumps({**CURVE, "lang": "fr"}))
    write(tmp_path, "a.md", "no curve")
    assert read_curves(tmp_path) == [{**CURVE, "lang": "fr"}, CURVE]


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
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "broken.json", text)
    with pytest.raises(RunError, match="is not what `bench curve` writes") as caught:
        read_curves(tmp_path)
    assert str(path) in caught.value.message
    assert "bench curve" in caught.value.hint


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    write(tmp_path, "broken.json", "").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match=r"broken\.json is not what"):
        read_curves(tmp_path)
