"""The data types: example, label space, prediction."""

from __future__ import annotations

import datetime
import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator

Label = int | tuple[int, ...]
"""Index into `LabelSpace.names`; for a multilabel task a sorted tuple of indices (maybe empty)."""
NO_LABEL = -1
"""The label of a row that has none, as `bench label` reads it. It is an index into no label space."""


class LabelKind(StrEnum):
    ORDINAL = "ordinal"
    NOMINAL = "nominal"
    MULTILABEL = "multilabel"


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """The labels of a task, in order (of an ordinal task: from lowest to highest)."""

    kind: LabelKind
    names: tuple[str, ...]
    descriptions: tuple[str, ...] = field(default=(), compare=False)
    """What each label means, in a sentence, empty for one without; empty for a task without any."""

    def described(self) -> tuple[tuple[str, str], ...]:
        """The name and the description of each label, "" where it has none."""
        return tuple(zip(self.names, self.descriptions or ("",) * len(self.names), strict=True))

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a task. `id` is unique within the task; `lang` is an ISO 639-1 code.

    `group`: what the row was sampled with (its film, author, document), None for a task without groups.
    """

    id: str
    text: str
    label: Label
    lang: str
    group: str | None = None


def text_digest(text: str) -> str:
    """16 hex digits of the text's SHA-256: used for ids, and kept in records to distinguish texts."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


class Status(StrEnum):
    OK = "ok"
    UNPARSED = "unparsed"  # the parser rejected the answer: counted as wrong
    FAILED = "failed"  # no answer: counted as wrong


@dataclass(frozen=True, slots=True)
class Prediction:
    """A backend's answer for one row.

    `label` is None unless `status` is OK. `probabilities` has one entry per label (they sum to 1, except for multilabel), or is
    None if the decoding has none. `reason`: a short machine-readable word for a failure. `log_p`: scores of the labels during a
    run, before calibration.
    """

    id: str
    label: Label | None
    status: Status = Status.OK
    reason: str | None = None
    probabilities: tuple[float, ...] | None = None
    log_p: tuple[float, ...] | None = None


def _date(value: object) -> str:
    """YAML reads 2020 as a number and 2020-10-06 as a date."""
    text = str(value) if isinstance(value, str | int | datetime.date) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"\d{4}(-\d{2}(-\d{2})?)?", text, re.ASCII):
        raise ValueError("expected a year, month or day, as in 2020, 2020-10 or 2020-10-06")
    datetime.date.fromisoformat(text + "0000-01-01"[len(text) :])  # a ValueError for a 13th month
    return text


Date = Annotated[str, BeforeValidator(_date, json_schema_input_type=str | int)]
"""`YYYY`, `YYYY-MM` or `YYYY-MM-DD`."""


class Calibration(StrEnum):
    NONE = "none"
    CONTEXTUAL = "contextual"
    BATCH = "batch"


class Decision(StrEnum):
    ARGMAX = "argmax"
    EXPECTED = "expected"
    MEDIAN = "median"

    @property
    def needs_order(self) -> bool:
        """Whether it is for ordinal labels only."""
        return self is not Decision.ARGMAX


class ShotsBy(StrEnum):
    """How few-shot examples are chosen from the training rows."""

    RANDOM = "random"
    NEAREST = "nearest"
    NEAREST_PER_CLASS = "nearest_per_class"


class Decoding(StrEnum):
    FREE = "free"
    CONSTRAINED = "constrained"
    SCORE = "score"
