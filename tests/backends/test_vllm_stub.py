"""The vllm engine without vLLM: a small model answers its requests as vLLM does, and the causal_lm engine is the reference."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import CHAT_KINDS

from backends._vllm_arguments import OWN, SPEED, _known
from backends._vllm_requests import Asking, Requests
from backends.causal_lm import CausalLM
from backends.vllm import VLLM, VLLMOptions
from harness.core.engine import LanguageModel, ListOf, Messages
from harness.core.errors import UserError
from harness.specs.backend_specs import BackendSpec, validated_options

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
        self.asked = 0

    def add(self, name: str, ids: list[int], params: Any) -> None:
        self.open.append((name, list(ids), params))
        self.asked += 1

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


class Countdown:
    """Finishes the request that needs the fewest further steps; the output is how many it took. `open`: those in flight."""

    def __init__(self) -> None:
        self.open: dict[str, int] = {}
        self.log: list[int] = []

    def add(self, name: str, ids: list[int], params: Any) -> None:
        self.open[name] = len(ids)

    def step(self) -> list[tuple[str, Any]]:
        name = min(self.open, key=lambda name: self.open[name])
        took = self.open.pop(name)
        self.log.append(took)
        return [(name, took)]

    def abort(self, names: list[str]) -> None:
        raise AssertionError


def test_a_row_goes_on_before_others_are_done() -> None:
    def asking(*rounds: list[int]) -> Asking[list[Any]]:
        found = []
        for lengths in rounds:
            found.append((yield [([0] * length, None) for length in lengths]))
        return found

    computer = Countdown()
    requests = Requests(computer)
    long, short = requests.launch([asking([9]), asking([2, 1], [], [3])]), requests.launch([asking([4]), asking()])
    assert sorted(computer.open.values()) == [1, 2, 4, 9]
    assert short() == [[[4]], []]
    assert computer.log == [1, 2, 3, 4]  # the row of the other batch has asked again meanwhile
    assert long() == [[[9]], [[2, 1], [], [3]]]
    assert not computer.open


@pytest.mark.parametrize("choices", [None, NAMES, ListOf(tuple(NAMES), 3)], ids=["free", "names", "lists"])
def test_batches_in_flight_together_have_the_answers_of_one_after_the_other(pair: tuple[Stub, CausalLM], choices: Any) -> None:
    engine, _ = pair
    assert engine._requests is not None
    computer: Any = engine._requests._engine
    prompts = engine.encode(CHATS, choices)
    expected = [engine.generate([prompt], 6, choices) for prompt in prompts]
    asked = computer.asked
    pending = [engine.launch_generate([prompt], 6, choices) for prompt in prompts]
    assert computer.asked == asked + len(prompts)
    assert [collect() for collect in pending[::-1]] == expected[::-1]
    assert not computer.open


def test_what_nobody_waits_for_is_dropped(pair: tuple[Stub, CausalLM]) -> None:
    engine, _ = pair
    engine._llm = SimpleNamespace(reset_prefix_cache=lambda: None)
    prompts = engine.encode(CHATS, NAMES)
    expected = engine.score(prompts, NAMES)
    engine.launch_score(prompts, NAMES)
    assert engine._requests is not None
    computer: Any = engine._requests._engine
    late = computer.open[0]
    engine.reset()
    assert not computer.open
    computer.open.append(late)  # an output that was under way already
    found = engine.score(prompts, NAMES)
    np.testing.assert_array_equal([row.log_p for row in found], [row.log_p for row in expected])


def test_settings_of_a_cpu_and_those_that_were_chosen(mistrals: dict[str, Path]) -> None:
    def settings(**options: Any) -> dict[str, Any]:
        engine = VLLM(VLLMOptions.model_validate(options), mistrals["chatml"])
        engine._device, engine._dtype = "cpu", "float32"
        return engine._settings()

    sizes = {"tensor_parallel_size": 1, "pipeline_parallel_size": 1, "gpu_memory_utilization": 0.9}
    on_cpu = {"enforce_eager": True, "block_size": 32, "kv_cache_memory_bytes": 4 * 2**30}
    assert settings() == {**sizes, **on_cpu, "dtype": "float32"}
    chosen = {"enforce_eager": False, "block_size": 16, "quantization": "awq", "max_model_len": 99}
    passed = {"max_num_seqs": 7, "kv_cache_dtype": "fp8"}
    assert settings(engine_args=passed) == {**sizes, **on_cpu, **passed, "dtype": "float32"}
    assert settings(kv_cache_gib=0.5, **chosen) == {**sizes, **chosen, "dtype": "float32", "kv_cache_memory_bytes": 2**29}


def test_arguments_that_may_change_answers_are_part_of_the_identity() -> None:
    def identity(**arguments: Any) -> Any:
        return VLLMOptions.model_validate({"engine_args": arguments}).model_dump(mode="json").get("engine_args")

    assert identity() is None  # as before there was this option
    assert identity(max_num_seqs=7, max_num_batched_tokens=64) is None
    assert identity(max_num_seqs=7, kv_cache_dtype="fp8") == {"kv_cache_dtype": "fp8"}
    speed, other = (VLLMOptions.model_validate({"engine_args": {"max_num_seqs": number}}) for number in (7, 8))
    assert repr(speed) != repr(other)  # by which a loaded engine is known


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed")
def test_an_unknown_argument_is_told_with_the_nearest() -> None:
    spec = BackendSpec(name="mine", description="d", engine="vllm", model="packaged:smollm2")
    for arguments, hint in (({"max_num_seq": 7}, "max_num_seqs"), ({"dtype": "float16"}, "the option dtype")):
        with pytest.raises(UserError) as caught:
            validated_options(spec.model_copy(update={"options": {"engine_args": arguments}}))
        assert hint in caught.value.hint


def test_vllm_has_the_arguments_that_change_no_answers() -> None:
    known = _known()
    assert not known or known >= {*SPEED, *OWN}


def test_the_length_that_vllm_is_loaded_for(mistrals: dict[str, Path], tmp_path: Path) -> None:
    def sized(folder: Path, tokens: int, **options: Any) -> Any:
        engine = VLLM(VLLMOptions.model_validate(options), folder)
        if engine.is_sized():
            assert engine.make_room(tokens)
        return engine._settings().get("max_model_len")

    def changed(name: str, **changes: Any) -> Path:
        folder = tmp_path / name
        shutil.copytree(mistrals["chatml"], folder)
        config = json.loads((folder / "config.json").read_text()) | {"max_position_embeddings": 1024, **changes}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    folder = changed("plain")
    assert [sized(folder, tokens) for tokens in (200, 256, 257)] == [256, 256, 512]
    assert [sized(folder, tokens) for tokens in (1024, 1025)] == [None, None]  # vLLM's own choice: the model's context
    assert sized(folder, 200, max_model_len=99) == 99
    # Answers of a model with such rotary positions depend on the length: it stays the model's own.
    assert sized(changed("long", rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}), 200) is None
    assert sized(changed("unknown", model_type="known_to_vllm_alone"), 200) == 256
    assert sized(changed("unnamed", max_position_embeddings=None), 200) is None


def test_a_loaded_engine_tells_whether_prompts_fit(pair: tuple[Stub, CausalLM]) -> None:
    engine, _ = pair
    assert engine.make_room(10)
    engine._llm = SimpleNamespace()
    assert engine.make_room(engine._context)
    assert not engine.make_room(engine._context + 1)
