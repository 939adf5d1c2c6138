"""The beginning that prompts share: computed once in a run, attended to in place, and no part of a batch's tokens."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from oracles import DIGITS, MIXED, chats_of, generate, loaded, oracle_choice, oracle_scores, oracle_text, score
from tiny_models import CHAT_KINDS
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from backends._shared_prefix import ATTENTION, Packed, SharedPrefix, _attend, attending_to
from backends.causal_lm import CACHE_BYTES, CausalLM
from harness.core.engine import Encoded, Messages
from harness.core.types import Example
from harness.running.batching import Item, by_tokens

RULES = "Rate the review from 0 to 4. " + "Ignore the price of it. " * 4
TEXTS = ["bad lid", "bad kettle", "bad", "good, it works very well", "so-so", "very very good"]


@pytest.fixture
def engine(engines: dict[str, CausalLM]) -> Any:
    """With nothing kept of another test, and nothing left for the next."""
    found = engines["chatml"]
    found.reset()
    yield found
    found.reset()


def watched(engine: CausalLM, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and tokens of each pass that follows."""
    passes: list[tuple[int, int]] = []
    forward = engine._model.forward

    def watching(**given: Any) -> Any:
        passes.append(tuple(given["input_ids"].shape))
        return forward(**given)

    monkeypatch.setattr(engine._model, "forward", watching)
    return passes


def of_run(engine: CausalLM, chats: list[Messages], choices: list[str]) -> list[Encoded]:
    engine.share(engine.encode(chats, choices))
    return engine.encode(chats, choices)


def scored(engine: CausalLM, prompts: list[Encoded], choices: list[str]) -> Any:
    return np.array([row.log_p for row in engine.score(prompts, choices)])


@pytest.mark.parametrize(("heads", "kinds"), [(4, 4), (6, 2)])
@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_that_over_the_shared_and_the_own_tokens(heads: int, kinds: int, tokens: int, masked: bool) -> None:
    """torch's own, over both together, with the shared keys and values repeated for each row."""
    torch.manual_seed(0)
    rows, shared, size = 3, 7, 16
    query = torch.randn(rows, heads, tokens, size)
    key, value = (torch.randn(rows, kinds, tokens, size) for _ in range(2))
    keys, values = (torch.randn(1, kinds, shared, size) for _ in range(2))
    sees = torch.ones(tokens, tokens, dtype=torch.bool).tril().expand(rows, 1, -1, -1).clone()
    if masked and tokens > 1:
        sees[0, :, :, :2] = False  # padding before the row's own tokens, whose own places see nothing
    module = SimpleNamespace(layer_idx=0, num_key_value_groups=heads // kinds)
    with attending_to(SharedPrefix([0] * shared, [(keys, values)])):
        found, _ = _attend(module, query, key, value, sees if masked else None, scaling=0.3)
    everything = torch.cat([torch.ones(rows, 1, tokens, shared, dtype=torch.bool), sees], -1)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query,
        torch.cat([keys.expand(rows, -1, -1, -1), key], 2).repeat_interleave(heads // kinds, 1),
        torch.cat([values.expand(rows, -1, -1, -1), value], 2).repeat_interleave(heads // kinds, 1),
        attn_mask=everything,
        scale=0.3,
    )
    torch.testing.assert_close(found, expected.transpose(1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("heads", "kinds"), [(4, 4), (6, 2)])
@pytest.mark.parametrize("shared", [0, 7])
def test_attention_of_packed_rows_is_that_of_each_row_alone(heads: int, kinds: int, shared: int) -> None:
    """torch's own, row by row, the last two tokens of each not seeing each other."""
    torch.manual_seed(0)
    lengths, size, width = [3, 5, 2], 16, 5
    query = torch.randn(1, heads, sum(lengths), size)
    key, value = (torch.randn(1, kinds, sum(lengths), size) for _ in range(2))
    keys, values = (torch.randn(1, kinds, shared, size) for _ in range(2))
    sees = torch.ones(width, width, dtype=torch.bool).tril()
    sees[-1, -2] = False
    module = SimpleNamespace(layer_idx=0, num_key_value_groups=heads // kinds)
    prefix = SharedPrefix([0] * shared, [(keys, values)]) if shared else None
    with attending_to(prefix, Packed.of(lengths, sees, torch.float32)):
        found, _ = _attend(module, query, key, value, None, scaling=0.3)
    assert found.shape == (1, sum(lengths), heads, size)
    for n, length in enumerate(lengths):
        row = slice(sum(lengths[:n]), sum(lengths[: n + 1]))
        expected = torch.nn.functional.scaled_dot_product_attention(
            query[:, :, row],
            torch.cat([keys, key[:, :, row]], 2).repeat_interleave(heads // kinds, 1),
            torch.cat([values, value[:, :, row]], 2).repeat_interleave(heads // kinds, 1),
            attn_mask=torch.cat([torch.ones(length, shared, dtype=torch.bool), sees[-length:, -length:]], -1),
            scale=0.3,
        )
        torch.testing.assert_close(found[:, row], expected.transpose(1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [1, 5])
def test_no_key_is_repeated_for_heads_that_share_it(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a mask is given, and nothing is shared."""
    torch.manual_seed(0)
    query = torch.randn(3, 6, tokens, 16)
    key, value = (torch.randn(3, 2, 9, 16) for _ in range(2))
    sees = torch.ones(3, 1, tokens, 9, dtype=torch.bool)
    sees[0, :, :, :4] = False
    module = SimpleNamespace(layer_idx=0, num_key_value_groups=3)
    expected, _ = sdpa_attention_forward(module, query, key, value, sees, scaling=0.3)
    monkeypatch.delattr("transformers.integrations.sdpa_attention.repeat_kv")
    found, _ = _attend(module, query, key, value, sees, scaling=0.3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_scores_that_an_argument_changes_are_refused_not_computed_wrongly() -> None:
    part = torch.randn(1, 2, 3, 8)
    with attending_to(SharedPrefix([0], [(part[:, :, :1], part[:, :, :1])])), pytest.raises(NotImplementedError):
        _attend(SimpleNamespace(layer_idx=0), part, part, part, None, softcap=30.0)


@pytest.mark.parametrize("kind", CHAT_KINDS)
@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "copied"])
def test_answers_of_a_run_are_those_of_plain_forward_passes(
    kind: str, in_place: bool, engines: dict[str, CausalLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines[kind]
    assert engine._in_place
    monkeypatch.setattr(engine, "_in_place", in_place)
    engine.reset()
    chats = chats_of(TEXTS, RULES)
    for choices in (DIGITS, MIXED):
        prompts = of_run(engine, chats, choices)
        assert all(prompt.shared > 20 for prompt in prompts)
        np.testing.assert_allclose(scored(engine, prompts, choices), oracle_scores(engine, chats, choices), atol=1e-4)
        np.testing.assert_allclose(scored(engine, prompts[:1], choices), oracle_scores(engine, chats[:1], choices), atol=1e-4)
        answers = engine.generate(prompts, 1, choices)
        assert [answer.text for answer in answers] == [oracle_choice(engine, chat, choices) for chat in chats]
    engine.share(engine.encode(chats, None))
    assert [answer.text for answer in generate(engine, chats, 6, None)] == [oracle_text(engine, chat, 6) for chat in chats]
    engine.reset()


def test_the_shared_beginning_is_computed_once_in_a_run(engine: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a batch whose rows share more with each other, and for one of a single row."""
    prompts = of_run(engine, chats_of(TEXTS, RULES), DIGITS)
    shared = prompts[0].shared
    assert {prompt.shared for prompt in prompts} == {shared}
    passes = watched(engine, monkeypatch)
    for batch in (prompts[:2], prompts[2:5], prompts[5:]):
        engine.score(batch, DIGITS)
    own = [prompt.tokens - shared for prompt in prompts]
    assert len(set(own)) > 1
    assert passes == [(1, shared), (1, sum(own[:2])), (1, sum(own[2:5])), (1, own[5])]  # no padding


def test_a_resumed_run_computes_the_same_bits(engine: CausalLM) -> None:
    chats = chats_of(TEXTS, RULES)
    prompts = of_run(engine, chats, MIXED)
    whole = [scored(engine, prompts[start : start + 2], MIXED) for start in (0, 2, 4)]
    for at in (2, 1):
        engine.reset()
        prompts = of_run(engine, chats, MIXED)
        np.testing.assert_array_equal(scored(engine, prompts[2 * at : 2 * at + 2], MIXED), whole[at])


def test_a_prompt_that_the_sample_did_not_foresee(engine: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its batch uses the part of the run's beginning that it shares; nothing is computed anew."""
    chats, other = chats_of(TEXTS, RULES), chats_of(["the lid"], RULES[:40] + " Be strict.")
    engine.share(engine.encode(chats, DIGITS))
    prompts = engine.encode([*chats, *other], DIGITS)
    assert 0 < prompts[-1].shared < prompts[0].shared
    engine.score(prompts[:2], DIGITS)
    passes = watched(engine, monkeypatch)
    found = scored(engine, prompts[-2:], DIGITS)
    assert len(passes) == 1
    monkeypatch.undo()
    np.testing.assert_allclose(found, oracle_scores(engine, [chats[-1], *other], DIGITS), atol=1e-4)


def test_without_a_run_nothing_is_shared_beyond_the_batch(engine: CausalLM) -> None:
    assert {prompt.shared for prompt in engine.encode(chats_of(TEXTS, RULES), DIGITS)} == {0}


def test_a_model_that_can_not_attend_in_place_copies_within_a_bound(mistrals: dict[str, Path]) -> None:
    class Strange(CausalLM):
        def _try_sharing(self) -> None:
            self._model.set_attn_implementation("eager")  # which adds up its scores itself
            super()._try_sharing()

    plain = loaded(mistrals["chatml"])
    engine = Strange(plain.options, mistrals["chatml"])
    engine.load()
    config = engine._model.config
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    assert (plain._in_place, plain.cache_tokens(), plain._model.config._attn_implementation) == (True, None, ATTENTION)
    assert (engine._in_place, engine.cache_tokens()) == (False, CACHE_BYTES // per_token)
    chats = chats_of(TEXTS, RULES)
    np.testing.assert_allclose(score(engine, chats, MIXED), score(plain, chats, MIXED), atol=1e-4)


def items_of(*sizes: tuple[int, int]) -> list[Item]:
    """Prompts of so many tokens, of which so many are shared."""
    return [
        Item([Example(f"{n}", f"{n}", 0, "en")], Encoded(tokens, None, shared=shared))
        for n, (tokens, shared) in enumerate(sizes)
    ]


def test_a_batch_counts_own_tokens() -> None:
    """A long instruction alone is longer than the whole budget."""
    items = items_of(*[(2048 + n, 2000) for n in range(20)])
    sizes = [len(batch) for batch in by_tokens(items, 256, 512, 0)]
    assert sizes == [7, 8, 5]  # 512 // 67, 512 // 60, the rest
    assert [len(batch) for batch in by_tokens(items, 256, 512, 36)] == [4, 5, 5, 5, 1]
    assert [len(batch) for batch in by_tokens(items, 256, 512, 0, cached=6300)] == [3, 3, 3, 3, 3, 3, 2]
    assert [len(batch) for batch in by_tokens(items_of((900, 0), (900, 0)), 256, 512, 0, cached=100)] == [1, 1]
