"""Whether a model may have read a task's rows while it was trained: by the dates of both, where both are known."""

from __future__ import annotations

from typing import Any


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
