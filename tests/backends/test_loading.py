"""A checkpoint that isn't one is refused by every engine that reads it, with the name of what is wrong."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from encoder_toy import LABELS, NOTHING, TRAIN, new_engine, validation_scorer
from tiny_models import tokenizer_of, write_family, write_mistral

from backends._chat import end_tokens
from backends._encoder_options import EncoderOptions
from backends._precision import PRECISIONS
from backends.causal_lm import CausalLM, CausalLMOptions
from backends.encoder import Encoder
from backends.setfit import SetFit, SetFitOptions
from backends.vllm import VLLM, VLLMOptions
from harness.core import machine
from harness.core.engine import Classifier, Engine, TrainingJob
from harness.core.errors import BenchError, ModelUnavailable, UserError
from harness.models.checkpoints import problem

Tensors = dict[str, Any]

LANGUAGE_MODELS = ["causal_lm", "causal_lm nf4", "vllm"]
ENCODERS = ["encoder", "encoder lora", "setfit"]
ENGINES: dict[str, Callable[[Path], Engine]] = {
    "causal_lm": lambda folder: CausalLM(CausalLMOptions(device="cpu"), folder),
    "causal_lm nf4": lambda folder: CausalLM(CausalLMOptions(device="cpu", quantization="nf4"), folder),
    "vllm": lambda folder: VLLM(VLLMOptions(), folder),  # what is refused is so before vLLM is imported
    "encoder": lambda folder: new_engine(folder, epochs=1),
    "encoder lora": lambda folder: new_engine(folder, epochs=1, lora={}),
    "setfit": lambda folder: SetFit(SetFitOptions.model_validate({"device": "cpu", "train": {"max_steps": 1}}), folder),
}


def load(name: str, folder: Path, scratch: Path) -> Engine:
    engine = ENGINES[name](folder)
    if isinstance(engine, Classifier):
        engine.fit(TrainingJob(TRAIN, NOTHING, LABELS, validation_scorer(NOTHING), 0, scratch, lambda done, total, note: None))
    else:
        engine.load()  # type: ignore[attr-defined]
    return engine


def refusal(name: str, folder: Path, scratch: Path, kind: type[BenchError] = ModelUnavailable) -> str:
    with pytest.raises(BenchError) as caught:
        load(name, folder, scratch)
    assert type(caught.value) is kind, caught.value
    assert caught.value.hint
    return caught.value.message


def changed(source: Path, folder: Path, change: Callable[[Tensors], None]) -> Path:
    """A copy of the checkpoint with other tensors."""
    from safetensors.torch import load_file, save_file

    if folder != source:
        shutil.copytree(source, folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def configured(source: Path, folder: Path, **values: Any) -> Path:
    """A copy of the checkpoint with another config.json."""
    if folder != source:
        shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))
    return folder


def without(*parts: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        for name in [name for name in tensors if any(part in name for part in parts)]:
            del tensors[name]

    return change


def renamed(tensors: Tensors) -> None:
    for name in list(tensors):
        tensors[f"net.{name}"] = tensors.pop(name)


def cut(name: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name] = tensors[name][..., :-1].contiguous()

    return change


def added(name: str, like: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name] = tensors[like].clone()

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            without("lm_head"),
            "1 of the weights of MistralForCausalLM are not in its files.* random: lm_head.weight",
        ),
        (without("layers.1."), "9 of the weights.*model.layers.1.input_layernorm.weight, .* and 6 more"),
        (renamed, "21 of the weights.*lm_head.weight"),
        (cut("model.norm.weight"), r"another shape.*model.norm.weight \(is \[63\], should be \[64\]\)"),
        (cut("model.layers.0.mlp.up_proj.weight"), r"up_proj.weight \(is \[128, 63\], should be \[128, 64\]\)"),
        (
            added("model.layers.2.input_layernorm.weight", "model.norm.weight"),
            "1 of the weights in its files have no place.*layers.2.input_layernorm.weight",
        ),
        (added("model.layers.0.self_attn.q_proj.bias", "model.norm.weight"), "no place.*self_attn.q_proj.bias"),
        (added("model.layers.0.self_attn.q_norm.weight", "model.norm.weight"), "no place.*self_attn.q_norm.weight"),
    ],
)
@pytest.mark.parametrize("engine", LANGUAGE_MODELS)
def test_a_language_model_runs_on_all_of_its_weights(
    engine: str, damage: Callable[[Tensors], None], said: str, mistrals: dict[str, Path], tmp_path: Path
) -> None:
    import re

    message = refusal(engine, changed(mistrals["chatml"], tmp_path / "m", damage), tmp_path)
    assert re.search(said, message), message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without("embeddings.word"), "embeddings.word_embeddings.weight"),
        (without("encoder.layer.0.attention.self.query"), "2 of the weights.*query.bias"),
        (renamed, "and 20 more|and 18 more"),
        (cut("embeddings.LayerNorm.weight"), r"embeddings.LayerNorm.weight \(is \[31\], should be \[32\]\)"),
        (added("encoder.layer.1.output.LayerNorm.weight", "embeddings.LayerNorm.weight"), "no place.*encoder.layer.1.output"),
        (without("pooler.dense.bias"), "pooler.dense.bias"),
    ],
)
@pytest.mark.parametrize("engine", ENCODERS)
def test_an_encoder_is_trained_from_all_of_its_weights(
    engine: str, damage: Callable[[Tensors], None], said: str, bert: Path, tmp_path: Path
) -> None:
    import re

    message = refusal(engine, changed(bert, tmp_path / "b", damage), tmp_path)
    assert re.search(said, message), message


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENCODERS)
def test_a_pooler_and_a_head_may_be_new(engine: str, bert: Path, tmp_path: Path) -> None:
    """Checkpoints of masked language models have neither, and a head of their own task."""

    def of_words(tensors: Tensors) -> None:
        without("pooler")(tensors)
        tensors["cls.predictions.bias"] = tensors["embeddings.LayerNorm.bias"].clone()

    loaded = load(engine, changed(bert, tmp_path / "b", of_words), tmp_path)
    assert loaded.parameters


@pytest.mark.slow
def test_a_head_of_another_size_is_dropped_and_half_a_head_is_damage(bert: Path, tmp_path: Path) -> None:
    import torch

    def with_head(tensors: Tensors, labels: int) -> None:
        for name in list(tensors):
            tensors[f"bert.{name}"] = tensors.pop(name)
        tensors |= {"classifier.weight": torch.ones(labels, 32), "classifier.bias": torch.ones(labels)}

    load("encoder", changed(bert, tmp_path / "five", lambda tensors: with_head(tensors, 5)), tmp_path / "1")
    two = changed(bert, tmp_path / "two", lambda tensors: with_head(tensors, 2))
    load("encoder", two, tmp_path / "2")
    assert "classifier.bias" in refusal("encoder", changed(two, two, without("classifier.bias")), tmp_path / "3")


@pytest.mark.slow
def test_a_trained_classifier_needs_its_head(bert: Path, tmp_path: Path) -> None:
    engine = load("encoder", bert, tmp_path / "scratch")
    assert isinstance(engine, Classifier)
    engine.save(tmp_path / "kept")
    changed(tmp_path / "kept", tmp_path / "kept", without("classifier"))
    with pytest.raises(ModelUnavailable, match=r"classifier\.bias, classifier\.weight"):
        ENGINES["encoder"](bert).load(tmp_path / "kept", LABELS)  # type: ignore[attr-defined]


def test_buffers_that_older_versions_saved_are_no_fault(tmp_path: Path) -> None:
    folder = write_family(tmp_path / "gpt2", "gpt2")
    changed(folder, folder, added("transformer.h.0.attn.bias", "transformer.ln_f.bias"))
    assert load("causal_lm", folder, tmp_path).parameters


def test_tied_weights_are_there_once(tmp_path: Path) -> None:
    folder = write_mistral(tmp_path / "tied", tokenizer_of("chatml"), tie_word_embeddings=True)
    tied, apart = load("causal_lm", folder, tmp_path), write_mistral(tmp_path / "apart", tokenizer_of("chatml"))
    more = load("causal_lm", apart, tmp_path).parameters
    assert tied.parameters == (more or 0) - 380 * 64


def test_parameters_are_those_of_the_model_and_not_of_its_packed_form(mistrals: dict[str, Path], tmp_path: Path) -> None:
    plain, packed = (load(name, mistrals["chatml"], tmp_path).parameters for name in LANGUAGE_MODELS[:2])
    assert plain == packed == 122688


@pytest.mark.slow
def test_encoders_count_their_parameters(bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    body = sum(tensor.numel() for tensor in load_file(bert / "model.safetensors").values())
    kept: dict[str, int | None] = {}
    for name in ("encoder", "setfit"):
        engine = load(name, bert, tmp_path / name)
        assert isinstance(engine, Classifier)
        (tmp_path / f"{name} kept").mkdir()
        engine.save(tmp_path / f"{name} kept")
        again = ENGINES[name](bert)
        assert isinstance(again, Classifier)
        assert again.parameters is None
        again.load(tmp_path / f"{name} kept", LABELS)
        assert again.parameters == engine.parameters
        kept[name] = engine.parameters
    assert kept == {"encoder": body + 2 * 33, "setfit": body + 2 * 33}


# Tokenizers


@pytest.mark.parametrize("engine", [*LANGUAGE_MODELS, *ENCODERS])
def test_a_checkpoint_needs_a_tokenizer(engine: str, bert: Path, mistrals: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(bert if engine in ENCODERS else mistrals["chatml"], tmp_path / "m")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert "tokenizer" in refusal(engine, folder, tmp_path, UserError)


@pytest.mark.parametrize("engine", [*LANGUAGE_MODELS, *ENCODERS])
def test_a_tokenizer_of_a_larger_vocabulary_is_of_another_model(
    engine: str, bert: Path, mistrals: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    folder = shutil.copytree(bert if engine in ENCODERS else mistrals["chatml"], tmp_path / "m")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["teapot"])
    tokenizer.save_pretrained(folder)
    message = refusal(engine, folder, tmp_path, UserError)
    assert "1 of its tokens have no row in the model's embedding" in message
    assert "'teapot'" in message


def test_a_language_model_needs_a_token_that_ends_an_answer(bert: Path, mistrals: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(mistrals["chatml"], tmp_path / "m")
    for file in bert.glob("tokenizer*"):
        shutil.copy(file, folder)
    assert "no eos_token" in refusal("causal_lm", folder, tmp_path, UserError)


def test_merges_that_are_missing_are_no_tokenizer(mistrals: dict[str, Path], tmp_path: Path) -> None:
    """A vocabulary without its merges would read every text letter by letter."""
    folder = write_family(tmp_path / "gpt2", "gpt2")
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "tokenizer.json").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "tokenizer_class": "GPT2Tokenizer"}))
    assert "tokenizer" in refusal("causal_lm", folder, tmp_path, UserError)


def test_special_tokens_that_no_text_brings_about_may_lie_beyond(mistrals: dict[str, Path], tmp_path: Path) -> None:
    """As the placeholder of images does in the text-only models of a family."""
    from transformers import AutoTokenizer

    folder = shutil.copytree(mistrals["chatml"], tmp_path / "m")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(folder)
    load("causal_lm", folder, tmp_path)


# Code


def with_code(source: Path, folder: Path, proof: Path, **auto_map: str) -> Path:
    configured(source, folder, model_type="evilnet", auto_map=auto_map)
    (folder / "evil.py").write_text(
        f"import pathlib; pathlib.Path({str(proof)!r}).touch()\n"
        "from transformers import PretrainedConfig\nclass Config(PretrainedConfig):\n    model_type = 'evilnet'\n"
        "class Model: ...\n"
    )
    return folder


@pytest.mark.parametrize("engine", ["causal_lm", "causal_lm nf4", *ENCODERS])
def test_code_of_a_checkpoint_is_neither_run_nor_asked_about(
    engine: str, bert: Path, mistrals: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *prompt: pytest.fail("asked"))
    source = bert if engine in ENCODERS else mistrals["chatml"]
    folder = with_code(source, tmp_path / "m", tmp_path / "proof", AutoConfig="evil.Config", AutoModelForCausalLM="evil.Model")
    message = refusal(engine, folder, tmp_path, UserError)
    assert "model_type 'evilnet'" in message
    assert "code of its own, which bench never runs" in message
    assert not (tmp_path / "proof").exists()


def test_a_model_that_transformers_knows_is_read_without_its_code(mistrals: dict[str, Path], tmp_path: Path) -> None:
    folder = with_code(mistrals["chatml"], tmp_path / "m", tmp_path / "proof", AutoModelForCausalLM="evil.Model")
    load("causal_lm", configured(folder, folder, model_type="mistral"), tmp_path)
    assert not (tmp_path / "proof").exists()


def test_a_layer_of_a_sentence_encoder_is_of_its_library(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "b")
    (folder / "evil.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'proof')!r}).touch()\nclass Layer: ...\n")
    for layer, said in (("evil.Layer", "evil.Layer"), ("os.system", "os.system")):
        listed = [{"idx": 0, "name": "0", "path": "", "type": layer}]
        (folder / "modules.json").write_text(json.dumps(listed))
        assert said in refusal("setfit", folder, tmp_path, UserError)
    assert not (tmp_path / "proof").exists()


def test_a_layer_of_a_sentence_encoder_lies_in_its_folder(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path / "elsewhere")
    folder = shutil.copytree(bert, tmp_path / "b")
    kind = "sentence_transformers.base.modules.transformer.Transformer"
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "../elsewhere", "type": kind}]))
    assert "../elsewhere" in refusal("setfit", folder, tmp_path, UserError)


@pytest.mark.slow
def test_every_call_that_reads_a_checkpoint_says_no_to_its_code() -> None:
    root = Path(__file__).parents[2]
    calls = []
    for file in [path for name in ("harness", "backends", "benchmarks") for path in (root / name).rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            owner = ast.unparse(node.func)
            if name in ("from_pretrained", "SentenceTransformer", "LLM") and not owner.startswith("GenerationConfig"):
                calls.append(f"{file.name}: {ast.unparse(node)}")
    assert len(calls) > 10
    # One passes a dictionary that says so on the line above.
    assert [call for call in calls if "trust_remote_code=False" not in call and "**source" not in call] == []


@pytest.mark.slow
def test_nothing_is_unpickled() -> None:
    root = Path(__file__).parents[2]
    for file in [path for name in ("harness", "backends") for path in (root / name).rglob("*.py")]:
        code = ast.unparse(ast.parse(file.read_text()))
        for word in ("import pickle", "joblib", "torch.load(", "allow_pickle=True", "yaml.load(", "yaml.unsafe"):
            assert word not in code, f"{file.name}: {word}"


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float8_e4m3fn"])
def test_packed_weights_need_a_word_on_how_to_read_them(dtype: str, mistrals: dict[str, Path], tmp_path: Path) -> None:
    import torch

    def packed(tensors: Tensors) -> None:
        for name in [name for name in tensors if "proj" in name]:
            tensors[name] = tensors[name].to(getattr(torch, dtype))

    folder = changed(mistrals["chatml"], tmp_path / "m", packed)
    assert "down_proj.weight is packed (" in (problem(folder) or "")
    assert problem(configured(folder, folder, quantization_config={"quant_method": "fp8"})) is None


@pytest.mark.parametrize("kind", [["mistral"], {}, None, 7])
def test_a_model_type_that_is_no_name(kind: Any, mistrals: dict[str, Path], tmp_path: Path) -> None:
    folder = configured(mistrals["chatml"], tmp_path / "m", model_type=kind)
    assert "names the model_type" in refusal("causal_lm", folder, tmp_path, UserError)


@pytest.mark.parametrize("ends", ["</s>", ["x"], -1, [True]])
def test_an_end_that_is_no_token(ends: Any, mistrals: dict[str, Path], tmp_path: Path) -> None:
    folder = configured(mistrals["chatml"], tmp_path / "m")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    assert "as eos_token_id" in refusal("causal_lm", folder, tmp_path, UserError)


def test_no_end_is_that_of_the_tokenizer(mistrals: dict[str, Path], tmp_path: Path) -> None:
    folder = configured(mistrals["chatml"], tmp_path / "m")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": []}))
    tokenizer = tokenizer_of("chatml")
    assert end_tokens(folder, tokenizer) == [tokenizer.eos_token_id]


@pytest.mark.parametrize(("instructions", "dtype"), [("avx512_bf16", "bfloat16"), ("", "float32")])
def test_the_precision_auto_asks_the_processor(
    instructions: str, dtype: str, bert: Path, mistrals: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "bf16_instructions", lambda: instructions)
    precision = PRECISIONS[dtype]
    on_cpu: dict[str, Any] = {"device": "cpu"}
    prompted = CausalLM(CausalLMOptions.model_validate(on_cpu), mistrals["chatml"])
    assert prompted.facts()["dtype"] == dtype
    encoder = Encoder(EncoderOptions.model_validate(on_cpu), bert)
    assert (encoder.facts()["dtype"], encoder.facts()["precision"]) == (dtype, precision)
    exported = Encoder(EncoderOptions.model_validate({**on_cpu, "predict": {"runtime": "onnx"}}), bert)
    assert (exported.facts()["dtype"], exported.facts()["precision"]) == ("float32", precision)
    exact = {**on_cpu, "predict": {"dtype": "float32"}, "train": {"precision": "fp32"}}
    asked = Encoder(EncoderOptions.model_validate(exact), bert)
    assert (asked.facts()["dtype"], asked.facts()["precision"]) == ("float32", "fp32")
    served = VLLM(VLLMOptions.model_validate({}), mistrals["chatml"])
    assert served.facts()["dtype"] == "float32"  # its CPU kernels were not measured in bfloat16
