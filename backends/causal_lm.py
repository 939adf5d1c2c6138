"""Prompt a causal language model through transformers; 4-bit NF4 by bitsandbytes on CUDA and on CPU."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from backends._chat import ChatEncoder, common_prefix, end_tokens
from backends._chat_template import template_facts
from backends._choices import ChoiceTree
from backends._loading import META, check_vocabulary, load_model, read_tokenizer
from backends._torch import Device, DType, free, import_torch, out_of_memory_named, resolve_device, resolve_dtype
from harness.core.engine import Encoded, Generation, LanguageModel, Messages, Scores
from harness.core.errors import MissingExtra
from harness.core.types import FloatArray


class CausalLMOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    quantization: Literal["none", "nf4"] = Field("none", description="`nf4`: 4-bit NormalFloat, double quantization")
    batch_tokens: int | None = Field(
        None, ge=1, description="rows times the longest prompt and its new tokens, at most; default: 2048 on CPU, 8192 on a GPU"
    )
    device: Device = Field("auto", description="where it computes; `auto`: a GPU where there is one")
    dtype: DType = Field("auto", description="of the weights; with nf4, of the computation")
    # In a run's identity by `facts`, and only where one was asked for.
    chat_template: str | None = Field(None, exclude=True, description="which one, of a checkpoint with several")


class CausalLM(LanguageModel):
    """A decoder-only model. The instruction that a run's prompts share is computed once and kept."""

    Options = CausalLMOptions
    libraries = ("torch", "transformers", "accelerate", "safetensors")
    extra = "llm"
    options: CausalLMOptions

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        assert isinstance(model, Path)
        super().__init__(options, model)
        self._source = model
        self._torch = import_torch("llm", "The causal_lm engine")
        self._device = resolve_device(self._torch, self.options.device)
        self._dtype = resolve_dtype(self._torch, self._device, self.options.dtype)
        self._model: Any = None
        self._tokenizer: Any = None
        self._prefix: tuple[list[int], Any] = ([], None)
        self._parameters: int | None = None

    def facts(self) -> dict[str, Any]:
        return {"device": self._device, "dtype": self._dtype, **template_facts(self._source, self.options.chat_template)}

    def parameters(self) -> int | None:
        return self._parameters

    def batch_size(self) -> int:
        return 256

    def batch_tokens(self) -> int:
        # A CPU gains nothing from more: what a batch needs should stay in its caches.
        return self.options.batch_tokens or (2048 if self._device == "cpu" else 8192)

    def load(self) -> None:
        from transformers import AutoModelForCausalLM, GenerationConfig

        self._tokenizer = read_tokenizer(self._source, "eos_token")
        self._chat = ChatEncoder(self._tokenizer, self.options.chat_template)
        quantization = self._quantization()
        # What packs weights does not look at their shapes, and hides their number.
        sketch = None if quantization is None else load_model(AutoModelForCausalLM, self._source, **META)
        loaded = load_model(
            AutoModelForCausalLM,
            self._source,
            dtype=getattr(self._torch, self._dtype),
            quantization_config=quantization,
            device_map={"": self._device},
        )
        self._model = loaded.model.eval()
        self._parameters = (sketch or loaded).parameters
        check_vocabulary(self._tokenizer, self._model, self._source)
        _unpack_odd_layers(self._model)
        config = self._model.config.get_text_config()
        self._context: int = getattr(config, "max_position_embeddings", None) or sys.maxsize  # ALiBi models name no limit
        windows = (getattr(config, name, None) for name in ("sliding_window", "window_size"))
        self._window: int = min([window for window in windows if isinstance(window, int)], default=sys.maxsize)
        kinds = set(getattr(config, "layer_types", None) or ())
        self._stateful: bool = self._model._is_stateful or bool(kinds - {"full_attention", "sliding_attention"})
        takes = inspect.signature(self._model.forward).parameters
        self._takes_positions = "position_ids" in takes and not getattr(config, "alibi", False)
        self._ends = end_tokens(self._source, self._tokenizer)
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

    def rendered(self, chat: Messages) -> str | None:
        return self._chat.render(chat)

    def encode(self, chats: Sequence[Messages], choices: Sequence[str] | None) -> list[Encoded]:
        return self._chat.encode(chats, choices)

    def generate(self, prompts: Sequence[Encoded], max_new_tokens: int, choices: Sequence[str] | None) -> list[Generation]:
        if choices is not None:
            return [self._chosen(*row, choices) for row in zip(prompts, self._edges(prompts), strict=True)]
        answers = [Generation("", False, prompt.tokens, 0, error="prompt_too_long") for prompt in prompts]
        fitting = [i for i, prompt in enumerate(prompts) if prompt.tokens + max_new_tokens <= self._context]
        for rows in self._computable_together(fitting):
            generated = self._generate([prompts[i].content.ids for i in rows], max_new_tokens)
            for i, answer in zip(rows, generated, strict=True):
                answers[i] = answer
        return answers

    def _chosen(self, prompt: Encoded, edges: FloatArray | None, choices: Sequence[str]) -> Generation:
        """The constrained greedy answer. All that it could meet on its way was computed in one pass."""
        length, tree = len(prompt.content.ids), prompt.content.tree
        if edges is None:
            return Generation("", False, length, 0, error="prompt_too_long")
        choice = tree.greedy(edges)
        return Generation(choices[choice], True, length, len(tree.choices[choice]))

    def _generate(self, prompts: list[list[int]], max_new_tokens: int) -> list[Generation]:
        torch = self._torch
        with out_of_memory_named(torch), torch.inference_mode():
            ids, mask, cache, _ = self._batch(prompts, max_new_tokens)
            output = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                past_key_values=cache,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=self._pad,
                eos_token_id=self._ends,
            )[:, ids.shape[1] :].tolist()
        return [self._chat.generation(*row, self._ends) for row in zip(prompts, output, strict=True)]

    def score(self, prompts: Sequence[Encoded], choices: Sequence[str]) -> list[Scores]:
        return [self._scores(*row) for row in zip(prompts, self._edges(prompts), strict=True)]

    def _scores(self, prompt: Encoded, edges: FloatArray | None) -> Scores:
        length = len(prompt.content.ids)
        if edges is None:
            return Scores(None, length, error="prompt_too_long")
        return Scores(prompt.content.tree.log_p(edges), length)

    def _edges(self, prompts: Sequence[Encoded]) -> list[FloatArray | None]:
        """log p of every edge of each row's tree, shape (edges,); None where prompt and choices exceed the context."""
        found: list[FloatArray | None] = [None] * len(prompts)
        trees: dict[ChoiceTree, list[int]] = {}  # nearly always one
        for i, prompt in enumerate(prompts):
            if len(prompt.content.ids) + prompt.content.tree.longest <= self._context:
                trees.setdefault(prompt.content.tree, []).append(i)
        for tree, fitting in trees.items():
            for rows in self._computable_together(fitting):
                for i, edges in zip(rows, self._tree([prompts[i].content.ids for i in rows], tree), strict=True):
                    found[i] = edges
        return found

    def _computable_together(self, rows: list[int]) -> list[list[int]]:
        """Layers with a running state (Mamba, short convolutions) would take padding into it: there each row for itself."""
        if not rows or not self._stateful:
            return [rows] if rows else []
        return [[row] for row in rows]

    def _tree(self, prompts: list[list[int]], tree: ChoiceTree) -> FloatArray:
        """log p of each edge, shape (rows, edges): one pass over every prompt with the tree's tokens behind it."""
        if len(tree) and not self._masks_freely(max(map(len, prompts)) + len(tree)):
            return self._node_by_node(prompts, tree)
        torch = self._torch
        nodes, after = tree.nodes, [node[-1] for node in tree.nodes[1:]]
        with out_of_memory_named(torch), torch.inference_mode():
            ids, mask, cache, start = self._batch([prompt + after for prompt in prompts], behind=len(after))
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            if after:
                root = positions[:, -len(nodes)]
                positions[:, -len(after) :] = root[:, None] + torch.tensor([len(n) for n in nodes[1:]], device=root.device)
                mask = self._tree_mask(mask, tree)[:, :, start:]
            logits = self._model(
                input_ids=ids[:, start:],
                attention_mask=mask,
                past_key_values=cache,
                logits_to_keep=len(nodes),
                **({"position_ids": positions[:, start:]} if self._takes_positions else {}),
            ).logits
            at, token = zip(*tree.edges, strict=True)
            log_p = logits[:, at, token].double() - torch.logsumexp(logits.float(), dim=-1).double()[:, at]
        return np.asarray(log_p.cpu().numpy())

    def _tree_mask(self, mask: Any, tree: ChoiceTree) -> Any:
        """Who sees whom, shape (rows, 1, width, width): a node's token sees the prompt and the tokens that lead to it."""
        torch = self._torch
        width, prompt = mask.shape[1], mask.shape[1] - len(tree)
        sees = torch.ones((width, width), dtype=torch.bool, device=mask.device).tril()
        sees[prompt:, prompt:] = torch.tensor(
            [[a == b[: len(a)] for a in tree.nodes[1:]] for b in tree.nodes[1:]], device=mask.device
        )
        sees = sees[None, None] & mask.bool()[:, None, None]
        # To be added to the attention's scores: some implementations take a mask of booleans for numbers.
        dtype = self._model.dtype
        return torch.zeros(sees.shape, dtype=dtype, device=mask.device).masked_fill(~sees, torch.finfo(dtype).min)

    def _node_by_node(self, prompts: list[list[int]], tree: ChoiceTree) -> FloatArray:
        """What `_tree` gives, for models that can't be told who sees whom: the prompt anew for each node."""
        found = np.empty((len(prompts), len(tree.edges)))
        for index, node in enumerate(tree.nodes):
            columns = [column for column, (at, _) in enumerate(tree.edges) if at == index]
            here = ChoiceTree([(tree.edges[column][1],) for column in columns])
            found[:, columns] = self._tree([[*prompt, *node] for prompt in prompts], here)
        return found

    def _masks_freely(self, width: int) -> bool:
        """Whether it can be said of each token which others it sees, and where it stands, in a row of `width` tokens."""
        return width <= self._window and self._takes_positions and not self._stateful

    def _batch(self, prompts: list[list[int]], new_tokens: int = 0, behind: int = 0) -> tuple[Any, Any, Any, int]:
        """Ids and mask, shape (rows, width); the cache of the shared prefix, and its length.

        `behind` tokens at the end of each are no part of the prompt.

        Rows are padded between the shared prefix and their own tokens, so that the prefix is computed once and all
        rows end at the same place.
        """
        torch = self._torch
        width = max(map(len, prompts))
        # Every row needs a token of its own, and what stands behind the prompt is none.
        prefix, shared = self._shared_prefix([prompt[: -1 - behind] for prompt in prompts], width + new_tokens)
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

    def _shared_prefix(self, beginnings: list[list[int]], width: int) -> tuple[list[int], Any]:
        """What all beginnings share, and its key-value cache; kept for the next batch that starts alike.

        It depends on this batch alone, never on the ones before, so that a resumed run computes what an undisturbed
        one would, to the last bit.
        """
        shared = common_prefix(beginnings)
        # A sliding window counts padding too: where it is narrower than the rows, padding must come first.
        if not shared or len(beginnings) == 1 or not self._masks_freely(width):
            return [], None
        if shared != self._prefix[0]:
            ids = self._torch.tensor([shared], device=self._device)
            self._prefix = (shared, self._model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values)
        return self._prefix

    def reset(self) -> None:
        self._prefix = ([], None)

    def close(self) -> None:
        self._model = None
        self.reset()
        free(self._torch)


def _unpack_odd_layers(model: Any) -> None:
    """Keep bitsandbytes from packing 4-bit layers for its fast CPU kernel that this kernel has no shape for."""
    for module in model.modules():
        # Not isinstance: the class may only be imported where something was quantized.
        if type(module).__name__ == "Linear4bit" and (module.out_features % 32 or module.in_features % 64):
            module.support_avx512bf16_for_cpu = False
