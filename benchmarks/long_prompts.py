"""Speed of `causal_lm` when the instruction grows: rows per second of `score`, before and after batches counted own tokens.

    python benchmarks/long_prompts.py --models packaged:smollm2,packaged:qwen-coder-0.5b --rows 48 --json long_prompts.json

Each length of the instruction is measured with both methods, one after the other, on the same rows. "Before" is the method of
earlier versions: a batch counts the whole prompt of each row, and each row has a copy of the shared keys and values. CPU
seconds are those of this process: they tell the two apart on a machine with other work too (set OMP_NUM_THREADS=1 there).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backends import _shared_prefix
from backends.causal_lm import CausalLM, CausalLMOptions
from harness.core.arrays import FloatArray
from harness.core.engine import Encoded, Messages
from harness.core.machine import bf16_instructions, describe_machine, load_average
from harness.core.types import Example
from harness.data.rows import load_examples
from harness.models.checkpoints import resolve_checkpoint
from harness.running.batching import Item, by_tokens
from harness.specs.catalog import Catalog

CHOICES = ["1", "2", "3", "4", "5"]
ASKED = "Rate the review from 1 (worst) to 5 (best). Answer with the number only."
BEFORE_TOKENS = 2048
"""The default on a CPU of earlier versions."""
RULE = "Rule {number}: judge what the customer writes about the product itself, and ignore delivery, price and the seller. "


class Before(CausalLM):
    """Computes as earlier versions did: nothing is known of the run, and the shared keys and values are copied for each row."""

    shares_beginning = False

    def _try_sharing(self) -> None:
        self._in_place, self._cache_tokens = False, None


def main() -> None:
    options = _parser().parse_args()
    task = Catalog(Path.cwd()).task(options.task)
    examples = load_examples(task, lang=options.lang, split="test", data_dir=options.data)
    rows = list({row.text: row for row in examples}.values())[: options.rows]
    results = [
        measured
        for model in options.models.split(",")
        for measured in _of_model(model, options.dtype, rows, [int(length) for length in options.lengths.split(",")])
    ]
    record = {
        "machine": {**describe_machine().as_json(), "bf16": bf16_instructions(), "load_average": load_average()},
        "task": options.task,
        "rows": len(rows),
        "results": results,
    }
    if options.json is not None:
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Rows per second of `score` by the length of the instruction.")
    parser.add_argument("--models", default="packaged:smollm2,packaged:qwen-coder-0.5b", metavar="NAMES", help="by commas")
    parser.add_argument("--lengths", default="100,500,1000,2000", metavar="TOKENS", help="of the instruction, by commas")
    parser.add_argument("--dtype", default="auto", help="of the weights; default: auto")
    parser.add_argument("--task", default="reviews_demo", metavar="NAME", help="default: reviews_demo")
    parser.add_argument("--lang", default="en", metavar="CODE", help="default: en")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the task's files, in place of its source")
    parser.add_argument("--rows", type=int, default=48, metavar="N", help="test rows; default: 48")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    return parser


def _of_model(model: str, dtype: str, rows: Sequence[Example], lengths: Sequence[int]) -> list[dict[str, Any]]:
    folder = resolve_checkpoint(model).folder
    engines: dict[str, CausalLM] = {
        "before": Before(CausalLMOptions.model_validate({"dtype": dtype, "batch_tokens": BEFORE_TOKENS}), folder),
        "after": CausalLM(CausalLMOptions.model_validate({"dtype": dtype}), folder),
    }
    for engine in engines.values():
        engine.load()
    found = []
    for length in lengths:
        scores: dict[str, FloatArray] = {}
        for name, engine in engines.items():
            chats = _chats(engine, rows, length)
            measured, scores[name] = _measured(engine, rows, chats)
            found.append({"model": model, "dtype": engine.facts()["dtype"], "instruction": length, "method": name, **measured})
        found[-1]["same_answer"] = float((scores["before"].argmax(1) == scores["after"].argmax(1)).mean())
        found[-1]["largest_difference"] = float(np.abs(scores["before"] - scores["after"]).max())
        print(found[-2], found[-1], sep="\n", flush=True)
    for engine in engines.values():
        engine.close()
    return found


def _chats(engine: CausalLM, rows: Sequence[Example], length: int) -> list[Messages]:
    """Prompts whose shared beginning has about `length` tokens."""

    def chats(rules: int) -> list[Messages]:
        system = "".join(RULE.format(number=number + 1) for number in range(rules)) + ASKED
        return [[{"role": "system", "content": system}, {"role": "user", "content": row.text}] for row in rows]

    def shared(rules: int) -> int:
        return len(_common(engine.encode(chats(rules)[:8], CHOICES)))

    rules = 0
    while shared(rules + 1) <= length:
        rules += max(1, (length - shared(rules + 1)) // 40)
    return chats(rules)


def _common(prompts: Sequence[Encoded]) -> list[int]:
    from backends._chat import common_prefix

    return common_prefix([prompt.content.ids for prompt in prompts])


def _measured(engine: CausalLM, rows: Sequence[Example], chats: Sequence[Messages]) -> tuple[dict[str, Any], FloatArray]:
    """Seconds of the passes over all rows, with those of the shared beginning; without tokenization."""
    engine.reset()
    if engine.shares_beginning:
        engine.share(engine.encode(chats[:16], CHOICES))
    items = [Item([row], form) for row, form in zip(rows, engine.encode(chats, CHOICES), strict=True)]
    batches = list(by_tokens(items, engine.batch_size(), engine.batch_tokens(), 0, engine.cache_tokens()))
    log_p: dict[str, FloatArray] = {}
    with _Stopwatch() as watch:
        started, used = time.perf_counter(), time.process_time()
        for batch in batches:
            for item, score in zip(batch, engine.score([item.encoded for item in batch], CHOICES), strict=True):
                assert score.log_p is not None
                log_p[item.rows[0].id] = score.log_p
        seconds, used = time.perf_counter() - started, time.process_time() - used
    tokens = [item.encoded.tokens for item in items]
    shared = len(_common([item.encoded for item in items]))
    return {
        "rows": len(rows),
        "shared_tokens": shared,
        "own_tokens": round(float(np.mean(tokens)) - shared, 1),
        "batches": len(batches),
        "seconds": round(seconds, 3),
        "rows_per_second": round(len(rows) / seconds, 2),
        "cpu_seconds": {
            "all": round(used, 3),
            "shared_beginning": round(watch.prefix, 3),
            "attention_to_it": round(watch.attention, 3),
            "rest": round(used - watch.prefix - watch.attention, 3),
        },
    }, np.array([log_p[row.id] for row in rows])


class _Stopwatch:
    """Takes the CPU seconds of computing shared beginnings, and of attending to them in place."""

    def __init__(self) -> None:
        self.prefix = self.attention = 0.0

    def __enter__(self) -> _Stopwatch:
        self._kept = (_shared_prefix.read_prefix, _shared_prefix._part)

        def read_prefix(*given: Any) -> Any:
            found, seconds = _timed(lambda: self._kept[0](*given))
            self.prefix += seconds
            return found

        def part(query: Any, key: Any, value: Any, mask: Any, scaling: Any) -> Any:
            found, seconds = _timed(lambda: self._kept[1](query, key, value, mask, scaling))
            self.attention += seconds if key.shape[0] == 1 and mask is None else 0
            return found

        _shared_prefix.read_prefix, _shared_prefix._part = read_prefix, part  # type: ignore[assignment]
        return self

    def __exit__(self, *error: object) -> None:
        _shared_prefix.read_prefix, _shared_prefix._part = self._kept


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    return call(), time.process_time() - started


COLUMNS = ("model", "dtype", "shared tokens", "method", "batches", "rows/s", "rows / CPU s")
PARTS = ("shared_beginning", "attention_to_it", "rest")


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown. Of the CPU seconds `rest` should not grow with the instruction."""
    heads = [*COLUMNS, *(f"{part}, CPU s".replace("_", " ") for part in PARTS), "same answers"]
    lines = [heads, ["---"] * len(heads)]
    for row in results:
        used = row["cpu_seconds"]
        cells = [row[name] for name in ("model", "dtype", "shared_tokens", "method", "batches", "rows_per_second")]
        cells += [round(row["rows"] / used["all"], 2), *(used[part] for part in PARTS)]
        lines.append([*map(str, cells), f"{row['same_answer']:.1%}" if "same_answer" in row else ""])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
