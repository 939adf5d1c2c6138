"""Weights of linear layers in the order in which the kernels of a CPU read them, for a model that predicts.

oneDNN otherwise brings a weight into that order in each call. The packed weight takes as much memory again: the plain one stays
for `save`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

ROWS = 512
"""Tokens of a batch that the order is chosen for; others are computed in it too."""


def pack(torch: Any, model: Any) -> None:
    """Change the linear layers of `model`, whose weights must not change any more. It then computes no gradients. Nothing is
    done where torch has no such kernels."""
    if not can_pack(torch):
        return
    for layer in model.modules():
        if type(layer) is torch.nn.Linear and layer.weight.dtype in (torch.float32, torch.bfloat16):
            packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), ROWS)
            layer.forward = partial(_linear, torch.ops.mkldnn._linear_pointwise, packed, layer.bias)


def can_pack(torch: Any) -> bool:
    """Whether this build of torch has the kernels, which have no public name, and they compute what a linear layer does."""
    if not torch.backends.mkldnn.is_available():
        return False
    x, weight = torch.ones(1, 16), torch.full((16, 16), 0.5)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        return bool((_linear(torch.ops.mkldnn._linear_pointwise, packed, None, x) == x @ weight.T).all())
    except (AttributeError, RuntimeError):
        return False


def _linear(compute: Any, packed: Any, bias: Any, x: Any) -> Any:
    return compute(x, packed, bias, "none", [], "")
