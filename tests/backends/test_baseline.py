"""The baselines answer with one probability per class of the task, also for classes that train lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from pydantic import ValidationError

from backends.base import LabelledTexts
from backends.baseline import Baseline, BaselineOptions
from harness.errors import DataError, UserError
from harness.types import LabelKind, LabelSpace

LABELS = LabelSpace(LabelKind.ORDINAL, ("bad", "neutral", "good", "great"))
TRAIN = LabelledTexts(
    ["bad lid", "awful kettle", "a bad, awful thing", "good kettle", "lovely lid", "good and lovely", "lovely"],
    [0, 0, 0, 2, 2, 2, 2],
)
NOTHING = LabelledTexts([], [])


def fitted(classifier: Literal["majority", "tfidf"], scratch: Path, train: LabelledTexts = TRAIN) -> Baseline:
    engine = Baseline(BaselineOptions.model_validate({"classifier": classifier}), None)
    engine.fit(train, NOTHING, LABELS, 0, scratch, lambda done, total, note: None)
    return engine


def test_majority_gives_the_class_shares_of_train(tmp_path: Path) -> None:
    probabilities = fitted("majority", tmp_path).predict(["anything", "lovely"])
    np.testing.assert_allclose(probabilities, [[3 / 7, 0, 4 / 7, 0]] * 2)


def test_tfidf_learns_words_and_keeps_a_place_for_classes_that_train_lacks(tmp_path: Path) -> None:
    probabilities = fitted("tfidf", tmp_path).predict(["awful lid", "lovely kettle"])
    assert probabilities.shape == (2, 4)
    assert probabilities.argmax(1).tolist() == [0, 2]
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (probabilities[:, [1, 3]] == 0).all()


def test_tfidf_reads_languages_without_spaces(tmp_path: Path) -> None:
    train = LabelledTexts(["とても良い商品です", "良いと思います", "最悪の商品です", "最悪でした"], [2, 2, 0, 0])
    probabilities = fitted("tfidf", tmp_path, train).predict(["これは良い", "これは最悪"])
    assert probabilities.argmax(1).tolist() == [2, 0]


@pytest.mark.parametrize("classifier", ["majority", "tfidf"])
def test_save_and_load(classifier: Literal["majority", "tfidf"], tmp_path: Path) -> None:
    engine = fitted(classifier, tmp_path)
    engine.save(tmp_path)
    other = Baseline(BaselineOptions.model_validate({"classifier": classifier}), None)
    other.load(tmp_path, LABELS)
    texts = ["a good kettle", "a bad one", ""]
    np.testing.assert_array_equal(other.predict(texts), engine.predict(texts))


def test_tfidf_refuses_train_rows_of_a_single_class(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="single class"):
        fitted("tfidf", tmp_path, LabelledTexts(["good", "lovely"], [2, 2]))


def test_multilabel_is_refused(tmp_path: Path) -> None:
    labels = LabelSpace(LabelKind.MULTILABEL, ("a", "b"))
    engine = Baseline(BaselineOptions.model_validate({"classifier": "tfidf"}), None)
    with pytest.raises(UserError, match="multilabel"):
        engine.fit(LabelledTexts(["x"], [(0, 1)]), NOTHING, labels, 0, tmp_path, lambda done, total, note: None)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValidationError, match="alpha"):
        BaselineOptions.model_validate({"classifier": "tfidf", "alpha": 1})
