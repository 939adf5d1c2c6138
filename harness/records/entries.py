"""Finished runs as tables show them: names, configuration labels, groups of comparable runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from harness.core.errors import DamagedRecord
from harness.core.json_files import digest
from harness.core.options import setting_text
from harness.core.record import (
    CheckpointFacts,
    Gate,
    GateOutcome,
    Identity,
    LabelsFrom,
    Metrics,
    PromptIdentity,
    RunRecord,
    Runtime,
    TrainIdentity,
)
from harness.core.types import Calibration, Decision, ShotsBy
from harness.records.store import METRICS, PREDICTIONS, Store, damage_named
from harness.records.weights import facts_of
from harness.statistics.metrics import LOWER_IS_BETTER

T = TypeVar("T")

log = logging.getLogger("bench")

Group = tuple[str, str, str, str]
"""Task, split, language, and a digest of rows and labels."""

ROUNDING = 1e-9
"""Tolerance for two sums of the same numbers."""

DECISIONS = {"expected": "expected value"}
TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "balanced_accuracy": "balanced accuracy",
    "micro_f1": "micro-F1",
    "weighted_f1": "weighted F1",
    "subset_accuracy": "subset accuracy",
    "hamming_loss": "Hamming loss",
    "mae": "MAE",
    "macro_mae": "macro-averaged MAE",
    "qwk": "QWK",
    "qwk_parsed": "QWK of parsed rows",
    "spearman": "Spearman",
    "roc_auc": "ROC AUC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "ECE",
    "rps": "ranked probability score",
    "binary_accuracy": "binary accuracy",
    "off_by_one": "off by one at most",
}


LEAK = "§"
"""Marks a run whose model learned from rows with the text or the group of tested rows."""


def leak_line(records: Iterable[RunRecord]) -> str | None:
    """A sentence on the tested rows with the text or the group of a row that a model learned from; None where there are
    none. Of several runs the largest numbers."""
    told = [record.overlap for record in records if record.overlap is not None and not record.identity.backend.is_majority]
    texts, groups = max((one.exact for one in told), default=0), max((one.groups or 0 for one in told), default=0)
    parts = [f"{rows:,} the same {what}" for rows, what in ((texts, "text"), (groups, "group")) if rows]
    if not parts:
        return None
    most = "at most " if len(told) > 1 else ""
    return f"{LEAK} leak: {most}{' and '.join(parts)} (tested rows, as a row that the model learned from)"


@dataclass(frozen=True)
class Entry:
    """A finished run as tables show it.

    `by_model`: other entries have another model under the same backend name. `among`: a run on fewer rows; then the metrics and
    rows of this entry's record are those of that run's rows, and `tested_on` is the number of rows that it was tested on.
    """

    record: RunRecord
    by_model: bool = False
    among: str | None = None
    tested_on: int | None = None

    @property
    def run_id(self) -> str:
        return self.record.run_id

    def among_rows_of(self, other: Entry, metrics: Metrics) -> Entry:
        """This run, scored on the fewer rows of another one: `metrics` are of these."""
        identity = self.record.identity.on_rows(other.record.identity.rows)
        record = self.record.model_copy(update={"identity": identity, "metrics": metrics})
        return replace(self, record=record, among=other.run_id, tested_on=self.record.n)

    @property
    def key(self) -> str:
        """The run's id; prefixed by digits of the rows if it is about some of its rows, since a run may be in two tables."""
        return self.run_id if self.among is None else f"{self.group[3][:8]}@{self.run_id}"

    @cached_property
    def group(self) -> Group:
        """Runs of one group saw the same rows with the same labels; only these are compared."""
        identity = self.record.identity
        labels = digest([identity.labels, identity.label_kind])
        return identity.task, identity.split, identity.lang, identity.rows + labels

    @property
    def order(self) -> tuple[float, str]:
        """Best first by the first headline metric; the id decides between equal ones."""
        name = self.record.metrics.headline[0]
        value = self.record.metrics.values[name].value
        if value is None:
            return float("inf"), self.run_id
        return (value if name in LOWER_IS_BETTER else -value), self.run_id

    @property
    def backend(self) -> str:
        return self.record.identity.backend.name

    @property
    def display_name(self) -> str:
        """The backend, with its model if that was given by `--model`, or if other entries have another one."""
        model = self.record.identity.backend.model
        is_named = model and (self.by_model or self.record.options.model is not None)
        return f"{self.backend}:{model}" if is_named else self.backend

    @property
    def checkpoint(self) -> CheckpointFacts:
        return facts_of(self.record)

    @property
    def is_blind(self) -> bool:
        """Whether it ignores the text: a baseline, not a candidate for deployment."""
        return self.record.identity.backend.is_majority

    @property
    def seed(self) -> int:
        return self.record.identity.seed

    @property
    def configuration(self) -> str:
        """The same for the runs of several seeds."""
        return self.record.identity.configuration

    @property
    def how(self) -> str:
        """The configuration label, with the seed if that is not 0."""
        return ", ".join([self.config_label, *([f"seed {self.seed}"] if self.seed else [])])

    @cached_property
    def config_label(self) -> str:
        """What it was trained on, or how it was prompted: the same for all seeds of a configuration."""
        return config_label(self.record, self.record.identity, self.record.options.settings)


def config_label(record: RunRecord, identity: Identity, settings: Mapping[str, Any]) -> str:
    """How a run was trained or prompted. `identity` and `settings`: the record's own, or the part of them to show."""
    prompt, runtime, decision = identity.prompt, record.runtime, identity.decision
    parts = [
        *([config_of_prompt(prompt)] if prompt else []),
        *(_trained(identity.train) if identity.train else [] if prompt else _untrained(record)),
        *([DECISIONS.get(decision, decision)] if decision is not Decision.ARGMAX else []),
        *(_shots(prompt) if prompt else []),
        *(_setting(name, value) for name, value in settings.items() if runtime is None or name != "predict.runtime"),
        *([_runtime(runtime)] if runtime else []),
        *(["imported"] if record.imported else []),
    ]
    return ", ".join(parts)


def _runtime(runtime: Runtime) -> str:
    """Chosen by time, it may differ between the seeds of a configuration."""
    return runtime.runtime if runtime.chosen is None else "runtime=auto"


def _setting(name: str, value: Any) -> str:
    """`train.lora={}` means adapters with default options: the name is enough."""
    return name if value == {} else f"{name}={setting_text(value)}"


def config_of_prompt(prompt: PromptIdentity) -> str:
    """`strict · score, batch calibration`."""
    variant = f".{prompt.variant}" if prompt.variant else ""
    calibration = [f"{prompt.calibration} calibration"] if prompt.calibration is not Calibration.NONE else []
    return ", ".join([f"{prompt.name}{variant} · {prompt.decoding}", *calibration])


def _shots(prompt: PromptIdentity) -> list[str]:
    if not prompt.examples:
        return []
    shown = f"{prompt.examples} shot{'s' if prompt.examples > 1 else ''}"
    if prompt.nearest is None:
        return [shown]
    way = {ShotsBy.NEAREST: "nearest", ShotsBy.NEAREST_PER_CLASS: "nearest per class"}[prompt.nearest.by]
    return [f"{shown} ({way} of {prompt.nearest.pool:,})"]


def _untrained(record: RunRecord) -> list[str]:
    return [] if record.imported is not None else ["zero-shot"]


def _trained(train: TrainIdentity) -> list[str]:
    validated = [f"validated on {'+'.join(train.validation_langs)}"] if train.validation_langs is not None else []
    before = [f"continued from {'+'.join(train.continued_from.langs)}"] if train.continued_from else []
    several = [f"{train.processes} processes"] if train.processes > 1 else []
    labels = [] if train.labels_from is None else [labels_told(train.labels_from)]
    return [f"trained on {train.train_count} {'+'.join(train.langs)}", *labels, *validated, *before, *several]


def labels_told(source: LabelsFrom) -> str:
    """`labels of qwen (strict · score)`: a run that did not learn from people's labels is marked wherever it is shown."""
    calibration = f", {source.calibration} calibration" if source.calibration is not Calibration.NONE else ""
    prompt = f" ({source.prompt} · {source.decoding}{calibration})" if source.prompt else ""
    return f"{'probabilities' if source.soft else 'labels'} of {source.backend}{prompt}"


def read_records(store: Store) -> tuple[list[Entry], list[DamagedRecord]]:
    """All finished runs with intact files, and the errors of the damaged ones."""
    entries, damaged = [], []
    for name in store.ids():
        try:
            entries.append(read_entry(store, name))
        except DamagedRecord as error:
            damaged.append(error)
    return with_models(entries), damaged


def read_entries(store: Store) -> list[Entry]:
    """All finished runs; damaged ones are left out with a warning."""
    entries, damaged = read_records(store)
    for error in damaged:
        warn_of(error)
    return entries


def with_models(entries: Sequence[Entry]) -> list[Entry]:
    """Set `by_model` for backends with several models: records of earlier versions don't hold whether `--model` was given, and
    a backend's YAML may have changed."""
    models: dict[str, set[Any]] = {}
    for entry in entries:
        models.setdefault(entry.backend, set()).add(entry.record.identity.backend.model)
    return [replace(entry, by_model=len(models[entry.backend]) > 1) for entry in entries]


def read_intact(paths: Iterable[Path], read: Callable[[Path], T]) -> list[T]:
    """The value of `read` for each file; a damaged one is left out with a warning."""
    found = []
    for path in paths:
        try:
            found.append(read(path))
        except DamagedRecord as error:
            warn_of(error)
    return found


def warn_of(error: DamagedRecord) -> None:
    log.warning("%s It is left out. %s", error.message, error.hint)


def read_entry(store: Store, name: str) -> Entry:
    """One finished run, with all files checked. Raises `DamagedRecord`."""
    record = store.record(name)
    if not store.check_predictions(name, record.digests):
        from harness.records.predictions import read_predictions

        # Of an earlier version, without digests: check its form and the accuracy.
        with damage_named(store.root / name / PREDICTIONS):
            rows = read_predictions(store, name)
            if len(rows) != record.n:
                raise ValueError(f"it does not hold the {record.n} rows that the run was tested on")
        with damage_named(store.root / name / METRICS):
            values = record.metrics.values
            stored = values.get("accuracy") or values.get("subset_accuracy")
            if stored and stored.value is not None and abs(stored.value - rows.correct.mean()) > ROUNDING:
                raise ValueError(f"the accuracy is {stored.value}, of the predictions {rows.correct.mean()}")
    return Entry(record)


def finished_entry(store: Store, name: str, *, warn: bool = True) -> Entry | None:
    """A finished run; None if it is not finished or its record is damaged. `warn`: log the damage."""
    if not os.path.lexists(store.root / name):
        return None
    try:
        return read_entry(store, name)
    except DamagedRecord as error:
        if warn:
            log.warning("%s The run is repeated.", error.message)
        return None


_WORDS = {GateOutcome.WARNED: "warning", GateOutcome.FAILED: "failed gate, ignored by --no-gate"}


def gate_lines(gates: Iterable[Gate], *, has_finding: bool = False) -> list[str]:
    """One line per warned or failed gate; `one_label` is left out if the run has a finding, which reports the same."""
    reported = [gate for gate in gates if gate.outcome in _WORDS and not (has_finding and gate.name == "one_label")]
    return [f"{_WORDS[gate.outcome]} ({gate.name}): {gate.message}" for gate in reported]
