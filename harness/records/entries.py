"""Finished runs as tables show them: what was run, how it was made, and which runs are one thing under several seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.errors import RunError
from harness.records.store import Store, digest
from harness.statistics.metrics import LOWER_IS_BETTER

Group = tuple[str, str, str, str]
"""Task, split, language, and a digest of rows and labels."""

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

    `among`: a run on fewer rows, where this is about those rows alone: then the metrics and the identity's rows are of these,
    and `tested_on` is how many there were.
    """

    run_id: str
    manifest: Mapping[str, Any]
    metrics: Mapping[str, Any]
    among: str | None = None
    tested_on: int | None = None

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


def read_entries(store: Store) -> list[Entry]:
    """All finished runs. Raises `RunError` for a damaged record: to leave it out would change the ranking in silence."""
    return [read_entry(store, name) for name in store.ids()]


def read_entry(store: Store, name: str) -> Entry:
    """One finished run; raises `RunError` where its files are no record of one."""
    entry = Entry(name, store.manifest(name), store.metrics(name))
    try:
        _look_over(entry)
    except (LookupError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        folder = store.root / name
        raise RunError(
            f"{folder} is not the record of a run ({type(error).__name__}: {error}).", "Delete that folder."
        ) from error
    return entry


def _look_over(entry: Entry) -> None:
    """Touch what every table needs; raises whatever a wrong shape raises."""
    metrics = entry.metrics
    _ = entry.group, entry.order, entry.how, entry.backend, entry.configuration, entry.manifest["timing"]["rows_per_second"]
    _ = metrics["ok"] / metrics["n"]
    for name in metrics["headline"]:
        value = metrics["values"][name]
        for number in (value["value"], value["low"], value["high"]):
            _ = number is None or float(number)
