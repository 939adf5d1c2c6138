"""Figures that others published: shown beside measured ones, never ranked with them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from harness.specs.yamlspec import Spec, load_yaml_spec

SHARES = frozenset({"accuracy", "binary_accuracy", "off_by_one", "subset_accuracy"})
"""Metrics that count rows: with their number known, these have an interval."""


class Figure(Spec):
    """One published number."""

    run: str | None = Field(
        default=None, description="Run of a recipe to show it beside; none: in no table of `bench study recipe`."
    )
    model: str = Field(min_length=1, description="What was measured, in the words of the source.")
    task: str = Field(min_length=1, description="Name of the task.")
    lang: str | None = Field(default=None, description="Language of the rows; none: all of the task's together.")
    train: str = Field(default="", description="What was trained on, or how it was prompted.")
    split: str = Field(default="test", description="Rows that were measured: `test` or `validation`.")
    n: int | None = Field(default=None, ge=1, description="Number of these rows, where it is known.")
    metric: str = Field(min_length=1, description="Name of a metric of bench, or words with a unit (`rows/s`).")
    value: float = Field(description="The number.", allow_inf_nan=False)
    note: str = Field(default="", description="Note for the reader.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.metric in SHARES and not 0 <= self.value <= 1:
            raise ValueError(f"a share must be between 0 and 1, and {self.metric} is {self.value:g}")
        return self

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% interval of a share of `n` rows by Clopper and Pearson (1934); else None. The count of a rounded share is the
        nearest one."""
        if self.n is None or self.metric not in SHARES:
            return None
        from scipy.stats import binomtest

        interval = binomtest(round(self.value * self.n), self.n).proportion_ci(confidence_level=0.95, method="exact")
        return float(interval.low), float(interval.high)

    @property
    def shown(self) -> str:
        """`0.652 [0.608, 0.694]`, with the digits of the YAML, but at least three for a share."""
        number = f"{self.value:.3f}" if self.metric in SHARES and self._digits < 3 else f"{self.value:.{self._digits}f}"
        if self.interval is None:
            return number
        return f"{number} [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"

    @property
    def _digits(self) -> int:
        text = repr(self.value)
        return len(text.partition(".")[2]) if not math.isclose(self.value, round(self.value)) and "e" not in text else 0


class Reported(Spec):
    """One file of `results/reported/`."""

    name: str = Field(description="Taken from the file's name; not in the file.")
    source: str = Field(min_length=1, description="Who published the figures, and where.")
    note: str = Field(default="", description="Note for the reader about all figures.")
    figures: list[Figure] = Field(min_length=1, description="The numbers.")


def load_reported(path: Path) -> Reported:
    """Read a YAML of published figures; its name is the file's stem. Raises `SpecError`."""
    return load_yaml_spec(path, Reported, name=path.stem)


def read_reported(folder: Path) -> list[Reported]:
    """All files of a folder, by name; none where there is no such folder. Raises `SpecError`."""
    return [load_reported(path) for path in sorted(folder.glob("*.yaml"))]
