"""A run's curve, figures and configuration, told to a tracker (wandb, trackio, MLflow, TensorBoard): for eyes, not for records.

What is tracked is no part of a run and changes nothing of it: the libraries are called in a thread of their own, what they
raise becomes one warning, and a network that does not answer costs seconds at the end of the command. A tracker gets
numbers, names and options; never a text, a key, an address or a path.

The Trainer's own callbacks (`report_to`) are not used: they send all of its arguments, among them the folder of the
checkpoints and the path of the model, raise into the training, and end the tracker's run before the test rows are predicted.
The curves have the names that these callbacks give them (`train/loss`, `eval/accuracy`).
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum, auto
from math import isfinite
from typing import Any, Protocol, TypeGuard

from harness.core.errors import BenchError
from harness.core.progress_events import training_listener
from harness.core.record import RunRecord
from harness.running.plan import Plan

PATIENCE = 15.0
"""Seconds that the end of a command waits for what is still to be sent."""

SHORT = 1.0
"""Seconds of it that need no explanation."""

Plain = str | int | float | bool


class End(Enum):
    """How a run ended. `STOPPED`: by Ctrl-C, to go on later. `PRUNED`: a trial of a search that was given up on."""

    DONE = auto()
    FAILED = auto()
    STOPPED = auto()
    PRUNED = auto()


class Sink(Protocol):
    """A tracker's library. One run at a time; called from one thread; whatever is raised ends the tracking, not the run."""

    def start(self, run: str, task: str, config: Mapping[str, Plain]) -> None: ...

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def finish(self, values: Mapping[str, float], end: End) -> None: ...


class Tracker:
    """Hands over to a `Sink` in a thread, and never waits for it but in `close`."""

    def __init__(self, sink: Sink) -> None:
        self.problem: str | None = None
        self.asked = False
        """Whether there was any run to track."""
        self._sink = sink
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # A daemon: a library that hangs must not keep the command alive.
        self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
        self._thread.start()

    def start(self, run: str, task: str, config: Mapping[str, Plain]) -> None:
        self.asked = True
        self._calls.put(lambda: self._sink.start(run, task, config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._calls.put(lambda: self._sink.log(step, values))

    def finish(self, values: Mapping[str, float], end: End) -> None:
        self._calls.put(lambda: self._sink.finish(values, end))

    def close(self, patience: float = PATIENCE, on_wait: Callable[[], None] = lambda: None) -> str | None:
        """What went wrong, in one line; None where all was handed over. `on_wait` is called when this takes a while."""
        self._calls.put(None)
        self._thread.join(min(patience, SHORT))
        if self._thread.is_alive() and patience > SHORT:
            on_wait()
            self._thread.join(patience - SHORT)
        if self._thread.is_alive() and self.problem is None:
            self.problem = f"no answer in {patience:g} s"
        return self.problem

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if self.problem is None:
                try:
                    call()
                except (Exception, SystemExit) as error:  # the libraries' own errors have no common base
                    self.problem = _said(error)
                    # Else the run would stand there as one that goes on, and what is buffered would be lost.
                    with suppress(Exception, SystemExit):
                        self._sink.finish({}, End.STOPPED)


def _said(error: BaseException) -> str:
    """The first line."""
    if isinstance(error, BenchError):
        return error.message
    line = (str(error).strip().splitlines() or [""])[0]
    said = f"{type(error).__name__}: {line}".rstrip(": .")
    return said if len(said) <= 160 else said[:159] + "…"


_current: Tracker | None = None


@contextmanager
def tracked_by(tracker: Tracker | None) -> Iterator[None]:
    """While this lasts, every run that computes something is told to `tracker`."""
    global _current
    before, _current = _current, tracker
    try:
        with training_listener(_log_curves):
            yield
    finally:
        _current = before


@contextmanager
def tracked(plan: Plan) -> Iterator[Callable[[RunRecord], None]]:
    """Around a run: its beginning and its end. What is yielded takes the finished run's record."""
    tracker = _current
    if tracker is None:
        yield lambda record: None
        return
    done: dict[str, float] = {}
    tracker.start(plan.run_id, plan.task.name, config_of(plan))
    try:
        yield lambda record: done.update(figures_of(record))
    except BaseException as error:
        tracker.finish(done, _end(error))
        raise
    tracker.finish(done, End.DONE)


def _end(error: BaseException) -> End:
    if isinstance(error, KeyboardInterrupt):
        return End.STOPPED
    # Optuna's, by name: only a search imports that library.
    return End.PRUNED if type(error).__name__ == "TrialPruned" else End.FAILED


def _log_curves(step: int, values: Mapping[str, object]) -> None:
    named = {_curve(name): float(value) for name, value in values.items() if _is_number(value)}
    # The epoch stands beside a loss, and not again beside each evaluation; totals (train_runtime, ...) are no curves.
    named = {name: value for name, value in named.items() if name and (name != "train/epoch" or "loss" in values)}
    if _current is not None and named:
        _current.log(step, named)


def _curve(name: str) -> str:
    """Empty for what is no curve."""
    if name.startswith("train_") or name == "total_flos":
        return ""
    return f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def config_of(plan: Plan) -> dict[str, Plain]:
    """What was run, flat. Row ids, fingerprints and label names stay here, and so does what a value gives away as a place."""
    identity, backend, prompt = plan.identity, plan.identity.backend, plan.identity.prompt
    found: dict[str, Any] = {
        **{name: getattr(identity, name) for name in ("task", "lang", "split", "seed")},
        "backend": backend.name,
        **{name: getattr(backend, name) for name in ("engine", "model", "revision", "device", "dtype", "precision")},
        "rows": len(plan.rows),
    }
    if prompt is not None:
        names = sorted({"calibration", "decision"} & prompt.model_fields_set)
        found |= {"prompt": prompt.name, "decoding": prompt.decoding, "shots": len(prompt.shots)}
        found |= {name: getattr(prompt, name) for name in names}
    if plan.training is not None:
        found |= {
            "train_langs": plan.training.langs,
            "validation_langs": plan.training.validation_langs,
            "train_rows": len(plan.training.train),
            "validation_rows": len(plan.training.validation),
            "train_limit": plan.options.train_limit,
        }
    found |= _flat("options", backend.options)
    return {name: shown for name, value in found.items() if "api_key" not in name and (shown := _shown(value)) is not None}


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {name: value}
    return {key: part for inner, found in value.items() for key, part in _flat(f"{name}.{inner}", found).items()}


def _shown(value: Any) -> Plain | None:
    """None for what is nothing to show: no value, a place, or a structure."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return "+".join(map(str, value)) if all(_is_word(part) for part in value) else None
    return str(value) if value is not None and _is_word(value) else None


def _is_word(value: object) -> bool:
    """A name or number such as `org/model`, and no address, path or sentence."""
    text = str(value)
    return re.fullmatch(r"[\w.:@+-]+(/[\w.@+-]+)?", text) is not None and not re.match(r"[.~]|[A-Za-z]:", text)


def figures_of(record: RunRecord) -> dict[str, float]:
    """Of a finished run: metrics with their intervals, shares of rows without an answer, time, tokens, money, memory."""
    metrics, timing, split = record.metrics, record.timing, record.identity.split
    found: dict[str, Any] = {}
    for name, estimate in metrics.values.items():
        found |= {f"{split}/{name}": estimate.value, f"{split}/{name}_low": estimate.low, f"{split}/{name}_high": estimate.high}
    found |= {
        f"{split}/n": metrics.n,
        f"{split}/unparsed_share": metrics.unparsed / metrics.n,
        f"{split}/failed_share": metrics.failed / metrics.n,
        "speed/rows_per_second": timing.rows_per_second,
        "speed/seconds": timing.seconds,
        "speed/load_seconds": timing.load_seconds,
        "memory/host_mib": record.peak_memory_mib.host,
        "memory/gpu_mib": record.peak_memory_mib.gpu,
        "train/seconds": record.training and record.training.seconds,
        "cost/usd": record.cost and record.cost.usd,
    }
    if record.identity.prompt is not None:
        new, seconds = record.tokens.new, timing.seconds
        found |= {"tokens/prompt": record.tokens.prompt, "tokens/new": new}
        found |= {"speed/new_tokens_per_second": new / seconds if new is not None and seconds else None}
    return {name: float(value) for name, value in found.items() if _is_number(value)}
