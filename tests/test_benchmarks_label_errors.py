"""`benchmarks/label_errors.py`: what is ranked first is what was changed, and more of it than the old list had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture
def label_errors(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of the source distribution")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import label_errors as module

    return module


def tables(out: str) -> list[dict[str, list[float]]]:
    """Of each table: method -> found in the first n, right among the first 10 (in percent), rows ranked."""
    found: list[dict[str, list[float]]] = []
    for line in out.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| method"):
            found.append({})
        elif line.startswith("| "):
            found[-1][cells[0]] = [float(cell.rstrip("%").replace(",", "")) for cell in cells[1:]]
    return found


def test_made_up_runs(label_errors: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert label_errors.main(["--repetitions", "2"]) == 0
    nominal, ordinal = tables(capsys.readouterr().out)
    for found in (nominal, ordinal):
        assert found["bench"][0] >= 0.85 > found["before"][0]
        assert found["bench"][2] == 1000 > found["before"][2]


def test_recorded_runs(label_errors: Any, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = ["--results", str(ROOT / "results"), "--task"]
    assert label_errors.main([*recorded, "banking77", "--repetitions", "2"]) == 0
    (found,) = tables(capsys.readouterr().out)
    assert found["bench"][0] >= 0.8
    assert found["bench, best model alone"][0] >= 0.8
    assert label_errors.main([*recorded, "nothing"]) == 2


def test_cross_validated_rows(label_errors: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["cheap", "broken", "lovely"]
    lines = [f"a {words[n % 3]} thing and {n * 7919} of them,{n % 3}\n" for n in range(150)]
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(lines))
    assert label_errors.main(["--data", str(tmp_path / "rows.csv"), "--repetitions", "1"]) == 0
    (found,) = tables(capsys.readouterr().out)
    assert found["bench"][0] >= 0.8
