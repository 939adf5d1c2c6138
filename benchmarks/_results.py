"""What the JSON files of the benchmarks have in common: the setup, and seconds of the same work in each repeat.

A number in `docs/performance.md` is a median over the repeats, with the range. A ratio is computed in each repeat, since the
speed of a machine changes from one repeat to the next; shown are the median and the range of these ratios.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.core.errors import UserError
from harness.core.record import Machine

R = TypeVar("R", bound=BaseModel)
NONE = "-"


class Setup(BaseModel):
    """Where and when something was measured. Nothing in it identifies the machine's owner."""

    model_config = ConfigDict(frozen=True)

    date: str = Field(default="", description="day of the first measurement, UTC")
    machine: Machine
    bf16: str = Field(default="", description="instructions for matrix products in bfloat16; empty: none")
    versions: dict[str, str]


class Timed(BaseModel):
    """The same work in several repeats; a repeat that failed is left out."""

    model_config = ConfigDict(frozen=True)

    rows: int
    seconds: dict[int, float] = Field(description="by number of the repeat")

    @property
    def rates(self) -> dict[int, float]:
        """Rows per second in each repeat."""
        return {repeat: self.rows / seconds for repeat, seconds in self.seconds.items()}

    @property
    def rate(self) -> float:
        return median(self.rates.values())

    def over(self, other: Timed) -> list[float]:
        """Ratio of the rates, in each repeat that both have."""
        return [rate / other.rates[repeat] for repeat, rate in self.rates.items() if repeat in other.seconds]


def earlier(file: Path | None, kind: type[R]) -> R | None:
    """The record that the file has, if there is one. Raises `UserError` where it is no such record."""
    if file is None or not file.exists():
        return None
    try:
        return kind.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise UserError(f"{file} is no record of this benchmark.", "Name another file.") from error


def setup_here(libraries: Sequence[str]) -> Setup:
    """`libraries`: those whose versions matter, where installed. Loads torch, which knows the instructions of the processor."""
    from importlib.metadata import PackageNotFoundError, version

    import torch  # noqa: F401

    from harness.core.machine import bf16_instructions, describe_machine

    versions = {"python": sys.version.split()[0]}
    for name in libraries:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return Setup(date=f"{datetime.now(UTC):%Y-%m-%d}", machine=describe_machine(), bf16=bf16_instructions(), versions=versions)


def described(record: Mapping[str, Any]) -> str:
    """One line from any record that has the fields of `Setup`."""
    setup = Setup.model_validate(record)
    machine = setup.machine
    cores = [f"{machine.cores} cores"] if machine.cores else []
    memory = [f"{machine.memory_gib} GiB"] if machine.memory_gib else []
    bf16 = [f"bf16 by {setup.bf16}"] if setup.bf16 else []
    parts = [setup.date, ", ".join([machine.gpu or machine.cpu or "", *cores, *memory, *bf16])]
    parts.append(", ".join(f"{name} {version.partition('+')[0]}" for name, version in setup.versions.items()))
    return "; ".join(part for part in parts if part) + "."


def spread(values: Collection[float], form: str = "") -> str:
    """The median, and the range of several values: `9.8 (9.1-10.2)`. `form`: a format, by default of three digits."""
    if not values:
        return NONE
    low, middle, high = min(values), median(values), max(values)
    shown = form or _three_digits(middle)
    if len(values) == 1:
        return format(middle, shown)
    return f"{middle:{shown}} ({low:{shown}}-{high:{shown}})"


def _three_digits(value: float) -> str:
    return ".2f" if value < 10 else ".1f" if value < 100 else ",.0f"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """A table whose first `words` columns hold words, and the others numbers."""
    align = [*["---"] * words, *["---:"] * (len(head) - words)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, align, *rows])
