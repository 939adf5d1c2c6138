"""`benchmarks/chosen_row.py`: the designs are what they claim, and the table is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture
def chosen_row(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of the source distribution")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import chosen_row as module

    return module


def test_samples_have_the_true_values(chosen_row: Any) -> None:
    for design in chosen_row.DESIGNS:
        true = design.true()
        assert len(true) == design.models
        found = chosen_row.sample(np.random.default_rng(0), 20_000, true, 0.6).mean(axis=0)
        assert found == pytest.approx(true, abs=0.02)


def test_the_table(chosen_row: Any) -> None:
    lines = chosen_row.table([60], 2)
    assert len(lines) == 2 + 2 * len(chosen_row.DESIGNS)
    assert all(line.count("|") == 10 for line in lines)
