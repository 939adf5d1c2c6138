"""Frozen embeddings: the encoder never changes, the head is scikit-learn's, and what is kept is the head alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_toy import LABELS, NOTHING, STARS, TOPICS, rows, tagged, validation_scorer

from backends._choose_c import DEFAULT, GRID, choose_c
from backends.embedding import Embedding, EmbeddingOptions
from harness.core.arrays import FloatArray
from harness.core.engine import LabelledTexts, TrainingJob
from harness.core.errors import DataError, UserError
from harness.core.types import LabelSpace
from harness.specs.backend_specs import load_backend
from harness.specs.catalog import builtin_folders
from harness.specs.yamlspec import validate_options

TRAIN, UNSEEN = rows(40, 0), rows(60, 2)


def new_engine(model: Path, **options: Any) -> Embedding:
    return Embedding(EmbeddingOptions.model_validate({"device": "cpu", **options}), model)


def fit(
    engine: Embedding, scratch: Path, train: LabelledTexts = TRAIN, labels: LabelSpace = LABELS, seed: int = 1
) -> dict[str, Any]:
    job = TrainingJob(train, NOTHING, labels, validation_scorer(NOTHING), seed, scratch, lambda done, total, note: None)
    return engine.fit(job)


def predict(engine: Embedding, texts: LabelledTexts | list[str]) -> FloatArray:
    return engine.predict(engine.encode(texts.texts if isinstance(texts, LabelledTexts) else texts))


def reference(model: Path, texts: LabelledTexts, prefix: str = "") -> FloatArray:
    """The embeddings of sentence-transformers itself."""
    from sentence_transformers import SentenceTransformer

    body = SentenceTransformer(str(model), device="cpu", local_files_only=True)
    found = body.encode([prefix + text for text in texts.texts], normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(found, dtype=np.float64)


@pytest.mark.parametrize("prefix", ["", "kettle "])
def test_logistic_regression_is_scikit_learns(prefix: str, bert: Path, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    engine = new_engine(bert, c=100.0, prefix=prefix)
    report = fit(engine, tmp_path)
    assert (report["c"], report["c_from"], report["train_rows"]) == (100.0, "option", 40)
    oracle = LogisticRegression(C=100.0, max_iter=1000).fit(reference(bert, TRAIN, prefix), TRAIN.labels)
    expected = oracle.predict_proba(reference(bert, UNSEEN, prefix))
    np.testing.assert_allclose(predict(engine, UNSEEN), expected, atol=1e-4)


def test_neighbours_are_scikit_learns(bert: Path, tmp_path: Path) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    engine = new_engine(bert, head="knn", neighbours=5)
    fit(engine, tmp_path)
    oracle = KNeighborsClassifier(5, metric="cosine", weights=lambda distances: 1 - distances)
    oracle.fit(reference(bert, TRAIN), TRAIN.labels)
    np.testing.assert_allclose(predict(engine, UNSEEN), oracle.predict_proba(reference(bert, UNSEEN)), atol=1e-4)


@pytest.mark.parametrize("head", ["logistic", "knn"])
@pytest.mark.parametrize(("train", "labels"), [(TRAIN, LABELS), (TRAIN, STARS), (tagged(40, 0), TOPICS)])
def test_save_and_load(head: str, train: LabelledTexts, labels: LabelSpace, bert: Path, tmp_path: Path) -> None:
    """A label that no row has (the third of these) gets probability 0."""
    engine, other = new_engine(bert, head=head), new_engine(bert, head=head)
    fit(engine, tmp_path / "scratch", train, labels)
    before = predict(engine, UNSEEN)
    assert before.shape == (60, len(labels))
    assert (before[:, 2:] == 0).all()
    (tmp_path / "model").mkdir()
    engine.save(tmp_path / "model")
    assert sum(file.stat().st_size for file in (tmp_path / "model").iterdir()) < 20_000  # the head, and no encoder
    other.load(tmp_path / "model", labels)
    np.testing.assert_array_equal(predict(other, UNSEEN), before)
    assert other.parameters == engine.parameters


def test_more_neighbours_than_rows(bert: Path, tmp_path: Path) -> None:
    engine = new_engine(bert, head="knn", neighbours=9)
    fit(engine, tmp_path, LabelledTexts(["good", "bad"], [1, 0]))
    np.testing.assert_allclose(predict(engine, UNSEEN).sum(1), 1)


def noisy(per_label: int, labels: int = 3, seed: int = 0) -> tuple[FloatArray, list[int]]:
    draw = np.random.default_rng(seed)
    truth = [label for label in range(labels) for _ in range(per_label)]
    found = draw.normal(size=(len(truth), 12)) + 1.5 * np.eye(12)[truth]
    return found / np.linalg.norm(found, axis=1, keepdims=True), truth


@pytest.mark.parametrize(("per_label", "folds"), [(20, 5), (4, 4), (2, 2)])
def test_the_penalty_is_that_of_scikit_learns_search(per_label: int, folds: int) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    embeddings, truth = noisy(per_label)
    search = GridSearchCV(
        LogisticRegression(max_iter=1000),
        {"C": list(GRID)},
        scoring="neg_log_loss",
        cv=StratifiedKFold(folds, shuffle=True, random_state=3),
    ).fit(embeddings, truth)
    found = choose_c(embeddings, truth, STARS, 3)
    assert (found.c, found.c_from, found.folds) == (search.best_params_["C"], "cross-validation", folds)


def test_a_rare_label_has_no_part_in_the_choice() -> None:
    embeddings, truth = noisy(20, 2)
    rare = np.concatenate([embeddings, np.eye(12)[-1:]]), [*truth, 2]
    assert choose_c(*rare, STARS, 0) == choose_c(embeddings, truth, STARS, 0)


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2], [0] * 9 + [1]])
def test_too_few_rows_for_folds_take_the_default(labels: list[int]) -> None:
    found = choose_c(np.eye(12)[: len(labels)], labels, STARS, 0)
    assert (found.c, found.c_from, found.folds) == (DEFAULT, "default", None)


@pytest.mark.parametrize("options", [{}, {"c": 1.0}])
def test_rows_of_one_label_are_refused(options: dict[str, Any], bert: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="single class"):
        fit(new_engine(bert, **options), tmp_path, LabelledTexts(["good"] * 3, [1] * 3))


def test_an_option_of_the_other_head_is_refused() -> None:
    with pytest.raises(ValueError, match="knn"):
        EmbeddingOptions.model_validate({"head": "knn", "c": 1.0})


def test_a_training_can_not_go_on_from_a_head(bert: Path, tmp_path: Path) -> None:
    engine = new_engine(bert)
    fit(engine, tmp_path / "scratch")
    engine.save(tmp_path)
    with pytest.raises(UserError, match="never trained"):
        fit(new_engine(tmp_path), tmp_path / "scratch")


def test_longer_texts_are_cut_and_the_prefix_counts(bert: Path, tmp_path: Path) -> None:
    engine = new_engine(bert, max_length=8, prefix="kettle ")
    fit(engine, tmp_path)
    encoded = engine.encode(["it is", "it is very very very very good"])
    assert [(row.tokens, row.cut) for row in encoded] == [(5, 0), (8, 2)]


@pytest.mark.parametrize("file", sorted(builtin_folders()["backends"].glob("embed-*.yaml")), ids=lambda file: file.stem)
def test_the_named_backends_have_options_that_the_engine_knows(file: Path) -> None:
    backend = load_backend(file)
    assert backend.engine == "embedding"
    validate_options(backend.options, Embedding.Options, backend.name)
