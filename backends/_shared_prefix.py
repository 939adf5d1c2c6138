"""Attention to a beginning that all prompts share, without a copy of its keys and values for each row, and to rows that are
packed one after the other, so that no layer but the attention computes padding.

The softmax over the shared tokens and a row's own ones is put together from the two parts by their log-sum-exp. So the queries
of all rows attend to the shared tokens in one product (Hydragen, arXiv 2402.05099). It is an attention function of transformers
by the name of `ATTENTION`; without a shared prefix and packed rows its results are those of `sdpa`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from backends._torch import on_device

ATTENTION = "bench_shared_prefix"

CHANGE_SCORES = ("softcap", "s_aux", "position_bias")
"""Arguments of an attention function that change the scores in ways that are not computed here."""

PROBED = (5, 3)
"""Tokens of the prefix, and of the longer of two rows, with which a model is tried."""
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


@dataclass(frozen=True)
class Packed:
    """Rows of `lengths` tokens, one after the other: a pass over them has the shape (1, sum of lengths).

    `mask` is added to the scores, shape (rows, 1, width, width), with each row at the right end of the width.
    """

    lengths: list[int]
    mask: Any
    _indices: dict[tuple[int, int], tuple[Any, Any, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, lengths: list[int], sees: Any, dtype: Any) -> Packed:
        """`sees`, shape (width, width) for the width of the longest row: which of a row's tokens each of them attends to."""
        width = sees.shape[0]
        first = on_device(torch.tensor([width - length for length in lengths]), sees.device)
        real = torch.arange(width, device=sees.device) >= first[:, None]
        mask = torch.zeros((len(lengths), 1, width, width), dtype=dtype, device=sees.device)
        return cls(lengths, mask.masked_fill_(~(sees & real[:, None])[:, None], torch.finfo(dtype).min))

    def indices(self, kv_heads: int, groups: int) -> tuple[Any, Any, Any]:
        """For `kv_heads` key-value heads of `groups` heads each: where the padded queries, shape (rows, kv_heads, groups,
        width), and the padded keys, shape (rows, kv_heads, width), are among (tokens, heads); and where the results, shape
        (kv_heads, groups, tokens), are among the padded ones."""
        if (kv_heads, groups) not in self._indices:
            self._indices[kv_heads, groups] = self._places(kv_heads, groups)
        return self._indices[kv_heads, groups]

    def _places(self, kv_heads: int, groups: int) -> tuple[Any, Any, Any]:
        rows, width = len(self.lengths), self.mask.shape[-1]
        lengths = torch.tensor(self.lengths)
        ends = lengths.cumsum(0)
        row = torch.repeat_interleave(torch.arange(rows), lengths)
        column = torch.arange(int(ends[-1])) - ends[row] + width
        token = torch.zeros((rows, width), dtype=torch.long)  # padding: any token, for it is masked
        token[row, column] = torch.arange(int(ends[-1]))
        kv_head, group = torch.arange(kv_heads), torch.arange(groups)
        head = kv_head[:, None] * groups + group
        queries = token[:, None, None] * (kv_heads * groups) + head[None, :, :, None]
        keys = token[:, None] * kv_heads + kv_head[None, :, None]
        results = ((row * kv_heads + kv_head[:, None])[:, None] * groups + group[:, None]) * width + column
        return tuple(on_device(part.flatten(), self.mask.device) for part in (queries, keys, results))


_current: ContextVar[tuple[SharedPrefix | None, Packed | None]] = ContextVar("attended", default=(None, None))


@contextmanager
def attending_to(prefix: SharedPrefix | None, packed: Packed | None = None) -> Iterator[None]:
    """Within it, every pass attends to `prefix` before its own tokens; with `packed` it is one over these rows."""
    token = _current.set((prefix, packed))
    try:
        yield
    finally:
        _current.reset(token)


def packed_pass(
    model: Any,
    rows: Sequence[Sequence[int]],
    positions: Sequence[Sequence[int]],
    kept: int,
    sees: Any,
    prefix: SharedPrefix | None,
) -> Any:
    """The logits of the last `kept` tokens of each row, shape (rows, kept, vocabulary), after `prefix`.

    `sees` is that of `Packed.of`. The model must have `ATTENTION`.
    """
    lengths = [len(row) for row in rows]
    flat = torch.tensor([[token for row in rows for token in row], [place for row in positions for place in row]])
    ids, places = on_device(flat, model.device)
    last = torch.tensor(lengths).cumsum(0)[:, None] - torch.arange(kept, 0, -1)
    with attending_to(prefix, Packed.of(lengths, sees, model.dtype)):
        logits = model(
            input_ids=ids[None],
            # It has the form of a mask that is used as it is; the true one is in `Packed`.
            attention_mask=torch.zeros((1, 1, 1, 1), dtype=model.dtype, device=model.device),
            position_ids=places[None],
            logits_to_keep=on_device(last.flatten(), model.device),
            use_cache=False,
        ).logits
    return logits.view(len(rows), kept, -1)


def read_prefix(model: Any, ids: Sequence[int]) -> SharedPrefix:
    """One pass over the tokens."""
    given = on_device(torch.tensor([list(ids)]), model.device)
    cache = model(input_ids=given, use_cache=True, logits_to_keep=1).past_key_values
    return SharedPrefix(list(ids), [(layer.keys, layer.values) for layer in cache.layers])


def probe(model: Any) -> list[int]:
    """Tokens with which a model is tried: those of a prefix and of two rows. They are drawn from the whole vocabulary: it often
    begins with special tokens, whose results differ much by rounding in half precision."""
    most = model.config.get_text_config().vocab_size
    drawn: list[int] = torch.randint(most, (PROBED[0] + 2 * PROBED[1],), generator=torch.Generator().manual_seed(0)).tolist()
    return drawn


def shares_in_place(model: Any, prefix: SharedPrefix) -> bool:
    """Whether `model`, which has computed `prefix` (the first of the tokens of `probe`), can attend to it in place, and compute
    packed rows; it then has `ATTENTION`.

    It is tried: models differ in what they pass to an attention function, and in what they do with its results.
    """
    if model.config._attn_implementation != "sdpa" or not model._can_set_attn_implementation():
        return False
    start, width = PROBED
    own = torch.tensor(probe(model)[start:], device=model.device).reshape(2, width)
    shared = torch.tensor([prefix.ids], device=model.device).expand(2, -1)
    positions = torch.arange(start, start + width, device=model.device).expand(2, -1)
    wanted = model(input_ids=torch.cat([shared, own], 1), use_cache=False, logits_to_keep=2).logits.float()
    model.set_attn_implementation(ATTENTION)
    try:
        with attending_to(prefix):
            padded = model(input_ids=own, position_ids=positions, past_key_values=prefix.cache(), logits_to_keep=1).logits
        rows, places = [own[0].tolist(), own[1, :-1].tolist()], [list(range(start, start + n)) for n in (width, width - 1)]
        sees = torch.ones((width, width), dtype=torch.bool, device=model.device).tril()
        packed = packed_pass(model, rows, places, 1, sees, prefix)
        pairs = [(padded[:, 0], wanted[:, 1]), (packed[0, 0], wanted[0, 1]), (packed[1, 0], wanted[1, 0])]
        difference = max(float((found.float() - true).norm() / true.norm().clamp(min=1e-30)) for found, true in pairs)
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
    prefix, packed = _current.get()
    heads, tokens, size = query.shape[1:]
    kv_heads = key.shape[1]
    changed = any(more.get(name) is not None for name in CHANGE_SCORES)
    if prefix is None and packed is None and (changed or not _repeats_less(attention_mask, heads, kv_heads, tokens, size)):
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
    if changed:
        raise NotImplementedError
    rows, groups = query.shape[0], heads // kv_heads
    if packed is None:
        # Heads with the same keys are further queries, so that no key is repeated: (rows, key-value heads, queries, size).
        grouped = query.reshape(rows, kv_heads, groups * tokens, size)
        mask = _added(attention_mask, query, tokens, key.shape[2])
        own, own_lse = _part(grouped, key, value, None if mask is None else mask.repeat(1, 1, groups, 1), scaling)
        together = grouped.transpose(0, 1).reshape(1, kv_heads, -1, size)
    else:
        own, own_lse = _of_packed(packed, query, key, value, scaling)
        together = query.reshape(1, kv_heads, groups * tokens, size)
    if prefix is not None:
        keys, values = prefix.layers[module.layer_idx]
        shared, shared_lse = _part(together, keys, values, None, scaling)
        shared = shared.reshape(kv_heads, rows, -1, size).transpose(0, 1)
        weight = torch.sigmoid(shared_lse.reshape(kv_heads, rows, -1).transpose(0, 1) - own_lse).unsqueeze(-1)
        own = torch.lerp(own.float(), shared.float(), weight).to(query.dtype)
    return own.reshape(rows, heads, tokens, size).transpose(1, 2).contiguous(), None


def _repeats_less(mask: Any, heads: int, kv_heads: int, tokens: int, size: int) -> bool:
    """Whether a mask repeated for each group of heads takes less memory than keys and values repeated for each head.

    torch shares keys between heads by itself only where there is no mask; transformers repeats them where there is one.
    """
    return mask is not None and heads > kv_heads and heads % kv_heads == 0 and tokens < 2 * kv_heads * size


def _of_packed(packed: Packed, query: Any, key: Any, value: Any, scaling: Any) -> tuple[Any, Any]:
    """The attention of each row's tokens to those of its own: as the results of `_part`, shape (1, key-value heads, queries,
    size), from a query (1, heads, tokens, size)."""
    _, heads, _, size = query.shape
    kv_heads = key.shape[1]
    groups, (rows, width) = heads // kv_heads, (len(packed.lengths), packed.mask.shape[-1])
    queries, keys, results = packed.indices(kv_heads, groups)

    def taken(part: Any, index: Any) -> Any:
        return part.transpose(1, 2).reshape(-1, size).index_select(0, index).view(rows, kv_heads, -1, size)

    mask = _added(packed.mask, query, width, width).repeat(1, 1, groups, 1)
    found, lse = _part(taken(query, queries), taken(key, keys), taken(value, keys), mask, scaling)
    own = found.reshape(-1, size).index_select(0, results).view(1, kv_heads, -1, size)
    return own, lse.reshape(-1).index_select(0, results).view(1, kv_heads, -1)


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
    return mask.expand(max(query.shape[0], mask.shape[0]), 1, tokens, keys)


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
