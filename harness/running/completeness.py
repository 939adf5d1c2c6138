"""Whether a run is finished: rows that failed for a reason that may pass are open, and no result without any answer is one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.core.errors import BenchError, ModelUnavailable, RunError, RunIncomplete
from harness.core.types import Prediction, Status

Entry = Mapping[str, Any]
"""A line of the journal. `ask_again`: ids of those of its `rows` that are still open."""

AGAIN = "Run the same command again (without --force): it asks these rows again, and no others."


def open_rows(entries: Iterable[Entry]) -> dict[str, str]:
    """Row id -> the reason of its latest failure, of the rows to be asked again."""
    found: dict[str, str] = {}
    for entry in entries:
        still_open = set(entry.get("ask_again", ()))
        for record in entry["rows"]:
            if record["id"] in still_open:
                found[record["id"]] = record["reason"]
            else:
                found.pop(record["id"], None)
    return found


def done_rows(entries: Sequence[Entry]) -> set[str]:
    return {record["id"] for entry in entries for record in entry["rows"]} - open_rows(entries).keys()


def sent_instead(entries: Iterable[Entry]) -> dict[str, str | None] | None:
    """Of all batches: what a server was sent in place of fields that it refused. None: it refused none."""
    found: dict[str, str | None] = {}
    for entry in entries:
        found |= entry.get("sent_instead", {})
    return found or None


def measured_seconds(entries: Iterable[Entry]) -> float:
    """Without the batches that a dead server answered nothing of: waiting for it is not the model's time."""
    return float(sum(entry["seconds"] for entry in entries if len(entry.get("ask_again", ())) < max(1, len(entry["rows"]))))


def check_finished(run_id: str, entries: Sequence[Entry], total: int, down: BenchError | None) -> None:
    """Raise what keeps the run from being finished. `down`: why no more rows were asked, if that is so."""
    if down is not None and not isinstance(down, ModelUnavailable):
        raise down
    lost = open_rows(entries)
    if not lost and down is None:
        return
    missing = total - len(done_rows(entries))
    reasons = Counter(lost.values())
    if missing > len(lost):
        reasons["not_sent"] += missing - len(lost)  # of later batches
    problem = f"{run_id}: {missing:,} of {total:,} rows have no answer ({_counted(reasons)}); the run is not finished."
    raise RunIncomplete(problem if down is None else f"{problem} {down.message}", AGAIN, down)


def check_measured(run_id: str, predictions: Sequence[Prediction]) -> None:
    """Raise `RunError` where no row has an answer, not even one that can't be read: there is nothing to score."""
    if any(prediction.status is not Status.FAILED for prediction in predictions):
        return
    reasons = Counter(prediction.reason or "no reason" for prediction in predictions)
    raise RunError(
        f"{run_id}: none of its {len(predictions):,} rows has an answer ({_counted(reasons)}), so there is no result.",
        "Change what is behind that reason (the model, the prompt, an option); --force asks the same again.",
    )


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{word} {count:,}" for word, count in reasons.most_common())
