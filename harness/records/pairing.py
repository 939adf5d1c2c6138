"""Which rows of several runs are the same: those with the same text and true label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.core.errors import UserError

if TYPE_CHECKING:
    from harness.core.predictions import Predictions


def same_rows(runs: Sequence[Predictions]) -> list[tuple[int, ...]]:
    """The position of each shared row in each run, in the order of the first run.

    Rows are paired by id, text and true label; the remaining ones by text and true label, since a file that has grown may
    number its rows differently. All runs have digests of texts.
    """
    rows = [list(_rows(run)) for run in runs]
    found = _common([{row: place for place, row in enumerate(own)} for own in rows])
    left = []
    for own, taken in zip(rows, _taken(found, len(runs)), strict=True):
        seen: Counter[tuple[Any, ...]] = Counter()
        places = {}
        for place, (_, *row) in enumerate(own):
            if place not in taken:
                number = seen[tuple(row)] = seen[tuple(row)] + 1  # a text may occur several times with one label
                places[*row, number] = place
        left.append(places)
    return sorted([*found, *_common(left)])


def _rows(run: Predictions) -> Iterator[tuple[Any, ...]]:
    """Id, digest of the text and true label of each row."""
    truth = run.truth.tolist() if run.truth.ndim == 1 else map(tuple, run.truth.tolist())
    return zip(run.ids.tolist(), np.asarray(run.texts).tolist(), truth, strict=True)


def _common(places: Sequence[dict[tuple[Any, ...], int]]) -> list[tuple[int, ...]]:
    return [tuple(own[row] for own in places) for row in places[0] if all(row in own for own in places[1:])]


def _taken(pairs: Sequence[tuple[int, ...]], runs: int) -> list[set[int]]:
    return [{places[run] for places in pairs} for run in range(runs)]


def pairing_notes(runs: Sequence[Predictions], shared: int) -> list[str]:
    """Notes on how these runs were paired on `shared` rows: rows of the first run that resemble a row of another run without
    being the same, and records that have only ids."""
    by_id = [run.run_id for run in runs if run.texts is None]
    if not by_id:
        return [f"{reason}: left out." for reason in _left_out(runs)] if shared < len(runs[0]) else []
    if len({run.identity.rows for run in runs}) == 1:
        return []
    records = "a record of an earlier version" if len(by_id) == 1 else "records of an earlier version"
    return [f"{', '.join(by_id)}: {records}, without digests of texts. Rows are paired by ids alone, and texts may differ."]


def nothing_shared(runs: Sequence[Predictions]) -> UserError:
    names, old = ", ".join(run.run_id for run in runs), [run.run_id for run in runs if run.texts is None]
    hint = "Test them on the same rows."
    if old:
        hint += (
            f" In records of an earlier version ({', '.join(old)}) rows without an id column were numbered: run these again."
        )
    return UserError(
        " ".join([f"{names} have no row in common.", *([] if old else [f"{why}." for why in _left_out(runs)])]), hint
    )


def _left_out(runs: Sequence[Predictions]) -> list[str]:
    """Counts of rows of the first run whose text has another label in another run, or whose id has another text."""
    rows = [list(_rows(run)) for run in runs]
    taken = _taken(same_rows(runs), len(runs))
    left = [[row for place, row in enumerate(own) if place not in gone] for own, gone in zip(rows, taken, strict=True)]
    others = [({text for _, text, _ in own}, {tuple(row) for _, *row in own}) for own in left[1:]]
    text_of = [{row_id: text for row_id, text, _ in own} for own in rows[1:]]
    lost: Counter[str] = Counter()
    for row_id, text, label in left[0]:
        if any(text in texts and (text, label) not in rows_of for texts, rows_of in others):
            lost["the same text and another true label"] += 1
        elif any(known.get(row_id, text) != text for known in text_of):
            lost["the same id and another text"] += 1
    return [f"{count:,} {'row has' if count == 1 else 'rows have'} {what}" for what, count in lost.items()]
