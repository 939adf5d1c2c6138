"""The search space of `bench study tune`: under `search:` in a backend's YAML, the dotted name of an option -> a range or
choices."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from harness.specs.yamlspec import Spec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def _number(value: Any) -> Any:
    """`1e-5` is a number; YAML 1.1 reads it as a string, since it has no point."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", value.strip()):
        return float(value)
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers; list them under `choices`")
    return value


def _choice(value: Any) -> Any:
    return value if isinstance(value, bool) else _number(value)


Number = Annotated[int | float, BeforeValidator(_number, json_schema_input_type=int | float | str)]
Choice = Annotated[bool | int | float | str | None, BeforeValidator(_choice)]


class Parameter(Spec):
    """Numbers from `low` to `high`, whole ones if both are; or one of `choices`."""

    low: Number | None = Field(None, description="the lowest number to try")
    high: Number | None = Field(None, description="the highest number to try")
    log: bool = Field(False, description="sample on a logarithmic scale")
    step: Number | None = Field(None, description="the numbers are `low`, `low + step`, ...")
    choices: list[Choice] | None = Field(None, description="in place of a range: the values to try")

    @model_validator(mode="after")
    def _fits(self) -> Parameter:
        if self.choices is not None:
            if not self.choices:
                raise ValueError("`choices` is empty")
            if self.low is not None or self.high is not None or self.step is not None or self.log:
                raise ValueError("`choices` go without `low`, `high`, `log` and `step`")
        else:
            self._check_range()
        return self

    def _check_range(self) -> None:
        if self.low is None or self.high is None:
            raise ValueError("it needs `low` and `high`, or `choices`")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"`low` must be below `high`, found {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"with `log`, `low` must be above 0, found {self.low}")
        if self.step is not None:
            if self.log:
                raise ValueError("`log` and `step` exclude each other")
            if not 0 < self.step <= self.high - self.low:
                raise ValueError(f"`step` must be above 0 and fit between `low` and `high`, found {self.step}")
            if self.whole and not isinstance(self.step, int):
                raise ValueError(f"whole numbers need a whole `step`, found {self.step}")

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def samples(self) -> list[Any]:
        """Values for a check: each choice; or both ends, and a fraction between them."""
        if self.choices is not None:
            return list(self.choices)
        assert self.low is not None
        assert self.high is not None
        between = [] if self.whole or self.step is not None else [self.low + (self.high - self.low) / math.pi]
        return [self.low, *between, self.high]

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices is not None:
            return CategoricalDistribution(self.choices)
        assert self.low is not None
        assert self.high is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `high` may not be a whole number of steps above `low`
            if isinstance(self.low, int) and isinstance(self.high, int):
                return IntDistribution(self.low, self.high, log=self.log, step=int(self.step or 1))
            return FloatDistribution(self.low, self.high, log=self.log, step=self.step)


Space = Mapping[str, Parameter]
