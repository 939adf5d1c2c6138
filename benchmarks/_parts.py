"""The parts of the benchmark, each run in a process of its own, rivals first, then ours."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from _llm_record import coded
from _rivals import lm_eval, loop, one_forward, raw_vllm
from _work import (
    LOOP_NEW_TOKENS,
    NEW_TOKENS,
    PROMPT,
    Job,
    Measured,
    Rows,
    data_dir,
    gemm_rates,
    prompts_flops,
    read_work,
    token_ids,
)

from harness.core.errors import RunError

if TYPE_CHECKING:
    from harness.core.record import Timing

Kind = Literal["label", "text", "machine"]
BACKENDS = {"causal_lm": "smollm2", "vllm": "smollm2-vllm"}


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
        data=data_dir(settings),
        settings={"dtype": job.dtype},  # as the rivals
    )
    plan = make_plan(request, Catalog(Path.cwd()))
    store = Store(job.scratch / "runs")
    started = time.perf_counter()
    done = run(plan, store)
    wall = time.perf_counter() - started
    labels = {record["id"]: record["label"] for record in store.predictions(done.run_id)}
    timing, new_tokens = done.record.timing, done.record.tokens.new
    assert timing.seconds is not None
    assert timing.load_seconds is not None
    _check_clock(wall, timing)
    written = new_tokens or 0 if decoding == "free" else 0
    return Measured(labels, timing.seconds, new_tokens=written)


def _check_clock(whole: float, timing: Timing) -> None:
    """Raises `RunError` where a run says that its parts took longer than the whole."""
    parts = (timing.seconds or 0.0) + (timing.load_seconds or 0.0)
    if parts > whole:
        raise RunError(f"The run says {parts:.1f} s of loading and predicting, and the whole took {whole:.1f} s.")


def _our_process(job: Job, decoding: str) -> Measured:
    from harness.records.store import Store

    settings, results = job.settings, job.scratch / "results"
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
    words += ["--prompt", PROMPT, "--decoding", decoding, "--limit", str(settings.rows), "--results", str(results)]
    words += ["--set", f"dtype={job.dtype}", *(["--data", settings.data] if settings.data else [])]
    started = time.perf_counter()
    command = [sys.executable, "-c", "from harness.cli import main; main()", *words]
    subprocess.run(command, stdout=sys.stderr, check=True)
    process_seconds = time.perf_counter() - started
    store = Store(results / "runs")
    (run_id,) = store.ids()
    timing = store.record(run_id).timing
    _check_clock(process_seconds, timing)
    labels = {record["id"]: record["label"] for record in store.predictions(run_id)}
    own = {"load_seconds": timing.load_seconds, "predict_seconds": timing.seconds}
    return Measured(labels, process_seconds=process_seconds, more=own)


def _machine(job: Job) -> Measured:
    return Measured({}, more={"gflops": gemm_rates(job.folder, len(job.cores), job.dtype)})


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
    """`kind`: what it yields, so what it compares with."""

    what: str
    kind: Kind
    rows: Rows
    measure: Callable[[Job], Measured]


def _ours_part(engine: str, decoding: str, kind: Kind) -> Part:
    return Part(f"bench, {engine}, {decoding}", kind, "all", partial(_ours, engine=engine, decoding=decoding))


def _process(decoding: str, kind: Kind) -> Part:
    return Part(f"`bench run`, causal_lm, {decoding}", kind, "all", partial(_our_process, decoding=decoding))


def _chat(kind: Kind, ours: bool) -> Part:
    how = "our settings" if ours else "its defaults"
    what = "one allowed token" if kind == "label" else f"{NEW_TOKENS} tokens"
    return Part(f"vLLM's LLM.chat, {how}, {what}", kind, "all", partial(raw_vllm, kind=kind, ours=ours))


PARTS: Mapping[str, Part] = {
    "f.first": Part("matrix products of a layer", "machine", "none", _machine),
    "a.loop": Part(f"notebook loop: pipeline, one chat at a time, {LOOP_NEW_TOKENS} tokens", "text", "loop", loop),
    "e.one_forward": Part("by hand: one chat at a time, labels off one forward", "label", "loop", one_forward),
    "d.causal_lm.score": _ours_part("causal_lm", "score", "label"),
    "d.process.score": _process("score", "label"),
    "d.causal_lm.constrained": _ours_part("causal_lm", "constrained", "label"),
    "d.causal_lm.free": _ours_part("causal_lm", "free", "text"),
    "d.process.free": _process("free", "text"),
    "b.label": Part("lm-eval, multiple_choice", "label", "lm_eval", partial(lm_eval, kind="multiple_choice")),
    "b.text": Part(f"lm-eval, generate_until, {NEW_TOKENS} tokens", "text", "lm_eval", partial(lm_eval, kind="generate_until")),
    "c.label": _chat("label", ours=False),
    "c.text": _chat("text", ours=False),
    "c2.label": _chat("label", ours=True),
    "d.vllm.constrained": _ours_part("vllm", "constrained", "label"),
    "d.vllm.score": _ours_part("vllm", "score", "label"),
    "c2.text": _chat("text", ours=True),
    "d.vllm.free": _ours_part("vllm", "free", "text"),
    "f.last": Part("matrix products of a layer", "machine", "none", _machine),
}
"""In the order in which they are measured: what is compared directly stands side by side, since the machine's speed drifts."""


def measure(name: str, job: Job) -> dict[str, Any]:
    """One part: fields of `Measurement`. Raises `RunError` where it gives no predictions."""
    part = PARTS[name]
    measured = part.measure(job)
    result = {"seconds": measured.seconds, "process_seconds": measured.process_seconds, **measured.more}
    if part.rows == "none":
        return result
    if not measured.labels:
        raise RunError(f"{name} gave no predictions.")
    prompts = token_ids(job.folder, read_work(job.settings, part.rows).chats())
    # Generated tokens are counted over all rows, distinct prompts once: a repeated prompt has the same answer.
    return {
        **result,
        "labels": coded(measured.labels, [row.id for row in read_work(job.settings).rows]),
        "new_tokens": measured.new_tokens,
        "flops": prompts_flops(job.folder, prompts, measured.new_tokens / len(prompts)),
        "prompt_tokens": sum(map(len, prompts)),
    }
