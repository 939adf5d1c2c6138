"""Prompt a causal language model through transformers; 4-bit NF4 by bitsandbytes on CUDA and on CPU."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, Field

from backends._chat import ChoiceTree, TokenModel, TokenModelOptions, TokenPrompt, common_prefix
from backends._lists import ListPrompt, ListWalk
from backends._loading import META, check_vocabulary, load_language_model, nf4
from backends._torch import Device, free, on_device, out_of_memory_named, read_later, require_attention
from harness.core.arrays import FloatArray
from harness.core.engine import Allowed, Encoded, Messages, Pending, at_once, later_option, memory_settings

if TYPE_CHECKING:
    from backends._shared_prefix import SharedPrefix

T = TypeVar("T")
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"]

CACHE_BYTES = 2**30
"""Memory for the keys and values of a batch whose rows each have a copy of those of their common beginning."""

ROOM = 512
"""Tokens that an answer may take. A prompt that may outgrow a sliding window with it is batched as one that shares nothing."""


class LocalModelOptions(TokenModelOptions):
    batch_tokens: int | None = Field(
        None,
        ge=1,
        description="maximum rows × (longest prompt + new tokens), without the beginning that all prompts share; default: 1024 "
        "on CPU, 8192 on a GPU",
    )
    _memory = memory_settings("batch_tokens")
    device: Device = Field("auto", description="`auto`: a GPU where there is one")


class CausalLMOptions(LocalModelOptions):
    quantization: Literal["none", "nf4"] = Field("none", description="`nf4`: 4-bit NormalFloat, double quantization")
    attention: Attention = later_option(
        "auto",
        description="`auto`: sdpa, or eager for a model that has nothing else; flash_attention_2 and 3 need a GPU, their "
        "packages and half precision, flex_attention a GPU",
    )


@dataclass(frozen=True, slots=True)
class _Batch:
    """`ids` and `mask`, shape (rows, width); of the first `start` columns the keys and values are known: of `prefix`, to which
    all rows attend in place, or, where that is None, in the `cache`."""

    ids: Any
    mask: Any
    cache: Any
    start: int
    prefix: SharedPrefix | None

    def attending(self) -> AbstractContextManager[None]:
        if self.prefix is None:
            return nullcontext()
        from backends._shared_prefix import attending_to

        return attending_to(self.prefix)


class CausalLM(TokenModel):
    """A decoder-only model. The beginning that a run's prompts share is computed once and kept."""

    Options: type[LocalModelOptions] = CausalLMOptions
    libraries = ("torch", "transformers", "accelerate", "safetensors")
    extra = "llm"
    shares_beginning = True
    options: LocalModelOptions

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        super().__init__(options, model)
        # A model that is trained here has no such options.
        own = self.options if isinstance(self.options, CausalLMOptions) else CausalLMOptions.model_validate({})
        self._attention, self._quantized = own.attention, own.quantization
        require_attention(self._attention, self._device, self._dtype)
        self._model: Any = None
        self._shared: list[int] = []
        """What the prompts of the run begin with, as far as its sample tells."""
        self._prefix: SharedPrefix | None = None
        """The last one that was computed."""
        self._in_place = False
        self._cache_tokens: int | None = None

    def batch_size(self) -> int:
        return 256

    def batch_tokens(self) -> int:
        # A CPU gains nothing from more: what a batch needs should stay in its caches.
        return self.options.batch_tokens or (1024 if self._device == "cpu" else 8192)

    def cache_tokens(self) -> int | None:
        return self._cache_tokens

    def ahead(self) -> int:
        return 0 if self._device == "cpu" else 1

    def load(self) -> None:
        self._read_tokenizer()
        quantization = self._quantization()
        # Packing weights does not check their shapes, and hides their number.
        sketch = None if quantization is None else load_language_model(self._source, **META)
        loaded = load_language_model(
            self._source,
            dtype=getattr(self._torch, self._dtype),
            quantization_config=quantization,
            device_map={"": self._device},
            **({} if self._attention == "auto" else {"attn_implementation": self._attention}),
        )
        self._model = loaded.model.eval()
        self.parameters = (sketch or loaded).parameters
        check_vocabulary(self._tokenizer, self._model, self._source)
        _unpack_odd_layers(self._model)
        self._know(self._model)
        self._try_sharing()

    def _know(self, model: Any) -> None:
        """What the model can do, and how it ends an answer."""
        from transformers import GenerationConfig

        config = model.config.get_text_config()
        self._context = getattr(config, "max_position_embeddings", None) or sys.maxsize  # ALiBi models name no limit
        windows = (getattr(config, name, None) for name in ("sliding_window", "window_size"))
        self._window: int = min([window for window in windows if isinstance(window, int)], default=sys.maxsize)
        kinds = set(getattr(config, "layer_types", None) or ())
        self._stateful: bool = model._is_stateful or bool(kinds - {"full_attention", "sliding_attention"})
        takes = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in takes and not getattr(config, "alibi", False)
        pad = self._tokenizer.pad_token_id
        self._pad: int = self._ends[0] if pad is None else pad
        # Of the checkpoint's own settings, those of sampling would warn, and a repetition penalty would punish every label
        # that the instruction names.
        model.generation_config = GenerationConfig(eos_token_id=self._ends, pad_token_id=self._pad)

    def _try_sharing(self) -> None:
        """Find out how the rows of a batch can share the keys and values of their common beginning."""
        from backends._shared_prefix import PROBED, probe, read_prefix, shares_in_place

        self._in_place, self._cache_tokens = False, None
        if not self._masks_freely(sum(PROBED)):
            return
        with out_of_memory_named(self._torch), self._torch.inference_mode():
            prefix = read_prefix(self._model, probe(self._model)[: PROBED[0]])
            self._in_place = shares_in_place(self._model, prefix)
        if not self._in_place:
            self._cache_tokens = max(CACHE_BYTES // prefix.bytes_per_token(), 1)

    def share(self, sample: Sequence[Encoded]) -> None:
        self._shared = common_prefix([prompt.content.ids for prompt in sample])
        self._prefix = None

    def encode(self, chats: Sequence[Messages], choices: Allowed | None) -> list[Encoded]:
        encoded = super().encode(chats, choices)
        if not self._shared:
            return encoded
        return [replace(prompt, shared=self._shared_by(prompt)) for prompt in encoded]

    def _shared_by(self, prompt: Encoded) -> int:
        ids = prompt.content.ids
        return min(len(common_prefix([self._shared, ids])), len(ids) - 1) if self._masks_freely(prompt.tokens + ROOM) else 0

    def _quantization(self) -> Any:
        return None if self._quantized == "none" else nf4(self._torch, self._dtype)

    def _write(self, prompts: list[list[int]], max_new_tokens: int) -> Pending[list[list[int]]]:
        found: list[list[int]] = []
        for part in self._computable_together(prompts):
            found += self._continued(part, max_new_tokens)
        return at_once(found)

    def _walk(self, prompts: Sequence[ListPrompt], walks: Sequence[ListWalk]) -> Pending[None]:
        for part in self._computable_together(list(zip(prompts, walks, strict=True))):
            room = max(prompt.room for prompt, _ in part)
            self._continued([prompt.ids for prompt, _ in part], room, [walk for _, walk in part])
        return at_once(None)

    def _continued(self, prompts: list[list[int]], room: int, walks: Sequence[ListWalk] = ()) -> list[list[int]]:
        """The new tokens of each prompt, greedily; with `walks`, those that each of them allows, which takes them in."""
        with self._computing():
            batch = self._batch(prompts, room)
            width = batch.ids.shape[1]
            with batch.attending():
                found: list[list[int]] = self._model.generate(
                    input_ids=batch.ids,
                    attention_mask=batch.mask,
                    past_key_values=batch.cache,
                    max_new_tokens=room,
                    do_sample=False,
                    pad_token_id=self._pad,
                    eos_token_id=self._ends,
                    logits_processor=[_Followed(walks, width, self._ends[0])] if walks else [],
                )[:, width:].tolist()
        return found

    def _edges(self, prompts: Sequence[TokenPrompt]) -> Pending[list[FloatArray]]:
        trees: dict[ChoiceTree, list[int]] = {}  # nearly always one
        for i, prompt in enumerate(prompts):
            assert prompt.tree is not None
            trees.setdefault(prompt.tree, []).append(i)
        launched = [
            (part, self._tree([prompts[i].ids for i in part], tree))
            for tree, rows in trees.items()
            for part in self._computable_together(rows)
        ]

        def in_order() -> list[FloatArray]:
            found = {i: edges for part, pending in launched for i, edges in zip(part, pending(), strict=True)}
            return [found[i] for i in range(len(prompts))]

        return in_order

    def _computable_together(self, rows: list[T]) -> list[list[T]]:
        """Layers with a running state (Mamba, short convolutions) would take padding into it: there each row by itself."""
        if not rows or not self._stateful:
            return [rows] if rows else []
        return [[row] for row in rows]

    def _tree(self, prompts: list[list[int]], tree: ChoiceTree) -> Pending[FloatArray]:
        """log p of each edge, shape (rows, edges): one pass over every prompt with the tree's tokens behind it."""
        free = self._masks_freely(max(map(len, prompts)) + len(tree))
        if len(tree) and (not free or self._attention.startswith("flash")):
            return at_once(self._node_by_node(prompts, tree))
        torch = self._torch
        with self._computing():
            with self._watching_head() as seen:
                logits = (self._packed if free and self._in_place else self._padded)(prompts, tree)
            at, token = on_device(torch.tensor(tree.edges).T.contiguous(), self._device)
            exact = self._exact_logits(logits, at, token, seen)
            log_p = exact[:, at, token].double() - torch.logsumexp(exact, dim=-1).double()[:, at]
            return read_later(torch, log_p)

    def _packed(self, prompts: list[list[int]], tree: ChoiceTree) -> Any:
        """The logits at each node, shape (rows, nodes, vocabulary), from a pass without padding."""
        from backends._shared_prefix import packed_pass

        prefix = self._prefix_of([prompt[:-1] for prompt in prompts], max(map(len, prompts)) + len(tree))
        start, after = 0 if prefix is None else len(prefix), [node[-1] for node in tree.nodes[1:]]
        positions = [
            [*range(start, len(prompt)), *(len(prompt) - 1 + len(node) for node in tree.nodes[1:])] for prompt in prompts
        ]
        rows = [prompt[start:] + after for prompt in prompts]
        sees = self._seen(max(map(len, rows)), tree)
        return packed_pass(self._model, rows, positions, len(tree.nodes), sees, prefix)

    def _padded(self, prompts: list[list[int]], tree: ChoiceTree) -> Any:
        """As `_packed`, for models that can't compute packed rows."""
        nodes, after = tree.nodes, [node[-1] for node in tree.nodes[1:]]
        batch = self._batch([prompt + after for prompt in prompts], behind=len(after))
        mask, start = batch.mask, batch.start
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        if after:
            root = positions[:, -len(nodes)]
            behind = on_device(self._torch.tensor([len(node) for node in nodes[1:]]), root.device)
            positions[:, -len(after) :] = root[:, None] + behind
            mask = self._tree_mask(mask, tree)[:, :, start:]
        with batch.attending():
            return self._model(
                input_ids=batch.ids[:, start:],
                attention_mask=mask,
                past_key_values=batch.cache,
                logits_to_keep=len(nodes),
                **({"position_ids": positions[:, start:]} if self._takes_positions else {}),
            ).logits

    @contextmanager
    def _watching_head(self) -> Iterator[list[tuple[Any, Any]]]:
        """Within it, what the last layer reads and writes is added to the list."""
        seen: list[tuple[Any, Any]] = []
        head = self._model.get_output_embeddings()
        hook = None if head is None else head.register_forward_hook(lambda head, given, output: seen.append((given[0], output)))
        try:
            yield seen
        finally:
            if hook is not None:
                hook.remove()

    def _exact_logits(self, logits: Any, at: Any, token: Any, seen: list[tuple[Any, Any]]) -> Any:
        """The logits in fp32, shape (rows, nodes, vocabulary), those of the edges computed in fp32 too.

        In half precision they are rounded: in bfloat16 a logit of 20 to steps of 0.125, which would decide between answers.
        Models that change the logits behind their last layer, and packed layers, keep what they computed.
        """
        torch = self._torch
        head, found = self._model.get_output_embeddings(), logits.float()
        if not seen or logits.dtype == torch.float32 or type(head) is not torch.nn.Linear:
            return found
        hidden, output = seen[-1]
        if output.data_ptr() != logits.data_ptr():
            return found
        hidden = hidden.reshape(*logits.shape[:2], -1)
        picked = (hidden[:, at].float() * head.weight[token].float()).sum(-1)
        found[:, at, token] = picked if head.bias is None else picked + head.bias[token].float()
        return found

    def _seen(self, width: int, tree: ChoiceTree) -> Any:
        """What each token of a row attends to, shape (width, width): a node's token to the prompt and the nodes before it."""
        torch, prompt = self._torch, width - len(tree)
        sees = torch.ones((width, width), dtype=torch.bool).tril()
        sees[prompt:, prompt:] = torch.tensor([[a == b[: len(a)] for a in tree.nodes[1:]] for b in tree.nodes[1:]])
        return on_device(sees, self._device)

    def _tree_mask(self, mask: Any, tree: ChoiceTree) -> Any:
        """The attention mask, shape (rows, 1, width, width)."""
        torch = self._torch
        sees = self._seen(mask.shape[1], tree)[None, None] & mask.bool()[:, None, None]
        # Added to the attention scores: some implementations take booleans for numbers.
        dtype = self._model.dtype
        return torch.zeros(sees.shape, dtype=dtype, device=mask.device).masked_fill(~sees, torch.finfo(dtype).min)

    def _node_by_node(self, prompts: list[list[int]], tree: ChoiceTree) -> FloatArray:
        """As `_tree`, for models without free attention masks: the prompt is computed again for each node."""
        found = np.empty((len(prompts), len(tree.edges)))
        for index, node in enumerate(tree.nodes):
            columns = [column for column, (at, _) in enumerate(tree.edges) if at == index]
            here = ChoiceTree([(tree.edges[column][1],) for column in columns])
            found[:, columns] = self._tree([[*prompt, *node] for prompt in prompts], here)()
        return found

    def _masks_freely(self, width: int) -> bool:
        """Whether each token's attention mask and position can be set, in a row of `width` tokens."""
        return width <= self._window and self._takes_positions and not self._stateful

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with out_of_memory_named(self._torch), self._torch.inference_mode():
            yield

    def _batch(self, prompts: list[list[int]], new_tokens: int = 0, behind: int = 0) -> _Batch:
        """`behind` tokens at the end of each are no part of the prompt. Rows are padded between the shared prefix and their
        own tokens, so that the prefix is computed once and all rows end at the same place.
        """
        torch = self._torch
        width = max(map(len, prompts))
        # Every row needs at least one token of its prompt after the prefix.
        prefix = self._prefix_of([prompt[: -1 - behind] for prompt in prompts], width + new_tokens)
        start = 0 if prefix is None else len(prefix)
        ids = torch.full((len(prompts), width), self._pad)
        mask = torch.zeros((len(prompts), width), dtype=torch.long)
        if prefix is not None:
            ids[:, :start], mask[:, :start] = torch.tensor(prefix.ids), 1
        for row, prompt in enumerate(prompts):
            own = len(prompt) - start
            ids[row, width - own :], mask[row, width - own :] = torch.tensor(prompt[start:]), 1
        cache = None
        if prefix is not None:
            cache = prefix.cache() if self._in_place else prefix.copied(self._model, len(prompts))
        return _Batch(
            on_device(ids, self._device), on_device(mask, self._device), cache, start, prefix if self._in_place else None
        )

    def _prefix_of(self, beginnings: list[list[int]], width: int) -> SharedPrefix | None:
        """What all beginnings share of the run's common beginning, or, where none is known, with each other.

        It depends on the run and on this batch alone, so that a resumed run computes the same bits as an uninterrupted one.
        """
        from backends._shared_prefix import read_prefix

        whole = self._shared or (common_prefix(beginnings) if len(beginnings) > 1 else [])
        shared = len(common_prefix([whole, *beginnings]))
        # A sliding window counts padding too: where it is narrower than the rows, padding must come first.
        if not shared or not self._masks_freely(width):
            return None
        if self._prefix is None or self._prefix.ids != whole:
            self._prefix = read_prefix(self._model, whole)
        return self._prefix.first(shared)

    def reset(self) -> None:
        self._shared, self._prefix = [], None

    def close(self) -> None:
        self._model = None
        self.reset()
        free(self._torch)


class _Followed:
    """Takes the tokens of each step into the walks, and leaves only those that may follow; after the end, `end`."""

    def __init__(self, walks: Sequence[ListWalk], width: int, end: int) -> None:
        self._walks, self._width, self._end = walks, width, end

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        masked = scores.new_full(scores.shape, -float("inf"))
        for row, walk in enumerate(self._walks):
            if input_ids.shape[1] > self._width and not walk.done:
                walk.take(int(input_ids[row, -1]))
            allowed = walk.following() or [self._end]
            masked[row, allowed] = scores[row, allowed]
        return masked


def _unpack_odd_layers(model: Any) -> None:
    """Keep bitsandbytes from packing 4-bit layers of shapes that its fast CPU kernel does not support."""
    for module in model.modules():
        # Not isinstance: the class may only be imported where something was quantized.
        if type(module).__name__ == "Linear4bit" and (module.out_features % 32 or module.in_features % 64):
            module.support_avx512bf16_for_cpu = False
