"""How many of a run's rows have a twin among those that its model learned from: part of every record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from harness.core.json_files import digest, sealed, unsealed, write_atomically
from harness.core.locks import held
from harness.core.types import Example
from harness.data.duplicates import THRESHOLD, Twin, counted, twins
from harness.models.checkpoints import cache_dir
from harness.running.plan import Plan

VERSION = 1
"""Raised when a change to `harness.duplicates` changes what is found: what the cache holds is then computed anew."""

MOST_IDS = 20
MOST_PAIRS = 2_000_000_000
"""Of rows and others: beyond it the search for near twins may take longer than two minutes. A record then has null for them."""


def overlap_of(plan: Plan) -> dict[str, Any]:
    """What a record says of twins (see `harness.duplicates`); kept in the user's cache for runs on the same rows.

    `exact` and `near` count the run's rows that have such a twin among the training rows or the exemplars, `ids` names the
    first 20 of them by id, `threshold` is the similarity from which on twins are near. `by` has the same counts, and the
    number of `rows` looked through, for `train` and `validation` or `shots`, and for `itself`, the run's other rows. `near`
    is None where there are more than `MOST_PAIRS` pairs to look at.
    """
    training, prompt = plan.identity["train"] or {}, plan.identity["prompt"] or {}
    shown = [training.get("train_rows"), training.get("validation_rows"), prompt.get("shots_sha256")]
    path = cache_dir() / "overlap" / f"{digest([VERSION, plan.identity['rows'], *shown])}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with held(path.with_suffix(".lock"), wait=True):
        try:
            found, _ = unsealed(path.read_bytes())
        except (OSError, ValueError):  # not there, or damaged
            found = _overlap(plan)
            write_atomically(path, json.dumps(sealed(found)))
    return found


def _overlap(plan: Plan) -> dict[str, Any]:
    parts: dict[str, Sequence[Example]] = {}
    if plan.training is not None:
        parts = {"train": plan.training.train, "validation": plan.training.validation}
    elif plan.prompt is not None:
        parts = {"shots": plan.prompt.shots}
    texts = [row.text for row in plan.rows]
    found = {name: _twins(texts, [row.text for row in rows]) for name, rows in parts.items()}
    learned = next((found[name] for name in ("train", "shots") if name in found), ([], True))
    by = {name: {"rows": len(parts[name]), **_counts(*pair)} for name, pair in found.items()}
    return {
        "threshold": THRESHOLD,
        **_counts(*learned),
        "ids": sorted(plan.rows[twin.row].id for twin in learned[0])[:MOST_IDS],
        "by": {**by, "itself": {"rows": len(texts), **_counts(*_twins(texts))}},
    }


def _twins(texts: Sequence[str], others: Sequence[str] | None = None) -> tuple[list[Twin], bool]:
    """And whether near ones were looked for."""
    near = len(texts) * len(texts if others is None else others) <= MOST_PAIRS
    return twins(texts, others, near=near), near


def _counts(found: Sequence[Twin], near: bool) -> dict[str, int | None]:
    return {**counted(found), **({} if near else {"near": None})}
