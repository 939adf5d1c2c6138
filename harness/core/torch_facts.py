"""What torch can compute with on this machine. Torch itself is asked once, and its answers are remembered in the cache: a
command that finds a run needs them for the run's id, and nothing else of torch, which takes seconds to import.

They are remembered for the circumstances that they follow from, and checked when torch is imported after all.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from harness.core.cache_folder import cache_dir
from harness.core.errors import RunError
from harness.core.json_files import digest, write_atomically

BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16")
"""What torch calls the instructions of a CPU for matrix products in bfloat16: Intel's AMX, AVX-512, and those of ARM."""

SETTINGS = (
    *("CUDA_", "HIP_", "ROCR_", "HSA_", "NVIDIA_", "PYTORCH_", "ATEN_", "DNNL_", "ONEDNN_"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD"),
)
"""Beginnings of the names of environment variables that decide which devices and instructions torch uses."""
PROCESSOR = ("model name", "flags", "Features", "CPU implementer", "CPU part")
"""Beginnings of the lines of /proc/cpuinfo that say what a processor can do."""
DEVICES = ("nvidia*", "kfd", "dxg", "dri/renderD*")
"""In /dev: GPUs that this process may use."""
DRIVERS = ("/proc/driver/nvidia/version", "/sys/module/amdgpu/version")


class TorchFacts(BaseModel):
    """`gpu`: torch can use one. `gpu_bf16`: it computes in bfloat16. `cpu_bf16`: the CPU's instructions for matrix products in
    bfloat16, empty where torch uses none."""

    gpu: bool
    gpu_bf16: bool
    cpu_bf16: str


_used: TorchFacts | None = None
"""The remembered facts that this process went by."""


def torch_facts() -> TorchFacts:
    """Raises `ImportError` where torch is needed for an answer, and can't be imported."""
    global _used
    if (loaded := sys.modules.get("torch")) is not None:
        return asked(loaded)
    circumstances = _circumstances()
    file = None if circumstances is None else cache_dir() / "known" / f"torch-{circumstances[:20]}.json"
    if file is not None:
        with suppress(OSError, ValueError):
            _used = TorchFacts.model_validate_json(file.read_bytes())
            return _used
    import torch

    found = asked(torch)
    if file is not None:
        with suppress(OSError):  # a cache that can't be written costs time only
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, found.model_dump_json())
    return found


def check_facts(torch: Any) -> None:
    """Raise `RunError` where this process went by remembered facts that `torch` now denies (a GPU that was lost, say)."""
    global _used
    went_by, _used = _used, None
    if went_by is None or went_by == asked(torch):
        return
    for file in (cache_dir() / "known").glob("torch-*.json"):
        with suppress(OSError):  # gone already, or a cache that can't be written
            file.unlink()
    raise RunError("torch finds other devices on this machine than it did before.", "Repeat the command.")


def asked(torch: Any) -> TorchFacts:
    gpu = bool(torch.cuda.is_available())
    return TorchFacts(
        gpu=gpu,
        gpu_bf16=gpu and bool(torch.cuda.is_bf16_supported(including_emulation=False)),
        cpu_bf16=cpu_instructions(torch),
    )


def cpu_instructions(torch: Any) -> str:
    """Those of a processor without them are slower than float32, though `torch.ops.mkldnn` calls them supported."""
    # Without oneDNN (macOS) torch has no such kernels; versions before get_capabilities do not tell.
    if not hasattr(torch.cpu, "get_capabilities") or not torch.backends.mkldnn.is_available():
        return ""
    known = torch.cpu.get_capabilities()
    return next((name for name in BF16_INSTRUCTIONS if known.get(name, False)), "")


def _circumstances() -> str | None:
    """A digest of what the answers follow from: torch's files, the processor, the devices and drivers, and the environment.
    None where that can't be seen (only Linux shows it), or without torch."""
    found = importlib.util.find_spec("torch")
    if not sys.platform.startswith("linux") or found is None or found.origin is None:
        return None
    with suppress(OSError):
        versions = Path(found.origin).with_name("version.py")
        devices = sorted(str(path) for pattern in DEVICES for path in Path("/dev").glob(pattern))
        drivers = [Path(file).read_text(encoding="utf-8") for file in DRIVERS if Path(file).is_file()]
        variables = sorted((name, value) for name, value in os.environ.items() if name.startswith(SETTINGS))
        return digest([str(versions), versions.read_text(encoding="utf-8"), list(_processor()), devices, drivers, variables])
    return None


def _processor() -> Iterator[str]:
    """What the first processor can do."""
    with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.strip():
                return
            if line.startswith(PROCESSOR):
                yield line
