"""The benchmark of many rows: its rows, the recall of the search, and how often files are read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
million = pytest.importorskip("million")


def test_made_up_rows_are_the_same_each_time() -> None:
    rows = million.made_up(200, 3)
    assert rows == million.made_up(200, 3)
    assert len(rows) == 200
    assert {label for _, label in rows} == {"bad", "fair", "good"}


@pytest.mark.slow
def test_files_are_read_once() -> None:
    assert million.reads().note == "3 files, asked for 18 times, read 3 times"


@pytest.mark.slow
def test_nearly_all_near_duplicates_are_found() -> None:
    assert ", and 0 others" in million.recall(3000, 0).note
