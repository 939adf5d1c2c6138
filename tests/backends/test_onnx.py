"""Encoders in ONNX Runtime: the same logits as torch's, kept on disk, int8 only where it is good enough."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.errors import MissingExtra, RunError

pytestmark = pytest.mark.slow

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SHAPE = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
DISTIL = {"vocab_size": 40, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {**SHAPE, "max_position_embeddings": 32}),
    "distilbert": ("DistilBert", {**DISTIL, "max_position_embeddings": 32}),
    "xlm-roberta": ("XLMRoberta", {**SHAPE, "max_position_embeddings": 34, "pad_token_id": 1, "type_vocab_size": 1}),
}


def tiny(family: str) -> Any:
    import torch
    import transformers

    name, shape = FAMILIES[family]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(num_labels=3, initializer_range=0.3, **shape)
    return transformers.AutoModelForSequenceClassification.from_config(config).eval()


def batch(model: Any, rows: int, width: int, seed: int = 1) -> dict[str, Any]:
    """Rows of different lengths; where a token is padding, its id is the pad token's."""
    random = np.random.default_rng(seed)
    mask = (np.arange(width) < random.integers(1, width + 1, (rows, 1))).astype(np.int64)
    mask[0] = 1
    ids = np.where(mask == 1, random.integers(5, 40, (rows, width)), model.config.pad_token_id)
    return {"input_ids": ids, "attention_mask": mask}


def logits(model: Any, inputs: dict[str, Any]) -> Any:
    import torch

    with torch.inference_mode():
        return model(**{name: torch.from_numpy(values) for name, values in inputs.items()}).logits.numpy()


def prepared(
    model: Any, folder: Path, int8: bool, accuracy: Callable[[Any], float] = lambda session: 0.5, max_drop: float = 0.1
) -> Any:
    from backends._onnx import prepare

    return prepare(model, folder, int8=int8, accuracy=accuracy, max_drop=max_drop)


@pytest.fixture(scope="module", params=list(FAMILIES))
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    model, folder = tiny(request.param), tmp_path_factory.mktemp("onnx")
    prepared(model, folder, int8=False)
    return model, folder


def test_the_same_logits_for_any_shape(exported: tuple[Any, Path]) -> None:
    model, folder = exported
    session, record = prepared(model, folder, int8=False)
    assert model.config._attn_implementation == "sdpa"  # left as it was
    for rows, width in ((1, 1), (1, 30), (5, 2), (17, 9)):
        inputs = batch(model, rows, width)
        found = session(inputs)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, logits(model, inputs), atol=2e-4)
    assert record["runtime"] == "onnx"
    assert record["library"].startswith("onnxruntime 1.")


def test_int8_is_near_and_a_row_is_the_same_in_every_batch(exported: tuple[Any, Path]) -> None:
    model, folder = exported
    session, record = prepared(model, folder, int8=True)
    inputs = batch(model, 12, 9)
    whole, exact = session(inputs), logits(model, inputs)
    assert 0 < np.abs(whole - exact).max() < 0.1 * np.abs(exact).max()
    for row in range(12):
        alone = {name: values[row : row + 1] for name, values in inputs.items()}
        np.testing.assert_allclose(session(alone), whole[row : row + 1], atol=1e-5)
    assert record == {
        "runtime": "onnx-int8",
        "library": record["library"],
        "quantization": record["quantization"],
        "validation_fp32": 0.5,
        "validation_int8": 0.5,
        "drop": 0.0,
        "max_drop": 0.1,
    }
    json.dumps(record, allow_nan=False)


def test_all_products_of_tokens_and_weights_are_int8(exported: tuple[Any, Path]) -> None:
    import onnx

    model, folder = exported
    prepared(model, folder, int8=True)
    [file] = folder.glob("onnx-int8-*/model.onnx")
    graph = onnx.load(file).graph
    weights = {tensor.name for tensor in graph.initializer}
    assert sum(node.op_type == "MatMulIntegerToFloat" for node in graph.node) == 2 * 6
    assert not [node for node in graph.node if node.op_type == "MatMul" and weights & set(node.input)]


def test_after_gelu_a_zero_point_halves_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx
    import onnxruntime

    from backends import _onnx

    random = np.random.default_rng(0)
    identity = onnx.numpy_helper.from_array(np.eye(64, dtype=np.float32), "w")  # exact in int8, so that only x loses
    kinds = {name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", "m", 64]) for name in ("x", "y")}
    nodes = [onnx.helper.make_node("Gelu", ["x"], ["g"]), onnx.helper.make_node("MatMul", ["g", "w"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "g", [kinds["x"]], [kinds["y"]], [identity])
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "exact.onnx")
    x = random.normal(size=(3, 50, 64)).astype(np.float32)
    x[0, 0] = 0  # a token of nothing but zeros
    x[0, 1] = -2  # one that is all below zero
    outputs = {}
    for name, one_sided in (("exact", None), ("fine", _onnx.ONE_SIDED), ("coarse", ())):
        if one_sided is not None:
            monkeypatch.setattr(_onnx, "ONE_SIDED", one_sided)
            _onnx.quantize(tmp_path / "exact.onnx", tmp_path / f"{name}.onnx")
        session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx", providers=["CPUExecutionProvider"])
        outputs[name] = session.run(None, {"x": x})[0]
    errors = {name: np.abs(y - outputs["exact"]).mean() for name, y in outputs.items()}
    assert 0 < errors["fine"] < 0.6 * errors["coarse"]


def test_segments_reach_the_model(tmp_path: Path) -> None:
    model = tiny("bert")
    session, _ = prepared(model, tmp_path, int8=False)
    inputs = batch(model, 2, 6)
    second = {**inputs, "token_type_ids": np.ones_like(inputs["input_ids"])}
    np.testing.assert_allclose(session(second), logits(model, second), atol=2e-4)
    assert np.abs(session(second) - session(inputs)).max() > 1e-2


def test_found_again_and_a_half_export_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backends import _onnx

    model = tiny("bert")
    real = _onnx._export

    def killed(model: Any, folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(_onnx, "_export", killed)
    with pytest.raises(KeyboardInterrupt):
        prepared(model, tmp_path, int8=False)
    monkeypatch.setattr(_onnx, "_export", real)
    session, _ = prepared(model, tmp_path, int8=False)
    monkeypatch.setattr(_onnx, "_export", killed)
    again, _ = prepared(None, tmp_path, int8=False)
    inputs = batch(model, 3, 4)
    assert np.array_equal(session(inputs), again(inputs))
    assert [path.name for path in tmp_path.iterdir() if "unfinished" in path.name] == []


def test_int8_that_loses_too_much_is_refused(tmp_path: Path) -> None:
    model = tiny("bert")
    asked: list[float] = []

    def accuracy(session: Any) -> float:
        asked.append(0.8125 if not asked else 0.75)  # fp32 is asked for first
        return asked[-1]

    with pytest.raises(RunError, match=r"0\.7500.*0\.8125.*0\.0625.*0\.05 is allowed") as refused:
        prepared(model, tmp_path, True, accuracy, 0.05)
    assert "predict.max_drop" in refused.value.hint
    _, record = prepared(model, tmp_path, True, accuracy, 0.0625)  # the comparison is kept, the verdict is not
    assert len(asked) == 2
    assert (record["validation_fp32"], record["validation_int8"], record["drop"]) == (0.8125, 0.75, 0.0625)


def test_int8_may_be_better(tmp_path: Path) -> None:
    values = iter([0.5, 0.625])
    _, record = prepared(tiny("bert"), tmp_path, True, lambda session: next(values), 0)
    assert record["drop"] == -0.125


def test_an_export_that_computes_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backends import _onnx

    real = _onnx._open
    monkeypatch.setattr(_onnx, "_open", lambda folder, device: lambda batch: real(folder, device)(batch) + 0.1)
    with pytest.raises(RunError, match="other logits"):
        prepared(tiny("bert"), tmp_path, int8=False)
    monkeypatch.undo()
    assert not list(tmp_path.glob("onnx-*[0-9]"))  # nothing that the next run would take


@pytest.mark.parametrize(("number", "raised"), [(errno.ENOSPC, OSError), (errno.ENOEXEC, RunError)])
def test_a_full_disk_does_not_make_a_model_one_that_cannot_be_exported(
    number: int, raised: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime `auto` remembers that of a model."""
    import torch

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, "error")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(raised):
        prepared(tiny("bert"), tmp_path, int8=False)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match="onnxruntime") as missing:
        prepared(None, tmp_path, int8=False)
    assert "[onnx]" in missing.value.hint


def test_a_damaged_graph_is_set_aside_and_exported_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = tiny("bert")
    session, _ = prepared(model, tmp_path, int8=False)
    (folder,) = tmp_path.iterdir()
    for path in folder.glob("model.onnx*"):
        path.write_bytes(path.read_bytes()[:-1] + b"#")
    again, _ = prepared(model, tmp_path, int8=False)
    inputs = batch(model, 3, 4)
    assert np.array_equal(session(inputs), again(inputs))
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.name, f"{folder.name}.damaged-1"]
    assert "is not the file that was written" in caplog.text
