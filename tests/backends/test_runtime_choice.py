"""The runtime `auto` of encoders: torch unless enough rows make an export pay, then the fastest that is good enough."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_toy import LABELS, NOTHING, VALIDATION, fit, new_engine, predict, validation_scorer

from backends import _runtime_choice
from backends._runtime_choice import LEAST_ROWS, PATIENCE, Measured
from backends.encoder import Encoder
from harness.core.record import Runtime

SCORES = {"fp32": 0.75, "int8": 0.74}


def measured(torch: float, onnx: float, int8: float, **others: Any) -> Measured:
    seconds = {"torch": torch, "onnx": onnx, "onnx-int8": int8}
    return Measured.model_validate({"rows": 4, "alone": 1.0, "seconds": seconds, "scores": SCORES, **others})


@pytest.mark.parametrize(
    ("found", "max_drop", "expected"),
    [
        (measured(1.0, 0.8, 0.5), 0.02, "onnx-int8"),
        (measured(1.0, 0.8, 0.5), 0.005, "onnx"),  # int8 loses more than that
        (measured(1.0, 0.95, 0.5), 0.005, "torch"),  # no more than noise
        (measured(1.0, 2.0, 3.0), 0.02, "torch"),
        (measured(1.0, 0.8, 0.5, scores={"fp32": 0.75, "int8": float("nan")}), 1.0, "onnx"),
        (measured(1.0, 0.8, 0.5, failed="cannot"), 1.0, "torch"),
    ],
)
def test_the_fastest_that_is_good_enough(found: Measured, max_drop: float, expected: str) -> None:
    assert found.choice(LEAST_ROWS, max_drop) == expected
    assert found.choice(int(PATIENCE), 1.0) == "torch"  # so few rows that torch has them before the export


def test_what_a_run_of_few_rows_is_told_does_not_depend_on_later_measurements() -> None:
    alone = Measured(rows=4, alone=1.0)
    few = int(PATIENCE)
    assert measured(1.5, 0.8, 0.5).told(few) == alone.told(few)
    assert set(measured(1.5, 0.8, 0.5).told(LEAST_ROWS).milliseconds) == {"torch", "onnx", "onnx-int8"}


def test_onnxruntime_may_be_of_another_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime-gpu and others bring the module, and there is no distribution onnxruntime."""

    def version(name: str) -> str:
        if name == "onnxruntime":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(_runtime_choice, "version", version)
    file = _runtime_choice.file_of(tmp_path, {})
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "__version__", "0")
    assert _runtime_choice.file_of(tmp_path, {}) != file


def test_damaged_measurements_are_made_again(tmp_path: Path) -> None:
    file = tmp_path / "runtime.json"
    assert _runtime_choice.read(file) is None
    _runtime_choice.write(file, measured(1.0, 0.5, 0.25))
    assert _runtime_choice.read(file) == measured(1.0, 0.5, 0.25)
    file.write_bytes(file.read_bytes().replace(b"0.25", b"0.75"))
    assert _runtime_choice.read(file) is None


@pytest.mark.parametrize(
    ("rows", "validation", "predict", "exportable", "settled"),
    [
        (LEAST_ROWS, 1, {}, True, "auto"),
        (LEAST_ROWS - 1, 1, {}, True, "torch"),
        (LEAST_ROWS, 0, {}, True, "torch"),
        (LEAST_ROWS, 1, {"dtype": "float32"}, True, "torch"),
        (LEAST_ROWS, 1, {"attention": "eager"}, True, "torch"),
        (LEAST_ROWS, 1, {}, False, "torch"),
        (LEAST_ROWS - 1, 1, {"runtime": "onnx"}, True, "onnx"),
    ],
)
def test_auto_is_settled_before_the_run_has_an_id(
    bert: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    validation: int,
    predict: dict[str, Any],
    exportable: bool,
    settled: str,
) -> None:
    monkeypatch.setattr(_runtime_choice, "can_export", lambda: exportable)
    engine = new_engine(bert, {"predict": predict})
    engine.expect(rows, validation)
    assert engine.options.predict.runtime == settled
    assert engine.expected_rows() == (rows if settled == "auto" else None)
    earlier = engine.earlier_options()
    assert earlier["predict"]["runtime"] == ("torch" if settled == "auto" else settled)


@pytest.fixture
def trained(bert: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint, and the folder of a model that was trained from it."""
    engine = new_engine(bert, epochs=1)
    fit(engine, tmp_path / "scratch")
    (tmp_path / "model").mkdir()
    engine.save(tmp_path / "model")
    return bert, tmp_path


def optimized(trained: tuple[Path, Path], rows: int, max_drop: float = 1.0) -> tuple[Encoder, Mapping[str, Any]]:
    checkpoint, folder = trained
    engine = new_engine(checkpoint, {"predict": {"max_drop": max_drop}})
    engine.expect(rows, len(VALIDATION.texts))
    engine.load(folder / "model", LABELS)
    record = engine.optimize(folder, VALIDATION, validation_scorer(VALIDATION))
    assert record is not None
    Runtime.model_validate(record)
    return engine, record


def fake_clock(monkeypatch: pytest.MonkeyPatch, seconds: Mapping[str, float]) -> list[list[str]]:
    """Each runtime takes these seconds per row; which ones were timed."""
    asked: list[list[str]] = []

    def timed(ways: Mapping[str, Any], rows: int) -> dict[str, float]:
        asked.append(list(ways))
        for way in ways.values():
            assert np.asarray(way()).shape == (len(VALIDATION.texts), 2)
        return {name: seconds[name] for name in ways}

    monkeypatch.setattr(_runtime_choice, "timed", timed)
    monkeypatch.setattr(_runtime_choice, "can_export", lambda: True)
    return asked


@pytest.mark.slow
def test_the_choice_stays_whatever_is_measured_later(trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    asked = fake_clock(monkeypatch, {"torch": 0.01, "onnx": 0.008, "onnx-int8": 0.004})
    few, many = LEAST_ROWS, 10 * LEAST_ROWS
    first, record = optimized(trained, few)
    assert (record["runtime"], record["chosen"]["milliseconds"]) == ("torch", {"torch": 10.0})
    exact = predict(first, VALIDATION)
    int8, record = optimized(trained, many)
    assert (record["runtime"], record["drop"]) == ("onnx-int8", record["validation_fp32"] - record["validation_int8"])
    assert record["chosen"]["milliseconds"] == {"torch": 10.0, "onnx": 8.0, "onnx-int8": 4.0}
    assert 0 < np.abs(predict(int8, VALIDATION) - exact).max() < 0.1
    assert asked == [["torch"], ["torch", "onnx", "onnx-int8"]]
    assert optimized(trained, few)[1]["runtime"] == "torch"
    assert optimized(trained, many)[1] == record
    assert len(asked) == 2  # nothing was measured again


@pytest.mark.slow
def test_a_model_that_cannot_be_exported_stays_in_torch(trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from backends import _onnx
    from harness.core.errors import RunError

    tried: list[Path] = []

    def export(model: Any, folder: Path) -> None:
        tried.append(folder)
        raise RunError("can't", "no")

    fake_clock(monkeypatch, {"torch": 0.01})
    monkeypatch.setattr(_onnx, "_export", export)
    for _ in range(2):
        _, record = optimized(trained, 10 * LEAST_ROWS)
        assert (record["runtime"], record["chosen"]["failed"]) == ("torch", "can't")
    assert len(tried) == 1


def test_without_validation_rows_or_a_number_of_rows_nothing_is_measured(bert: Path, tmp_path: Path) -> None:
    engine = new_engine(bert)
    assert engine.optimize(tmp_path, VALIDATION, validation_scorer(VALIDATION)) is None
    engine.expect(LEAST_ROWS, 0)
    assert engine.optimize(tmp_path, NOTHING, validation_scorer(NOTHING)) is None
    assert not list(tmp_path.iterdir())
