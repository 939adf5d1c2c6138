"""A trained encoder in ONNX Runtime: exported once, cached beside the model, and in int8 if the validation rows allow it."""

from __future__ import annotations

import errno
import inspect
import logging
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends._batches import Batch, Compute
from harness.core.durable import commit, damage_of, seal, set_aside
from harness.core.errors import MissingExtra, OutOfMemory, RunError, UserError
from harness.core.json_files import read_sealed, write_sealed

log = logging.getLogger("bench")

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
TOLERANCE = 1e-3  # of a logit; fp32 operations in another order differ by less than 1e-4
DIGITS = 4  # in the record
DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)

SCHEME = "int8 weights (scale per column) and activations (scale per token, zero point after GELU); the rest fp32"
SCHEME_VERSION = 1
"""Increase it when the int8 graph changes, so that cached graphs are built again."""

ONE_SIDED = ("Gelu", "Relu")
"""Operators whose outputs are hardly ever negative."""


def prepare(
    model: Any, folder: Path, *, int8: bool, accuracy: Callable[[Compute], float], max_drop: float, device: str = "cpu"
) -> tuple[Compute, dict[str, str | float]]:
    """The session that replaces `model` (a transformers sequence classifier in fp32), and what a record keeps of it.

    Graphs are cached in `folder`. `accuracy` is the metric on the validation rows (higher is better), called once for each
    graph, and only for int8, which runs on the CPU whatever the `device`. Raises `MissingExtra`, and `RunError` where the
    model can't be exported, or loses more than `max_drop` of the metric in int8.
    """
    if not int8:
        return exact(lambda: model, folder, device), report("onnx")
    session, found = quantized(lambda: model, folder, accuracy)
    drop = found["fp32"] - found["int8"]
    if not drop <= max_drop + 1e-9:  # also if one is NaN; 0.49 - 0.485 is a little more than 0.005
        raise RunError(
            f"The int8 model scores {found['int8']:.4f} on the validation rows, the fp32 model {found['fp32']:.4f}: "
            f"a drop of {drop:.4f}, where {max_drop:g} is allowed.",
            "Allow more by predict.max_drop, or use predict.runtime onnx. (A CPU without VNNI loses more than others.)",
        )
    return session, report("onnx-int8", found, max_drop)


def exact(model: Callable[[], Any], folder: Path, device: str = "cpu") -> Compute:
    """The session in fp32. `model` is called only if its graph is not in `folder`. Raises as `prepare` does."""
    return _open(_exported(model, folder), "cpu" if device == "cpu" else "cuda")


def quantized(model: Callable[[], Any], folder: Path, accuracy: Callable[[Compute], float]) -> tuple[Compute, dict[str, float]]:
    """The session in int8, and the metric on the validation rows in `fp32` and in `int8`, as `prepare` takes it."""
    exported = _exported(model, folder)
    built = folder / f"onnx-int8-{SCHEME_VERSION}-{_import_onnxruntime().__version__}"
    _build(built, lambda unfinished: quantize(exported / "model.onnx", unfinished / "model.onnx"))
    session = _open(built, "cpu")
    # Another CPU may round and saturate differently.
    return session, _compared(built / f"validation-{_cpu()}.json", accuracy, session, exported)


@dataclass(frozen=True, slots=True)
class Sessions:
    """`scores`: as `quantized` gives them."""

    exact: Compute
    int8: Compute
    scores: dict[str, float]


def sessions(model: Callable[[], Any], folder: Path, accuracy: Callable[[Compute], float]) -> Sessions:
    """Both sessions, to be compared. Raises as `prepare` does."""
    int8, scores = quantized(model, folder, accuracy)
    return Sessions(exact(model, folder), int8, scores)


def report(runtime: str, scores: Mapping[str, float] | None = None, max_drop: float | None = None) -> dict[str, str | float]:
    """What a record keeps of a session; of one in int8 with its `scores`, as `quantized` gives them."""
    found: dict[str, str | float] = {"runtime": runtime, "library": f"onnxruntime {_import_onnxruntime().__version__}"}
    if scores is None or max_drop is None:
        return found
    drop = scores["fp32"] - scores["int8"]
    values = {"validation_fp32": scores["fp32"], "validation_int8": scores["int8"], "drop": drop, "max_drop": max_drop}
    return {**found, "quantization": SCHEME, **{name: round(value, DIGITS) for name, value in values.items()}}


def _exported(model: Callable[[], Any], folder: Path) -> Path:
    exported = folder / f"onnx-{_import_onnxruntime().__version__}"
    _build(exported, lambda unfinished: _export(model(), unfinished))
    return exported


def _cpu() -> str:
    from harness.core.machine import describe_machine

    return re.sub(r"\W+", "-", str(describe_machine().cpu))


def _import_onnxruntime() -> Any:
    """onnxruntime; checks for all that an export needs."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtra((error.name or "onnxruntime").partition(".")[0], "onnx", "The runtime onnx") from error
    return onnxruntime


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    """Fill `folder` by `build`, unless it is there; whole or not at all."""
    problem = damage_of(folder) if folder.is_dir() else ""
    if problem:
        log.warning("%s %s. It was set aside as %s.", folder, problem, set_aside(folder).name)
    if folder.is_dir():
        return
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    build(unfinished)
    seal(unfinished)
    commit(unfinished, folder)


def _export(model: Any, folder: Path) -> None:
    """Write `model.onnx` (weights in a separate file, as those of 2 GiB must be), and check that it computes the same."""
    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
            segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            return self.model(input_ids=input_ids, attention_mask=attention_mask, **segments).logits

    example = _example(model, rows=3, width=11)
    before = model.config._attn_implementation
    # ONNX Runtime fuses eager attention best; sdpa would leave guards against rows without tokens.
    model.set_attn_implementation("eager")
    try:
        with _quiet(), torch.inference_mode():
            program = torch.onnx.export(
                Logits().eval(),
                (),
                kwargs={name: torch.from_numpy(values) for name, values in example.items()},
                input_names=list(example),
                output_names=["logits"],
                dynamo=True,
                dynamic_shapes={key: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for key in example},
                verbose=False,
            )
            assert program is not None
            program.save(folder / "model.onnx", external_data=True)
        _check(model, _open(folder, "cpu"))
    except (RunError, UserError):
        raise
    except Exception as error:  # the exporter's parts raise errors of many classes
        if isinstance(error, OSError) and error.errno in DISK_IS_FULL:  # which says nothing of the model
            raise
        reason = (str(error).strip().splitlines() or [""])[0]
        raise RunError(
            f"The model ({model.config.model_type}) can't be exported to ONNX: {type(error).__name__}: {reason}",
            "Use predict.runtime torch.",
        ) from error
    finally:
        model.set_attn_implementation(before)


def _check(model: Any, session: Compute) -> None:
    """Raises `RunError` unless both give the same logits, for shapes that the export has not seen."""
    import torch

    for rows, width in ((1, 5), (6, 16)):
        example = _example(model, rows, width)
        with torch.inference_mode():
            expected = model(**{name: torch.from_numpy(values) for name, values in example.items()}).logits.numpy()
        found = session(example)
        off = np.abs(found - expected).max() if found.shape == expected.shape else np.inf
        if not off <= TOLERANCE * (1 + np.abs(expected).max()):
            raise RunError(
                f"The model exported to ONNX gives other logits than the trained one (by {off:.2g}).",
                "Use predict.runtime torch.",
            )


def _example(model: Any, rows: int, width: int) -> Batch:
    """Random tokens; all rows but the first are padded, each a little more."""
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, (rows, width))
    mask = (np.arange(width) < width - np.arange(rows)[:, None] % width).astype(np.int64)
    known = inspect.signature(model.forward).parameters
    return {name: v for name, v in zip(INPUTS, (ids, mask, np.zeros_like(ids)), strict=True) if name in known}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings about optional libraries and its own use of torch."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _open(folder: Path, device: str) -> Compute:
    """A session with as many threads as torch has. It raises `OutOfMemory` for a batch that does not fit."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    on_gpu = device == "cuda"
    # Without TF32: this is the runtime for fp32.
    providers: list[Any] = [("CUDAExecutionProvider", {"use_tf32": "0"})] if on_gpu else []
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=[*providers, "CPUExecutionProvider"])
    if on_gpu and session.get_providers()[0] != "CUDAExecutionProvider":  # it falls back silently
        raise UserError(
            "ONNX Runtime can't use this machine's GPU.",
            "Install onnxruntime-gpu in place of onnxruntime, or --set device=cpu.",
        )
    names = [given.name for given in session.get_inputs()]

    def run(batch: Batch) -> NDArray[np.float32]:
        # A tokenizer without segments gives none: all tokens are then of the first.
        inputs = {name: batch[name] if name in batch else np.zeros_like(batch["input_ids"]) for name in names}
        try:
            return np.asarray(session.run(["logits"], inputs)[0], dtype=np.float32)
        except Exception as error:  # its error classes come from a C++ module
            if "allocate" in str(error) or "bad_alloc" in str(error):
                raise OutOfMemory("ONNX Runtime ran out of memory.") from error
            raise

    return run


def _compared(file: Path, accuracy: Callable[[Compute], float], session: Compute, exported: Path) -> dict[str, float]:
    """The metric of both graphs, measured once."""
    numbers = read_sealed(file)
    if numbers is None:
        numbers = {"fp32": float(accuracy(_open(exported, "cpu"))), "int8": float(accuracy(session))}
        write_sealed(file, numbers)
    return numbers


# --- int8: matrix products with a scale for each token, and one for each column of the weights -------------------------
#
# ONNX Runtime's own dynamic quantization has one scale for all tokens of a batch. One large value makes it too coarse for
# the others, and a row's label depends on the rows that share its batch. A scale per token (Yao et al. 2022, ZeroQuant,
# 2206.01861) costs three more passes over the activations. The outputs of GELU are hardly ever negative: there each token
# also has a zero point, so that all 256 steps are used. Attention, normalization, the embedding table and the head stay fp32.

CONSTANTS: dict[str, NDArray[Any]] = {
    "int8/zero": np.array(0, np.float32),
    "int8/one": np.array(1, np.float32),
    "int8/127": np.array(1 / 127, np.float32),
    "int8/255": np.array(1 / 255, np.float32),
    "int8/least": np.array(1e-12, np.float32),  # for a token of nothing but zeros
    "int8/middle": np.array(128, np.uint8),  # activations are unsigned, as the processor's instruction needs
    "int8/bottom": np.array(0, np.uint8),
    "int8/last": np.array([-1], np.int64),
}

# Nodes as `output = Operator(inputs) attribute=value`. Of activations x, shape (..., K), the first gives `x/flat`, shape
# (tokens, K), and `x/shape`, that of a product. The next two give `x/scale`, shape (tokens, 1), and `x/zeros` (tokens,).
FLATTEN = """
{x}/rows = Shape({x}) end=-1
{x}/shape = Concat({x}/rows, int8/last) axis=0
{x}/flat = Reshape({x}, {x}/flat_shape)
"""
AROUND_ZERO = """
{x}/abs = Abs({x}/flat)
{x}/max = ReduceMax({x}/abs, int8/last) keepdims=1
{x}/exact_scale = Mul({x}/max, int8/127)
{x}/scale = Add({x}/exact_scale, int8/least)
{x}/tokens = Shape({x}/flat) end=1
{x}/zeros = Expand(int8/middle, {x}/tokens)
"""
FROM_LOWEST = """
{x}/min = ReduceMin({x}/flat, int8/last) keepdims=1
{x}/lowest = Min({x}/min, int8/zero)
{x}/max = ReduceMax({x}/flat, int8/last) keepdims=1
{x}/highest = Max({x}/max, int8/zero)
{x}/range = Sub({x}/highest, {x}/lowest)
{x}/exact_scale = Mul({x}/range, int8/255)
{x}/scale = Add({x}/exact_scale, int8/least)
{x}/steps = Div({x}/lowest, {x}/scale)
{x}/exact_zero = Neg({x}/steps)
{x}/zero = Round({x}/exact_zero)
{x}/offset = Mul({x}/zero, {x}/scale)
{x}/flat_zeros = Reshape({x}/zero, int8/last)
{x}/zeros = Cast({x}/flat_zeros) to=2
"""
QUANTIZE = """
{x}/scales = Reshape({x}/scale, int8/last)
{x}/int8 = QuantizeLinear({x}/flat, {x}/scales, {x}/zeros) axis=0
"""
PRODUCT = """
{y}/sum = com.microsoft.MatMulIntegerToFloat({x}/int8, {w}/int8, int8/one, {w}/scale, {middle}, {w}/zero)
{y}/scaled = Mul({y}/sum, {x}/scale)
"""
OFFSET = """
{y}/offset = Mul({x}/offset, {w}/columns)
{y}/centred = Sub({y}/scaled, {y}/offset)
"""


def quantize(source: Path, target: Path) -> None:
    """Write to `target` the graph in `source`, its products of activations and weights in int8. Raises `RunError` if it
    has none.

    y = x W becomes, for x of shape (..., K) and W of shape (K, N), with s(t) = max |x(t)| / 127 of a token t and
    w(n) = max |W(n)| / 127 of a column n: y(t, n) = s(t) w(n) sum_k round(x(t, k) / s(t)) round(W(k, n) / w(n)). After GELU
    s(t) = (max x(t) - min x(t)) / 255, and the part of the sum that comes from the zero point z(t) = -round(min x(t) / s(t))
    is subtracted: s(t) z(t) w(n) sum_k round(W(k, n) / w(n)).
    """
    import onnx

    model = onnx.load(source)
    graph = model.graph
    del graph.value_info[:]  # shapes and types of tensors, some of which go
    weights = {tensor.name: tensor for tensor in graph.initializer}
    one_sided = {name for node in graph.node if node.op_type in ONE_SIDED for name in node.output}
    nodes: list[Any] = []
    constants = dict(CONSTANTS)
    for node in graph.node:
        weight = weights.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or len(weight.dims) != 2:
            nodes.append(node)
        else:
            nodes += _product(node, onnx.numpy_helper.to_array(weight), node.input[0] in one_sided, constants)
    if len(constants) == len(CONSTANTS):
        raise RunError("The model has no matrix products that could be computed in int8.", "Use predict.runtime onnx.")
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())])
    if not any(entry.domain == "com.microsoft" for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, target, save_as_external_data=True, location="weights.bin")


def _product(node: Any, weight: NDArray[Any], one_sided: bool, constants: dict[str, NDArray[Any]]) -> Iterator[Any]:
    """The nodes that replace a product; what they need is added to `constants`. Activations are quantized once."""
    import onnx

    (x, w), y = node.input, node.output[0]
    template = PRODUCT + (OFFSET if one_sided else "")
    if f"{x}/flat_shape" not in constants:
        constants[f"{x}/flat_shape"] = np.array([-1, len(weight)], np.int64)
        template = FLATTEN + (FROM_LOWEST if one_sided else AROUND_ZERO) + QUANTIZE + template
    largest = np.abs(weight).max(axis=0)
    scale = np.where(largest == 0, 1, largest / 127).astype(np.float32)
    weight8 = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
    constants |= {f"{w}/int8": weight8, f"{w}/scale": scale, f"{w}/zero": np.zeros(len(scale), np.int8)}
    if one_sided:
        constants[f"{w}/columns"] = (weight8.sum(axis=0, dtype=np.float64) * scale).astype(np.float32)
    for line in template.format(x=x, y=y, w=w, middle="int8/bottom" if one_sided else "int8/middle").split("\n"):
        if parts := re.fullmatch(r"(.+) = (.+?)\((.+)\)(.*)", line):
            output, operator, inputs, rest = parts.groups()
            domain, _, operator = operator.rpartition(".")
            attributes = {name: int(value) for name, value in (one.split("=") for one in rest.split())}
            yield onnx.helper.make_node(operator, inputs.split(", "), [output], domain=domain, **attributes)
    yield onnx.helper.make_node("Reshape", [f"{y}/{'centred' if one_sided else 'scaled'}", f"{x}/shape"], [y])
