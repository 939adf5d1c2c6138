"""What keeps a folder from being a checkpoint, as its files tell before a weight is read."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from harness.core.json_files import read_json

# What a checkpoint consists of; a content hash covers the same files of a local folder.
FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja")
# Copies of the weights in other shapes, of no use to transformers.
IGNORED = ("consolidated*", "onnx/*", "openvino/*", "coreml/*", "original/*")
INDEX = "model.safetensors.index.json"

LFS_POINTER = b"version https://git-lfs"
HEADER_LENGTH = 8
"""Bytes at the start of a safetensors file: the length of its header, little-endian. The header is JSON; tensors follow."""
LONGEST_HEADER = 100_000_000  # as the library has it
FLOATS = ("F64", "F32", "F16", "BF16")
"""How weights are stored that are not packed; transformers takes the integers of packed ones for weights, and says nothing."""
LARGEST_SETTINGS = 2**20
"""Bytes of a JSON file that holds settings; a larger one is a vocabulary, which its own library reads."""


def is_kept(name: str) -> bool:
    """Whether a file of this name belongs to a checkpoint."""
    return any(fnmatch(name, pattern) for pattern in FILES) and not any(fnmatch(name, pattern) for pattern in IGNORED)


def problem(folder: Path) -> str | None:
    """What keeps `folder` from being a checkpoint, as a phrase that follows its name; None if it is one."""
    return _config_problem(folder) or _weights_problem(folder) or _damage(folder)


def _config_problem(folder: Path) -> str | None:
    if not (folder / "config.json").is_file():
        return "has no config.json"
    try:
        config = read_json(folder / "config.json")
    except ValueError as error:
        return f"has a config.json that can't be read: {error}"
    attention = config.get("attn_implementation")
    if isinstance(attention, str) and "/" in attention:
        return f"names a kernel of the hub in its config.json ({attention}): its code would be run"
    if (folder / "adapter_config.json").is_file():
        return "holds an adapter (adapter_config.json) and not a whole model"
    return None


def _weights_problem(folder: Path) -> str | None:
    index = folder / INDEX
    if index.is_file():
        try:
            shards = {str(shard) for shard in read_json(index)["weight_map"].values()}
        except (ValueError, KeyError, AttributeError):
            return f"has an {INDEX} that can't be read"
        foreign = sorted(shard for shard in shards if not _is_plain(shard))
        if foreign:
            return f"has an {INDEX} that names what is no safetensors file of the folder: {foreign[0]}"
        missing = sorted(shard for shard in shards if not (folder / shard).is_file())
        return f"lacks {len(missing)} of {len(shards)} weight files: {missing[0]}" if missing else None
    if any(is_kept(file.name) and file.is_file() for file in folder.glob("*.safetensors")):  # the cache may hold dead links
        return None
    if any(folder.glob("pytorch_model*.bin")):
        return "has its weights only in pytorch_model.bin, a format that can run code when loaded; they must be safetensors"
    return "has no weights (*.safetensors)"


def _is_plain(name: str) -> bool:
    return name.endswith(".safetensors") and name == PurePosixPath(name).name == PureWindowsPath(name).name


def _damage(folder: Path) -> str | None:
    """Of the first file that is damaged, as its size and its first bytes tell."""
    config = read_json(folder / "config.json")
    says_how = bool(config.get("quantization_config") or config.get("compression_config"))
    for file in sorted(folder.iterdir()):
        if not (file.is_file() and is_kept(file.name)):
            continue
        with file.open("rb") as stream:
            if stream.read(len(LFS_POINTER)) == LFS_POINTER:
                return f"holds {file.name} as a pointer of Git LFS only (fetch the file itself with `git lfs pull`)"
        damage = None
        if file.suffix == ".safetensors":
            damage = _header_damage(file, says_how)
        elif file.suffix == ".json" and file.stat().st_size <= LARGEST_SETTINGS:
            damage = _json_damage(file)
        if damage is not None:
            return f"has a damaged {file.name}: {damage}"
    return None


def _json_damage(file: Path) -> str | None:
    """Of settings: transformers takes some that it can't read for missing ones."""
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        return f"it is no JSON ({error})"
    return None


def _header_damage(file: Path, says_how: bool) -> str | None:
    """`says_how`: config.json tells how packed weights are to be read."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(HEADER_LENGTH), "little")
        room = size - HEADER_LENGTH
        if room < 0 or length > min(room, LONGEST_HEADER):
            return f"its {size} bytes begin with no header of a safetensors file, or are cut off in it"
        header = stream.read(length)
    try:
        tensors = json.loads(header)
        end = max((tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"), default=0)
        if not isinstance(end, int):
            raise TypeError(end)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return "its header can't be read"
    whole = HEADER_LENGTH + length + end
    if size != whole:
        return f"it has {size:,} bytes, and {whole:,} by its header"
    packed = [name for name, tensor in tensors.items() if name.endswith(".weight") and _is_packed(tensor)]
    if packed and not says_how:
        kind = tensors[packed[0]]["dtype"]
        return f"{packed[0]} is packed ({kind}), and config.json has no quantization_config that says how it is to be read"
    return None


def _is_packed(tensor: dict[str, Any]) -> bool:
    return tensor.get("dtype") not in FLOATS and len(tensor.get("shape") or ()) > 1
