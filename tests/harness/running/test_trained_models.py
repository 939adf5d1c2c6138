"""Trained models in the cache: what is said of them, and that each use is noticed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import toy

from harness.core.cache_folder import cache_dir
from harness.core.errors import RunError
from harness.core.locks import is_held
from harness.models.cache import contents
from harness.running.trained_models import in_use, mark_used
from harness.running.training import ensure_trained, trained_folder, trained_key

LONG_AGO = 1_000_000.0


def names(leftover: bool) -> list[str]:
    return [item.name for item in contents(cache_dir()) if bool(item.leftover) == leftover]


def test_the_cache_says_what_a_model_is(project: Path) -> None:
    plan = toy.plan(project, "toy-classifier", lang="de", train_lang=("en",))
    ensure_trained(plan, toy.quiet)
    about = json.loads((trained_folder(plan) / "about.json").read_text())
    assert about == {"task": "toy", "backend": "toy-classifier", "model": None, "langs": ["en"], "rows": 9}
    assert names(leftover=False) == [trained_key(plan)]


def test_an_interrupted_training_is_kept_to_be_continued(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = toy.plan(project, "toy-classifier")

    def killed(scratch: Path) -> None:
        (scratch / "step-100").write_text("half way")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(toy.ToyClassifier, "during_fit", staticmethod(killed))
        with pytest.raises(KeyboardInterrupt):
            ensure_trained(plan, toy.quiet)
    assert (names(leftover=False), names(leftover=True)) == ([trained_key(plan)], [])
    ensure_trained(toy.plan(project, "toy-classifier"), toy.quiet)
    assert (names(leftover=False), names(leftover=True)) == ([trained_key(plan)], [])


def test_a_training_that_diverged_leaves_nothing_to_go_on_from(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = toy.ToyClassifier.fit

    def diverging(*args: Any) -> dict[str, Any]:
        (args[1].scratch / "checkpoint-1").mkdir(parents=True)
        (args[1].scratch / "checkpoint-1" / "weights").write_text("nan")
        return {**fit(*args), "loss": float("nan")}

    monkeypatch.setattr(toy.ToyClassifier, "fit", diverging)
    plan = toy.plan(project, "toy-classifier")
    with pytest.raises(RunError, match="diverged"):
        ensure_trained(plan, toy.quiet)
    assert contents(cache_dir()) == []
    os.utime(trained_folder(plan) / "about.json", (LONG_AGO,) * 2)
    assert names(leftover=True) == [trained_key(plan)]


def test_loading_a_model_is_a_use_of_it(project: Path) -> None:
    plan = toy.plan(project, "toy-classifier")
    ensure_trained(plan, toy.quiet)
    model = trained_folder(plan) / "model"
    os.utime(model, (LONG_AGO,) * 2)
    ensure_trained(toy.plan(project, "toy-classifier"), toy.quiet)
    assert model.stat().st_mtime > LONG_AGO


def test_going_on_from_a_model_is_a_use_of_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy.ToyClassifier, "model_is", "checkpoint")
    weights = str(toy.write_checkpoint(project / "weights" / "other", 1))
    first = toy.plan(project, "toy-classifier", model=weights)
    ensure_trained(first, toy.quiet)
    model = trained_folder(first) / "model"
    os.utime(model, (LONG_AGO,) * 2)
    ensure_trained(toy.plan(project, "toy-classifier", model=weights, continue_from=trained_key(first)), toy.quiet)
    assert model.stat().st_mtime > LONG_AGO


def test_files_that_are_read_are_in_use(tmp_path: Path) -> None:
    (tmp_path / "key" / "model").mkdir(parents=True)
    os.utime(tmp_path / "key" / "model", (LONG_AGO,) * 2)
    with in_use(tmp_path / "key"):
        assert is_held(tmp_path / "key" / "lock")
    assert not is_held(tmp_path / "key" / "lock")
    assert (tmp_path / "key" / "model").stat().st_mtime > LONG_AGO


def test_where_there_is_no_model_or_nothing_may_be_written_nothing_is_marked(tmp_path: Path) -> None:
    mark_used(tmp_path / "none")
    with in_use(tmp_path / "none"):
        assert not (tmp_path / "none").exists()


def test_a_damaged_model_is_not_handed_out(project: Path) -> None:
    plan = toy.plan(project, "toy-classifier")
    ensure_trained(plan, toy.quiet)
    (trained_folder(plan) / "model" / "state.json").write_text("")
    with pytest.raises(RunError, match=r"state\.json is not the file that was written"), in_use(trained_folder(plan)):
        pass
