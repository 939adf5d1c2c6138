"""What the files of a checkpoint tell of its weights: the precision in which they are stored, and the model they come from."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from harness.core.json_files import read_json

HEADER_LENGTH = 8
"""Bytes at the start of a safetensors file: the length of its header, little-endian. The header is JSON; tensors follow."""
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "8-bit", "F8_E5M2": "8-bit"}
"""Of safetensors -> the word. Integers, which hold packed weights, have no entry: config.json says what they mean."""
BITS = ("bits", "w_bit", "nbits", "num_bits", "weight_bits")
"""Keys of a `quantization_config` that hold the number of bits, by method."""


NAMING = ("quant_algo", "format", "weights")
"""Keys whose word may have the number in it: `NVFP4`, `int8`."""
CARD_BYTES = 2**16
"""Of a README.md are read: its front matter is at its beginning."""


def stored_precision(folder: Path) -> str | None:
    """`bfloat16`, `4-bit (awq)`: by config.json where it names a quantization, else the dtype of most elements of the
    safetensors in `folder`.

    None where neither tells. Weights that were expanded before they were saved look like those of full precision.
    """
    try:
        config = read_json(folder / "config.json")
        quantization = config.get("quantization_config") or config.get("compression_config")
        if isinstance(quantization, Mapping):
            return quantized(quantization)
        elements = Counter[str]()
        for file in folder.glob("*.safetensors"):
            elements += _elements(file)
    except (OSError, ValueError, TypeError, AttributeError):  # a record does without it
        return None
    return DTYPES.get(max(elements, key=lambda dtype: elements[dtype])) if elements else None


def named_base(folder: Path) -> str | None:
    """The hub id that the model card in `folder` names as its base model. None where it names none, or several.

    `_name_or_path` of config.json is not read: it may be a path of another machine.
    """
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            _, matter, _ = re.split(r"^---\s*$", file.read(CARD_BYTES), maxsplit=2, flags=re.MULTILINE)
        found = yaml.safe_load(matter).get("base_model")
    except (OSError, ValueError, AttributeError, RecursionError, yaml.YAMLError):  # no card, or none with front matter
        return None
    if isinstance(found, list) and len(found) == 1:
        (found,) = found
    return found if isinstance(found, str) and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", found, re.ASCII) else None


def quantized(config: Mapping[str, Any]) -> str:
    """`4-bit (gptq)`, from a `quantization_config`; `quantized (method)` where it tells no number of bits."""
    method = str(config.get("quant_method") or config.get("quant_algo") or "unknown method").lower()
    bits = _bits(config, method)
    return f"{f'{bits}-bit' if bits else 'quantized'} ({method})"


def _bits(config: Mapping[str, Any], method: str) -> int | None:
    for bits in (4, 8):  # of bitsandbytes
        if config.get(f"load_in_{bits}bit"):
            return bits
    found = _number(config)
    if found is not None:
        return found
    named = re.search(r"(?:fp|nf|int)(\d+)", " ".join([method, *(str(config.get(key)).lower() for key in NAMING)]))
    return int(named[1]) if named else None


def _number(config: Mapping[str, Any]) -> int | None:
    """Under one of `BITS`: of the weights, where activations have their own (`config_groups` of compressed-tensors)."""
    for key in BITS:
        if type(config.get(key)) is int:
            return int(config[key])
    inner = [config.get("weights"), config.get("weight_quant_params"), *_mappings(config.get("config_groups"))]
    inner += _mappings(config.get("quant_config"))
    return next((bits for one in inner if isinstance(one, Mapping) and (bits := _number(one)) is not None), None)


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value.values() if isinstance(one, Mapping)] if isinstance(value, Mapping) else []


def _elements(file: Path) -> Counter[str]:
    """Number of elements of each dtype, from the header of a file that `problem` of `checkpoints` found whole."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(HEADER_LENGTH), "little")))
    found = Counter[str]()
    for name, tensor in header.items():
        if name != "__metadata__":
            found[str(tensor.get("dtype"))] += math.prod(tensor.get("shape") or ())
    return found
