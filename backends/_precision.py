"""The precision of a training: of what the weights are kept in, and of what is computed in."""

from __future__ import annotations

from typing import Literal

from backends._encoder_options import BasePrecision, Precision
from backends._torch import computes_in_bf16, resolve_dtype
from harness.core.errors import UserError

PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
DTYPES = {short: long for long, short in PRECISIONS.items()}


def base_precision(asked: BasePrecision | Literal["auto"], device: str) -> BasePrecision:
    """Of the weights that adapters are added to."""
    if asked != "auto":
        return asked
    return "bfloat16" if computes_in_bf16(device) else "float32"


def training_precision(asked: Precision, base: BasePrecision, device: str) -> str:
    """What is computed in: one of `DTYPES`. Raises `UserError` for one that the base or the device does not allow."""
    found: str = asked
    if asked == "auto":
        on_cpu = base == "bfloat16" and device == "cpu"
        found = PRECISIONS["bfloat16" if on_cpu else resolve_dtype(device, "auto")]
    if base == "bfloat16" and found == "fp32":
        raise UserError("A base in bfloat16 is not trained in fp32.", "Set train.precision=bf16, or train.lora.base=float32.")
    if found == "fp16" and device == "cpu":
        raise UserError("Training in fp16 needs a GPU.", "Use bf16 or fp32 on a CPU.")
    return found
