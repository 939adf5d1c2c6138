"""The Ray cluster: the connection, and what its nodes have."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from harness.core import library_logging
from harness.core.errors import BenchError, MissingExtra, RunError, UserError
from harness.execution.jobs import Need

TOKEN = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to what `ray get-auth-token` prints on the head node."

Resources = Mapping[str, float]
"""As Ray names them: CPU, GPU, memory (bytes)."""


def the_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("ray", "ray", "--executor ray") from error
    return ray


def connect(address: str | None, runtime_env: Mapping[str, Any]) -> None:
    """Connect this process, until it ends, to the cluster; without an address start one on this machine. A process that is
    connected stays so. Raises `UserError` if there is no cluster, and `RunError` if none can be started."""
    ray = the_ray()
    if ray.is_initialized():
        return
    address = address or os.environ.get("RAY_ADDRESS") or None
    if address is not None:
        _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray._private.authentication.authentication_token_setup").addFilter(_is_worth_saying)
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 256 * 2**20} if address is None else {}
    if not library_logging.loud():
        logging.getLogger("ray").setLevel(logging.ERROR)  # it tells of the token of a cluster that it starts
    handler = signal.getsignal(signal.SIGTERM)
    is_terminated = False
    try:
        ray.init(
            address or "local",
            runtime_env=dict(runtime_env) or None,
            log_to_driver=library_logging.loud(),
            configure_logging=False,
            **own,
        )
    except (Exception, SystemExit) as error:  # of a cluster that does not answer Ray ends the process
        is_terminated = isinstance(error, SystemExit) and error.code == signal.SIGTERM  # Ray's handler raises it
        if is_terminated:
            return
        if "InvalidAuthToken" in str(error):
            raise UserError(
                f"The Ray cluster at {address} wants a token, and refuses ours.",
                f"S{TOKEN[1:]}",
            ) from error
        raise _no_cluster(address, first_line(error)) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray's would end this process without stopping the workers
        if is_terminated:
            signal.raise_signal(signal.SIGTERM)
    _keep_stdout_clean()


def _is_worth_saying(record: logging.LogRecord) -> bool:
    """Not that a token protects the cluster, and how to do without it."""
    return library_logging.loud() or "authentication is enabled" not in record.getMessage()


def _check_reachable(address: str) -> None:
    """Ray itself waits for minutes. A Ray client is refused: what it sees of its cluster is not enough to plan with."""
    if "://" in address:
        raise UserError(
            f"--address {address}: a command that is no part of the cluster can't carry out runs on it.",
            "Begin it on a node of the cluster with --address auto. From elsewhere: `ray job submit -- bench run ...`.",
        )
    place = re.fullmatch(r"\[?([^/]+?)\]?:(\d+)", address)
    if place is None:
        return
    try:
        socket.create_connection((place[1], int(place[2])), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, first_line(error)) from error


def _no_cluster(address: str | None, why: str) -> BenchError:
    if address is None:
        return RunError(f"Ray can't be started on this machine: {why}", "See its logs: /tmp/ray/session_latest/logs.")
    hint = "`ray status` on the head node tells whether it runs; --address auto means a cluster of this machine."
    if "Failed to connect" in why and "RAY_AUTH_MODE" not in os.environ:  # also what Ray says of a refused token
        hint += f" If the cluster asks for a token: {TOKEN}"
    return UserError(f"There is no Ray cluster at {address}: {why}", hint)


def first_line(error: BaseException) -> str:
    """The first line, ended by one full stop."""
    lines = str(error).strip().splitlines()
    return f"{(lines[0] if lines else type(error).__name__).rstrip('.')}."


def _keep_stdout_clean() -> None:
    """Ray prints the deaths of workers to stdout, where the results go; we tell of them ourselves."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream") and not library_logging.loud():
        worker.print_to_stdstream = lambda *arguments, **options: None


class Nodes:
    """What the cluster has, looked up again every few seconds."""

    def __init__(self) -> None:
        self._ray, self._until = the_ray(), 0.0
        self._all: list[dict[str, float]] = []
        self._most: Resources | None = None

    def all(self) -> list[dict[str, float]]:
        """The resources of each node that is alive."""
        if time.monotonic() > self._until:
            self._until = time.monotonic() + 5
            self._all = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._most = _largest_size()
        return self._all

    def most(self) -> Resources | None:
        """What the cluster may grow to; None for one that does not grow."""
        self.all()
        return self._most

    def asked_by(self, need: Need) -> Resources:
        gpus = need.gpus
        if gpus is None:
            gpus = float(any(node.get("GPU", 0) >= 1 for node in self.all()) or (self.most() or {}).get("GPU", 0) >= 1)
        memory = {} if need.memory_gib is None else {"memory": float(int(need.memory_gib * 2**30))}
        return {"CPU": 1.0 if need.cpus is None else need.cpus, **({"GPU": gpus} if gpus else {}), **memory}

    def can_hold(self, resources: Resources) -> bool:
        """Whether a node has so much, or a node that could be added."""
        most = self.most()
        return any(_within(resources, node) for node in self.all()) or (most is not None and _within(resources, most))

    def have_room(self, resources: Resources, beside: Sequence[Resources]) -> bool:
        """Whether there is room beside other actors of ours. Those of others are Ray's business: it makes ours wait."""
        most = self.most()
        if most is not None:
            return _within({name: sum(one.get(name, 0) for one in [resources, *beside]) for name in most}, most)
        free = [dict(node) for node in self.all()]
        return all(_place(one, free) for one in beside) and _place(resources, free)

    def largest(self) -> str:
        def size(node: Resources) -> tuple[float, ...]:
            return node.get("GPU", 0), node.get("CPU", 0), node.get("memory", 0)

        return in_words(max(self.all(), key=size, default={}))


def _largest_size() -> Resources | None:
    from ray._private.state import state

    most: Resources | None = state.get_max_resources_from_cluster_config()
    return most


def _within(resources: Resources, room: Resources) -> bool:
    return all(amount <= room.get(name, 0) + 1e-9 for name, amount in resources.items())


def _place(resources: Resources, free: Sequence[dict[str, float]]) -> bool:
    """Take it from the first node with room."""
    for node in free:
        if _within(resources, node):
            for name, amount in resources.items():
                node[name] -= amount
            return True
    return False


def in_words(resources: Resources) -> str:
    """`2 GPUs, 8 CPUs, 31.5 GiB of memory`."""
    gpus, cpus, memory = (resources.get(name, 0) for name in ("GPU", "CPU", "memory"))
    parts = [f"{amount:g} {name}{'' if amount == 1 else 's'}" for amount, name in ((gpus, "GPU"), (cpus, "CPU")) if amount]
    return ", ".join([*parts, *([f"{memory / 2**30:.1f} GiB of memory"] if memory else [])]) or "nothing"
