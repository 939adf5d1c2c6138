"""Rows and engines of the encoder tests: texts of a few words, some of which say the label."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from backends._encoder_options import EncoderOptions
from backends.encoder import Encoder
from harness.core.arrays import FloatArray
from harness.core.engine import LabelledTexts, TrainingJob, ValidationScorer
from harness.core.types import LabelKind, LabelSpace

LABELS = LabelSpace(LabelKind.ORDINAL, ("bad", "good"))
STARS = LabelSpace(LabelKind.ORDINAL, ("bad", "so-so", "good"))
TOPICS = LabelSpace(LabelKind.MULTILABEL, ("kettle", "lid", "price"))
TOLD = [["bad", "awful", "poor"], ["good", "great", "lovely"]]
NEUTRAL = ["the", "kettle", "lid", "is", "very", "and", "it"]
NOTHING = LabelledTexts([], [])
CONTRADICTING = LabelledTexts(["it is very"] * 4, [0, 1, 0, 1])  # always half right: no epoch is better than the first
EPOCH_STEPS = 8  # 64 rows in batches of 8


def rows(count: int, seed: int) -> LabelledTexts:
    """Texts of 2 to 7 words, one of which says the label."""
    rng = random.Random(seed)
    labels = [rng.randrange(2) for _ in range(count)]
    texts = []
    for label in labels:
        words = [*rng.choices(NEUTRAL, k=rng.randrange(1, 7)), rng.choice(TOLD[label])]
        rng.shuffle(words)
        texts.append(" ".join(words))
    return LabelledTexts(texts, labels)


def tagged(count: int, seed: int) -> LabelledTexts:
    """A label for each of the words kettle and lid in the text; nothing has the third."""
    texts = rows(count, seed).texts
    return LabelledTexts(texts, [tuple(k for k, word in enumerate(["kettle", "lid"]) if word in text) for text in texts])


def starred(count: int, seed: int) -> LabelledTexts:
    """Three stars: the middle one where a text has both a bad and a good word."""
    rng, plain = random.Random(seed), rows(count, seed)
    texts, labels = list(plain.texts), [2 * int(label) for label in plain.labels if isinstance(label, int)]
    for index in range(0, count, 3):
        texts[index] += " " + rng.choice(TOLD[0 if labels[index] else 1])
        labels[index] = 1
    return LabelledTexts(texts, labels)


TRAIN, VALIDATION = rows(64, 0), rows(16, 1)


def accuracy_and_error(truth: LabelledTexts) -> Callable[[FloatArray], dict[str, float]]:
    """`accuracy`, and `mae`, which is better when it is lower; of multilabel rows the share of right labels."""

    def single(probabilities: FloatArray) -> dict[str, float]:
        off = np.abs(probabilities.argmax(1) - np.array(truth.labels))
        return {"accuracy": float((off == 0).mean()), "mae": float(off.mean())}

    def multiple(probabilities: FloatArray) -> dict[str, float]:
        wanted = [[k in label for k in range(probabilities.shape[1])] for label in truth.labels if isinstance(label, tuple)]
        return {"accuracy": float(((probabilities >= 0.5) == np.array(wanted)).mean()), "mae": 0.0}

    return multiple if truth.labels and isinstance(truth.labels[0], tuple) else single


def validation_scorer(validation: LabelledTexts) -> ValidationScorer:
    return ValidationScorer(accuracy_and_error(validation), "accuracy", frozenset({"mae"}))


def new_engine(model: Path, options: dict[str, Any] | None = None, **train: Any) -> Encoder:
    quick: dict[str, Any] = {"epochs": 5, "lr": 1e-2, "batch_size": 8}
    return Encoder(EncoderOptions.model_validate({"device": "cpu", "train": quick | train, **(options or {})}), model)


def fit(
    engine: Encoder,
    scratch: Path,
    train: LabelledTexts = TRAIN,
    validation: LabelledTexts = VALIDATION,
    labels: LabelSpace = LABELS,
    seed: int = 1,
    on_progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> dict[str, Any]:
    return engine.fit(TrainingJob(train, validation, labels, validation_scorer(validation), seed, scratch, on_progress))


def predict(engine: Encoder, texts: LabelledTexts | list[str]) -> FloatArray:
    return engine.predict(engine.encode(texts.texts if isinstance(texts, LabelledTexts) else texts))


def weights_of(engine: Encoder) -> dict[str, Any]:
    return {name: value.clone() for name, value in engine._model.state_dict().items()}


def difference(one: Encoder, other: Encoder) -> float:
    """The largest, between any two weights."""
    pairs = zip(weights_of(one).values(), weights_of(other).values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


class Interrupted(Exception):
    pass


def interrupt_at(step: int) -> Callable[[int, int, str], None]:
    def on_progress(done: int, total: int, note: str) -> None:
        if done == step:
            raise Interrupted

    return on_progress
