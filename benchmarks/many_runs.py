"""How long `bench` takes over many runs, and how much memory: list, compare, leaderboard, recommend, show.

    python benchmarks/many_runs.py --runs 10000 --output many_runs.json

Run it in the root of a checkout, on a machine with nothing else to do. The records are copies of those in `results/runs`, each
round of copies with tasks of its own, in a temporary folder (`--keep DIR`: in this one, where they are found again). Each
measurement is a whole process, interpreter and imports included, in this order:

- *without index*: the first command, which reads every record and makes the index; and the first leaderboard;
- *unchanged*: the same commands again;
- *one new run*: a run is taken away before the leaderboard was made, and put back after it.

`--old DIR` measures the commands of another checkout of bench (before there was an index) on the same records first.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BENCH = "from harness.cli import main; main()"
MEASURE = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
seconds = {"seconds": time.perf_counter() - started, "processor_seconds": used.ru_utime + used.ru_stime}
print(json.dumps({**seconds, "peak_mib": used.ru_maxrss / 1024, "exit_code": done.returncode}))
"""
"""The peak of a process is known to its parent alone, and only as the highest of all its children: one parent for each."""
SETTLED_SECONDS = 3
"""The index leaves out what was written in the last two seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    from _record_copies import copy_records

    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        results = (options.keep or Path(folder)) / "results"
        if not (results / "runs").is_dir():
            copy_records(ROOT / "results" / "runs", results / "runs", options.runs)
        time.sleep(SETTLED_SECONDS)
        measured = list(measurements(results, options.old))
        there = len([path for path in (results / "runs").iterdir() if (path / "run.json").is_file()])
    record = {"runs": there, "cores": os.cpu_count(), "load_average": os.getloadavg()[0], "measurements": measured}
    if options.output is not None:
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{there:,} runs; {os.cpu_count()} cores, load average {record['load_average']:.1f} at the end\n")
    print(table(measured))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Time and memory of bench over many runs.")
    parser.add_argument("--runs", type=int, default=10_000, metavar="N", help="default: 10000")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the records here, or use those that are here")
    parser.add_argument("--old", type=Path, metavar="DIR", help="measure this checkout of bench, too")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write JSON")
    return parser


def commands(names: Sequence[str]) -> dict[str, list[str]]:
    """Of these runs two are compared: the first two of the task that has most."""
    task = names[0].partition(".")[0]
    two = [name for name in names if name.startswith(f"{task}.{names[0].split('.')[1]}.")][:2]
    return {
        "list runs": ["list", "runs"],
        "compare": ["compare", *two],
        "recommend": ["recommend", "--task", task, "--lang", names[0].split(".")[1]],
        "show": ["show", names[0]],
        "leaderboard": ["leaderboard"],
    }


def measurements(results: Path, old: Path | None) -> Iterator[dict[str, Any]]:
    names = sorted(path.name for path in (results / "runs").iterdir() if (path / "run.json").is_file())
    asked = commands(names)
    if old is not None:
        for name, command in asked.items():
            yield {"when": "before", "what": name, **measured(command, results, old)}
    shutil.rmtree(results / "runs" / ".index", ignore_errors=True)
    for when in ("without index", "unchanged"):
        for name, command in asked.items():
            yield {"when": when, "what": name, **measured(command, results, ROOT)}
    aside = results / names[0]
    (results / "runs" / names[0]).rename(aside)
    measured(asked["leaderboard"], results, ROOT)
    aside.rename(results / "runs" / names[0])
    time.sleep(SETTLED_SECONDS)
    for name in ("leaderboard", "list runs"):
        yield {"when": "one new run", "what": name, **measured(asked[name], results, ROOT)}


def measured(command: Sequence[str], results: Path, code: Path) -> dict[str, Any]:
    """Of a process of its own: seconds, those of the processor, MiB at most, and the exit code."""
    whole = [sys.executable, "-c", MEASURE, sys.executable, "-c", BENCH, *command, "--results", str(results)]
    done = subprocess.run(whole, env={**os.environ, "PYTHONPATH": str(code)}, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def table(measured: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| when | command | seconds | of processor time | peak MiB |", "| --- | --- | --- | --- | --- |"]
    for one in measured:
        figures = f"{one['seconds']:.1f} | {one['processor_seconds']:.1f} | {one['peak_mib']:.0f}"
        failed = f" (exit code {one['exit_code']})" if one["exit_code"] else ""
        lines.append(f"| {one['when']} | {one['what']}{failed} | {figures} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
