"""How many of a run's rows have a duplicate among those that its model learned from: part of every record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from harness.core.cache_folder import cache_dir
from harness.core.json_files import digest, read_sealed, write_sealed
from harness.core.locks import held
from harness.core.progress_events import OnProgress
from harness.core.record import Overlap, OverlapCount
from harness.core.types import Example
from harness.data.duplicates import MANY, THRESHOLD, Twins, twins_among
from harness.data.search_process import DuplicateSearch
from harness.running.plan import Plan

VERSION = 3
"""Raised when a change to `harness.data.duplicates` changes its results: cached ones are then computed again. 2: one place;
3: near ones of many rows, too."""

MOST_IDS = 20
_ITSELF = "itself"


class DuplicatesOf:
    """Duplicates (see `harness.data.duplicates`) of a run's rows; cached for runs on the same rows. The search of many rows
    begins at once, in another process: the result is needed for the record alone. `close` ends it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        train, prompt = plan.identity.train, plan.identity.prompt
        shown = [train and train.train_rows, train and train.validation_rows, prompt and prompt.shots_sha256]
        self._path = cache_dir() / "overlap" / f"{digest([VERSION, plan.identity.rows, *shown])}.json"
        texts = sum(map(len, _parts(plan).values())) + len(plan.rows)
        self._search = None if texts < MANY or self._cached() is not None else DuplicateSearch(*_texts(plan))

    def overlap(self) -> Overlap:
        """`exact` and `near` count the run's rows with a duplicate among the training rows or the few-shot examples, `groups`
        those whose group has such rows (only of a task with groups). `by` has the same counts for `train` and `validation` or
        `shots`, and for `itself`, the run's other rows. Raises `RunError`."""
        if self._search is not None:
            return self._kept(self._search.result())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with held(self._path.with_suffix(".lock"), wait=True):
            return self._cached() or self._kept(twins_among(*_texts(self._plan)))

    def noted(self, on_progress: OnProgress) -> OnProgress:
        """Tells how far the search is, too, beside the progress of the predictions."""

        def told(phase: str, done: int, total: int, note: str) -> None:
            share = "" if self._search is None or phase != "predict" else f"duplicates {self._search.share:.0%}"
            on_progress(phase, done, total, ", ".join(filter(None, [note, share])))

        return told

    def close(self) -> None:
        if self._search is not None:
            self._search.close()

    def _cached(self) -> Overlap | None:
        with suppress(ValueError):  # not there, or of another version
            return Overlap.model_validate(read_sealed(self._path))
        return None

    def _kept(self, twins: Mapping[str, Twins]) -> Overlap:
        found = _overlap(self._plan, twins)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(self._path, found.as_json())
        return found


def _parts(plan: Plan) -> dict[str, Sequence[Example]]:
    """The rows that the model learned from or was shown."""
    if plan.training is not None:
        return {"train": plan.training.train, "validation": plan.training.validation}
    return {} if plan.prompt is None else {"shots": plan.prompt.candidates}


def _texts(plan: Plan) -> tuple[list[str], dict[str, list[str] | None]]:
    """What is searched: the run's texts, and those that they are compared with."""
    parts: dict[str, list[str] | None] = {name: [row.text for row in rows] for name, rows in _parts(plan).items()}
    return [row.text for row in plan.rows], {**parts, _ITSELF: None}


def _overlap(plan: Plan, twins: Mapping[str, Twins]) -> Overlap:
    parts = _parts(plan)
    groups = {name: _shared_groups(plan.rows, rows) for name, rows in parts.items()}
    by = {name: OverlapCount(rows=len(rows), **_counts(twins[name]), **groups[name]) for name, rows in parts.items()}
    learned = next((name for name in ("train", "shots") if name in parts), "")
    found = twins.get(learned, Twins(0, 0, []))
    return Overlap(
        threshold=THRESHOLD,
        **_counts(found),
        **groups.get(learned, {}),
        ids=sorted(plan.rows[row].id for row in found.rows)[:MOST_IDS],
        by={**by, _ITSELF: OverlapCount(rows=len(plan.rows), **_counts(twins[_ITSELF]))},
    )


def _counts(twins: Twins) -> dict[str, int]:
    return {"exact": twins.exact, "near": twins.near}


def _shared_groups(rows: Sequence[Example], others: Sequence[Example]) -> dict[str, int]:
    """How many of `rows` have a group that some of `others` have; empty without groups."""
    groups = {row.group for row in others}
    return {} if any(row.group is None for row in rows) else {"groups": sum(row.group in groups for row in rows)}
