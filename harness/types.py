"""The words of the data flow: example, label space, prediction."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

Label = int | tuple[int, ...]
"""Index into `LabelSpace.names`; for a multilabel task a sorted tuple of indices (maybe empty)."""


class LabelKind(StrEnum):
    ORDINAL = "ordinal"
    NOMINAL = "nominal"
    MULTILABEL = "multilabel"


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """The answers that a task allows, in order (for an ordinal task: from lowest to highest)."""

    kind: LabelKind
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a task. `id` is unique within the task; `lang` is an ISO 639-1 code."""

    id: str
    text: str
    label: Label
    lang: str


def text_digest(text: str) -> str:
    """16 hex digits of the text's SHA-256: what ids are made of, and what a record keeps to tell texts apart."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


class Status(StrEnum):
    OK = "ok"
    UNPARSED = "unparsed"  # the model answered, and the parser refused: counted as wrong
    FAILED = "failed"  # the model gave no answer at all: counted as wrong


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a backend said of one row.

    `label` is None unless `status` is OK. `probabilities` has one entry per label name (they sum to 1, except for
    multilabel), or is None where the decoding gives none. `reason` is a short machine-readable word for a failure.
    `log_p` are the scores of the answers while a run is under way, before they are calibrated.
    """

    id: str
    label: Label | None
    status: Status = Status.OK
    reason: str | None = None
    probabilities: tuple[float, ...] | None = None
    log_p: tuple[float, ...] | None = None
