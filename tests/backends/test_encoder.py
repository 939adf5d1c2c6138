"""The encoder engine learns, repeats itself to the bit, and goes on where an interruption left it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_toy import (
    CONTRADICTING,
    EPOCH_STEPS,
    LABELS,
    NOTHING,
    TRAIN,
    VALIDATION,
    Interrupted,
    fit,
    interrupt_at,
    new_engine,
    predict,
    rows,
)

from backends.encoder import Encoder
from harness.core.durable import DIGESTS
from harness.core.engine import LabelledTexts
from harness.core.errors import OutOfMemory


@pytest.fixture(scope="module")
def undisturbed(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, dict[str, Any], Path]:
    """A trained engine, its report, and its scratch folder. Tests must not change it."""
    engine, scratch = new_engine(bert), tmp_path_factory.mktemp("scratch")
    return engine, fit(engine, scratch), scratch


def test_it_learns_and_answers_in_the_order_of_the_texts(undisturbed: tuple[Encoder, dict[str, Any], Path]) -> None:
    engine, report, _ = undisturbed
    # Rows were grouped by length in training; these are not, and short and long ones alternate.
    unseen = rows(50, 2)
    probabilities = predict(engine, unseen)
    assert probabilities.shape == (50, 2)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)
    assert (probabilities.argmax(1) == unseen.labels).mean() >= 0.95
    assert report["best"]["accuracy"] == 1.0


def test_the_report_tells_of_the_training(undisturbed: tuple[Encoder, dict[str, Any], Path]) -> None:
    _, report, _ = undisturbed
    assert (report["train_rows"], report["validation_rows"]) == (64, 16)
    assert report["planned_steps"] == 5 * EPOCH_STEPS
    assert report["steps"] == len(report["evaluations"]) * EPOCH_STEPS
    accuracies = [evaluation["accuracy"] for evaluation in report["evaluations"]]
    first_best = accuracies.index(max(accuracies))
    assert report["best"] == {"accuracy": max(accuracies), "step": (first_best + 1) * EPOCH_STEPS}
    assert all(set(entry) == {"epoch", "step", "loss", "accuracy", "mae"} for entry in report["evaluations"])
    assert 0 < report["train_loss"] < 1


def test_the_loss_is_a_mean_over_steps() -> None:
    from backends._trainer import mean_loss

    history = [{"loss": 1.0, "step": 10}, {"eval_loss": 9.0, "step": 10}, {"loss": 4.0, "step": 15}]
    assert mean_loss(history) == pytest.approx((10 * 1 + 5 * 4) / 15)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model_and_another_another(
    bert: Path, undisturbed: tuple[Encoder, dict[str, Any], Path], tmp_path: Path
) -> None:
    engine, report, _ = undisturbed
    same, other = new_engine(bert), new_engine(bert)
    assert fit(same, tmp_path / "same") == report
    fit(other, tmp_path / "other", seed=2)
    np.testing.assert_array_equal(predict(same, VALIDATION), predict(engine, VALIDATION))
    assert np.abs(predict(other, VALIDATION) - predict(engine, VALIDATION)).max() > 1e-4


@pytest.mark.slow
def test_save_and_load(bert: Path, undisturbed: tuple[Encoder, dict[str, Any], Path], tmp_path: Path) -> None:
    engine, _, _ = undisturbed
    before = predict(engine, VALIDATION)
    engine.save(tmp_path)
    assert list(tmp_path.glob("*.safetensors"))
    other = new_engine(bert)
    other.load(tmp_path, LABELS)
    np.testing.assert_array_equal(predict(other, VALIDATION), before)
    np.testing.assert_array_equal(predict(engine, VALIDATION), before)


def test_a_batch_changes_nothing_for_its_rows(undisturbed: tuple[Encoder, dict[str, Any], Path]) -> None:
    engine, _, _ = undisturbed
    texts = ["good", "the lid is very very poor and the kettle is awful and it is bad", "it is great", ""]
    one_by_one = np.concatenate([predict(engine, [text]) for text in texts])
    np.testing.assert_allclose(predict(engine, texts), one_by_one, atol=1e-5)


def test_control_tokens_in_a_text_are_characters(undisturbed: tuple[Encoder, dict[str, Any], Path]) -> None:
    engine = undisturbed[0]
    special = set(engine._tokenizer.all_special_ids) - {engine._tokenizer.unk_token_id}
    for text in engine.encode(["good [SEP][MASK] kettle", "[PAD]", "[CLS] bad"]):
        first, *within, last = text.content[0]["input_ids"]
        assert [first, last] == [engine._tokenizer.cls_token_id, engine._tokenizer.sep_token_id]
        assert len(within) > 1
        assert not special & set(within)


def test_longer_texts_are_cut(bert: Path, undisturbed: tuple[Encoder, dict[str, Any], Path], tmp_path: Path) -> None:
    engine, _, _ = undisturbed
    start = " ".join(["the"] * 30)  # with [CLS] and [SEP], the 32 positions of this model
    np.testing.assert_array_equal(predict(engine, [start + " good" * 40]), predict(engine, [start]))
    engine.save(tmp_path)
    short = new_engine(bert, {"max_length": 8})
    short.load(tmp_path, LABELS)
    six, five = "it is very very very very", "it is very very very"
    np.testing.assert_array_equal(predict(short, [f"{six} good"]), predict(short, [six]))
    assert np.abs(predict(short, [f"{five} good"]) - predict(short, [five])).max() > 1e-3
    assert [(row.tokens, row.cut) for row in short.encode([five, six, f"{six} good", "the " * 600])] == [
        (7, 0),
        (8, 0),
        (8, 1),
        (8, 594),
    ]


@pytest.mark.slow
def test_training_stops_when_the_validation_rows_stop_gaining(bert: Path, tmp_path: Path) -> None:
    engine = new_engine(bert, epochs=10, patience=2)
    report = fit(engine, tmp_path, validation=CONTRADICTING)
    assert report["steps"] == 3 * EPOCH_STEPS
    assert report["planned_steps"] == 10 * EPOCH_STEPS
    assert report["best"] == {"accuracy": 0.5, "step": EPOCH_STEPS}
    # The weights are those of the best step, not of the last.
    once = new_engine(bert, epochs=10, patience=2)
    with pytest.raises(Interrupted):
        fit(once, tmp_path / "once", validation=CONTRADICTING, on_progress=interrupt_at(EPOCH_STEPS + 1))
    best = new_engine(bert)
    best.load(tmp_path / "once" / f"checkpoint-{EPOCH_STEPS}", LABELS)
    np.testing.assert_array_equal(predict(engine, VALIDATION), predict(best, VALIDATION))


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "sign"), [("loss", -1), ("mae", -1), ("accuracy", 1)])
def test_the_checkpoint_is_chosen_by_the_metric_asked_for(bert: Path, tmp_path: Path, metric: str, sign: int) -> None:
    report = fit(new_engine(bert, epochs=2, best_metric=metric), tmp_path)
    values = [entry[metric] for entry in report["evaluations"]]
    assert values[0] != values[1]
    assert report["best"][metric] == pytest.approx(max(values, key=lambda value: sign * value))


@pytest.mark.slow
def test_without_validation_rows_all_epochs_are_trained(bert: Path, tmp_path: Path) -> None:
    engine = new_engine(bert, epochs=4)
    report = fit(engine, tmp_path, validation=NOTHING)
    assert (report["steps"], report["best"], report["evaluations"]) == (4 * EPOCH_STEPS, None, [])
    assert predict(engine, TRAIN).argmax(1).tolist() == list(TRAIN.labels)


@pytest.mark.slow
@pytest.mark.parametrize("validation", [VALIDATION, NOTHING], ids=["validated", "unvalidated"])
def test_an_interrupted_training_goes_on_and_ends_as_if_undisturbed(
    bert: Path, tmp_path: Path, validation: LabelledTexts
) -> None:
    whole = new_engine(bert, epochs=3)
    expected = fit(whole, tmp_path / "whole", validation=validation)

    in_the_second = interrupt_at(EPOCH_STEPS + 3)
    with pytest.raises(Interrupted):
        fit(new_engine(bert, epochs=3), tmp_path / "cut", validation=validation, on_progress=in_the_second)
    resumed = new_engine(bert, epochs=3)
    steps: list[tuple[int, int]] = []
    report = fit(
        resumed, tmp_path / "cut", validation=validation, on_progress=lambda done, total, note: steps.append((done, total))
    )
    assert list(dict.fromkeys(steps)) == [(step, 3 * EPOCH_STEPS) for step in range(EPOCH_STEPS, 3 * EPOCH_STEPS + 1)]
    assert report == expected
    np.testing.assert_array_equal(predict(resumed, TRAIN), predict(whole, TRAIN))


@pytest.mark.slow
def test_an_interruption_does_not_prolong_patience(bert: Path, tmp_path: Path) -> None:
    in_the_third = interrupt_at(2 * EPOCH_STEPS + 1)
    with pytest.raises(Interrupted):
        fit(new_engine(bert, epochs=10, patience=2), tmp_path, validation=CONTRADICTING, on_progress=in_the_third)
    report = fit(new_engine(bert, epochs=10, patience=2), tmp_path, validation=CONTRADICTING)
    assert report["steps"] == 3 * EPOCH_STEPS


@pytest.mark.slow
@pytest.mark.parametrize("validation", [CONTRADICTING, NOTHING], ids=["stopped", "done"])
def test_a_finished_training_that_was_not_kept_is_not_prolonged(bert: Path, tmp_path: Path, validation: LabelledTexts) -> None:
    engine, again = (new_engine(bert, epochs=3, patience=1) for _ in range(2))
    steps: list[int] = []
    expected = fit(engine, tmp_path, validation=validation)
    report = fit(again, tmp_path, validation=validation, on_progress=lambda done, total, note: steps.append(done))
    assert (report, steps) == (expected, [])
    np.testing.assert_array_equal(predict(again, TRAIN), predict(engine, TRAIN))


@pytest.mark.slow
def test_a_checkpoint_cut_off_while_it_was_written_is_passed_over(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fit(new_engine(bert, epochs=3), tmp_path, on_progress=interrupt_at(2 * EPOCH_STEPS + 1))
    cut = tmp_path / f"checkpoint-{2 * EPOCH_STEPS}"
    (cut / DIGESTS).unlink()  # written last
    (cut / "trainer_state.json").unlink()
    (cut / "optimizer.pt").write_bytes(b"")
    steps: list[int] = []
    fit(new_engine(bert, epochs=3), tmp_path, on_progress=lambda done, total, note: steps.append(done))
    assert steps[0] == EPOCH_STEPS


@pytest.mark.slow
@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt", "trainer_state.json"])
def test_training_goes_on_from_the_checkpoint_before_a_damaged_one(
    bert: Path, tmp_path: Path, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Interrupted):
        fit(new_engine(bert, epochs=3), tmp_path, on_progress=interrupt_at(2 * EPOCH_STEPS + 1))
    path = tmp_path / f"checkpoint-{2 * EPOCH_STEPS}" / file
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    steps: list[int] = []
    fit(new_engine(bert, epochs=3), tmp_path, on_progress=lambda done, total, note: steps.append(done))
    assert steps[0] == EPOCH_STEPS
    assert f"{file} is not the file that was written" in caplog.text


@pytest.mark.slow
def test_training_begins_anew_without_its_best_checkpoint(bert: Path, tmp_path: Path) -> None:
    fit(new_engine(bert, epochs=3, patience=1), tmp_path, validation=CONTRADICTING)
    (best,) = {json.loads(path.read_text())["best_global_step"] for path in tmp_path.glob("*/trainer_state.json")}
    path = tmp_path / f"checkpoint-{best}" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"#")
    steps: list[int] = []
    fit(
        new_engine(bert, epochs=3, patience=1),
        tmp_path,
        validation=CONTRADICTING,
        on_progress=lambda done, total, note: steps.append(done),
    )
    assert steps[0] == 0


def failing(error: Exception) -> Callable[..., Any]:
    def forward(*args: object, **kwargs: object) -> Any:
        raise error

    return forward


@pytest.mark.parametrize("kind", ["cuda", "cpu", "python"])
def test_out_of_memory_has_one_name(
    kind: str, undisturbed: tuple[Encoder, dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    errors = {
        "cuda": torch.OutOfMemoryError("CUDA out of memory."),
        "cpu": RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        "python": MemoryError(),
    }
    engine, _, _ = undisturbed
    monkeypatch.setattr(engine._model, "forward", failing(errors[kind]))
    with pytest.raises(OutOfMemory):
        predict(engine, ["good"])


def test_other_errors_keep_theirs(undisturbed: tuple[Encoder, dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _, _ = undisturbed
    monkeypatch.setattr(engine._model, "forward", failing(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        predict(engine, ["good"])


@pytest.mark.slow
def test_out_of_memory_in_training(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import BertForSequenceClassification

    monkeypatch.setattr(BertForSequenceClassification, "forward", failing(torch.OutOfMemoryError("CUDA out of memory.")))
    with pytest.raises(OutOfMemory):
        fit(new_engine(bert), tmp_path)


@pytest.mark.slow
def test_facts_and_close(bert: Path, undisturbed: tuple[Encoder, dict[str, Any], Path], tmp_path: Path) -> None:
    import gc
    import weakref

    assert new_engine(bert).facts() == {"device": "cpu", "dtype": "float32", "precision": "fp32"}
    other = new_engine(bert, {"predict": {"batch_size": 7, "batch_tokens": 99, "dtype": "bfloat16"}, "threshold": 0.3})
    assert (other.batch_size(), other.batch_tokens(), other.threshold(), other.facts()["dtype"]) == (7, 99, 0.3, "bfloat16")
    assert (new_engine(bert).batch_tokens(), new_engine(bert).threshold()) == (512, None)
    undisturbed[0].save(tmp_path)
    engine = new_engine(bert)
    engine.load(tmp_path, LABELS)
    model = weakref.ref(engine._model)
    engine.close()
    gc.collect()
    assert model() is None
