"""Predictions of many runs, read in one go."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from harness.core.errors import RunError
from harness.records import predictions
from harness.records.predictions import read_tables

SCHEMA = pa.schema({"id": pa.string(), "label": pa.int64()})


def write(folder: Path, name: str, *rows: object) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(*paths: Path) -> list[list[dict[str, object]]]:
    return [table.to_pylist() for table in read_tables(paths, SCHEMA)]


@pytest.mark.parametrize("together", [1, 80, 1 << 20])
def test_each_file_is_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    monkeypatch.setattr(predictions, "TOGETHER", together)
    paths = [
        write(tmp_path, f"{n}", *({"id": f"{n}-{i}", "label": i or None, "more": [1]} for i in range(n))) for n in (3, 1, 2)
    ]
    assert read(*paths) == [[{"id": f"{n}-{i}", "label": i or None} for i in range(n)] for n in (3, 1, 2)]


def test_no_files_are_no_tables() -> None:
    assert read() == []


def test_a_last_line_without_its_end_is_a_row(tmp_path: Path) -> None:
    first, second = write(tmp_path, "a", {"id": "x", "label": 1}), write(tmp_path, "b", {"id": "y", "label": 2})
    first.write_text(first.read_text().rstrip())
    assert read(first, second) == [[{"id": "x", "label": 1}], [{"id": "y", "label": 2}]]


def test_half_a_surrogate_pair_is_an_id(tmp_path: Path) -> None:
    fine = write(tmp_path, "a", {"id": "x", "label": 1})
    odd = tmp_path / "b"
    odd.write_text('{"id":"\\ud800","label":null}\n')
    assert read(fine, odd) == [[{"id": "x", "label": 1}], [{"id": "\\ud800", "label": None}]]


@pytest.mark.parametrize("content", ["{", '{"id":"x","label":"one"}\n', '{"label":1}\n{"id":"x","label":"one"}\n', "\xff"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    fine, odd = write(tmp_path, "fine", {"id": "x", "label": 1}), tmp_path / "damaged"
    odd.write_text(content, encoding="latin-1")
    with pytest.raises(RunError, match="damaged"):
        read(fine, odd)
    with pytest.raises(RunError, match="missing"):
        read(fine, tmp_path / "missing")
