"""How long `bench` takes over many runs, and how much memory: list, compare, leaderboard, recommend, show.

    python benchmarks/many_runs.py --runs 10000 --old DIR --json many_runs.json

Run it in the root of a checkout, on a machine with nothing else to do. The records are copies of those in `results/runs`, each
round of copies with tasks of its own, in a temporary folder (`--keep DIR`: in this one, where they are found again). Each
measurement is a whole process, interpreter and imports included, in this order:

- *before*: the commands of the checkout DIR (of a version without an index), if there is `--old`;
- *without index*: the first command, which reads every record and makes the index; and the first leaderboard;
- *unchanged*: all commands again, `--repeats` times;
- *one new run*: a run is taken away before the leaderboard was made, and put back after it, `--repeats` times.
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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from _results import described, markdown, setup_here, spread

from harness.core.json_files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("pyarrow", "numpy", "scipy", "pydantic", "altair", "vl-convert-python")
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
        load = os.getloadavg()[0]
        measured = list(measurements(results, options.old, options.repeats))
        there = len([path for path in (results / "runs").iterdir() if (path / "run.json").is_file()])
    setup = setup_here(LIBRARIES).model_dump(mode="json")
    record = {**setup, "runs": there, "load_average": load, "measurements": measured}
    if options.json is not None:
        write_atomically(options.json, json.dumps(record, indent=1) + "\n")
    print(f"{preface(record)}\n\n{table(record)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Time and memory of bench over many runs.")
    parser.add_argument("--runs", type=int, default=10_000, metavar="N", help="default: 10000")
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the records here, or use those that are here")
    parser.add_argument("--old", type=Path, metavar="DIR", help="measure this checkout of bench, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
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


def measurements(results: Path, old: Path | None, repeats: int) -> Iterator[dict[str, Any]]:
    names = sorted(path.name for path in (results / "runs").iterdir() if (path / "run.json").is_file())
    asked = commands(names)
    if old is not None:
        for name, command in asked.items():
            yield {"when": "before", "what": name, **measured(command, results, old)}
    shutil.rmtree(results / "runs" / ".index", ignore_errors=True)
    for name in ("list runs", "leaderboard"):
        yield {"when": "without index", "what": name, **measured(asked[name], results, ROOT)}
    for _ in range(repeats):
        for name, command in asked.items():
            yield {"when": "unchanged", "what": name, **measured(command, results, ROOT)}
    for name in ("leaderboard", "list runs"):
        for _ in range(repeats):
            aside = results / names[0]
            (results / "runs" / names[0]).rename(aside)
            measured(asked[name], results, ROOT)
            aside.rename(results / "runs" / names[0])
            time.sleep(SETTLED_SECONDS)
            yield {"when": "one new run", "what": name, **measured(asked[name], results, ROOT)}


def measured(command: Sequence[str], results: Path, code: Path) -> dict[str, Any]:
    """Of a process of its own: seconds, those of the processor, MiB at most, and the exit code. It runs in `code`, whose
    modules come before all others there."""
    whole = [sys.executable, "-c", MEASURE, sys.executable, "-c", BENCH, *command, "--results", str(results.resolve())]
    environment = {**os.environ, "PYTHONPATH": str(code.resolve())}
    done = subprocess.run(whole, cwd=code, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def preface(record: Mapping[str, Any]) -> str:
    return f"{described(record)} {record['runs']:,} runs; load average at the start {record['load_average']:.1f}."


def table(record: Mapping[str, Any]) -> str:
    """Markdown of what `--json` writes: the median and the range of the repeats."""
    kinds = dict.fromkeys((one["when"], one["what"]) for one in record["measurements"])
    rows = []
    for when, what in kinds:
        mine = [one for one in record["measurements"] if (one["when"], one["what"]) == (when, what)]
        failed = sorted({one["exit_code"] for one in mine} - {0})
        cells = [spread([one[name] for one in mine]) for name in ("seconds", "processor_seconds", "peak_mib")]
        rows.append([when, f"{what}{f' (exit code {failed[0]})' if failed else ''}", *cells])
    return markdown(["when", "command", "seconds", "on the processor", "MiB"], rows, 2)


if __name__ == "__main__":
    sys.exit(main())
