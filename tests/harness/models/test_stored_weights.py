"""In which precision a checkpoint's files store its weights, and the base model that its card names. Made-up headers."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.models.checkpoints import PACKAGED_PREFIX, Checkpoint
from harness.models.packaged import PACKAGED
from harness.models.stored_weights import DTYPES, named_base, quantized, stored_precision

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8}
Tensors = list[tuple[str, list[int]]]


def write(folder: Path, *files: Tensors, config: dict[str, Any] | None = None) -> Path:
    """A checkpoint whose files have these tensors: dtype and shape. Only the headers are written."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config or {}))
    for number, tensors in enumerate(files):
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        for place, (dtype, shape) in enumerate(tensors):
            header[f"t{place}"] = {"dtype": dtype, "shape": shape, "data_offsets": [0, prod(shape) * BYTES.get(dtype, 1)]}
        content = json.dumps(header).encode()
        (folder / f"model-{number}.safetensors").write_bytes(len(content).to_bytes(8, "little") + content)
    return folder


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([[("F32", [3, 4])]], "float32"),
        ([[("F16", [3, 4])]], "float16"),
        ([[("BF16", [3, 4])]], "bfloat16"),
        ([[("F64", [1])]], "float64"),
        ([[("F32", [3, 4]), ("I64", [1, 11])]], "float32"),
        ([[("F32", [12]), ("BF16", [13])]], "bfloat16"),
        ([[("F32", [12])], [("BF16", [13])]], "bfloat16"),
        ([[("F32", [10])], [("BF16", [9])], [("F32", [])]], "float32"),
        ([[("F8_E4M3", [4, 4]), ("F32", [1])]], "8-bit"),
        ([[("U8", [5])]], None),  # what integers mean, only config.json can say
        ([[]], None),
        ([], None),
    ],
)
def test_the_dtype_of_most_elements(files: list[Tensors], said: str | None, tmp_path: Path) -> None:
    assert stored_precision(write(tmp_path / "m", *files)) == said


@given(counts=st.dictionaries(st.sampled_from(sorted(BYTES.keys() & DTYPES.keys())), st.integers(1, 50), min_size=1))
def test_however_the_elements_are_spread_over_tensors(counts: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = write(tmp_path_factory.mktemp("m"), [(dtype, [1]) for dtype, count in counts.items() for _ in range(count)])
    most = {DTYPES[dtype] for dtype, count in counts.items() if count == max(counts.values())}
    assert stored_precision(folder) in most


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "4-bit (gptq)"),
        ({"quant_method": "gptq", "bits": 8}, "8-bit (gptq)"),
        ({"quant_method": "awq", "bits": 4}, "4-bit (awq)"),
        ({"quant_method": "awq", "w_bit": 4}, "4-bit (awq)"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False}, "4-bit (bitsandbytes)"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True, "bnb_4bit_quant_type": "nf4"}, "8-bit (bitsandbytes)"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "8-bit (fp8)"),
        ({"quant_method": "fbgemm_fp8"}, "8-bit (fbgemm_fp8)"),
        ({"quant_method": "mxfp4"}, "4-bit (mxfp4)"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "4-bit (modelopt)"),
        ({"quant_method": "quanto", "weights": "int4"}, "4-bit (quanto)"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"input_activations": {"num_bits": 8}, "weights": {"num_bits": 4}}},
            },
            "4-bit (compressed-tensors)",
        ),
        ({"quant_method": "torchao"}, "quantized (torchao)"),
        ({}, "quantized (unknown method)"),
        ({"bits": "four"}, "quantized (unknown method)"),
    ],
)
def test_what_config_says_of_a_quantization(config: dict[str, Any], said: str) -> None:
    assert quantized(config) == said


def test_config_comes_before_the_headers(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", [("F16", [9])], config={"quantization_config": {"quant_method": "awq", "bits": 4}})
    assert stored_precision(folder) == "4-bit (awq)"
    assert Checkpoint(folder, "path", "m", "0").weights == "4-bit (awq)"


@pytest.mark.parametrize("config", ["[]", "{", '{"quantization_config": null}'])
def test_what_cant_be_read_is_unknown(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").write_bytes(b"\4\0\0\0\0\0\0\0[{}]")
    assert stored_precision(tmp_path) is None
    assert stored_precision(tmp_path / "gone") is None


@pytest.mark.parametrize(
    ("card", "base"),
    [
        ("---\nbase_model: org/name\n---\n\n# x", "org/name"),
        ("---\nlicense: mit\nbase_model:\n- org/na-me.1\n---\n", "org/na-me.1"),
        ("---\nbase_model: [org/a, org/b]\n---\n", None),  # merged from two
        ("---\nbase_model: /home/me/secret\n---\n", None),
        ("---\nbase_model: ../secret\n---\n", None),
        ("---\nbase_model: bert\n---\n", None),
        ("---\nbase_model: [\n---\n", None),
        ("---\n- base_model\n---\n", None),
        ("---\nlicense: mit\n---\nbase_model: org/name\n", None),
        ("# no front matter", None),
        ("", None),
    ],
)
def test_the_base_model_that_a_card_names(card: str, base: str | None, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(card)
    assert named_base(tmp_path) == base
    assert Checkpoint(tmp_path, "path", "mine", "0").base == base


def test_without_a_card_no_base_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"_name_or_path": "org/name"}')
    assert named_base(tmp_path) is None


@pytest.mark.parametrize("name", ["org/name", "org/name@v1"])
def test_a_hub_model_is_its_own_base(name: str, tmp_path: Path) -> None:
    assert Checkpoint(tmp_path, "hub", name, "0" * 40).base == "org/name"


@pytest.mark.parametrize("name", PACKAGED)
def test_every_packaged_model_says_what_it_is(name: str, tmp_path: Path) -> None:
    found, known = Checkpoint(tmp_path, "packaged", PACKAGED_PREFIX + name, "0"), PACKAGED[name]
    assert (found.weights, found.base) == (known.stored, known.base)
    assert known.parameters
    assert known.licence in ("apache-2.0", "mit")
    assert (known.stored or "").partition(" ")[0] in {*DTYPES.values(), "4-bit"}
    assert (known.base or "").count("/") == 1
