"""`benchmarks/thresholds.py`: the rules are compared on rows that chose nothing; what can't be measured is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture
def thresholds(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of the source distribution")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.chdir(ROOT)
    import thresholds as module

    return module


def test_each_rule_has_a_place_in_the_table(thresholds: Any, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--task", "reviews_demo_one_hot", "--lang", "en", "--train-rows", "30", "--repetitions", "2"]
    assert thresholds.main([*options, "--rows", "4", "999"]) == 0
    out, err = capsys.readouterr()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines()]
    assert lines[0] == ["model", "rows that choose", *thresholds.RULES]
    assert [line[:2] for line in lines[2:]] == [["tfidf", "4"], ["majority", "4"]]
    assert "fewer than 999" in err


def test_the_rules_by_hand(thresholds: Any) -> None:
    """One label that half of the rows have and one that few have, constant probabilities: giving both costs."""
    truth = np.zeros((200, 2), dtype=np.int64)
    truth[::2, 0] = truth[::40, 1] = 1
    p = np.tile([0.45, 0.025], (200, 1))
    found = thresholds.worth(p, truth, 100, 5, 0)
    assert found["a half"] == (0, 0)
    for name in ("one for all", "one for each", "bench"):
        assert found[name][0] == pytest.approx(2 * 0.5 / (1 + 0.525), abs=0.05)
    assert found["each label's F1"][0] == pytest.approx(2 * 0.525 / (2 + 0.525), abs=0.05)


def test_a_task_of_another_kind_is_refused(thresholds: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert thresholds.main(["--task", "reviews_demo", "--lang", "en"]) == 2
    assert "multilabel" in capsys.readouterr().err
