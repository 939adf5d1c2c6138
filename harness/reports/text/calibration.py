"""The result of `bench analyze calibration` in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.calibration import Reliability
from harness.analysis.related_runs import is_outdated
from harness.core.options import CHECKPOINT, FOLDER
from harness.core.record import RunRecord
from harness.reports.text.formats import listed
from harness.reports.text.templates import render

LEVEL = 0.05


def of_one(found: Reliability) -> str:
    """Mean confidence and accuracy, whether they differ significantly, and the effect of a temperature."""
    return render(
        "calibration",
        found=found,
        model=_named(found),
        identity=found.entry.record.identity,
        gap=found.gap,
        ece=found.scores.ece,
        scaling=found.scaling,
        caveats=caveats([found.entry.record]),
    )


def of_several(found: Sequence[Reliability]) -> str:
    """Which of several runs is best calibrated."""
    best = min(found, key=lambda one: (one.scores.ece.debiased, one.entry.run_id))
    calibrated = [one for one in found if one.scores.ece.p >= LEVEL]
    return render(
        "calibration_several",
        runs=len(found),
        best=best,
        model=_named(best),
        digits=best.entry.run_id.rpartition(".")[2],
        calibrated=calibrated,
        others=len(calibrated) - 1,
    )


def caveats(records: Sequence[RunRecord]) -> str:
    """What to know of the commands that make the validation runs of these runs; empty where there is nothing."""
    places = [place for place in (FOLDER, CHECKPOINT) if any(place in record.options.arguments() for record in records)]
    parts = [f"{listed(places)} stand{'s' if len(places) == 1 else ''} for what the record does not name"] if places else []
    old = [record.run_id.rpartition(".")[2] for record in records if is_outdated(record)]
    if old:
        made = "of an earlier version of bench, so"
        parts.append(
            f"record {old[0]} is {made} the run is repeated first: then name its new id"
            if len(old) == 1
            else f"records {listed(old)} are {made} the runs are repeated first: then name their new ids"
        )
    return "; ".join(parts)


def _named(found: Reliability) -> str:
    return f"{found.entry.display_name} ({found.entry.how})"
