"""SetFit learns from few rows, as the setfit library's own trainer does, and keeps what it learnt without a pickle."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_toy import LABELS, NOTHING, STARS, TOPICS, rows, validation_scorer

from backends._linear_head import LinearHead, fit_head, load_head
from backends.setfit import MOST_ROWS, SetFit, SetFitOptions, TrainOptions, planned_steps
from harness.core.arrays import FloatArray
from harness.core.engine import LabelledTexts, TrainingJob
from harness.core.errors import DataError, OutOfMemory, RunError, UserError
from harness.core.types import LabelSpace
from harness.specs.backend_specs import load_backend
from harness.specs.catalog import builtin_folders
from harness.specs.yamlspec import validate_options

pytestmark = pytest.mark.slow

TRAIN, UNSEEN = rows(40, 0), rows(60, 2)


def new_engine(model: Path, options: dict[str, Any] | None = None, **train: Any) -> SetFit:
    quick: dict[str, Any] = {"lr": 2e-2, "iterations": 8}
    return SetFit(SetFitOptions.model_validate({"device": "cpu", "train": quick | train, **(options or {})}), model)


def fit(
    engine: SetFit,
    scratch: Path,
    train: LabelledTexts = TRAIN,
    labels: LabelSpace = LABELS,
    seed: int = 1,
    on_progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> dict[str, Any]:
    return engine.fit(TrainingJob(train, NOTHING, labels, validation_scorer(NOTHING), seed, scratch, on_progress))


def predict(engine: SetFit, texts: LabelledTexts | list[str]) -> FloatArray:
    return engine.predict(engine.encode(texts.texts if isinstance(texts, LabelledTexts) else texts))


def embeddings(engine: SetFit, texts: list[str]) -> FloatArray:
    return engine._outputs_of([text.content for text in engine.encode(texts)], engine._launch)


@pytest.fixture(scope="module")
def trained(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SetFit, dict[str, Any]]:
    """An engine and its report. Tests must not change it."""
    engine = new_engine(bert)
    return engine, fit(engine, tmp_path_factory.mktemp("scratch"))


def test_it_learns(bert: Path, trained: tuple[SetFit, dict[str, Any]], tmp_path: Path) -> None:
    engine, report = trained
    probabilities = predict(engine, UNSEEN)
    assert probabilities.shape == (60, 2)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)
    accuracy = (probabilities.argmax(1) == UNSEEN.labels).mean()
    assert accuracy >= 0.9
    assert (report["train_rows"], report["pairs"], report["steps"]) == (40, 640, 40)
    assert 0 < report["train_loss"] < 0.5

    hardly = new_engine(bert, lr=1e-12)
    fit(hardly, tmp_path)
    assert accuracy > (predict(hardly, UNSEEN).argmax(1) == UNSEEN.labels).mean()  # the pairs taught, not the regression alone


@pytest.mark.filterwarnings("ignore:'pin_memory' argument")
def test_it_is_what_the_library_trains(bert: Path, tmp_path: Path) -> None:
    import torch
    from datasets import Dataset

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("the library's trainer takes the GPU, whatever it is told")
    with warnings.catch_warnings():
        import setfit
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression

    engine = new_engine(bert, lr=5e-3, iterations=2, epochs=2, batch_size=10)
    report = fit(engine, tmp_path / "ours", seed=3)
    body = SentenceTransformer(str(bert), device="cpu", local_files_only=True)
    theirs = setfit.SetFitModel(model_body=body, model_head=LogisticRegression(max_iter=1000))
    arguments = setfit.TrainingArguments(
        output_dir=str(tmp_path / "theirs"),
        num_iterations=2,
        num_epochs=2,
        batch_size=10,
        body_learning_rate=5e-3,
        seed=3,
        report_to="none",
        save_strategy="no",
        show_progress_bar=False,
    )
    dataset = Dataset.from_dict({"text": list(TRAIN.texts), "label": list(TRAIN.labels)})
    trainer = setfit.Trainer(model=theirs, args=arguments, train_dataset=dataset)
    trainer.train()
    assert trainer.st_trainer.state.global_step == report["steps"] == 2 * 16
    found = theirs.predict_proba(list(UNSEEN.texts), as_numpy=True, show_progress_bar=False)
    np.testing.assert_allclose(predict(engine, UNSEEN), found, atol=1e-4)


def test_the_same_seed_gives_the_same_model_and_another_another(
    bert: Path, trained: tuple[SetFit, dict[str, Any]], tmp_path: Path
) -> None:
    engine, report = trained
    same, other = new_engine(bert), new_engine(bert)
    assert fit(same, tmp_path / "same") == report
    fit(other, tmp_path / "other", seed=2)
    np.testing.assert_array_equal(predict(same, UNSEEN), predict(engine, UNSEEN))
    assert np.abs(predict(other, UNSEEN) - predict(engine, UNSEEN)).max() > 1e-4


def test_save_and_load(bert: Path, trained: tuple[SetFit, dict[str, Any]], tmp_path: Path) -> None:
    engine, _ = trained
    before = predict(engine, UNSEEN)
    engine.save(tmp_path)
    assert {file.suffix for file in tmp_path.rglob("*") if file.is_file()} <= {".safetensors", ".json", ".txt"}
    other = new_engine(bert)
    other.load(tmp_path, LABELS)
    np.testing.assert_array_equal(predict(other, UNSEEN), before)
    np.testing.assert_array_equal(predict(engine, UNSEEN), before)


def test_a_training_goes_on_from_a_trained_model(bert: Path, trained: tuple[SetFit, dict[str, Any]], tmp_path: Path) -> None:
    engine, _ = trained
    engine.save(tmp_path)
    on = new_engine(tmp_path, lr=1e-12, max_steps=1)
    fit(on, tmp_path / "scratch")
    np.testing.assert_allclose(predict(on, UNSEEN), predict(engine, UNSEEN), atol=1e-4)


def test_what_predicts_in_half_precision_is_saved_whole(bert: Path, tmp_path: Path) -> None:
    import torch

    engine, other = (new_engine(bert, {"predict": {"dtype": "bfloat16"}}, iterations=2) for _ in range(2))
    fit(engine, tmp_path / "scratch")
    before = predict(engine, UNSEEN)
    (tmp_path / "model").mkdir()
    engine.save(tmp_path / "model")
    other.load(tmp_path / "model", LABELS)
    np.testing.assert_array_equal(predict(other, UNSEEN), before)
    whole = new_engine(bert)
    whole.load(tmp_path / "model", LABELS)
    weights = next(whole._model.parameters())
    assert weights.dtype is torch.float32
    assert not torch.equal(weights, weights.bfloat16().float())


def test_a_class_that_train_lacks_has_probability_zero(bert: Path, tmp_path: Path) -> None:
    engine = new_engine(bert)
    two_of_three = LabelledTexts(TRAIN.texts, [2 * int(label) for label in TRAIN.labels if isinstance(label, int)])
    fit(engine, tmp_path / "scratch", two_of_three, STARS)
    (tmp_path / "model").mkdir()
    engine.save(tmp_path / "model")
    loaded = new_engine(bert)
    loaded.load(tmp_path / "model", STARS)
    for either in (engine, loaded):
        probabilities = predict(either, UNSEEN)
        assert (probabilities[:, 1] == 0).all()
        np.testing.assert_allclose(probabilities.sum(1), 1)
        assert (probabilities.argmax(1) / 2 == UNSEEN.labels).mean() >= 0.9


def test_multilabel(bert: Path, tmp_path: Path) -> None:
    """Words make the labels: each text has one of the first two, or both; nothing has the third."""
    draw = random.Random(0)
    labels = [draw.choice([(0,), (1,), (0, 1)]) for _ in range(30)]
    texts = [" ".join(draw.choices(["the", "is", "very"], k=3) + [["kettle", "lid"][k] for k in label]) for label in labels]
    engine = new_engine(bert)
    fit(engine, tmp_path / "scratch", LabelledTexts(texts, labels), TOPICS)
    (tmp_path / "model").mkdir()
    engine.save(tmp_path / "model")
    loaded = new_engine(bert)
    loaded.load(tmp_path / "model", TOPICS)
    both, kettle, lid = predict(loaded, ["the very kettle lid is", "the kettle is very", "very very lid is"])
    assert kettle[0] > 0.5 > kettle[1]
    assert lid[1] > 0.5 > lid[0]
    assert both[:2].sum() > 1
    assert (both[2], kettle[2], lid[2]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("train", "labels", "error", "says"),
    [
        (LabelledTexts(["good"] * 8, [1] * 8), LABELS, DataError, "single class"),
        (NOTHING, LABELS, DataError, "single class"),
        (LabelledTexts(["good"] * (MOST_ROWS + 1), [0, 1] * (MOST_ROWS // 2) + [0]), LABELS, UserError, "few labels"),
        (LabelledTexts(["a", "b"], [(0,), (0, 1)]), TOPICS, DataError, "only one sort of pair"),
        (LabelledTexts(["a", "b"], [(), ()]), TOPICS, DataError, "only one sort of pair"),
    ],
)
def test_rows_that_teach_nothing_are_refused_at_once(
    train: LabelledTexts, labels: LabelSpace, error: type[Exception], says: str, bert: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        fit(new_engine(bert), tmp_path, train, labels)


def test_a_threshold_is_for_multilabel_tasks(bert: Path, tmp_path: Path) -> None:
    engine = new_engine(bert, {"threshold": 0.3})
    assert engine.threshold() == 0.3
    with pytest.raises(UserError, match="multilabel"):
        fit(engine, tmp_path)


def test_the_fewest_rows(bert: Path, tmp_path: Path) -> None:
    engine = new_engine(bert)
    report = fit(engine, tmp_path, LabelledTexts(["good", "bad"], [1, 0]))
    assert report["pairs"] == 32
    assert predict(engine, ["good", "bad"]).argmax(1).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, 40),
        ({"epochs": 3}, 120),
        ({"iterations": 1}, 2),
        ({"batch_size": 64}, 10),
        ({"max_steps": 7}, 7),
        ({"max_steps": 99}, 40),
    ],
)
def test_planned_steps(options: dict[str, int], steps: int) -> None:
    assert planned_steps(TrainOptions.model_validate(options), 16) == steps


def test_max_steps_draws_no_more_pairs_than_it_uses(bert: Path, tmp_path: Path) -> None:
    report = fit(new_engine(bert, iterations=20, max_steps=4), tmp_path)
    assert (report["steps"], report["pairs"]) == (4, 80)  # of 64 pairs; one of each kind for each row makes 80


def test_it_tells_how_far_it_is_and_leaves_nothing_behind(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before, steps = list(warnings.filters), []
    engine = new_engine(bert, iterations=4)
    fit(engine, tmp_path / "scratch", on_progress=lambda done, total, note: steps.append((done, total, note)))
    (tmp_path / "model").mkdir()
    engine.save(tmp_path / "model")
    predict(engine, UNSEEN)
    assert [step[:2] for step in steps] == [(step, 20) for step in range(21)]
    assert steps[-1][2].startswith("loss 0.")
    assert list((tmp_path / "here").iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert warnings.filters == before


def test_a_plain_encoder_gets_mean_pooling(bert: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    engine = new_engine(bert)
    engine._model = engine._read(bert).eval()
    texts = ["good", "the lid is very very poor and it is bad", "it is great"]
    found = embeddings(engine, texts)
    model, tokenizer = AutoModel.from_pretrained(bert).eval(), AutoTokenizer.from_pretrained(bert)
    for text, embedding in zip(texts, found, strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        np.testing.assert_allclose(embedding, states.mean(0).numpy(), atol=1e-5)


def test_a_sentence_encoder_keeps_its_own_pooling(bert: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    first = Pooling(32, pooling_mode="cls")
    SentenceTransformer(modules=[Transformer(str(bert)), first], device="cpu").save_pretrained(
        str(tmp_path), create_model_card=False
    )
    engine, plain = new_engine(tmp_path), new_engine(bert)
    engine._model, plain._model = engine._read(tmp_path).eval(), plain._read(bert).eval()
    texts = ["it is great"]
    assert np.abs(embeddings(engine, texts) - embeddings(plain, texts)).max() > 1e-2


def test_encoded_as_the_library_encodes(trained: tuple[SetFit, dict[str, Any]]) -> None:
    engine, _ = trained
    texts = [*UNSEEN.texts, "", "  good  ", "The Kettle\n"]
    expected = engine._model.encode(texts, show_progress_bar=False)
    np.testing.assert_allclose(embeddings(engine, texts), expected, atol=1e-5)


def test_control_tokens_in_a_text_are_characters(trained: tuple[SetFit, dict[str, Any]], tmp_path: Path) -> None:
    """When it trains, predicts, and was loaded."""
    engine = trained[0]
    engine.save(tmp_path)
    loaded = new_engine(tmp_path)
    loaded.load(tmp_path, LABELS)
    for body in (engine._model, loaded._model, engine._read(tmp_path)):
        special = set(body.tokenizer.all_special_ids) - {body.tokenizer.unk_token_id}
        for ids in body.tokenize(["good [SEP][MASK] kettle", "[PAD]", "[CLS] bad"])["input_ids"].tolist():
            within = ids[1 : ids.index(body.tokenizer.sep_token_id)]
            assert len(within) > 1
            assert not special & set(within)


def test_a_batch_changes_nothing_for_its_rows(trained: tuple[SetFit, dict[str, Any]]) -> None:
    engine, _ = trained
    texts = ["good", "the lid is very very poor and the kettle is awful and it is bad", "it is great", ""]
    one_by_one = np.concatenate([predict(engine, [text]) for text in texts])
    np.testing.assert_allclose(predict(engine, texts), one_by_one, atol=1e-5)


def test_longer_texts_are_cut(bert: Path, trained: tuple[SetFit, dict[str, Any]], tmp_path: Path) -> None:
    engine, _ = trained
    start = " ".join(["the"] * 30)  # with [CLS] and [SEP], the 32 positions of this model
    np.testing.assert_array_equal(predict(engine, [start + " good" * 40]), predict(engine, [start]))
    engine.save(tmp_path)
    short = new_engine(bert, {"max_length": 8})
    short.load(tmp_path, LABELS)
    np.testing.assert_array_equal(
        predict(short, ["it is very very very very good"]), predict(short, ["it is very very very very"])
    )
    encoded = short.encode(["it is", "it is very very very very good"])
    assert [(row.tokens, row.cut) for row in encoded] == [(4, 0), (8, 1)]


def failing(error: Exception) -> Callable[..., Any]:
    def forward(*args: object, **kwargs: object) -> Any:
        raise error

    return forward


def test_out_of_memory_has_one_name(
    bert: Path, trained: tuple[SetFit, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import BertModel

    monkeypatch.setattr(BertModel, "forward", failing(torch.OutOfMemoryError("CUDA out of memory.")))
    with pytest.raises(OutOfMemory):
        predict(trained[0], ["good"])
    with pytest.raises(OutOfMemory):
        fit(new_engine(bert), tmp_path)


def test_a_training_that_diverges_says_so(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="diverged"):
        fit(new_engine(bert, lr=1e38), tmp_path)


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="names the model_type None"):
        fit(new_engine(tmp_path), tmp_path / "scratch")


@pytest.mark.parametrize("classes", [(0, 1), (0, 2), (0, 1, 2)])
def test_the_head_is_scikit_learns(classes: tuple[int, ...], tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(0)
    labels = [int(k) for k in draw.choice(classes, 40)]
    embeddings = draw.normal(size=(40, 5)) + np.array(labels)[:, None]
    head = fit_head(embeddings, labels, STARS, 0.5, 0)
    expected = np.zeros((40, 3))
    expected[:, classes] = LogisticRegression(C=0.5, max_iter=1000).fit(embeddings, labels).predict_proba(embeddings)
    np.testing.assert_allclose(head.probabilities(embeddings), expected, atol=1e-9)
    head.save(tmp_path)
    np.testing.assert_array_equal(load_head(tmp_path, STARS).probabilities(embeddings), head.probabilities(embeddings))


def test_a_label_that_every_row_has_is_certain() -> None:
    head = fit_head(np.eye(3), [(0, 1), (0,), (0,)], TOPICS, 1.0, 0)
    assert isinstance(head, LinearHead)
    assert (head.probabilities(np.eye(3))[:, 0] == 1).all()
    assert (head.probabilities(np.eye(3))[:, 2] == 0).all()


def test_facts_and_sizes(bert: Path) -> None:
    plain = new_engine(bert)
    assert plain.facts() == {"device": "cpu", "dtype": "float32"}
    assert (plain.batch_size(), plain.batch_tokens(), plain.threshold()) == (64, 512, None)
    other = new_engine(bert, {"predict": {"batch_size": 7, "batch_tokens": 99, "dtype": "float16"}})
    assert (other.batch_size(), other.batch_tokens(), other.facts()["dtype"]) == (7, 99, "float16")


@pytest.mark.parametrize("name", ["setfit-minilm", "setfit-e5", "setfit-mpnet"])
def test_the_named_backends_have_options_that_the_engine_knows(name: str) -> None:
    backend = load_backend(builtin_folders()["backends"] / f"{name}.yaml")
    assert backend.engine == "setfit"
    validate_options(backend.options, SetFit.Options, name)
