"""Training with the tokens that occur is training with all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_toy import (
    CONTRADICTING,
    EPOCH_STEPS,
    NOTHING,
    TRAIN,
    VALIDATION,
    Interrupted,
    difference,
    fit,
    interrupt_at,
    new_engine,
    predict,
)

from backends import _trainer
from backends._trainer import compact_vocabulary
from backends.encoder import Encoder
from harness.core.engine import LabelledTexts

pytestmark = pytest.mark.slow

UNUSED = [f"unused{n}" for n in range(40)]


def with_more_words(folder: Path, pad: int) -> Path:
    """A tiny encoder, with words that no row has before, between and after those that occur."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizerFast, RobertaConfig, RobertaModel

    words = ["good", "great", "lovely", "bad", "awful", "poor", "the", "kettle", "lid", "is", "very", "and", "it"]
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if pad == 1:  # as RoBERTa has it
        specials = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
    mixed = [word for pair in zip(UNUSED, [*words, *UNUSED[-27:]], strict=True) for word in pair]
    vocabulary = {token: n for n, token in enumerate(dict.fromkeys([*specials, *mixed]))}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    )
    BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=32).save_pretrained(folder)
    shape: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 40,
        "initializer_range": 0.1,
        "pad_token_id": pad,
    }
    torch.manual_seed(0)
    model = BertModel(BertConfig(**shape)) if pad == 0 else RobertaModel(RobertaConfig(**shape, type_vocab_size=1))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vocabularies")
    return {"bert": with_more_words(root / "bert", pad=0), "roberta": with_more_words(root / "roberta", pad=1)}


def on_the_full_table(monkeypatch: pytest.MonkeyPatch, train: Callable[[], dict[str, Any]]) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_trainer, "compact_vocabulary", lambda *args: None)
        assert train()["compacted_vocabulary"] is None


def table_of(engine: Encoder) -> Any:
    return engine._model.get_input_embeddings().weight.detach()


OPTIONS: dict[str, dict[str, Any]] = {
    "decay": {"weight_decay": 0.3},
    "no decay": {"weight_decay": 0.0},
    "sam": {"weight_decay": 0.3, "optimizer": "sam"},
    "asam": {"weight_decay": 0.3, "optimizer": "asam", "accumulation": 2},
}


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("options", OPTIONS)
def test_it_ends_with_the_weights_of_a_training_on_the_full_table(
    models: dict[str, Path], family: str, options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = {"epochs": 2, "lr": 1e-3, **OPTIONS[options]}
    small, full = (new_engine(models[family], **train) for _ in range(2))
    report = fit(small, tmp_path / "small")
    assert report["compacted_vocabulary"] == [18, 58]
    on_the_full_table(monkeypatch, lambda: fit(full, tmp_path / "full"))
    assert table_of(small).shape == table_of(full).shape == (58, 32)
    assert small._model.get_input_embeddings().num_embeddings == 58
    unused = [small._tokenizer.convert_tokens_to_ids(word) for word in UNUSED]
    torch.testing.assert_close(table_of(small)[unused], table_of(full)[unused], atol=1e-8, rtol=3e-6)
    assert difference(small, full) < 1e-6
    np.testing.assert_allclose(predict(small, VALIDATION), predict(full, VALIDATION), atol=1e-6)
    unknown = ["unused3 good", "an unused39 lid"]
    np.testing.assert_allclose(predict(small, unknown), predict(full, unknown), atol=1e-6)


def test_the_decay_is_that_of_the_chosen_step(models: dict[str, Path], tmp_path: Path) -> None:
    engine = new_engine(models["bert"], epochs=10, patience=2, weight_decay=0.5)
    before = table_of_checkpoint(models["bert"])
    report = fit(engine, tmp_path, validation=CONTRADICTING)
    assert (report["best"]["step"], report["steps"]) == (EPOCH_STEPS, 3 * EPOCH_STEPS)
    unused = [engine._tokenizer.convert_tokens_to_ids(word) for word in UNUSED]
    # Linear warm-up over the first tenth of the 80 steps: lr 1e-2 * t / 8, for t = 0 .. 7.
    decay = np.prod([1 - 1e-2 * t / 8 * 0.5 for t in range(8)])
    torch.testing.assert_close(table_of(engine)[unused], before[unused] * float(decay), atol=1e-8, rtol=1e-6)


def table_of_checkpoint(folder: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]


def test_a_killed_training_goes_on_with_the_same_tokens(models: dict[str, Path], tmp_path: Path) -> None:
    whole, cut = (new_engine(models["roberta"], epochs=3, weight_decay=0.3) for _ in range(2))
    expected = fit(whole, tmp_path / "whole")
    with pytest.raises(Interrupted):
        fit(new_engine(models["roberta"], epochs=3, weight_decay=0.3), tmp_path / "cut", on_progress=interrupt_at(12))
    assert fit(cut, tmp_path / "cut") == expected
    assert difference(whole, cut) == 0
    again = new_engine(models["roberta"], epochs=3, weight_decay=0.3)
    assert fit(again, tmp_path / "cut") == expected  # killed after the end, before the model was kept
    assert difference(whole, again) == 0


def test_tokens_of_validation_rows_are_kept(models: dict[str, Path], tmp_path: Path) -> None:
    engine = new_engine(models["bert"], epochs=1)
    validation = LabelledTexts(["unused7 unused9", "bad"], [0, 1])
    assert fit(engine, tmp_path, validation=validation)["compacted_vocabulary"] == [20, 58]


def loaded(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    return AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def test_where_it_does_not_apply(models: dict[str, Path], tmp_path: Path) -> None:
    model, tokenizer = loaded(models["bert"])
    assert compact_vocabulary(model, tokenizer, [range(58)]) is None  # nothing to gain
    model.config.is_encoder_decoder = True  # its embedding is used twice
    assert compact_vocabulary(model, tokenizer, [[7]]) is None
    model.config.is_encoder_decoder = False
    model.config.pad_token_id = 50_000
    assert compact_vocabulary(model, tokenizer, [[7]]) is None
    model.config.pad_token_id = 0
    model.classifier.table = model.get_input_embeddings()  # tied
    assert compact_vocabulary(model, tokenizer, [[7]]) is None
    del model.classifier.table
    assert compact_vocabulary(model, tokenizer, [[7]]) is not None
    report = fit(new_engine(models["bert"], epochs=1, lora={}), tmp_path, validation=NOTHING)
    assert report["compacted_vocabulary"] is None


def test_ids_of_the_small_vocabulary(models: dict[str, Path]) -> None:
    model, tokenizer = loaded(models["roberta"])
    before = model.get_input_embeddings().weight.detach().clone()
    vocabulary = compact_vocabulary(model, tokenizer, [[0, 30, 9, 2], [0, 57, 2]])
    assert vocabulary is not None
    assert vocabulary.kept.tolist() == [0, 1, 2, 3, 4, 9, 30, 57]
    assert vocabulary.compact([0, 57, 9, 9, 2, 1]) == [0, 7, 5, 5, 2, 1]
    rows = model.get_input_embeddings()(torch.tensor(vocabulary.compact([57, 9, 30])))
    torch.testing.assert_close(rows, before[[57, 9, 30]])
    vocabulary.restore()
    assert torch.equal(model.get_input_embeddings().weight, before)


def test_training_rows_are_what_they_were(models: dict[str, Path], tmp_path: Path) -> None:
    engine = new_engine(models["bert"], epochs=1)
    fit(engine, tmp_path)
    ids = engine.encode(TRAIN.texts)[0].content[0]["input_ids"]
    assert ids == engine._tokenizer(TRAIN.texts[0])["input_ids"]
