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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, Field, field_serializer, field_validator

from backends._chat import TokenModel, TokenModelOptions, TokenPrompt, Tokens
from backends._lists import ListPrompt, ListWalk
from backends._loading import META, check_vocabulary, is_quantized, load_language_model, read_config, text_config
from backends._vllm_arguments import SPEED, checked
from backends._vllm_requests import Asking, Request, Requests
from harness.core.arrays import FloatArray
from harness.core.engine import Allowed, Encoded, Messages, Pending
from harness.core.errors import RunError
from harness.core.json_files import read_json

T = TypeVar("T")

GIB = 2**30
SETTINGS = (
    *("quantization", "tensor_parallel_size", "pipeline_parallel_size", "gpu_memory_utilization"),
    *("enforce_eager", "max_model_len", "block_size", "kv_cache_gib"),
)
MOST_TOKEN_IDS = 128
"""How many tokens vLLM gives log-probabilities of in one request."""
IN_FLIGHT = 4096
"""Rows that vLLM is given before the oldest of them are waited for: more than it computes at a time."""
ROOM_STEP = 256
"""`max_model_len` is a multiple of it, so that most runs of a loaded model find room."""
BY_LENGTH = frozenset({"longrope", "su", "dynamic"})
"""Kinds of rotary positions that depend on `max_model_len`, and with them the answers."""


class VLLMOptions(TokenModelOptions):
    quantization: str | None = Field(None, description="a method of vLLM's: bitsandbytes, awq, gptq, fp8, ...")
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs that share each layer")
    pipeline_parallel_size: int = Field(1, ge=1, description="GPUs, or groups of them, that share the layers")
    max_model_len: int | None = Field(
        None, ge=1, description="tokens of prompt and answer; default: as the rows need, up to the model's context"
    )
    block_size: int | None = Field(None, ge=1, description="tokens a block of the prefix cache; default on CPU: 32")
    # The rest changes only speed and memory, and is not part of a run's identity.
    enforce_eager: bool | None = Field(
        None, exclude=True, description="no compilation and no CUDA graphs; default: on CPU only"
    )
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, exclude=True, description="share of a GPU's memory")
    kv_cache_gib: float | None = Field(None, gt=0, exclude=True, description="memory for the cache; default on CPU: 4")
    batch_size: int = Field(64, ge=1, exclude=True, description="rows that are recorded together; vLLM makes its own batches")
    engine_args: dict[str, Any] = Field(
        {},
        exclude_if=lambda arguments: arguments.keys() <= SPEED,
        description="other arguments of vLLM's engine: `engine_args.max_num_seqs=512`; not part of a run's identity where they "
        "change speed and memory only",
    )

    @field_validator("engine_args")
    @classmethod
    def _known(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        checked(arguments)
        return arguments

    @field_serializer("engine_args")
    def _identifying(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in arguments.items() if name not in SPEED}


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
        self._has_tokenizer = False
        self._requests: Requests | None = None
        self._room: int | None = None
        """Tokens that the longest prompt of the run takes with its answer, rounded up; None: not known."""

    def batch_size(self) -> int:
        return self.options.batch_size

    def ahead(self) -> int:
        return -(-IN_FLIGHT // self.options.batch_size)

    def is_sized(self) -> bool:
        return self.options.max_model_len is None and _longest_context(self._source) is not None

    def make_room(self, tokens: int) -> bool:
        if self._llm is None:
            self._room = -(-tokens // ROOM_STEP) * ROOM_STEP
            return True
        return tokens <= self._context or self._room is None

    def encode(self, chats: Sequence[Messages], choices: Allowed | None) -> list[Encoded]:
        self._read_tokenizer()
        return super().encode(chats, choices)

    def _read_tokenizer(self) -> None:
        if not self._has_tokenizer:
            super()._read_tokenizer()
            self._has_tokenizer = True

    def speed_settings(self) -> Mapping[str, Any]:
        """What vLLM has chosen where the options leave it open, and all of `engine_args`."""
        config = self._llm.llm_engine.vllm_config
        batched = {name: getattr(config.scheduler_config, name) for name in ("max_num_seqs", "max_num_batched_tokens")}
        return {"max_model_len": self._context, **batched, "rows_in_flight": IN_FLIGHT, **self.options.engine_args}

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
        self._requests = Requests(_LLMEngine(self._llm.llm_engine))

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
        chosen = {name: getattr(self.options, name) for name in SETTINGS} | self._sizes() | self.options.engine_args
        settings = {**defaults, **{name: value for name, value in chosen.items() if value is not None}, "dtype": self._dtype}
        gib = settings.pop("kv_cache_gib", None)
        return settings if gib is None else {**settings, "kv_cache_memory_bytes": int(gib * GIB)}

    def _sizes(self) -> dict[str, int]:
        """`max_model_len` as the rows need it, where that is less than the model's context."""
        longest = _longest_context(self._source)
        return {} if self._room is None or longest is None or self._room >= longest else {"max_model_len": self._room}

    def _launch(self, rows: Sequence[Asking[T]]) -> Pending[list[T]]:
        assert self._requests is not None
        return self._requests.launch(rows)

    def _write(self, prompts: list[list[int]], max_new_tokens: int) -> Pending[list[list[int]]]:
        return self._launch([self._text(ids, max_new_tokens) for ids in prompts])

    def _written(self, prompts: list[list[int]], max_new_tokens: int) -> Pending[list[list[int]]]:
        if not self._chat.thought:
            return self._write(prompts, max_new_tokens)
        return self._launch([self._thought(ids, max_new_tokens) for ids in prompts])

    def _choose(self, prompts: Sequence[TokenPrompt]) -> Pending[list[int]]:
        return self._launch([self._choice(prompt) for prompt in prompts])

    def _walk(self, prompts: Sequence[ListPrompt], walks: Sequence[ListWalk]) -> Pending[list[None]]:
        return self._launch([self._list(prompt, walk) for prompt, walk in zip(prompts, walks, strict=True)])

    def _edges(self, prompts: Sequence[TokenPrompt]) -> Pending[list[FloatArray]]:
        return self._launch([self._edges_of(prompt) for prompt in prompts])

    # What each row asks:

    def _text(self, ids: list[int], max_new_tokens: int) -> Asking[list[int]]:
        (output,) = yield [(ids, self._params(max_new_tokens))]
        return list(output.outputs[0].token_ids)

    def _thought(self, ids: list[int], max_new_tokens: int) -> Asking[list[int]]:
        thought = yield from self._text(ids, self._chat.thought)
        begun = self._chat.after_thinking(thought, self._ends)
        if begun is None:
            return thought
        return begun + (yield from self._text(ids + begun, max_new_tokens))

    def _choice(self, prompt: TokenPrompt) -> Asking[int]:
        """Token by token: of those that may follow, the likeliest."""
        assert prompt.tree is not None
        path: Tokens = ()
        while following := prompt.tree.following(path):
            path = (*path, (yield from self._likeliest([*prompt.ids, *path], following)))
        return prompt.tree.choices.index(path)

    def _list(self, prompt: ListPrompt, walk: ListWalk) -> Asking[None]:
        while following := walk.following():
            walk.take((yield from self._likeliest([*prompt.ids, *walk.tokens], following)))

    def _likeliest(self, ids: list[int], tokens: list[int]) -> Asking[int]:
        if len(tokens) == 1:
            return tokens[0]
        (log_p,) = yield from self._log_p([(ids, tokens)])
        return tokens[int(np.argmax(log_p))]

    def _edges_of(self, prompt: TokenPrompt) -> Asking[FloatArray]:
        tree = prompt.tree
        assert tree is not None
        log_p = yield from self._log_p([([*prompt.ids, *node], tree.following(node)) for node in tree.nodes])
        return np.array([value for values in log_p for value in values])  # edges: in the order of the nodes, by token at each

    def _log_p(self, questions: list[tuple[list[int], list[int]]]) -> Asking[list[list[float]]]:
        """Of each question, a prompt and tokens: log p of each of the tokens as the next one."""
        parts = [
            (i, ids, tuple(tokens[at : at + MOST_TOKEN_IDS]))
            for i, (ids, tokens) in enumerate(questions)
            for at in range(0, len(tokens), MOST_TOKEN_IDS)
        ]
        requests: list[Request] = [(ids, self._params(1, part)) for _, ids, part in parts]
        outputs = yield requests
        found: list[list[float]] = [[] for _ in questions]
        for (i, _, part), output in zip(parts, outputs, strict=True):
            (at_first,) = output.outputs[0].logprobs
            found[i] += [at_first[token].logprob for token in part]
        return found

    def _params(self, max_tokens: int, logprob_token_ids: Tokens = ()) -> Any:
        return _sampling(max_tokens, logprob_token_ids, tuple(self._ends))

    def reset(self) -> None:
        assert self._requests is not None
        self._requests.drop()
        self._llm.reset_prefix_cache()

    def close(self) -> None:
        if self._llm is None:
            return
        try:
            self._llm.llm_engine.engine_core.shutdown()
        finally:
            self._llm = self._requests = None
            end(self._processes)


class _LLMEngine:
    """vLLM's `LLMEngine`, as `Requests` needs it. Raises `RunError` where its process has died."""

    def __init__(self, engine: Any) -> None:
        from vllm.inputs import tokens_input

        self._engine, self._input = engine, tokens_input

    def add(self, name: str, ids: list[int], params: Any) -> None:
        with _told_if_dead():
            self._engine.add_request(name, self._input(ids), params)

    def step(self) -> list[tuple[str, Any]]:
        with _told_if_dead():
            return [(output.request_id, output) for output in self._engine.step() if output.finished]

    def abort(self, names: list[str]) -> None:
        with _told_if_dead():
            self._engine.abort_request(names)


@contextmanager
def _told_if_dead() -> Iterator[None]:
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except EngineDeadError as error:
        raise RunError("vLLM's process died.", "Most often for want of memory: lower max_model_len or kv_cache_gib.") from error


def _longest_context(folder: Path) -> int | None:
    """The context that a checkpoint's settings name; None where they name none, and where answers depend on `max_model_len`, by
    rotary positions. Read as they are: vLLM knows models that transformers does not."""
    settings = read_json(folder / "config.json")
    settings = {**settings, **settings.get("text_config", {})}
    rotary = settings.get("rope_scaling") or settings.get("rope_parameters") or {}
    kinds = [rotary, *(part for part in rotary.values() if isinstance(part, dict))]  # one for each kind of layer, in some
    if any(str(kind.get(name)) in BY_LENGTH for kind in kinds for name in ("rope_type", "type")):
        return None
    longest = settings.get("max_position_embeddings")
    return longest if isinstance(longest, int) else None


@lru_cache(maxsize=4096)
def _sampling(max_tokens: int, logprob_token_ids: Tokens, ends: Tokens) -> Any:
    """vLLM clones what it changes: equal requests share it."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=0,
        max_tokens=max_tokens,
        logprob_token_ids=list(logprob_token_ids) or None,
        stop_token_ids=list(ends),
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


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
