"""Speed of `causal_lm` when the instruction grows: rows per second of `score`, before and after batches counted own tokens.

    python benchmarks/long_prompts.py --models packaged:smollm2 --repeats 2 --json long_prompts.json

Each length of the instruction is measured with both methods, one after the other, on the same rows, in each dtype and repeat.
"Before" is the method of earlier versions: a batch counts the whole prompt of each row, and each row has a copy of the shared
keys and values. CPU seconds are those of this process: they tell the two apart on a machine with other work too (set
OMP_NUM_THREADS=1 there). With --json a second start goes on where the first one was.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _results import Setup, Timed, earlier, markdown, setup_here, spread
from pydantic import BaseModel, Field

from backends import _shared_prefix
from backends.causal_lm import CausalLM, CausalLMOptions
from harness.core.arrays import FloatArray
from harness.core.engine import Encoded, Messages
from harness.core.errors import UserError
from harness.core.json_files import write_atomically
from harness.core.types import Example
from harness.data.rows import load_examples
from harness.models.checkpoints import resolve_checkpoint
from harness.running.batching import Item, by_tokens
from harness.specs.catalog import Catalog

CHOICES = ["1", "2", "3", "4", "5"]
ASKED = "Rate the review from 1 (worst) to 5 (best). Answer with the number only."
BEFORE, NOW, ALL = METHODS = ("before", "now", "now, all rows")
"""The earlier method is slow: it gets `before_rows`. Today's gets the same ones, and in another pass all rows, on which the
instruction, which is computed once, weighs less."""
BEFORE_TOKENS = 2048
"""The default on a CPU of earlier versions."""
RULE = "Rule {number}: judge what the customer writes about the product itself, and ignore delivery, price and the seller. "


class Before(CausalLM):
    """Computes as earlier versions did: nothing is known of the run, and the shared keys and values are copied for each row."""

    shares_beginning = False

    def _try_sharing(self) -> None:
        self._in_place, self._cache_tokens = False, None


class CpuSeconds(BaseModel):
    """Of one pass over the rows. Only the first two may grow with the instruction."""

    shared_beginning: float = Field(description="computed once")
    attention_to_it: float = Field(description="of the rows' own tokens")
    rest: float


class Pass(BaseModel):
    """One pass over rows."""

    model: str
    dtype: str
    instruction: int = Field(description="tokens asked for")
    method: str
    repeat: int
    rows: int
    shared_tokens: int
    own_tokens: float = Field(description="mean of a row")
    batches: int
    seconds: float
    cpu: CpuSeconds
    labels: str = Field(description="a digit a row")

    @property
    def key(self) -> tuple[str, str, int, str, int]:
        return self.model, self.dtype, self.instruction, self.method, self.repeat


class Record(BaseModel):
    setup: Setup
    task: str
    lang: str
    rows: int
    before_rows: int
    passes: list[Pass] = Field(default_factory=list)


def main() -> None:
    options = _parser().parse_args()
    task = Catalog(Path.cwd()).task(options.task)
    examples = load_examples(task, lang=options.lang, split="test", data_dir=options.data)
    rows = list({row.text: row for row in examples}.values())[: options.rows]
    sizes = {"rows": len(rows), "before_rows": min(options.before_rows, len(rows))}
    record = _open(
        options.json, Record(setup=setup_here(("torch", "transformers")), task=options.task, lang=options.lang, **sizes)
    )
    for model in options.models.split(","):
        for dtype in options.dtypes.split(","):
            _measure(record, model, dtype, rows, options)
    print(table(record))


def _open(file: Path | None, fresh: Record) -> Record:
    """The record in `file`, or `fresh`. Raises `UserError` where the file is of other rows."""
    found = earlier(file, Record)
    if found is None:
        return fresh
    same = ("task", "lang", "rows", "before_rows")
    if any(getattr(found, name) != getattr(fresh, name) for name in same):
        raise UserError(f"{file} was measured on other rows.", "Name another file.")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Rows per second of `score` by the length of the instruction.")
    parser.add_argument("--models", default="packaged:smollm2,packaged:qwen-coder-0.5b", metavar="NAMES", help="by commas")
    parser.add_argument("--lengths", default="100,500,1000,2000", metavar="TOKENS", help="of the instruction, by commas")
    parser.add_argument("--dtypes", default="float32,bfloat16", metavar="NAMES", help="by commas; default: float32,bfloat16")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="interleaved; default: 1")
    parser.add_argument("--task", default="reviews_demo", metavar="NAME", help="default: reviews_demo")
    parser.add_argument("--lang", default="en", metavar="CODE", help="default: en")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the task's files, in place of its source")
    parser.add_argument("--rows", type=int, default=48, metavar="N", help="test rows; default: 48")
    parser.add_argument(
        "--before-rows", type=int, default=8, metavar="N", help="of the comparison with the earlier method; default: 8"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    return parser


def _measure(record: Record, model: str, dtype: str, rows: Sequence[Example], options: argparse.Namespace) -> None:
    """Adds the passes that the record lacks; writes it after each."""
    lengths = [int(length) for length in options.lengths.split(",")]
    known = {done.key for done in record.passes}
    missing = [
        (repeat, length, method)
        for repeat in range(options.repeats)
        for length in lengths
        for method in METHODS
        if (model, dtype, length, method, repeat) not in known
    ]
    if not missing:
        return
    folder = resolve_checkpoint(model).folder
    engines: dict[str, CausalLM] = {
        BEFORE: Before(CausalLMOptions.model_validate({"dtype": dtype, "batch_tokens": BEFORE_TOKENS}), folder),
        NOW: CausalLM(CausalLMOptions.model_validate({"dtype": dtype}), folder),
    }
    for engine in engines.values():
        engine.load()
    for repeat, length, method in missing:
        some = rows[: record.rows if method == ALL else record.before_rows]
        engine = engines[BEFORE if method == BEFORE else NOW]
        measured = _measured(engine, some, _chats(engine, some, length))
        named = {"model": model, "dtype": dtype, "instruction": length, "method": method, "repeat": repeat}
        record.passes.append(Pass.model_validate({**named, **measured}))
        print(record.passes[-1], flush=True)
        if options.json is not None:
            write_atomically(options.json, record.model_dump_json(indent=1) + "\n")
    for engine in engines.values():
        engine.close()


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


def _measured(engine: CausalLM, rows: Sequence[Example], chats: Sequence[Messages]) -> dict[str, Any]:
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
        "cpu": {
            "shared_beginning": round(watch.prefix, 3),
            "attention_to_it": round(watch.attention, 3),
            "rest": round(used - watch.prefix - watch.attention, 3),
        },
        "labels": "".join(str(int(log_p[row.id].argmax())) for row in rows),
    }


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


HEAD = ("model", "dtype", "shared tokens", "rows/s before", "rows/s now", "now / before", "same label", "rows/s now, all rows")
CPU = ("CPU s: shared beginning, once", "CPU s a row: attention to it", "CPU s a row: the rest")
SHORT = {"float32": "fp32", "bfloat16": "bf16"}


def table(record: Record) -> str:
    """Medians and ranges over the repeats. The CPU seconds are those of today's method, on all rows."""
    rows = []
    for model, dtype, length in dict.fromkeys((done.model, done.dtype, done.instruction) for done in record.passes):
        before, now, every = ([p for p in record.passes if p.key[:4] == (model, dtype, length, method)] for method in METHODS)
        if not (before and now and every):
            continue
        then, today, most = (
            Timed(rows=some[0].rows, seconds={p.repeat: p.seconds for p in some}) for some in (before, now, every)
        )
        same = np.mean([a == b for a, b in zip(before[0].labels, now[0].labels, strict=True)])
        cells = [model.rpartition(":")[2], SHORT.get(dtype, dtype), f"{now[0].shared_tokens:,}"]
        cells += [
            spread(list(then.rates.values())),
            spread(list(today.rates.values())),
            spread(today.over(then)),
            f"{same:.0%}",
        ]
        cells += [spread(list(most.rates.values())), spread([p.cpu.shared_beginning for p in every])]
        cells += [spread([getattr(p.cpu, name) / p.rows for p in every], ".3f") for name in ("attention_to_it", "rest")]
        rows.append(cells)
    return markdown([*HEAD, *CPU], rows, 2)


if __name__ == "__main__":
    main()
