"""How long `bench leaderboard` takes from nothing to a written file, and what pandas and statsmodels take for ranks.

    python benchmarks/leaderboard.py --runs 1000 --groups 20 --rows 500 --repeats 5

Run it in the root of a checkout, on a machine with nothing else to do. The records are made up in a temporary folder: in each
group of runs on the same rows a third are three seeds of one configuration, a fifth are prompts of a language model; all have
probabilities. Each measurement is a whole process, interpreter and imports included. Where the extra `charts` is installed,
ours is measured with its pictures and page, and as if it were not there: the Markdown alone. The rival reads every file with
pandas, tests with statsmodels and writes nothing; how many ranks agree is printed: it takes one
run for several seeds and corrects by Holm. `--no-rival` leaves it out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median

OURS = "from harness.cli import main; main()"
EXTRA = ("altair", "vl_convert")
"""What the extra `charts` installs for the leaderboard."""
HIDE = f"import sys; sys.modules.update(dict.fromkeys({EXTRA}))"
"""Importing one of these then fails as if it were not installed."""
Ranks = list[tuple[str, int]]
"""Id of the run that stands for a row, and the rank, in the order of the ids."""


def main(arguments: Sequence[str] | None = None) -> int:
    from _leaderboard_records import make_records

    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        made = make_records(results / "runs", options.runs, options.groups, options.rows)
        load = f"load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
        print(f"{made} runs in {options.groups} groups, {options.rows} rows each; {os.cpu_count()} cores, {load} before\n")
        arguments = ["leaderboard", "--results", str(results)]
        ours = {name: [sys.executable, "-c", code, *arguments] for name, code in variants().items()}
        found = {name: [timed(command) for _ in range(options.repeats)] for name, command in ours.items()}
        rival_command = [sys.executable, str(Path(__file__).with_name("_leaderboard_rival.py")), str(results)]
        rival = [] if options.no_rival else [timed(rival_command) for _ in range(min(3, options.repeats))]
        print(table({**found, "pandas and statsmodels": rival}))
        if not options.no_rival:
            theirs = json.loads(subprocess.run(rival_command, capture_output=True, check=True).stdout)
            same = sum(a == b for a, b in zip(our_ranks(next(iter(ours.values()))), theirs, strict=True))
            print(f"\n{same} of {len(theirs)} ranks are the same.")
    return 0


def variants() -> dict[str, str]:
    """The code of each process, by what it makes."""
    without = {"bench leaderboard, without the extra `charts`: Markdown": f"{HIDE}; {OURS}"}
    if not all(map(find_spec, EXTRA)):
        return without
    return {**without, "bench leaderboard, with the extra `charts`: Markdown, pictures, page": OURS}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Time to regenerate a leaderboard, against a rival in the same run.")
    parser.add_argument("--runs", type=_count, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--groups", type=_count, default=20, metavar="N", help="sets of rows; default: 20")
    parser.add_argument("--rows", type=_count, default=500, metavar="N", help="of each run; default: 500")
    parser.add_argument("--repeats", type=_count, default=5, metavar="N", help="default: 5 (the rival: 3 at most)")
    parser.add_argument("--no-rival", action="store_true", help="only ours")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def timed(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of a process: on the clock, and of processor time in all its threads."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    clock = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def table(measured: dict[str, list[tuple[float, float]]]) -> str:
    """Markdown; median and range of the repeats."""
    lines = ["| | seconds | of processor time |", "| --- | --- | --- |"]
    for name, found in measured.items():
        if found:
            clock, processor = zip(*found, strict=True)
            lines.append(f"| {name} | {_spread(clock)} | {_spread(processor)} |")
    return "\n".join(lines)


def _spread(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.2f} ({min(seconds):.2f} – {max(seconds):.2f})"


def our_ranks(command: Sequence[str]) -> list[list[object]]:
    rows = json.loads(subprocess.run([*command, "--json"], check=True, capture_output=True).stdout)
    return sorted([row["run"], row["rank"]] for row in rows)


if __name__ == "__main__":
    sys.exit(main())
