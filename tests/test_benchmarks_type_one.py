"""`benchmarks/type_one.py`: the populations are what they claim; nothing is timed here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture
def type_one(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of the source distribution")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import type_one as module

    return module


def test_models_are_equally_good_in_the_population(type_one: Any) -> None:
    for design in type_one.DESIGNS:
        for metric in type_one.METRICS[:4]:
            pair = type_one.pair_of(design, metric)
            if pair is None:
                continue
            matrices, _ = pair
            assert all(np.allclose(matrix.sum(axis=1), 1) and (matrix >= 0).all() for matrix in matrices)
            values = [type_one.population(metric, design.prior, matrix) for matrix in matrices]
            assert values[0] == pytest.approx(values[1], abs=1e-9)


@pytest.mark.parametrize("metric", ["accuracy", "mae", "log_loss"])
def test_a_large_sample_is_the_population(type_one: Any, metric: str) -> None:
    from harness.statistics.contrast import value_of

    design = type_one.DESIGNS[7]
    matrices, sure = type_one.pair_of(design, metric)
    runs = type_one.sample(np.random.default_rng(1), 60_000, design, matrices, sure)
    values = [value_of(metric, run).value for run in runs]
    assert values[0] == pytest.approx(values[1], abs=0.03)
    if metric != "log_loss":
        assert values[0] == pytest.approx(type_one.population(metric, design.prior, matrices[0]), abs=0.015)
    together = np.mean(runs[0].answers == runs[1].answers)
    assert together > 0.58  # 0.5 by chance alone


def test_the_tables_have_a_row_for_each_design(type_one: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lines = type_one.tables([20], 2, 19)
    assert sum(line.startswith(f"| {type_one.DESIGNS[8].name} | 20 |") for line in lines) == 1
    assert "2 samples a cell" in lines[0]
    capsys.readouterr()


def test_a_synthetic_record_is_one_that_bench_reads(type_one: Any, tmp_path: Path) -> None:
    from _type_one_speed import write_record

    from harness.analysis.compare import compare
    from harness.records.store import Store

    for seed, name in enumerate(("one.0", "two.1")):
        write_record(tmp_path, name, 50, seed)
    found = compare(Store(tmp_path / "results" / "runs"), ["one.0", "two.1"])
    assert found.n == 50
    assert found.metrics[-1] == "log_loss"
    line = (tmp_path / "results" / "runs" / "one.0" / "predictions.jsonl").read_text().splitlines()[0]
    assert sum(json.loads(line)["probabilities"]) == pytest.approx(1)


def test_metrics_of_many_confusion_matrices_are_those_of_scikit_learn(type_one: Any) -> None:
    import _cells
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    for k in (2, 3, 6):
        truth, answers = rng.integers(0, k, 40), rng.integers(0, k + 1, 40)
        cells = np.bincount(truth * (k + 1) + answers, minlength=k * (k + 1)).reshape(k, k + 1)
        stacked = np.stack([rng.permutation(cells), cells])  # a second matrix, so that mixed-up axes show
        f1s = [f1_score(truth, answers, average=name, labels=range(k), zero_division=np.nan) for name in ("macro", "weighted")]
        found = [f(stacked)[1] for f in (_cells.macro_f1, _cells.weighted_f1, _cells.accuracy)]
        assert found == pytest.approx([*f1s, np.mean(truth == answers)])
