"""A budget that processes on several machines share: a file under a lock that holds on NFS."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate, takewhile
from pathlib import Path

from pydantic import BaseModel

from harness.core.json_files import write_atomically
from harness.core.locks import held

PATIENCE = 600.0
"""Seconds that a request without room waits for other workers to settle. A dead one never does."""
POLL_SECONDS = 0.5


class Ledger(BaseModel):
    """US dollars. `lost`: reserved by workers that died, which counts as spent. `reserved`: by worker."""

    limit: float
    spent: float = 0.0
    lost: float = 0.0
    reserved: dict[str, float] = {}

    @property
    def left(self) -> float:
        return self.limit - self.spent - self.lost - sum(self.reserved.values())


@dataclass
class FileBudget:
    """A `Budget` (harness.specs.costs) in the file `path`, whose folder must exist. `owner`: this worker. It can be pickled."""

    path: Path
    limit: float
    owner: str = ""
    patience: float = PATIENCE
    _seen: Ledger | None = field(default=None, repr=False)

    def begin(self) -> None:
        """For the command, before its workers begin: write `limit` into the file. What was spent before stays."""
        with self._open() as ledger:
            ledger.limit = self.limit

    def of(self, owner: str) -> FileBudget:
        """For a worker that begins. What its process reserved before it died counts as spent."""
        self.write_off(owner)
        return replace(self, owner=owner, _seen=None)

    def write_off(self, owner: str) -> None:
        """That worker is dead."""
        with self._open() as ledger:
            ledger.lost += ledger.reserved.pop(owner, 0.0)

    def total(self) -> float:
        """What all workers have spent by now, or reserved."""
        with self._open() as ledger:
            return ledger.limit - ledger.left

    @property
    def spent(self) -> float:
        """By all workers, as of this one's last request; what dead ones had reserved counts."""
        return self._last.spent + self._last.lost

    @property
    def left(self) -> float:
        return self._last.left

    def reserve(self, parts: Sequence[float]) -> int:
        until = time.monotonic() + self.patience
        while True:
            with self._open() as ledger:
                sums = list(takewhile(lambda most: most <= ledger.left, accumulate(parts)))
                if sums:
                    ledger.reserved[self.owner] = ledger.reserved.get(self.owner, 0.0) + sums[-1]
                others = sum(usd for owner, usd in ledger.reserved.items() if owner != self.owner)
                may_fit = bool(parts) and parts[0] <= ledger.left + others
            if sums or not may_fit or time.monotonic() > until:
                return len(sums)
            time.sleep(POLL_SECONDS)

    def settle(self, reserved: float, charged: float) -> None:
        with self._open() as ledger:
            ledger.spent += charged
            left = ledger.reserved.get(self.owner, 0.0) - reserved
            # The rest of a sum of floats is no reservation.
            ledger.reserved[self.owner] = left if left > 1e-9 else 0.0

    @property
    def _last(self) -> Ledger:
        if self._seen is None:
            with self._open():
                pass
        assert self._seen is not None
        return self._seen

    @contextmanager
    def _open(self) -> Iterator[Ledger]:
        with held(self.path.with_suffix(".lock"), wait=True):
            try:
                ledger = Ledger.model_validate_json(self.path.read_bytes())
            except FileNotFoundError:
                ledger = Ledger(limit=self.limit)
            before = ledger.model_copy(deep=True)
            yield ledger
            if ledger != before or not self.path.exists():
                write_atomically(self.path, ledger.model_dump_json())
            self._seen = ledger
