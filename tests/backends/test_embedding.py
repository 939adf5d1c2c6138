"""Frozen embeddings: the encoder never changes, the head is scikit-learn's, and what is kept is the head alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_toy import LABELS, NOTHING, STARS, TOPICS, rows, tagged, validation_scorer

from backends._embedding_cache import PART
from backends._linear_head import EXACT, fit_head
from backends._sentence_encoder import SentenceEncoder
from backends.embedding import Embedding, EmbeddingOptions
from harness.core.arrays import FloatArray
from harness.core.cache_folder import cache_dir
from harness.core.engine import LabelledTexts, TrainingJob
from harness.core.errors import DataError, RunError, UserError
from harness.core.record import CACHED_SECONDS
from harness.core.types import LabelSpace
from harness.specs.backend_specs import load_backend
from harness.specs.catalog import builtin_folders
from harness.specs.yamlspec import validate_options

pytestmark = pytest.mark.slow

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
    oracle = LogisticRegression(C=100.0, max_iter=10_000, tol=1e-8).fit(reference(bert, TRAIN, prefix), TRAIN.labels)
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


@pytest.mark.parametrize("options", [{}, {"c": 1.0}])
def test_rows_of_one_label_are_refused(options: dict[str, Any], bert: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="single class"):
        fit(new_engine(bert, **options), tmp_path, LabelledTexts(["good"] * 3, [1] * 3))


@pytest.mark.parametrize("options", [{"head": "knn", "c": 1.0}, {"neighbours": 5}])
def test_an_option_of_the_other_head_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="knn"):
        EmbeddingOptions.model_validate(options)


def test_recorded_options_are_valid_options() -> None:
    for options in ({}, {"head": "knn", "neighbours": 5}):
        recorded = EmbeddingOptions.model_validate(options).model_dump(mode="json")
        assert EmbeddingOptions.model_validate(recorded).model_dump(mode="json") == recorded


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


def cached_files() -> list[Path]:
    return sorted((cache_dir() / PART).glob("*"))


def test_a_cached_text_is_not_read_again_and_counts_as_if(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = new_engine(bert), new_engine(bert)
    reported = fit(first, tmp_path)
    assert reported["embedded_from_cache"] == 0
    assert CACHED_SECONDS not in reported
    (file,) = cached_files()
    with monkeypatch.context() as patch:
        patch.setattr(SentenceEncoder, "_launch", None)  # not called
        again = fit(second, tmp_path)
    assert again["embedded_from_cache"] == len(set(TRAIN.texts))
    assert again[CACHED_SECONDS] > 0
    assert [again[name] for name in ("c", "c_from", "c_folds", "c_log_loss")] == [
        reported[name] for name in ("c", "c_from", "c_folds", "c_log_loss")
    ]
    np.testing.assert_array_equal(predict(second, UNSEEN), predict(first, UNSEEN))
    assert cached_files() == [file]  # the texts that were predicted are not kept


def test_only_new_texts_are_read(bert: Path, tmp_path: Path) -> None:
    fit(new_engine(bert), tmp_path)
    more = rows(80, 0)
    engine, alone = new_engine(bert, c=1.0), new_engine(bert, c=1.0)
    report = fit(engine, tmp_path, more)
    assert report["embedded_from_cache"] == len(set(more.texts) & set(TRAIN.texts)) > 0
    assert len(cached_files()) == 2
    for file in cached_files():
        file.unlink()
    fit(alone, tmp_path, more)
    np.testing.assert_allclose(predict(engine, UNSEEN), predict(alone, UNSEEN), atol=1e-5)  # texts were batched otherwise


def test_another_setting_has_its_own_embeddings(bert: Path, tmp_path: Path) -> None:
    fit(new_engine(bert), tmp_path)
    for other in ({"prefix": "kettle "}, {"max_length": 8}, {"predict": {"dtype": "bfloat16"}}):
        assert fit(new_engine(bert, **other), tmp_path)["embedded_from_cache"] == 0
    assert fit(new_engine(bert, head="knn"), tmp_path)["embedded_from_cache"] > 0


def test_another_checkpoint_has_its_own_embeddings(bert: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    fit(new_engine(bert), tmp_path)
    copy = shutil.copytree(bert, tmp_path / "copy")
    assert fit(new_engine(copy), tmp_path)["embedded_from_cache"] > 0  # wherever it lies
    weights = load_file(copy / "model.safetensors")
    name = next(iter(sorted(weights)))
    save_file({**weights, name: weights[name] + 1}, copy / "model.safetensors", metadata={"format": "pt"})
    assert fit(new_engine(copy), tmp_path)["embedded_from_cache"] == 0


@pytest.mark.parametrize("damage", ["cut", "bit", "other", "folder"])
def test_a_damaged_file_is_computed_and_written_again(damage: str, bert: Path, tmp_path: Path) -> None:
    fit(new_engine(bert), tmp_path)
    (file,) = cached_files()
    whole = file.read_bytes()
    if damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        flipped = bytearray(whole)
        flipped[-5] ^= 1
        file.write_bytes({"cut": whole[:-9], "bit": bytes(flipped), "other": b"x" * 99}[damage])
    assert fit(new_engine(bert), tmp_path)["embedded_from_cache"] == 0
    if damage != "folder":
        assert len(cached_files()) == 1
        assert fit(new_engine(bert), tmp_path)["embedded_from_cache"] > 0


def test_embeddings_that_are_no_numbers_are_not_kept(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        SentenceEncoder, "_launch", lambda engine, batch: lambda: np.full((len(batch["input_ids"]), 32), np.nan)
    )
    with pytest.raises(RunError, match="no numbers"):
        fit(new_engine(bert), tmp_path)
    assert cached_files() == []


@pytest.mark.parametrize("file", sorted(builtin_folders()["backends"].glob("embed-*.yaml")), ids=lambda file: file.stem)
def test_the_named_backends_have_options_that_the_engine_knows(file: Path) -> None:
    backend = load_backend(file)
    assert backend.engine == "embedding"
    validate_options(backend.options, Embedding.Options, backend.name)


def test_the_head_depends_on_the_last_digits_of_the_embeddings_in_its_last_digits_only() -> None:
    """Embeddings of a narrow cone and a weak penalty: with the solver's default tolerance it is three times as much."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    vectors = 1 + 0.1 * (rng.normal(0, 1, (300, 300)) + np.eye(300)[labels])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    moved = vectors + rng.normal(0, 1e-7, vectors.shape)
    one, other = (fit_head(array, labels.tolist(), STARS, 300.0, 0, EXACT).probabilities(vectors) for array in (vectors, moved))
    np.testing.assert_allclose(one, other, atol=3e-5)


def test_no_more_tokens_than_positions(bert: Path, tmp_path: Path) -> None:
    """A RoBERTa's positions begin after that of the padding: it has 30 for texts, of 32. Its tokenizer knows no limit."""
    from transformers import AutoTokenizer, RobertaConfig, RobertaModel

    tokenizer = AutoTokenizer.from_pretrained(bert)
    tokenizer.model_max_length = 10**30
    tokenizer.save_pretrained(tmp_path / "roberta")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 32, "pad_token_id": 1}
    RobertaModel(RobertaConfig(**shape, **sizes)).save_pretrained(tmp_path / "roberta")
    engine = new_engine(tmp_path / "roberta")
    fit(engine, tmp_path)
    (encoded,) = engine.encode(["the kettle " * 30])
    assert (encoded.tokens, encoded.cut) == (30, 32)
    assert np.isfinite(engine.predict([encoded])).all()


@pytest.mark.parametrize("head", ["logistic", "knn"])
def test_a_text_without_an_embedding_has_no_probabilities(
    head: str, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine(bert, head=head)
    fit(engine, tmp_path)
    before = predict(engine, UNSEEN)
    launch = SentenceEncoder._launch

    def damaged(self: SentenceEncoder, batch: Any) -> Any:
        found = launch(self, batch)().copy()
        found[1] = np.nan
        return lambda: found

    monkeypatch.setattr(SentenceEncoder, "_launch", damaged)
    after = predict(engine, UNSEEN)
    assert np.isnan(after[1]).all()
    np.testing.assert_array_equal(np.delete(after, 1, axis=0), np.delete(before, 1, axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"c": 100.0}, {}])
def test_soft_labels_are_weighted_copies_of_the_rows(options: dict[str, Any], bert: Path, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    soft = np.random.default_rng(0).dirichlet(np.ones(2), size=len(TRAIN.texts))
    engine = new_engine(bert, **options)
    report = fit(engine, tmp_path, LabelledTexts(TRAIN.texts, TRAIN.labels, soft))
    twice = np.repeat(reference(bert, TRAIN), 2, axis=0)
    oracle = LogisticRegression(C=report["c"], max_iter=10_000, tol=1e-8)
    oracle.fit(twice, np.tile([0, 1], len(soft)), sample_weight=soft.ravel())
    np.testing.assert_allclose(predict(engine, UNSEEN), oracle.predict_proba(reference(bert, UNSEEN)), atol=1e-4)


def test_neighbours_take_no_soft_labels() -> None:
    assert "vote" in Embedding.soft_labels_problem(EmbeddingOptions(head="knn"))
    assert Embedding.soft_labels_problem(EmbeddingOptions()) == ""
