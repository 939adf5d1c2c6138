"""`bench doctor`: what runs here, and what to install for the rest."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from harness.cli import doctor
from harness.core import machine

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is not asked; a test that wants a hub patches this again."""
    monkeypatch.setattr(doctor, "_hub", lambda: "can't be reached")


def without(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    """A machine on which these are not installed, as far as the command can see."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in libraries else find(name, *rest))


def rows(said: Any, kind: str) -> dict[str, dict[str, Any]]:
    return {row[kind]: row for row in said.json[f"{kind}s"]}


def test_json(bench: Any, cache: Path) -> None:
    said = bench("doctor", "--json")
    assert said.code == 0
    assert set(said.json) == {"machine", "backends", "tasks"}
    assert set(said.json["machine"]) == {
        "python",
        "processor",
        "bf16",
        "gpu",
        "libraries",
        "executors",
        "storage",
        "cache",
        "hub",
    }
    assert said.json["machine"]["cache"] == str(cache)
    backends = rows(said, "backend")
    ready = {"runs": True, "needs": "nothing", "extra": None}
    assert backends["majority"] == {"backend": "majority", "engine": "baseline", **ready}
    assert rows(said, "task")["reviews_demo"] == {"task": "reviews_demo", **ready}
    assert rows(said, "task")["douban_short_comments"]["runs"] is False
    assert "DMSC.csv" in rows(said, "task")["douban_short_comments"]["needs"]


@pytest.mark.parametrize(("found", "precision"), [("avx512_bf16", "bfloat16"), ("", "float32")])
def test_it_says_whether_the_processor_computes_in_bf16(
    bench: Any, monkeypatch: pytest.MonkeyPatch, found: str, precision: str
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(machine, "bf16_instructions", lambda: found)
    said = bench("doctor", "--json").json["machine"]["bf16"]
    assert precision in said
    assert found in said


def test_in_a_pipe(bench: Any) -> None:
    said = bench("doctor")
    assert said.code == 0
    assert "python: 3." in said.out
    assert "majority\tbaseline\tyes\tnothing" in said.out
    assert "reviews_demo\tyes\tnothing" in said.out


@pytest.mark.slow
def test_missing_libraries_come_with_the_command_that_installs_them(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "transformers", "bitsandbytes", "datasets")
    said = bench("doctor", "--json")
    backends = rows(said, "backend")
    assert backends["majority"]["runs"] is True
    assert backends["bert"]["runs"] is False
    assert (backends["bert"]["needs"], backends["bert"]["extra"]) == ("transformers (extra train)", "train")
    assert (backends["mistral"]["needs"], backends["mistral"]["extra"]) == ("transformers, bitsandbytes (extra llm)", "llm")
    assert rows(said, "task")["amazon_reviews_multi"]["extra"] == "data"
    table = bench("doctor").out
    for extra in ("train", "llm", "data"):
        assert table.count(f"pip install 'bench-harness[{extra}]'") == 1
        assert f"-e '.[{extra}]'" in table


def test_it_says_which_executors_and_urls_can_be_used(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(shutil, "which", lambda name: None)
    for missing in (["ray", "s3fs"], ["submitit"]):
        with monkeypatch.context() as patched:
            without(patched, *missing)
            machine_ = bench("doctor", "--json").json["machine"]
            table = bench("doctor").out
        assert ("extra ray" in machine_["executors"], "extra s3" in machine_["storage"]) == (missing[0] == "ray",) * 2
        for extra, library in doctor.BEYOND.items():
            assert (f"pip install 'bench-harness[{extra}]'" in table) is (library in missing)
        assert ("extra slurm" in machine_["executors"]) is (missing == ["submitit"])
        assert ("sbatch" in machine_["executors"]) is (missing != ["submitit"])


def test_a_machine_without_torch(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch", "transformers", "accelerate", "safetensors", "huggingface_hub", "vllm", "openai")
    said = bench("doctor", "--json")
    assert said.code == 0
    assert {name for name, row in rows(said, "backend").items() if row["runs"]} == {"majority", "tfidf"}


@pytest.mark.parametrize(("hub", "runs"), [("", True), ("can't be reached", False)])
def test_hub_models(bench: Any, monkeypatch: pytest.MonkeyPatch, hub: str, runs: bool) -> None:
    pytest.importorskip("torch")
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(doctor, "_hub", lambda: hub)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *arguments, **options: None)
    said = bench("doctor", "--json")
    mistral = rows(said, "backend")["mistral"]
    assert mistral["runs"] is runs
    assert "mistralai/Mistral-7B-Instruct-v0.2" in mistral["needs"]
    assert "--model PATH" in mistral["needs"]
    assert rows(said, "task")["amazon_reviews_multi"]["runs"] is runs
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *arguments, **options: "config.json")
    assert rows(bench("doctor", "--json"), "backend")["mistral"] == mistral | {"runs": True, "needs": doctor.AT_HAND}


def test_packaged_models_at_hand(bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from harness.models.packaged import packaged_model

    pytest.importorskip("torch")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    assert "package index, once" in rows(bench("doctor", "--json"), "backend")["minilm"]["needs"]
    (tmp_path / "cache" / "models" / f"minilm-{packaged_model('minilm').revision[:8]}").mkdir(parents=True)
    assert rows(bench("doctor", "--json"), "backend")["minilm"]["needs"] == doctor.AT_HAND


def test_faulty_files_are_findings(bench: Any, project: Path) -> None:
    (project / "backends").mkdir()
    (project / "backends" / "mine.yaml").write_text("engine: nothing\n")
    (project / "backends" / "bad.yaml").write_text("modle: x\n")
    said = bench("doctor", "--json")
    assert said.code == 0
    backends = rows(said, "backend")
    assert "'nothing'" in backends["mine"]["needs"]
    assert "bad.yaml:1" in backends["bad"]["needs"]
    assert not backends["mine"]["runs"]
    assert backends["tfidf"]["runs"]


def test_the_hub_is_asked_for_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.undo()  # the fixture's patch: this is about the real one
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: False)
    monkeypatch.setattr(doctor, "HUB_SECONDS", 0.1)

    class Hanging:
        def head(self, *arguments: Any, **options: Any) -> None:
            time.sleep(60)  # in a daemon thread: nobody waits for it

    monkeypatch.setattr(huggingface_hub, "get_session", Hanging)
    started = time.monotonic()
    assert doctor._hub() == "can't be reached"
    assert time.monotonic() - started < 30
