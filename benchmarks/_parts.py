"""The parts of the benchmark, each run in a process of its own, rivals first, then ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from _rivals import lm_eval, loop, one_forward, raw_vllm
from _work import LOOP_NEW_TOKENS, NEW_TOKENS, PROMPT, Job, Measured, gemm_rates, prompts_flops, read_work, token_ids

Kind = Literal["label", "text", "machine"]
BACKENDS = {"causal_lm": "smollm2", "vllm": "smollm2-vllm"}
OUR_BLOCK_SIZE = 32


def _ours(job: Job, engine: str, decoding: str) -> Measured:
    from harness.core.options import RunOptions
    from harness.core.types import Decoding
    from harness.records.store import Store
    from harness.running.plan import make_plan
    from harness.running.runner import run
    from harness.specs.catalog import Catalog

    settings = job.settings
    _own_cache(job)
    request = RunOptions(
        task=settings.task,
        backend=BACKENDS[engine],
        lang=settings.lang,
        prompt=PROMPT,
        decoding=Decoding(decoding),
        limit=settings.rows,
        model=settings.model,
        data=settings.data_dir(),
        settings={"dtype": "float32"},  # as the rivals
    )
    plan = make_plan(request, Catalog(Path.cwd()))
    store = Store(job.scratch / "runs")
    started = time.perf_counter()
    done = run(plan, store)
    wall = time.perf_counter() - started
    labels = {record["id"]: record["label"] for record in store.predictions(done.run_id)}
    timing, backend, new_tokens = done.record.timing, done.record.identity.backend, done.record.tokens.new
    assert timing.seconds is not None
    assert timing.load_seconds is not None
    # The cross-check of the run's own clock: all of `run` but loading, so with warm-up, journal and metrics.
    facts = {"timing": timing.as_json(), "backend": backend.as_json(), "wall_seconds": round(wall - timing.load_seconds, 3)}
    written = new_tokens or 0 if decoding == "free" else 0
    return Measured(labels, timing.seconds, new_tokens=written, facts=facts)


def _our_process(job: Job, decoding: str) -> Measured:
    settings = job.settings
    _own_cache(job)
    words = [
        "run",
        "--task",
        settings.task,
        "--lang",
        settings.lang,
        "--backend",
        BACKENDS["causal_lm"],
        "--model",
        settings.model,
    ]
    words += ["--prompt", PROMPT, "--decoding", decoding, "--limit", str(settings.rows), "--results", str(job.scratch / "runs")]
    words += ["--set", "dtype=float32", *(["--data", settings.data] if settings.data else [])]
    started = time.perf_counter()
    command = [sys.executable, "-c", "from harness.cli import main; main()", *words]
    subprocess.run(command, stdout=sys.stderr, check=True)
    process_seconds = time.perf_counter() - started
    (predictions,) = (job.scratch / "runs").rglob("predictions.jsonl")
    records = [json.loads(line) for line in predictions.read_text(encoding="utf-8").splitlines()]
    return Measured({record["id"]: record["label"] for record in records}, process_seconds=process_seconds)


def _machine(job: Job) -> Measured:
    return Measured({}, facts={"gflops": gemm_rates(job.folder, len(job.cores))})


def _own_cache(job: Job) -> None:
    """The user's models, but a place of its own for all that a run writes: answers, locks."""
    from harness.core.cache_folder import cache_dir

    cache = job.scratch / "cache"
    cache.mkdir()
    models = cache_dir() / "models"
    models.mkdir(parents=True, exist_ok=True)
    (cache / "models").symlink_to(models, target_is_directory=True)
    os.environ["BENCH_CACHE"] = str(cache)


@dataclass(frozen=True, slots=True)
class Part:
    """`rows` says whether it takes all rows or those of the notebook loop. `kind`: what it yields, so what it compares with."""

    what: str
    kind: Kind
    rows: Literal["all", "loop", "none"]
    measure: Callable[[Job], Measured]


def _ours_parts() -> dict[str, Part]:
    kinds: dict[str, Kind] = {"score": "label", "constrained": "label", "free": "text"}
    return {
        f"d.{engine}.{decoding}": Part(
            f"bench, {engine}, {decoding}", kind, "all", partial(_ours, engine=engine, decoding=decoding)
        )
        for engine in BACKENDS
        for decoding, kind in kinds.items()
    }


def _chat(kind: Kind, block_size: int | None) -> Part:
    how = "its defaults" if block_size is None else f"block size {block_size}"
    what = "one allowed token" if kind == "label" else f"{NEW_TOKENS} tokens"
    return Part(f"vLLM's LLM.chat, {how}, {what}", kind, "all", partial(raw_vllm, kind=kind, block_size=block_size))


PARTS: Mapping[str, Part] = {
    "f.first": Part("torch.mm, fp32", "machine", "none", _machine),
    "a.loop": Part(f"notebook loop: pipeline, one chat at a time, {LOOP_NEW_TOKENS} tokens", "text", "loop", loop),
    "b.label": Part("lm-eval, multiple_choice", "label", "all", partial(lm_eval, kind="multiple_choice")),
    "b.text": Part(f"lm-eval, generate_until, {NEW_TOKENS} tokens", "text", "all", partial(lm_eval, kind="generate_until")),
    "c.label": _chat("label", None),
    "c.text": _chat("text", None),
    "c2.label": _chat("label", OUR_BLOCK_SIZE),
    "c2.text": _chat("text", OUR_BLOCK_SIZE),
    **_ours_parts(),
    "d.process.score": Part("`bench run`, causal_lm, score", "label", "all", partial(_our_process, decoding="score")),
    "d.process.free": Part("`bench run`, causal_lm, free", "text", "all", partial(_our_process, decoding="free")),
    "e.one_forward": Part("by hand: one chat at a time, labels off one forward", "label", "loop", one_forward),
    "f.last": Part("torch.mm, fp32", "machine", "none", _machine),
}
"""In the order in which they are measured."""


def measure(name: str, job: Job) -> dict[str, Any]:
    """One part, as the JSON keeps it; `flops` are those that its rows need."""
    part = PARTS[name]
    measured = part.measure(job)
    result = {
        "seconds": measured.seconds,
        "process_seconds": measured.process_seconds,
        "labels": measured.labels,
        "new_tokens": measured.new_tokens,
        **measured.facts,
    }
    if part.rows == "none":
        return result
    prompts = token_ids(job.folder, read_work(job.settings, loop=part.rows == "loop").chats())
    # Generated tokens are counted over all rows, distinct prompts once: a repeated prompt has the same answer.
    result["flops"] = prompts_flops(job.folder, prompts, measured.new_tokens / len(prompts))
    result["prompt_tokens"] = sum(map(len, prompts))
    return result
