"""Several processes in one command (`torchrun`, `accelerate launch`). Only training is shared: the first process reads the
command, predicts and writes the record; the others wait for its trainings and take part in them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

from harness.core.errors import UserError

E = TypeVar("E", bound=Exception)

PATIENCE = timedelta(days=7)
"""The maximum wait for the next training: the first process may predict for hours in between."""


class Stopped(Exception):
    """Raised in the other processes if the first one ended a training."""


class OutOfStep(SystemExit):
    """A training failed in this process alone. The others still train, so all processes must end."""


TORCHRUN = "TORCHELASTIC_RUN_ID"
ACCELERATE = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
LAUNCHER_VARIABLES = (TORCHRUN, "WORLD_SIZE", *ACCELERATE, "LOCAL_WORLD_SIZE", "GROUP_RANK")
"""What torchrun and accelerate set in each process. A scheduler may set some of them for a process that trains alone."""


def processes() -> int:
    """1 unless torchrun or accelerate started this process: SLURM and others set `WORLD_SIZE` alone."""
    is_launched = TORCHRUN in os.environ or all(name in os.environ for name in ACCELERATE)
    return int(os.environ.get("WORLD_SIZE", "1")) if is_launched else 1


def is_first() -> bool:
    return processes() == 1 or os.environ.get("RANK", "0") == "0"


def forget_other_launchers() -> None:
    """Unless torchrun or accelerate started this process: accelerate would wait for processes that do not train along."""
    if processes() == 1:
        forget_launcher()


def forget_launcher() -> None:
    """Remove the variables of a launcher from the environment: this process trains alone."""
    for name in LAUNCHER_VARIABLES:
        os.environ.pop(name, None)


def broadcast(value: Any) -> Any:
    """The first process's `value`, in all processes."""
    if processes() == 1:
        return value
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        on_gpu = torch.cuda.is_available()
        if on_gpu:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


@contextmanager
def in_step() -> Iterator[None]:
    """Around a training: an error of this process alone becomes `OutOfStep`.

    All processes find a user's mistake, before the first step; likewise an error that is marked by `alike`.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if processes() == 1:
            raise
        raise OutOfStep(130) from error
    except Exception as error:
        if processes() == 1 or isinstance(error, Stopped | UserError) or error in _known_to_all:
            raise
        raise OutOfStep(f"bench: a training of {processes()} processes failed: {error}") from error


_known_to_all: list[BaseException] = []


def alike(error: E) -> E:
    """Mark an error as one that every process raises at this point."""
    _known_to_all.append(error)
    return error


def together(call: Callable[[], None]) -> None:
    """Call it in the first process; if it raises there, the others raise `Stopped`."""
    error: BaseException | None = None
    if is_first():
        try:
            call()
        except Exception as raised:
            error = raised
    failed = broadcast(error is not None)
    if error is not None:
        _known_to_all.append(error)
        raise error
    if failed:
        raise Stopped


def leave() -> None:
    """At the end of the command, in every process of several."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def end() -> NoReturn:
    """End a process that only took part in trainings, at once: a normal exit may abort in a thread of torch, and the launcher
    then reports a failure."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
