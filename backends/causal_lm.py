"""Prompt a causal language model through transformers; 4-bit NF4 by bitsandbytes on CUDA and on CPU."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from backends._chat import ChatEncoder, common_prefix
from backends._torch import Device, DType, free, import_torch, out_of_memory_named, resolve_device, resolve_dtype
from backends.base import FloatArray, Generation, LanguageModel, Messages
from harness.errors import MissingExtra


class CausalLMOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    quantization: Literal["none", "nf4"] = Field("none", description="`nf4`: 4-bit NormalFloat, double quantization")
    batch_size: int = Field(16, ge=1)
    device: Device = "auto"
    dtype: DType = Field("auto", description="of the weights; with nf4, of the computation")


class CausalLM(LanguageModel):
    """A decoder-only model. The instruction that a run's prompts share is computed once and kept."""

    Options = CausalLMOptions
    libraries = ("torch", "transformers", "accelerate", "safetensors")
    extra = "llm"
    options: CausalLMOptions

    def __init__(self, options: BaseModel, model: Path | None) -> None:
        assert model is not None
        super().__init__(options, model)
        self._source = model
        self._torch = import_torch("llm", "The causal_lm engine")
        self._device = resolve_device(self._torch, self.options.device)
        self._dtype = resolve_dtype(self._torch, self._device, self.options.dtype)
        self._model: Any = None
        self._tokenizer: Any = None
        self._prefix: tuple[list[int], Any] = ([], None)

    def facts(self) -> dict[str, Any]:
        return {"device": self._device, "dtype": self._dtype}

    def batch_size(self) -> int:
        return self.options.batch_size

    def load(self) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

        self._tokenizer = AutoTokenizer.from_pretrained(self._source)
        self._chat = ChatEncoder(self._tokenizer)
        with out_of_memory_named(self._torch):
            self._model = AutoModelForCausalLM.from_pretrained(
                self._source,
                dtype=getattr(self._torch, self._dtype),
                quantization_config=self._quantization(),
                device_map={"": self._device},
                use_safetensors=True,
            ).eval()
        _unpack_odd_layers(self._model)
        config = self._model.config.get_text_config()
        self._context: int = getattr(config, "max_position_embeddings", None) or sys.maxsize  # ALiBi models name no limit
        self._window: int = getattr(config, "sliding_window", None) or sys.maxsize
        ends = self._model.generation_config.eos_token_id
        self._ends: list[int] = ends if isinstance(ends, list) else [ends if ends is not None else self._tokenizer.eos_token_id]
        pad = self._tokenizer.pad_token_id
        self._pad: int = self._ends[0] if pad is None else pad
        # Of the checkpoint's own settings, those of sampling would warn, and a repetition penalty would punish every label
        # that the instruction names.
        self._model.generation_config = GenerationConfig(eos_token_id=self._ends, pad_token_id=self._pad)

    def _quantization(self) -> Any:
        if self.options.quantization == "none":
            return None
        from transformers import BitsAndBytesConfig

        try:
            import bitsandbytes  # noqa: F401
        except ImportError as error:
            raise MissingExtra("bitsandbytes", "llm", "4-bit quantization") from error
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(self._torch, self._dtype),
        )

    def generate(self, chats: Sequence[Messages], max_new_tokens: int, choices: Sequence[str] | None) -> list[Generation]:
        encoded = [
            self._chat.prompt_and_choices(chat, choices or ()) if choices else (self._chat.prompt(chat), []) for chat in chats
        ]
        if choices:  # a choice ends where it ends
            max_new_tokens = max(len(tail) for _, tails in encoded for tail in tails) + 1
        answers = [Generation("", False, len(prompt), 0, error="prompt_too_long") for prompt, _ in encoded]
        fitting = [i for i, (prompt, _) in enumerate(encoded) if len(prompt) + max_new_tokens <= self._context]
        if fitting:
            texts = [{tuple(tail): text for tail, text in zip(encoded[i][1], choices or (), strict=True)} for i in fitting]
            generated = self._generate([encoded[i][0] for i in fitting], max_new_tokens, texts)
            for i, answer in zip(fitting, generated, strict=True):
                answers[i] = answer
        return answers

    def _generate(
        self, prompts: list[list[int]], max_new_tokens: int, choices: list[dict[tuple[int, ...], str]]
    ) -> list[Generation]:
        """`choices` holds for each row the answers that it may give, by their tokens; an empty one allows any text."""
        torch = self._torch
        constrained = bool(choices[0])
        with out_of_memory_named(torch), torch.inference_mode():
            ids, mask, cache, _ = self._batch(prompts, max_new_tokens)
            width = ids.shape[1]

            def allowed(row: int, sequence: Any) -> list[int]:
                so_far = tuple(sequence[width:].tolist())
                follow = [c[len(so_far)] for c in choices[row] if c[: len(so_far)] == so_far and len(c) > len(so_far)]
                return follow + (self._ends if so_far in choices[row] or not follow else [])

            output = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                past_key_values=cache,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=self._pad,
                eos_token_id=self._ends,
                prefix_allowed_tokens_fn=allowed if constrained else None,
            )[:, width:].tolist()
        return [self._generation(*row) for row in zip(prompts, output, choices, strict=True)]

    def _generation(self, prompt: list[int], new: list[int], choices: dict[tuple[int, ...], str]) -> Generation:
        end = next((i for i, token in enumerate(new) if token in self._ends), None)
        answer = new if end is None else new[:end]
        # A choice's tokens may decode to more than the choice: the template's space, or the end of the prompt.
        text = choices[tuple(answer)] if choices else self._tokenizer.decode(answer, skip_special_tokens=True)
        return Generation(text, end is not None, len(prompt), len(new) if end is None else end + 1)

    def score(self, chats: Sequence[Messages], choices: Sequence[str]) -> FloatArray:
        scores = np.full((len(chats), len(choices)), np.nan)
        jobs: list[tuple[int, list[int], list[int], list[list[int]]]] = []
        for row, chat in enumerate(chats):
            prompt, tails = self._chat.prompt_and_choices(chat, choices)
            if len(prompt) + max(map(len, tails)) > self._context:
                continue
            # Choices that differ in their last token only are read off one pass.
            for stem in dict.fromkeys(tuple(tail[:-1]) for tail in tails):
                jobs.append((row, prompt, list(stem), tails))
        if jobs:
            self._score(jobs, scores)
        return scores

    def _score(self, jobs: list[tuple[int, list[int], list[int], list[list[int]]]], scores: FloatArray) -> None:
        """Fill in log p of every choice: the sum over its tokens of log p(token | prompt, tokens before)."""
        torch = self._torch
        depth = max(len(stem) for _, _, stem, _ in jobs) + 1
        with out_of_memory_named(torch), torch.inference_mode():
            ids, mask, cache, start = self._batch([prompt + stem for _, prompt, stem, _ in jobs])
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            logits = self._model(
                input_ids=ids[:, start:],
                attention_mask=mask,
                position_ids=positions[:, start:],
                past_key_values=cache,
                logits_to_keep=depth,
            ).logits
            log_p = torch.log_softmax(logits.double(), dim=-1).cpu().numpy()
        for job, (row, _, stem, tails) in enumerate(jobs):
            first = depth - 1 - len(stem)
            for column, tail in enumerate(tails):
                if tail[:-1] == stem:
                    scores[row, column] = sum(log_p[job, first + i, token] for i, token in enumerate(tail))

    def _batch(self, prompts: list[list[int]], new_tokens: int = 0) -> tuple[Any, Any, Any, int]:
        """Ids and mask, shape (rows, width); the cache of the shared prefix, and its length.

        Rows are padded between the shared prefix and their own tokens, so that the prefix is computed once and all
        rows end at the same place.
        """
        torch = self._torch
        width = max(map(len, prompts))
        prefix, shared = self._shared_prefix(prompts, width + new_tokens)
        start = len(prefix)
        ids = torch.full((len(prompts), width), self._pad)
        mask = torch.zeros((len(prompts), width), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            own = len(prompt) - start
            ids[row, :start], ids[row, width - own :] = torch.tensor(prompt[:start]), torch.tensor(prompt[start:])
            mask[row, :start], mask[row, width - own :] = 1, 1
        cache = None
        if start:
            cache = copy.deepcopy(shared)
            cache.batch_repeat_interleave(len(prompts))
        return ids.to(self._device), mask.to(self._device), cache, start

    def _shared_prefix(self, prompts: list[list[int]], width: int) -> tuple[list[int], Any]:
        """What all prompts start with, and its key-value cache; kept for the next batch that starts alike.

        It depends on this batch alone, never on the ones before, so that a resumed run computes what an undisturbed
        one would, to the last bit.
        """
        shared = common_prefix([prompt[:-1] for prompt in prompts])  # every row needs a token of its own
        # A sliding window counts padding too: where it is narrower than the rows, padding must come first.
        if not shared or len(prompts) == 1 or width > self._window:
            return [], None
        if shared != self._prefix[0]:
            ids = self._torch.tensor([shared], device=self._device)
            self._prefix = (shared, self._model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values)
        return self._prefix

    def close(self) -> None:
        self._model, self._prefix = None, ([], None)
        free(self._torch)


def _unpack_odd_layers(model: Any) -> None:
    """Keep bitsandbytes from packing 4-bit layers for its fast CPU kernel that this kernel has no shape for."""
    for module in model.modules():
        # Not isinstance: the class may only be imported where something was quantized.
        if type(module).__name__ == "Linear4bit" and (module.out_features % 32 or module.in_features % 64):
            module.support_avx512bf16_for_cpu = False
