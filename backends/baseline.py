"""Baselines that anything else must beat: the majority class, and TF-IDF with logistic regression."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from backends.base import Classifier, Encoded, FloatArray, Judge, LabelledTexts, OnProgress
from harness.errors import DataError
from harness.types import Label, LabelKind, LabelSpace


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
        self._classes = 0
        self._estimator: Any = None

    def fit(
        self,
        train: LabelledTexts,
        validation: LabelledTexts,
        labels: LabelSpace,
        judge: Judge,
        seed: int,
        scratch: Path,
        on_progress: OnProgress,
    ) -> dict[str, Any]:
        if self.options.classifier == "tfidf" and len(set(train.labels)) < 2:
            raise DataError("All train rows are of a single class: there is nothing to learn.", "Take more, or `majority`.")
        self._classes = len(labels)
        self._estimator = self._new_estimator(seed)
        if labels.kind is LabelKind.MULTILABEL:
            self._estimator = _one_for_each_label(self._estimator)
        with warnings.catch_warnings():
            # A label that no row has, or every row, gets a constant: nothing to warn of.
            warnings.filterwarnings("ignore", message="Label .* is present in all training examples", category=UserWarning)
            self._estimator.fit(list(train.texts), _targets(train.labels, labels))
        return {"train_rows": len(train.texts)}

    def _new_estimator(self, seed: int) -> Any:
        from sklearn.dummy import DummyClassifier
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union

        if self.options.classifier == "majority":
            return DummyClassifier(strategy="prior")
        # Character n-grams carry the languages that put no spaces between words.
        features = make_union(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True),
        )
        return make_pipeline(features, LogisticRegression(C=self.options.c, max_iter=1000, random_state=seed))

    def save(self, folder: Path) -> None:
        import joblib

        joblib.dump((self._classes, self._estimator), folder / "baseline.joblib")

    def load(self, folder: Path, labels: LabelSpace) -> None:
        import joblib

        self._classes, self._estimator = joblib.load(folder / "baseline.joblib")

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        return [Encoded(len(text), text) for text in texts]

    def predict(self, texts: Sequence[Encoded]) -> FloatArray:
        known = self._estimator.predict_proba([text.content for text in texts])
        # A class that train lacks has probability zero, and still its place.
        probabilities = np.zeros((len(texts), self._classes))
        probabilities[:, self._estimator.classes_] = known
        return probabilities


def _one_for_each_label(estimator: Any) -> Any:
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import Pipeline

    if not isinstance(estimator, Pipeline):
        return OneVsRestClassifier(estimator)
    estimator.steps[-1] = ("onevsrest", OneVsRestClassifier(estimator.steps[-1][1]))  # the features are the same for all
    return estimator


def _targets(labels: Sequence[Label], space: LabelSpace) -> NDArray[np.int64]:
    """Shape (n,), or (n, labels) of zeros and ones."""
    if space.kind is not LabelKind.MULTILABEL:
        return np.asarray(labels, dtype=np.int64)
    targets = np.zeros((len(labels), len(space)), dtype=np.int64)
    for row, label in enumerate(labels):
        assert isinstance(label, tuple)
        targets[row, list(label)] = 1
    return targets
