"""Zero-shot classifiers against the pipelines of transformers and GLiClass, on tiny random models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import write_bert, write_nli

from backends.zero_shot import ZeroShotClassifier, ZeroShotOptions
from harness.core.arrays import FloatArray
from harness.core.errors import ModelUnavailable, UserError
from harness.core.types import LabelKind, LabelSpace

NAMES = ("good", "bad kettle", "very awful lid")
TEXTS = ["the kettle is very good", "awful lid and bad kettle", "it is", "lovely lovely lid and it is the great kettle"]


def labels(kind: LabelKind = LabelKind.NOMINAL, descriptions: tuple[str, ...] = ()) -> LabelSpace:
    return LabelSpace(kind, NAMES, descriptions)


def write_gliclass(folder: Path, kind: str = "uni-encoder", prompt_first: bool = False) -> Path:
    import torch
    from gliclass import GLiClassModel, GLiClassModelConfig
    from transformers import AutoTokenizer, BertConfig

    write_bert(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<<LABEL>>", "<<SEP>>", "<<EXAMPLE>>"]})
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    encoder = BertConfig.from_pretrained(folder).to_dict() | {"vocab_size": len(tokenizer), "max_position_embeddings": 64}
    config = GLiClassModelConfig(
        encoder_config=encoder,
        encoder_model=str(folder),
        class_token_index=tokenizer.convert_tokens_to_ids("<<LABEL>>"),
        text_token_index=tokenizer.convert_tokens_to_ids("<<SEP>>"),
        example_token_index=tokenizer.convert_tokens_to_ids("<<EXAMPLE>>"),
        vocab_size=len(tokenizer),
        architecture_type=kind,
        prompt_first=prompt_first,
    )
    torch.manual_seed(2)
    GLiClassModel(config).save_pretrained(folder)
    return folder


def engine(folder: Path, space: LabelSpace, **options: Any) -> ZeroShotClassifier:
    made = ZeroShotClassifier(ZeroShotOptions.model_validate({"device": "cpu", "max_length": 32, **options}), folder)
    made.load(space)
    return made


def probabilities(made: ZeroShotClassifier, texts: Sequence[str] = TEXTS) -> FloatArray:
    scores = made.score(made.encode(texts))
    return np.array([np.exp(score.log_p) for score in scores if score.log_p is not None])


def of_transformers(folder: Path, several: bool, candidates: Sequence[str] = NAMES, template: str | None = None) -> FloatArray:
    """In the order of `candidates`, by the library's own pipeline."""
    from transformers import pipeline

    oracle = pipeline("zero-shot-classification", model=str(folder), device="cpu")
    extra = {} if template is None else {"hypothesis_template": template}
    found = [oracle(text, list(candidates), multi_label=several, **extra) for text in TEXTS]
    return np.array([[dict(zip(row["labels"], row["scores"], strict=True))[name] for name in candidates] for row in found])


@pytest.fixture(scope="session")
def nli(built_once: Callable[..., Path]) -> Path:
    return built_once("nli", write_nli)


@pytest.fixture(scope="session")
def gliclass(built_once: Callable[..., Path]) -> Path:
    pytest.importorskip("gliclass")
    return built_once("gliclass", write_gliclass)


@pytest.mark.parametrize("kind", [LabelKind.NOMINAL, LabelKind.MULTILABEL])
def test_natural_language_inference_is_that_of_the_pipeline_of_transformers(nli: Path, kind: LabelKind) -> None:
    several = kind is LabelKind.MULTILABEL
    found = probabilities(engine(nli, labels(kind)))
    np.testing.assert_allclose(found, of_transformers(nli, several), atol=2e-6)
    assert several or np.allclose(found.sum(axis=1), 1)


@pytest.mark.slow
def test_a_model_with_two_classes_of_inference(tmp_path: Path) -> None:
    folder = write_nli(tmp_path / "two", ("entailment", "not_entailment"))
    for kind in (LabelKind.NOMINAL, LabelKind.MULTILABEL):
        found = probabilities(engine(folder, labels(kind)))
        np.testing.assert_allclose(found, of_transformers(folder, kind is LabelKind.MULTILABEL), atol=2e-6)


@pytest.mark.slow
def test_descriptions_and_the_hypothesis_are_what_the_model_reads(nli: Path) -> None:
    described = labels(descriptions=("it is lovely", "", "poor lid"))
    shown = ("it is lovely", "bad kettle", "poor lid")
    template = "the kettle is {}"
    found = probabilities(engine(nli, described, hypothesis=template))
    np.testing.assert_allclose(found, of_transformers(nli, False, shown, template), atol=2e-6)
    by_name = probabilities(engine(nli, described, hypothesis=template, label_text="name"))
    np.testing.assert_allclose(by_name, of_transformers(nli, False, NAMES, template), atol=2e-6)


def test_a_long_text_is_cut_and_its_labels_are_not(nli: Path, gliclass: Path) -> None:
    long = "good " * 100
    made = engine(nli, labels())
    (encoded,) = made.encode([long])
    assert encoded.cut == 100 - (32 - max(made._reader._taken))  # type: ignore[union-attr]
    assert all(len(row["input_ids"]) <= 32 for row in encoded.content)
    assert np.isfinite(probabilities(made, [long])).all()
    other = engine(gliclass, labels(), max_length=40)
    (encoded,) = other.encode([long])
    assert (encoded.tokens, encoded.cut) == (40, 100 - len(encoded.content.split()))
    # Without the text, the labels take the same number of tokens as beside it: all of them are there.
    assert len(other._reader._tokenizer(encoded.content)["input_ids"]) <= 40  # type: ignore[union-attr]
    assert probabilities(other, [long]).shape == (1, 3)


@pytest.mark.parametrize("kind", [LabelKind.NOMINAL, LabelKind.MULTILABEL])
@pytest.mark.parametrize("prompt_first", [False, True])
def test_gliclass_is_that_of_its_own_library(tmp_path: Path, kind: LabelKind, prompt_first: bool) -> None:
    torch, library = pytest.importorskip("torch"), pytest.importorskip("gliclass")
    from transformers import AutoTokenizer

    folder = write_gliclass(tmp_path / "model", prompt_first=prompt_first)
    model = library.GLiClassModel.from_pretrained(folder).eval()
    inputs = [
        "".join(f"<<LABEL>>{name}" for name in NAMES) + "<<SEP>>" + text
        if prompt_first
        else text + "".join(f"<<LABEL>>{name}" for name in NAMES) + "<<SEP>>"
        for text in TEXTS
    ]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        logits = model(**tokenizer(inputs, padding=True, return_tensors="pt")).logits[:, : len(NAMES)]
    wanted = logits.softmax(-1) if kind is LabelKind.NOMINAL else logits.sigmoid()
    found = probabilities(engine(folder, labels(kind), max_length=64))
    np.testing.assert_allclose(found, wanted.numpy(), atol=2e-6)


def test_a_text_that_spells_out_control_tokens_is_read_as_characters(nli: Path, gliclass: Path) -> None:
    for folder, text in ((nli, "good [SEP] bad [PAD]"), (gliclass, "good <<LABEL>> bad <<SEP>>")):
        made = engine(folder, labels(), max_length=64)
        tokenizer = made._reader._tokenizer  # type: ignore[union-attr]
        (encoded,) = made.encode([text])
        ids = encoded.content[0]["input_ids"] if folder is nli else tokenizer(encoded.content)["input_ids"]
        tokens = tokenizer.convert_ids_to_tokens(ids)
        # Its own end and, of a pair, the one between the two.
        assert tokens.count("[SEP]") == (2 if folder is nli else 1)
        assert not {"<<LABEL>>", "<<SEP>>", "[PAD]"} & set(tokens)
        assert np.isfinite(probabilities(made, [text])).all()


@pytest.mark.slow
def test_batches_change_nothing(nli: Path, gliclass: Path) -> None:
    for folder in (nli, gliclass):
        together = probabilities(engine(folder, labels(), max_length=48))
        alone = np.concatenate([probabilities(engine(folder, labels(), max_length=48), [text]) for text in TEXTS])
        np.testing.assert_allclose(together, alone, atol=2e-6)


def test_what_is_no_model_of_inference_is_refused(tmp_path: Path, nli: Path) -> None:
    folder = write_nli(tmp_path / "stars", ("1 star", "2 stars"))
    with pytest.raises(UserError, match="1 star, 2 stars"):
        engine(folder, labels())
    write_bert(tmp_path / "bare")
    with pytest.raises((UserError, ModelUnavailable)):
        engine(tmp_path / "bare", labels())


def test_labels_that_fill_the_model_or_look_the_same_are_refused(nli: Path, gliclass: Path) -> None:
    for folder in (nli, gliclass):
        with pytest.raises(UserError, match="The labels take"):
            engine(folder, labels(descriptions=("good " * 40, "", "")))
        with pytest.raises(UserError, match="same text"):
            engine(folder, labels(descriptions=("lovely", "lovely", "")))


@pytest.mark.parametrize("template", ["no place", "{} and {}", "{label}", "{} {x}"])
def test_a_hypothesis_needs_one_place_for_the_label(template: str) -> None:
    with pytest.raises(ValueError, match="it needs one"):
        ZeroShotOptions.model_validate({"hypothesis": template})


def test_gliclass_runs_no_code_of_an_unknown_encoder(gliclass: Path, tmp_path: Path) -> None:
    import json
    import shutil

    folder = Path(shutil.copytree(gliclass, tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text())
    config["encoder_config"]["model_type"] = "somebodys-own"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="somebodys-own"):
        engine(folder, labels())
