"""The encoder engine on decoders: tiny random checkpoints of the true classes, with new heads and adapters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_toy import (
    LABELS,
    NOTHING,
    STARS,
    TOPICS,
    TRAIN,
    VALIDATION,
    Interrupted,
    difference,
    fit,
    interrupt_at,
    new_engine,
    predict,
    starred,
    tagged,
    validation_scorer,
)
from tiny_models import FAMILIES, SHAPE, tokenizer_of, write_family, write_mistral

from backends.encoder import Encoder
from harness.core import machine
from harness.core.engine import LabelledTexts
from harness.core.errors import MissingExtra, RunError, UserError

NAMES = ["llama", "qwen2", "qwen3", "gemma2, narrow window", "gemma3, images", "mistral3", "gpt2"]
BASES = ["float32", "bfloat16", "nf4"]
TEXTS = ["good", "the lid is very very poor and the kettle is awful and it is bad", "it is great", ""]
FEW = LabelledTexts(TRAIN.texts[:16], TRAIN.labels[:16])


@pytest.fixture(scope="module")
def decoders(built_once: Callable[..., Path]) -> dict[str, Path]:
    root = built_once("decoder-classifiers", lambda root: [write_family(root / name, name) for name in NAMES])
    return {name: root / name for name in NAMES}


def adapted(folder: Path, base: str = "float32", options: dict[str, Any] | None = None, **train: Any) -> Encoder:
    lora = {"rank": 2, "dropout": 0.0, "base": base}
    return new_engine(folder, options, **({"epochs": 1, "lora": lora} | train))


def kept(engine: Encoder, folder: Path) -> Path:
    folder.mkdir()
    engine.save(folder)
    return folder


def check_rows_are_independent(engine: Encoder) -> None:
    one_by_one = np.concatenate([predict(engine, [text]) for text in TEXTS])
    np.testing.assert_allclose(predict(engine, TEXTS), one_by_one, atol=1e-5)
    assert np.ptp(one_by_one, axis=0).min() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_decoder_becomes_a_classifier(name: str, decoders: dict[str, Path], tmp_path: Path) -> None:
    engine = adapted(decoders[name])
    fit(engine, tmp_path / "scratch", FEW)
    check_rows_are_independent(engine)
    other = adapted(decoders[name])
    other.load(kept(engine, tmp_path / "kept"), LABELS)
    np.testing.assert_array_equal(predict(other, VALIDATION), predict(engine, VALIDATION))
    assert other.parameters == engine.parameters == sum(p.numel() for p in engine._model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma2, narrow window"])
def test_adapters_are_on_all_linear_layers_but_the_head(name: str, decoders: dict[str, Path], tmp_path: Path) -> None:
    engine = adapted(decoders[name])
    report = fit(engine, tmp_path / "scratch", FEW, NOTHING)
    config = json.loads((kept(engine, tmp_path / "kept") / "adapter_config.json").read_text())
    layers = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {module.rpartition(".")[2] for module in config["target_modules"]} == layers
    assert config["modules_to_save"] == ["classifier", "score"]  # by PEFT's names of heads
    assert config["base_model_name_or_path"] is None
    width, inner, keys, layers_count = SHAPE["hidden_size"], SHAPE["intermediate_size"], 32, SHAPE["num_hidden_layers"]
    each = 2 * (2 * (width + width) + 2 * (width + keys) + 3 * (width + inner))
    assert report["trainable_parameters"] == layers_count * each + width * 2


@pytest.mark.slow
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", [None, "</s>", "<s>"], ids=["none", "end", "begin"])
def test_the_last_token_of_a_text_is_read(pad: str | None, side: str, tmp_path: Path) -> None:
    """Whatever the tokenizer says of padding: here one that begins each text with <s> and ends it with </s>."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = tokenizer_of("plain")
    both = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer.backend_tokenizer.post_processor = both
    tokenizer.pad_token, tokenizer.padding_side = pad, side
    engine = adapted(write_mistral(tmp_path / "m", tokenizer), epochs=0.1)
    fit(engine, tmp_path / "scratch", FEW, NOTHING)
    texts = TEXTS[:3]
    expected = []
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        assert ids[0, -1] == 2
        with torch.no_grad():
            expected.append(engine._model.score(engine._model.model(ids).last_hidden_state[0, -1]).softmax(-1).numpy())
    np.testing.assert_allclose(predict(engine, texts), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_base_predicts_the_same_once_kept(base: str, dtype: str, decoders: dict[str, Path], tmp_path: Path) -> None:
    options = {"predict": {"dtype": dtype}}
    engine = adapted(decoders["qwen2"], base, options, epochs=2)
    report = fit(engine, tmp_path / "scratch")
    other = adapted(decoders["qwen2"], base, options)
    other.load(kept(engine, tmp_path / "kept"), LABELS)
    np.testing.assert_array_equal(predict(other, VALIDATION), predict(engine, VALIDATION))
    third = adapted(decoders["qwen2"], base)  # kept once more, and read in fp32: nothing was lost to the dtype
    third.load(kept(other, tmp_path / "again"), LABELS)
    assert (tmp_path / "again" / "adapter_model.safetensors").read_bytes() == (
        tmp_path / "kept" / "adapter_model.safetensors"
    ).read_bytes()
    np.testing.assert_allclose(predict(third, VALIDATION), predict(engine, VALIDATION), atol=0 if dtype == "float32" else 0.05)
    plain = adapted(decoders["qwen2"])
    fit(plain, tmp_path / "plain", FEW, NOTHING)
    assert engine.parameters == other.parameters == plain.parameters  # not those of the packed form
    assert report["trainable_parameters"] < plain.parameters / 10
    assert type(engine._model).__name__.startswith("PeftModel" if base == "nf4" else "Qwen2")


@pytest.mark.slow
def test_the_base_is_frozen_in_its_precision_and_what_is_trained_is_in_fp32(decoders: dict[str, Path]) -> None:
    for base, dtypes in (("bfloat16", {torch.bfloat16}), ("nf4", {torch.uint8, torch.float32})):
        engine = adapted(decoders["qwen2"], base)
        from backends._heads import make_head

        engine._head = make_head(engine.options, LABELS, None)
        weights = dict(engine._model_to_train().named_parameters())
        assert {weight.dtype for weight in weights.values() if weight.requires_grad} == {torch.float32}
        assert {weight.dtype for weight in weights.values() if not weight.requires_grad} == dtypes
        assert all("lora_" in name or "score" in name for name, weight in weights.items() if weight.requires_grad)


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
def test_a_killed_training_goes_on(base: str, decoders: dict[str, Path], tmp_path: Path) -> None:
    def engine() -> Encoder:
        return adapted(decoders["qwen2"], base, epochs=3, patience=9, evaluate_every=3)

    whole, resumed = engine(), engine()
    expected = fit(whole, tmp_path / "whole")
    with pytest.raises(Interrupted):
        fit(engine(), tmp_path / "cut", on_progress=interrupt_at(11))
    assert fit(resumed, tmp_path / "cut") == expected
    np.testing.assert_array_equal(predict(resumed, VALIDATION), predict(whole, VALIDATION))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["softmax", "one_hot", "coral", "corn"])
def test_every_head(head: str, decoders: dict[str, Path], tmp_path: Path) -> None:
    engine = adapted(decoders["qwen2"], options={"head": head}, epochs=2)
    fit(engine, tmp_path / "scratch", starred(32, 0), starred(8, 1), STARS)
    other = adapted(decoders["qwen2"], options={"head": head})
    other.load(kept(engine, tmp_path / "kept"), STARS)
    found = predict(other, VALIDATION)
    np.testing.assert_array_equal(found, predict(engine, VALIDATION))
    np.testing.assert_allclose(found.sum(1), 1)
    if head == "coral":
        assert torch.equal(engine._model.score.weight[0], engine._model.score.weight[1])
        assert engine._model.score.bias[0] > engine._model.score.bias[1]


@pytest.mark.slow
def test_several_labels_and_long_texts(decoders: dict[str, Path], tmp_path: Path) -> None:
    options = {"max_length": 8, "long_texts": "windows", "window_overlap": 2}
    engine = adapted(decoders["qwen2"], options=options, gradient_checkpointing=True)
    report = fit(engine, tmp_path / "scratch", tagged(16, 0), tagged(8, 1), TOPICS)
    assert report["train_windows"] > 16
    found = predict(engine, TEXTS)
    assert found.shape == (4, 3)
    assert np.isfinite(found).all()


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
def test_gradient_checkpointing_changes_nothing(base: str, decoders: dict[str, Path], tmp_path: Path) -> None:
    plain, frugal = (adapted(decoders["qwen2"], base, gradient_checkpointing=flag) for flag in (False, True))
    for name, engine in (("plain", plain), ("frugal", frugal)):
        fit(engine, tmp_path / name, FEW, NOTHING)
    assert difference(plain, frugal) < (1e-6 if base == "float32" else 1e-3)


@pytest.mark.slow
def test_without_adapters_all_weights_are_trained_and_kept(decoders: dict[str, Path], tmp_path: Path) -> None:
    engine = new_engine(decoders["qwen2"], epochs=1)
    assert fit(engine, tmp_path / "scratch", FEW)["trainable_parameters"] == engine.parameters
    check_rows_are_independent(engine)
    other = new_engine(decoders["qwen2"])
    other.load(kept(engine, tmp_path / "kept"), LABELS)
    np.testing.assert_array_equal(predict(other, VALIDATION), predict(engine, VALIDATION))
    with pytest.raises(UserError, match="CORAL"):
        fit(new_engine(decoders["qwen2"], {"head": "coral"}), tmp_path / "coral", starred(16, 0), NOTHING, STARS)


@pytest.mark.slow
def test_positions_are_computed_in_fp32(decoders: dict[str, Path], tmp_path: Path) -> None:
    engine = adapted(decoders["qwen2"], options={"predict": {"dtype": "bfloat16"}})
    fit(engine, tmp_path / "scratch", FEW, NOTHING)
    assert {weight.dtype for weight in engine._model.parameters()} == {torch.bfloat16}
    assert {buffer.dtype for name, buffer in engine._model.named_buffers() if "inv_freq" in name} == {torch.float32}


@pytest.mark.slow
def test_onnx_gives_the_same(decoders: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    engine = adapted(decoders["qwen2"])
    fit(engine, tmp_path / "scratch", FEW, NOTHING)
    quick = adapted(decoders["qwen2"], options={"predict": {"runtime": "onnx"}})
    quick.load(kept(engine, tmp_path / "kept"), LABELS)
    quick.optimize(tmp_path, VALIDATION, validation_scorer(VALIDATION))
    np.testing.assert_allclose(predict(quick, VALIDATION), predict(engine, VALIDATION), atol=1e-4)


@pytest.mark.slow
def test_a_whole_model_is_written_where_there_is_one(decoders: dict[str, Path], tmp_path: Path) -> None:
    for base in ("bfloat16", "nf4"):
        engine = adapted(decoders["qwen2"], base)
        fit(engine, tmp_path / f"scratch-{base}", FEW, NOTHING)
        (tmp_path / base).mkdir()
        if base == "nf4":
            with pytest.raises(UserError, match="no whole model"):
                engine.export(tmp_path / base)
            continue
        engine.export(tmp_path / base)
        other = new_engine(decoders["qwen2"])
        other.load(tmp_path / base, LABELS)
        np.testing.assert_array_equal(predict(other, VALIDATION), predict(engine, VALIDATION))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": {"precision": "fp32", "lora": {"base": "bfloat16"}}}, "not trained in fp32"),
        ({"train": {"lora": {"base": "nf4"}}, "predict": {"runtime": "onnx"}}, "4-bit weights can't be exported"),
    ],
)
def test_what_does_not_go_together(options: dict[str, Any], message: str, bert: Path) -> None:
    with pytest.raises(UserError, match=message):
        new_engine(bert, options)


def test_what_the_base_resolves_to_is_a_fact(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for fast, base in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(machine, "bf16_instructions", lambda fast=fast: "avx512_bf16" if fast else "")
        facts = new_engine(bert, lora={"base": "auto"}).facts()
        assert (facts["base"], facts["precision"]) == (base, "bf16" if fast else "fp32")
        assert new_engine(bert, lora={"base": "bfloat16"}).facts()["precision"] == "bf16"  # slow, but what was asked for
        assert "base" not in new_engine(bert, lora={}).facts()
    assert "base" not in new_engine(bert, lora={}).options.train.model_dump()["lora"]  # runs at the default keep their ids


@pytest.mark.slow
def test_a_base_that_is_gone(decoders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(decoders["qwen2"], tmp_path / "m")
    engine = adapted(tmp_path / "m", "nf4")
    fit(engine, tmp_path / "scratch", FEW, NOTHING)
    folder = kept(engine, tmp_path / "kept")
    with pytest.raises(UserError, match="4-bit"):
        fit(adapted(folder), tmp_path / "on", FEW, NOTHING)
    shutil.rmtree(tmp_path / "m")
    with pytest.raises(RunError, match="is gone"):
        fit(adapted(folder), tmp_path / "on", FEW, NOTHING)


@pytest.mark.slow
def test_four_bits_need_bitsandbytes(decoders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtra, match="bitsandbytes"):
        fit(adapted(decoders["qwen2"], "nf4"), tmp_path, FEW, NOTHING)


def test_every_name_is_a_family() -> None:
    assert set(NAMES) <= FAMILIES.keys()
