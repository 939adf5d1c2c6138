"""Baselines that any other model must beat: the majority class, and TF-IDF with logistic regression."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from backends._linear_head import LinearHead, check_classes, fit_head, memberships
from harness.core.arrays import FloatArray
from harness.core.engine import Classifier, Encoded, TrainingJob
from harness.core.types import Label, LabelKind, LabelSpace

NUMBERS, TERMS = "baseline.npz", "terms.json"
"""Files of a trained model: arrays, and the n-grams in the order of their columns. Neither can hold code."""


class BaselineOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    classifier: Literal["majority", "tfidf"] = Field(
        description="`majority`: class shares of train; `tfidf`: logistic regression"
    )
    c: float = Field(1.0, gt=0, description="tfidf: inverse strength of the L2 penalty")


class Baseline(Classifier):
    Options = BaselineOptions
    model_is = "nothing"
    options: BaselineOptions

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        super().__init__(options, model)
        self._shares: FloatArray = np.empty(0)  # of majority
        self._features: Any = None  # of tfidf: a FeatureUnion of two vectorizers
        self._head: LinearHead | None = None

    @classmethod
    def soft_labels_problem(cls, options: BaseModel) -> str:
        return ""

    def fit(self, job: TrainingJob) -> dict[str, int]:
        texts, labels = job.train.texts, job.train.labels
        if self.options.classifier == "majority":
            soft = job.train.probabilities
            self._shares = _shares(labels, job.labels) if soft is None else np.asarray(soft.mean(axis=0))
        else:
            check_classes(labels, job.train.probabilities)
            self._features = _features()
            found, soft = self._features.fit_transform(texts).tocsr(), job.train.probabilities
            self._head = fit_head(found, labels, job.labels, self.options.c, job.seed, probabilities=soft)
        return {"train_rows": len(texts)}

    def save(self, folder: Path) -> None:
        if self._head is None:
            np.savez(folder / NUMBERS, shares=self._shares)
            return
        vectorizers = dict(self._features.transformer_list)
        rarity = {f"idf_{kind}": vectorizer.idf_ for kind, vectorizer in vectorizers.items()}
        np.savez(folder / NUMBERS, weights=self._head.weights, biases=self._head.biases, **rarity)
        terms = [sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.get) for vectorizer in vectorizers.values()]
        (folder / TERMS).write_text(json.dumps(terms), encoding="ascii")

    def load(self, folder: Path, labels: LabelSpace) -> None:
        numbers = np.load(folder / NUMBERS, allow_pickle=False)
        if self.options.classifier == "majority":
            self._shares = numbers["shares"]
            return
        self._features = _features(*json.loads((folder / TERMS).read_text(encoding="ascii")))
        for kind, vectorizer in self._features.transformer_list:
            vectorizer.idf_ = numbers[f"idf_{kind}"]
        self._head = LinearHead(numbers["weights"], numbers["biases"], labels.kind is LabelKind.MULTILABEL)

    def batch_size(self) -> int:
        return 256  # each call of the vectorizers has a cost of its own

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        return [Encoded(len(text), text) for text in texts]

    def predict(self, texts: Sequence[Encoded]) -> FloatArray:
        if self._head is None:
            return np.tile(self._shares, (len(texts), 1))
        return self._head.probabilities(self._features.transform([text.content for text in texts]))


def _features(words: list[str] | None = None, characters: list[str] | None = None) -> Any:
    """N-grams of words, and of characters for languages without spaces between words; with their vocabularies, if known."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    vectorizers = [
        ("words", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, vocabulary=words)),
        ("characters", TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, vocabulary=characters)),
    ]
    return FeatureUnion(vectorizers)


def _shares(labels: Sequence[Label], space: LabelSpace) -> FloatArray:
    """The share of rows with each label, shape (labels,)."""
    if space.kind is LabelKind.MULTILABEL:
        return np.asarray(memberships(labels, len(space)).mean(axis=0))
    return np.bincount(np.asarray(labels, dtype=np.int64), minlength=len(space)) / len(labels)
