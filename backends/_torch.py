"""What the engines that use torch share: device, dtype, quiet libraries, and one error for out of memory."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

from backends._quick_imports import import_transformers
from harness.core import library_logging, machine
from harness.core.errors import MissingExtra, OutOfMemory, UserError
from harness.core.torch_facts import check_facts, torch_facts

Device = Literal["auto", "cpu", "cuda"]
DType = Literal["auto", "float32", "bfloat16", "float16"]


class LazyTorch:
    """torch, imported when something of it is first used: an engine is made for each run that is found, and computes nothing
    then."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(import_libraries(), name)
        setattr(self, name, found)
        return found


def import_torch(extra: str, purpose: str) -> Any:
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

    transformers = import_transformers()
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


def free(torch: Any) -> None:
    if "torch" not in sys.modules:  # nothing was loaded
        return
    import gc

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
