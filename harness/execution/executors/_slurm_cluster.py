"""Submit, watch and cancel tasks through submitit: on SLURM, or as processes of this machine."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from harness.core.errors import MissingExtra, RunError, UserError
from harness.execution.executors._slurm_task import Task
from harness.execution.jobs import Need
from harness.specs.executors import SlurmSettings

MOST_REQUEUES = 20
"""A task is queued again at most so often after its time limit: with a limit of 4 hours a training may take 3 days."""
DEFAULT_MINUTES = 240
EVERY = 60.0
"""Seconds between two questions to SLURM about all tasks, beside those that submitit asks."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Of a task. None: as the cluster has it by default."""

    gpus: int | None
    cpus: int | None
    memory_gib: float | None


def resources_of(need: Need, settings: SlurmSettings) -> Resources:
    """What bench.toml says of all tasks, else what the job needs. A GPU is not shared: a fraction counts as one. `gpus` None
    of a need, one where the machine has one: one on SLURM, since this machine, a login node, may have none."""
    gpus = need.gpus if settings.gpus is None else settings.gpus
    if gpus is None:
        gpus = float(_this_machine_has_a_gpu()) if settings.cluster == "local" else 1
    cpus = need.cpus if settings.cpus is None else settings.cpus
    memory = need.memory_gib if settings.memory_gib is None else settings.memory_gib
    return Resources(math.ceil(gpus), None if cpus is None else math.ceil(cpus), memory)


@cache
def _this_machine_has_a_gpu() -> bool:
    from harness.core.torch_facts import torch_facts

    try:
        return torch_facts().gpu
    except ImportError:
        return False


def minutes_of(time_limit: str | None) -> int:
    """`90`, `1:30:00` or `2-12:00:00` as minutes, rounded up. Raises `UserError`."""
    if time_limit is None:
        return DEFAULT_MINUTES
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+)(?::(\d+))?", time_limit)
    parts = [] if found is None else [int(part or 0) for part in found.groups()]
    if found is not None and time_limit.isdigit():
        minutes = float(time_limit)
    elif found is not None and found[4] is not None and found[2] is not None:
        minutes = parts[0] * 1440 + parts[1] * 60 + parts[2] + parts[3] / 60
    else:
        minutes = 0.0
    if minutes <= 0:
        raise UserError(f"[slurm] time = {time_limit!r} is no time limit.", "For example: 90 (minutes), 1:30:00, 2-12:00:00.")
    return math.ceil(minutes)


class SubmititCluster:
    """`name`: of the jobs. `logs`: submitit's folder. The caller has checked the settings (`check_cluster`)."""

    def __init__(self, settings: SlurmSettings, logs: Path, name: str) -> None:
        self._settings, self._logs, self._name = settings, logs, name
        self._minutes = minutes_of(settings.time)
        self._jobs: dict[str, Any] = {}
        self._asked = time.monotonic()

    def submit(self, tasks: Sequence[Task], resources: Resources) -> list[str]:
        """One array. The jobs' ids. Raises `RunError` for what the cluster refuses."""
        from submitit import AutoExecutor

        logging.getLogger("submitit").handlers = []  # it prints to stdout
        logging.getLogger("submitit").setLevel(logging.ERROR)
        often = {"slurm_max_num_timeout": MOST_REQUEUES, "local_max_num_timeout": MOST_REQUEUES}
        executor = AutoExecutor(self._logs, self._settings.cluster, **often)
        executor.update_parameters(**self._parameters(resources))
        try:
            with _without_ctrl_c():
                jobs: list[Any] = executor.submit_array(tasks)
        except Exception as error:
            said = next((line for line in reversed(str(error).splitlines()) if "error" in line.lower()), str(error))
            hint = "Look at [slurm] in bench.toml: partition, time, gpus, cpus, memory_gib. Without GPUs: gpus = 0."
            raise RunError(f"The cluster refused the jobs: {said.strip()}", hint) from error
        self._jobs |= {job.job_id: job for job in jobs}
        return [job.job_id for job in jobs]

    def log_of(self, job_id: str) -> Path:
        """What the job's task prints to stderr."""
        return Path(self._job(job_id).paths.stderr)

    @property
    def poll_seconds(self) -> float:
        """How often to look for news: each look reads a file of each task, which SLURM's nodes write over the network."""
        return 0.5 if self._settings.cluster == "local" else 2.0

    def ended(self, job_ids: Sequence[str], *, now: bool = False) -> set[str]:
        """Those that neither wait nor run; on SLURM as of a minute ago, unless `now` is asked for."""
        if self._settings.cluster == "local":
            return {job_id for job_id in job_ids if not self._is_alive(job_id)}
        jobs = {job_id: self._job(job_id) for job_id in job_ids}
        if jobs and (now or time.monotonic() - self._asked > EVERY):
            self._asked = time.monotonic()
            next(iter(jobs.values())).watcher.update()  # about all of them
        return {job_id for job_id, job in jobs.items() if job.done()}

    def was_cancelled(self, job_id: str) -> bool:
        """By scancel: nobody wants its jobs to be submitted again."""
        return self._settings.cluster == "slurm" and str(self._job(job_id).state).upper().startswith("CANCELLED")

    def cancel(self, pids: Mapping[str, int | None], grace: float) -> None:
        """Cancel the jobs, with `grace` seconds to close their journals. `pids`: job -> its task's process, if it has begun."""
        if not pids:
            return
        if self._settings.cluster == "local":
            for job_id, pid in pids.items():
                _signal(int(job_id) if pid is None else pid, signal.SIGTERM)
        else:
            import subprocess

            subprocess.run(["scancel", *pids], check=False, capture_output=True)
        left = self.wait(list(pids), grace)
        if self._settings.cluster == "local":
            for job_id in left:
                _kill_tree(int(job_id))

    def wait(self, job_ids: Sequence[str], seconds: float) -> set[str]:
        """Until all of them have ended, for so long at most; those that have not."""
        until = time.monotonic() + seconds
        while (left := set(job_ids) - self.ended(job_ids, now=True)) and time.monotonic() < until:
            time.sleep(self.poll_seconds / 5)
        return left

    def _parameters(self, resources: Resources) -> dict[str, Any]:
        settings = self._settings
        shared = {
            "name": self._name,
            "timeout_min": self._minutes,
            "gpus_per_node": resources.gpus or None,
            "cpus_per_task": resources.cpus,
            "mem_gb": resources.memory_gib,
        }
        slurm = {
            "slurm_partition": settings.partition,
            "slurm_account": settings.account,
            "slurm_setup": settings.setup or None,
            "slurm_additional_parameters": settings.parameters or None,
        }
        given = shared | (slurm if settings.cluster == "slurm" else {"local_setup": settings.setup or None})
        return {name: value for name, value in given.items() if value is not None}

    def _job(self, job_id: str) -> Any:
        """Also of a job that an earlier command submitted."""
        if job_id not in self._jobs:
            from submitit import LocalJob, SlurmJob

            kind: Any = LocalJob if self._settings.cluster == "local" else SlurmJob
            self._jobs[job_id] = kind(folder=self._logs, job_id=job_id)
        return self._jobs[job_id]

    def _is_alive(self, job_id: str) -> bool:
        """Its controller is a child of this process, or of a command that has ended."""
        job = self._job(job_id)
        if job._process is not None:
            return job._process.poll() is None
        with suppress(psutil.Error):
            process = psutil.Process(int(job_id))
            ours = any(str(self._logs) in word for word in process.cmdline())  # the number may be another process's by now
            return ours and process.status() != psutil.STATUS_ZOMBIE
        return False


def check_cluster(settings: SlurmSettings) -> None:
    """Raises `MissingExtra` without submitit, and `UserError` for a cluster that is not there and for a wrong time limit."""
    minutes_of(settings.time)
    if find_spec("submitit") is None:
        raise MissingExtra("submitit", "slurm", "--executor slurm")
    missing = [name for name in ("sbatch", "srun", "sacct", "scancel") if shutil.which(name) is None]
    if settings.cluster == "slurm" and missing:
        raise UserError(
            f"--executor slurm: this machine has no {missing[0]}.",
            "Run the command on a login node of the cluster. To try it on this machine, as processes: "
            '`cluster = "local"` under [slurm] in bench.toml.',
        )


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """What is started meanwhile does not get the Ctrl-C of this terminal: the command cancels it, with time to end. In this
    process the signal waits."""
    signals = {signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _kill_tree(pid: int) -> None:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in [*process.children(recursive=True), process]:
            with suppress(psutil.Error):
                one.kill()
