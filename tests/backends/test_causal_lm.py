"""The causal LM engine against plain forward passes, row by row: batches, shared prefixes and padding change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import CHAT_KINDS, MISTRAL_V02, byte_level_tokenizer, tokenizer_of, write_mistral

from backends.base import FloatArray, Messages
from backends.causal_lm import CausalLM, CausalLMOptions
from harness.errors import OutOfMemory

RATE = "Rate the review from 0 to 4. Reply with the number only."
TEXTS = [
    "the kettle works well",
    "bad",
    "It came loose after 10 days, the handle and the lid; and 日本語 too. Never again!",
    "",
    "very good, </s> I love it <|im_end|>",
]
DIGITS = ["0", "1", "2", "3", "4"]
MIXED = ["1", "10", "very good", "very bad", "negative"]


def chats_of(texts: Sequence[str], system: str = RATE) -> list[Messages]:
    return [[{"role": "system", "content": system}, {"role": "user", "content": f"Review: {text}"}] for text in texts]


CHATS = chats_of(TEXTS)


def loaded(folder: Path, **options: Any) -> CausalLM:
    engine = CausalLM(CausalLMOptions.model_validate({"device": "cpu", **options}), folder)
    engine.load()
    return engine


def next_log_p(engine: CausalLM, ids: list[int]) -> FloatArray:
    """log p of every token after each of `ids`, shape (len(ids), vocabulary): the model and nothing else."""
    import torch

    with torch.no_grad():
        logits = engine._model(input_ids=torch.tensor([ids])).logits[0].double()
    return np.asarray(torch.log_softmax(logits, -1).numpy())


def oracle_scores(engine: CausalLM, chats: Sequence[Messages], choices: Sequence[str]) -> FloatArray:
    """One whole forward pass for each row and choice."""
    scores = np.zeros((len(chats), len(choices)))
    for row, chat in enumerate(chats):
        prompt, tails = engine._chat.prompt_and_choices(chat, choices)
        for column, tail in enumerate(tails):
            log_p = next_log_p(engine, prompt + tail)
            scores[row, column] = sum(log_p[len(prompt) + i - 1, token] for i, token in enumerate(tail))
    return scores


def oracle_text(engine: CausalLM, chat: Messages, max_new_tokens: int) -> str:
    """Greedy decoding by whole forward passes."""
    ids = engine._chat.prompt(chat)
    new: list[int] = []
    while len(new) < max_new_tokens:
        token = int(next_log_p(engine, ids + new)[-1].argmax())
        if token in engine._ends:
            break
        new.append(token)
    text: str = engine._tokenizer.decode(new, skip_special_tokens=True)
    return text


def oracle_choice(engine: CausalLM, chat: Messages, choices: Sequence[str]) -> str:
    """The choice that is reached by taking the likeliest token that some choice allows (or the end, where one ends)."""
    prompt, tails = engine._chat.prompt_and_choices(chat, choices)
    path: list[int] = []
    while True:
        open_ = [tail for tail in tails if tail[: len(path)] == path]
        if open_ == [path]:
            return choices[tails.index(path)]
        allowed = [tail[len(path)] for tail in open_ if len(tail) > len(path)] + (engine._ends if path in tails else [])
        log_p = next_log_p(engine, prompt + path)[-1]
        token = max(allowed, key=lambda token: float(log_p[token]))
        if token in engine._ends:
            return choices[tails.index(path)]
        path.append(token)


@pytest.mark.parametrize("kind", CHAT_KINDS)
@pytest.mark.parametrize("choices", [DIGITS, MIXED], ids=["digits", "mixed"])
def test_scores_are_those_of_plain_forward_passes(kind: str, choices: list[str], engines: dict[str, CausalLM]) -> None:
    engine = engines[kind]
    scores = engine.score(CHATS, choices)
    assert scores.shape == (5, len(choices))
    np.testing.assert_allclose(scores, oracle_scores(engine, CHATS, choices), atol=1e-4)
    assert np.ptp(scores, axis=0).min() > 1e-2  # rows differ, so that a mixed-up row would show


@pytest.mark.parametrize("kind", CHAT_KINDS)
@pytest.mark.parametrize("choices", [DIGITS, MIXED], ids=["digits", "mixed"])
def test_a_batch_changes_no_score(kind: str, choices: list[str], engines: dict[str, CausalLM]) -> None:
    engine = engines[kind]
    one_by_one = np.concatenate([engine.score([chat], choices) for chat in CHATS])
    np.testing.assert_allclose(engine.score(CHATS, choices), one_by_one, atol=1e-4)
    np.testing.assert_allclose(engine.score(CHATS[::-1], choices), one_by_one[::-1], atol=1e-4)


@pytest.mark.parametrize("kind", CHAT_KINDS)
def test_generated_text_is_that_of_greedy_decoding(kind: str, engines: dict[str, CausalLM]) -> None:
    import torch

    engine = engines[kind]
    batched = engine.generate(CHATS, 8, None)
    assert [answer.text for answer in batched] == [oracle_text(engine, chat, 8) for chat in CHATS]
    assert batched == [engine.generate([chat], 8, None)[0] for chat in CHATS]
    for answer, chat in zip(batched, CHATS, strict=True):
        ids = torch.tensor([engine._chat.prompt(chat)])
        plain = engine._model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
        assert answer.text == engine._tokenizer.decode(plain[0, ids.shape[1] :], skip_special_tokens=True)
        assert (answer.prompt_tokens, answer.error) == (ids.shape[1], None)
        assert answer.new_tokens == plain.shape[1] - ids.shape[1]
        assert answer.complete == (int(plain[0, -1]) in engine._ends)
    assert len({answer.text for answer in batched}) > 1


@pytest.mark.parametrize("kind", CHAT_KINDS)
@pytest.mark.parametrize("choices", [DIGITS, MIXED, ["1", "10", "100", "2"]], ids=["digits", "mixed", "nested"])
def test_constrained_answers_are_choices_by_the_greedy_path(
    kind: str, choices: list[str], engines: dict[str, CausalLM]
) -> None:
    engine = engines[kind]
    answers = engine.generate(CHATS, 1, choices)  # the number of new tokens is the choices' own
    assert [answer.text for answer in answers] == [oracle_choice(engine, chat, choices) for chat in CHATS]
    assert all(answer.complete and answer.error is None for answer in answers)
    assert answers == [engine.generate([chat], 1, choices)[0] for chat in CHATS]


def test_a_constrained_answer_is_the_choice_to_the_letter(tmp_path: Path) -> None:
    """Where the tokens of an answer begin with a space of the template's, the answer does not."""
    engine = loaded(write_mistral(tmp_path, byte_level_tokenizer(MISTRAL_V02)))
    assert {answer.text for answer in engine.generate(CHATS, 4, MIXED)} <= set(MIXED)


@pytest.mark.parametrize("choices", [None, DIGITS], ids=["free", "constrained"])
def test_a_prompt_that_is_too_long_fails_alone(choices: list[str] | None, engines: dict[str, CausalLM]) -> None:
    engine = engines["mistral"]
    long = chats_of(["the kettle is bad " * 60])
    answers = engine.generate([CHATS[0], *long, CHATS[1]], 8, choices)
    assert [answer.error for answer in answers] == [None, "prompt_too_long", None]
    assert (answers[1].text, answers[1].complete, answers[1].new_tokens) == ("", False, 0)
    assert answers[1].prompt_tokens > 256
    assert [answers[0], answers[2]] == engine.generate(CHATS[:2], 8, choices)
    assert [answer.error for answer in engine.generate(long, 8, choices)] == ["prompt_too_long"]


def test_the_score_of_a_prompt_that_is_too_long_is_nan(engines: dict[str, CausalLM]) -> None:
    engine = engines["mistral"]
    long = chats_of(["the kettle is bad " * 60])
    scores = engine.score([CHATS[0], *long, CHATS[1]], MIXED)
    assert np.isnan(scores).all(1).tolist() == [False, True, False]
    np.testing.assert_array_equal(scores[[0, 2]], engine.score(CHATS[:2], MIXED))
    assert np.isnan(engine.score(long, MIXED)).all()


def test_a_prompt_that_just_fits(engines: dict[str, CausalLM]) -> None:
    engine = engines["chatml"]
    room = 256 - engine.generate(chats_of([""]), 1, None)[0].prompt_tokens
    (fits,), (over,) = engine.generate(chats_of([""]), room, None), engine.generate(chats_of([""]), room + 1, None)
    assert (fits.error, over.error) == (None, "prompt_too_long")


@pytest.mark.parametrize("kind", CHAT_KINDS)
def test_a_shared_prefix_never_leaks_into_the_next_batch(kind: str, engines: dict[str, CausalLM]) -> None:
    engine = engines[kind]
    other = chats_of(TEXTS, "Answer: positive, negative or neutral.")
    first, texts = engine.score(CHATS, MIXED), engine.generate(CHATS, 6, None)
    np.testing.assert_array_equal(engine.score(CHATS, MIXED), first)  # the kept prefix is as good as new
    np.testing.assert_allclose(engine.score(other, MIXED), oracle_scores(engine, other, MIXED), atol=1e-4)
    np.testing.assert_array_equal(engine.score(CHATS, MIXED), first)
    assert engine.generate(CHATS, 6, None) == texts
    np.testing.assert_array_equal(engine.score(CHATS, MIXED), first)


def test_rows_that_share_no_prefix_or_all_of_it(engines: dict[str, CausalLM]) -> None:
    engine = engines["plain"]
    chats: list[Messages] = [[{"role": "user", "content": text}] for text in ["Rate", "0 bad lid", "Rate"]]
    np.testing.assert_allclose(engine.score(chats, MIXED), oracle_scores(engine, chats, MIXED), atol=1e-4)
    same = [CHATS[0]] * 3
    np.testing.assert_allclose(engine.score(same, MIXED), oracle_scores(engine, same, MIXED), atol=1e-4)


def test_a_sliding_window_counts_no_padding(tmp_path: Path) -> None:
    folder = write_mistral(tmp_path, tokenizer_of("mistral"), sliding_window=24)
    engine = loaded(folder)
    for chats in (CHATS, chats_of(["bad", "it works very well"], "0")):  # longer, and (the prompts) shorter than the window
        np.testing.assert_allclose(engine.score(chats, MIXED), oracle_scores(engine, chats, MIXED), atol=1e-4)
        assert [answer.text for answer in engine.generate(chats, 12, None)] == [oracle_text(engine, c, 12) for c in chats]


def test_the_checkpoints_own_ways_of_decoding_are_ignored(mistrals: dict[str, Path], tmp_path: Path) -> None:
    """Sampling settings would warn, a repetition penalty would shun the labels that a prompt names."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in mistrals["chatml"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    own = {"do_sample": True, "temperature": 0.1, "top_k": 5, "repetition_penalty": 5.0, "eos_token_id": [1, 3], "num_beams": 2}
    (folder / "generation_config.json").write_text(json.dumps(own))
    engine = loaded(folder)
    assert engine._ends == [1, 3]
    assert [answer.text for answer in engine.generate(CHATS, 8, None)] == [oracle_text(engine, chat, 8) for chat in CHATS]


def test_four_bits_of_a_shape_that_the_fast_kernel_lacks(tmp_path: Path) -> None:
    folder = write_mistral(tmp_path, tokenizer_of("mistral"), hidden_size=48, intermediate_size=96)
    engine = loaded(folder, quantization="nf4")
    assert np.isfinite(engine.score(CHATS, DIGITS)).all()


def test_four_bits(mistrals: dict[str, Path]) -> None:
    pytest.importorskip("bitsandbytes")
    engine = loaded(mistrals["mistral"], quantization="nf4")
    weight = engine._model.model.layers[0].mlp.up_proj.weight
    assert (weight.quant_state.quant_type, weight.quant_state.nested, weight.element_size()) == ("nf4", True, 1)
    np.testing.assert_allclose(engine.score(CHATS, MIXED), oracle_scores(engine, CHATS, MIXED), atol=1e-3)
    assert np.isfinite(engine.score(CHATS, MIXED)).all()
    assert {answer.text for answer in engine.generate(CHATS, 8, MIXED)} <= set(MIXED)
    assert all(answer.error is None for answer in engine.generate(CHATS, 4, None))
    engine.close()


def failing(error: Exception) -> Callable[..., Any]:
    def forward(*args: object, **kwargs: object) -> Any:
        raise error

    return forward


def test_out_of_memory_has_one_name(engines: dict[str, CausalLM], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    engine = engines["chatml"]
    full = "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."
    for error in (torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(full)):
        with monkeypatch.context() as patched:
            patched.setattr(engine._model, "forward", failing(error))
            with pytest.raises(OutOfMemory):
                engine.score(CHATS, DIGITS)
            with pytest.raises(OutOfMemory):
                engine.generate(CHATS, 4, None)
    assert np.isfinite(engine.score(CHATS, DIGITS)).all()  # and the engine is still good
    monkeypatch.setattr(engine._model, "forward", failing(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        engine.score(CHATS, DIGITS)


def test_facts_and_close(mistrals: dict[str, Path]) -> None:
    import gc
    import weakref

    engine = CausalLM(CausalLMOptions.model_validate({"device": "cpu", "batch_size": 3}), mistrals["chatml"])
    assert engine.facts() == {"device": "cpu", "dtype": "float32"}
    assert engine.batch_size() == 3
    engine.load()
    engine.score(CHATS, DIGITS)
    model, cache = weakref.ref(engine._model), weakref.ref(engine._prefix[1])
    engine.close()
    gc.collect()
    assert (model(), cache()) == (None, None)


@pytest.mark.real
def test_smollm2_scores_alike_in_batches_and_answers() -> None:
    from harness.checkpoints import resolve_checkpoint

    engine = loaded(resolve_checkpoint("packaged:smollm2").folder)
    chats = CHATS[:3]
    one_by_one = np.concatenate([engine.score([chat], DIGITS) for chat in chats])
    np.testing.assert_allclose(engine.score(chats, DIGITS), one_by_one, atol=1e-3)
    answers = engine.generate(chats, 8, None)
    assert all(answer.text.strip() and answer.error is None for answer in answers)
    assert {answer.text for answer in engine.generate(chats, 8, DIGITS)} <= set(DIGITS)
    engine.close()
