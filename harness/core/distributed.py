"""Several processes on one command (`torchrun`, `accelerate launch`): the first does all the work, the others train with it.

Only training is shared. The first process reads the command, predicts, and writes the record; the others wait for it to
say what to train. So there is one loop, and nothing to keep in step but the trainings themselves.
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
"""How long the others wait for the next training: the first one may predict for hours in between."""


class Stopped(Exception):
    """Raised in the other processes where the first one ended a training."""


class OutOfStep(SystemExit):
    """A training failed in this process alone: the others still train, so that nothing but the end of all can follow."""


def processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def broadcast(value: Any) -> Any:
    """The first process's `value`, in all of them; returns at once where there is only one."""
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
    """Around a training: an error that the other processes do not know of becomes `OutOfStep`.

    A user's mistake is found by all of them alike, before the first step; what `alike` made known is, too.
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
    """The same error, marked as one that every process raises at this point, from the same numbers."""
    _known_to_all.append(error)
    return error


def together(call: Callable[[], None]) -> None:
    """Call it in the first process; where it raises there, the others raise `Stopped`."""
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
    """The end of a process that only took part: at once.

    Python's own end has been seen to abort such a process in a thread of torch, and the launcher then calls the command failed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
