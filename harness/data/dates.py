"""Whether a model may have read a task's rows while it was trained: by the dates of both, where both are known."""

from __future__ import annotations

from harness.core.record import Dates


def dates_of(published: str | None, cutoff: str | None) -> Dates | None:
    """When the rows were published, the model's training cutoff, and whether it may have read them.

    None where either is unknown. It may have where the dates agree as far as both are known: 2020 and 2020-10.
    """
    if published is None or cutoff is None:
        return None
    known = min(len(published), len(cutoff))
    return Dates(published=published, training_cutoff=cutoff, may_have_read=published[:known] <= cutoff[:known])
