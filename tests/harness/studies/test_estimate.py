"""Estimates: from records where there are any, else from the model's size; never a number from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boards
import pytest

from harness.core.machine import describe_machine
from harness.records.entries import Entry
from harness.specs.prices import tokens_of
from harness.studies import estimate as module
from harness.studies.estimate import (
    Speed,
    Work,
    computing_parameters,
    estimate,
    gemm_rate,
    read_config,
    recorded_speed,
    words_for,
)

BERT_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072}
NOTHING = Speed(None, None)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GPU_DEVICES", ())


def entry(rows_per_second: float | None, training: dict[str, Any] | None, **changes: Any) -> Entry:
    train = {"batch_size": 8, "accumulation": 2, **changes.pop("train", {})}
    backend = {"name": "mine", "model": "org/m", "options": {"train": train}, **changes.pop("backend", {})}
    made = boards.entry("mine", backend=backend, rate=rows_per_second)
    return boards.with_changes(made, training=training, machine={**describe_machine().as_json(), **changes})


def test_the_median_of_the_records_of_this_backend_on_this_machine() -> None:
    entries = [
        entry(10.0, {"steps": 10, "seconds": 16.0}),
        entry(30.0, {"steps": 10, "seconds": 4.0}),
        entry(20.0, None),
        entry(99.0, None, cpu="another"),
        entry(99.0, None, backend={"name": "other"}),
        entry(99.0, None, backend={"model": "org/other"}),
        entry(None, {"loss": 0.5}),
    ]
    assert recorded_speed(entries, "mine", "org/m") == Speed((10 + 40) / 2, 20.0)
    assert recorded_speed(entries, "none", "org/m") == NOTHING
    assert recorded_speed([entry(1.0, None, gpu="a GPU")], "mine", "org/m").predict == 1.0


def test_two_passes_of_a_record_are_not_taken_for_one() -> None:
    sam = entry(1.0, {"steps": 10, "seconds": 16.0}, train={"optimizer": "sam"})
    assert recorded_speed([sam], "mine", "org/m").train == 20.0


def test_from_records() -> None:
    found = estimate(Work(100, 50, None), {"train": {"epochs": 3}}, Speed(10.0, 25.0), None)
    assert (found.seconds, found.basis) == (32.0, "records of this machine")
    assert estimate(Work(0, 50, None), {}, Speed(None, 25.0), None).seconds == 2.0
    assert estimate(Work(100, 50, None), {"train": {"optimizer": "asam"}}, Speed(10.0, 25.0), None).seconds == 22.0


def test_from_the_size_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "gemm_rate", lambda: 1e12)
    parameters = computing_parameters(BERT_BASE)
    assert parameters == 12 * (4 * 768**2 + 2 * 768 * 3072) == 84_934_656
    options = {"max_length": 100, "train": {"epochs": 2}}
    found = estimate(Work(10, 5, 400.0), options, NOTHING, BERT_BASE)
    assert found.seconds == pytest.approx(2 * parameters * 100 * (10 * 2 * 3 + 5) / (0.4 * 1e12))
    assert "rough" in found.basis
    assert estimate(Work(10, 5, 40.0), options, Speed(1.0, None), BERT_BASE).seconds != found.seconds


@pytest.mark.parametrize(
    ("work", "config", "words"),
    [(Work(10, 5, 40.0), None, "no size"), (Work(10, 5, None), BERT_BASE, "no rows"), (Work(10, 5, 40.0), {}, "no size")],
)
def test_what_nothing_tells_is_unknown(work: Work, config: dict[str, Any] | None, words: str) -> None:
    found = estimate(work, {}, NOTHING, config)
    assert found.seconds is None
    assert words in found.basis


def test_a_processor_tells_nothing_of_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "GPU_DEVICES", (tmp_path,))
    assert "this GPU" in estimate(Work(10, 5, 40.0), {}, NOTHING, BERT_BASE).basis


def test_the_words_of_other_models() -> None:
    assert computing_parameters({"dim": 768, "n_layers": 6, "hidden_dim": 3072}) == 84_934_656 // 2
    assert computing_parameters({**BERT_BASE, "num_key_value_heads": 4}) is None


def test_a_config_that_can_not_be_read_is_none(tmp_path: Path) -> None:
    assert read_config(tmp_path) is None
    (tmp_path / "config.json").write_text("[]")
    assert read_config(tmp_path) is None
    (tmp_path / "config.json").write_text('{"dim": 3}')
    assert read_config(tmp_path) == {"dim": 3}


def test_a_gemm_has_a_rate() -> None:
    assert gemm_rate(64, 0.001) > 1e6


def test_guessed_tokens() -> None:
    assert tokens_of(["abcd" * 5]) == 7
    assert tokens_of(["とても良い!"]) == pytest.approx(5 / 1.5 + 0.25 + 2)
    assert tokens_of(["abcd", "abcdefgh"]) == 3.5
    assert tokens_of([]) == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "unknown"), (0.2, "~1 s"), (80, "~80 s"), (120, "~2 min"), (5000, "~83 min"), (9000, "~2.5 h")],
)
def test_words(seconds: float | None, words: str) -> None:
    assert words_for(seconds) == words
