"""The commands of SLURM for a machine without it: `sbatch`, `srun`, `sacct`, `scancel`, `scontrol requeue`. An array is a
process for each task; the folder $FAKE_SLURM holds a file for each job with its state and process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

NAMES = ("sbatch", "srun", "sacct", "scancel", "scontrol")


def install(folder: Path) -> dict[str, str]:
    """Variables of an environment that has these commands."""
    commands, jobs = folder / "bin", folder / "jobs"
    commands.mkdir(parents=True)
    jobs.mkdir()
    for name in NAMES:
        path = commands / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        path.chmod(0o755)
    return {"FAKE_SLURM": str(jobs), "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}


def _path(job: str) -> Path:
    return Path(os.environ["FAKE_SLURM"]) / f"{job}.json"


def _read(job: str) -> dict[str, object]:
    return dict(json.loads(_path(job).read_text()))


def _write(job: str, **content: object) -> None:
    old = _read(job) if _path(job).exists() else {}
    part = _path(job).with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps({**old, **content}))
    part.replace(_path(job))


def sbatch(script: str) -> None:
    """Each task has a process of its own that starts the script, and starts it again where it was requeued."""
    text = Path(script).read_text()
    main = 1000 + len(list(Path(os.environ["FAKE_SLURM"]).glob("*.sbatch")))
    (Path(os.environ["FAKE_SLURM"]) / f"{main}.sbatch").write_text(text)
    array = re.search(r"--array=0-(\d+)", text)
    tasks = [str(number) for number in range(int(array[1]) + 1)] if array else [""]
    for task in tasks:
        job = f"{main}_{task}" if task else str(main)
        _write(job, state="PENDING")
        subprocess.Popen(
            [sys.executable, __file__, "task", script, str(main), task],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    sys.stdout.write(f"Submitted batch job {main}\n")


def task(script: str, main: str, number: str) -> None:
    job = f"{main}_{number}" if number else main
    array = {"SLURM_ARRAY_JOB_ID": main, "SLURM_ARRAY_TASK_ID": number} if number else {}
    one = {"SLURM_JOB_ID": main, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    environment = {**os.environ, **one, "SLURM_NODEID": "0", "WORLD_SIZE": "1", **array}
    while True:
        running = subprocess.Popen(["bash", script], env=environment, start_new_session=True)
        _write(job, state="RUNNING", pid=running.pid, requeue=False)
        code = running.wait()
        while _has_processes(running.pid):
            time.sleep(0.05)
        found = _read(job)
        if not found["requeue"]:
            break
    _write(job, state="CANCELLED by 0" if found.get("cancelled") else "COMPLETED" if code == 0 else "FAILED")


def _has_processes(group: int) -> bool:
    """Bash ends at once, and its child a while later."""
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
        except (psutil.Error, ProcessLookupError):
            continue
    return False


def srun(*words: str) -> None:
    """The command after the options; what it prints goes where they say."""
    given, rest = {}, list(words)
    while rest[0].startswith("--"):
        name = rest.pop(0)
        if name in ("--output", "--error"):
            given[name] = rest.pop(0)
    job = os.environ.get("SLURM_ARRAY_JOB_ID", os.environ["SLURM_JOB_ID"])
    for option, stream in (("--output", 1), ("--error", 2)):
        path = given[option].replace("%A", job).replace("%j", job).replace("%t", "0")
        path = path.replace("%a", os.environ.get("SLURM_ARRAY_TASK_ID", ""))
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), stream)
    os.execvp(rest[0], rest)


def sacct(*words: str) -> None:
    sys.stdout.write("JobID|State|NodeList\n")
    for main in [words[position + 1] for position, word in enumerate(words) if word == "-j"]:
        for path in sorted(Path(os.environ["FAKE_SLURM"]).glob(f"{main}*.json")):
            sys.stdout.write(f"{path.stem}|{_read(path.stem)['state']}|here\n")


def scancel(*jobs: str) -> None:
    for job in jobs:
        _write(job, cancelled=True)
        _signal(job, signal.SIGTERM)


def scontrol(what: str, job: str) -> None:
    assert what == "requeue"
    _write(job, requeue=True)
    _signal(job, signal.SIGTERM)


def _signal(job: str, number: int) -> None:
    """To all processes of the job, as SLURM does."""
    pid = _read(job).get("pid")
    if isinstance(pid, int):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:  # it has ended
            return


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
