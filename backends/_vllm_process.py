"""The surroundings of vLLM's processes: its environment, and a log in place of a full terminal."""

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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType


@contextmanager
def vllm_surroundings(device: str) -> Iterator[Path | None]:
    """While vLLM is imported and its processes start; yields the file it logs to (None where the user decided on that).

    vLLM reads the environment at its import, its processes at their start. What the user has set stays.
    """
    logging.getLogger("vllm").addHandler(logging.NullHandler())  # for what it says before it has set up its own
    log = _log_folder() / "vllm.log" if "VLLM_LOGGING_LEVEL" not in os.environ else None
    if log is not None:
        os.environ.setdefault("VLLM_LOGGING_CONFIG_PATH", str(_logging_config(log)))
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # it would report to its makers
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # a fork of a process with threads may hang
    if device == "cpu":
        # By itself it leaves a core to the rest of the system, which has nothing to do meanwhile.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, sorted(os.sched_getaffinity(0)))))
    # Its libraries warn of each other, in every process; nothing in it is for the user of bench.
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
    """While vLLM starts: a signal that raises here (Ctrl-C, and what the command line handles like it) ends that, and leaves
    no process.

    vLLM's wait for its processes has been seen to swallow the exception and to wait on for processes that the same signal had
    ended. So the signal is sent again until its exception gets through.
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
    """What vLLM has started, and not ended itself."""
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
    """One line. What vLLM raises here says only that a process failed; the process's own error is in the log."""
    said = log.read_text(errors="replace") if log is not None and log.exists() else ""
    causes = re.findall(r"^\w*(?:Error|Exception): .+", said, re.MULTILINE)
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
