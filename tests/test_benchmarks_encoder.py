"""The encoder's benchmark: what it counts, what it writes, and that it runs to its end. No time decides a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `python benchmarks/encoder.py` finds its neighbours."""
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of the source distribution")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_flops_by_hand() -> None:
    from _encoder_work import needed_flops

    # Two layers of width 3 and 5: 4 * 9 + 2 * 15 = 66 weights a layer; texts of 1 and 4 tokens.
    assert needed_flops([1, 4], layers=2, hidden=3, intermediate=5) == 2 * (2 * 66 * 5 + 4 * 3 * (1 + 16))


def _rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n") if line.startswith("|")]


FOUND: dict[str, Any] = {
    "rows": 4,
    "tokens": 40,
    "flops": 2e9,
    "gflops": {"fp32": [4.0, 1.0, 9.0], "bf16": [8.0]},
    "seconds": {
        "pipeline.fp32.rows.1": [3.0],
        "pipeline.fp32.rows.8": [2.0, 2.0, 3.0],
        "pipeline.fp32.sorted.8": [4.0, 1.0, 3.0],
        "pipeline.bf16.rows.1": [1.0, 1.0, 1.0],
        "ours.fp32": [1.0, 1.0, 0.5],
        "ours.auto": [0.5, 0.5, 0.5],
    },
}
FOUND["cpu_seconds"] = {name: [2 * one for one in times] for name, times in FOUND["seconds"].items()}
FOUND["same_label"] = FOUND["accuracy"] = dict.fromkeys(FOUND["seconds"], 0.75)


def test_inference_table() -> None:
    from _encoder_report import inference_table, sizes_table

    assert [row[:3] + row[4:7] for row in _rows(inference_table(FOUND))[2:]] == [
        ["pipeline, fp32, batch 8", "2.00 (2.00-3.00)", "4.00", "1.00 (1.00-1.00)", "0.50 (0.33-0.50)", "25%"],
        [
            "pipeline, fp32, batch 8, sorted by length",
            "3.00 (1.00-4.00)",
            "6.00",
            "1.00 (0.50-2.00)",
            "0.33 (0.25-1.00)",
            "17%",
        ],
        ["pipeline, bf16, batch 1", "1.00 (1.00-1.00)", "2.00", "2.00 (2.00-3.00)", "1.00 (1.00-1.00)", "25%"],
        ["bench, torch, fp32", "1.00 (0.50-1.00)", "2.00", "2.00 (2.00-6.00)", "1.00 (1.00-2.00)", "50%"],
        ["bench, runtime auto for a million rows", "0.50 (0.50-0.50)", "1.00", "4.00 (4.00-6.00)", "2.00 (2.00-2.00)", ""],
    ]
    assert _rows(sizes_table(FOUND))[2:] == [["1", "1.3", "", "4.0"], ["8", "2.0", "1.0", ""]]


def _measured(trainer: str, seed: int, seconds: float, *evaluations: tuple[float, float]) -> dict[str, Any]:
    """An evaluation: loss and accuracy."""
    return {
        "trainer": trainer,
        "seed": seed,
        "seconds": seconds,
        "cpu_seconds": seconds / 2,
        "evaluations": [{"epoch": n + 1.0, "loss": loss, "accuracy": a} for n, (loss, a) in enumerate(evaluations)],
    }


MEASURED = [
    _measured("ours", 0, 2.0, (1.0, 0.5), (1.5, 0.25)),
    _measured("stock", 0, 3.0, (1.0, 0.25), (0.5, 0.5)),
    _measured("stock", 1, 5.0, (2.0, 0.5), (1.0, 0.75)),
    _measured("ours", 1, 2.0, (0.5, 0.75)),
    _measured("ours", 2, 2.0, (0.5, 0.75)),
]


def test_training_table() -> None:
    from _encoder_report import training_table

    assert _rows(training_table(MEASURED, 60))[2:] == [
        ["stock", "2", "4.0 (3.0-5.0)", "2.0", "15.0", "0.6250", "0.6250", "0.7500", "0.7500"],
        ["ours", "3", "2.0 (2.0-2.0)", "1.0", "30.0", "0.5833", "0.6667", "0.8333", "0.6667"],
    ]


def test_differences_are_paired_by_seed() -> None:
    """The interval is that of scipy's paired t test."""
    from _encoder_report import differences_table
    from scipy.stats import ttest_rel

    table = _rows(differences_table(MEASURED))[2:]
    interval = ttest_rel([0.25, 0.75], [0.5, 0.75]).confidence_interval()
    assert table[0] == ["accuracy, last epoch", "2", "-0.1250", f"[{interval.low:+.4f}, {interval.high:+.4f}]"]
    assert [row[2] for row in table] == ["-0.1250", "+0.0000", "+0.2500", "+0.0000", "2.00", "2.00"]
    assert table[-1][3] == "1.50-2.50 (range)"


@pytest.mark.filterwarnings("ignore")  # the rivals' own
def test_a_whole_run_with_a_tiny_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "backends"))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(ROOT)
    import _encoder_work
    from encoder import main
    from tiny_models import write_bert

    (tmp_path / "model").mkdir()
    write_bert(tmp_path / "model")
    monkeypatch.setattr(_encoder_work, "GEMM_REPETITIONS", 1)
    arguments = ["--model", str(tmp_path / "model"), "--json", str(tmp_path / "speed.json"), "--rows", "12"]
    arguments += ["--train-rows", "32", "--epochs", "1", "--seeds", "3", "--rounds", "1", "--set", "device=cpu"]
    assert main(arguments) == 0
    record: dict[str, Any] = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    found = record["inference"]
    assert all(len(found["seconds"][name]) == 1 for name in found["same_label"])
    exact = [share for name, share in found["same_label"].items() if ".fp32" in name or name == "ours.onnx"]
    assert len(exact) == 11
    assert set(exact) == {1.0}  # so a row's label is its own in all of them
    assert found["runtimes"]["ours.onnx-int8"]["runtime"] == "onnx-int8"
    assert set(found["runtimes"]["ours.auto"]["chosen"]["milliseconds"]) >= {"torch"}
    assert {(entry["trainer"], len(entry["evaluations"])) for entry in record["training"]} == {("ours", 1), ("stock", 1)}
    printed = capsys.readouterr().out
    assert "| bench, ONNX Runtime, int8 |" in printed
    assert "| stock | 1 |" in printed
    # A second start has the trainings of the first, and makes those of the seeds that are new; other settings are refused.
    more = [*arguments, "--parts", "training"]
    assert main([*more, "--seeds", "3,4"]) == 0
    again: dict[str, Any] = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert again["training"][:2] == record["training"]
    assert [(entry["trainer"], entry["seed"]) for entry in again["training"][2:]] == [("stock", 4), ("ours", 4)]
    assert main([*more, "--set", "train.lr=0.01"]) == 2


def test_help_imports_nothing_heavy() -> None:
    script = """
import runpy, sys
sys.argv = ["encoder.py", "--help"]
try:
    runpy.run_path("encoder.py", run_name="__main__")
except SystemExit:
    print(sorted({"torch", "transformers", "onnxruntime", "pandas"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False)
    assert "--train-rows" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
