"""A shard: one of several parts of a run, each for a process or a machine of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

SUFFIX = r"\.shard-\d+-of-\d+"
"""Pattern of `Shard.suffix`."""
_TEXT = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """Part `index` of `count`; the first is 1, as in `--array=1-8` of SLURM. Raises `ValueError` for numbers out of range."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ValueError(f"{self.index}/{self.count}: shards are numbered from 1 to their number")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`3/8`. Raises `ValueError`."""
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r}: expected I/N, such as 3/8")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def all_of(cls, count: int) -> list[Shard]:
        return [cls(index, count) for index in range(1, count + 1)]

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def suffix(self) -> str:
        """What the name of a shard's folder adds to the id of the run."""
        return f".shard-{self.index}-of-{self.count}"

    def has_window(self, number: int) -> bool:
        """Whether it predicts the run's batch window of that number, counted from 0."""
        return number % self.count == self.index - 1


def _read(value: Any) -> Any:
    return Shard.parse(value) if isinstance(value, str) else value


ShardField = Annotated[
    Shard, BeforeValidator(_read), PlainSerializer(str), WithJsonSchema({"type": "string", "pattern": "^[0-9]+/[0-9]+$"})
]
"""A shard in a model, as the text `3/8` in JSON."""
