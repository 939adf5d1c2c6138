"""The record of a labelling, as one model: what `labelling.json` holds. A labelling is a run on rows without true labels."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.core.options import RunOptions
from harness.core.record import (
    CheckpointFacts,
    Cost,
    Gate,
    Identity,
    LabelledBy,
    Machine,
    Part,
    Timing,
    Tokens,
)

LABELLING_VERSION = 1
"""Raised when the form of the record changes."""

RowsOf = Literal["file", "train", "validation", "test"]


class LabellingRecord(Part):
    """One finished labelling. Its identity has the split `unlabelled`."""

    version: int = LABELLING_VERSION
    run_id: str
    identity: Identity
    options: RunOptions = Field(description="what the labelling was asked to do; a run on test rows with them tests its model")
    rows_of: RowsOf = Field(description="where the rows came from: a file, or a split of the task, whose labels were not read")
    n: int = Field(ge=1, description="rows")
    ok: int = Field(ge=0, description="rows with a label")
    unparsed: int = Field(ge=0)
    failed: int = Field(ge=0)
    reasons: dict[str, int] = Field(default_factory=dict, description="reason -> rows without a label")
    labels: dict[str, int] = Field(description="label -> rows that got it")
    probabilities: bool = Field(description="whether each labelled row has the probabilities of all labels")
    train_rows: int | None = Field(default=None, description="of the trained model that labelled, if it was one")
    finished: str | None = None
    checkpoint: CheckpointFacts | None = None
    timing: Timing = Timing()
    sent_instead: dict[str, str | None] | None = None
    tokens: Tokens = Tokens()
    cost: Cost | None = None
    machine: Machine = Machine()
    versions: dict[str, str] = Field(default_factory=dict)
    gates: list[Gate] = Field(default_factory=list)
    labels_sha256: str = Field(default="", description="of the file of labels")

    @property
    def unlabelled(self) -> int:
        """Rows without a label."""
        return self.n - self.ok

    def manifest(self) -> dict[str, Any]:
        """The content of `labelling.json`."""
        dump = self.model_dump(mode="json", exclude={"options": {"settings"}}, exclude_unset=True)
        if "settings" in self.options.model_fields_set:
            dump["options"]["settings"] = dict(self.options.settings)
        return {**dump, "version": self.version, "identity": self.identity.as_json()}

    def facts(self, asked: int, left_out: int) -> LabelledBy:
        """What the record of a run keeps that was trained on `asked` of these labels, of which `left_out` could not be read."""
        identity = self.identity
        optional: dict[str, Any] = {} if self.cost is None else {"cost": self.cost}
        if identity.train is not None and identity.train.labels_from is None:
            optional["train_rows"] = self.train_rows
        return LabelledBy(
            labelling=self.run_id,
            backend=identity.backend,
            trained=identity.train is not None,
            shots=0 if identity.prompt is None else identity.prompt.labels_used,
            rows=self.n,
            asked=asked,
            left_out=left_out,
            tokens=self.tokens,
            seconds=self.timing.seconds,
            machine=self.machine,
            **optional,
        )
