"""Prompt a causal language model through vLLM: batched generation with a prefix cache, on CUDA or CPU."""

from __future__ import annotations

import atexit
import json
import logging
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from backends._chat import TokenModel, TokenModelOptions, TokenPrompt, Tokens
from backends._lists import ListPrompt, ListWalk
from backends._loading import META, check_vocabulary, is_quantized, load_language_model, read_config, text_config
from harness.core.arrays import FloatArray
from harness.core.errors import RunError
from harness.core.json_files import read_json

GIB = 2**30
SETTINGS = (
    *("quantization", "tensor_parallel_size", "pipeline_parallel_size", "gpu_memory_utilization"),
    *("enforce_eager", "max_model_len", "block_size", "kv_cache_gib"),
)
MOST_TOKEN_IDS = 128
"""How many tokens vLLM gives log-probabilities of in one request."""


class VLLMOptions(TokenModelOptions):
    quantization: str | None = Field(None, description="a method of vLLM's: bitsandbytes, awq, gptq, fp8, ...")
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs that share each layer")
    pipeline_parallel_size: int = Field(1, ge=1, description="GPUs, or groups of them, that share the layers")
    max_model_len: int | None = Field(None, ge=1, description="tokens of prompt and answer; default: the model's context")
    block_size: int | None = Field(None, ge=1, description="tokens a block of the prefix cache; default on CPU: 32")
    # The rest changes only speed and memory, and is not part of a run's identity.
    enforce_eager: bool | None = Field(
        None, exclude=True, description="no compilation and no CUDA graphs; default: on CPU only"
    )
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, exclude=True, description="share of a GPU's memory")
    kv_cache_gib: float | None = Field(None, gt=0, exclude=True, description="memory for the cache; default on CPU: 4")
    batch_size: int = Field(256, ge=1, exclude=True, description="rows per call")


class VLLM(TokenModel):
    """A decoder-only model in vLLM's own process."""

    Options = VLLMOptions
    libraries = ("vllm",)
    extra = "vllm"
    options: VLLMOptions
    score_tokens = 1

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        super().__init__(options, model)
        if self._device == "cpu" and self.options.dtype == "auto":
            self._dtype = "float32"  # whatever the processor has: its CPU kernels were not measured in bfloat16
        self._llm: Any = None

    def batch_size(self) -> int:
        return self.options.batch_size

    def load(self) -> None:
        """Raises `RunError` where vLLM does not start."""
        self._read_tokenizer()
        self.parameters = self._checked_weights()
        others = set(multiprocessing.active_children())
        with vllm_surroundings(self._device) as log, interruptible():
            from vllm import LLM

            try:
                self._llm = LLM(
                    str(self._source),
                    skip_tokenizer_init=True,
                    trust_remote_code=False,
                    disable_log_stats=True,
                    enable_prefix_caching=True,
                    use_tqdm_on_load=False,
                    **self._settings(),
                )
            except (RuntimeError, ValueError) as error:
                if log is not None:
                    keep(log)
                raise RunError(
                    f"vLLM can't load {self._source.name}: {cause_of(error, log)}",
                    f"Too little memory? Lower max_model_len or kv_cache_gib. Its log: {log or 'above'}",
                ) from error
        self._processes = set(multiprocessing.active_children()) - others
        self._context = self._llm.llm_engine.model_config.max_model_len

    def _checked_weights(self) -> int | None:
        """The number of parameters. vLLM does not report every missing weight: transformers does, where it knows the model, and
        without reading the weights."""
        from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

        if read_json(self._source / "config.json").get("model_type") not in CONFIG_MAPPING:
            return None
        config = read_config(self._source)
        if is_quantized(config) or type(text_config(config)) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            return None
        sketch = load_language_model(self._source, **META)
        check_vocabulary(self._tokenizer, sketch.model, self._source)
        return sketch.parameters

    def _settings(self) -> dict[str, Any]:
        on_cpu = self._device == "cpu"
        # Compilation takes minutes on a CPU and gains nothing there. A block is cached when it is full: with vLLM's 128 on CPU,
        # an instruction of 100 tokens never would be.
        defaults: dict[str, Any] = {"enforce_eager": on_cpu, **({"block_size": 32, "kv_cache_gib": 4} if on_cpu else {})}
        chosen = {name: getattr(self.options, name) for name in SETTINGS}
        settings = {**defaults, **{name: value for name, value in chosen.items() if value is not None}, "dtype": self._dtype}
        gib = settings.pop("kv_cache_gib", None)
        return settings if gib is None else {**settings, "kv_cache_memory_bytes": int(gib * GIB)}

    def _write(self, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        outputs = self._run(prompts, [self._params(max_tokens=max_new_tokens)] * len(prompts))
        return [list(output.outputs[0].token_ids) for output in outputs]

    def _choose(self, prompts: Sequence[TokenPrompt]) -> list[int]:
        """Token by token: of those that may follow, the likeliest."""
        trees = [prompt.tree for prompt in prompts if prompt.tree is not None]
        paths: list[Tokens] = [()] * len(trees)
        while True:
            following = [tree.following(path) for tree, path in zip(trees, paths, strict=True)]
            if not any(following):
                return [tree.choices.index(path) for tree, path in zip(trees, paths, strict=True)]
            open_ = [i for i, tokens in enumerate(following) if len(tokens) > 1]
            log_p = self._log_p([[*prompts[i].ids, *paths[i]] for i in open_], [following[i] for i in open_])
            likeliest = {i: following[i][int(np.argmax(values))] for i, values in zip(open_, log_p, strict=True)}
            for i, tokens in enumerate(following):
                if tokens:
                    paths[i] = (*paths[i], likeliest.get(i, tokens[0]))

    def _walk(self, prompts: Sequence[ListPrompt], walks: Sequence[ListWalk]) -> None:
        while any(not walk.done for walk in walks):
            following = [walk.following() for walk in walks]
            open_ = [i for i, tokens in enumerate(following) if len(tokens) > 1]
            log_p = self._log_p([[*prompts[i].ids, *walks[i].tokens] for i in open_], [following[i] for i in open_])
            likeliest = {i: following[i][int(np.argmax(values))] for i, values in zip(open_, log_p, strict=True)}
            for i, (walk, tokens) in enumerate(zip(walks, following, strict=True)):
                if tokens:
                    walk.take(likeliest.get(i, tokens[0]))

    def _edges(self, prompts: Sequence[TokenPrompt]) -> list[FloatArray]:
        jobs = [(i, p.ids, p.tree, node) for i, p in enumerate(prompts) if p.tree is not None for node in p.tree.nodes]
        log_p = self._log_p([[*ids, *node] for _, ids, _, node in jobs], [tree.following(node) for _, _, tree, node in jobs])
        edges: list[list[float]] = [[] for _ in prompts]
        for (i, *_), values in zip(jobs, log_p, strict=True):
            edges[i] += values  # edges are in the order of their nodes, and by token at each
        return [np.array(values) for values in edges]

    def _log_p(self, prompts: list[list[int]], tokens: list[list[int]]) -> list[list[float]]:
        """log p of each of `tokens[i]` as the next token after `prompts[i]`."""
        parts = [
            (i, ids[at : at + MOST_TOKEN_IDS]) for i, ids in enumerate(tokens) for at in range(0, len(ids), MOST_TOKEN_IDS)
        ]
        params = [self._params(max_tokens=1, logprob_token_ids=part) for _, part in parts]
        found: list[list[float]] = [[] for _ in prompts]
        for (i, part), output in zip(parts, self._run([prompts[i] for i, _ in parts], params), strict=True):
            (at_first,) = output.outputs[0].logprobs
            found[i] += [at_first[token].logprob for token in part]
        return found

    def _params(self, **settings: Any) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=0, stop_token_ids=self._ends, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY, **settings
        )

    def _run(self, prompts: list[list[int]], params: list[Any]) -> list[Any]:
        if not prompts:
            return []
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            outputs: list[Any] = self._llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
        except EngineDeadError as error:
            raise RunError(
                "vLLM's process died.", "Most often for want of memory: lower max_model_len or kv_cache_gib."
            ) from error
        return outputs

    def reset(self) -> None:
        self._llm.reset_prefix_cache()

    def close(self) -> None:
        if self._llm is None:
            return
        try:
            self._llm.llm_engine.engine_core.shutdown()
        finally:
            self._llm = None
            end(self._processes)


# --- vLLM's processes: their environment, and a log in place of terminal output -------------------------------------------


@contextmanager
def vllm_surroundings(device: str) -> Iterator[Path | None]:
    """While vLLM is imported and its processes start, which is when they read the environment; yields the file that vLLM logs
    to (None where the user has configured that). What the user has set stays.
    """
    logging.getLogger("vllm").addHandler(logging.NullHandler())  # for messages before it sets up its own
    log = _log_folder() / "vllm.log" if "VLLM_LOGGING_LEVEL" not in os.environ else None
    if log is not None:
        os.environ.setdefault("VLLM_LOGGING_CONFIG_PATH", str(_logging_config(log)))
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # no telemetry
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # a fork of a process with threads may hang
    if device == "cpu":
        # By default it leaves a core to the rest of the system, which has nothing to do meanwhile.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, sorted(os.sched_getaffinity(0)))))
    # Its libraries warn of each other, in every process, which is of no use to the user.
    quiet = {"PYTHONWARNINGS": "ignore", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    before = {name: os.environ.get(name) for name in quiet}
    os.environ.update(quiet)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield log
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def interruptible() -> Iterator[None]:
    """While vLLM starts: a signal that raises here (Ctrl-C, and what the command line handles like it) stops the start, and
    leaves no process.

    vLLM's wait for its processes can swallow the exception and go on waiting for processes that the same signal has ended.
    So the signal is sent again until its exception gets through.
    """
    others = set(multiprocessing.active_children())
    left, asked = threading.Event(), threading.Event()

    def again(number: int) -> None:
        while not left.wait(3):
            os.kill(os.getpid(), number)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not asked.is_set():
            asked.set()
            threading.Thread(target=again, args=(number,), daemon=True).start()
        before[number](number, frame)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    handlers = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in handlers.items() if callable(handler)}  # not SIG_DFL and SIG_IGN
    if threading.current_thread() is not threading.main_thread():  # only there can a signal be handled
        before = {}
    for number in before:
        signal.signal(number, interrupt)
    try:
        try:
            yield
        finally:
            left.set()
            for number, handler in before.items():
                signal.signal(number, handler)
    except BaseException:
        end(set(multiprocessing.active_children()) - others)
        raise


def end(children: Iterable[BaseProcess]) -> None:
    """Stop what vLLM has started and not stopped itself."""
    for child in children:
        child.terminate()
        child.join(10)
        if child.is_alive():
            child.kill()
            child.join()


@cache
def _log_folder() -> Path:
    """One for all engines of this process: vLLM's loggers are set up once."""
    folder = Path(tempfile.mkdtemp(prefix="bench-vllm-"))
    atexit.register(_remove_unless_kept, folder, os.getpid())
    return folder


def _remove_unless_kept(folder: Path, owner: int) -> None:
    if os.getpid() == owner and not (folder / "keep").exists():
        shutil.rmtree(folder, ignore_errors=True)


def cause_of(error: Exception, log: Path | None) -> str:
    """One line. vLLM's exception says only that a process failed; the process's own error is in the log."""
    text = log.read_text(errors="replace") if log is not None and log.exists() else ""
    causes = re.findall(r"^\w*(?:Error|Exception): .+", text, re.MULTILINE)
    lines = causes[-1:] or str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


def keep(log: Path) -> None:
    """After a failure: do not delete the log when this process ends."""
    log.with_name("keep").touch()


def _logging_config(log: Path) -> Path:
    path = log.with_name("logging.json")
    handler = {"class": "logging.FileHandler", "filename": str(log), "formatter": "lines"}
    path.write_text(
        json.dumps(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"lines": {"format": "%(asctime)s %(levelname)s %(message)s"}},
                "handlers": {"file": handler},
                "loggers": {"vllm": {"handlers": ["file"], "level": "INFO", "propagate": False}},
            }
        )
    )
    return path
