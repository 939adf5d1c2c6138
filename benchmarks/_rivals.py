"""The rivals: what one would use instead of this project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import _lm_eval
from _work import (
    LOOP_NEW_TOKENS,
    NEW_TOKENS,
    Job,
    Labels,
    Measured,
    Work,
    read_work,
    rendered,
    require_same_tokens,
    token_ids,
)

from harness.core.errors import RunError, UserError

KV_CACHE_GIB = 4
"""As much as our vllm engine takes on a CPU: with less, fewer rows would be under way at a time than in ours."""


def loop(job: Job) -> Measured:
    import torch
    from transformers import pipeline

    torch.set_num_threads(len(job.cores))
    work = read_work(job.settings, "loop")
    chats = work.chats()
    pipe = pipeline("text-generation", model=str(job.folder), dtype=getattr(torch, job.dtype), device="cpu")
    read = [pipe.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False) for chat in chats]
    require_same_tokens("The pipeline", [row.id for row in work.rows], read, token_ids(job.folder, chats))
    pipe(work.warm_up(), max_new_tokens=LOOP_NEW_TOKENS, do_sample=False)
    started = time.perf_counter()
    answers = [
        pipe(chat, max_new_tokens=LOOP_NEW_TOKENS, do_sample=False)[0]["generated_text"][-1]["content"] for chat in chats
    ]
    seconds = time.perf_counter() - started
    return Measured(_parsed(work, answers), seconds, new_tokens=_written(pipe.tokenizer, answers, LOOP_NEW_TOKENS))


def one_forward(job: Job) -> Measured:
    """What one would write by hand in place of the loop: one chat at a time, the labels read off one forward pass."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(len(job.cores))
    work = read_work(job.settings, "loop")
    chats = work.chats()
    tokenizer = AutoTokenizer.from_pretrained(job.folder, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(job.folder, trust_remote_code=False, dtype=getattr(torch, job.dtype)).eval()
    columns = _single_tokens(tokenizer, work.choices())

    def label(chat: Any) -> tuple[int, list[int]]:
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        logits = model(input_ids=torch.tensor([ids]), logits_to_keep=1).logits[0, -1]
        return int(logits[columns].argmax()), ids

    with torch.inference_mode():
        label(work.warm_up())
        started = time.perf_counter()
        found = [label(chat) for chat in chats]
        seconds = time.perf_counter() - started
    require_same_tokens("The loop", [row.id for row in work.rows], [ids for _, ids in found], token_ids(job.folder, chats))
    return Measured({row.id: index for row, (index, _) in zip(work.rows, found, strict=True)}, seconds)


def raw_vllm(job: Job, kind: str, ours: bool) -> Measured:
    """vLLM by hand: `ours` with the arguments that our engine passes to it here, else with its defaults."""
    # Else vLLM wants nearly all memory of the machine, and leaves a core idle. Read when it is imported.
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(KV_CACHE_GIB)
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, job.cores))
    vllm: Any = import_module("vllm")

    work = read_work(job.settings)
    chats = work.chats()
    settings = _our_arguments(job) if ours else {"dtype": job.dtype, "enforce_eager": True}
    llm = vllm.LLM(model=str(job.folder), trust_remote_code=False, **settings)
    columns = _single_tokens(llm.get_tokenizer(), work.choices())
    answer = {"max_tokens": 1, "allowed_token_ids": columns} if kind == "label" else {"max_tokens": NEW_TOKENS}
    sampling = vllm.SamplingParams(temperature=0.0, **answer)
    llm.chat([work.warm_up()], sampling, use_tqdm=False)
    started = time.perf_counter()
    outputs = llm.chat(chats, sampling, use_tqdm=False)
    seconds = time.perf_counter() - started
    read = [output.prompt_token_ids for output in outputs]
    require_same_tokens("vLLM", [row.id for row in work.rows], read, token_ids(job.folder, chats))
    answers = [output.outputs[0] for output in outputs]
    written = sum(len(output.token_ids) for output in answers) if kind == "text" else 0
    limits = llm.llm_engine.vllm_config.scheduler_config
    told = {name: getattr(limits, name) for name in ("max_num_seqs", "max_num_batched_tokens")}
    labels = _parsed(work, [output.text for output in answers])
    return Measured(labels, seconds, new_tokens=written, more={"settings": {**settings, **told, "kv_cache_gib": KV_CACHE_GIB}})


def _our_arguments(job: Job) -> dict[str, Any]:
    from backends.vllm import VLLM, VLLMOptions

    return VLLM(VLLMOptions.model_validate({"dtype": job.dtype}), job.folder)._settings()


def lm_eval(job: Job, kind: str) -> Measured:
    if job.lm_eval is None:
        raise UserError("No interpreter with lm-eval is given.", "Pass --lm-eval PYTHON, or leave the part out by --only.")
    work = read_work(job.settings, "lm_eval")
    chats, choices = work.chats(), work.choices()
    ids, prompts = [row.id for row in work.rows], rendered(job.folder, chats)
    targets = [row.label for row in work.rows if isinstance(row.label, int)]
    _lm_eval.write_task(job.scratch, kind, ids, prompts, targets, choices, NEW_TOKENS)
    warm_up = rendered(job.folder, [work.warm_up()])[0]
    script = [job.lm_eval, Path(_lm_eval.__file__), job.scratch, job.folder, kind, warm_up, job.dtype, job.batch_size or 0]
    environment = {**os.environ, "HF_HOME": str(job.scratch / "hf"), "HF_HUB_OFFLINE": "1"}
    started = time.perf_counter()
    subprocess.run([str(part) for part in script], env=environment, stdout=sys.stderr, check=True)
    process_seconds = time.perf_counter() - started

    result = json.loads((job.scratch / "result.json").read_text(encoding="utf-8"))
    ours = token_ids(job.folder, chats)
    if kind == "multiple_choice":
        columns = _single_tokens(_tokenizer(job), choices)
        expected = [(prompt, [*tokens, column]) for prompt, tokens in zip(prompts, ours, strict=True) for column in columns]
    else:
        expected = list(zip(prompts, ours, strict=True))
    if result["contexts"] != [prompt for prompt, _ in expected]:
        raise RunError("lm-eval asked other prompts than it was given, or in another order.", "Its version may have changed.")
    require_same_tokens("lm-eval", result["contexts"], result["tokens"], [tokens for _, tokens in expected])
    responses = result["responses"]
    if kind == "multiple_choice":
        rows = [responses[start : start + len(choices)] for start in range(0, len(responses), len(choices))]
        labels: Labels = {row: max(range(len(choices)), key=log_p.__getitem__) for row, log_p in zip(ids, rows, strict=True)}
        written = 0
    else:
        labels, written = _parsed(work, responses), _written(_tokenizer(job), responses, NEW_TOKENS)
    seconds, whole = result["seconds"], process_seconds - result["uncounted"]
    return Measured(labels, seconds, whole, written, {"settings": result["settings"]})


def _single_tokens(tokenizer: Any, choices: Sequence[str]) -> list[int]:
    tokens = [tokenizer(choice, add_special_tokens=False)["input_ids"] for choice in choices]
    if any(len(token) != 1 for token in tokens):
        raise UserError(f"The labels {', '.join(choices)} are not one token each for this model.", "Choose another model.")
    return [token[0] for token in tokens]


def _tokenizer(job: Job) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(job.folder, trust_remote_code=False)


def _parsed(work: Work, answers: Sequence[str]) -> Labels:
    labels: Labels = {}
    for row, answer in zip(work.rows, answers, strict=True):
        label = work.parser.parse(answer).label
        labels[row.id] = label if isinstance(label, int) else None
    return labels


def _written(tokenizer: Any, answers: Sequence[str], most: int) -> int:
    """Tokens of answers that come back as text: an answer's own, and the one that ends it unless the limit did."""
    return sum(min(len(tokenizer(answer, add_special_tokens=False)["input_ids"]) + 1, most) for answer in answers)
