"""Whether a model may have read a task's rows while it was trained: by the dates of both, where both are known."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any

from pydantic import BeforeValidator


def _date(value: object) -> str:
    """YAML reads 2020 as a number and 2020-10-06 as a date; both mean what stands there."""
    text = str(value) if isinstance(value, str | int | datetime.date) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"\d{4}(-\d{2}(-\d{2})?)?", text, re.ASCII):
        raise ValueError("a year, a month or a day is wanted, as in 2020, 2020-10 or 2020-10-06")
    datetime.date.fromisoformat(text + "0000-01-01"[len(text) :])  # a ValueError for a 13th month
    return text


Date = Annotated[str, BeforeValidator(_date, json_schema_input_type=str | int)]
"""`YYYY`, `YYYY-MM` or `YYYY-MM-DD`."""


def dates_of(published: str | None, cutoff: str | None) -> dict[str, Any] | None:
    """What a record says of the dates: `published`, `training_cutoff`, and whether the model `may_have_read` the rows.

    None where either is not known. It may have where they are the same as far as both are told: 2020 and 2020-10.
    """
    if published is None or cutoff is None:
        return None
    known = min(len(published), len(cutoff))
    return {
        "published": published,
        "training_cutoff": cutoff,
        "may_have_read": published[:known] <= cutoff[:known],
    }
