"""The worst errors of a run, with texts and answers if available on this machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.core.errors import BenchError, DataError
from harness.core.json_files import parse_object
from harness.core.record import Identity
from harness.core.types import LabelKind
from harness.data.rows import fingerprint, load_examples
from harness.specs.catalog import Catalog


def worst_errors(records: Sequence[Mapping[str, Any]], kind: str, count: int) -> list[dict[str, Any]]:
    """The `count` worst predictions: first those without an answer, then by distance from the truth, then by confidence."""

    def badness(record: Mapping[str, Any]) -> tuple[float, float, str]:
        if record["label"] is None:
            return -float("inf"), 0.0, record["id"]
        if kind == LabelKind.MULTILABEL:
            distance = float(len(set(record["label"]) ^ set(record["truth"])))
        else:
            distance = float(abs(record["label"] - record["truth"])) if kind == LabelKind.ORDINAL else 1.0
        return -distance, -max(record.get("probabilities") or [0.0]), record["id"]

    wrong = [dict(record) for record in records if record["label"] != record["truth"]]
    return sorted(wrong, key=badness)[:count]


def texts(identity: Identity, ids: Collection[str], catalog: Catalog, data_dir: Path | None) -> dict[str, str]:
    """Row id → text of the run's rows `ids`; empty if the task's data can't be read here or has changed.

    Raises `DataError` if `data_dir` is given and does not contain the run's rows.
    """
    try:
        task = catalog.task(identity.task)
        if task.source.hub is not None and data_dir is None:
            return {}  # no download just to show a run
        rows = load_examples(task, lang=identity.lang, split=identity.split, data_dir=data_dir)
        seen = [row for row in rows if row.id in ids]
        if fingerprint(seen) != identity.rows:
            raise DataError(f"The rows of {task.name!r} differ from those of this run.", "Give --data the same data.")
    except BenchError:
        if data_dir is not None:
            raise
        return {}
    return {row.id: row.text for row in seen}


def answers(path: Path) -> dict[str, str]:
    """Row id → the language model's answer, if the run was made on this machine."""
    found = {}
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        with suppress(ValueError, LookupError):  # a damaged line is left out
            record = parse_object(line)
            found[str(record["id"])] = str(record["answer"])
    return found
