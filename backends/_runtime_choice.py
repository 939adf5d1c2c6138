"""The runtime that a trained encoder predicts with on a CPU, where `predict.runtime` is auto.

torch is measured first. Only where it would take long is the model exported and each runtime measured and, in int8, scored, on
validation rows. What was measured is kept beside the trained model, and the choice follows from it and the number of rows
alone: so a run that is repeated on the machine makes the same choice, whatever else was run in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.core.json_files import digest, read_sealed, write_sealed
from harness.core.machine import describe_machine, threads
from harness.core.record import RuntimeChoice

LEAST_ROWS = 2000
"""Fewer rows are predicted in torch without a measurement: an export seldom pays, and the run's id says torch."""
PATIENCE = 120.0
"""Seconds that torch may need for all rows: an export and its checks take a good part of them, too."""
GAIN = 1.1
"""How much faster than torch a runtime must be to take its place: less may be noise."""
SAMPLE = 128
"""Validation rows that are timed."""
ROUNDS = 3
"""Alternating; the fastest one counts."""


class Measured(BaseModel):
    """`alone`: torch's seconds per row, before anything was exported. `seconds`: per row, by runtime, side by side. `scores`:
    the main metric on the validation rows in fp32 and int8, higher is better. `failed`: why the model can't be exported."""

    model_config = ConfigDict(extra="forbid")
    rows: int
    alone: float
    seconds: dict[str, float] = {}
    scores: dict[str, float] = {}
    failed: str = ""

    @property
    def is_complete(self) -> bool:
        return bool(self.failed or self.seconds)

    def is_long(self, rows: int) -> bool:
        """Whether torch needs so long for so many rows that an export may pay."""
        return self.alone * rows > PATIENCE

    def choice(self, rows: int, max_drop: float) -> str:
        """The fastest runtime for so many rows; int8 only if it loses at most `max_drop`."""
        if not self.is_long(rows) or self.failed:
            return "torch"
        keeps = self.scores["fp32"] - self.scores["int8"] <= max_drop + 1e-9  # not if one is NaN
        allowed = {name: each for name, each in self.seconds.items() if name != "onnx-int8" or keeps}
        fastest = min(allowed, key=lambda name: allowed[name])
        return fastest if allowed["torch"] >= GAIN * allowed[fastest] else "torch"

    def told(self, rows: int) -> RuntimeChoice:
        """For the record of a run on so many rows."""
        failed = self.failed if self.is_long(rows) else ""
        seconds = self.seconds if self.is_long(rows) and not failed else {"torch": self.alone}
        milliseconds = {name: float(f"{1000 * each:.4g}") for name, each in seconds.items()}
        return RuntimeChoice(timed_rows=self.rows, milliseconds=milliseconds, failed=failed or None)


def can_export() -> bool:
    """Whether the libraries of the extra `onnx` are there. Imports none of them."""
    return all(find_spec(name) is not None for name in ("onnx", "onnxruntime", "onnxscript"))


def file_of(folder: Path, depends_on: Mapping[str, Any]) -> Path:
    """Of what was measured on this machine, with these versions, of the model in `folder`."""
    import onnxruntime  # not asked of its metadata: onnxruntime-gpu and others bring the same module

    machine = describe_machine()
    libraries = {**{name: version(name) for name in ("torch", "transformers")}, "onnxruntime": onnxruntime.__version__}
    known = [machine.cpu, machine.cores, threads(), libraries, dict(depends_on)]
    return folder / f"runtime-{digest(known)[:12]}.json"


def read(file: Path) -> Measured | None:
    """None where nothing was measured, or the file is damaged or of another version."""
    with suppress(ValueError):
        return Measured.model_validate(read_sealed(file))
    return None


def write(file: Path, measured: Measured) -> None:
    write_sealed(file, measured.model_dump())


def timed(ways: Mapping[str, Callable[[], object]], rows: int) -> dict[str, float]:
    """Seconds per row of each way to compute `rows` rows: the best of some alternating rounds, after a warm-up."""
    seconds = dict.fromkeys(ways, float("inf"))
    for number in range(ROUNDS + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if number:
                seconds[name] = min(seconds[name], (time.perf_counter() - started) / rows)
    return seconds
