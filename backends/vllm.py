"""Prompt a causal language model through vLLM: batched generation with a prefix cache, on CUDA or CPU."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from backends._chat import ChatEncoder, end_tokens
from backends._chat_template import template_facts
from backends._choices import ChoiceTree
from backends._loading import META, check_vocabulary, is_quantized, load_model, read_config, read_tokenizer
from backends._torch import DType, import_torch, resolve_device, resolve_dtype
from backends._vllm_process import cause_of, end, interruptible, keep, vllm_surroundings
from harness.core.engine import Encoded, Generation, LanguageModel, Messages, Scores
from harness.core.errors import RunError
from harness.core.json_files import read_json

GIB = 2**30
MOST_TOKEN_IDS = 128
"""How many tokens vLLM gives log-probabilities of in one request."""


class VLLMOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: DType = Field("auto", description="of the weights")
    quantization: str | None = Field(None, description="a method of vLLM's: bitsandbytes, awq, gptq, fp8, ...")
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs that share each layer")
    pipeline_parallel_size: int = Field(1, ge=1, description="GPUs, or groups of them, that share the layers")
    max_model_len: int | None = Field(None, ge=1, description="tokens of prompt and answer; default: the model's context")
    block_size: int | None = Field(None, ge=1, description="tokens a block of the prefix cache; default on CPU: 32")
    # In a run's identity by `facts`, and only where one was asked for.
    chat_template: str | None = Field(None, exclude=True, description="which one, of a checkpoint with several")
    # What follows changes speed and memory only, and is no part of a run's identity.
    enforce_eager: bool | None = Field(
        None, exclude=True, description="no compilation and no CUDA graphs; default: on CPU only"
    )
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, exclude=True, description="share of a GPU's memory")
    kv_cache_gib: float | None = Field(None, gt=0, exclude=True, description="room for the cache; default on CPU: 4")
    batch_size: int = Field(256, ge=1, exclude=True, description="rows that are handed over at once")


class VLLM(LanguageModel):
    """A decoder-only model in vLLM's own process. Prompts and answers travel as token ids, so they are those of the
    checkpoint's tokenizer and template, as in the causal_lm engine."""

    Options = VLLMOptions
    libraries = ("vllm",)
    extra = "vllm"
    options: VLLMOptions

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        assert isinstance(model, Path)
        super().__init__(options, model)
        self._source = model
        torch = import_torch("vllm", "The vllm engine")
        self._device = resolve_device(torch, "auto")
        self._dtype = resolve_dtype(torch, self._device, self.options.dtype)
        self._llm: Any = None
        self._parameters: int | None = None

    def facts(self) -> dict[str, Any]:
        return {"device": self._device, "dtype": self._dtype, **template_facts(self._source, self.options.chat_template)}

    def parameters(self) -> int | None:
        return self._parameters

    def batch_size(self) -> int:
        return self.options.batch_size

    def load(self) -> None:
        """Raises `RunError` where vLLM does not start."""
        self._tokenizer = read_tokenizer(self._source, "eos_token")
        self._parameters = self._checked_weights()
        self._chat = ChatEncoder(self._tokenizer, self.options.chat_template)
        self._ends = end_tokens(self._source, self._tokenizer)
        others = set(active_children())
        with vllm_surroundings(self._device) as log, interruptible():
            from vllm import LLM

            try:
                self._llm = LLM(
                    str(self._source),
                    skip_tokenizer_init=True,
                    trust_remote_code=False,
                    disable_log_stats=True,
                    enable_prefix_caching=True,
                    use_tqdm_on_load=False,
                    **self._settings(),
                )
            except (RuntimeError, ValueError) as error:
                if log is not None:
                    keep(log)
                raise RunError(
                    f"vLLM can't load {self._source.name}: {cause_of(error, log)}",
                    f"Too little memory? Lower max_model_len or kv_cache_gib. All that it says: {log or 'above'}",
                ) from error
        self._processes = set(active_children()) - others
        self._context: int = self._llm.llm_engine.model_config.max_model_len

    def _checked_weights(self) -> int | None:
        """The number of parameters. vLLM does not say of every model which weights it has not found: transformers does, where
        it knows the model, and without reading them."""
        from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

        if read_json(self._source / "config.json").get("model_type") not in CONFIG_MAPPING:
            return None
        config = read_config(self._source)
        if is_quantized(config) or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            return None
        sketch = load_model(AutoModelForCausalLM, self._source, **META)
        check_vocabulary(self._tokenizer, sketch.model, self._source)
        return sketch.parameters

    def _settings(self) -> dict[str, Any]:
        options, on_cpu = self.options, self._device == "cpu"
        settings: dict[str, Any] = {
            "dtype": self._dtype,
            "quantization": options.quantization,
            "tensor_parallel_size": options.tensor_parallel_size,
            "pipeline_parallel_size": options.pipeline_parallel_size,
            "gpu_memory_utilization": options.gpu_memory_utilization,
            # Compilation takes minutes on a CPU and gains nothing there.
            "enforce_eager": on_cpu if options.enforce_eager is None else options.enforce_eager,
            "max_model_len": options.max_model_len,
            # A block is cached when it is full: with vLLM's 128 on CPU, an instruction of 100 tokens never would be.
            "block_size": options.block_size or (32 if on_cpu else None),
        }
        room = options.kv_cache_gib or (4 if on_cpu else None)
        return {
            **{name: value for name, value in settings.items() if value is not None},
            **({"kv_cache_memory_bytes": int(room * GIB)} if room else {}),
        }

    def rendered(self, chat: Messages) -> str | None:
        return self._chat.render(chat)

    def encode(self, chats: Sequence[Messages], choices: Sequence[str] | None) -> list[Encoded]:
        return self._chat.encode(chats, choices)

    def generate(self, prompts: Sequence[Encoded], max_new_tokens: int, choices: Sequence[str] | None) -> list[Generation]:
        answers = [Generation("", False, len(prompt.content.ids), 0, error="prompt_too_long") for prompt in prompts]
        if choices is not None:
            fitting = self._fitting(prompts)
            chosen = self._walk([prompts[i] for i in fitting])
            for i, choice in zip(fitting, chosen, strict=True):
                ids, tree = prompts[i].content.ids, prompts[i].content.tree
                answers[i] = Generation(choices[choice], True, len(ids), len(tree.choices[choice]))
            return answers
        fitting = [i for i, prompt in enumerate(prompts) if prompt.tokens + max_new_tokens <= self._context]
        outputs = self._run([prompts[i].content.ids for i in fitting], [self._params(max_tokens=max_new_tokens)] * len(fitting))
        for i, output in zip(fitting, outputs, strict=True):
            answers[i] = self._chat.generation(prompts[i].content.ids, list(output.outputs[0].token_ids), self._ends)
        return answers

    def _walk(self, prompts: Sequence[Encoded]) -> list[int]:
        """The constrained greedy answers, token by token: of those that may follow, the likeliest."""
        paths: list[tuple[int, ...]] = [()] * len(prompts)
        while True:
            following = [prompt.content.tree.following(path) for prompt, path in zip(prompts, paths, strict=True)]
            if not any(following):
                return [p.content.tree.choices.index(path) for p, path in zip(prompts, paths, strict=True)]
            open_ = [i for i, tokens in enumerate(following) if len(tokens) > 1]
            log_p = self._log_p([[*prompts[i].content.ids, *paths[i]] for i in open_], [following[i] for i in open_])
            likeliest = {i: following[i][int(np.argmax(values))] for i, values in zip(open_, log_p, strict=True)}
            for i, tokens in enumerate(following):
                if tokens:
                    paths[i] = (*paths[i], likeliest.get(i, tokens[0]))

    def score(self, prompts: Sequence[Encoded], choices: Sequence[str]) -> list[Scores]:
        scores = [Scores(None, len(prompt.content.ids), error="prompt_too_long") for prompt in prompts]
        fitting = self._fitting(prompts)
        jobs = [(i, node) for i in fitting for node in range(len(prompts[i].content.tree.nodes))]
        trees: list[ChoiceTree] = [prompt.content.tree for prompt in prompts]
        log_p = self._log_p(
            [[*prompts[i].content.ids, *trees[i].nodes[node]] for i, node in jobs],
            [trees[i].following(trees[i].nodes[node]) for i, node in jobs],
        )
        edges: dict[int, list[float]] = {i: [] for i in fitting}
        for (i, _), values in zip(jobs, log_p, strict=True):
            edges[i] += values  # edges are in the order of their nodes, and by token at each
        for i in fitting:
            scores[i] = Scores(trees[i].log_p(np.array(edges[i])), len(prompts[i].content.ids), 1)
        return scores

    def _fitting(self, prompts: Sequence[Encoded]) -> list[int]:
        return [i for i, p in enumerate(prompts) if len(p.content.ids) + p.content.tree.longest <= self._context]

    def _log_p(self, prompts: list[list[int]], tokens: list[list[int]]) -> list[list[float]]:
        """log p of each of `tokens[i]` as the next token after `prompts[i]`."""
        parts = [
            (i, ids[at : at + MOST_TOKEN_IDS]) for i, ids in enumerate(tokens) for at in range(0, len(ids), MOST_TOKEN_IDS)
        ]
        params = [self._params(max_tokens=1, logprob_token_ids=part) for _, part in parts]
        found: list[list[float]] = [[] for _ in prompts]
        for (i, part), output in zip(parts, self._run([prompts[i] for i, _ in parts], params), strict=True):
            (at_first,) = output.outputs[0].logprobs
            found[i] += [at_first[token].logprob for token in part]
        return found

    def _params(self, **settings: Any) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=0,
            stop_token_ids=self._ends,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            **settings,
        )

    def _run(self, prompts: list[list[int]], params: list[Any]) -> list[Any]:
        if not prompts:
            return []
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            outputs: list[Any] = self._llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
        except EngineDeadError as error:
            raise RunError(
                "vLLM's process died.", "Most often for want of memory: lower max_model_len or kv_cache_gib."
            ) from error
        return outputs

    def reset(self) -> None:
        self._llm.reset_prefix_cache()

    def close(self) -> None:
        if self._llm is None:
            return
        try:
            self._llm.llm_engine.engine_core.shutdown()
        finally:
            self._llm = None
            end(self._processes)
