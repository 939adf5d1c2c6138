"""The same checkpoint and rows through transformers' pipeline and through ours, and the machine's own matrix product, in
alternating rounds.

The pipeline is measured in each dtype, in each batch size, with the rows as they come and sorted by length. All of these are in
the first round; the later ones have the fastest of each dtype and order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from _encoder_work import Work, gemm_gflops, needed_flops, synchronize

from harness.core.engine import Classifier, LabelledTexts
from harness.core.machine import bf16_instructions
from harness.running.plan import Plan

BATCH_SIZES = (1, 8, 16, 32, 64)
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
AUTO_ROWS = 1_000_000
"""Rows that `auto` is told it will predict, so that it measures all runtimes."""

Way = Callable[[], list[int]]
"""All rows once: a label for each, in the rows' order."""


def infer(work: Work, checkpoint: Path, rounds: int, scratch: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Seconds and CPU seconds of each way and round (the first round has all ways), and what its labels are worth; warmed up by
    the shortest text, which is not counted."""
    import torch

    plan = work.plan(0, {})
    device, options = plan.engine.facts()["device"], _options(plan)
    texts, truth = [row.text for row in plan.rows], [row.label for row in plan.rows]
    length, lengths, shape = _read(checkpoint, texts, options.max_length)
    dtypes = {short: name for short, name in DTYPES.items() if short == "fp32" or device != "cpu" or bf16_instructions()}
    ways: dict[str, Way] = {}
    for short, dtype in dtypes.items():
        tell(f"inference: loading the pipeline in {short}")
        ways |= {f"pipeline.{short}.{name}": way for name, way in _rivals(checkpoint, texts, length, device, dtype)}
    settings: dict[str, dict[str, Any]] = {f"ours.{short}": {"predict.dtype": dtype} for short, dtype in dtypes.items()}
    # int8 is measured whatever it loses; the report says what it lost.
    settings |= {"ours.onnx": {"predict.runtime": "onnx"}}
    settings |= {"ours.onnx-int8": {"predict.runtime": "onnx-int8", "predict.max_drop": 1.0}}
    settings |= {"ours.auto": {"predict.dtype": "auto"}}
    runtimes: dict[str, Any] = {}
    trained = scratch / "trained"  # as the cache keeps a model, and its graphs beside it
    trained.mkdir()
    (trained / "model").symlink_to(checkpoint.resolve())
    for name, given in settings.items():
        tell(f"inference: loading {name}")
        ways[name], runtimes[name] = _ours(work, checkpoint, given, trained, auto=name == "ours.auto")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    labels: dict[str, list[int]] = {}
    rates: dict[str, list[float]] = {short: [] for short in dtypes}
    chosen = list(ways)
    for number in range(rounds):
        for name in chosen:
            tell(f"inference: {name} ({number + 1} of {rounds})")
            synchronize(torch)
            started, started_cpu = time.perf_counter(), time.process_time()
            labels[name] = ways[name]()
            synchronize(torch)
            seconds[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - started_cpu)
        for short, dtype in dtypes.items():
            rates[short].append(gemm_gflops(shape["hidden"], shape["intermediate"], device, dtype))
        chosen = [*best_of_each_kind(seconds), *(name for name in ways if name.startswith("ours."))]
    reference = labels["pipeline.fp32.rows.1"]
    return {
        "rows": len(texts),
        "tokens": sum(lengths),
        "flops": needed_flops(lengths, **shape),
        "gflops": rates,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "same_label": {name: _same(found, reference) for name, found in labels.items()},
        "accuracy": {name: _same(found, truth) for name, found in labels.items()},
        "runtimes": runtimes,
    }


def best_of_each_kind(seconds: dict[str, list[float]]) -> list[str]:
    """Of the pipeline in each dtype and order: the batch size that was fastest in the first round."""
    best: dict[str, str] = {}
    for name, times in seconds.items():
        kind = name.rpartition(".")[0]
        if name.startswith("pipeline.") and (kind not in best or times[0] < seconds[best[kind]][0]):
            best[kind] = name
    return list(best.values())


def _same(labels: Sequence[Any], others: Sequence[Any]) -> float:
    return sum(label == other for label, other in zip(labels, others, strict=True)) / len(labels)


def _options(plan: Plan) -> Any:
    return plan.engine.options


def _read(checkpoint: Path, texts: Sequence[str], most: int) -> tuple[int, list[int], dict[str, int]]:
    """The length at which texts are cut, the tokens of each text, and the shape of the model."""
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=False)
    length = min(most, int(tokenizer.model_max_length))
    tokens = tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
    config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
    inner = getattr(config, "intermediate_size", None) or config.hidden_dim  # DistilBERT's name for it
    shape = {"layers": config.num_hidden_layers, "hidden": config.hidden_size, "intermediate": inner}
    return length, [len(ids) for ids in tokens], shape


def _rivals(checkpoint: Path, texts: list[str], length: int, device: str, dtype: str) -> Iterator[tuple[str, Way]]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, trust_remote_code=False, dtype=getattr(torch, dtype))
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=False)
    classify = pipeline("text-classification", model=model.to(device).eval(), tokenizer=tokenizer, device=device)
    index = dict(model.config.label2id)
    order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))

    def piped(places: Sequence[int], size: int) -> list[int]:
        rows = [texts[place] for place in places]
        found = classify(rows, truncation=True, max_length=length, batch_size=size)
        labels = {place: index[answer["label"]] for place, answer in zip(places, found, strict=True)}
        return [labels[place] for place in sorted(places)]

    piped(order[-1:], 1)  # warm-up
    for size in BATCH_SIZES:
        yield f"rows.{size}", lambda size=size: piped(range(len(texts)), size)
        if size > 1:
            yield f"sorted.{size}", lambda size=size: piped(order, size)


def _ours(
    work: Work, checkpoint: Path, settings: dict[str, Any], folder: Path, *, auto: bool
) -> tuple[Way, dict[str, Any] | None]:
    """The path of a run without its journal: batches that are encoded in a thread, predictions, labels."""
    from backends.encoder import with_runtime
    from harness.running.batching import distinct, encode
    from harness.running.predicting import predict_batch
    from harness.running.training import validation_scorer

    plan = work.plan(0, settings)
    assert isinstance(plan.engine, Classifier)
    assert plan.training is not None
    validation = plan.training.validation
    if auto:
        plan.engine.options = with_runtime(_options(plan), "auto")
        plan.engine.expect(AUTO_ROWS, len(validation))
    plan.engine.load(checkpoint, plan.task.label_space)
    rows = LabelledTexts([row.text for row in validation], [row.label for row in validation])
    facts = plan.engine.optimize(folder, rows, validation_scorer(plan))
    predict_batch(plan, encode(plan, distinct(plan.rows)[-1:]))
    return lambda: _predicted(plan), None if facts is None else dict(facts)


def _predicted(plan: Plan) -> list[int]:
    from harness.running.batching import batches
    from harness.running.predicting import launched

    found: dict[str, Any] = {}
    for _, outcome in launched(plan, batches(plan, ()), plan.engine.ahead()):
        found.update((prediction.id, prediction.label) for prediction in outcome().predictions)
    return [found[row.id] for row in plan.rows]
