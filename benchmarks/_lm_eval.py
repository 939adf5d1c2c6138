"""The rival lm-evaluation-harness: the files of its task, and the script that its own interpreter runs.

Imported by the benchmark for `write_task`; run as a script by another interpreter, which has lm-eval and not this project.
So nothing but the standard library is imported at the top.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BATCH_SIZES = (16, 32, 64)
"""Tried on some rows, and the fastest one is taken. Not `auto`: that is the largest batch up to 64 that fits into memory, found
by passes over the longest context. On a CPU 64 fits, or the system ends the process."""
PROBE_ROWS = 64

TASKS = {"multiple_choice": "bench_choice", "generate_until": "bench_text"}


def write_task(
    folder: Path,
    kind: str,
    ids: Sequence[str],
    prompts: Sequence[str],
    targets: Sequence[int],
    choices: Sequence[str],
    max_new_tokens: int,
) -> None:
    """`task.yaml` and `rows.jsonl` of a task of lm-eval, of `kind` multiple_choice or generate_until.

    The prompts are complete, special tokens and all: nothing may be added to them, so there is no description, no exemplar
    and no delimiter between a prompt and its answer.
    """
    rows = [
        {"row": row, "prompt": prompt, "target": target, "answer": choices[target]}
        for row, prompt, target in zip(ids, prompts, targets, strict=True)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task: dict[str, Any] = {
        "task": TASKS[kind],
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}},
        "test_split": "test",
        "output_type": kind,
        "doc_to_text": "prompt",  # the name of a column is taken as it is; a template could alter it
        "target_delimiter": "",
        "num_fewshot": 0,
    }
    if kind == "multiple_choice":
        task |= {"doc_to_choice": list(choices), "doc_to_target": "target", "metric_list": [{"metric": "acc"}]}
    else:
        task |= {
            "doc_to_target": "answer",
            "generation_kwargs": {"max_gen_toks": max_new_tokens, "until": [], "do_sample": False},
            "metric_list": [{"metric": "exact_match"}],
        }
    # JSON is YAML.
    (folder / "task.yaml").write_text(json.dumps(task, indent=1), encoding="utf-8")


def _inside(folder: Path, model: str, kind: str, warm_up: str, dtype: str, batch_size: str) -> None:
    """Evaluate the task of `folder` on the checkpoint `model`; leaves `result.json` there. `batch_size` 0: find the best."""
    from importlib import import_module
    from importlib.metadata import version

    lm_eval: Any = import_module("lm_eval")
    instance = import_module("lm_eval.api.instance").Instance
    lm = import_module("lm_eval.models.huggingface").HFLM(
        pretrained=model, dtype=dtype, batch_size=int(batch_size) or BATCH_SIZES[0], device="cpu"
    )
    task = json.loads((folder / "task.yaml").read_text(encoding="utf-8"))
    method = "loglikelihood" if kind == "multiple_choice" else "generate_until"
    arguments: list[Any] = task["doc_to_choice"] if kind == "multiple_choice" else [task["generation_kwargs"]]
    evaluated: Callable[..., Any] = getattr(lm, method)

    def asked(prompts: Sequence[str]) -> list[Any]:
        return [
            instance(request_type=method, doc={}, arguments=(prompt, argument), idx=number)
            for prompt in prompts
            for number, argument in enumerate(arguments)
        ]

    started = time.perf_counter()
    evaluated(asked([warm_up])[:1], disable_tqdm=True)
    tried: dict[str, float] = {}
    if batch_size == "0":
        lines = (folder / "rows.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        probe = asked([json.loads(line)["prompt"] for line in lines[:PROBE_ROWS]])
        for size in BATCH_SIZES:
            lm.batch_size_per_gpu = size
            began = time.perf_counter()
            evaluated(probe, disable_tqdm=True)
            tried[str(size)] = round(len(probe) / len(arguments) / (time.perf_counter() - began), 3)
        lm.batch_size_per_gpu = int(max(tried, key=tried.__getitem__))
    uncounted = time.perf_counter() - started

    seen: dict[str, Any] = {"seconds": 0.0, "requests": [], "responses": []}

    def timed(requests: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        began = time.perf_counter()
        responses: list[Any] = evaluated(requests, *args, **kwargs)
        seen["seconds"] += time.perf_counter() - began
        seen["requests"] += [request.args for request in requests]
        seen["responses"] += responses
        return responses

    setattr(lm, method, timed)
    # Without its own thousands of tasks lm-eval starts faster than its command line does.
    tasks = import_module("lm_eval.tasks").TaskManager(include_path=str(folder), include_defaults=False)
    lm_eval.simple_evaluate(model=lm, tasks=[TASKS[kind]], task_manager=tasks, bootstrap_iters=0)

    started = time.perf_counter()
    contexts = [request[0] for request in seen["requests"]]
    if kind == "multiple_choice":
        pairs = [lm._encode_pair(*request) for request in seen["requests"]]
        tokens = [[*prompt, *answer] for prompt, answer in pairs]
    else:
        tokens = [_read(lm, context) for context in contexts]
    result = {
        "settings": {"version": version("lm_eval"), "batch_size": lm.batch_size_per_gpu, "tried": tried},
        "seconds": seen["seconds"],
        "contexts": contexts,
        "tokens": tokens,
        "responses": [response[0] if kind == "multiple_choice" else response for response in seen["responses"]],
    }
    uncounted += time.perf_counter() - started
    (folder / "result.json").write_text(json.dumps({**result, "uncounted": uncounted}), encoding="utf-8")


def _read(lm: Any, context: str) -> list[int]:
    ids: list[int] = lm.tok_batch_encode([context])[0][0].tolist()
    return ids


if __name__ == "__main__":
    _inside(Path(sys.argv[1]), *sys.argv[2:7])
