"""What the cache knows of its trained models, and that each use is noticed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import toy

from harness.core.errors import RunError
from harness.core.locks import held, is_held
from harness.models.cache import IN_USE, contents, leftovers
from harness.models.checkpoints import cache_dir
from harness.records.store import Store
from harness.running.runner import run
from harness.running.trained_models import INTERRUPTED, READY, TrainedModel, in_use, mark_used, trained_models
from harness.running.training import ensure_trained, trained_folder, trained_key

LONG_AGO = 1_000_000.0


def models(store: Store) -> list[TrainedModel]:
    return trained_models(contents(cache_dir()), store)


def test_a_model_says_what_it_is_and_which_runs_need_it(project: Path, store: Store) -> None:
    plans = [toy.plan(project, "toy-classifier", **more) for more in ({}, {"lang": "de", "train_lang": ("en",)}, {"seed": 1})]
    done = [run(plan, store).run_id for plan in plans[:2]]
    ensure_trained(plans[2], toy.quiet)
    os.utime(trained_folder(plans[2]) / "model", (LONG_AGO,) * 2)
    other, first = models(store)
    assert (first.key, first.task, first.backend, first.langs, first.rows) == (
        trained_key(plans[0]),
        "toy",
        "toy-classifier",
        ("en",),
        9,
    )
    assert first.runs == tuple(sorted(done))
    assert (other.key, other.runs, other.state) == (trained_key(plans[2]), (), READY)
    with held(trained_folder(plans[0]) / "lock", wait=False):
        assert [model.state for model in models(store)] == [READY, IN_USE]


def test_a_model_of_an_earlier_version_is_known_from_its_runs(project: Path, store: Store) -> None:
    plan = toy.plan(project, "toy-classifier")
    run(plan, store)
    (trained_folder(plan) / "about.json").unlink()
    (model,) = models(store)
    assert (model.task, model.backend, model.rows) == ("toy", "toy-classifier", 9)
    shutil.rmtree(store.root)
    (model,) = models(store)
    assert (model.task, model.backend, model.rows, model.langs) == (None, None, None, ("en",))


def test_records_that_cannot_be_read_hide_no_model(project: Path, store: Store) -> None:
    plan = toy.plan(project, "toy-classifier")
    damaged = store.root / run(plan, store).run_id / "run.json"
    for text in ("{", '{"identity": {"train": {}}}', "{}"):
        damaged.write_text(text)
        assert [model.runs for model in models(store)] == [()]


def test_an_interrupted_training_is_known(project: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = toy.plan(project, "toy-classifier")

    def killed(scratch: Path) -> None:
        (scratch / "step-100").write_text("half way")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(toy.ToyClassifier, "during_fit", staticmethod(killed))
        with pytest.raises(KeyboardInterrupt):
            ensure_trained(plan, toy.quiet)
    (model,) = models(store)
    assert (model.state, model.task, model.rows, model.kept.size > 0) == (INTERRUPTED, "toy", 9, True)
    assert leftovers(cache_dir()) == []
    ensure_trained(toy.plan(project, "toy-classifier"), toy.quiet)
    assert [model.state for model in models(store)] == [READY]


def test_a_training_that_diverged_leaves_nothing_to_go_on_from(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = toy.ToyClassifier.fit

    def diverging(*args: Any) -> dict[str, Any]:
        (args[6] / "checkpoint-1").mkdir(parents=True)
        (args[6] / "checkpoint-1" / "weights").write_text("nan")
        return {**fit(*args), "loss": float("nan")}

    monkeypatch.setattr(toy.ToyClassifier, "fit", diverging)
    plan = toy.plan(project, "toy-classifier")
    with pytest.raises(RunError, match="diverged"):
        ensure_trained(plan, toy.quiet)
    assert contents(cache_dir()) == []
    os.utime(trained_folder(plan) / "about.json", (LONG_AGO,) * 2)
    assert [one.name for one in leftovers(cache_dir())] == [trained_key(plan)]


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
