"""What `bench analyze calibration` says in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.analysis.calibration import Reliability, Scaling
from harness.analysis.related_runs import is_outdated
from harness.records.entries import Entry


def of_one(found: Reliability) -> str:
    """How sure the model is, how often it is right, whether more than chance lies between, and what a temperature does."""
    ece, identity = found.scores.ece, found.manifest["identity"]
    mean, low, high = found.gap
    rows = f"{found.answered:,} {identity['lang']} {identity['split']} rows of {identity['task']}"
    if low > 0 or high < 0:
        way = "too sure" if low > 0 else "too cautious"
        verdict = f"it is {way} by {100 * abs(mean):.1f} points (95% interval {_points(low, high)})"
    elif ece.p < 0.05:
        verdict = "on average that fits, but not at every level of confidence"
    else:
        verdict = "that can't be told apart from a calibrated model at this n"
    ends = (
        f"a calibrated model's would be about {ece.calibrated:.3f}, and at most {ece.calibrated_high:.3f} in 95 of 100 samples"
    )
    right = found.confidence - mean
    which = "" if found.answered == found.rows else " that it answers"
    said = (
        f"On the {rows}{which}, {_named(found)} is {found.confidence:.0%} sure on average and right on {right:.0%}: "
        f"{verdict}; its ECE is {ece.value:.3f} ({ends})"
    )
    return f"{said}; {_scaled(found, found.scaling)}."


def _scaled(found: Reliability, scaling: Scaling | None) -> str:
    if scaling is None and found.manifest["identity"]["split"] == "validation":
        return "a temperature for it is fitted here and judged on test rows, so name its test run"
    if scaling is None:
        return (
            "no temperature is fitted, as there is no run of this model on validation rows: make one by "
            f"`{found.command}` ({caveats([found.manifest])})"
        )
    t, (saved, low, high) = scaling.temperature, scaling.saved
    interval = "" if t.low is None or t.high is None else f" (95% interval {t.low:.2f} to {t.high:.2f})"
    bound = ", the end of what is tried, so don't use it" if t.at_bound else ""
    fitted = f"a temperature of {t.value:.2f}{interval}{bound}, fitted on {scaling.rows:,} validation rows"
    if low > 0 or high < 0:
        effect = f"{'lowers' if saved > 0 else 'raises'} log loss by {abs(saved):.3f} ({_sorted(low, high)})"
    else:
        effect = f"does not change log loss beyond chance ({-high:+.3f} to {-low:+.3f})"
    changed = _changed(found, scaling)
    seen = "; those rows also chose the checkpoint, so the model may look surer there than it is" if found.seen else ""
    return f"{fitted}, {effect} and makes ECE {scaling.scores.ece.value:.3f}{changed}{seen}"


def _changed(found: Reliability, scaling: Scaling) -> str:
    """Nothing where the likeliest label is the answer, which no temperature changes."""
    if scaling.decision == "argmax":
        return ""
    what = {"expected": "the expected value", "median": "the median"}.get(scaling.decision, scaling.decision)
    told = f"; {what} of the scaled probabilities gives another answer in {scaling.changed:,} of {found.answered:,} rows"
    return f"{told}, and accuracy goes from {1 - found.error:.3f} to {scaling.accuracy:.3f}" if scaling.changed else told


def caveats(manifests: Sequence[Mapping[str, Any]]) -> str:
    """What the commands that make the validation runs of these runs can't tell, and what they make besides."""
    given = "with the --data, --model or --continue-from that "
    given += "this run was given, if any" if len(manifests) == 1 else "each run was given, if any"
    old = [str(manifest["run_id"].rpartition(".")[2]) for manifest in manifests if is_outdated(manifest)]
    if not old:
        return given
    if len(old) == 1:
        return (
            f"{given}; the record {old[0]} is of an earlier version of bench, so the first command that is about it makes it "
            "anew, under another id: name that one then"
        )
    return (
        f"{given}; the records {' and '.join(old)} are of earlier versions of bench, so the first command that is about each "
        "makes it anew, under another id: name the new ids then"
    )


def of_several(found: Sequence[Reliability]) -> str:
    """Which of several runs is nearest to calibrated."""
    best = min(found, key=lambda one: (one.scores.ece.debiased, one.run_id))
    fitting = [one for one in found if one.scores.ece.p >= 0.05]
    others = len(fitting) - (best in fitting)
    if not fitting:
        chance = "none of them can be taken for calibrated"
    elif best not in fitting:
        chance = f"{others} of them, but not this one, can't be told apart from a calibrated model"
    else:
        chance = "it can't be told apart from a calibrated model" + (f", and neither can {others} more" if others else "")
    return (
        f"Of these {len(found)} runs {_named(best)} ({best.run_id.rpartition('.')[2]}) has the smallest debiased ECE, "
        f"{best.scores.ece.debiased:.3f}: {chance} (at 5%, each run by itself)."
    )


def _named(found: Reliability) -> str:
    entry = Entry(found.record)
    return f"{entry.display_name} ({entry.how})"


def _points(low: float, high: float) -> str:
    return _sorted(100 * low, 100 * high, 1)


def _sorted(low: float, high: float, digits: int = 3) -> str:
    """The interval of a size: smallest first, without its sign."""
    first, last = sorted((abs(low), abs(high)))
    return f"{first:.{digits}f} to {last:.{digits}f}"
