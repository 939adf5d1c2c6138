"""Run records with probabilities, made on the spot: what reliability, cascades and recommendations are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.arrays import FloatArray, IntArray
from harness.core.json_files import digest
from harness.core.record import Identity, RunRecord
from harness.core.types import Example, LabelKind, LabelSpace, Prediction, Status
from harness.records.entries import Entry
from harness.records.journal import prediction_from, prediction_record
from harness.records.store import Store
from harness.statistics.metrics import evaluate_predictions

NAMES = ("bad", "fair", "good")


def draw(n: int, k: int = 3, sharpness: float = 2.0, seed: int = 0) -> tuple[FloatArray, IntArray]:
    """Probabilities of a perfectly calibrated model, shape (n, k), and labels drawn from them, shape (n,)."""
    rng = np.random.default_rng(seed)
    scores = np.exp(sharpness * rng.normal(size=(n, k)))
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    truth = (rng.random((n, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return probabilities, np.minimum(truth, k - 1).astype(np.int64)


def write_run(
    store: Store,
    truth: Sequence[int] | IntArray,
    probabilities: FloatArray | None = None,
    labels: Sequence[int | None] | NDArray[np.int64] | None = None,
    *,
    backend: str = "toy",
    split: str = "test",
    lang: str = "en",
    seed: int = 0,
    kind: LabelKind = LabelKind.NOMINAL,
    prompt: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
    seconds: float = 1.0,
    groups: Sequence[str] | None = None,
    **manifest: Any,
) -> str:
    """The id of a finished run; a row whose label is None has no parsed answer. Labels default to the likeliest ones.

    `train` given: of a trained backend; else of a language model, unless `prompt` is None, which is of one without either.
    """
    space = LabelSpace(kind, NAMES)
    said = list(labels if labels is not None else np.argmax(np.asarray(probabilities), axis=1))
    grouped = groups or [None] * len(truth)
    examples = [
        Example(f"{split}-{i:05}", "", int(label), lang, group)
        for i, (label, group) in enumerate(zip(truth, grouped, strict=True))
    ]
    predictions = []
    for i, (example, label) in enumerate(zip(examples, said, strict=True)):
        if label is None:
            predictions.append(Prediction(example.id, None, Status.UNPARSED, "no_answer"))
        else:
            given = None if probabilities is None else tuple(map(float, probabilities[i]))
            predictions.append(Prediction(example.id, int(label), Status.OK, None, given))
    records = [prediction_record(example, p) for example, p in zip(examples, predictions, strict=True)]
    metrics = evaluate_predictions(examples, [prediction_from(record) for record in records], space)
    identity = {
        "version": 1,
        "task": "toy",
        "lang": lang,
        "split": split,
        "rows": digest([record["id"] for record in records]),
        "labels": list(NAMES),
        "label_kind": kind,
        "backend": {"name": backend, "engine": "toy", "model": None, "revision": None, "options": {}, "device": "cpu"},
        "train": train,
        "prompt": prompt if prompt or train else {**PROMPT},
        "seed": seed,
    }
    training = (
        None if train is None else {"seconds": 10.0, "train_rows": train["train_count"], "validation_rows": 0, "best": None}
    )
    name = Identity.model_validate(identity).run_id
    told = {
        "run_id": name,
        "identity": identity,
        "n": len(examples),
        "limit": None,
        "settings": {},
        "training": training,
        "runtime": None,
        "timing": {"seconds": seconds, "rows_per_second": len(examples) / seconds, "load_average": 0.1},
        "tokens": {"prompt": 0, "new": 0},
        "cost": None,
        "machine": {"cores": 1, "cpu": "toy", "gpu": None, "memory_gib": 1, "system": "Linux"},
        **manifest,
    }
    with store.journal(name):
        store.finish(RunRecord.read(told, metrics.as_json(), name), records)
    return name


def identity_of(**changes: Any) -> Identity:
    """Of a run on test rows of a nominal task with the labels `NAMES`."""
    backend = {"name": "toy", "engine": "toy", "model": None, "options": {}}
    own = {"version": 1, "task": "t", "lang": "en", "split": "test", "rows": "r", "labels": NAMES, "label_kind": "nominal"}
    return Identity.model_validate({**own, "backend": backend, "train": None, "prompt": None, "seed": 0, **changes})


def entry_of(manifest: dict[str, Any], run: str = "t.b.1") -> Entry:
    """A run with all rows right; what `manifest` leaves out of identity, prompt and training is filled in."""
    given = manifest.get("identity", {})
    filled = {"train": trained_on(9), "prompt": PROMPT}
    parts = {name: {**part, **given[name]} for name, part in filled.items() if given.get(name) is not None}
    n = manifest.get("n", 1)
    values = {"accuracy": {"value": 1.0, "low": 0.5, "high": 1.0}}
    metrics = {"n": n, "ok": n, "unparsed": 0, "failed": 0, "headline": ["accuracy"], "values": values}
    full = {"n": n, **manifest, "identity": {**identity_of().as_json(), **given, **parts}}
    return Entry(RunRecord.read(full, metrics, run))


PROMPT = {"name": "strict", "variant": None, "decoding": "score", "sha256": "0", "shots": [], "shots_sha256": "0"}


def trained_on(count: int) -> dict[str, Any]:
    return {"version": 2, "langs": ["en"], "train_rows": f"rows{count}", "train_count": count, "validation_rows": "none"}
