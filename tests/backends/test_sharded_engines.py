"""Shards of real engines, predicted by two processes at the same time: the bytes of one process."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_models import WORDS, tokenizer_of, write_bert, write_mistral

from harness.core.shard import Shard

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


PATCHED = "import sys; from harness.running import batching; batching.WINDOW = 16; from harness.cli import app\n"
WORKER = f"""{PATCHED}import json
for words in json.loads(sys.argv[1]):
    if code := app(words, standalone_mode=False):
        sys.exit(code)
"""
SHARDS = 8
ROWS = 130
BACKENDS = {
    "tiny-bert": "engine: encoder\nmodel: {bert}\noptions: {{train: {{epochs: 1, batch_size: 16}}, max_length: 24}}\n",
    "tiny-lm": "engine: causal_lm\nmodel: {lm}\n",
}
COMMANDS = [
    ["--backend", "tfidf,tiny-bert"],
    ["--backend", "tiny-lm", "--prompt", "strict", "--decoding", "score", "--calibration", "contextual,batch"],
    ["--backend", "tiny-lm", "--prompt", "strict", "--decoding", "free,constrained"],
]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with tiny models, and rows of many lengths, some texts twice."""
    monkeypatch.chdir(tmp_path)
    words = random.Random(3)
    texts = [" ".join(words.choices(WORDS, k=words.randint(2, 40))) for _ in range(ROWS - 5)]
    for split in ("train", "validation", "test"):
        rows = [
            {"id": f"{split}-{n}", "text": text, "label": n % 5, "lang": "en"} for n, text in enumerate([*texts, *texts[:5]])
        ]
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "backends").mkdir()
    places = {"bert": write_bert(tmp_path / "bert"), "lm": write_mistral(tmp_path / "lm", tokenizer_of("chatml"))}
    for name, text in BACKENDS.items():
        (tmp_path / "backends" / f"{name}.yaml").write_text(text.format(**places))
    return tmp_path


@pytest.fixture
def environment(sweep: Path) -> dict[str, str]:
    own = {"PYTHONPATH": str(ROOT), "BENCH_CACHE": str(sweep / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own}


def commands(results: str, *more: str) -> list[list[str]]:
    common = ["--task", "reviews_demo", "--lang", "en", "--data", "data", "--results", results, "--quiet"]
    return [["run", *words, *common, *more] for words in COMMANDS]


def work(asked: list[list[str]], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER, json.dumps(asked)], env=environment, stdout=subprocess.DEVNULL)


def files(results: Path) -> dict[str, tuple[bytes, bytes]]:
    runs = sorted(path for path in (results / "runs").iterdir() if path.is_dir())
    return {run.name: ((run / "predictions.jsonl").read_bytes(), (run / "metrics.json").read_bytes()) for run in runs}


def test_eight_shards_on_two_processes_are_the_bytes_of_one_process(sweep: Path, environment: dict[str, str]) -> None:
    assert work(commands("whole"), environment).wait(300) == 0
    shutil.rmtree(environment["BENCH_CACHE"] + "/trained", ignore_errors=True)  # one of the two trains again
    parts = [
        [c for i in range(first, SHARDS + 1, 2) for c in commands("parts", "--shard", f"{i}/{SHARDS}")] for first in (1, 2)
    ]
    workers = [work(asked, environment) for asked in parts]
    assert [worker.wait(300) for worker in workers] == [0, 0]
    assert work([["results", "merge", "--results", "parts"]], environment).wait(300) == 0
    assert len(files(sweep / "whole")) == 6
    assert files(sweep / "parts") == files(sweep / "whole")


def test_a_shard_that_is_killed_goes_on(sweep: Path, environment: dict[str, str]) -> None:
    asked = [commands("whole")[1]]
    assert work(asked, environment).wait(300) == 0
    (run, *_) = sorted(files(sweep / "whole"))
    for shard in (Shard(1, 2), Shard(2, 2)):
        wanted = [commands("parts", "--shard", str(shard))[1]]
        if shard.index == 1:
            journal = sweep / "parts" / "runs" / f"{run}.shard-1-of-2.partial" / "journal.jsonl"
            worker, began = work(wanted, environment), time.monotonic()
            while not journal.exists() and worker.poll() is None and time.monotonic() < began + 120:
                time.sleep(0.002)
            worker.send_signal(signal.SIGKILL)
            assert worker.wait() == -signal.SIGKILL
        assert work(wanted, environment).wait(300) == 0
    assert work([["results", "merge", "--results", "parts"]], environment).wait(300) == 0
    assert files(sweep / "parts") == files(sweep / "whole")
