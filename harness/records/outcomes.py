"""The predictions of a run while it is made, as arrays: a million `Prediction`s would take a gigabyte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from harness.core.types import Label, Prediction, Status
from harness.records.journal import JournalEntry

_STATUSES = tuple(Status)
_MISSING, _NO_LABEL = -1, -1
_AT_ONCE = 10_000


class Outcomes(Sequence[Prediction]):
    """The latest prediction of each row, in the order of `ids`. Each access makes a new `Prediction`."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = ids
        self._place = {row_id: place for place, row_id in enumerate(ids)}
        self._status = np.full(len(ids), _MISSING, dtype=np.int8)
        self._label = np.full(len(ids), _NO_LABEL, dtype=np.int32)
        self._several: dict[int, tuple[int, ...]] = {}  # labels of multilabel tasks
        self._reasons: dict[int, str] = {}
        self._scores: dict[str, NDArray[np.float64]] = {}  # probabilities and log_p, NaN in a row without them

    def take(self, entry: JournalEntry) -> JournalEntry:
        """Keep the predictions of a batch; the entry that is returned holds none of its own, if none is to be asked again."""
        rows = entry.rows
        if not rows:
            return entry
        places = np.array([self._place[row.id] for row in rows])
        again = bool((self._status[places] != _MISSING).any())
        self._status[places] = [_STATUSES.index(row.status) for row in rows]
        self._label[places] = [row.label if isinstance(row.label, int) else _NO_LABEL for row in rows]
        _keep_all(self._several, places, [row.label if isinstance(row.label, tuple) else None for row in rows])
        _keep_all(self._reasons, places, [row.reason for row in rows])
        for name in ("probabilities", "log_p"):
            self._keep_scores(name, places, [getattr(row, name) for row in rows])
        # What is asked again has another prediction later, and the entry must still tell the first one.
        return entry if again or entry.ask_again else replace(entry, rows=_Rows(self, places))

    def _keep_scores(self, name: str, places: NDArray[np.int64], given: list[tuple[float, ...] | None]) -> None:
        width = next((len(scores) for scores in given if scores is not None), 0)
        if not width and name not in self._scores:
            return
        if name not in self._scores:
            self._scores[name] = np.full((len(self._ids), width), np.nan)
        kept = self._scores[name]
        kept[places] = [(np.nan,) * kept.shape[1] if scores is None else scores for scores in given]

    def complete(self) -> None:
        """Free what only `take` needs."""
        self._place = {}

    @property
    def has_log_p(self) -> bool:
        """Whether some prediction is still to become a label."""
        return "log_p" in self._scores

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> list[Prediction]: ...
    def __getitem__(self, index: int | slice) -> Prediction | list[Prediction]:
        if isinstance(index, slice):
            return list(self.at(np.arange(len(self))[index]))
        return next(self.at(np.array([range(len(self))[index]])))

    def __iter__(self) -> Iterator[Prediction]:
        return self.at(np.arange(len(self)))

    def at(self, places: NDArray[np.int64]) -> Iterator[Prediction]:
        """The predictions at these positions. Raises `KeyError` for a row that has none."""
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            if (self._status[some] == _MISSING).any():
                raise KeyError(self._ids[int(some[self._status[some] == _MISSING][0])])
            scores = [self._of(name, some) for name in ("probabilities", "log_p")]
            columns = (some.tolist(), self._status[some].tolist(), self._label[some].tolist(), *scores)
            for place, status, label, probabilities, log_p in zip(*columns, strict=False):
                named: Label | None = self._several.get(place) if label == _NO_LABEL else label
                yield Prediction(
                    self._ids[place], named, _STATUSES[status], self._reasons.get(place), _tuple(probabilities), _tuple(log_p)
                )

    def _of(self, name: str, places: NDArray[np.int64]) -> Any:
        return self._scores[name][places].tolist() if name in self._scores else repeat(None)


def _tuple(scores: list[float] | None) -> tuple[float, ...] | None:
    return None if scores is None or scores[0] != scores[0] else tuple(scores)


def _keep_all(kept: dict[int, Any], places: NDArray[np.int64], values: Sequence[Any]) -> None:
    if not kept and values.count(None) == len(values):
        return
    for place, value in zip(places.tolist(), values, strict=True):
        if value is not None:
            kept[place] = value
        elif place in kept:
            del kept[place]


class _Rows(Sequence[Prediction]):
    """The predictions of one batch."""

    def __init__(self, outcomes: Outcomes, places: NDArray[np.int64]) -> None:
        self._outcomes, self._places = outcomes, places.astype(np.int32)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> list[Prediction]: ...
    def __getitem__(self, index: int | slice) -> Prediction | list[Prediction]:
        found = list(self._outcomes.at(np.atleast_1d(self._places[index]).astype(np.int64)))
        return found if isinstance(index, slice) else found[0]

    def __iter__(self) -> Iterator[Prediction]:
        return self._outcomes.at(self._places.astype(np.int64))
