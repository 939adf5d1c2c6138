"""Finished runs as tables show them: what was run, how it was made, and which runs are one thing under several seeds."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from harness.core.errors import DamagedRecord
from harness.core.json_files import digest
from harness.core.record import Metrics, RunRecord
from harness.records.gates import read_gates
from harness.records.store import MANIFEST, METRICS, PREDICTIONS, Store, damage_named
from harness.statistics.metrics import LOWER_IS_BETTER

T = TypeVar("T")

log = logging.getLogger("bench")

Group = tuple[str, str, str, str]
"""Task, split, language, and a digest of rows and labels."""

ROUNDING = 1e-9
"""By so much may two sums of the same numbers differ."""

DECISIONS = {"expected": "expected value"}
TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "weighted_f1": "weighted F1",
    "subset_accuracy": "subset accuracy",
    "hamming_loss": "Hamming loss",
    "mae": "MAE",
    "qwk": "QWK",
    "spearman": "Spearman",
    "roc_auc": "ROC AUC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "ECE",
    "binary_accuracy": "binary accuracy",
    "off_by_one": "off by one at most",
}


@dataclass(frozen=True)
class Entry:
    """One run: its manifest (run.json) and its metrics (metrics.json).

    `by_model`: the entries beside it have several models under the name of its backend.
    `among`: a run on fewer rows, where this is about those rows alone: then the metrics and the identity's rows are of these,
    and `tested_on` is how many there were.
    """

    run_id: str
    manifest: Mapping[str, Any]
    metrics: Mapping[str, Any]
    by_model: bool = False
    among: str | None = None
    tested_on: int | None = None

    @cached_property
    def record(self) -> RunRecord:
        return RunRecord.read({**self.manifest, "n": self.metrics["n"]}, self.metrics, self.run_id)

    def among_rows_of(self, other: Entry) -> Entry:
        """This run, to be scored on the fewer rows of another one (see `with_metrics`)."""
        identity = {**self.manifest["identity"], "rows": other.manifest["identity"]["rows"]}
        return replace(self, manifest={**self.manifest, "identity": identity}, among=other.run_id, tested_on=self.metrics["n"])

    def with_metrics(self, metrics: Metrics) -> Entry:
        return replace(self, metrics=metrics.as_json())

    @property
    def key(self) -> str:
        """The run's id, after the digits of the rows where it is about some of its rows: a run may be in two tables."""
        return self.run_id if self.among is None else f"{self.group[3][:8]}@{self.run_id}"

    @cached_property
    def group(self) -> Group:
        """Runs of one group saw the same rows with the same labels; only these are compared."""
        identity = self.manifest["identity"]
        labels = digest([identity["labels"], identity["label_kind"]])
        return identity["task"], identity["split"], identity["lang"], identity["rows"] + labels

    @property
    def order(self) -> tuple[float, str]:
        """Best first by the first headline metric; the id settles what is equal."""
        name = self.metrics["headline"][0]
        value = self.metrics["values"][name]["value"]
        if value is None:
            return float("inf"), self.run_id
        return (value if name in LOWER_IS_BETTER else -value), self.run_id

    @property
    def backend(self) -> str:
        return str(self.manifest["identity"]["backend"]["name"])

    @property
    def display_name(self) -> str:
        """What people read: the backend, and its model where that was given by `--model`, or is not always the same."""
        model = self.manifest["identity"]["backend"].get("model")
        is_named = model and (self.by_model or self.manifest.get("model_given"))
        return f"{self.backend}:{model}" if is_named else self.backend

    @property
    def is_blind(self) -> bool:
        """Whether it never looks at the text: a yardstick, and nothing that anybody would deploy."""
        backend = self.manifest["identity"]["backend"]
        return backend.get("engine") == "baseline" and (backend.get("options") or {}).get("classifier") == "majority"

    @property
    def seed(self) -> int:
        return int(self.manifest["identity"]["seed"])

    @cached_property
    def configuration(self) -> str:
        """Digest of the identity without what only a seed changes: the same for the runs of several seeds.

        Left out are the seed, which exemplars it drew (their number stays) and, where it drew them, which training rows.
        Another prompt, setting, revision or number of training rows is another configuration. So is a model that goes on
        from another trained model, whatever made the two differ.
        """
        identity = dict(self.manifest["identity"])
        identity.pop("seed")
        if identity["prompt"]:
            prompt = {key: value for key, value in identity["prompt"].items() if key != "shots_sha256"}
            identity["prompt"] = {**prompt, "shots": len(prompt["shots"])}
        if (identity["train"] or {}).get("drawn"):
            identity["train"] = {key: value for key, value in identity["train"].items() if key != "train_rows"}
        return digest(identity)

    @property
    def how(self) -> str:
        """What was trained on, or how it was prompted, and the seed where it is not 0."""
        return ", ".join([self.made, *([f"seed {self.seed}"] if self.seed else [])])

    @property
    def config_label(self) -> str:
        return self.made

    @cached_property
    def made(self) -> str:
        """`how` without the seed: the same for all runs of a configuration."""
        identity = self.manifest["identity"]
        prompt = identity["prompt"]
        first = _prompted(prompt) if prompt else _trained(identity["train"])
        decision = (prompt or identity).get("decision")
        runtime = (self.manifest.get("runtime") or {}).get("runtime")
        settings = dict(self.manifest.get("settings") or {})
        if runtime is not None:
            settings.pop("predict.runtime", None)
        parts = [
            *first,
            *([DECISIONS.get(decision, decision)] if decision else []),
            *([f"{len(prompt['shots'])} exemplars"] if prompt and prompt["shots"] else []),
            *(_setting(name, value) for name, value in settings.items()),
            *([runtime] if runtime else []),
            *(["imported"] if "imported" in self.manifest else []),
        ]
        return ", ".join(parts)


def _setting(name: str, value: Any) -> str:
    """`train.lora={}` asks for adapters with their defaults: the name says it all."""
    return name if value == {} else f"{name}={value if isinstance(value, str) else json.dumps(value)}"


def _prompted(prompt: Mapping[str, Any]) -> list[str]:
    variant = f".{prompt['variant']}" if prompt["variant"] else ""
    calibration = [f"{prompt['calibration']} calibration"] if "calibration" in prompt else []
    return [f"{prompt['name']}{variant} · {prompt['decoding']}", *calibration]


def _trained(train: Mapping[str, Any]) -> list[str]:
    validated = [f"validated on {'+'.join(train['validation_langs'])}"] if "validation_langs" in train else []
    before = [f"continued from {'+'.join(train['continued_from']['langs'])}"] if "continued_from" in train else []
    several = [f"{train['processes']} processes"] if "processes" in train else []
    return [f"trained on {train['train_count']} {'+'.join(train['langs'])}", *validated, *before, *several]


def read_records(store: Store) -> tuple[list[Entry], list[DamagedRecord]]:
    """All finished runs, but for those whose files are damaged; what is wrong with these."""
    entries, damaged = [], []
    for name in store.ids():
        try:
            entries.append(read_entry(store, name))
        except DamagedRecord as error:
            damaged.append(error)
    return with_models(entries), damaged


def read_entries(store: Store) -> list[Entry]:
    """All finished runs; each damaged one is left out with a warning."""
    entries, damaged = read_records(store)
    for error in damaged:
        warn_of(error)
    return entries


def with_models(entries: Sequence[Entry]) -> list[Entry]:
    """The same, with those named by their models whose backend has several here: records of earlier versions don't say whether
    `--model` was given, and a backend's YAML may name another model by now."""
    models: dict[str, set[Any]] = {}
    for entry in entries:
        models.setdefault(entry.backend, set()).add(entry.manifest["identity"]["backend"].get("model"))
    return [replace(entry, by_model=len(models[entry.backend]) > 1) for entry in entries]


def read_intact(paths: Iterable[Path], read: Callable[[Path], T]) -> list[T]:
    """What `read` makes of each file; a damaged one is left out with a warning."""
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
    """One finished run, all of its files checked; raises `DamagedRecord`."""
    manifest = store.manifest(name)
    entry = Entry(name, manifest, store.metrics(name, manifest))
    with damage_named(store.root / name / MANIFEST):
        _look_over_manifest(entry)
    with damage_named(store.root / name / METRICS):
        _look_over_metrics(entry)
    if not store.check_predictions(name, manifest):
        from harness.records.predictions import (
            read_predictions,  # by an earlier version: its form can be checked, and the accuracy
        )

        with damage_named(store.root / name / PREDICTIONS):
            rows = read_predictions(store, name)
            if len(rows) != entry.metrics["n"]:
                raise ValueError(f"it does not hold the {entry.metrics['n']} rows that the run was tested on")
        with damage_named(store.root / name / METRICS):
            told = entry.metrics["values"].get("accuracy") or entry.metrics["values"].get("subset_accuracy")
            if told and abs(told["value"] - rows.correct.mean()) > ROUNDING:
                raise ValueError(f"the accuracy is {told['value']}, of the predictions {rows.correct.mean()}")
    return entry


def finished_entry(store: Store, name: str, *, warn: bool = True) -> Entry | None:
    """A run that is done; None where it is not, or where its record is damaged. `warn` says so: once a run is enough."""
    if not os.path.lexists(store.root / name):
        return None
    try:
        return read_entry(store, name)
    except DamagedRecord as error:
        if warn:
            log.warning("%s The run is made anew.", error.message)
        return None


def _look_over_manifest(entry: Entry) -> None:
    """Touch what every table needs; raises whatever a wrong shape raises."""
    _ = entry.group, entry.how, entry.backend, entry.seed, entry.configuration, read_gates(entry.manifest)
    _check_number("rows_per_second", entry.manifest["timing"]["rows_per_second"])
    if not isinstance(entry.manifest.get("finished", ""), str):
        raise ValueError("finished is no text")


def _check_number(name: str, number: Any) -> None:
    if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
        raise ValueError(f"{name} is no number")


def _look_over_metrics(entry: Entry) -> None:
    """The same."""
    metrics = entry.metrics
    for name, found in metrics["values"].items():
        for end in ("value", "low", "high"):
            _check_number(f"{name}, {end},", found[end])
    counts = [metrics[name] for name in ("n", "ok", "unparsed", "failed")]
    if any(type(count) is not int or count < 0 for count in counts) or counts[0] != sum(counts[1:]) or counts[0] == 0:
        raise ValueError(f"n, ok, unparsed and failed are {counts}, which are no counts of rows")
    if entry.manifest.get("n", counts[0]) != counts[0]:
        raise ValueError(f"n is {counts[0]}, and in run.json {entry.manifest['n']}")
    _ = [metrics["values"][name] for name in metrics["headline"]]
    _ = entry.order
