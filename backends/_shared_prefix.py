"""Attention to a beginning that all prompts share, without a copy of its keys and values for each row.

The softmax over the shared tokens and a row's own ones is put together from the two parts by their log-sum-exp. So the queries
of all rows attend to the shared tokens in one product (Hydragen, arXiv 2402.05099). It is an attention function of transformers
by the name of `ATTENTION`; without a shared prefix it computes as `sdpa` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "bench_shared_prefix"

CHANGE_SCORES = ("softcap", "s_aux", "position_bias")
"""Arguments of an attention function that change the scores in ways that are not computed here."""

PROBED = (5, 3)
"""Tokens of the prefix, and of each row, with which a model is tried."""
TOLERATED = {torch.float32: 1e-3}
"""Relative difference (L2) of the logits; in half precision `TOLERATED_HALF`."""
TOLERATED_HALF = 0.05


@dataclass(frozen=True)
class SharedPrefix:
    """The first tokens of several prompts. `layers`: keys and values of each, shape (1, key-value heads, tokens, size)."""

    ids: list[int]
    layers: list[tuple[Any, Any]]

    def __len__(self) -> int:
        return len(self.ids)

    def first(self, tokens: int) -> SharedPrefix:
        """Its first tokens, as views: what later tokens are changes nothing of earlier ones."""
        if tokens == len(self):
            return self
        return SharedPrefix(self.ids[:tokens], [(keys[:, :, :tokens], values[:, :, :tokens]) for keys, values in self.layers])

    def bytes_per_token(self) -> int:
        return sum(int(part.nbytes) for layer in self.layers for part in layer) // len(self)

    def cache(self) -> Any:
        """An empty cache for the rows' own tokens, which stand behind it."""
        return Cache(layers=[_OwnTokens(len(self)) for _ in self.layers])

    def copied(self, model: Any, rows: int) -> Any:
        """A cache that has it for each row, for models that can't attend to a shared one."""
        cache = DynamicCache(config=model.config)
        for index, (keys, values) in enumerate(self.layers):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), index)
        return cache


class _OwnTokens(DynamicLayer):  # type: ignore[misc]
    """Keys and values behind `shared` tokens that are not in it."""

    def __init__(self, shared: int) -> None:
        super().__init__()
        self._shared = shared

    def get_seq_length(self) -> int:
        return self._shared + int(super().get_seq_length())

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() - self._shared + query_length, self._shared


_current: ContextVar[SharedPrefix | None] = ContextVar("shared prefix", default=None)


@contextmanager
def attending_to(prefix: SharedPrefix | None) -> Iterator[None]:
    """Within it, every pass attends to `prefix` before its own tokens."""
    token = _current.set(prefix)
    try:
        yield
    finally:
        _current.reset(token)


def read_prefix(model: Any, ids: Sequence[int]) -> SharedPrefix:
    """One pass over the tokens."""
    given = torch.tensor([list(ids)], device=model.device)
    cache = model(input_ids=given, use_cache=True, logits_to_keep=1).past_key_values
    return SharedPrefix(list(ids), [(layer.keys, layer.values) for layer in cache.layers])


def shares_in_place(model: Any, prefix: SharedPrefix) -> bool:
    """Whether `model`, which has computed `prefix` (of `PROBED` tokens), can attend to it in place; it then has `ATTENTION`.

    It is tried: models differ in what they pass to an attention function, and in what they do with its results.
    """
    if model.config._attn_implementation != "sdpa" or not model._can_set_attn_implementation():
        return False
    own = torch.tensor([list(range(PROBED[1])), list(range(PROBED[1], 2 * PROBED[1]))], device=model.device)
    shared = torch.tensor([prefix.ids], device=model.device).expand(2, -1)
    positions = torch.arange(len(prefix), len(prefix) + PROBED[1], device=model.device).expand(2, -1)
    wanted = model(input_ids=torch.cat([shared, own], 1), use_cache=False, logits_to_keep=1).logits.float()
    model.set_attn_implementation(ATTENTION)
    try:
        with attending_to(prefix):
            found = model(input_ids=own, position_ids=positions, past_key_values=prefix.cache(), logits_to_keep=1).logits
        difference = float((found.float() - wanted).norm() / wanted.norm().clamp(min=1e-30))
    except (NotImplementedError, RuntimeError, TypeError, IndexError, AttributeError):  # in as many ways as there are models
        difference = float("inf")
    if difference <= TOLERATED.get(model.dtype, TOLERATED_HALF):
        return True
    model.set_attn_implementation("sdpa")
    return False


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, dropout: float = 0.0, scaling: Any = None, **more: Any
) -> tuple[Any, None]:
    """As `sdpa_attention_forward`: output of shape (rows, tokens, heads, size) from a query (rows, heads, tokens, size)."""
    prefix = _current.get()
    if prefix is None:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
    if any(more.get(name) is not None for name in CHANGE_SCORES):
        raise NotImplementedError
    rows, heads, tokens, size = query.shape
    kinds = key.shape[1]
    # Heads with the same keys are further queries, so that no key is repeated: (rows, key-value heads, queries, size).
    query = query.reshape(rows, kinds, heads // kinds * tokens, size)
    mask = _added(attention_mask, query, tokens, key.shape[2])
    own, own_lse = _part(query, key, value, None if mask is None else mask.repeat(1, 1, heads // kinds, 1), scaling)
    keys, values = prefix.layers[module.layer_idx]
    together = query.transpose(0, 1).reshape(1, kinds, -1, size)
    shared, shared_lse = _part(together, keys, values, None, scaling)
    shared = shared.reshape(kinds, rows, -1, size).transpose(0, 1)
    weight = torch.sigmoid(shared_lse.reshape(kinds, rows, -1).transpose(0, 1) - own_lse).unsqueeze(-1)
    output = torch.lerp(own.float(), shared.float(), weight).to(query.dtype)
    return output.reshape(rows, heads, tokens, size).transpose(1, 2).contiguous(), None


def _added(mask: Any, query: Any, tokens: int, keys: int) -> Any:
    """What is added to the scores of the own tokens, shape (rows, 1, tokens, keys); None: nothing."""
    if mask is None and tokens == 1:
        return None
    if mask is None:  # transformers leaves out a causal mask without padding
        mask = torch.ones((1, 1, tokens, keys), dtype=torch.bool, device=query.device).tril(keys - tokens)
    least = torch.finfo(query.dtype).min
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=query.dtype, device=query.device).masked_fill(~mask, least)
    elif mask.dtype != query.dtype:  # 4-bit weights compute in another precision than the rest of a model may have
        mask = mask.clamp(min=least).to(query.dtype)
    return mask.expand(query.shape[0], 1, tokens, keys)


def _part(query: Any, key: Any, value: Any, mask: Any, scaling: float | None) -> tuple[Any, Any]:
    """The attention to some of the tokens, and the log-sum-exp of their scores, shape (rows, heads, queries)."""
    if query.device.type == "cpu":
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, False, attn_mask=mask, scale=scaling
        )
        return found[0], found[1]
    if mask is not None:  # the kernel reads aligned rows
        width = mask.shape[-1]
        padded = torch.nn.functional.pad(mask, (0, -width % 8))
        mask = padded[..., :width].expand(query.shape[0], query.shape[1], query.shape[2], width)
    output, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, mask, True, 0.0, False, scale=scaling
    )
    return output, lse[:, :, : query.shape[2]]


AttentionInterface.register(ATTENTION, _attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
