"""The openai engine against a real server, vLLM's, directly and through a proxy that spoils every other request."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
from faulty_proxy import faulty_proxy, seeded_faults
from tiny_models import CHATML, byte_level_tokenizer, write_family

from backends._openai_options import OpenAIOptions
from backends.causal_lm import CausalLM, CausalLMOptions
from backends.decisions import Decisions, DecisionsOptions
from backends.openai import OpenAI
from backends.vllm import vllm_surroundings
from harness.core.engine import Messages
from harness.core.types import LabelKind, LabelSpace
from harness.models.checkpoints import resolve_checkpoint

pytestmark = [
    pytest.mark.real,
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed"),
    pytest.mark.filterwarnings("ignore"),
]

DIGITS = ["0", "1", "2", "3", "4"]
RATE = "Rate the review from 0 to 4. Reply with the number only."
CHATS: list[Messages] = [
    [{"role": "system", "content": RATE}, {"role": "user", "content": f"Kettle number {n} came{' much' * (n % 5)} too late"}]
    for n in range(24)
]


@pytest.fixture(scope="module")
def folder() -> Path:
    return resolve_checkpoint("packaged:smollm2").folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of vLLM's server, which calls the model by its folder."""
    with serving(folder, tmp_path_factory.mktemp("server") / "log") as url:
        yield url


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--dtype", "float32", "--enforce-eager", "--block-size", "32", "--max-model-len", "512"]
    command += ["--max-logprobs", "2000", "--kv-cache-memory-bytes", str(2**30)]
    with vllm_surroundings("cpu"), log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as response:
            return response.status == 200
    except (URLError, OSError):
        return False


def connected(url: str, **options: object) -> OpenAI:
    engine = OpenAI(OpenAIOptions.model_validate({"base_url": url, "api_key_env": None, **options}), None)
    engine.load()
    return engine


NAMES = ("broken", "late", "fine")


@pytest.fixture(scope="module")
def decider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server with /v1/systemone, which vLLM 0.32 has for Qwen3: here a random model of that architecture."""
    root = tmp_path_factory.mktemp("decider")
    tokenizer = byte_level_tokenizer(CHATML)
    tokenizer.add_tokens(["yes", "no"])  # vLLM wants each of its answers to be one token
    shape = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 2048}
    folder = write_family(root / "tiny", "qwen3", tokenizer, **shape)
    with serving(folder, root / "log") as url:
        yield url


@pytest.mark.parametrize("kind", [LabelKind.NOMINAL, LabelKind.ORDINAL, LabelKind.MULTILABEL])
def test_decisions_of_its_own_endpoint(kind: LabelKind, decider: str) -> None:
    labels = LabelSpace(kind, NAMES, ("", "It came too late.", ""))
    texts = [chat[-1]["content"] for chat in CHATS[:6]]
    options = {"base_url": decider, "api_key_env": None, "format": "systemone"}
    engine = Decisions(DecisionsOptions.model_validate(options), None)
    assert engine.facts() == {"model": "tiny"}
    engine.load(labels)
    rows = engine.score(engine.encode(texts))
    engine.close()
    assert [row.error for row in rows] == [None] * len(rows)
    p = np.exp([row.log_p for row in rows])
    assert p.shape == (len(texts), len(NAMES))
    assert kind is LabelKind.MULTILABEL or np.allclose(p.sum(axis=1), 1)
    assert len(np.unique(p.round(6), axis=0)) > 1
    assert all(row.prompt_tokens > 20 for row in rows)


def test_the_model_is_named_without_its_folder(server: str, folder: Path) -> None:
    engine = OpenAI(OpenAIOptions.model_validate({"base_url": server, "api_key_env": None}), None)
    assert engine.facts() == {"model": folder.name}


def test_scores_over_the_server_are_those_of_causal_lm(server: str, folder: Path) -> None:
    """As far as the server shows them: here 2,000 tokens, so that all five labels are among them."""
    served, local = connected(server, top_logprobs=2000), CausalLM(CausalLMOptions(), folder)
    local.load()
    found = np.array([score.log_p for score in served.score(served.encode(CHATS, DIGITS), DIGITS)])
    expected = np.array([score.log_p for score in local.score(local.encode(CHATS, DIGITS), DIGITS)])
    np.testing.assert_allclose(found, expected, atol=1e-3)
    served.close()
    local.close()


@pytest.mark.parametrize("structured", ["choice", "json_schema"])
def test_constrained_answers_are_choices(structured: str, server: str) -> None:
    engine = connected(server, structured=structured)
    answers = engine.generate(engine.encode(CHATS, DIGITS), 40, DIGITS)
    # A small model may fill the JSON's optional white space until it is cut: no answer then, and no guess.
    allowed = {None} if structured == "choice" else {None, "cut"}
    assert {answer.error for answer in answers} <= allowed
    texts = [answer.text for answer in answers if answer.error is None]
    assert texts
    assert set(texts) <= set(DIGITS)
    assert all(answer.prompt_tokens > 20 and answer.new_tokens > 0 for answer in answers)
    engine.close()


def test_a_prompt_that_is_too_long_fails_alone(server: str) -> None:
    engine = connected(server)
    long: Messages = [{"role": "user", "content": "kettle " * 600}]
    answers = engine.generate(engine.encode([CHATS[0], long, CHATS[1]], None), 8, None)
    assert [answer.error for answer in answers] == [None, "prompt_too_long", None]
    engine.close()


def test_faults_cost_no_row(server: str, tmp_path: Path) -> None:
    """A whole `bench run`: faults leave rows open, the same command asks these again, and the answers do not change."""
    (tmp_path / "backends").mkdir()
    options = {"api_key_env": None, "timeout": 5, "retries": 1, "concurrency": 6}

    def run(name: str, url: str) -> tuple[int, dict[str, Any]]:
        spec = {"engine": "openai", "model": None, "options": {"base_url": url, **options}}
        (tmp_path / "backends" / f"{name}.yaml").write_text(json.dumps(spec))
        arguments = ["run", "--backend", name, "--lang", "en", "--prompt", "fewshot", "--json"]
        command = [sys.executable, "-c", "from harness.cli import main; main()", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ, text=True, capture_output=True, timeout=300)
        return done.returncode, json.loads(done.stdout)[0]

    def rows(found: dict[str, Any]) -> list[dict[str, Any]]:
        file = tmp_path / "results" / "runs" / found["run"] / "predictions.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()]

    code, found = run("plain", server)
    assert code == 0
    plain = rows(found)
    with faulty_proxy(server, [None, None, *seeded_faults(7, 60)]) as proxy:
        code, found = run("spoilt", proxy.url)
        assert (code, found["state"]) == (1, "incomplete")
        asked = len(proxy.log)
        for _ in range(5):  # the faults end some time
            code, found = run("spoilt", proxy.url)
            if code == 0:
                break
        faults = Counter(event.fault and event.fault.partition(":")[0] for event in proxy.log)
        assert len(proxy.log) - asked < len(plain), "rows with an answer are not asked again"
    assert all(faults[fault] for fault in ("429", "500", "hang", "cut"))
    spoilt = rows(found)
    assert [row["id"] for row in spoilt] == [row["id"] for row in plain]
    assert all(row["status"] != "failed" for row in (*plain, *spoilt))
    # batches differ, and rounding with them
    assert sum(row == other for row, other in zip(spoilt, plain, strict=True)) >= 0.95 * len(plain)
