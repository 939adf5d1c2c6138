"""What a command costs before it computes: CPU and wall seconds of whole processes, of runs of a few rows whose model is
trained already, of runs that are found, and of commands that compute nothing.

    python benchmarks/startup.py [--repeats 5] [--backends majority,tfidf,minilm,e5-small] [--json startup.json]

Works in a temporary folder with a cache of its own, except for the packaged models. CPU seconds are the measure on a machine
with other work. `--checkout` measures an earlier version.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _results import NONE, markdown, setup_here, spread

from harness.core.cache_folder import cache_dir

ROOT = Path(__file__).parents[1]
BENCH = (sys.executable, "-m", "harness.cli")
LIBRARIES = ("torch", "transformers", "scikit-learn")
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


def measured(checkout: Path, backends: list[str], rows: int, repeats: int, folder: Path) -> list[dict[str, Any]]:
    """Of each command the CPU and wall seconds of all repeats."""
    environment = {**os.environ, "BENCH_CACHE": str(folder / "cache"), "PYTHONPATH": str(checkout.resolve())}
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
        found.append({"command": name, **columns})
        print(name, *(f"{kind} {spread(values)}" for kind, values in columns.items()), flush=True)
    return found


def table(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """Markdown of what `--json` writes, beside an earlier version's if there is one."""
    earlier = {line["command"]: line for line in (before or {"commands": []})["commands"]}
    rows = []
    for line in now["commands"]:
        old = [spread(earlier[line["command"]]["wall"]) if line["command"] in earlier else NONE] if before else []
        rows.append([f"`{line['command']}`", *old, spread(line["wall"]), spread(line["cpu"])])
    return markdown(["command", *(["seconds, before"] if before else []), "seconds", "CPU seconds"], rows, 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--backends", default="majority,tfidf,embed-minilm,minilm,e5-small,smollm2")
    parser.add_argument(
        "--checkout", type=Path, default=ROOT, metavar="DIR", help="of the version to measure; default: this one"
    )
    parser.add_argument("--json", type=Path)
    return parser


def main() -> None:
    asked = _parser().parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cache").mkdir()
        (folder / "cache" / "models").symlink_to(cache_dir() / "models", target_is_directory=True)
        found = measured(asked.checkout, asked.backends.split(","), asked.rows, asked.repeats, folder)
    if asked.json is not None:
        record = {**setup_here(LIBRARIES).model_dump(mode="json"), "rows": asked.rows, "commands": found}
        asked.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
