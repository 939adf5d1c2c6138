"""What the models of runs are: from the record, else of the packaged ones by their revision, and in a short notation."""

from __future__ import annotations

from typing import Any

import pytest
from boards import entry, packaged, with_changes

from harness.core.record import CheckpointFacts, RunRecord, Runtime, RuntimeChoice
from harness.models.packaged import PACKAGED
from harness.records.weights import facts_of, precision_told, used_precision, weights_told


def made(stored: str | None = None, parameters: int | None = None, **backend: Any) -> RunRecord:
    base = entry("a", backend={"name": "a", **backend})
    return with_changes(base, checkpoint={"parameters": parameters, "stored": stored, "base": None}).record


@pytest.mark.parametrize(
    ("stored", "backend", "told"),
    [
        ("float32", {"dtype": "float32"}, "fp32"),
        ("bfloat16", {"dtype": "bfloat16"}, "bf16"),
        ("bfloat16", {"dtype": "float32"}, "bf16 → fp32"),
        ("float32", {"dtype": "float32", "options": {"quantization": "none"}}, "fp32"),
        ("float32", {"dtype": "float32", "options": {"quantization": "nf4"}}, "fp32 → nf4"),
        ("4-bit (GGUF Q4_1)", {"dtype": "float32"}, "4-bit → fp32"),
        ("4-bit (GGUF Q4_1)", {"dtype": "float32", "options": {"quantization": "nf4"}}, "4-bit → nf4"),
        ("4-bit (awq)", {"dtype": "float16", "options": {"quantization": "awq_marlin"}}, "4-bit → fp16"),
        ("bfloat16", {"dtype": "bfloat16", "options": {"quantization": "fp8"}}, "bf16 → fp8"),
        ("float32", {"dtype": "float32", "options": {"predict": {"runtime": "onnx"}}}, "fp32"),
        ("float32", {"dtype": "float32", "options": {"predict": {"runtime": "onnx-int8"}}}, "fp32 → int8"),
        ("float32", {}, "fp32"),
        (None, {"dtype": "float32"}, ""),
    ],
)
def test_precision_as_stored_and_as_used(stored: str | None, backend: dict[str, Any], told: str) -> None:
    assert precision_told(made(stored, **backend)) == told


@pytest.mark.parametrize(("runtime", "used"), [("torch", "bfloat16"), ("onnx", "float32"), ("onnx-int8", "int8")])
def test_of_a_runtime_that_was_chosen_by_time(runtime: str, used: str) -> None:
    record = made("float32", dtype="bfloat16", options={"predict": {"runtime": "auto"}})
    chosen = RuntimeChoice(timed_rows=4, milliseconds={"torch": 1.0})
    found = record.model_copy(update={"runtime": Runtime(runtime=runtime, library="", chosen=chosen)})
    assert used_precision(found) == used


def test_as_far_as_it_is_known() -> None:
    assert weights_told(made("float32", 22_713_216, dtype="float32")) == "23M, fp32"
    assert weights_told(made(None, 22_713_216, dtype="float32")) == "23M"
    assert weights_told(made("float32", dtype="float32")) == "fp32"
    assert weights_told(made()) == weights_told(entry("old").record) == ""
    assert used_precision(entry("old").record) is None


@pytest.mark.parametrize("name", PACKAGED)
def test_an_old_record_of_a_packaged_model_is_filled_in(name: str) -> None:
    known = PACKAGED[name]
    old = entry("a", backend={"name": "a", **packaged(name)}).record
    assert old.checkpoint is None
    assert facts_of(old) == CheckpointFacts(parameters=known.parameters, stored=known.stored, base=known.base)


@pytest.mark.parametrize(
    "backend",
    [
        {"model": "org/model", "revision": "0" * 40},
        {"model": "packaged:minilm", "revision": "0" * 64},
        {"model": "packaged:x"},
        {},
    ],
)
def test_of_other_old_records_nothing_is_known(backend: dict[str, str]) -> None:
    assert facts_of(entry("a", backend={"name": "a", **backend}).record) == CheckpointFacts()


def test_what_the_record_says_comes_first() -> None:
    found = facts_of(made("float16", 5, **packaged("minilm")))
    assert (found.parameters, found.stored, found.base) == (5, "float16", PACKAGED["minilm"].base)
