"""Trained models are kept: no training twice, no model served that is another one, nothing left of a killed training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from harness.checkpoints import cache_dir
from harness.errors import RunError
from harness.plan import Plan
from harness.training import ensure_trained, trained_key


def train(plan: Plan) -> dict[str, Any]:
    return ensure_trained(plan, toy.quiet)


def kept(plan: Plan) -> Path:
    return cache_dir() / "trained" / trained_key(plan)


def test_the_second_plan_trains_nothing_and_predicts_the_same(project: Path) -> None:
    first, second = toy.plan(project, "toy-classifier"), toy.plan(project, "toy-classifier", lang="de", train_langs=("en",))
    record = train(first)
    assert record == {"loss": 0.5, "rows": 9, "seconds": record["seconds"]}
    assert train(second) == record
    assert [toy.engine_of(plan).fits for plan in (first, second)] == [1, 0]
    assert [toy.engine_of(plan).loads for plan in (first, second)] == [0, 1]
    assert toy.engine_of(second).state == toy.engine_of(first).state
    assert not (kept(first) / "scratch").exists()


def test_a_baseline_read_from_the_cache_predicts_what_the_trained_one_did(project: Path) -> None:
    first, second = toy.plan(project, "tfidf"), toy.plan(project, "tfidf")
    train(first)
    train(second)
    texts = [row.text for row in first.rows]
    assert np.array_equal(toy.engine_of(first).predict(texts), toy.engine_of(second).predict(texts))


@pytest.mark.parametrize(
    "change",
    ["seed", "train languages", "train limit", "train text", "train label", "validation text", "options", "backend", "labels"],
)
def test_another_training_is_another_model(project: Path, change: str) -> None:
    before = toy.plan(project, "toy-classifier")
    train(before)
    asked: dict[str, Any] = {}
    backend = "toy-classifier"
    if change == "seed":
        asked = {"seed": 1}
    elif change == "train languages":
        asked = {"train_langs": ("de",)}
    elif change == "train limit":
        asked = {"train_limit": 5}
    elif change == "options":
        (project / "backends" / "toy-classifier.yaml").write_text("engine: toy_classifier\noptions: {flavour: other}\n")
    elif change == "backend":
        backend = "other"
        shutil.copy(project / "backends" / "toy-classifier.yaml", project / "backends" / "other.yaml")
    elif change == "labels":
        path = project / "tasks" / "toy.yaml"
        path.write_text(path.read_text().replace("fair", "middling"))
    else:
        split, field = change.split()
        rows = toy.read_rows(project, split)
        rows[0][field] = 2 if field == "label" else "something else"
        toy.write_rows(project, split, rows)
    plan = toy.plan(project, backend, **asked)
    train(plan)
    assert trained_key(plan) != trained_key(before)
    assert toy.engine_of(plan).fits == 1


@pytest.mark.parametrize("change", [{"lang": "de", "train_langs": ("en",)}, {"limit": 3}, {"split": "validation"}])
def test_what_is_tested_does_not_change_the_model(project: Path, change: dict[str, Any]) -> None:
    before, after = toy.plan(project, "toy-classifier"), toy.plan(project, "toy-classifier", **change)
    assert after.run_id != before.run_id
    assert trained_key(after) == trained_key(before)


@pytest.mark.parametrize("moment", ["fit", "save"])
def test_a_killed_training_leaves_no_model(project: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    plan = toy.plan(project, "toy-classifier")

    def killed(*args: object) -> None:
        if moment == "fit":
            (args[0] / "step-100").write_text("half way")  # type: ignore[operator]
        else:
            (args[1] / "half.bin").write_text("half")  # type: ignore[operator]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(toy.ToyClassifier, *(("during_fit", staticmethod(killed)) if moment == "fit" else ("save", killed)))
        with pytest.raises(KeyboardInterrupt):
            train(plan)
    assert not (kept(plan) / "model").exists()
    again = toy.plan(project, "toy-classifier")
    scratches: list[list[str]] = []
    toy.engine_of(again).during_fit = lambda scratch: scratches.append(sorted(path.name for path in scratch.iterdir()))
    assert train(again)["rows"] == 9
    assert toy.engine_of(again).fits == 1
    assert scratches == [["step-100"] if moment == "fit" else []]  # an engine can go on from what it kept there
    assert sorted(path.name for path in (kept(plan) / "model").iterdir()) == ["state.json", "training.json"]


def test_a_training_that_diverged_is_a_failed_run_and_is_not_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = toy.ToyClassifier.fit
    monkeypatch.setattr(toy.ToyClassifier, "fit", lambda *args: {**fit(*args), "loss": float("nan")})
    plan = toy.plan(project, "toy-classifier")
    with pytest.raises(RunError, match="toy-classifier: the training diverged"):
        train(plan)
    assert not (kept(plan) / "model").exists()


def test_progress_is_passed_on(project: Path) -> None:
    seen: list[tuple[str, int, int, str]] = []
    ensure_trained(toy.plan(project, "toy-classifier"), lambda *args: seen.append(args))
    assert seen == [("train", 1, 1, "")]
