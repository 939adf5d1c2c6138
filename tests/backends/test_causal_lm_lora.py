"""A language model that is trained to answer, on tiny checkpoints: what it learns, what is kept, and how it answers then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_toy import Interrupted, interrupt_at
from tiny_models import write_family

from backends.causal_lm import CausalLM, CausalLMOptions
from backends.causal_lm_lora import CausalLMLora, CausalLMLoraOptions
from harness.core.engine import AnsweredChats, ChatTrainingJob
from harness.core.errors import DataError, UserError

ANSWERS = ["very bad", "good"]
NAMES = ["qwen2", "mistral3", "gpt2"]
NOTHING = AnsweredChats([], [])


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Review: {text}"}]


def rows(count: int) -> AnsweredChats:
    words = ["bad lid", "broken", "never again"], ["works well", "looks good", "I love it"]
    return AnsweredChats(
        [chat(words[i % 2][i // 2 % 3] + " the" * (i // 6)) for i in range(count)], [ANSWERS[i % 2] for i in range(count)]
    )


TRAIN, VALIDATION = rows(24), rows(6)


@pytest.fixture(scope="module")
def models(built_once: Callable[..., Path], mistrals: dict[str, Path]) -> dict[str, Path]:
    root = built_once("chat-lora", lambda root: [write_family(root / name, name) for name in NAMES])
    return {**{name: root / name for name in NAMES}, **mistrals}


def engine_of(folder: Path, base: str = "float32", **train: Any) -> CausalLMLora:
    lora = {"rank": 4, "dropout": 0.0, "base": base}
    options = {"device": "cpu", "train": {"epochs": 4, "lr": 1e-2, "batch_size": 8, "lora": lora, **train}}
    return CausalLMLora(CausalLMLoraOptions.model_validate(options), folder)


def fit(
    engine: CausalLMLora, scratch: Path, train: AnsweredChats = TRAIN, validation: AnsweredChats = VALIDATION, **more: Any
) -> dict[str, Any]:
    def unheard(done: int, total: int, note: str) -> None:
        pass

    return engine.fit(ChatTrainingJob(train, validation, 1, scratch, more.pop("on_progress", unheard), **more))


def scores(engine: CausalLM, part: AnsweredChats) -> Any:
    found = engine.score(engine.encode(part.chats, ANSWERS), ANSWERS)
    return np.array([row.log_p for row in found])


def kept(engine: CausalLMLora, folder: Path) -> Path:
    folder.mkdir()
    engine.save(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chatml", "mistral", "plain", *NAMES])
def test_it_learns_to_answer_and_answers_the_same_once_kept(name: str, models: dict[str, Path], tmp_path: Path) -> None:
    engine = engine_of(models[name], epochs=14, patience=14)
    untrained = CausalLM(CausalLMOptions.model_validate({"device": "cpu"}), models[name])
    untrained.load()
    report = fit(engine, tmp_path / "scratch")
    losses = [entry["loss"] for entry in report["evaluations"]]
    assert report["best"]["loss"] == min(losses) < 0.5
    assert report["train_rows"] == 24
    truth = [ANSWERS.index(answer) for answer in VALIDATION.answers]
    assert list(scores(engine, VALIDATION).argmax(1)) == truth
    assert scores(engine, VALIDATION).max(1).mean() > scores(untrained, VALIDATION).max(1).mean()
    free = engine.generate(engine.encode(VALIDATION.chats, None), 8, None)
    assert [one.text.strip() for one in free] == list(VALIDATION.answers)
    assert all(one.complete for one in free)  # it has learned to end, too
    other = engine_of(models[name])
    other.load_trained(kept(engine, tmp_path / "kept"))
    np.testing.assert_array_equal(scores(other, VALIDATION), scores(engine, VALIDATION))
    assert other.generate(other.encode(VALIDATION.chats, ANSWERS), 8, ANSWERS) == engine.generate(
        engine.encode(VALIDATION.chats, ANSWERS), 8, ANSWERS
    )
    assert other.parameters == engine.parameters == untrained.parameters
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "base.json",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chatml", "mistral", "plain", "gpt2"])
def test_the_loss_is_that_of_the_answers_tokens_alone(name: str, models: dict[str, Path], tmp_path: Path) -> None:
    """By a forward pass of the plain model over each whole chat, unpadded. An adapter that is new changes nothing."""
    engine = engine_of(models[name], epochs=0.1, lr=1e-30)
    report = fit(engine, tmp_path / "scratch")
    total, count = 0.0, 0
    for ids, start in engine._chat.answered(VALIDATION.chats, VALIDATION.answers):
        with torch.no_grad():
            log_p = engine._model(torch.tensor([ids])).logits[0].log_softmax(-1)
        total -= sum(float(log_p[place - 1, ids[place]]) for place in range(start, len(ids)))
        count += len(ids) - start
    assert report["evaluations"][-1]["loss"] == pytest.approx(total / count, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chatml", "mistral", "plain"])
def test_what_is_learned_is_what_is_scored(name: str, models: dict[str, Path]) -> None:
    engine = CausalLM(CausalLMOptions.model_validate({"device": "cpu"}), models[name])
    engine._read_tokenizer()
    chats = TRAIN.chats[:4]
    for encoded, (ids, start) in zip(engine.encode(chats, ANSWERS), engine._chat.answered(chats, ANSWERS * 2), strict=True):
        tree = encoded.content.tree
        whole = {(*encoded.content.ids, *choice) for choice in tree.choices}
        assert any(tuple(ids[: len(one)]) == one for one in whole)
        assert start >= len(encoded.content.ids)
        assert ids[-1] in engine._ends


@pytest.mark.slow
@pytest.mark.parametrize("base", ["bfloat16", "nf4"])
def test_other_bases(base: str, models: dict[str, Path], tmp_path: Path) -> None:
    engine = engine_of(models["qwen2"], base, gradient_checkpointing=True)
    report = fit(engine, tmp_path / "scratch")
    assert report["evaluations"][-1]["loss"] < report["evaluations"][0]["loss"]
    other = engine_of(models["qwen2"], base)
    other.load_trained(kept(engine, tmp_path / "kept"))
    np.testing.assert_array_equal(scores(other, VALIDATION), scores(engine, VALIDATION))
    plain = CausalLM(CausalLMOptions.model_validate({"device": "cpu"}), models["qwen2"])
    plain.load()
    assert other.parameters == plain.parameters


@pytest.mark.slow
def test_a_killed_training_goes_on(models: dict[str, Path], tmp_path: Path) -> None:
    whole, resumed = engine_of(models["qwen2"]), engine_of(models["qwen2"])
    expected = fit(whole, tmp_path / "whole")
    with pytest.raises(Interrupted):
        fit(engine_of(models["qwen2"]), tmp_path / "cut", on_progress=interrupt_at(8))
    assert fit(resumed, tmp_path / "cut") == expected
    np.testing.assert_array_equal(scores(resumed, VALIDATION), scores(whole, VALIDATION))


@pytest.mark.slow
def test_evaluations_are_told_and_may_end_the_training(models: dict[str, Path], tmp_path: Path) -> None:
    def give_up(metrics: dict[str, float]) -> None:
        assert set(metrics) == {"loss"}
        raise Interrupted

    with pytest.raises(Interrupted):
        fit(engine_of(models["qwen2"]), tmp_path, on_evaluation=give_up)


@pytest.mark.slow
def test_rows_that_are_too_long_are_left_out(models: dict[str, Path], tmp_path: Path) -> None:
    train = AnsweredChats([*TRAIN.chats, chat("bad lid " * 100)], [*TRAIN.answers, ANSWERS[0]])
    report = fit(engine_of(models["qwen2"], epochs=0.2, max_length=128), tmp_path / "a", train, NOTHING)
    assert (report["train_rows"], report["rows_left_out"], report["best"]) == (24, 1, None)
    with pytest.raises(DataError, match="short enough"):
        fit(engine_of(models["qwen2"], max_length=8), tmp_path / "b")


def test_it_is_trained_first(models: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="trained first"):
        engine_of(models["qwen2"]).load()
