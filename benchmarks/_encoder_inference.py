"""The same checkpoint and rows in six ways, and the machine's own matrix product, in alternating rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _encoder_work import Work, gemm_gflops, needed_flops, synchronize

from harness.core.engine import Classifier, LabelledTexts
from harness.running.plan import Plan

BATCH_SIZE = 64
OURS = {"d.torch": "torch", "e.onnx": "onnx", "f.onnx-int8": "onnx-int8"}

Way = Callable[[], list[int]]
"""All rows once: a label for each, in the rows' order."""


def infer(work: Work, checkpoint: Path, rounds: int, scratch: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of each round and the labels of each way; warmed up by its shortest text, which is not counted."""
    import torch

    plan = work.plan(0, {})
    device = plan.engine.facts()["device"]
    options: Any = plan.engine.options
    texts = [row.text for row in plan.rows]
    length, lengths, shape = _read(checkpoint, texts, options.max_length)
    ways: dict[str, Way] = dict(_rivals(checkpoint, texts, length, device))
    runtimes: dict[str, Any] = {}
    for name, runtime in OURS.items():
        tell(f"inference: loading {name}")
        ways[name], runtimes[name] = _ours(work, checkpoint, runtime, scratch)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    labels: dict[str, list[int]] = {}
    rates: list[float] = []
    for number in range(rounds):
        for name, way in ways.items():
            tell(f"inference: {name} ({number + 1} of {rounds})")
            rates.append(gemm_gflops(shape["hidden"], shape["intermediate"], device))
            synchronize(torch)
            started = time.perf_counter()
            labels[name] = way()
            synchronize(torch)
            seconds[name].append(time.perf_counter() - started)
    return {
        "tokens": sum(lengths),
        "flops": needed_flops(lengths, **shape),
        "gflops": rates,
        "truth": [row.label for row in plan.rows],
        "seconds": seconds,
        "labels": labels,
        "runtimes": runtimes,
    }


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


def _rivals(checkpoint: Path, texts: list[str], length: int, device: str) -> dict[str, Way]:
    import torch
    from torch.utils.data import DataLoader
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    model = (
        AutoModelForSequenceClassification.from_pretrained(checkpoint, trust_remote_code=False, dtype=torch.float32)
        .to(device)
        .eval()
    )
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=False)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device=device)
    index = dict(model.config.label2id)

    def piped(rows: list[str], **settings: Any) -> list[int]:
        found = classify(rows, truncation=True, max_length=length, **settings)
        return [index[answer["label"]] for answer in found]

    def collate(rows: list[str]) -> Any:
        return tokenizer(rows, truncation=True, max_length=length, padding=True, return_tensors="pt")

    def looped(rows: list[str]) -> list[int]:
        labels: list[int] = []
        with torch.no_grad():
            for batch in DataLoader(rows, batch_size=BATCH_SIZE, collate_fn=collate):  # type: ignore[arg-type]
                labels += model(**batch.to(device)).logits.argmax(-1).tolist()
        return labels

    shortest = [min(texts, key=len)]
    for warm_up in (piped, looped):
        warm_up(shortest)
    return {
        "a.pipeline": lambda: piped(texts),
        "b.pipeline-64": lambda: piped(texts, batch_size=BATCH_SIZE),
        "c.dataloader-64": lambda: looped(texts),
    }


def _ours(work: Work, checkpoint: Path, runtime: str, scratch: Path) -> tuple[Way, dict[str, Any] | None]:
    """The path of a run without its journal: batches that are encoded in a thread, predictions, labels."""
    from harness.running.batching import distinct, encode
    from harness.running.predicting import predict_batch
    from harness.running.training import validation_scorer

    # int8 is measured whatever it loses; the report says what it lost.
    plan = work.plan(0, {"predict.runtime": runtime, **({"predict.max_drop": 1.0} if runtime == "onnx-int8" else {})})
    assert isinstance(plan.engine, Classifier)
    assert plan.training is not None
    plan.engine.load(checkpoint, plan.task.label_space)
    validation = plan.training.validation
    rows = LabelledTexts([row.text for row in validation], [row.label for row in validation])
    facts = plan.engine.optimize(scratch, rows, validation_scorer(plan))
    predict_batch(plan, encode(plan, distinct(plan.rows)[-1:]))
    return lambda: _predicted(plan), facts


def _predicted(plan: Plan) -> list[int]:
    from harness.running.batching import batches
    from harness.running.predicting import predict_batch

    found: dict[str, Any] = {}
    for batch in batches(plan, ()):
        found.update((prediction.id, prediction.label) for prediction in predict_batch(plan, batch).predictions)
    return [found[row.id] for row in plan.rows]
