"""The causal LM engine against plain forward passes, row by row: batches, shared prefixes and padding change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import (
    CHATS,
    DIGITS,
    ENDING,
    MIXED,
    SCALE,
    TEXTS,
    chats_of,
    finished,
    generate,
    loaded,
    next_log_p,
    oracle_choice,
    oracle_scores,
    oracle_text,
    prompt_ids,
    score,
)
from tiny_models import CHAT_KINDS, MISTRAL_V02, byte_level_tokenizer, tokenizer_of, write_mistral

from backends.causal_lm import CausalLM, CausalLMOptions
from harness.core.engine import ListOf, Messages
from harness.core.errors import OutOfMemory, UserError


@pytest.mark.parametrize("kind", CHAT_KINDS)
@pytest.mark.parametrize("choices", [DIGITS, SCALE, MIXED], ids=["digits", "scale", "mixed"])
def test_scores_are_those_of_plain_forward_passes(kind: str, choices: list[str], engines: dict[str, CausalLM]) -> None:
    engine = engines[kind]
    scores = score(engine, CHATS, choices)
    assert scores.shape == (5, len(choices))
    np.testing.assert_allclose(scores, oracle_scores(engine, CHATS, choices), atol=1e-4)
    assert np.ptp(scores, axis=0).min() > 1e-2  # rows differ, so that a mixed-up row would show


@pytest.mark.parametrize("kind", CHAT_KINDS)
@pytest.mark.parametrize("choices", [DIGITS, MIXED], ids=["digits", "mixed"])
def test_a_batch_changes_no_score(kind: str, choices: list[str], engines: dict[str, CausalLM]) -> None:
    engine = engines[kind]
    one_by_one = np.concatenate([score(engine, [chat], choices) for chat in CHATS])
    np.testing.assert_allclose(score(engine, CHATS, choices), one_by_one, atol=1e-4)
    np.testing.assert_allclose(score(engine, CHATS[::-1], choices), one_by_one[::-1], atol=1e-4)


@pytest.mark.parametrize("kind", CHAT_KINDS)
def test_prompts_of_very_different_length_change_no_score(kind: str, engines: dict[str, CausalLM]) -> None:
    engine = engines[kind]
    chats = chats_of(["bad " * count for count in (60, 0, 1, 20, 2)])
    lengths = [prompt.tokens for prompt in engine.encode(chats, MIXED)]
    assert max(lengths) > 2 * min(lengths)
    found = score(engine, chats, MIXED)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, oracle_scores(engine, chats, MIXED), atol=1e-4)
    np.testing.assert_allclose(found, np.concatenate([score(engine, [chat], MIXED) for chat in chats]), atol=1e-4)


def test_all_choices_are_known_after_one_pass(engines: dict[str, CausalLM], monkeypatch: pytest.MonkeyPatch) -> None:
    """And one more for the beginning that the prompts share."""
    engine = engines["chatml"]
    engine.reset()
    forward = engine._model.forward
    passes: list[Any] = []

    def watching(**given: Any) -> Any:
        passes.append(given["input_ids"].shape)
        return forward(**given)

    monkeypatch.setattr(engine._model, "forward", watching)
    score(engine, CHATS, SCALE)
    assert len(passes) == 2
    generate(engine, CHATS, 8, SCALE)
    assert len(passes) == 3


def test_rows_whose_answers_have_other_tokens_share_a_batch(tmp_path: Path) -> None:
    """Without a template a text that ends like the instruction is all there is before the answer."""
    engine = loaded(write_mistral(tmp_path, byte_level_tokenizer(ENDING)))
    chats: list[Messages] = [[{"role": "user", "content": text}] for text in ("the kettle works", "a goo", "the lid is goo")]
    choices = ["d", "x", "d, it is"]
    trees = {id(prompt.content.tree) for prompt in engine.encode(chats, choices)}
    assert len(trees) == 2
    np.testing.assert_allclose(score(engine, chats, choices), oracle_scores(engine, chats, choices), atol=1e-4)
    assert [answer.text for answer in generate(engine, chats, 1, choices)] == [
        oracle_choice(engine, chat, choices) for chat in chats
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHAT_KINDS)
def test_generated_text_is_that_of_greedy_decoding(kind: str, engines: dict[str, CausalLM]) -> None:
    import torch

    engine = engines[kind]
    batched = generate(engine, CHATS, 8, None)
    assert [answer.text for answer in batched] == [oracle_text(engine, chat, 8) for chat in CHATS]
    assert batched == [generate(engine, [chat], 8, None)[0] for chat in CHATS]
    for answer, chat in zip(batched, CHATS, strict=True):
        ids = torch.tensor([prompt_ids(engine, chat)])
        plain = engine._model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
        assert answer.text == engine._tokenizer.decode(plain[0, ids.shape[1] :], skip_special_tokens=True)
        assert (answer.prompt_tokens, answer.error) == (ids.shape[1], None)
        assert answer.new_tokens == plain.shape[1] - ids.shape[1]
        assert answer.complete == (int(plain[0, -1]) in engine._ends)
    assert len({answer.text for answer in batched}) > 1


@pytest.mark.parametrize("kind", CHAT_KINDS)
@pytest.mark.parametrize("choices", [DIGITS, SCALE, MIXED, ["1", "10", "100", "2"]], ids=["digits", "scale", "mixed", "nested"])
def test_constrained_answers_are_choices_by_the_greedy_path(
    kind: str, choices: list[str], engines: dict[str, CausalLM]
) -> None:
    engine = engines[kind]
    answers = generate(engine, CHATS, 1, choices)  # the number of new tokens is the choices' own
    assert [answer.text for answer in answers] == [oracle_choice(engine, chat, choices) for chat in CHATS]
    assert all(answer.complete and answer.error is None for answer in answers)
    for answer, chat in zip(answers, CHATS, strict=True):
        prompt, tails = finished(engine, chat, choices)
        assert (answer.prompt_tokens, answer.new_tokens) == (len(prompt), len(tails[choices.index(answer.text)]))
    assert answers == [generate(engine, [chat], 1, choices)[0] for chat in CHATS]


def test_a_constrained_answer_is_the_choice_to_the_letter(tmp_path: Path) -> None:
    """Where the tokens of an answer begin with a space of the template's, the answer does not."""
    engine = loaded(write_mistral(tmp_path, byte_level_tokenizer(MISTRAL_V02)))
    assert {answer.text for answer in generate(engine, CHATS, 4, MIXED)} <= set(MIXED)


@pytest.mark.parametrize("choices", [None, DIGITS], ids=["free", "constrained"])
def test_a_prompt_that_is_too_long_fails_alone(choices: list[str] | None, engines: dict[str, CausalLM]) -> None:
    engine = engines["mistral"]
    long = chats_of(["the kettle is bad " * 60])
    answers = generate(engine, [CHATS[0], *long, CHATS[1]], 8, choices)
    assert [answer.error for answer in answers] == [None, "prompt_too_long", None]
    assert (answers[1].text, answers[1].complete, answers[1].new_tokens) == ("", False, 0)
    assert answers[1].prompt_tokens > 256
    assert [answers[0], answers[2]] == generate(engine, CHATS[:2], 8, choices)
    assert [answer.error for answer in generate(engine, long, 8, choices)] == ["prompt_too_long"]


def test_the_score_of_a_prompt_that_is_too_long_is_nan(engines: dict[str, CausalLM]) -> None:
    engine = engines["mistral"]
    long = chats_of(["the kettle is bad " * 60])
    scores = score(engine, [CHATS[0], *long, CHATS[1]], MIXED)
    assert np.isnan(scores).all(1).tolist() == [False, True, False]
    np.testing.assert_array_equal(scores[[0, 2]], score(engine, CHATS[:2], MIXED))
    assert np.isnan(score(engine, long, MIXED)).all()


@pytest.mark.slow
def test_a_prompt_that_just_fits(engines: dict[str, CausalLM]) -> None:
    engine = engines["chatml"]
    room = 256 - generate(engine, chats_of([""]), 1, None)[0].prompt_tokens
    (fits,), (over,) = generate(engine, chats_of([""]), room, None), generate(engine, chats_of([""]), room + 1, None)
    assert (fits.error, over.error) == (None, "prompt_too_long")


@pytest.mark.parametrize("kind", CHAT_KINDS)
def test_a_shared_prefix_never_leaks_into_the_next_batch(kind: str, engines: dict[str, CausalLM]) -> None:
    engine = engines[kind]
    other = chats_of(TEXTS, "Answer: positive, negative or neutral.")
    first, texts = score(engine, CHATS, MIXED), generate(engine, CHATS, 6, None)
    np.testing.assert_array_equal(score(engine, CHATS, MIXED), first)  # the kept prefix is as good as new
    np.testing.assert_allclose(score(engine, other, MIXED), oracle_scores(engine, other, MIXED), atol=1e-4)
    np.testing.assert_array_equal(score(engine, CHATS, MIXED), first)
    assert generate(engine, CHATS, 6, None) == texts
    np.testing.assert_array_equal(score(engine, CHATS, MIXED), first)


def test_rows_that_share_no_prefix_or_all_of_it(engines: dict[str, CausalLM]) -> None:
    engine = engines["plain"]
    chats: list[Messages] = [[{"role": "user", "content": text}] for text in ["Rate", "0 bad lid", "Rate"]]
    np.testing.assert_allclose(score(engine, chats, MIXED), oracle_scores(engine, chats, MIXED), atol=1e-4)


def test_rows_with_the_same_tokens(engines: dict[str, CausalLM]) -> None:
    """Two texts can have them, where a tokenizer normalizes."""
    engine, same = engines["plain"], [CHATS[0]] * 3
    np.testing.assert_allclose(score(engine, same, MIXED), oracle_scores(engine, same, MIXED), atol=1e-4)


def test_a_prompt_that_begins_another_with_its_answer(engines: dict[str, CausalLM]) -> None:
    engine = engines["mistral"]
    chats = chats_of(["bad", "bad [/INST] 1 very"])
    np.testing.assert_allclose(score(engine, chats, MIXED), oracle_scores(engine, chats, MIXED), atol=1e-4)


@pytest.mark.slow
def test_a_sliding_window_counts_no_padding(tmp_path: Path) -> None:
    folder = write_mistral(tmp_path, tokenizer_of("mistral"), sliding_window=24)
    engine = loaded(folder)
    for chats in (CHATS, chats_of(["bad", "it works very well"], "0")):  # longer, and (the prompts) shorter than the window
        np.testing.assert_allclose(score(engine, chats, MIXED), oracle_scores(engine, chats, MIXED), atol=1e-4)
        assert [answer.text for answer in generate(engine, chats, 12, None)] == [oracle_text(engine, c, 12) for c in chats]


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
    assert [answer.text for answer in generate(engine, CHATS, 8, None)] == [oracle_text(engine, chat, 8) for chat in CHATS]


@pytest.mark.slow
def test_four_bits_of_a_shape_that_the_fast_kernel_lacks(tmp_path: Path) -> None:
    folder = write_mistral(tmp_path, tokenizer_of("mistral"), hidden_size=48, intermediate_size=96)
    engine = loaded(folder, quantization="nf4")
    assert np.isfinite(score(engine, CHATS, DIGITS)).all()


@pytest.mark.slow
def test_four_bits(mistrals: dict[str, Path]) -> None:
    pytest.importorskip("bitsandbytes")
    engine = loaded(mistrals["mistral"], quantization="nf4")
    weight = engine._model.model.layers[0].mlp.up_proj.weight
    assert (weight.quant_state.quant_type, weight.element_size()) == ("nf4", 1)
    assert engine._model.config.quantization_config.bnb_4bit_use_double_quant
    np.testing.assert_allclose(score(engine, CHATS, MIXED), oracle_scores(engine, CHATS, MIXED), atol=1e-3)
    assert np.isfinite(score(engine, CHATS, MIXED)).all()
    assert {answer.text for answer in generate(engine, CHATS, 8, MIXED)} <= set(MIXED)
    assert all(answer.error is None for answer in generate(engine, CHATS, 4, None))
    engine.close()


def test_in_half_precision_answers_are_told_apart_by_logits_that_are_not_rounded(mistrals: dict[str, Path]) -> None:
    """By the last hidden state and the rows of the last layer, in float64."""
    import torch

    engine = loaded(mistrals["chatml"], dtype="bfloat16")
    head = engine._model.get_output_embeddings()
    head.weight.data *= 100
    prompt, tails = finished(engine, CHATS[0], DIGITS)
    tokens = [tail[0] for tail in tails]
    with torch.no_grad():
        told = engine._model(torch.tensor([prompt]), output_hidden_states=True)
        exact = told.hidden_states[-1][0, -1].double() @ head.weight[tokens].double().T
    (found,) = score(engine, CHATS[:1], DIGITS)
    np.testing.assert_allclose(found - found[0], (exact - exact[0]).numpy(), atol=1e-3)
    rounded = told.logits[0, -1, tokens].double()
    assert float((rounded - exact).abs().max()) > 1e-2
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
                score(engine, CHATS, DIGITS)
            with pytest.raises(OutOfMemory):
                generate(engine, CHATS, 4, None)
    assert np.isfinite(score(engine, CHATS, DIGITS)).all()  # and the engine is still good
    monkeypatch.setattr(engine._model, "forward", failing(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        score(engine, CHATS, DIGITS)


def test_reset_forgets_the_shared_prefix(engines: dict[str, CausalLM]) -> None:
    engine = engines["chatml"]
    first = score(engine, CHATS, DIGITS)
    assert engine._prefix is not None
    engine.reset()
    assert (engine._shared, engine._prefix) == ([], None)
    np.testing.assert_array_equal(score(engine, CHATS, DIGITS), first)


@pytest.mark.slow
def test_facts_and_close(mistrals: dict[str, Path]) -> None:
    import gc
    import weakref

    engine = CausalLM(CausalLMOptions.model_validate({"device": "cpu", "batch_tokens": 300}), mistrals["chatml"])
    assert engine.facts()["device"] == "cpu"
    assert (engine.batch_size(), engine.batch_tokens()) == (256, 300)
    assert loaded(mistrals["chatml"]).batch_tokens() == 1024
    engine.load()
    score(engine, CHATS, DIGITS)
    model, cache = weakref.ref(engine._model), weakref.ref(engine._prefix)
    engine.close()
    gc.collect()
    assert (model(), cache()) == (None, None)


@pytest.mark.real
def test_smollm2_scores_alike_in_batches_and_answers() -> None:
    from harness.models.checkpoints import resolve_checkpoint

    engine = loaded(resolve_checkpoint("packaged:smollm2").folder)
    chats = CHATS[:3]
    one_by_one = np.concatenate([score(engine, [chat], DIGITS) for chat in chats])
    np.testing.assert_allclose(score(engine, chats, DIGITS), one_by_one, atol=1e-3)
    answers = generate(engine, chats, 8, None)
    assert all(answer.text.strip() and answer.error is None for answer in answers)
    assert {answer.text for answer in generate(engine, chats, 8, DIGITS)} <= set(DIGITS)
    engine.close()


LISTS = ListOf(("bad", "very bad", "good", 'so "so"', "日本語"), 3)


@pytest.mark.parametrize("kind", CHAT_KINDS)
def test_a_constrained_list_is_the_greedy_path_through_all_lists(kind: str, engines: dict[str, CausalLM]) -> None:
    engine = engines[kind]
    encoded = engine.encode(CHATS, LISTS)
    answers = engine.generate(encoded, 1, LISTS)
    for answer, prompt in zip(answers, encoded, strict=True):
        walk = engine._chat.list_walk(prompt.content, LISTS)
        while not walk.done:
            log_p = next_log_p(engine, [*prompt.content.ids, *walk.tokens])[-1]
            walk.take(max(walk.following(), key=lambda token: float(log_p[token])))
        assert answer.text == LISTS.text(walk.names)
        assert (answer.complete, answer.error, answer.new_tokens) == (True, None, len(walk.tokens))
        # The tokens are those of the whole list, as the tokenizer cuts it.
        whole = engine._chat.tokens([prompt.content.text + answer.text])[0]
        assert whole == [*prompt.content.ids, *walk.tokens]
    assert answers == [engine.generate(engine.encode([chat], LISTS), 1, LISTS)[0] for chat in CHATS]


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHAT_KINDS)
def test_every_list_can_be_walked_and_no_other(kind: str, engines: dict[str, CausalLM]) -> None:
    encode = engines[kind]._chat
    (prompt,) = engines[kind].encode(CHATS[:1], LISTS)
    found = set()
    open_: list[tuple[int, ...]] = [()]
    while open_:
        path = open_.pop()
        walk = encode.list_walk(prompt.content, LISTS)
        for token in path:
            walk.take(token)
        assert len(path) <= prompt.content.room
        if walk.done:
            found.add(walk.names)
        open_ += [(*path, token) for token in walk.following()]
    assert found == {names for length in range(4) for names in permutations(LISTS.names, length)}


def test_an_attention_that_can_not_be_had_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its package transformers would fetch a kernel from a hub repository and run it."""
    import torch

    import backends._torch

    for attention in ("flash_attention_2", "flash_attention_3", "flex_attention"):
        with pytest.raises(UserError, match="needs a GPU"):
            CausalLM(CausalLMOptions.model_validate({"device": "cpu", "attention": attention}), tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **kwargs: True)
    for package, attention in (("flash-attn", "flash_attention_2"), ("flash-attn-interface", "flash_attention_3")):
        monkeypatch.setattr(backends._torch, "find_spec", lambda name: None)
        with pytest.raises(UserError, match=package):
            CausalLM(CausalLMOptions.model_validate({"device": "cuda", "attention": attention}), tmp_path)
        monkeypatch.setattr(backends._torch, "find_spec", lambda name: name)
        with pytest.raises(UserError, match="half precision"):
            CausalLM(CausalLMOptions.model_validate({"device": "cuda", "attention": attention, "dtype": "float32"}), tmp_path)


def test_another_attention_changes_no_answer_and_is_part_of_the_identity(mistrals: dict[str, Path]) -> None:
    engine = loaded(mistrals["chatml"], attention="eager")
    assert engine._model.config._attn_implementation == "eager"
    np.testing.assert_allclose(score(engine, CHATS, MIXED), oracle_scores(engine, CHATS, MIXED), atol=1e-4)
    assert engine.options.model_dump(mode="json")["attention"] == "eager"
    assert "attention" not in CausalLMOptions().model_dump(mode="json")


def test_flash_attention_gets_no_mask_of_a_tree(mistrals: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = loaded(mistrals["chatml"], attention="eager")
    engine._attention = "flash_attention_2"
    forward, masks = engine._model.forward, []

    def watching(**given: Any) -> Any:
        masks.append(given.get("attention_mask"))
        return forward(**given)

    monkeypatch.setattr(engine._model, "forward", watching)
    found = score(engine, CHATS, MIXED)
    assert {mask.dim() for mask in masks if mask is not None} == {2}
    monkeypatch.undo()
    np.testing.assert_allclose(found, oracle_scores(engine, CHATS, MIXED), atol=1e-4)


def test_batches_that_are_launched_together_are_those_of_one_after_the_other(engines: dict[str, CausalLM]) -> None:
    engine = engines["chatml"]
    engine.reset()
    prompts = engine.encode(CHATS, MIXED)
    batches = [prompts[:2], prompts[2:]]
    expected = [engine.score(batch, MIXED) for batch in batches]
    pending = [engine.launch_score(batch, MIXED) for batch in batches]
    for wait, scores in zip(pending[::-1], expected[::-1], strict=True):  # in any order
        np.testing.assert_array_equal([s.log_p for s in wait()], [s.log_p for s in scores])
    assert engine.ahead() == 0  # a CPU computes when it is asked
