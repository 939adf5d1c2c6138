"""The JSON file of `benchmarks/llm.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from _results import Setup, Timed
from pydantic import BaseModel, ConfigDict, Field

NOT_ASKED, NO_LABEL = ".", "-"
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Measurement(BaseModel):
    """One part in one dtype and repeat: what it took, or the error that ended it."""

    model_config = ConfigDict(frozen=True)

    part: str
    dtype: str
    repeat: int
    finished: str
    load: float | None = Field(default=None, description="mean number of processes that were ready to run, at the start")
    error: str | None = None
    seconds: float | None = Field(default=None, description="without loading and warm-up")
    process_seconds: float | None = Field(default=None, description="of a whole command")
    load_seconds: float | None = Field(default=None, description="of a whole command of ours, by its own record")
    predict_seconds: float | None = Field(default=None, description="likewise")
    labels: str = Field(default="", description="a character a row, in the rows' order: digit, - no label, . not asked")
    prompt_tokens: int = 0
    new_tokens: int = Field(default=0, description="generated, over all rows")
    flops: float = Field(default=0.0, description="that the rows need, see `needed_flops`")
    gflops: dict[str, float] = Field(default_factory=dict, description="of matrix products, by shape; `layer`: all of a layer")
    settings: dict[str, Any] = Field(default_factory=dict, description="of a rival")

    @property
    def rows(self) -> int:
        return len(self.labels) - self.labels.count(NOT_ASKED)


class Settings(BaseModel):
    """What all parts have in common. `data`: a folder, or None for the task's own source."""

    model_config = ConfigDict(frozen=True)

    task: str
    lang: str
    data: str | None = Field(default=None, exclude=True)
    rows: int
    loop_rows: int = Field(description="of the parts that take one chat at a time")
    lm_eval_rows: int
    model: str


class Record(BaseModel):
    setup: Setup
    settings: Settings
    prompt: str
    fingerprint: str = Field(description="digest of the rows")
    distinct: int = Field(description="texts among the rows")
    code: str = Field(description="digest of our code: times of two states of it are not of one run")
    measurements: list[Measurement] = Field(default_factory=list)

    def done(self) -> list[Measurement]:
        return [m for m in self.measurements if m.error is None]

    def find(self, part: str, dtype: str) -> list[Measurement]:
        return [m for m in self.done() if (m.part, m.dtype) == (part, dtype)]

    def timed(self, part: str, dtype: str, field: str = "seconds") -> Timed | None:
        """`field` of the part in each repeat; None where it was not measured."""
        found = {m.repeat: getattr(m, field) for m in self.find(part, dtype) if getattr(m, field) is not None}
        return Timed(rows=self.find(part, dtype)[0].rows, seconds=found) if found else None

    def dtypes(self) -> list[str]:
        return list(dict.fromkeys(m.dtype for m in self.measurements))


def coded(labels: Mapping[str, int | None], ids: Iterable[str]) -> str:
    """The labels in the order of `ids`, a character each."""
    return "".join(NOT_ASKED if row not in labels else _character(labels[row]) for row in ids)


def _character(label: int | None) -> str:
    return NO_LABEL if label is None else DIGITS[label]


def same_label(labels: str, reference: str) -> float | None:
    """Share of the rows that both were asked where the first gives a label, and the same one; None without such rows."""
    pairs = [(a, b) for a, b in zip(labels, reference, strict=True) if NOT_ASKED not in (a, b)]
    return sum(a == b != NO_LABEL for a, b in pairs) / len(pairs) if pairs else None


def agreement(labels: str, others: str) -> tuple[int, int, int]:
    """Rows with the same label from both, rows with a label from either, and rows that neither gives one."""
    pairs = list(zip(labels, others, strict=True))
    read = [pair for pair in pairs if pair != (NO_LABEL, NO_LABEL)]
    return sum(a == b for a, b in read), len(read), len(pairs) - len(read)


def distinct_settings(found: Sequence[Measurement]) -> dict[str, Any]:
    """Those of the last repeat: a later one uses what the first one chose."""
    return found[-1].settings if found else {}
