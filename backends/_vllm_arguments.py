"""Arguments of vLLM's engine that bench passes on as they are, under the option `engine_args`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.core.errors import UnknownName, UserError

SPEED = frozenset(
    {
        *("max_num_seqs", "max_num_batched_tokens", "long_prefill_token_threshold", "enable_chunked_prefill"),
        *("scheduling_policy", "async_scheduling", "stream_interval"),
        *("cpu_offload_gb", "num_gpu_blocks_override", "max_parallel_loading_workers", "load_format", "download_dir"),
        *("safetensors_load_strategy", "safetensors_prefetch_num_threads", "safetensors_prefetch_block_size"),
        *("distributed_executor_backend", "disable_custom_all_reduce", "numa_bind", "numa_bind_nodes", "numa_bind_cpus"),
        *("cudagraph_capture_sizes", "max_cudagraph_capture_size", "device_ids", "performance_mode"),
    }
)
"""Those that change speed and memory alone. All others count as part of a run's identity."""
OWN = {
    **{
        name: f"Use the option {name} of the backend."
        for name in (
            *("quantization", "dtype", "max_model_len", "block_size", "tensor_parallel_size", "pipeline_parallel_size"),
            *("enforce_eager", "gpu_memory_utilization"),
        )
    },
    "kv_cache_memory_bytes": "Use the option kv_cache_gib of the backend.",
    "model": "Name another checkpoint with --model.",
    "data_parallel_size": "One process of bench uses one copy of the model: raise tensor_parallel_size, or start a server "
    "(vllm serve MODEL --data-parallel-size N) and use the engine openai.",
    **dict.fromkeys(
        ("tokenizer", "skip_tokenizer_init", "trust_remote_code", "disable_log_stats", "enable_prefix_caching", "runner"),
        "bench sets it itself.",
    ),
}
"""Those that are not passed on -> what to do instead."""


def checked(arguments: Mapping[str, Any]) -> None:
    """Raises `UserError` for arguments that the installed vLLM does not have, and for those of `OWN`."""
    known = _known() if arguments else frozenset()
    for name in arguments:
        if name in OWN:
            raise UserError(f"engine_args.{name} can't be set.", OWN[name])
        if known and name not in known:
            raise UnknownName("argument of vLLM's engine", name, known - OWN.keys())


@cache
def _known() -> frozenset[str]:
    """The fields of vLLM's `EngineArgs`; empty without vLLM. Read from its source: the import takes ten seconds."""
    found = find_spec("vllm")
    if found is None or found.origin is None:
        return frozenset()
    source = Path(found.origin).with_name("engine") / "arg_utils.py"
    if not source.exists():
        return frozenset()
    classes = [node for node in ast.parse(source.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    fields = [
        line.target for node in classes if node.name == "EngineArgs" for line in node.body if isinstance(line, ast.AnnAssign)
    ]
    return frozenset(target.id for target in fields if isinstance(target, ast.Name))
