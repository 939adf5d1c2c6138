"""The baselines answer with one probability per class of the task, also for classes that train lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from backends.baseline import Baseline, BaselineOptions
from harness.core.arrays import FloatArray
from harness.core.engine import LabelledTexts, TrainingJob, ValidationScorer
from harness.core.errors import DataError
from harness.core.types import LabelKind, LabelSpace

LABELS = LabelSpace(LabelKind.ORDINAL, ("bad", "neutral", "good", "great"))
TRAIN = LabelledTexts(
    ["bad lid", "awful kettle", "a bad, awful thing", "good kettle", "lovely lid", "good and lovely", "lovely"],
    [0, 0, 0, 2, 2, 2, 2],
)
TOPICS = LabelSpace(LabelKind.MULTILABEL, ("kettle", "price", "service"))
TAGGED = LabelledTexts(["a kettle", "cheap kettle", "cheap", "nothing", "my kettle"], [(0,), (0, 1), (1,), (), (0,)])
NOTHING = LabelledTexts([], [])
SCORER = ValidationScorer(lambda probabilities: {"accuracy": 0.0}, "accuracy", frozenset())


def new_baseline(classifier: str) -> Baseline:
    return Baseline(BaselineOptions.model_validate({"classifier": classifier}), None)


def fitted(classifier: str, scratch: Path, train: LabelledTexts = TRAIN, labels: LabelSpace = LABELS) -> Baseline:
    engine = new_baseline(classifier)
    engine.fit(TrainingJob(train, NOTHING, labels, SCORER, 0, scratch, lambda done, total, note: None))
    return engine


def predict(engine: Baseline, texts: list[str]) -> FloatArray:
    return engine.predict(engine.encode(texts))


def test_majority_gives_the_class_shares_of_train(tmp_path: Path) -> None:
    probabilities = predict(fitted("majority", tmp_path), ["anything", "lovely"])
    np.testing.assert_allclose(probabilities, [[3 / 7, 0, 4 / 7, 0]] * 2)


def test_tfidf_learns_words_and_keeps_a_place_for_classes_that_train_lacks(tmp_path: Path) -> None:
    probabilities = predict(fitted("tfidf", tmp_path), ["awful lid", "lovely kettle"])
    assert probabilities.shape == (2, 4)
    assert probabilities.argmax(1).tolist() == [0, 2]
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (probabilities[:, [1, 3]] == 0).all()


def test_tfidf_reads_languages_without_spaces(tmp_path: Path) -> None:
    train = LabelledTexts(["とても良い商品です", "良いと思います", "最悪の商品です", "最悪でした"], [2, 2, 0, 0])
    probabilities = predict(fitted("tfidf", tmp_path, train), ["これは良い", "これは最悪"])
    assert probabilities.argmax(1).tolist() == [2, 0]


@pytest.mark.parametrize("classifier", ["majority", "tfidf"])
def test_save_and_load(classifier: str, tmp_path: Path) -> None:
    engine = fitted(classifier, tmp_path)
    engine.save(tmp_path)
    other = new_baseline(classifier)
    other.load(tmp_path, LABELS)
    texts = ["a good kettle", "a bad one", ""]
    np.testing.assert_array_equal(predict(other, texts), predict(engine, texts))


def test_what_is_kept_can_not_hold_code(tmp_path: Path) -> None:
    for classifier in ("majority", "tfidf"):
        fitted(classifier, tmp_path).save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["baseline.npz", "terms.json"]
    arrays = np.load(tmp_path / "baseline.npz", allow_pickle=False)
    assert {arrays[name].dtype for name in arrays.files} == {np.dtype(float)}


def test_texts_with_half_a_surrogate_pair_are_kept(tmp_path: Path) -> None:
    engine = fitted("tfidf", tmp_path, LabelledTexts(["odd \ud83d kettle", "good lid"], [0, 2]))
    engine.save(tmp_path)
    other = new_baseline("tfidf")
    other.load(tmp_path, LABELS)
    np.testing.assert_array_equal(predict(other, ["odd \ud83d"]), predict(engine, ["odd \ud83d"]))


def test_tfidf_refuses_train_rows_of_a_single_class(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="single class"):
        fitted("tfidf", tmp_path, LabelledTexts(["good", "lovely"], [2, 2]))


def test_majority_gives_the_share_of_each_label(tmp_path: Path) -> None:
    probabilities = predict(fitted("majority", tmp_path, TAGGED, TOPICS), ["cheap kettle", "anything"])
    np.testing.assert_allclose(probabilities, [[3 / 5, 2 / 5, 0]] * 2)


def test_tfidf_gives_each_label_its_own_probability(tmp_path: Path) -> None:
    engine = fitted("tfidf", tmp_path, TAGGED, TOPICS)
    engine.save(tmp_path)
    loaded = new_baseline("tfidf")
    loaded.load(tmp_path, TOPICS)
    for either in (engine, loaded):
        both, kettle, cheap = predict(either, ["cheap kettle", "a kettle", "cheap"])
        assert kettle[0] > cheap[0]
        assert cheap[1] > kettle[1]
        assert both[:2].sum() > 1
        assert (both[2], kettle[2], cheap[2]) == (0, 0, 0)


def test_a_label_that_every_row_has_is_certain(tmp_path: Path) -> None:
    train = LabelledTexts(["cheap", "dear"], [(0, 1), (0,)])
    assert predict(fitted("tfidf", tmp_path, train, TOPICS), ["cheap"])[0, 0] == 1


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValidationError, match="alpha"):
        BaselineOptions.model_validate({"classifier": "tfidf", "alpha": 1})


# Probabilities as targets


def soft(train: LabelledTexts, probabilities: list[list[float]]) -> LabelledTexts:
    return LabelledTexts(train.texts, train.labels, np.array(probabilities))


def test_majority_gives_the_mean_of_soft_labels(tmp_path: Path) -> None:
    train = LabelledTexts(["a", "b"], [0, 2], np.array([[0.7, 0.0, 0.3, 0.0], [0.1, 0.2, 0.6, 0.1]]))
    np.testing.assert_allclose(predict(fitted("majority", tmp_path, train), ["c"]), [[0.4, 0.1, 0.45, 0.05]])


def test_tfidf_on_certain_soft_labels_is_tfidf_on_labels(tmp_path: Path) -> None:
    certain = soft(TRAIN, np.eye(4)[np.array(TRAIN.labels, dtype=int)].tolist())
    texts = ["awful lid", "lovely kettle", "nothing"]
    np.testing.assert_allclose(
        predict(fitted("tfidf", tmp_path, certain), texts), predict(fitted("tfidf", tmp_path, TRAIN), texts), atol=1e-4
    )


def test_tfidf_fits_the_probabilities(tmp_path: Path) -> None:
    """Among equal texts a weakly penalised regression gives back the mean of their targets; labels of one class suffice."""
    train = LabelledTexts(["kettle"] * 40 + ["lid"] * 40, [0] * 80, np.array([[0.6, 0.4, 0, 0]] * 40 + [[0.9, 0.1, 0, 0]] * 40))
    engine = Baseline(BaselineOptions.model_validate({"classifier": "tfidf", "c": 1e4}), None)
    engine.fit(TrainingJob(train, NOTHING, LABELS, SCORER, 0, tmp_path, lambda done, total, note: None))
    np.testing.assert_allclose(predict(engine, ["kettle", "lid"]), [[0.6, 0.4, 0, 0], [0.9, 0.1, 0, 0]], atol=0.01)
