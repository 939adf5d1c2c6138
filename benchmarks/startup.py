"""What a command costs before it computes: CPU and wall seconds of whole processes, of runs of a few rows whose model is
trained already, of runs that are found, and of commands that compute nothing.

    python benchmarks/startup.py [--repeats 5] [--backends majority,tfidf,minilm,e5-small] [--json startup.json]

Works in a temporary folder with a cache of its own, except for the packaged models. CPU seconds are the measure on a machine
with other work. To compare with an earlier version, run this file in a checkout of it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.core.cache_folder import cache_dir

ROOT = Path(__file__).parents[1]
BENCH = (sys.executable, "-m", "harness.cli")
TRAINED = ("minilm", "e5-small")
PROMPTED = ("smollm2",)


def seconds(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """CPU (of all processes) and wall seconds. Raises `CalledProcessError`."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - started


def run_of(backend: str, rows: int) -> list[str]:
    """The command of a run. A prompted model reads two rows, since its time is that of its passes."""
    limits = ["--limit", str(2 if backend in PROMPTED else rows)]
    if backend in PROMPTED:
        limits += ["--decoding", "score"]
    else:
        limits += ["--train-limit", "32", *(["--set", "train.epochs=1"] if backend in TRAINED else [])]
    return [*BENCH, "run", "-q", "--task", "reviews_demo", "--lang", "en", "--backend", backend, *limits]


def measured(backends: list[str], rows: int, repeats: int, folder: Path) -> list[dict[str, Any]]:
    """One line for each command: median and range of its CPU and wall seconds."""
    environment = {**os.environ, "BENCH_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    cases: list[tuple[str, list[str], bool]] = [
        ("bench --help", [*BENCH, "--help"], False),
        ("bench list backends", [*BENCH, "list", "backends"], False),
    ]
    for backend in backends:
        command = run_of(backend, rows)
        seconds(command, folder, environment)  # trains
        cases += [(f"{backend}: cached model, new run", command, True), (f"{backend}: found", command, False)]
    found = []
    for name, command, anew in cases:
        samples = []
        for _ in range(repeats):
            if anew:
                shutil.rmtree(folder / "results", ignore_errors=True)
            samples.append(seconds(command, folder, environment))
        columns = {"cpu": [cpu for cpu, _ in samples], "wall": [wall for _, wall in samples]}
        line: dict[str, Any] = {"command": name, "repeats": repeats}
        for kind, values in columns.items():
            line |= {kind: statistics.median(values), f"{kind}_least": min(values), f"{kind}_most": max(values)}
        found.append(line)
        print(
            f"{name:40} CPU {line['cpu']:6.2f} s ({line['cpu_least']:.2f}-{line['cpu_most']:.2f})   "
            f"wall {line['wall']:6.2f} s ({line['wall_least']:.2f}-{line['wall_most']:.2f})",
            flush=True,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--backends", default="majority,tfidf,embed-minilm,minilm,e5-small,smollm2")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cache").mkdir()
        (folder / "cache" / "models").symlink_to(cache_dir() / "models", target_is_directory=True)
        found = measured(asked.backends.split(","), asked.rows, asked.repeats, folder)
    if asked.json is not None:
        load = list(os.getloadavg())
        asked.json.write_text(json.dumps({"rows": asked.rows, "load_average": load, "commands": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
