"""The encoder engine on the architectures of the encoders that bench names: tiny random checkpoints, the true classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_toy import CONTRADICTING, LABELS, NOTHING, TRAIN, VALIDATION, fit, new_engine, predict, validation_scorer
from tokenizer_families import family

from backends._loading import load_model
from backends.encoder import Encoder
from harness.core.engine import LabelledTexts
from harness.core.errors import BenchError, UserError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),  # DeBERTa's module, when it is imported
]

SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
SHAPE |= {"max_position_embeddings": 64, "initializer_range": 0.1}
MODERN = {**SHAPE, "local_attention": 8}  # fewer tokens than the texts have
DEBERTA = {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"], "share_att_key": True}
DEBERTA |= {"norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0}
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "modernbert": ("ModernBert", {**MODERN, "reference_compile": True}, "roberta"),  # as in its config.json
    "mmbert": ("ModernBert", {**MODERN, "classifier_pooling": "mean"}, "gemma"),
    "eurobert": ("EuroBert", SHAPE, "llama3"),
    "gte": ("Gte", SHAPE, "xlm-roberta"),
    "mdeberta": ("DebertaV2", {**SHAPE, **DEBERTA}, "deberta-v3"),
}
"""Class, shape and the family of its tokenizer."""
TOKENS = ("pad", "bos", "eos", "cls", "sep")


def write(folder: Path, name: str) -> Path:
    """A masked language model, as the checkpoints on the hub are."""
    import torch
    import transformers

    architecture, shape, tokenizer_family = FAMILIES[name]
    tokenizer = family(tokenizer_family)
    if name == "mmbert":  # unlike Gemma's, its tokenizer adds both
        from tokenizers.processors import TemplateProcessing

        both = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<bos>", "<eos>")]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A <eos>", special_tokens=both)
    known = {f"{token}_token_id": getattr(tokenizer, f"{token}_token_id") for token in TOKENS}
    given = {token: number for token, number in known.items() if number is not None}
    config = getattr(transformers, f"{architecture}Config")(vocab_size=len(tokenizer), **given, **shape)
    torch.manual_seed(0)
    transformers.AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoints(built_once: Callable[..., Path]) -> dict[str, Path]:
    root = built_once("encoder-families", lambda root: [write(root / name, name) for name in FAMILIES])
    return {name: root / name for name in FAMILIES}


@pytest.fixture(scope="module", params=list(FAMILIES))
def trained(
    request: pytest.FixtureRequest, checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Encoder, Path]:
    """Its checkpoint, the engine after training, and the model that it saved. Nothing is compiled on the way."""
    import torch

    checkpoint = checkpoints[request.param]
    engine = new_engine(checkpoint, {"max_length": 512}, epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", None)
        fit(engine, tmp_path_factory.mktemp("scratch"))
        predict(engine, VALIDATION)
    saved = tmp_path_factory.mktemp("saved")
    engine.save(saved)
    return checkpoint, engine, saved


def test_saved_and_loaded_it_predicts_the_same(trained: tuple[Path, Encoder, Path]) -> None:
    checkpoint, engine, saved = trained
    other = new_engine(checkpoint)
    other.load(saved, LABELS)
    np.testing.assert_array_equal(predict(other, VALIDATION), predict(engine, VALIDATION))
    assert np.ptp(predict(engine, VALIDATION), axis=0).min() > 1e-3


def test_padding_changes_nothing(trained: tuple[Path, Encoder, Path]) -> None:
    engine = trained[1]
    texts = ["good", "the lid is very very poor and the kettle is awful and it is bad", "it is great", ""]
    one_by_one = np.concatenate([predict(engine, [text]) for text in texts])
    np.testing.assert_allclose(predict(engine, texts), one_by_one, atol=1e-5)


def test_no_more_tokens_than_positions(trained: tuple[Path, Encoder, Path]) -> None:
    engine = trained[1]
    (text,) = engine.encode(["the kettle " * 200])
    assert text.tokens == 64
    assert text.cut > 0
    assert np.isfinite(engine.predict([text])).all()


def test_without_a_gpu_attention_is_torchs_own(trained: tuple[Path, Encoder, Path]) -> None:
    kind = type(trained[1]._model).__name__
    expected = "eager" if kind.startswith("Deberta") else "sdpa"  # its attention depends on pairs of positions
    assert trained[1]._model.config._attn_implementation == expected


def test_adapters_find_its_layers(trained: tuple[Path, Encoder, Path], tmp_path: Path) -> None:
    engine = new_engine(trained[0], epochs=1, lora={"rank": 2})
    report = fit(engine, tmp_path, train=LabelledTexts(TRAIN.texts[:16], TRAIN.labels[:16]), validation=NOTHING)
    assert 0 < report["trainable_parameters"] < (engine.parameters or 0) / 2
    assert np.isfinite(predict(engine, VALIDATION)).all()


def test_onnx_gives_the_same(trained: tuple[Path, Encoder, Path], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    checkpoint, engine, saved = trained
    quick = new_engine(checkpoint, {"predict": {"runtime": "onnx"}})
    quick.load(saved, LABELS)
    quick.optimize(tmp_path, VALIDATION, validation_scorer(VALIDATION))
    np.testing.assert_allclose(predict(quick, VALIDATION), predict(engine, VALIDATION), atol=1e-4)


def renamed(source: Path, target: Path, rename: Callable[[str], str]) -> Path:
    """A copy whose weights have other names."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target)
    weights = load_file(target / "model.safetensors")
    save_file({rename(name): weight for name, weight in weights.items()}, target / "model.safetensors", {"format": "pt"})
    return target


def weights_after_training(checkpoint: Path, folder: Path) -> Any:
    from safetensors.torch import load_file

    engine = new_engine(checkpoint, epochs=3, patience=3)
    fit(engine, folder / "scratch", train=CONTRADICTING, validation=CONTRADICTING)  # the best checkpoint is not the last
    engine.save(folder / "saved")
    return load_file(folder / "saved" / "model.safetensors")


@pytest.mark.parametrize("name", ["modernbert", "mmbert"])
def test_an_embedding_that_is_stored_as_the_last_layer_is_found(
    name: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """The two are one weight. Conversions of Ettin and mmBERT to safetensors have kept the name of the last layer."""
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification

    stored = {"model.embeddings.tok_embeddings.weight": "decoder.weight"}
    other = renamed(checkpoints[name], tmp_path / "other", lambda weight: stored.get(weight, weight))
    models = [load_model(AutoModelForSequenceClassification, folder, new_head=True) for folder in (checkpoints[name], other)]
    plain, found = (dict(loaded.model.base_model.named_parameters()) for loaded in models)
    for weight in plain:
        np.testing.assert_array_equal(found[weight].detach().numpy(), plain[weight].detach().numpy(), err_msg=weight)
    assert models[1].new == models[0].new
    models[1].model.save_pretrained(tmp_path / "saved")
    assert {f"model.{weight}" for weight in plain} < load_file(tmp_path / "saved" / "model.safetensors").keys()


def test_setfit_refuses_such_an_embedding(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """sentence-transformers reads the encoder alone, and would make a random one."""
    pytest.importorskip("setfit")
    from backends.setfit import SetFit, SetFitOptions

    stored = {"model.embeddings.tok_embeddings.weight": "decoder.weight"}
    other = renamed(checkpoints["modernbert"], tmp_path / "other", lambda weight: stored.get(weight, weight))
    engine = SetFit(SetFitOptions.model_validate({"device": "cpu"}), other)
    with pytest.raises(BenchError, match="tok_embeddings"):
        engine._read(other)


def test_an_embedding_that_is_nowhere_is_an_error(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    stored = {"model.embeddings.tok_embeddings.weight": "elsewhere.weight"}
    other = renamed(checkpoints["modernbert"], tmp_path / "other", lambda weight: stored.get(weight, weight))
    with pytest.raises(BenchError, match="tok_embeddings"):
        fit(new_engine(other), tmp_path / "scratch")


def test_gte_with_the_names_of_its_own_code(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """The checkpoint on the hub has the weights of the code that came with it, under the prefix `new`."""
    other = renamed(checkpoints["gte"], tmp_path / "other", lambda weight: weight.replace("gte.", "new.", 1))
    plain = weights_after_training(checkpoints["gte"], tmp_path / "plain")
    found = weights_after_training(other, tmp_path / "found")
    assert plain.keys() == found.keys()
    for weight in plain:
        np.testing.assert_array_equal(found[weight].numpy(), plain[weight].numpy(), err_msg=weight)


def test_flash_attention_is_never_code_of_the_hub(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package transformers would fetch a kernel from a hub repository and run it."""
    import torch

    import backends._torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **kwargs: True)
    monkeypatch.setattr(backends._torch, "find_spec", lambda name: None)
    options = {"device": "cuda", "predict": {"attention": "flash_attention_2"}}
    with pytest.raises(UserError, match="flash-attn"):
        new_engine(bert, options)
