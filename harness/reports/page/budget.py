"""How much of the page each task may take, so that a page of thousands of runs still opens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.core.types import LabelKind
from harness.records.index import RunRow
from harness.reports.page.answers import ALPHABET, ANSWERS_LIMIT, IDS_LIMIT, PAIRS_LIMIT
from harness.reports.page.details import EVALUATIONS

ID_BYTES = 20
"""Of an id that bench made, with its quotes: enough to tell whether all ids may fit."""

Unit = tuple[str, str]
"""Task and split."""


@dataclass(frozen=True)
class Budget:
    """Of a task and split: bytes of all answers and of all ids, pairs of runs with a test, evaluations during trainings."""

    answers: int = ANSWERS_LIMIT
    ids: int = IDS_LIMIT
    pairs: int = PAIRS_LIMIT
    evaluations: int = EVALUATIONS


WHOLE = Budget()


def budgets(rows: Iterable[RunRow]) -> dict[Unit, Budget]:
    """Where the page can hold all, each task may take all of it. Else a task gets its share of what all tasks have, rounded
    down to a power of 1/2: so a new run of one task hardly ever changes what the page holds of others."""
    sizes: dict[Unit, dict[str, int]] = {}
    there: dict[tuple[str, str, str, str], int] = {}
    for row in rows:
        found = sizes.setdefault((row.task, row.split), dict.fromkeys(("answers", "ids", "pairs", "evaluations"), 0))
        found["evaluations"] += row.evaluations
        if row.label_kind == LabelKind.MULTILABEL or row.labels > len(ALPHABET):
            continue
        group = row.task, row.split, row.lang, row.rows
        before = there[group] = there.get(group, 0) + 1
        found["pairs"] += before - 1
        found["answers"] += row.n * (2 if before == 1 else 1)  # the true labels, too
        found["ids"] += row.n * ID_BYTES if before == 1 else 0
    totals = {name: sum(found[name] for found in sizes.values()) for name in ("answers", "ids", "pairs", "evaluations")}
    return {unit: Budget(**{name: _share(name, found, totals) for name in totals}) for unit, found in sizes.items()}


def _share(name: str, own: Mapping[str, int], totals: Mapping[str, int]) -> int:
    limit: int = getattr(WHOLE, name)
    if totals[name] <= limit or not own[name]:
        return limit
    return int(limit * 2.0 ** math.floor(math.log2(own[name] / totals[name])))
