"""A trained encoder in ONNX Runtime: exported once, kept beside the model, and in int8 if validation rows do not mind."""

from __future__ import annotations

import inspect
import json
import logging
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends._onnx_int8 import SCHEME, SCHEME_VERSION, quantize
from harness.core.durable import commit, damage_of, seal, set_aside
from harness.core.errors import MissingExtra, OutOfMemory, RunError, UserError

Session = Callable[[dict[str, Any]], NDArray[np.float32]]
"""int64 arrays `input_ids`, `attention_mask` (and `token_type_ids`), shape (n, longest), to logits, shape (n, outputs)."""

log = logging.getLogger("bench")

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
TOLERANCE = 1e-3  # of a logit; what is left of fp32 after some hundred operations in another order is below 1e-4
DIGITS = 4  # in the record


def prepare(
    model: Any,
    folder: Path,
    *,
    int8: bool,
    accuracy: Callable[[Session], float],
    max_drop: float,
    device: str = "cpu",
) -> tuple[Session, dict[str, Any]]:
    """The session that takes the place of `model` (a transformers sequence classifier in fp32), and what a record says of it.

    Graphs are kept in `folder`, and found there the next time. `accuracy` is the metric of the validation rows (higher is
    better), asked once for each graph, and only for int8: that runs on the CPU whatever the `device`. Raises `MissingExtra`,
    and `RunError` where the model can't be exported, or loses more than `max_drop` of the metric in int8.
    """
    runtime = _import_onnxruntime()
    exported = folder / f"onnx-{runtime.__version__}"
    _build(exported, lambda unfinished: _export(model, unfinished))
    record = {"runtime": "onnx-int8" if int8 else "onnx", "library": f"onnxruntime {runtime.__version__}"}
    if not int8:
        return _open(exported, "cpu" if device == "cpu" else "cuda"), record
    quantized = folder / f"onnx-int8-{SCHEME_VERSION}-{runtime.__version__}"
    _build(quantized, lambda unfinished: quantize(exported / "model.onnx", unfinished / "model.onnx"))
    session = _open(quantized, "cpu")
    # Another CPU may round, and saturate, in another way.
    found = _compared(quantized / f"validation-{_cpu()}.json", accuracy, session, exported)
    drop = found["fp32"] - found["int8"]
    if not drop <= max_drop + 1e-9:  # also where one is not a number; 0.49 - 0.485 is a little more than 0.005
        raise RunError(
            f"In int8 the model is worth {found['int8']:.4f} on the validation rows, in fp32 {found['fp32']:.4f}: "
            f"a drop of {drop:.4f}, where {max_drop:g} is allowed.",
            "Allow more by predict.max_drop, or use predict.runtime onnx. (A CPU without VNNI loses more than others.)",
        )
    numbers = {"validation_fp32": found["fp32"], "validation_int8": found["int8"], "drop": drop, "max_drop": max_drop}
    return session, {**record, "quantization": SCHEME, **{key: round(value, DIGITS) for key, value in numbers.items()}}


def _cpu() -> str:
    from harness.core.machine import describe_machine

    return re.sub(r"\W+", "-", str(describe_machine().cpu))


def _import_onnxruntime() -> Any:
    """onnxruntime; all that a first export needs is asked for at once."""
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
    """Write `model.onnx` (weights in a file of their own, as those of 2 GiB must be), and see that it computes the same."""
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
    # Its matrix products are what ONNX Runtime fuses best; of sdpa, guards against rows without a token would be left.
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
    except Exception as error:  # an exporter of many layers, each with errors of its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise RunError(
            f"The model ({model.config.model_type}) can't be exported to ONNX: {type(error).__name__}: {reason}",
            "Use predict.runtime torch.",
        ) from error
    finally:
        model.set_attn_implementation(before)


def _check(model: Any, session: Session) -> None:
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
                f"The model exported to ONNX gives other logits than the one that was trained (by {off:.2g}).",
                "Use predict.runtime torch.",
            )


def _example(model: Any, rows: int, width: int) -> dict[str, NDArray[np.int64]]:
    """Random tokens; all rows but the first are padded, each a little more."""
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, (rows, width))
    mask = (np.arange(width) < width - np.arange(rows)[:, None] % width).astype(np.int64)
    known = inspect.signature(model.forward).parameters
    return {name: v for name, v in zip(INPUTS, (ids, mask, np.zeros_like(ids)), strict=True) if name in known}


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of what it does not need, and of its own use of torch."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _open(folder: Path, device: str) -> Session:
    """With as many threads as torch has. Raises `OutOfMemory` when it is called with more than fits."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    on_gpu = device == "cuda"
    # Without TF32: this is the runtime for fp32.
    providers: list[Any] = [("CUDAExecutionProvider", {"use_tf32": "0"})] if on_gpu else []
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=[*providers, "CPUExecutionProvider"])
    if on_gpu and session.get_providers()[0] != "CUDAExecutionProvider":  # it falls back without a word
        raise UserError(
            "ONNX Runtime can't use this machine's GPU.",
            "Install onnxruntime-gpu in place of onnxruntime, or --set device=cpu.",
        )
    names = [given.name for given in session.get_inputs()]

    def run(batch: Mapping[str, Any]) -> NDArray[np.float32]:
        # A tokenizer that knows no segments gives none; the model then takes all tokens to be of the first.
        inputs = {name: batch[name] if name in batch else np.zeros_like(batch["input_ids"]) for name in names}
        try:
            return np.asarray(session.run(["logits"], inputs)[0], dtype=np.float32)
        except Exception as error:  # its errors are of classes that a C++ module makes, one for a kind
            if "allocate" in str(error) or "bad_alloc" in str(error):
                raise OutOfMemory("ONNX Runtime ran out of memory.") from error
            raise

    return run


def _compared(file: Path, accuracy: Callable[[Session], float], session: Session, exported: Path) -> dict[str, float]:
    """The metric of both graphs, as it was found when the int8 graph was new."""
    from harness.core.json_files import sealed, unsealed, write_atomically

    try:
        numbers, _ = unsealed(file.read_bytes())
    except (OSError, ValueError):  # not there, or damaged
        numbers = {"fp32": float(accuracy(_open(exported, "cpu"))), "int8": float(accuracy(session))}
        write_atomically(file, json.dumps(sealed(numbers)))
    return numbers
