"""SIGTERM and SIGHUP end a command as Ctrl-C does: its children end, what is done is kept, the exit code tells the signal."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_received: list[int] = []


def end_as_ctrl_c_does() -> None:
    """Handle the signals by which SLURM, Kubernetes and a closed terminal end a process.

    A signal that the caller ignores (nohup) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # only there can a signal be handled
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def exit_code() -> int:
    """What the shell should see of a command that was interrupted."""
    return 128 + (_received[0] if _received else signal.SIGINT)
