"""The table of `benchmarks/ray_overhead.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_overhead_is_that_of_later_runs_in_the_same_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of the source distribution")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from ray_overhead import table

    found = [
        {"work": "server", "executor": executor, "repeat": repeat, "start": start, "runs": [90.0, later]}
        for repeat, executor, start, later in [
            (0, "local", 1.0, 50.0),
            (0, "ray", 5.0, 51.0),
            (1, "local", 1.0, 100.0),
            (1, "ray", 7.0, 104.0),
        ]
    ]
    cells = [cell.strip() for cell in table(found).splitlines()[-1].split("|")]
    assert cells[1:6] == ["server", "1.00 (1.00-1.00)", "6.00 (5.00-7.00)", "90.0 (90.0-90.0)", "90.0 (90.0-90.0)"]
    assert cells[-2] == "+3.00 (+2.00-+4.00)"
