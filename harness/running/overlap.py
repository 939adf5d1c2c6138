"""How many of a run's rows have a duplicate among those that its model learned from: part of every record."""

from __future__ import annotations

import json
from collections.abc import Sequence

from harness.core.cache_folder import cache_dir
from harness.core.json_files import digest, sealed, unsealed, write_atomically
from harness.core.locks import held
from harness.core.record import Overlap, OverlapCount
from harness.core.types import Example
from harness.data.duplicates import THRESHOLD, Prepared, counted, find_duplicates
from harness.running.plan import Plan

VERSION = 3
"""Raised when a change to `harness.data.duplicates` changes its results: cached ones are then computed again. 2: one place;
3: near ones of many rows, too."""

MOST_IDS = 20


def overlap_of(plan: Plan) -> Overlap:
    """Duplicates (see `harness.data.duplicates`) of a run's rows; cached for runs on the same rows.

    `exact` and `near` count the run's rows with a duplicate among the training rows or the few-shot examples, `groups` those
    whose group has such rows (only of a task with groups). `by` has the same counts for `train` and `validation` or `shots`,
    and for `itself`, the run's other rows.
    """
    train, prompt = plan.identity.train, plan.identity.prompt
    shown = [train and train.train_rows, train and train.validation_rows, prompt and prompt.shots_sha256]
    path = cache_dir() / "overlap" / f"{digest([VERSION, plan.identity.rows, *shown])}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with held(path.with_suffix(".lock"), wait=True):
        try:
            return Overlap.model_validate(unsealed(path.read_bytes())[0])
        except (OSError, ValueError):  # not there, or damaged
            found = _overlap(plan)
            write_atomically(path, json.dumps(sealed(found.as_json())))
    return found


def _overlap(plan: Plan) -> Overlap:
    parts: dict[str, Sequence[Example]] = {}
    if plan.training is not None:
        parts = {"train": plan.training.train, "validation": plan.training.validation}
    elif plan.prompt is not None:
        parts = {"shots": plan.prompt.candidates}
    texts = Prepared.of([row.text for row in plan.rows])
    found = {name: find_duplicates(texts, [row.text for row in rows]) for name, rows in parts.items()}
    groups = {name: _shared_groups(plan.rows, rows) for name, rows in parts.items()}
    by = {name: OverlapCount(rows=len(parts[name]), **counted(found[name]), **groups[name]) for name in parts}
    learned = next((name for name in ("train", "shots") if name in parts), "")
    twins = found.get(learned, [])
    return Overlap(
        threshold=THRESHOLD,
        **counted(twins),
        **groups.get(learned, {}),
        ids=sorted(plan.rows[twin.row].id for twin in twins)[:MOST_IDS],
        by={**by, "itself": OverlapCount(rows=len(texts), **counted(find_duplicates(texts)))},
    )


def _shared_groups(rows: Sequence[Example], others: Sequence[Example]) -> dict[str, int]:
    """How many of `rows` have a group that some of `others` have; empty without groups."""
    groups = {row.group for row in others}
    return {} if any(row.group is None for row in rows) else {"groups": sum(row.group in groups for row in rows)}
