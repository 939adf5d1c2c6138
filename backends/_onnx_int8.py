"""Matrix products of an ONNX graph in int8: a scale for each token, and one for each column of the weights.

ONNX Runtime's own dynamic quantization has one scale for all tokens of a batch, which one large value makes too coarse for the
others, and by which a row's label depends on the rows that share its batch. A scale for each token (Yao et al. 2022, ZeroQuant,
2206.01861) costs three more passes over the activations. What comes out of GELU is hardly ever negative: there each token has a
zero point, too, so that no half of the 256 steps is left unused. Attention,
normalization, the embedding table and the head stay fp32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.core.errors import RunError

SCHEME = "int8 weights (scale per column) and activations (scale per token, zero point after GELU); the rest fp32"
SCHEME_VERSION = 1
"""Raised when the graph changes: those of before are then not found."""

ONE_SIDED = ("Gelu", "Relu")
MIDDLE = 128  # activations are unsigned, as the processor's instruction wants them


def quantize(source: Path, target: Path) -> None:
    """Write to `target` the graph in `source`, its products of activations and weights in int8. Raises `RunError` if it
    has none.

    y = x W becomes, for x of shape (..., K) and W of shape (K, N), with s(t) = max |x(t)| / 127 of a token t and
    w(n) = max |W(n)| / 127 of a column n: y(t, n) = s(t) w(n) sum_k round(x(t, k) / s(t)) round(W(k, n) / w(n)). After GELU
    s(t) = (max x(t) - min x(t)) / 255, and what the zero point z(t) = -round(min x(t) / s(t)) adds to the sum is taken off:
    s(t) z(t) w(n) sum_k round(W(k, n) / w(n)).
    """
    import onnx

    model = onnx.load(source)
    graph = model.graph
    del graph.value_info[:]  # shapes and types of tensors, not all of which there will be
    weights = {tensor.name: tensor for tensor in graph.initializer}
    rewriter = _Rewriter({name for node in graph.node if node.op_type in ONE_SIDED for name in node.output})
    for node in graph.node:
        weight = weights.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or len(weight.dims) != 2:
            rewriter.nodes.append(node)
        else:
            rewriter.product(node, onnx.numpy_helper.to_array(weight))
    if not rewriter.steps:
        raise RunError("The model has no matrix products that could be computed in int8.", "Use predict.runtime onnx.")
    del graph.node[:]
    graph.node.extend(rewriter.nodes)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *rewriter.constants.values()])
    if not any(entry.domain == "com.microsoft" for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, target, save_as_external_data=True, location="weights.bin")


class _Rewriter:
    """The nodes and constants of the new graph; activations that several products read are quantized once."""

    def __init__(self, one_sided: set[str]) -> None:
        """`one_sided`: names of activations that are hardly ever negative."""
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.steps: set[str] = set()
        self._one_sided = one_sided
        for name, value in {"zero": 0, "one": 1, "127": 1 / 127, "255": 1 / 255, "least": 1e-12}.items():
            self._constant(f"int8/{name}", np.array(value, np.float32))  # `least`: for a token of nothing but zeros
        self._constant("int8/middle", np.array(MIDDLE, np.uint8))
        self._constant("int8/bottom", np.array(0, np.uint8))
        self._constant("int8/last", np.array([-1], np.int64))

    def _constant(self, name: str, value: Any) -> str:
        import onnx

        self.constants[name] = onnx.numpy_helper.from_array(value, name)
        return name

    def _node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        import onnx

        self.nodes.append(onnx.helper.make_node(operator, inputs, [output], **attributes))
        return output

    def product(self, node: Any, weight: Any) -> None:
        x, name = node.input[0], node.input[1]
        if x not in self.steps:
            self._quantized(x, len(weight))
        largest = np.abs(weight).max(axis=0)
        scale = np.where(largest == 0, 1, largest / 127).astype(np.float32)
        weight8 = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
        inputs = [f"{x}/int8", self._constant(f"{name}/int8", weight8), "int8/one", self._constant(f"{name}/scale", scale)]
        one_sided = x in self._one_sided
        inputs += ["int8/bottom" if one_sided else "int8/middle", self._constant(f"{name}/zero", np.zeros(len(scale), np.int8))]
        y = node.output[0]
        self._node("MatMulIntegerToFloat", inputs, f"{y}/sum", domain="com.microsoft")
        scaled = self._node("Mul", [f"{y}/sum", f"{x}/scale"], f"{y}/scaled")
        if one_sided:
            columns = (weight8.sum(axis=0, dtype=np.float64) * scale).astype(np.float32)
            self._node("Mul", [f"{x}/offset", self._constant(f"{name}/columns", columns)], f"{y}/offset")
            scaled = self._node("Sub", [scaled, f"{y}/offset"], f"{y}/centred")
        self._node("Reshape", [scaled, f"{x}/shape"], y)

    def _quantized(self, x: str, width: int) -> None:
        """`x/int8`, shape (tokens, width), and `x/scale`, shape (tokens, 1); `x/shape`: what a product is reshaped to."""
        self.steps.add(x)
        self._node("Shape", [x], f"{x}/rows", end=-1)
        self._node("Concat", [f"{x}/rows", "int8/last"], f"{x}/shape", axis=0)
        flat = self._node("Reshape", [x, self._constant(f"{x}/flat_shape", np.array([-1, width], np.int64))], f"{x}/flat")
        if x in self._one_sided:
            self._range_from_lowest(x, flat)
        else:
            self._range_around_zero(x, flat)
        self._node("QuantizeLinear", [flat, f"{x}/scales", f"{x}/zeros"], f"{x}/int8", axis=0)

    def _range_around_zero(self, x: str, flat: str) -> None:
        """`x/scale`; `x/scales` and `x/zeros`, shape (tokens,)."""
        import onnx

        self._node("Abs", [flat], f"{x}/abs")
        self._node("ReduceMax", [f"{x}/abs", "int8/last"], f"{x}/max", keepdims=1)
        self._scale(x, f"{x}/max", "int8/127")
        self._node("Shape", [f"{x}/scales"], f"{x}/tokens")
        middle = onnx.helper.make_tensor("value", onnx.TensorProto.UINT8, [1], [MIDDLE])
        self._node("ConstantOfShape", [f"{x}/tokens"], f"{x}/zeros", value=middle)

    def _range_from_lowest(self, x: str, flat: str) -> None:
        """The same, and `x/offset`, shape (tokens, 1): scale times zero point."""
        import onnx

        self._node("ReduceMin", [flat, "int8/last"], f"{x}/min", keepdims=1)
        self._node("Min", [f"{x}/min", "int8/zero"], f"{x}/lowest")  # zero itself must be in the range
        self._node("ReduceMax", [flat, "int8/last"], f"{x}/max", keepdims=1)
        self._node("Max", [f"{x}/max", "int8/zero"], f"{x}/highest")
        self._scale(x, self._node("Sub", [f"{x}/highest", f"{x}/lowest"], f"{x}/range"), "int8/255")
        self._node("Div", [f"{x}/lowest", f"{x}/scale"], f"{x}/steps")
        self._node("Neg", [f"{x}/steps"], f"{x}/exact_zero")
        self._node("Round", [f"{x}/exact_zero"], f"{x}/zero")
        self._node("Mul", [f"{x}/zero", f"{x}/scale"], f"{x}/offset")
        self._node("Reshape", [f"{x}/zero", "int8/last"], f"{x}/flat_zeros")
        self._node("Cast", [f"{x}/flat_zeros"], f"{x}/zeros", to=onnx.TensorProto.UINT8)

    def _scale(self, x: str, span: str, step: str) -> None:
        self._node("Mul", [span, step], f"{x}/exact_scale")
        self._node("Add", [f"{x}/exact_scale", "int8/least"], f"{x}/scale")
        self._node("Reshape", [f"{x}/scale", "int8/last"], f"{x}/scales")
