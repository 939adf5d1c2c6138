"""The figures of benchmarks/leakage.py: what the splits of earlier versions leak, and bench's does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture
def leakage(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of the source distribution")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import leakage as module

    return module


@pytest.mark.parametrize("method", ["shuffle", "rank"])
def test_single_rows_leak(leakage: Any, method: str) -> None:
    found = leakage.figures(leakage.made_up(600), leakage.METHODS[method])
    assert found["twins"] > 30
    assert found["groups"] > 100


@pytest.mark.parametrize("grouped", [False, True])
def test_bench_leaks_nothing_and_moves_no_train_row(leakage: Any, grouped: bool) -> None:
    rows = [row if grouped else replace(row, group=None) for row in leakage.made_up(600)]
    found = leakage.figures(rows, leakage.bench)
    assert (found["twins"], found["moved"]) == (0, 0)
    assert found["groups"] == 0
    assert abs(found["test"] - 120) <= 12
    assert found["kept"] >= 0.9 * found["test"]


def test_a_file_is_read(leakage: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("said,mood,film\nfine,good,a\n,bad,b\npoor,bad,\n")
    rows = leakage.read_rows(path, "said", "mood", "film")
    assert [(row.text, row.label, row.group) for row in rows] == [("fine", 1, "a"), ("poor", 0, None)]
