"""What became of a job."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from harness.core.errors import BenchError, error_from_json, error_to_json
from harness.core.shard import Shard
from harness.records.entries import Entry, finished_entry
from harness.records.shards import finished_shard, shard_name
from harness.records.shared import fetch_record
from harness.records.store import Store

State = Literal["new", "found", "incomplete", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one run. It can be pickled.

    `state`: found if it was recorded before. `model_from_cache`: no training was needed. `trained_key`: of the model that the
    run trained or used. `loads`: models that were loaded for it. `shard`: set if only this part of the run was predicted, with
    its number of `rows`; there is no record yet. `entry`: the record, where the worker has read it; it stays in the worker's
    process. `ends_all`: the jobs after it would end the same way.
    """

    state: State
    run_id: str | None = None
    error: BenchError | None = None
    model_from_cache: bool = False
    trained_key: str | None = None
    loads: int = 0
    shard: Shard | None = None
    rows: int | None = None
    host: str = field(default_factory=socket.gethostname)
    entry: Entry | None = field(default=None, repr=False, compare=False)
    ends_all: bool = False

    def as_json(self) -> dict[str, Any]:
        """Without the record, which the other process reads."""
        kept = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("error", "shard", "entry")}
        error, shard = self.error, self.shard
        return {**kept, "error": error and error_to_json(error), "shard": None if shard is None else str(shard)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Outcome:
        error = None if value["error"] is None else error_from_json(value["error"])
        shard = None if value["shard"] is None else Shard.parse(value["shard"])
        return cls(**{**value, "error": error, "shard": shard})


def is_seen(store: Store, outcome: Outcome) -> bool:
    """Whether the record or the shard of an outcome is where this machine looks for it, undamaged. Raises `StorageError`."""
    run_id, shard = outcome.run_id, outcome.shard
    assert run_id is not None
    fetch_record(store.root / run_id)
    if finished_entry(store, run_id, warn=False) is not None:
        return True
    if shard is None:
        return False
    fetch_record(store.root / shard_name(run_id, shard))
    return finished_shard(store, run_id, shard) is not None
