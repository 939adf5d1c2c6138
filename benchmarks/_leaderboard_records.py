"""Made-up run records for the leaderboard's benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.json_files import canonical_json
from harness.core.record import Identity
from harness.core.types import Example, LabelKind, LabelSpace, Prediction
from harness.statistics.metrics import evaluate_predictions

LABELS = LabelSpace(LabelKind.ORDINAL, ("1 star", "2 stars", "3 stars", "4 stars", "5 stars"))
MACHINE = {"cores": 2, "cpu": "made up", "gpu": None, "memory_gib": 8, "system": "Linux"}


def make_records(root: Path, runs: int, groups: int, rows: int) -> int:
    """Write `runs` records of `rows` rows each, spread over `groups` sets of rows; returns how many there are."""
    rng = np.random.default_rng(0)
    for number in range(runs):
        group, place = number % groups, number // groups
        size = max(1, runs // groups)
        truth = np.random.default_rng(group).integers(0, 5, rows)
        hard = np.random.default_rng(groups + group).random(rows)  # the same rows are hard for all runs
        skill = 0.3 + 0.5 * (place // 3 * 3 if place < size // 3 else place) / size
        right = rng.random(rows) * 0.6 + hard * 0.4 < skill
        answers = np.where(right, truth, (truth + rng.integers(1, 5, rows)) % 5)
        _write(root, _identity(group, place, size), truth, answers, rng.dirichlet(np.ones(5), rows).round(6))
    return runs


def _identity(group: int, place: int, size: int) -> dict[str, Any]:
    """The first third of a group are three seeds of each backend, the next fifth prompts of one model, the rest runs apart."""
    seeded, prompted = place < size // 3, size // 3 <= place < size // 3 + size // 5
    prompt = {"name": f"prompt-{place}", "variant": None, "sha256": f"{place:064d}", "decoding": "score"}
    train = {"version": 2, "langs": ["en"], "train_count": 2000, "train_rows": "0" * 64, "validation_rows": "1" * 64}
    name = f"encoder-{place // 3}" if seeded else "model" if prompted else f"other-{place}"
    options = {"max_length": 128, "train": {"lr": 2e-5, "epochs": 3.0, "batch_size": 16, "schedule": "linear", "warmup": 0.1}}
    return {
        "version": 1,
        "task": "made_up",
        "lang": f"l{group}",
        "split": "test",
        "rows": f"{group:064d}",
        "labels": list(LABELS.names),
        "label_kind": LABELS.kind,
        "backend": {"name": name, "engine": "made_up", "model": name, "revision": None, "options": options},
        "train": None if prompted else train,
        "prompt": {**prompt, "shots": [], "shots_sha256": "2" * 64} if prompted else None,
        "seed": place % 3 if seeded else 0,
    }


def _write(root: Path, identity: dict[str, Any], truth: Any, answers: Any, probabilities: Any) -> None:
    name = Identity.model_validate(identity).run_id
    folder = root / name
    folder.mkdir(parents=True)
    lines = [
        canonical_json({"id": f"row-{i}", "truth": int(t), "label": int(a), "status": "ok", "probabilities": p.tolist()})
        for i, (t, a, p) in enumerate(zip(truth, answers, probabilities, strict=True))
    ]
    examples = [Example(f"row-{i}", "", int(label), "en") for i, label in enumerate(truth)]
    given = [Prediction(f"row-{i}", int(label)) for i, label in enumerate(answers)]
    manifest = {
        "identity": identity,
        "run_id": name,
        "n": len(truth),
        "machine": MACHINE,
        "finished": "2026-01-01T00:00:00+00:00",
        "timing": {"rows_per_second": 100.0, "seconds": len(truth) / 100, "batch_size": 64, "load_average": 0.5},
        "tokens": {"prompt": 0, "new": 0},
        "training": {"seconds": 60.0, "steps": 375, "evaluations": [{"epoch": float(e), "accuracy": 0.5} for e in range(3)]},
    }
    (folder / "run.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    metrics = evaluate_predictions(examples, given, LABELS)
    (folder / "metrics.json").write_text(json.dumps(metrics.as_json(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "predictions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
