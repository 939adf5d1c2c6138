"""Trained models are kept: no training twice, no model served that is another one, nothing left of a killed training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from harness.core.cache_folder import cache_dir
from harness.core.durable import DIGESTS
from harness.core.errors import RunError, UserError
from harness.core.record import CACHED_SECONDS, ContinuedFrom, Runtime, Training
from harness.core.types import Decision
from harness.records.store import Store
from harness.running.batching import distinct, encode
from harness.running.plan import Plan
from harness.running.runner import run
from harness.running.training import ensure_trained, trained_key


def train(plan: Plan) -> Training:
    return ensure_trained(plan, toy.quiet).record


def kept(plan: Plan) -> Path:
    return cache_dir() / "trained" / trained_key(plan)


def test_the_second_plan_trains_nothing_and_predicts_the_same(project: Path) -> None:
    first, second = toy.plan(project, "toy-classifier"), toy.plan(project, "toy-classifier", lang="de", train_lang=("en",))
    record = train(first)
    assert record.as_json().items() >= {"loss": 0.5, "rows": 9, "thresholds": None}.items()
    assert record.seconds is not None
    assert train(second) == record
    assert [toy.engine_of(plan).fits for plan in (first, second)] == [1, 0]
    assert [toy.engine_of(plan).loads for plan in (first, second)] == [0, 1]
    assert toy.engine_of(second).state == toy.engine_of(first).state
    assert not (kept(first) / "scratch").exists()


def test_time_that_a_cache_spared_counts_as_spent(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = toy.plan(project, "toy-classifier")
    engine = toy.engine_of(plan)
    fit = engine.fit
    monkeypatch.setattr(engine, "fit", lambda job: {**fit(job), CACHED_SECONDS: 1000.0})
    record = train(plan)
    assert record.cached_seconds == 1000
    assert record.seconds is not None
    assert record.seconds >= 1000


def test_a_baseline_read_from_the_cache_predicts_what_the_trained_one_did(project: Path) -> None:
    first, second = toy.plan(project, "tfidf"), toy.plan(project, "tfidf")
    train(first)
    train(second)
    texts = [item.encoded for item in encode(first, distinct(first.rows))]
    assert np.array_equal(toy.engine_of(first).predict(texts), toy.engine_of(second).predict(texts))


@pytest.mark.parametrize(
    "change",
    ["seed", "train languages", "train limit", "train text", "train label", "validation text", "options", "labels"],
)
def test_another_training_is_another_model(project: Path, change: str) -> None:
    before = toy.plan(project, "toy-classifier")
    train(before)
    asked: dict[str, Any] = {}
    if change == "seed":
        asked = {"seed": 1}
    elif change == "train languages":
        asked = {"train_lang": ("de",)}
    elif change == "train limit":
        asked = {"train_limit": 5}
    elif change == "options":
        (project / "backends" / "toy-classifier.yaml").write_text("engine: toy_classifier\noptions: {flavour: other}\n")
    elif change == "labels":
        path = project / "tasks" / "toy.yaml"
        path.write_text(path.read_text().replace("fair", "middling"))
    else:
        split, field = change.split()
        rows = toy.read_rows(project, split)
        rows[0][field] = 2 if field == "label" else "something else"
        toy.write_rows(project, split, rows)
    plan = toy.plan(project, "toy-classifier", **asked)
    train(plan)
    assert trained_key(plan) != trained_key(before)
    assert toy.engine_of(plan).fits == 1


@pytest.mark.parametrize(
    "change",
    [
        {"lang": "de", "train_lang": ("en",)},
        {"limit": 3},
        {"split": "validation"},
        {"decision": Decision.MEDIAN},
        {"settings": {"predict.runtime": "fast"}},
        {"backend": "other"},
    ],
)
def test_what_is_tested_and_how_does_not_change_the_model(project: Path, change: dict[str, Any]) -> None:
    shutil.copy(project / "backends" / "toy-classifier.yaml", project / "backends" / "other.yaml")
    before, after = (toy.plan(project, **{"backend": "toy-classifier", **more}) for more in ({}, change))
    assert after.run_id != before.run_id
    assert trained_key(after) == trained_key(before)


@pytest.mark.parametrize(("engine", "same"), [("encoder", True), ("embedding", False)])
def test_the_dtype_of_predictions_matters_to_what_learns_from_them(project: Path, engine: str, same: bool) -> None:
    identity = toy.plan(project, "toy-classifier").identity
    keys = {
        identity.model_copy(
            update={"backend": identity.backend.model_copy(update={"engine": engine, "dtype": dtype})}
        ).trained_key
        for dtype in ("float32", "bfloat16")
    }
    assert (len(keys) == 1) is same


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
    assert train(again).as_json()["rows"] == 9
    assert toy.engine_of(again).fits == 1
    assert scratches == [["step-100"] if moment == "fit" else []]  # an engine can go on from what it kept there
    assert sorted(path.name for path in (kept(plan) / "model").iterdir()) == [DIGESTS, "state.json", "training.json"]


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


def test_the_order_of_the_training_rows_in_a_file_changes_nothing(project: Path) -> None:
    seen: list[list[str]] = []
    for _ in range(2):
        plan = toy.plan(project, "toy-classifier")
        assert plan.training is not None
        seen.append([row.id for row in plan.training.train])
        toy.write_rows(project, "train", toy.read_rows(project, "train")[::-1])
    assert seen[0] == seen[1]
    assert len(seen[0]) == 9


def test_the_validation_language_is_a_choice_of_its_own(project: Path) -> None:
    own, other = toy.plan(project, "toy-classifier"), toy.plan(project, "toy-classifier", validation_lang=("de",))
    assert own.training is not None
    assert other.training is not None
    assert {row.lang for row in other.training.validation} == {"de"}
    assert other.training.train == own.training.train
    assert "validation_langs" not in own.identity.as_json()["train"]
    assert other.identity.train is not None
    assert other.identity.train.validation_langs == ["de"]
    assert trained_key(own) != trained_key(other)
    few = toy.plan(project, "toy-classifier", validation_limit=2)
    assert few.training is not None
    assert len(few.training.validation) == 2


def test_the_scorer_scores_validation_rows_as_a_run_on_them_does(project: Path, store: Store) -> None:
    plan = toy.plan(project, "toy-classifier", settings={"evaluations": 2})
    seen: list[dict[str, float]] = []
    ensure_trained(plan, toy.quiet, seen.append)
    assert len(seen) == 2
    assert toy.engine_of(plan).scored == seen[-1]
    validation = toy.plan(project, "toy-classifier", split="validation", settings={"evaluations": 2})
    values = run(validation, store).record.metrics.values
    assert seen[-1].pop("rps") > 0  # the companion by which near-ties are decided
    assert seen[-1] == pytest.approx({name: one.value for name, one in values.items() if one.value is not None})
    assert {"accuracy", "mae", "qwk", "macro_f1", "log_loss"} <= set(seen[-1])


def test_a_scorer_ends_the_training_by_what_it_raises(project: Path) -> None:
    class Enough(Exception):
        pass

    def refuse(metrics: dict[str, float]) -> None:
        raise Enough

    plan = toy.plan(project, "toy-classifier", settings={"evaluations": 1})
    with pytest.raises(Enough):
        ensure_trained(plan, toy.quiet, refuse)
    assert not (kept(plan) / "model").exists()


def test_a_training_goes_on_from_another_ones_model(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy.ToyClassifier, "model_is", "checkpoint")
    model = str(toy.write_checkpoint(project / "weights" / "other", 1))
    first = toy.plan(project, "toy-classifier", model=model)
    train(first)
    second = toy.plan(project, "toy-classifier", lang="de", model=model, continue_from=trained_key(first))
    assert toy.engine_of(second).model == kept(first) / "model"
    assert second.identity.backend == first.identity.backend
    assert second.identity.train is not None
    assert second.identity.train.continued_from == ContinuedFrom(key=trained_key(first), langs=["en"])
    assert trained_key(second) != trained_key(toy.plan(project, "toy-classifier", lang="de", model=model))
    with pytest.raises(UserError, match="is not on this machine"):
        toy.plan(project, "toy-classifier", model=model, continue_from="0" * 20)
    elsewhere = str(toy.write_checkpoint(project / "weights" / "third", 2))
    with pytest.raises(UserError, match="has the model 'other', and this run 'third'"):
        toy.plan(project, "toy-classifier", model=elsewhere, continue_from=trained_key(first))
    with pytest.raises(UserError, match="'tfidf' can't go on"):
        toy.plan(project, "tfidf", continue_from=trained_key(first))


def test_the_runtime_tells_of_itself(project: Path, store: Store) -> None:
    plan = toy.plan(project, "toy-classifier", settings={"predict.runtime": "fast"})
    result = run(plan, store)
    assert store.record(result.run_id).runtime == Runtime(runtime="fast", library="toy")
    assert store.record(result.run_id).options.settings == {"predict.runtime": "fast"}


def test_languages_may_have_the_same_ids(project: Path) -> None:
    rows = [{**row, "id": str(n % 9), "lang": row["lang"]} for n, row in enumerate(toy.read_rows(project, "train"))]
    for lang in ("en", "de"):
        folder = project / "data" / lang
        folder.mkdir(parents=True)
        for split in ("train", "validation", "test"):
            here = [row for row in rows if row["lang"] == lang]
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in here))
    both = toy.plan(project, "toy-classifier", train_lang=("en", "de"), data=project / "data", settings={"evaluations": 1})
    assert both.training is not None
    assert len({row.id for row in both.training.train}) == len(both.training.train) == 18
    assert train(both).as_json()["rows"] == 18
    one = toy.plan(project, "toy-classifier", data=project / "data")
    assert one.training is not None
    assert {row.id for row in one.training.train} == set("012345678")


def test_the_kernel_of_attention_is_part_of_a_model(project: Path) -> None:
    keys = [
        trained_key(toy.plan(project, "toy-classifier", settings=settings))
        for settings in ({}, {"predict.attention": "auto"}, {"predict.attention": "eager"})
    ]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]


def test_settings_that_are_no_part_of_the_identity_are_no_part_of_the_record(project: Path, store: Store) -> None:
    plan = toy.plan(project, "toy-classifier", settings={"threads": 7, "flavour": "other"})
    assert store.record(run(plan, store).run_id).options.settings == {"flavour": "other"}


def test_a_damaged_model_is_set_aside_and_trained_anew(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan = toy.plan(project, "toy-classifier")
    train(plan)
    model = kept(plan) / "model"
    written = {path.name: path.read_bytes() for path in model.iterdir()}
    for number, file in enumerate(sorted(written), 1):
        path = model / file
        path.write_bytes(path.read_bytes()[:-2] + b"#" + path.read_bytes()[-1:])
        (kept(plan) / "onnx-1").mkdir()  # made of the damaged one
        again = toy.plan(project, "toy-classifier")
        train(again)
        assert toy.engine_of(again).fits == 1
        assert (model / "state.json").read_bytes() == written["state.json"]
        assert (kept(plan) / f"model.damaged-{number}").is_dir()
        assert not (kept(plan) / "onnx-1").exists()
        assert f"model.damaged-{number}" in caplog.text
    last = toy.plan(project, "toy-classifier")
    train(last)
    assert toy.engine_of(last).fits == 0
