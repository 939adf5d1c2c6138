"""Whether a run is finished: rows that failed for a passing reason are open, and a run without an answer has no result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.core.errors import BenchError, ModelUnavailable, RunError, RunIncomplete
from harness.core.types import Prediction, Status
from harness.records.journal import JournalEntry, done_rows, open_rows

AGAIN = "Run the same command again (without --force): it asks only these rows again."


def check_finished(run_id: str, entries: Sequence[JournalEntry], total: int, down: BenchError | None) -> None:
    """Raise what keeps the run from being finished. `down`: why no more rows were asked, if that is so."""
    if down is not None and not isinstance(down, ModelUnavailable):
        raise down
    lost = open_rows(entries)
    if not lost and down is None:
        return
    missing = total - len(done_rows(entries))
    reasons = Counter(reason or "no reason" for reason in lost.values())
    if missing > len(lost):
        reasons["not_sent"] += missing - len(lost)  # of later batches
    problem = f"{run_id}: {missing:,} of {total:,} rows have no answer ({_counted(reasons)}); the run is not finished."
    raise RunIncomplete(problem if down is None else f"{problem} {down.message}", AGAIN, down)


def check_measured(run_id: str, predictions: Sequence[Prediction]) -> None:
    """Raise `RunError` where no row has an answer, not even one that can't be parsed: there is nothing to score."""
    if any(prediction.status is not Status.FAILED for prediction in predictions):
        return
    reasons = Counter(prediction.reason or "no reason" for prediction in predictions)
    raise RunError(
        f"{run_id}: none of its {len(predictions):,} rows has an answer ({_counted(reasons)}), so there is no result.",
        "Change the cause: the model, the prompt or an option. --force asks the same again.",
    )


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{word} {count:,}" for word, count in reasons.most_common())
