"""The vllm engine without vLLM: a small model answers its requests as vLLM does, and the causal_lm engine is the reference."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import CHAT_KINDS

from backends._vllm_requests import Requests
from backends.causal_lm import CausalLM
from backends.vllm import VLLM, VLLMOptions
from harness.core.engine import LanguageModel, ListOf, Messages

CHATS: list[Messages] = [[{"role": "user", "content": f"Rate the kettle{' please' * n}"}] for n in range(5)]
LONG: Messages = [{"role": "user", "content": "kettle " * 600}]
NAMES = ["very good", "good", "neither good nor bad", "very bad"]


class Stub(VLLM):
    """vLLM's requests, answered by the reference's model."""

    def _params(self, max_tokens: int, logprob_token_ids: tuple[int, ...] = ()) -> Any:
        return SimpleNamespace(max_tokens=max_tokens, logprob_token_ids=logprob_token_ids)


class Computer:
    """Answers requests as vLLM's engine does: some at each step, the latest first."""

    def __init__(self, model: Any, ends: list[int]) -> None:
        self._model, self._ends = model, ends
        self.open: list[tuple[str, list[int], Any]] = []
        self.most = self.asked = 0

    def add(self, name: str, ids: list[int], params: Any) -> None:
        self.open.append((name, list(ids), params))
        self.asked += 1
        self.most = max(self.most, len(self.open))

    def step(self) -> list[tuple[str, Any]]:
        assert self.open, "nothing is computed, so that this would wait for ever"
        return [(name, self._answer(ids, params)) for name, ids, params in (self.open.pop() for _ in self.open[:2])]

    def abort(self, names: list[str]) -> None:
        self.open = [request for request in self.open if request[0] not in names]

    @torch.inference_mode()
    def _answer(self, ids: list[int], request: Any) -> Any:
        new: list[int] = []
        found = []
        while len(new) < request.max_tokens and not set(new) & set(self._ends):
            log_p = torch.log_softmax(self._model(torch.tensor([ids + new])).logits[0, -1].double(), dim=-1)
            found.append({token: SimpleNamespace(logprob=float(log_p[token])) for token in request.logprob_token_ids})
            new.append(int(log_p.argmax()))
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=new, logprobs=found)])


@pytest.fixture(params=CHAT_KINDS)
def pair(request: pytest.FixtureRequest, mistrals: dict[str, Path], engines: dict[str, CausalLM]) -> tuple[Stub, CausalLM]:
    engine, reference = Stub(VLLMOptions(), mistrals[request.param]), engines[request.param]
    engine._read_tokenizer()
    engine._context = reference._context
    engine._requests = Requests(Computer(reference._model, reference._ends))
    return engine, reference


def scores(engine: LanguageModel, choices: list[str]) -> Any:
    return np.array([score.log_p for score in engine.score(engine.encode(CHATS, choices), choices)])


def test_lists_are_those_of_causal_lm(pair: tuple[Stub, CausalLM]) -> None:
    lists = ListOf(tuple(NAMES), 3)
    found = [engine.generate(engine.encode([*CHATS, LONG], lists), 9, lists) for engine in pair]
    assert found[0] == found[1]
    assert [answer.error for answer in found[0]] == [None] * len(CHATS) + ["prompt_too_long"]


@pytest.mark.parametrize("choices", [["0", "1", "10"], NAMES], ids=["numbers", "names"])
def test_scores_and_choices_are_those_of_causal_lm(pair: tuple[Stub, CausalLM], choices: list[str]) -> None:
    np.testing.assert_allclose(scores(pair[0], choices), scores(pair[1], choices), atol=1e-4)
    ours, theirs = (engine.generate(engine.encode(CHATS, choices), 99, choices) for engine in pair)
    assert ours == theirs


def test_free_answers_are_those_of_causal_lm(pair: tuple[Stub, CausalLM]) -> None:
    ours, theirs = (engine.generate(engine.encode(CHATS, None), 6, None) for engine in pair)
    assert ours == theirs


@pytest.mark.parametrize("choices", [None, NAMES], ids=["free", "constrained"])
def test_a_prompt_that_is_too_long_fails_alone(pair: tuple[Stub, CausalLM], choices: list[str] | None) -> None:
    for engine in pair:
        answers = engine.generate(engine.encode([CHATS[0], LONG, CHATS[1]], choices), 8, choices)
        assert [answer.error for answer in answers] == [None, "prompt_too_long", None]
        found = engine.score(engine.encode([LONG, CHATS[0]], NAMES), NAMES)
        assert [score.error for score in found] == ["prompt_too_long", None]


def test_settings_of_a_cpu_and_those_that_were_chosen(mistrals: dict[str, Path]) -> None:
    def settings(**options: Any) -> dict[str, Any]:
        engine = VLLM(VLLMOptions.model_validate(options), mistrals["chatml"])
        engine._device, engine._dtype = "cpu", "float32"
        return engine._settings()

    sizes = {"tensor_parallel_size": 1, "pipeline_parallel_size": 1, "gpu_memory_utilization": 0.9}
    on_cpu = {"enforce_eager": True, "block_size": 32, "kv_cache_memory_bytes": 4 * 2**30}
    assert settings() == {**sizes, **on_cpu, "dtype": "float32"}
    chosen = {"enforce_eager": False, "block_size": 16, "quantization": "awq", "max_model_len": 99}
    assert settings(kv_cache_gib=0.5, **chosen) == {**sizes, **chosen, "dtype": "float32", "kv_cache_memory_bytes": 2**29}
