"""What the engines that use torch share: device, dtype, quiet libraries, and one error for out of memory."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.core import library_logging, machine
from harness.core.engine import Pending, at_once
from harness.core.errors import MissingExtra, OutOfMemory, UserError
from harness.core.torch_facts import check_facts, torch_facts

Device = Literal["auto", "cpu", "cuda"]
DType = Literal["auto", "float32", "bfloat16", "float16"]

NEEDS_GPU: dict[str, str | None] = {
    "flash_attention_2": "flash_attn",
    "flash_attention_3": "flash_attn_interface",
    "flex_attention": None,
}
"""Attention that is computed on a GPU alone, and the module that it needs beside torch."""


class LazyTorch:
    """torch, imported when something of it is first used: an engine is made for each run that is found, and computes nothing
    then."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(import_libraries(), name)
        setattr(self, name, found)
        return found


def lazy_torch(extra: str, purpose: str) -> Any:
    """torch, imported when it is first used. `MissingExtra` at once where it or transformers is not installed."""
    try:
        torch_facts()
    except ImportError as error:
        raise MissingExtra(error.name or "torch", extra, purpose) from error
    if sys.modules.get("transformers") is None and find_spec("transformers") is None:
        raise MissingExtra("transformers", extra, purpose)
    return LazyTorch()


@cache
def import_libraries() -> Any:
    """torch, with transformers imported too. Also silences the libraries, unless the user asked for their logs."""
    if not library_logging.loud():
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import torch
    import transformers

    if not library_logging.loud():
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
    check_facts(torch)
    return torch


def resolve_device(device: Device) -> str:
    if device == "cpu":
        return device
    has_gpu = torch_facts().gpu
    if device == "cuda" and not has_gpu:
        raise UserError("There is no GPU that torch can use.", "Set `device` to auto or cpu.")
    return "cuda" if has_gpu else "cpu"


def resolve_dtype(device: str, dtype: DType) -> str:
    """`auto`: bfloat16 where the device computes in it, else float16 on a GPU and float32 on a CPU."""
    if dtype != "auto":
        return dtype
    if computes_in_bf16(device):
        return "bfloat16"
    return "float32" if device == "cpu" else "float16"


def computes_in_bf16(device: str) -> bool:
    """Whether the device has instructions for matrix products in bfloat16; without them they are slower than in float32."""
    return bool(machine.bf16_instructions()) if device == "cpu" else torch_facts().gpu_bf16


def on_device(tensor: Any, device: Any) -> Any:
    """`tensor`, which is on the host, on `device`. The host does not wait for a copy to a GPU."""
    if str(device) == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def sent(torch: Any, arrays: Mapping[str, NDArray[Any]], device: str) -> dict[str, Any]:
    """The arrays as tensors on the device. To a GPU they are copied from pinned memory, and not waited for."""
    return {name: on_device(torch.from_numpy(values), device) for name, values in arrays.items()}


def read_later(torch: Any, values: Any) -> Pending[NDArray[Any]]:
    """The tensor as an array, once it is computed. From a GPU the copy is queued at once: it waits for no later batch."""
    if values.device.type == "cpu":
        return at_once(np.asarray(values.numpy()))
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def read() -> NDArray[Any]:
        copied.synchronize()
        return np.asarray(host.numpy())

    return read


@contextmanager
def out_of_memory_named(torch: Any) -> Iterator[None]:
    """Turn every out-of-memory error of torch into `OutOfMemory`."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory("The device ran out of memory.") from error
    except RuntimeError as error:
        # The CPU allocator has no exception class.
        if "not enough memory" in str(error) or "can't allocate memory" in str(error):
            raise OutOfMemory("The machine ran out of memory.") from error
        raise


def require_attention(attention: str, device: str, dtype: str) -> None:
    """Raises `UserError` where the attention of that name can't be computed here."""
    if attention not in NEEDS_GPU:
        return
    if device == "cpu":
        raise UserError(f"attention={attention} needs a GPU.", "Use attention auto, sdpa or eager on a CPU.")
    package = NEEDS_GPU[attention]
    if package is None:
        return
    if find_spec(package) is None:  # transformers would run code of a hub repository in its place
        raise UserError(
            f"attention={attention} needs the package {package.replace('_', '-')}.", "Install it, or use attention auto."
        )
    if dtype == "float32":
        raise UserError(
            f"attention={attention} computes only in half precision.",
            "Use bfloat16 or float16, in a training too.",
        )


def free(torch: Any) -> None:
    if "torch" not in sys.modules:  # nothing was loaded
        return
    import gc

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
