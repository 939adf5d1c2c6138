"""What the models of runs are: parameters, the precision of their weights as stored and as used, the base model."""

from __future__ import annotations

from harness.core.record import CheckpointFacts, RunRecord
from harness.models.packaged import PACKAGED, PackagedModel

SHORT = {"float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
LONG = {short: name for name, short in SHORT.items()}
RUNTIMES = {"onnx": "float32", "onnx-int8": "int8"}
UNITS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


def packaged_of(record: RunRecord) -> PackagedModel | None:
    """The entry of the run's packaged model, if it is of the same revision."""
    backend = record.identity.backend
    kind, _, name = str(backend.model).partition(":")
    found = PACKAGED.get(name) if kind == "packaged" else None
    return found if found and found.revision == backend.revision else None


def facts_of(record: RunRecord) -> CheckpointFacts:
    """What the record says of its checkpoint. What an older record of a packaged model lacks is filled in: the revision
    determines it."""
    found, known = record.checkpoint or CheckpointFacts(), packaged_of(record)
    if known is None:
        return found
    return CheckpointFacts(
        parameters=known.parameters if found.parameters is None else found.parameters,
        stored=found.stored or known.stored,
        base=found.base or known.base,
    )


def used_precision(record: RunRecord) -> str | None:
    """Of the weights in the prediction pass: `float32`, `nf4`, `int8`. Of weights that stay quantized, of the computation."""
    backend = record.identity.backend
    asked = backend.predict_options.get("runtime")
    runtime = asked if record.runtime is None else record.runtime.runtime  # `auto` is asked for, and one of them used
    if runtime in RUNTIMES:
        return RUNTIMES[runtime]
    quantization = str(backend.options.get("quantization") or "none")
    method = (facts_of(record).stored or "").partition("(")[2].rstrip(")")
    reads_as_stored = method and quantization.startswith(method)  # vLLM's awq_marlin reads weights of awq
    return backend.dtype if quantization == "none" or reads_as_stored else quantization


def count_told(parameters: int) -> str:
    """`135M`, `7.2B`."""
    for unit, letter in UNITS:
        if parameters >= 0.9995 * unit:  # 999,900,000 reads as 1.0B
            share = parameters / unit
            return f"{share:.1f}{letter}" if share < 9.95 else f"{share:,.0f}{letter}"
    return f"{parameters:,}"


def precision_told(record: RunRecord) -> str:
    """`4-bit → fp32`: as stored, and as used where that differs. Empty where it is not known how the weights were stored."""
    stored, used = facts_of(record).stored, used_precision(record)
    if stored is None:
        return ""
    names = [SHORT.get(name, name) for name in (stored.partition(" (")[0], used) if name]
    return " → ".join(dict.fromkeys(names))


def weights_told(record: RunRecord) -> str:
    """`118M, 4-bit → fp32`: parameters and `precision_told`, as far as they are known."""
    parameters = facts_of(record).parameters
    return ", ".join(part for part in ("" if parameters is None else count_told(parameters), precision_told(record)) if part)
