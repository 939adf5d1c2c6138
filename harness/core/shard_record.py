"""What a finished shard leaves beside its journal: all that the record of the run needs and the rows do not tell."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from harness.core.options import RunOptions
from harness.core.record import (
    CheckpointFacts,
    Cost,
    Gate,
    Identity,
    Machine,
    Part,
    PeakMemory,
    RowSource,
    Runtime,
    Timing,
    Training,
)
from harness.core.shard import ShardField

SHARD_VERSION = 1
"""Raised when the form of `shard.json` changes."""


class ShardRecord(Part):
    """`shard.json`. The fields that a run record has, too, mean the same, for the rows of the shard."""

    version: int = SHARD_VERSION
    run_id: str
    identity: Identity
    options: RunOptions
    shard: ShardField
    rows: int = Field(description="that it predicted; 0 where the run has fewer windows than shards")
    window_size: int = Field(description="different texts in a window of the run")
    replaces: str | None = Field(default=None, description="digest of the record that it was predicted to replace (--force)")
    finished: str = Field(description="date and time in UTC")
    rows_from: RowSource
    checkpoint: CheckpointFacts | None = None
    training: Training | None = None
    runtime: Runtime | None = None
    weights: str | None = Field(default=None, description="digest of the trained model's files")
    timing: Timing = Timing()
    cost: Cost | None = None
    peak_memory_mib: PeakMemory = PeakMemory()
    machine: Machine = Machine()
    versions: dict[str, str] = Field(default_factory=dict)
    gates: list[Gate] = Field(default_factory=list, description="found so far: those of all rows are evaluated by the merge")
    journal: str = Field(description="sha256 of journal.jsonl")

    def as_json(self) -> dict[str, Any]:
        dump = self.model_dump(mode="json", exclude={"options": {"settings"}}, exclude_unset=True)
        if "settings" in self.options.model_fields_set:  # as they are, as in `RunRecord.manifest`
            dump["options"]["settings"] = dict(self.options.settings)
        return {**dump, "version": self.version, "identity": self.identity.as_json()}

    @property
    def is_empty(self) -> bool:
        return self.rows == 0
