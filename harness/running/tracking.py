"""Send a run's curves, figures and configuration to a tracker (wandb, trackio, MLflow, TensorBoard), each through its library.

Tracking does not affect a run: the libraries are imported only if needed and called in a separate thread; their errors become
one warning, and a network that does not answer costs seconds at the end of the command. A tracker gets numbers, names and
options; never a text, a key, an address or a path.

The Trainer's own callbacks (`report_to`) are not used: they send all arguments, including paths, raise into the training, and
end the tracker's run before the test rows are predicted. The curves have the names of these callbacks (`train/loss`,
`eval/accuracy`).
"""

from __future__ import annotations

import importlib.util
import os
import queue
import re
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum, StrEnum, auto
from math import isfinite
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from harness.core import library_logging
from harness.core.errors import BenchError, UserError
from harness.core.progress_events import training_listener
from harness.core.record import RunRecord
from harness.running.plan import Plan

PATIENCE = 15.0
"""Seconds that the end of a command waits for pending data."""

SHORT = 1.0
"""Seconds of waiting without a message."""

Plain = str | int | float | bool


class End(Enum):
    """How a run ended. `STOPPED`: by Ctrl-C, to continue later. `PRUNED`: a trial of a search that was pruned."""

    DONE = auto()
    FAILED = auto()
    STOPPED = auto()
    PRUNED = auto()


class Sink(Protocol):
    """A tracker's library. One run at a time; called from one thread; an error ends the tracking, not the run."""

    def start(self, run: str, task: str, config: Mapping[str, Plain]) -> None: ...

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def finish(self, values: Mapping[str, float], end: End) -> None: ...


class Tracker:
    """Passes calls to a `Sink` in a thread; waits for it in `close` only. `asked`: whether there was any run to track."""

    def __init__(self, sink: Sink) -> None:
        self.problem: str | None = None
        self.asked = False
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
        """The problem, in one line; None if all data was sent. `on_wait` is called if this takes a while."""
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
                    self.problem = _first_line(error)
                    # Else the tracker would show the run as unfinished, and buffered data would be lost.
                    with suppress(Exception, SystemExit):
                        self._sink.finish({}, End.STOPPED)


def _first_line(error: BaseException) -> str:
    """The first line."""
    if isinstance(error, BenchError):
        return error.message
    line = (str(error).strip().splitlines() or [""])[0]
    text = f"{type(error).__name__}: {line}".rstrip(": .")
    return text if len(text) <= 160 else text[:159] + "…"


_current: Tracker | None = None


@contextmanager
def tracked_by(tracker: Tracker | None) -> Iterator[None]:
    """While this lasts, `tracker` receives every run that computes something."""
    global _current
    before, _current = _current, tracker
    try:
        with training_listener(_log_curves):
            yield
    finally:
        _current = before


@contextmanager
def tracked(plan: Plan) -> Iterator[Callable[[RunRecord], None]]:
    """Around a run: track its beginning and its end. The yielded function takes the finished run's record."""
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
    # Optuna's, by name: only a search imports it.
    return End.PRUNED if type(error).__name__ == "TrialPruned" else End.FAILED


def _log_curves(step: int, values: Mapping[str, object]) -> None:
    named = {_curve(name): float(value) for name, value in values.items() if _is_number(value)}
    # The epoch is sent with a loss, not again with each evaluation; totals (train_runtime, ...) are no curves.
    named = {name: value for name, value in named.items() if name and (name != "train/epoch" or "loss" in values)}
    if _current is not None and named:
        _current.log(step, named)


def _curve(name: str) -> str:
    """Empty for totals."""
    if name.startswith("train_") or name == "total_flos":
        return ""
    return f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def config_of(plan: Plan) -> dict[str, Plain]:
    """The configuration, flat; without row ids, fingerprints, label names, addresses and paths."""
    identity, backend, prompt = plan.identity, plan.identity.backend, plan.identity.prompt
    found: dict[str, Any] = {
        **{name: getattr(identity, name) for name in ("task", "lang", "split", "seed")},
        "backend": backend.name,
        **{name: getattr(backend, name) for name in ("engine", "model", "revision", "device", "dtype", "precision")},
        "rows": len(plan.rows),
    }
    if prompt is not None:
        names = sorted({"calibration", "decision"} & prompt.model_fields_set)
        found |= {"prompt": prompt.name, "decoding": prompt.decoding, "shots": prompt.examples}
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
    """None for no value, an address or path, or a structure."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return "+".join(map(str, value)) if all(_is_word(part) for part in value) else None
    return str(value) if value is not None and _is_word(value) else None


def _is_word(value: object) -> bool:
    """Whether it is a name or number such as `org/model`, not an address, path or sentence."""
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


PROJECT = "bench"


class Track(StrEnum):
    WANDB = "wandb"
    TRACKIO = "trackio"
    MLFLOW = "mlflow"
    TENSORBOARD = "tensorboard"


def open_sink(track: Track, results: Path) -> Sink:
    """Raises `UserError` if the library is missing. A tracker's local files are below `results`, unless its environment
    variables name another folder."""
    if importlib.util.find_spec(track.value) is None:
        raise UserError(
            f"--track {track} needs the library {track.value!r}, which is not installed.",
            f"pip install {track}; in a checkout of bench: pip install -c constraints.txt -e '.[track]'",
        )
    kinds: dict[Track, Callable[[Path], Sink]] = {
        Track.WANDB: Wandb,
        Track.TRACKIO: Trackio,
        Track.MLFLOW: MLflow,
        Track.TENSORBOARD: TensorBoard,
    }
    return kinds[track](results)


def where(track: Track, results: Path) -> str:
    """How to view the tracked runs: a command or a folder."""
    match track:
        case Track.TENSORBOARD:
            return f"tensorboard --logdir {shlex.quote(str(_tensorboard_folder(results)))}"
        case Track.TRACKIO:
            return f"trackio show --project {shlex.quote(_project('TRACKIO_PROJECT'))}"
        case Track.MLFLOW:
            uri = os.environ.get("MLFLOW_TRACKING_URI")
            command = f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {_mlflow_store(results)}"
            return "the store that MLFLOW_TRACKING_URI names" if uri else command
        case Track.WANDB:
            project = _project("WANDB_PROJECT")
            if os.environ.get("WANDB_MODE") == "offline":
                folder = Path(os.environ.get("WANDB_DIR") or results) / "wandb"
                return f"wandb sync {shlex.quote(str(folder))}/offline-run-* uploads the project {project}"
            return f"the project {project} of wandb"


def _project(variable: str) -> str:
    return os.environ.get(variable) or PROJECT


def _tensorboard_folder(results: Path) -> Path:
    return Path(os.environ.get("TENSORBOARD_LOGGING_DIR") or results / "tensorboard").expanduser()


def _mlflow_store(results: Path) -> str:
    """Files beside the runs: MLflow's default, a database, takes too long to set up."""
    return (results / "mlruns").absolute().as_uri()


class TensorBoard:
    """One folder per task, and in it one per run. TensorBoard's writer of event files needs no torch."""

    def __init__(self, results: Path) -> None:
        self._root = _tensorboard_folder(results)
        self._writer: Any = None
        self._config: Mapping[str, Plain] = {}
        self._step = 0

    def start(self, run: str, task: str, config: Mapping[str, Plain]) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._folder = self._root / task / run
        self._step = _last_step(self._folder)
        self._writer, self._config = EventFileWriter(str(self._folder)), config
        self._begun = False

    def _begin(self, step: int) -> None:
        """Hide what an earlier process logged from this step on: these steps are repeated. Not called if nothing is trained:
        figures alone must not hide a curve."""
        from tensorboard.compat.proto import event_pb2

        session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=step, session_log=session))
        self._begun, self._step = True, step

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if not self._begun:
            self._begin(step)
        self._step = max(self._step, step)
        self._add(step, values)

    def _add(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2

        found = [summary_pb2.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        summary = summary_pb2.Summary(value=found)
        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=step, summary=summary))
        self._writer.flush()

    def finish(self, values: Mapping[str, float], end: End) -> None:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        if end is End.DONE:
            self._add(self._step, values)
            summary = hparams_pb(dict(self._config))
            self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=0, summary=summary))
        self._writer.close()


def _last_step(folder: Path) -> int:
    """The last step that earlier processes logged there, or 0."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    files = sorted(folder.glob("events.out.tfevents.*"))
    return max((event.step for file in files for event in EventFileLoader(str(file)).Load()), default=0)


class Wandb:
    """Its automatic data (command line, folders, git, packages, console, load of the machine) is turned off."""

    def __init__(self, results: Path) -> None:
        self._folder = Path(os.environ.get("WANDB_DIR") or results)
        self._run: Any = None

    def start(self, run: str, task: str, config: Mapping[str, Plain]) -> None:
        if not library_logging.loud():
            os.environ.setdefault("WANDB_SILENT", "true")  # `settings` come too late for its login message
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            silent=True,
            console="off",
            program="bench",
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            init_timeout=PATIENCE / 2,  # its exit handler waits as long
        )
        self._run = wandb.init(
            project=_project("WANDB_PROJECT"),
            dir=str(self._folder),
            id=run.rpartition(".")[2],  # the same for a resumed or repeated run
            name=run,
            group=task,
            config=dict(config),
            resume="allow",
            reinit="create_new",
            settings=settings,
        )
        self._run.define_metric("train/global_step")
        self._run.define_metric("*", step_metric="train/global_step", step_sync=True)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "train/global_step": step})

    def finish(self, values: Mapping[str, float], end: End) -> None:
        self._run.summary.update(dict(values))
        # 255 is what wandb itself sends after Ctrl-C.
        self._run.finish(exit_code={End.FAILED: 1, End.STOPPED: 255}.get(end, 0))


class Trackio:
    def __init__(self, results: Path) -> None:
        self._run: Any = None
        self._step: int | None = None

    def start(self, run: str, task: str, config: Mapping[str, Plain]) -> None:
        import trackio

        _silence("trackio")
        options = {"resume": "allow", "embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
        self._run = trackio.init(_project("TRACKIO_PROJECT"), name=run, group=task, config=dict(config), **options)
        self._step = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._step = max(self._step or 0, step)
        self._run.log(dict(values), step=step)

    def finish(self, values: Mapping[str, float], end: End) -> None:
        if values:
            self._run.log(dict(values), step=self._step)
        self._run.finish()


def _silence(package: str) -> None:
    """It prints to stdout, like our tables and JSON; a redirection would affect all threads."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package:
            vars(module).setdefault("print", lambda *words, **options: None)


class MLflow:
    """Through the client: the fluent interface would add the script's path and the user's name to every run."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._client: Any = None
        self._id = ""
        self._step = 0

    def start(self, run: str, task: str, config: Mapping[str, Plain]) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the default takes minutes
        store = os.environ.get("MLFLOW_TRACKING_URI") or _mlflow_store(self._results)
        if store.startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # required for files
        self._client = MlflowClient(store)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or f"{PROJECT}-{task}"
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        earlier = self._client.search_runs([experiment], f"tags.`bench.run` = '{run}'", max_results=1)
        self._step = 0
        if earlier:
            self._id = earlier[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            # The last step of earlier processes: figures belong at the end of the curve, also if nothing is trained now.
            self._step = max((found.step for found in self._client.get_metric_history(self._id, "train/loss")), default=0)
        else:
            tags = {"bench.run": run, "bench.task": task}
            self._id = self._client.create_run(experiment, run_name=run, tags=tags).info.run_id
            params = [Param(name, str(value)) for name, value in config.items()]
            for start in range(0, len(params), 100):  # the limit of one call
                self._client.log_batch(self._id, params=params[start : start + 100])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        self._step = max(self._step, step)
        now = int(time.time() * 1000)
        self._client.log_batch(self._id, [Metric(name, value, now, step) for name, value in values.items()])

    def finish(self, values: Mapping[str, float], end: End) -> None:
        if values:
            self.log(self._step, values)
        self._client.set_terminated(self._id, {End.DONE: "FINISHED", End.FAILED: "FAILED"}.get(end, "KILLED"))
