"""Baselines that any other model must beat: the majority class, and TF-IDF with logistic regression."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from backends._linear_head import LinearHead, check_classes, fit_head, memberships
from harness.core.engine import Classifier, Encoded, TrainingJob
from harness.core.types import FloatArray, Label, LabelKind, LabelSpace

Kind = Literal["words", "characters"]
KINDS: tuple[Kind, ...] = ("words", "characters")

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
        self._features: list[Any] = []  # of tfidf: a vectorizer for each of KINDS
        self._head: LinearHead | None = None

    def fit(self, job: TrainingJob) -> dict[str, int]:
        texts, labels = job.train.texts, job.train.labels
        if self.options.classifier == "majority":
            self._shares = _shares(labels, job.labels)
        else:
            check_classes(labels)
            self._features = [_vectorizer(kind).fit(texts) for kind in KINDS]
            self._head = fit_head(self._embedded(texts), labels, job.labels, self.options.c, job.seed)
        return {"train_rows": len(texts)}

    def _embedded(self, texts: Sequence[str]) -> Any:
        """A sparse matrix, shape (len(texts), n-grams)."""
        from scipy.sparse import hstack

        return hstack([vectorizer.transform(texts) for vectorizer in self._features], format="csr")

    def save(self, folder: Path) -> None:
        if self._head is None:
            np.savez(folder / NUMBERS, shares=self._shares)
            return
        rarity = {f"idf_{kind}": vectorizer.idf_ for kind, vectorizer in zip(KINDS, self._features, strict=True)}
        np.savez(folder / NUMBERS, weights=self._head.weights, biases=self._head.biases, **rarity)
        terms = [sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.get) for vectorizer in self._features]
        (folder / TERMS).write_text(json.dumps(terms), encoding="ascii")

    def load(self, folder: Path, labels: LabelSpace) -> None:
        numbers = np.load(folder / NUMBERS, allow_pickle=False)
        if self.options.classifier == "majority":
            self._shares = numbers["shares"]
            return
        terms = json.loads((folder / TERMS).read_text(encoding="ascii"))
        self._features = [_vectorizer(kind, vocabulary) for kind, vocabulary in zip(KINDS, terms, strict=True)]
        for kind, vectorizer in zip(KINDS, self._features, strict=True):
            vectorizer.idf_ = numbers[f"idf_{kind}"]
        self._head = LinearHead(numbers["weights"], numbers["biases"], labels.kind is LabelKind.MULTILABEL)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        return [Encoded(len(text), text) for text in texts]

    def predict(self, texts: Sequence[Encoded]) -> FloatArray:
        if self._head is None:
            return np.tile(self._shares, (len(texts), 1))
        return self._head.probabilities(self._embedded([text.content for text in texts]))


def _vectorizer(kind: Kind, vocabulary: list[str] | None = None) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    if kind == "words":
        return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, vocabulary=vocabulary)
    # Character n-grams carry the languages that put no spaces between words.
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, vocabulary=vocabulary)


def _shares(labels: Sequence[Label], space: LabelSpace) -> FloatArray:
    """The share of rows with each label, shape (labels,)."""
    if space.kind is LabelKind.MULTILABEL:
        return np.asarray(memberships(labels, len(space)).mean(axis=0))
    return np.bincount(np.asarray(labels, dtype=np.int64), minlength=len(space)) / len(labels)
