"""Run records made on the spot: for the tests of what is computed from records."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis.ranks import Configuration
from harness.core.arrays import BoolArray
from harness.core.json_files import canonical_json
from harness.core.record import Identity, RunRecord
from harness.core.types import Example, Label, LabelKind, LabelSpace, Prediction, Status
from harness.models.packaged import PACKAGED
from harness.records.entries import Entry
from harness.records.journal import prediction_record
from harness.records.store import Store
from harness.reports.leaderboard import markdown, task_text
from harness.reports.tables import Table
from harness.specs.reported import Reported
from harness.statistics.metrics import evaluate_predictions

NAMES = ("bad", "fair", "good")
SCORE = {"name": "strict", "variant": None, "sha256": "a" * 64, "decoding": "score", "shots": [], "shots_sha256": "none"}
TRAIN = {"langs": ["en"], "train_count": 9, "train_rows": "t", "validation_rows": "v"}


def board_text(tables: Sequence[Table], reported: Sequence[Reported] = (), drawn: Collection[str] = (), note: str = "") -> str:
    """LEADERBOARD.md of these tables."""
    by_task = groupby(tables, key=lambda table: table.group[:2])
    return markdown([task_text(list(members), drawn) for _, members in by_task], reported, note)


def value(number: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": number, "low": low, "high": high}


def entry(name: str, accuracy: float | None = 0.5, **changes: Any) -> Entry:
    """An entry without a record; `changes` are of the identity, but for `metrics` and `rate`."""
    identity = {
        "version": 1,
        "task": "toy",
        "split": "test",
        "lang": "en",
        "rows": "aaaaaaaa1",
        "labels": ["bad", "good"],
        "label_kind": "ordinal",
        "backend": {"name": name, "engine": "toy"},
        "prompt": None,
        "train": TRAIN,
        "seed": 0,
    }
    if changes.get("prompt"):
        identity["train"] = None
    changed = changes.pop("metrics", {})
    timing = {"timing": {"rows_per_second": changes.pop("rate", 12.34)}}
    if "backend" in changes:
        changes["backend"] = {"engine": "toy", **changes["backend"]}
    values = {"values": {"accuracy": value(accuracy, 0.25, 0.75)}}
    metrics = {"headline": ["accuracy"], **values, **changed, **counts(**changed)}
    return entry_from(f"run.{name}", {"identity": {**identity, **changes}, **timing}, metrics)


def counts(n: int = 200, ok: int | None = None, unparsed: int | None = None, failed: int = 0, **others: Any) -> dict[str, int]:
    """Of all rows 20 are unparsed, unless another number is given or follows from the others."""
    if unparsed is None:
        unparsed = min(20, n) if ok is None else n - ok - failed
    return {"n": n, "ok": n - unparsed - failed, "unparsed": unparsed, "failed": failed}


def entry_from(run_id: str, manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> Entry:
    """From the content of both files; `settings`, `limit` and `model_given` as records of version 1 have them."""
    kept = {name: value for name, value in manifest.items() if name not in ("options", "version", "digests", "run_id", "n")}
    if kept["identity"]["prompt"] is None and kept["identity"]["train"] is None:
        kept["identity"] = {**kept["identity"], "train": TRAIN}
    return Entry(RunRecord.read(kept, metrics, run_id))


def with_changes(made: Entry, **manifest: Any) -> Entry:
    """The same with other parts of run.json; `settings`, `limit` and `model_given` as records of version 1 have them."""
    return entry_from(made.run_id, {**made.record.manifest(), **manifest}, made.record.metrics.as_json())


def packaged(name: str) -> dict[str, str]:
    """What the identity of a run says of a packaged model."""
    return {"model": f"packaged:{name}", "revision": PACKAGED[name].revision}


def renamed(made: Entry, run_id: str) -> Entry:
    return Entry(made.record.model_copy(update={"run_id": run_id}))


def prompt(name: str = "strict", shots: Sequence[str] = (), **changes: Any) -> dict[str, Any]:
    return {**SCORE, "name": name, "sha256": name.ljust(64, "0"), "shots": list(shots), **changes}


def apart(rows: Sequence[Configuration], p: float) -> BoolArray:
    """Which of these, best first, is significantly better than which, where every pair has this p."""
    return np.triu(np.full((len(rows), len(rows)), p <= 0.05), 1)


def record(
    store: Store,
    backend: str | Mapping[str, Any],
    answers: Sequence[Label | None],
    truth: Sequence[Label],
    *,
    kind: LabelKind = LabelKind.ORDINAL,
    probabilities: Callable[[int], tuple[float, ...]] | None = None,
    ids: Sequence[str] | None = None,
    manifest: Mapping[str, Any] | None = None,
    **identity: Any,
) -> str:
    """Write a finished run with these answers (None: not parsed) and return its id."""
    labels = LabelSpace(kind, NAMES)
    names = ids or [f"row-{i}" for i in range(len(truth))]
    examples = [Example(name, name, label, "en") for name, label in zip(names, truth, strict=True)]
    given = [
        Prediction(e.id, None, Status.UNPARSED, "no_number")
        if label is None
        else Prediction(e.id, label, probabilities=probabilities(i) if probabilities else None)
        for i, (e, label) in enumerate(zip(examples, answers, strict=True))
    ]
    prompted = "prompt" in identity
    made = {
        "version": 1,
        "task": "toy",
        "split": "test",
        "lang": "en",
        "rows": f"{len(truth)}".rjust(64, "0"),
        "labels": list(NAMES),
        "label_kind": kind,
        "backend": {"name": backend, "engine": "toy", "model": None} if isinstance(backend, str) else backend,
        "prompt": None,
        "train": None if prompted else TRAIN,
        "seed": 0,
        **identity,
    }
    name = Identity.model_validate(made).run_id
    folder = store.root / name
    folder.mkdir(parents=True)
    write_json(folder / "run.json", {"identity": made, "timing": {"rows_per_second": 10.0}, **(manifest or {})})
    write_json(folder / "metrics.json", evaluate_predictions(examples, given, labels).as_json())
    lines = [canonical_json(prediction_record(*pair)) + "\n" for pair in zip(examples, given, strict=True)]
    (folder / "predictions.jsonl").write_text("".join(lines), encoding="utf-8")
    return name


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
