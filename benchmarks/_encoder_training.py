"""The encoder engine's training against the stock Trainer: the same rows, head, steps and evaluations, seed by seed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from _encoder_work import Work, synchronize

from harness.core.engine import Classifier, LabelledTexts, TrainingJob
from harness.running.plan import Plan

Evaluations = list[dict[str, float]]
"""Of each epoch: `epoch`, and `loss` (mean cross-entropy) and `accuracy` on the validation rows."""


def train(
    work: Work, seeds: Sequence[int], known: Collection[tuple[str, int]], scratch: Path, tell: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """A measurement for each seed and trainer that is not `known`, when it is there. No model is kept."""
    for number, seed in enumerate(seeds):
        trainers = [("ours", _ours), ("stock", _stock)]
        for name, trainer in trainers if number % 2 == 0 else reversed(trainers):
            if (name, seed) in known:
                continue
            tell(f"training: {name}, seed {seed}")
            plan = work.plan(seed, {})
            folder = scratch / f"{name}-{seed}"
            folder.mkdir()
            started, started_cpu = time.perf_counter(), time.process_time()
            evaluations = trainer(plan, folder)
            seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
            shutil.rmtree(folder)  # its checkpoints have the size of three models
            plan.engine.close()
            measured = {"seconds": seconds, "cpu_seconds": cpu_seconds, "evaluations": evaluations}
            yield {"trainer": name, "seed": seed, **measured}


def _evaluation(entry: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {"epoch": entry["epoch"], **{name: entry[f"{prefix}{name}"] for name in ("loss", "accuracy")}}


def _texts(rows: Sequence[Any]) -> LabelledTexts:
    return LabelledTexts([row.text for row in rows], [row.label for row in rows])


def _ours(plan: Plan, folder: Path) -> Evaluations:
    """Reads the model and the tokenizer, tokenizes, trains and evaluates, as `_stock` does."""
    import torch

    from harness.running.training import validation_scorer

    assert isinstance(plan.engine, Classifier)
    assert plan.training is not None
    train, validation, scorer = _texts(plan.training.train), _texts(plan.training.validation), validation_scorer(plan)
    report = plan.engine.fit(
        TrainingJob(train, validation, plan.task.label_space, scorer, plan.options.seed, folder, lambda done, total, note: None)
    )
    synchronize(torch)
    return [_evaluation(entry, "") for entry in report["evaluations"]]


def _stock(plan: Plan, folder: Path) -> Evaluations:
    """The same with transformers' Trainer: its defaults, but for what the models need to be comparable."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        PrinterCallback,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    assert plan.training is not None
    assert plan.checkpoint is not None
    options: Any = plan.engine.options
    source, seed = plan.checkpoint.folder, plan.options.seed
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        source,
        trust_remote_code=False,
        num_labels=len(plan.task.label_space),
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
    )

    def encoded(rows: LabelledTexts) -> list[dict[str, Any]]:
        length = min(options.max_length, int(tokenizer.model_max_length))
        tokens = tokenizer(list(rows.texts), truncation=True, max_length=length)
        return [{**{key: tokens[key][i] for key in tokens}, "labels": label} for i, label in enumerate(rows.labels)]

    def accuracy(prediction: Any) -> dict[str, float]:
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=options.train.epochs,
            per_device_train_batch_size=options.train.batch_size,
            learning_rate=options.train.lr,
            weight_decay=options.train.weight_decay,
            warmup_steps=options.train.warmup,
            eval_strategy="epoch",
            seed=seed,
            bf16=plan.engine.facts()["precision"] == "bf16",
            report_to="none",
            disable_tqdm=True,
            use_cpu=plan.engine.facts()["device"] == "cpu",
            dataloader_pin_memory=plan.engine.facts()["device"] != "cpu",  # on a CPU only a warning comes of it
        ),
        train_dataset=encoded(_texts(plan.training.train)),
        eval_dataset=encoded(_texts(plan.training.validation)),
        processing_class=tokenizer,
        compute_metrics=accuracy,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    synchronize(torch)
    return [_evaluation(entry, "eval_") for entry in trainer.state.log_history if "eval_loss" in entry]
